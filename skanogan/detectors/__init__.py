"""The detectors, one file per method. Import them from `skanogan`."""
