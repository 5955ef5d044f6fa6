"""Speed as ratios measured in one run.

    python examples/studies speed
    python examples/studies speed search --data mnist.npz
    python examples/studies speed limit growth --quick

Seconds depend on the machine and on its load. Each section therefore runs its sides in
turn, several times, and prints the median of the ratios within a turn, with the lowest
and the highest ratio.

- `search` compares the default search, and the published search in batches, with a bare
  loop that searches one image at a time.
- `peers` compares with the GANs of PyOD, if PyOD is installed.
- `limit` has the share of the measured peak of the machine.
- `growth` has time and memory for growing numbers of rows.
"""

import argparse
from collections.abc import Callable
from typing import Any

from studies import speed_growth, speed_limit, speed_peers, speed_search

__all__ = ["SECTIONS", "main"]

SECTIONS: dict[str, tuple[Callable[..., str], dict[str, Any]]] = {
    "search": (speed_search.search_section, speed_search.QUICK),
    "peers": (speed_peers.peers_section, speed_peers.QUICK),
    "limit": (speed_limit.limit_section, speed_limit.QUICK),
    "growth": (speed_growth.growth_section, speed_growth.QUICK),
}
"""Name of a section, the function that makes its text, and its sizes for `--quick`."""


def main(argv: list[str]) -> int:
    """Run the sections and print each one when it is finished.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies speed",
        description="Speed as ratios measured in one run.",
    )
    parser.add_argument(
        "sections", nargs="*", help=f"some of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument("--data", help="images for `search`, such as mnist.npz")
    parser.add_argument("--quick", action="store_true", help="use small sizes")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.sections) - set(SECTIONS))
    if unknown:
        parser.error(
            f"no section is named {', '.join(unknown)}; expected some of "
            f"{', '.join(SECTIONS)}"
        )
    for name in arguments.sections or SECTIONS:
        make, quick = SECTIONS[name]
        sizes = dict(quick) if arguments.quick else {}
        if name == "search":
            sizes["data"] = arguments.data
        print(make(**sizes), end="\n\n", flush=True)
    return 0
