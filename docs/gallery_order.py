"""Order of the examples in the gallery."""

__all__ = ["Order"]

FIRST = ("plot_quick_start.py", "plot_isolation_forest.py")
AFTER = {"plot_positions.py": "plot_defects.py"}
"""Examples that come right after another one of a related topic."""


class Order:
    """Sorting key of sphinx-gallery for the files in a folder.

    Parameters
    ----------
    folder : str
        Folder of the examples.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[int, str, str]:
        """Return the key of an example: those in `FIRST`, then by name and `AFTER`."""
        place = FIRST.index(filename) if filename in FIRST else len(FIRST)
        return place, AFTER.get(filename, filename), filename
