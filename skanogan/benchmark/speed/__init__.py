"""How fast the library is, as ratios measured in one run: ``python -m`` this package.

    python -m skanogan.benchmark.speed
    python -m skanogan.benchmark.speed search --data mnist.npz
    python -m skanogan.benchmark.speed limit growth --quick

Seconds mean nothing on another machine, and little on a shared one. Each section
therefore runs its sides in turn, several times, and prints the median of the ratios
within a turn, with the least and the greatest beside it.

`search`: the default search, and the published one in batches, over a bare loop that
searches one image at a time. `peers`: against PyOD's GANs, where PyOD is installed.
`limit`: the share of what the machine can do. `growth`: time and memory over the
number of rows.
"""

from skanogan.benchmark.speed._cli import main

__all__ = ["main"]
