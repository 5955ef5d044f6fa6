"""Files that are written as a whole or not at all."""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: "str | os.PathLike[str]", content: bytes) -> None:
    """Put a file in its place in one step.

    Written beside its place, brought to the disk, and then renamed: whoever opens the
    path, at any moment and after any failure, finds the old content or the new one. A
    link is followed, and the permissions of a file that was there are kept.

    Parameters
    ----------
    path : str or path
        In a folder that is there.
    content : bytes

    Raises
    ------
    OSError
        If the disk is full, or the folder is missing or may not be written to. What
        was at `path` before is still there, and nothing is left beside it. Only a
        process that is killed leaves a ``.part`` file behind.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{os.fspath(path)!r} is in a folder that is not there: make it first."
        )
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    with _removed_on_failure(part):
        # A file of that name would be an error, and a link not followed.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        with open(os.open(part, flags, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(part, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(part, target)
    if hasattr(os, "O_DIRECTORY"):  # not on Windows
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def _removed_on_failure(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
