"""The command line: ``python -m skanogan benchmark``."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from skanogan.benchmark._detectors import ROBUST, as_text, find_detectors
from skanogan.benchmark._report import (
    detector_table,
    summarise,
    task_table,
    write_files,
)
from skanogan.benchmark._runner import (
    CELLS,
    default_jobs,
    finished_rows,
    run_benchmark,
)
from skanogan.benchmark._sources import UsageError
from skanogan.benchmark._tasks import PROTOCOLS, load_tasks

__all__ = ["main"]

_MOST_FAILURES_SHOWN = 5

_UNLABELLED = (
    f"AnoGANDetector({as_text(ROBUST)}),OCGANDetector({as_text(ROBUST)}),"
    "IsolationForest,LocalOutlierFactor,KNNDistance,MahalanobisDistance,"
    "sklearn.covariance.EllipticEnvelope(random_state=0)"
)
"""The detectors of the second table of embedded data. FAnoGANDetector scores there as
AnoGANDetector, and takes twice as long."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line without the usage, which ``--help`` prints."""
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from command line arguments, and return the exit status.

    It is 0 if the run has finished, also with failed cells, and 130 if the run was
    interrupted. Bad arguments exit with 2.
    """
    parser = _make_parser()
    arguments = parser.parse_args(argv)
    names = arguments.detectors or "all"
    runs = [(arguments.protocol, names, arguments.out)]
    if not (arguments.data or arguments.contamination or arguments.protocol != "auto"):
        names = arguments.detectors or _UNLABELLED
        runs.append(("unlabelled", names, arguments.out / "unlabelled"))
    try:
        for protocol, names, out in runs:
            _run(arguments, protocol, names, out)
    except UsageError as error:
        parser.error(str(error))
    except OSError as error:  # the output folder
        parser.error(f"{arguments.out}: {error}")
    except KeyboardInterrupt:
        print(
            "interrupted: finished cells are kept, the same command resumes the run",
            file=sys.stderr,
        )
        return 130
    return 0


def _run(arguments: argparse.Namespace, protocol: str, names: str, out: Path) -> None:
    """Run all detectors under one protocol and report."""
    tasks = load_tasks(
        arguments.data or "embedded",
        protocol=protocol,
        classes=arguments.classes,
        limit=arguments.limit,
        contamination=arguments.contamination,
    )
    detectors = find_detectors(names)
    jobs = arguments.jobs or default_jobs(arguments.device)
    earlier = {} if arguments.fresh else finished_rows(out / CELLS)
    _announce(tasks, detectors, arguments, jobs)
    rows = run_benchmark(
        tasks,
        detectors,
        seeds=arguments.seeds,
        device=arguments.device,
        out=out,
        jobs=jobs,
        fresh=arguments.fresh,
    )
    _report(rows, earlier, arguments, jobs, out)


def _make_parser() -> argparse.ArgumentParser:
    protocols = "\n".join(f"  {name:10} {words}" for name, words in PROTOCOLS.items())
    parser = _Parser(
        prog="python -m skanogan benchmark",
        description="Compare detectors on labelled data: how well they rank anomalies, "
        "how many normal\nrows they label as outliers, and how long they take.",
        epilog="Without arguments, the embedded data are also run under the protocol "
        f"unlabelled.\n\nprotocols:\n{protocols}\n\nFinished cells are kept in the "
        "output folder. The same command resumes an interrupted\nrun and runs failed "
        "cells again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        nargs="*",
        metavar="DATA",
        help="embedded (the default: digits, breast_cancer and wine), one of these "
        "three, a .npz file with X and y or with x_train, y_train, x_test, y_test, a "
        "folder of such files or of IDX files, or openml:NAME",
    )
    parser.add_argument(
        "--protocol",
        choices=("auto", *PROTOCOLS),
        default="auto",
        help="how to split the rows into training and test, see below",
    )
    parser.add_argument(
        "--detectors",
        metavar="A,B,...",
        help="all (the default), package, untrained, robust (as set for unlabelled "
        "rows), baselines, names of detectors (ECOD and HBOS need PyOD), or import "
        "paths such as package.module:Class or pyod.models.copod.COPOD; arguments may "
        "follow, as in 'AnoGANDetector(max_iter=500)'",
    )
    parser.add_argument(
        "--classes",
        type=lambda text: text.split(","),
        metavar="A,B,...",
        help="only tasks with these normal labels",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="at most N training rows and N test rows, for a quick run",
    )
    parser.add_argument(
        "--contamination",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of anomalies among the training rows (default: 0); the test rows "
        "are others",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=(0,),
        metavar="A,B,...",
        help="run everything once for each seed (default: 0)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, mps ... for detectors with the parameter device"
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="number of processes (default: one for each core, 1 on a GPU)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark-results"),
        metavar="DIR",
        help="folder for the results (default: benchmark-results)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="delete earlier results in the folder"
    )
    parser.add_argument("--no-plot", action="store_true", help="write no plot")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(seed) for seed in text.split(","))
    if min(seeds) < 0:
        raise ValueError("a seed is negative")
    return seeds


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError("not positive")
    return int(text)


# argparse prints the name of the function: "invalid seeds value: 'a'"
_seeds.__name__, _positive.__name__ = "seeds", "jobs"


def _announce(tasks: Any, detectors: Any, arguments: Any, jobs: int) -> None:
    print(
        f"tasks: {len(tasks)}, detectors: {len(detectors)}, seeds: "
        f"{len(arguments.seeds)}, cells: "
        f"{len(tasks) * len(detectors) * len(arguments.seeds)}, processes: {jobs}"
    )
    for protocol in dict.fromkeys(task.protocol for task in tasks):
        members = [task.name for task in tasks if task.protocol == protocol]
        names = ", ".join(members[:4]) + (" ..." if len(members) > 4 else "")
        print(f"protocol {protocol} ({names}): {PROTOCOLS[protocol]}")
    if arguments.limit is not None:
        print(
            f"at most {arguments.limit} training rows and {arguments.limit} test rows: "
            "a quick run, not a measurement"
        )


def _report(
    rows: list[dict[str, Any]], earlier: Any, arguments: Any, jobs: int, out: Path
) -> None:
    n_kept = sum(row["key"] in earlier for row in rows)
    if n_kept:
        print(
            f"{n_kept} of {len(rows)} cells are results of an earlier run; --fresh "
            "runs them again"
        )
    summary = summarise(rows)
    print(f"\nAUROC\n\n{task_table(rows, [line['detector'] for line in summary])}")
    print(f"\nMeans over tasks\n\n{detector_table(summary)}\n")
    failed = [row for row in rows if row["error"] is not None]
    if failed:
        print(
            f"{len(failed)} of {len(rows)} cells failed and are not in the means above:"
        )
        for row in failed[:_MOST_FAILURES_SHOWN]:
            first_line = row["error"].partition("\n")[0][:120]
            where = f"{row['detector']} on {row['task']}, seed {row['seed']}"
            print(f"  {where}: {first_line}")
        if len(failed) > _MOST_FAILURES_SHOWN:
            print("  ... results.csv has the others")
    n_warned = sum(bool(row["warnings"]) for row in rows)
    if n_warned:
        print(f"{n_warned} cells warned: see the column warnings of results.csv")
    asked = vars(arguments) | {"jobs": jobs, "out": str(out)}
    paths = write_files(out, rows, asked)
    if not arguments.no_plot and len(failed) < len(rows):
        if importlib.util.find_spec("matplotlib") is None:
            print("no plot: matplotlib is missing, pip install 'skanogan[plot]'")
        else:
            from skanogan.benchmark._plot import plot_results

            paths.append(plot_results(rows, out / "benchmark.png"))
    print("written: " + ", ".join(str(path) for path in paths))
