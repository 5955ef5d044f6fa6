"""``python -m skanogan benchmark``, ``mark`` and ``versions``."""

import sys
from collections.abc import Sequence

__all__ = ["main"]

_USAGE = """usage: python -m skanogan benchmark [DATA ...]  compare detectors
       python -m skanogan mark NORMAL CHECK --out REPORT
                                                mark what is unusual on images
       python -m skanogan versions              print versions for a bug report

python -m skanogan COMMAND --help lists the arguments of a command"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments. None takes those of this process.

    Returns
    -------
    status : int
        0 on success, 2 for invalid arguments.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    command, *rest = argv or ["--help"]
    if command == "benchmark":
        from skanogan.benchmark._cli import main as benchmark

        return benchmark(rest)
    if command == "mark":
        from skanogan._mark.command import main as mark

        return mark(rest)
    if command == "versions" and not rest:
        import skanogan

        skanogan.show_versions()
        return 0
    if command in ("-h", "--help"):
        print(_USAGE)
        return 0
    print(
        f"python -m skanogan: error: unknown command {' '.join(argv)!r}. Use "
        "benchmark, mark or versions.",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
