"""Charts of what was measured: agreement, groups, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from biomark.backbones import BACKBONES
from biomark.evaluation.report import Report
from biomark.viz.style import COLOURS, METHODS, pretty


def confusion(ax: Axes, known: NDArray, predicted: NDArray, names: Sequence[str]) -> Axes:
    """How many cases of each known group were predicted in which: numbers of groups, ``(N,)`` each, and their names."""
    n = len(names)
    counts = np.bincount(n * np.asarray(known) + predicted, minlength=n * n).reshape(n, n)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if share[row, column] > 0.6 else "black"
        ax.text(column, row, f"{count or ''}", ha="center", va="center", color=color)
    ticks = range(len(names))
    ax.set(xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names, xlabel="predicted", ylabel="known")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def agreement(axes: Sequence[Axes], report: Report, *, log: bool = False) -> Sequence[Axes]:
    """Predicted against known, and the differences against their mean with the limits of agreement.

    Args:
        axes: Two.
        report: From :func:`biomark.evaluate`.
        log: Logarithmic axes, linear below 10, for values from 0 to thousands.
    """
    cases, unit = report.cases, pretty(report.unit)
    both = cases[["known", "predicted"]]
    span = both.min(axis=None), both.max(axis=None)
    look: dict[str, Any] = {"s": 14, "alpha": 0.8, "color": COLOURS["points"], "linewidths": 0}
    axes[0].plot(span, span, color=COLOURS["ink"], lw=0.8, zorder=0)
    axes[0].scatter(cases.known, cases.predicted, **look)
    axes[0].set(xlabel=f"known [{unit}]", ylabel=f"predicted [{unit}]", title=f"r = {report.r.value:.4f}")
    axes[1].scatter(both.mean(axis=1), cases.predicted - cases.known, **look)
    for level, style in ((report.bias, "-"), (report.limits[0], "--"), (report.limits[1], "--")):
        axes[1].axhline(level, color=COLOURS["ink"], lw=0.8, ls=style)
    digits = 0 if log else 2
    bias, low, high = (f"{level:+.{digits}f}" for level in (report.bias, *report.limits))
    title = f"bias {bias},\nlimits {low} to {high} {unit}"
    axes[1].set(xlabel=f"mean of both [{unit}]", ylabel=f"predicted - known [{unit}]", title=title)
    if log:
        for ax in axes:
            ax.set_xscale("symlog", linthresh=10, linscale=0.5)
            ax.set_yscale("symlog", linthresh=10, linscale=0.5)
        axes[1].set_xlim(left=0)
    else:
        margin = 0.03 * (span[1] - span[0])
        ends = span[0] - margin, span[1] + margin
        axes[0].set(xlim=ends, ylim=ends)
        axes[0].set_aspect("equal")
        axes[0].locator_params(nbins=5)
    return axes


def curves(
    ax: Axes, series: Mapping[str, Sequence[float]], *, xlabel: str = "epoch", ylabel: str = "training loss"
) -> Axes:
    """Lines over epochs, counted from 1; where there are several, named directly at their ends."""
    for name, values in series.items():
        ax.plot(np.arange(1, len(values) + 1), values, marker="o", ms=3)
        if len(series) > 1:
            end = len(values), values[-1]
            ax.annotate(name, end, (6, 0), textcoords="offset points", va="center", color=COLOURS["ink"])
    longest = max(len(values) for values in series.values())
    epochs = MaxNLocator(integer=True).tick_values(1, longest)
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=[epoch for epoch in epochs if 1 <= epoch <= longest])
    if len(series) > 1:  # room for the names
        first, last = ax.get_xlim()
        ax.set_xlim(first, last + 0.25 * (last - first))
    return ax


def method_rows(runs: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Name of every method and backbone in a sweep's ``results.csv``: localizers first, then rivals, then others."""
    there = list(dict.fromkeys(zip(runs.method, runs.backbone, strict=True)))
    known = [("localizer", backbone) for backbone in BACKBONES] + [(method, "unet") for method in METHODS]
    there.sort(key=lambda row: known.index(row) if row in known else len(known))
    names = {method: name for method, (name, _, _) in METHODS.items()}
    return {(m, b): names.get(m, m) + ("" if m != "localizer" and b == "unet" else f", {b}") for m, b in there}


def methods(
    axes: Sequence[Axes],
    runs: pd.DataFrame,
    *,
    rows: Mapping[tuple[str, str], str] | None = None,
    mine: Report | None = None,
) -> Sequence[Axes]:
    """Number and place of the runs of one task: a row a method, one mark a seed with its 95 % interval over cases.

    Args:
        axes: Two, with one shared vertical axis or not: 1 - r on a logarithmic axis, and Dice. Right is better.
        runs: Rows of ``results.csv`` of a sweep, of one task and one number of labels.
        rows: Method and backbone of each row, and its name; by default :func:`method_rows` of ``runs``.
        mine: Another run, drawn as a line through all rows.
    """
    rows = method_rows(runs) if rows is None else rows
    shown = [*runs.r_high] + ([] if mine is None else [mine.r.value])
    best = 0.8 * min([1e-3, *(1 - r for r in shown if r < 1)])  # a perfect r has no place on a logarithmic axis
    for y, (method, backbone) in enumerate(rows):
        _method_row(axes, y, method, runs[(runs.method == method) & (runs.backbone == backbone)])
    axes[1].axvline(runs.dice_candidates.mean(), color=COLOURS["candidates"], lw=1, ls="--")
    if mine is not None:
        for ax, value in zip(axes, (max(1 - mine.r.value, best), mine.dice.value), strict=True):
            ax.axvline(value, color=COLOURS["ink"], lw=1)
            if np.isfinite(value):
                at = ax.get_xaxis_transform()
                ax.text(value, 1, "this run", color=COLOURS["ink"], transform=at, ha="center", va="bottom")
    worst = max(0.4, (1 - runs.r_low).max(), 0 if mine is None else 1.1 * (1 - mine.r.value))
    axes[0].set(xscale="log", xlim=(worst, best), xlabel="1 - r")
    axes[0].set_xticks([0.1, 0.01, 0.001], ["0.1", "0.01", "0.001"])
    axes[1].set(xlim=(-0.05, 1), xlabel="Dice")
    for ax in axes:
        ax.set(yticks=range(len(rows)), yticklabels=rows.values(), ylim=(len(rows) - 0.4, -0.6))
    return axes


def _method_row(axes: Sequence[Axes], y: int, method: str, runs: pd.DataFrame) -> None:
    """A mark a seed, with its interval, or why there is none."""
    _, marker, kind = METHODS.get(method, (method, "v", "ink"))
    look: dict[str, Any] = {"color": COLOURS[kind], "lw": 1}
    for j, run in enumerate(runs.itertuples()):
        at = y + 0.2 * (j - (len(runs) - 1) / 2)
        axes[0].plot([1 - run.r_high, 1 - run.r_low], [at, at], **look)
        axes[0].plot(1 - run.r, at, marker, ms=4.5, **look)
        axes[1].plot([run.dice_low, run.dice_high], [at, at], **look)
        axes[1].plot(run.dice, at, marker, ms=4.5, **look)
    for ax, empty in ((axes[0], not len(runs)), (axes[1], runs.dice.isna().all())):
        if empty:
            look = {"ha": "center", "va": "center", "color": "0.5", "bbox": {"color": "white", "pad": 1}}
            words = "no map" if len(runs) else "not run"
            ax.text(0.5, y, words, transform=ax.get_yaxis_transform(), **look)
