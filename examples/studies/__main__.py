"""Run a study from the root of a checkout: ``python examples/studies NAME``."""

import importlib
import sys
from pathlib import Path

STUDIES = {
    "cifar": "one class of CIFAR-10, by features of a pretrained network",
    "columns": "which column of a row was changed, by anomaly maps and explain",
    "defaults": "how the defaults of AnoGANDetector were chosen",
    "gpu": "everything that needs a GPU, in one run and one report",
    "localisation": "defects of magnetic tiles, by anomaly maps",
    "memory": "memory of features and maps of a folder of large images",
    "numerics": "how much scores change with the arithmetic",
    "ocgan": "what each part and each parameter of OCGANDetector brings",
    "oct": "retinal OCT scans, from normal scans alone",
    "overhead": "time of AnoGANDetector compared with a bare torch loop",
    "positions": "defects of magnetic tiles, by features of a pretrained network",
    "reasons": "which column of a row of a CSV is wrong, by explain",
    "search": "AUROC of the latent search against its time",
    "selection": "thresholds, and a search with a cache of trainings",
    "speed": "speed as ratios: searches, other libraries, hardware, growth",
    "stitching": "memory and seams of the stitched map of a large image",
    "training": "what training brings, by the number of updates",
    "turned": "scores that rank anomalies as normal",
    "unlabelled": "anomalies among the rows of a fit: made-up cases, and a curve",
}
"""Summary of each study. The modules of the other files are shared by studies."""


def main(argv: list[str]) -> int:
    """Run the study that the first argument names.

    Parameters
    ----------
    argv : list of str
        Name of the study, and its arguments.

    Returns
    -------
    status : int
        Status of the study, or 2 if there is no study of this name.
    """
    if argv and argv[0] in STUDIES:
        return importlib.import_module(f"studies.{argv[0]}").main(argv[1:])
    print("usage: python examples/studies NAME [ARGUMENT ...]\n")
    for name, summary in STUDIES.items():
        print(f"  {name:13} {summary}")
    print("\npython examples/studies NAME --help lists the arguments of a study")
    return 0 if argv in ([], ["-h"], ["--help"]) else 2


if __name__ == "__main__":
    # Python has put this folder first on the path; the package is in its parent.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main(sys.argv[1:]))
