"""Compare detectors on labelled data: ``python -m skanogan benchmark``.

`import skanogan` does not import this package.
"""

from skanogan.benchmark._report import summarise
from skanogan.benchmark._runner import run_benchmark
from skanogan.benchmark._sources import UsageError
from skanogan.benchmark._tasks import PROTOCOLS, Task, load_tasks

__all__ = [
    "PROTOCOLS",
    "Task",
    "UsageError",
    "load_tasks",
    "run_benchmark",
    "summarise",
]
