"""Discovery of detectors, and the checks that each of them passes."""
