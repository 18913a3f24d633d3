"""Charts of what was measured: agreement, groups, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..evaluation import Report
from .style import COLOURS, pretty


def confusion(ax: Axes, known: NDArray, predicted: NDArray, names: Sequence[str]) -> Axes:
    """How many cases of each known group were predicted in which.

    Args:
        ax: Where to draw.
        known: Number of each case's group, ``(N,)``.
        predicted: The same as predicted, ``(N,)``.
        names: Names of the groups.
    """
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (known, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ax.text(
            column, row, count or "", ha="center", va="center", color="white" if share[row, column] > 0.6 else "black"
        )
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
    look = {"s": 14, "alpha": 0.8, "color": COLOURS["points"], "linewidths": 0}
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
        scale = {"value": "symlog", "linthresh": 10, "linscale": 0.5}
        for set_scale in (axes[0].set_xscale, axes[0].set_yscale, axes[1].set_xscale, axes[1].set_yscale):
            set_scale(**scale)
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
