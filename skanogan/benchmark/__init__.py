"""Detectors side by side on real data: ``python -m skanogan benchmark``.

Nothing here is needed to fit or to predict, and `import skanogan` does not import it.
"""

from skanogan.benchmark._errors import UsageError
from skanogan.benchmark._report import summarise
from skanogan.benchmark._runner import run_benchmark
from skanogan.benchmark._tasks import PROTOCOLS, Task, load_tasks

__all__ = [
    "PROTOCOLS",
    "Task",
    "UsageError",
    "load_tasks",
    "run_benchmark",
    "summarise",
]
