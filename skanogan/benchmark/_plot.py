"""Plot a benchmark: AUROC, false alarms and time of each detector."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from skanogan.benchmark._report import summarise, task_scores

__all__ = ["plot_results"]

# Distinct in hue for the colour blind, and in lightness and shape for grey prints.
_STYLES = {
    "skanogan": ("#a8320b", "D", "detectors of this package"),
    "baseline": ("#5b8fc7", "o", "baselines"),
    "other": ("#222222", "s", "other detectors"),
}
_NOMINAL = 0.05


def plot_results(rows: list[dict[str, Any]], path: Path) -> Path:
    """Plot AUROC, false alarms and seconds of each detector, and return the path."""
    from matplotlib.figure import Figure

    summary = [line for line in summarise(rows) if line["auroc"] is not None][::-1]
    aurocs, alarms = task_scores(rows, "auroc"), task_scores(rows, "false_alarms")
    seconds = task_scores(rows, "fit_seconds", "score_seconds")
    panels = [
        ("AUROC", "a tick for each task, a large mark for the mean", aurocs),
        ("false alarms of predict", "new normal rows labelled as outliers", alarms),
        ("fit and score", "seconds for one task", seconds),
    ]
    figure = Figure(figsize=(11, 1.9 + 0.36 * len(summary)), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1.1, 1))
    for axis, (title, explanation, scores) in zip(axes, panels, strict=True):
        for y, line in enumerate(summary):
            _draw_detector(axis, y, line, scores[line["detector"]])
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=20)
        axis.annotate(
            explanation,
            (0, 1),
            (0, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color="0.35",
        )
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", color="0.9", linewidth=1)
        axis.set_axisbelow(True)
        axis.margins(y=0.1)
    _scale(axes, aurocs)
    axes[0].set_yticks(
        range(len(summary)), [_in_lines(line["detector"]) for line in summary]
    )
    for y, label in enumerate(axes[0].get_yticklabels()):
        ours = summary[y]["family"] == "skanogan"
        emphasis: dict[str, Any] = {
            "color": _STYLES["skanogan"][0] if ours else "0.15",
            "fontweight": "bold" if ours else "normal",
        }
        label.set(**emphasis)
        axes[0].annotate(
            f"{summary[y]['auroc']:.3f}",
            (1.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9.5,
            annotation_clip=False,
            **emphasis,
        )
    _legend(figure, rows, summary)
    figure.savefig(path, dpi=150)
    return path


def _draw_detector(
    axis: Any, y: int, line: dict[str, Any], tasks: dict[str, float]
) -> None:
    colour, marker, _ = _STYLES[line["family"]]
    values = np.array(list(tasks.values()))
    values = values[~np.isnan(values)]
    ys = np.full(len(values), y)
    axis.plot(values, ys, "|", color=colour, alpha=0.45, ms=11, mew=1.3)
    size = 8 if marker == "o" else 7.5
    mark = {"color": colour, "ms": size, "mec": "white", "mew": 1, "zorder": 3}
    axis.plot(values.mean(), y, marker, **mark)


def _scale(axes: Any, aurocs: dict[str, dict[str, float]]) -> None:
    found = [v for tasks in aurocs.values() for v in tasks.values()]
    lowest = min((v for v in found if not np.isnan(v)), default=0.5)
    axes[0].locator_params(axis="x", nbins=6)
    axes[0].set_xlim(min(lowest - 0.02, 0.9), 1.005)
    if lowest < 0.5:
        axes[0].axvline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
    axes[1].set_xlim(left=-0.015)
    axes[1].axvline(_NOMINAL, color="0.25", linewidth=1, linestyle="--", zorder=0)
    axes[1].annotate(
        " nominal 5 %",
        (_NOMINAL, 1),
        (1, -9),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=8,
        color="0.25",
    )
    axes[1].xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes[2].set_xscale("log")
    axes[2].xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _legend(figure: Any, rows: list[dict[str, Any]], summary: list[Any]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=label)
        for family, (colour, marker, label) in _STYLES.items()
        if any(line["family"] == family for line in summary)
    ]
    n_tasks, n_seeds = (len({row[key] for row in rows}) for key in ("task", "seed"))
    label = f"{n_tasks} tasks, {n_seeds} seed{'s' * (n_seeds > 1)}"
    handles.append(Line2D([], [], linestyle="", label=label))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9
    )


def _in_lines(name: str) -> str:
    stem, bracket, arguments = name.partition("(")
    if len(name) <= 24 or not bracket:
        return name
    return f"{stem}\n" + textwrap.fill(f"({arguments}", 32)
