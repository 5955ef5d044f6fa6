"""``python -m skanogan.benchmark.speed``."""

import sys

from skanogan.benchmark.speed._cli import main

if __name__ == "__main__":
    sys.exit(main())
