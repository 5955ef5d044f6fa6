"""The report of checked files: a page, a table, and pictures in order of the scores."""

import csv
import html
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Checked", "summary", "write_report"]

COLUMNS = ("file", "label", "score", "decision", "picture", "note")

LONGEST_STEM = 50
"""Characters of a file's name in that of its picture. File systems limit names."""


@dataclass
class Checked:
    """One file that was checked, or could not be checked if `score` is None."""

    path: Path
    score: float | None = None
    decision: float = 0.0
    picture: Path | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The file's name, also if it is not valid UTF-8."""
        return os.fsencode(self.path.name).decode("utf-8", "replace")

    @property
    def label(self) -> str:
        """What is found."""
        if self.score is None:
            return "not checked"
        return "anomaly" if self.decision < 0 else "normal"


def summary(found: Sequence[Checked]) -> str:
    """Count anomalies, and files that could not be checked."""
    labels = [checked.label for checked in found]
    n_failed = labels.count("not checked")
    text = f"{labels.count('anomaly')} of {len(found)} files are called anomalies."
    return text + (f" {n_failed} could not be checked." if n_failed else "")


def write_report(
    folder: Path, found: Sequence[Checked], explanation: str, notes: Sequence[str]
) -> None:
    """Write index.html and scores.csv, and number the pictures by their scores."""
    ordered = sorted(
        found, key=lambda checked: (checked.score is None, checked.decision)
    )
    for rank, checked in enumerate(ordered, 1):
        if checked.picture is not None:
            stem = Path(checked.name).stem[:LONGEST_STEM]
            target = checked.picture.with_name(f"{rank:05}-{stem}.png")
            checked.picture = checked.picture.rename(target)
    # Spreadsheets need a byte order mark to read umlauts.
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_row(checked, folder) for checked in ordered)
    page = _page(ordered, folder, explanation, notes)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _address(checked: Checked, folder: Path) -> str:
    return checked.picture.relative_to(folder).as_posix() if checked.picture else ""


def _row(checked: Checked, folder: Path) -> tuple[object, ...]:
    numbers = ("", "") if checked.score is None else (checked.score, checked.decision)
    address = _address(checked, folder)
    return checked.name, checked.label, *numbers, address, checked.note


def _page(
    ordered: Sequence[Checked], folder: Path, explanation: str, notes: Sequence[str]
) -> str:
    shown = [_figure(c, folder) for c in ordered if c.score is not None]
    failed = [_failure(c) for c in ordered if c.score is None]
    remarks = [f"<li>{html.escape(note)}</li>" for note in notes]
    n_noted = sum(c.score is not None and bool(c.note) for c in ordered)
    if n_noted:
        remarks.append(f"<li>scores.csv has notes on {n_noted} checked file(s).</li>")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unusual images</title>
<style>{STYLE}</style>
<h1>Unusual images</h1>
<p><strong>{html.escape(summary(ordered))}</strong> The most unusual come first.
The numbers are also in <a href="scores.csv">scores.csv</a>.</p>
<p>{html.escape(explanation)}</p>
{_list("Notes", remarks)}
<main>
{chr(10).join(shown)}
</main>
{_list("Files that could not be checked", failed)}
</html>
"""


def _list(title: str, items: Sequence[str]) -> str:
    return f"<h2>{title}</h2>\n<ul>{chr(10).join(items)}</ul>" if items else ""


def _figure(checked: Checked, folder: Path) -> str:
    address = urllib.parse.quote(_address(checked, folder))
    name = html.escape(checked.name)
    return (
        f'<figure><a href="{address}"><img src="{address}" loading="lazy" '
        f'alt="{name}, as it is and marked"></a><figcaption>'
        f'<b class="{checked.label}">{checked.label}</b> {name}, '
        f"decision {checked.decision:.3g}</figcaption></figure>"
    )


def _failure(checked: Checked) -> str:
    return f"<li><b>{html.escape(checked.name)}</b>: {html.escape(checked.note)}</li>"


STYLE = """
:root { color-scheme: light dark; --found: #b3261e }
@media (prefers-color-scheme: dark) { :root { --found: #ff8a80 } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem }
main { display: grid; gap: 1.5rem; align-items: end;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)) }
figure { margin: 0 }
img { display: block; width: 100%; height: auto; margin-bottom: 0.3rem }
.anomaly { color: var(--found) }
"""
