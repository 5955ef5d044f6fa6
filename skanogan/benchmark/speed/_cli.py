"""The command line of the benchmark of speed."""

import argparse
from collections.abc import Callable
from typing import Any

from skanogan.benchmark.speed import _growth, _limit, _peers, _search

__all__ = ["SECTIONS", "main"]

SECTIONS: dict[str, tuple[Callable[..., str], dict[str, Any]]] = {
    "search": (_search.search_section, _search.QUICK),
    "peers": (_peers.peers_section, _peers.QUICK),
    "limit": (_limit.limit_section, _limit.QUICK),
    "growth": (_growth.growth_section, _growth.QUICK),
}
"""Name of a section, what makes its text, and the sizes of a quick look."""


def main(argv: "list[str] | None" = None) -> int:
    """Measure, and print each section as it is done.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None for those of this process.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skanogan.benchmark.speed",
        description="How fast the library is, as ratios measured in one run.",
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--data", help="images for `search`, as mnist.npz")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.sections) - set(SECTIONS))
    if unknown:
        parser.error(
            f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}"
        )
    for name in arguments.sections or SECTIONS:
        make, quick = SECTIONS[name]
        sizes = dict(quick) if arguments.quick else {}
        if name == "search":
            sizes["data"] = arguments.data
        print(make(**sizes), end="\n\n", flush=True)
    return 0
