"""The command: fit on the normal images, check the others, write the report."""

import argparse
import importlib
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from skanogan._data.image_files import image_files
from skanogan._mark.detection import (
    ERRORS,
    NORMAL_SHARE,
    check,
    make_detector,
    read_normal,
    scale_of,
)
from skanogan._mark.report import summary, write_report
from skanogan._training.progress import with_bar
from skanogan.exceptions import CalibrationWarning, LongRunWarning

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Learn from a folder of normal images, check another, and write a report.

    Parameters
    ----------
    argv : sequence of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0 on success, 130 if it was interrupted. Errors exit with 2.
    """
    parser = _make_parser()
    arguments = parser.parse_args(argv)
    out = Path(arguments.out)
    try:
        with _warnings_as_notes(parser.prog) as notes, _complete_or_absent(out) as new:
            counts = _run(arguments, new, notes)
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted, nothing was written", file=sys.stderr)
        return 130
    except ERRORS as error:
        message = " ".join(str(error).split()) or type(error).__name__
        parser.exit(2, f"{parser.prog}: error: {message}\n")
    print(f"{counts} Report: {out / 'index.html'}")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line without the usage, which ``--help`` prints."""
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m skanogan mark",
        description="Mark what is unusual on images. REPORT gets index.html (open it "
        "in a browser), scores.csv and the marked pictures.",
    )
    parser.add_argument("normal", metavar="NORMAL", help="folder of normal images")
    parser.add_argument("check", metavar="CHECK", help="folder of images to check")
    parser.add_argument(
        "--out",
        required=True,
        metavar="REPORT",
        help="folder of the report, which must be empty or not exist",
    )
    parser.add_argument(
        "--features",
        metavar="MODULE:FUNCTION",
        help="a function without arguments that returns features of positions, such as "
        "skanogan.features.NetworkFeatures(..., pooling=None, image_size=256). "
        "recipe:features is the function features in recipe.py of this folder. Without "
        "it, OCGANDetector learns patches of pixels",
    )
    parser.add_argument(
        "--contamination",
        type=_contamination,
        default="auto",
        metavar="SHARE",
        help="share of the normal images that is called an anomaly, up to 0.5. By "
        "default 5 %% of new normal images, measured on images that are held out",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of all random numbers, by default 0"
    )
    return parser


def _contamination(text: str) -> "float | str":
    if text == "auto":
        return text
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 0.5:
        raise argparse.ArgumentTypeError(
            f"{text} is no share above 0 and up to 0.5. Pass such a share, or auto."
        )
    return share


def _run(arguments: argparse.Namespace, folder: Path, notes: list[str]) -> str:
    """Write the report to a folder, and return the counts."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        message = 'Pictures need Pillow: pip install "skanogan[image]".'
        raise ImportError(message) from error
    files = _files("NORMAL", arguments.normal)
    to_check = _files("CHECK", arguments.check)
    if Path(arguments.normal).resolve() == Path(arguments.check).resolve():
        warnings.warn(
            "NORMAL and CHECK are one folder. Images that were learned from look more "
            "normal than new images.",
            stacklevel=1,
        )
    features = None if arguments.features is None else _made(arguments.features)
    normal = read_normal(files)
    detector = make_detector(features, normal, arguments.contamination, arguments.seed)
    detector.fit(normal.paths).set_params(verbose=0)
    scale = scale_of(detector, normal)

    (folder / "marked").mkdir()
    shown = with_bar(enumerate(to_check), len(to_check), "Checking images", 1)
    found = [
        check(detector, path, scale, folder / "marked" / f"{k}.png")
        for k, path in shown
    ]
    if all(checked.score is None for checked in found):
        raise ValueError(
            f"None of the {len(found)} images of CHECK could be checked. The first is "
            f"{found[0].name}. {found[0].note}"
        )
    learned = Path(arguments.normal).resolve().name
    explanation = (
        f"{type(detector).__name__} learned from {len(normal.paths)} images of the "
        f"folder {learned}. A file is called an anomaly if its decision is negative. "
        "Each picture shows the image, and the image with unusual pixels in red. "
        f"Outlined pixels are more unusual than {NORMAL_SHARE:.1%} of the pixels of "
        "normal images, so that small outlines on normal images are expected."
    )
    write_report(folder, found, explanation, notes)
    return summary(found)


# What is written, and what is said --------------------------------------------


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """Yield a folder. Its content is moved to `out` if nothing fails.

    An `out` with files is refused: pictures of another run must not be mixed in, and
    files that are not of this command must not be replaced.
    """
    is_new = not out.exists()
    if not is_new and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"--out {out} exists and is not an empty folder. Pass another folder, or "
            "remove it."
        )
    # Now, because a folder that cannot be made should not be found out after the fit.
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as name:
            yield Path(name)
            for path in Path(name).iterdir():
                path.rename(out / path.name)
    except BaseException:
        if is_new:
            with suppress(OSError):
                out.rmdir()
        raise


@contextmanager
def _warnings_as_notes(prog: str) -> Iterator[list[str]]:
    """Print each warning in one line when it is issued, and collect it for the page."""
    notes: list[str] = []

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        note = " ".join(str(message).split())
        if issubclass(category, CalibrationWarning):  # its remedies are for programs
            note = note.partition(" Fit at least")[0]
            note += " Put more images into NORMAL, or pass --contamination."
        if not issubclass(category, LongRunWarning):
            notes.append(note)
        print(f"{prog}: warning: {note}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield notes


# What is given ----------------------------------------------------------------


def _files(name: str, given: str) -> list[Path]:
    folder = Path(given)
    if not folder.is_dir():
        raise ValueError(f"{name} is '{given}', which is not a folder. Pass a folder.")
    try:
        return image_files(folder)
    except ValueError as error:
        raise ValueError(
            f"{name} is '{given}', in which no file is an image by its suffix, such as "
            ".png, .jpg or .tif. Folders inside it are not searched. Pass another."
        ) from error


def _made(given: str) -> Any:
    """Call the function of ``--features``."""
    module, _, function = given.partition(":")
    if not (module and function):
        raise ValueError(
            f"--features {given} is not MODULE:FUNCTION. recipe:features is the "
            "function features in recipe.py of this folder."
        )
    try:
        made = getattr(importlib.import_module(module), function)()
    except Exception as error:  # the code is the user's
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = f" ({last.filename}, line {last.lineno})"
        raise ValueError(
            f"--features {given} raises {type(error).__name__}: {error}"
            + ("" if last.filename.startswith("<frozen") else at)
        ) from error
    if not (hasattr(made, "fit") and hasattr(made, "transform")):
        raise ValueError(
            f"--features {given} returns {type(made).__name__}, which has no fit and "
            "transform. Return a transformer such as NetworkFeatures."
        )
    return made
