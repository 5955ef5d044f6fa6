"""``python -m skanogan mark``: from two folders of images to marked pictures."""

import argparse
import csv
import html
import importlib
import sys
import urllib.parse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from skanogan import OCGANDetector
from skanogan._data.image_files import FileReader, image_files
from skanogan._data.images import read_image
from skanogan.baselines import MahalanobisDistance
from skanogan.image import PatchDetector, PositionDetector

__all__ = ["main"]

MOST_NORMAL = 20
"""Normal images whose maps set what is outlined."""

NORMAL_SHARE = 0.998
"""Share of the pixels of normal images that is not outlined."""

LONGEST_SIDE = 1024
"""Marked pictures are made smaller than this."""


@dataclass
class Checked:
    """One file that was checked."""

    path: Path
    score: float = np.nan
    decision: float = np.nan
    picture: str = ""
    error: str = ""

    @property
    def label(self) -> str:
        """What is found, in one word."""
        if self.error:
            return "unreadable"
        return "anomaly" if self.decision < 0 else "normal"


def main(argv: list[str]) -> int:
    """Learn from a folder of normal images, check another, and write a report.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0 on success, 2 for invalid arguments.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skanogan mark",
        description="Mark what is unusual on images. OUT gets index.html (open it in a "
        "browser), scores.csv and the marked pictures.",
    )
    parser.add_argument("normal", help="folder of images without defects")
    parser.add_argument("check", help="folder of images to check")
    parser.add_argument("--out", required=True, help="folder of the report")
    parser.add_argument(
        "--features",
        metavar="MODULE:FUNCTION",
        help="a function that returns features of positions, such as "
        "skanogan.features.NetworkFeatures(..., pooling=None, image_size=256). "
        "Without it, an OCGANDetector learns patches of pixels",
    )
    parser.add_argument(
        "--contamination",
        default="auto",
        help="share of the normal images that may be called anomalies; auto: 5 %% of "
        "new ones, measured on images that are held out",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    try:
        given = arguments.contamination
        contamination = given if given == "auto" else float(given)
        files = image_files(Path(arguments.check))
        detector = _detector(arguments.features, contamination, arguments.seed)
        detector.fit(arguments.normal)
    except (ValueError, ImportError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    out = Path(arguments.out)
    (out / "marked").mkdir(parents=True, exist_ok=True)
    level = _level(detector, image_files(Path(arguments.normal)))
    found = [_check(detector, path, level, out, k) for k, path in enumerate(files)]
    # Unreadable files have no score and come last.
    found.sort(key=lambda checked: (bool(checked.error), checked.decision))
    _write_table(found, out / "scores.csv")
    page = _page(found, detector, arguments.normal)
    (out / "index.html").write_text(page, encoding="utf-8")
    print(f"{_summary(found)} Report: {out / 'index.html'}")
    return 0


def _detector(
    features: str | None, contamination: "float | str", seed: int
) -> "PatchDetector | PositionDetector":
    shared: dict[str, Any] = {
        "contamination": contamination,
        "random_state": seed,
        "unreadable": "skip",
        "verbose": 1,
    }
    if features is None:
        estimator = OCGANDetector(random_state=seed, verbose=1)
        return PatchDetector(estimator, **shared)
    module, _, function = features.partition(":")
    if not function:
        raise ValueError(
            f"--features {features} must be MODULE:FUNCTION, such as recipe:features "
            "for the function features in the file recipe.py."
        )
    sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(module), function)()
    except AttributeError as error:
        raise ValueError(f"--features {features}: {error}.") from error
    finally:
        sys.path.remove("")
    return PositionDetector(MahalanobisDistance(), made, **shared)


def _level(detector: Any, normal: list[Path]) -> float:
    """The value of a map above which pixels are outlined."""
    maps = []
    for path in normal[:: -(-len(normal) // MOST_NORMAL)]:
        try:
            maps.append(detector.anomaly_map(path).ravel())
        except (ValueError, OSError):  # `fit` has named it
            continue
    return float(np.quantile(np.concatenate(maps), NORMAL_SHARE))


def _check(detector: Any, path: Path, level: float, out: Path, k: int) -> Checked:
    checked = Checked(path)
    try:
        with warnings.catch_warnings():
            # The page is for people who look at pictures.
            warnings.simplefilter("ignore", UserWarning)
            checked.score = float(detector.score_samples([path])[0])
            checked.decision = checked.score - detector.offset_
            picture = _marked(
                read_image(path, str(path), FileReader()),
                detector.anomaly_map(path),
                level,
            )
    except (ValueError, OSError) as error:
        checked.error = str(error)
        return checked
    checked.picture = f"marked/{k:05}-{path.stem}.png"
    picture.save(out / checked.picture)
    return checked


def _marked(image: np.ndarray, found: np.ndarray, level: float) -> Any:
    """Draw the image, and beside it the image with its unusual pixels marked."""
    from PIL import Image

    plain = _as_rgb(image)
    # From half of the level on, pixels turn red. From the level on they are outlined.
    heat = np.clip(found / level - 0.5, 0, 1)[..., None] * 0.6
    marked = plain * (1 - heat) + np.array([214, 39, 40]) * heat
    above = found > level
    line = binary_dilation(above, iterations=max(1, max(found.shape) // 256)) & ~above
    marked[line] = (255, 176, 0)
    gap = np.full((len(plain), max(2, plain.shape[1] // 50), 3), 255)
    both = Image.fromarray(np.concatenate([plain, gap, marked], 1).astype(np.uint8))
    both.thumbnail((2 * LONGEST_SIDE, LONGEST_SIDE))
    return both


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Bring an image of any dtype to (H, W, 3) between 0 and 255."""
    pixels = image.astype(float)
    if image.dtype != np.uint8:  # 16 bits are often used in part
        low, high = np.quantile(pixels, [0.005, 0.995])
        pixels = np.clip((pixels - low) / max(high - low, 1e-12), 0, 1) * 255
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.repeat(pixels[..., :1], 3, 2) if pixels.shape[2] < 3 else pixels[..., :3]


def _write_table(found: list[Checked], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "score", "decision", "error"])
        for c in found:
            writer.writerow([c.path.name, c.label, c.score, c.decision, c.error])


def _summary(found: list[Checked]) -> str:
    labels = [checked.label for checked in found]
    text = f"{labels.count('anomaly')} of {len(found)} files are called anomalies."
    n_unreadable = labels.count("unreadable")
    return text + (f" {n_unreadable} cannot be read." if n_unreadable else "")


def _page(found: list[Checked], detector: Any, normal: str) -> str:
    items = "\n".join(map(_item, found))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unusual images</title>
<style>{STYLE}</style>
<h1>Unusual images</h1>
<p>{html.escape(_summary(found))} The most unusual come first. Learned from the folder
{html.escape(Path(normal).name)} by {html.escape(type(detector).__name__)}. A file is
called an anomaly if its decision is negative. Each picture is shown as it is, and with
unusual pixels in red. Pixels more unusual than {NORMAL_SHARE:.1%} of those of normal
images are outlined. The same numbers are in <a href="scores.csv">scores.csv</a>.</p>
<main>
{items}
</main>
</html>
"""


def _item(checked: Checked) -> str:
    name = html.escape(checked.path.name)
    if checked.error:
        text = html.escape(checked.error)
        return f"<figure><figcaption>{name}: {text}</figcaption></figure>"
    address = urllib.parse.quote(checked.picture)
    return (
        f'<figure><a href="{address}"><img src="{address}" alt="{name}, as it is and '
        f'marked" loading="lazy"></a><figcaption><b class="{checked.label}">'
        f"{checked.label}</b> {name}, decision {checked.decision:.3g}</figcaption>"
        "</figure>"
    )


STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem }
main { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)) }
figure { margin: 0; overflow-wrap: anywhere }
img { width: 100%; height: auto; image-rendering: auto }
.anomaly { color: #d62728 }
"""
