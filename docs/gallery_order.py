"""The order of the gallery: what a newcomer reads first comes first."""

__all__ = ["Order"]

FIRST = ("plot_quick_start.py", "plot_isolation_forest.py")


class Order:
    """Sorting key of sphinx-gallery, of the files in one folder.

    Parameters
    ----------
    folder : str
        Where the examples are.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[int, str]:
        """The place of an example: named ones first, the others by name."""
        place = FIRST.index(filename) if filename in FIRST else len(FIRST)
        return place, filename
