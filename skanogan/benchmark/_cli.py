"""The command line: ``python -m skanogan benchmark``."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from skanogan.benchmark._detectors import find_detectors
from skanogan.benchmark._errors import UsageError
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
from skanogan.benchmark._tasks import PROTOCOLS, load_tasks

__all__ = ["main"]

_MOST_FAILURES_SHOWN = 5


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; the usage is a ``--help`` away."""
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from command line arguments.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, None for those of this process.

    Returns
    -------
    status : int
        0 when the run came to its end, failed cells included, 2 for bad arguments,
        130 when it was interrupted.
    """
    parser = _make_parser()
    arguments = parser.parse_args(argv)
    try:
        tasks = load_tasks(
            arguments.data or "embedded",
            protocol=arguments.protocol,
            classes=arguments.classes,
            limit=arguments.limit,
        )
        detectors = find_detectors(arguments.detectors)
        jobs = arguments.jobs or default_jobs(arguments.device)
        earlier = {} if arguments.fresh else finished_rows(arguments.out / CELLS)
        _announce(tasks, detectors, arguments, jobs)
        rows = run_benchmark(
            tasks,
            detectors,
            seeds=arguments.seeds,
            device=arguments.device,
            out=arguments.out,
            jobs=jobs,
            fresh=arguments.fresh,
        )
    except UsageError as error:
        parser.error(str(error))
    except OSError as error:  # the output folder
        parser.error(f"{arguments.out}: {error}")
    except KeyboardInterrupt:
        print(
            "interrupted: finished cells are kept, the same command goes on",
            file=sys.stderr,
        )
        return 130
    _report(rows, earlier, arguments, jobs)
    return 0


def _make_parser() -> argparse.ArgumentParser:
    protocols = "\n".join(f"  {name:6} {words}" for name, words in PROTOCOLS.items())
    parser = _Parser(
        prog="python -m skanogan benchmark",
        description="Detectors side by side on real data: how well they rank anomalies,"
        "\nhow many normal rows they call outliers, and how long they take.",
        epilog=f"protocols:\n{protocols}\n\nFinished cells are kept in the output "
        "folder: an interrupted run goes on where it stopped,\nand failed cells are "
        "tried again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        nargs="*",
        metavar="DATA",
        help="embedded (the default), digits, breast_cancer, wine, a .npz file with X "
        "and y or with x_train, y_train, x_test, y_test, a folder of such files or of "
        "IDX files, or openml:NAME",
    )
    parser.add_argument(
        "--protocol",
        choices=("auto", *PROTOCOLS),
        default="auto",
        help="how rows are split into training and test, see below",
    )
    parser.add_argument(
        "--detectors",
        default="all",
        metavar="A,B,...",
        help="all (the default), package, baselines, names, or import paths such as "
        "package.module:Class or pyod.models.ecod.ECOD, each with arguments if wanted, "
        "as in 'AnoGANDetector(max_iter=500)'",
    )
    parser.add_argument(
        "--classes",
        type=lambda text: text.split(","),
        metavar="A,B,...",
        help="only the tasks with these labels as the normal one",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="at most N rows to train and N to test, for a quick look",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=(0,),
        metavar="A,B,...",
        help="one run of everything for each (default: 0)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, mps ... for the detectors that have a device"
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="processes, sharing the cores (default: one a core, one on a GPU)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark-results"),
        metavar="DIR",
        help="folder for the results (default: benchmark-results)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget the cells in the output folder"
    )
    parser.add_argument("--no-plot", action="store_true", help="draw no picture")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(seed) for seed in text.split(","))
    if min(seeds) < 0:
        raise ValueError("seeds are not negative")
    return seeds


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError("not positive")
    return int(text)


# argparse names the function in its message: "invalid seeds value: 'a'"
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
            f"at most {arguments.limit} rows train and {arguments.limit} test: a quick "
            "look, not a measurement"
        )


def _report(
    rows: list[dict[str, Any]], earlier: Any, arguments: Any, jobs: int
) -> None:
    n_kept = sum(row["key"] in earlier for row in rows)
    if n_kept:
        print(
            f"{n_kept} of {len(rows)} cells were kept from an earlier run; --fresh "
            "measures them again"
        )
    summary = summarise(rows)
    print(f"\nAUROC\n\n{task_table(rows, [line['detector'] for line in summary])}")
    print(f"\nMeans over the tasks\n\n{detector_table(summary)}\n")
    failed = [row for row in rows if row["error"] is not None]
    if failed:
        print(
            f"{len(failed)} of {len(rows)} cells failed; they are not in the "
            "means above:"
        )
        for row in failed[:_MOST_FAILURES_SHOWN]:
            first_line = row["error"].partition("\n")[0][:120]
            print(
                f"  {row['detector']} on {row['task']}, seed {row['seed']}: "
                f"{first_line}"
            )
        if len(failed) > _MOST_FAILURES_SHOWN:
            print("  ... the others are in results.csv")
    n_warned = sum(bool(row["warnings"]) for row in rows)
    if n_warned:
        print(f"{n_warned} cells warned, see the column warnings of results.csv")
    asked = {name: value for name, value in vars(arguments).items()} | {"jobs": jobs}
    asked["out"] = str(asked["out"])
    paths = write_files(arguments.out, rows, asked)
    if not arguments.no_plot and len(failed) < len(rows):
        if importlib.util.find_spec("matplotlib") is None:
            print("no picture: it needs matplotlib, pip install 'skanogan[plot]'")
        else:
            from skanogan.benchmark._picture import draw_picture

            paths.append(draw_picture(rows, arguments.out / "benchmark.png"))
    print("written: " + ", ".join(str(path) for path in paths))
