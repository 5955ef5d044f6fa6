"""Write a file as a whole or not at all."""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: "str | os.PathLike[str]", content: bytes) -> None:
    """Write a file in one step.

    The content is written beside the file, flushed to the disk, and then renamed: at
    any moment, the path has the old content or the new one. A link is followed, and the
    permissions of an existing file are kept. On OSError the old content is unchanged.
    Only a process that is killed leaves a ``.part`` file behind.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{os.fspath(path)!r} is in a folder that does not exist. Make the folder "
            "first."
        )
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    with _removed_on_failure(part):
        # O_EXCL: an existing file is an error, and a link is not followed.
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
