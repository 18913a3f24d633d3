"""Figures: axes in, axes out. Loaded only by who draws (``from biomark import viz``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .cohort import Case
from .evaluation import Report
from .model import Localization

# Okabe and Ito's palette: told apart by readers of every kind of colour vision.
COLOURS = {
    "found": "#E69F00",
    "truth": "#56B4E9",
    "candidates": "#009E73",
    "error": "#D55E00",
    "ink": "#333333",
}
WIDE, HALF = (9.0, 3.2), (4.4, 3.2)
SOFT_TISSUE_HU = (-200.0, 250.0)
"""Display window of level 25, width 450, in which fat is dark grey and muscle light grey."""


def use_style() -> None:
    """One look for all figures of the book."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.figsize": WIDE,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=[COLOURS[k] for k in ("truth", "found", "candidates", "error")]),
            "legend.frameon": False,
            "image.interpolation": "nearest",
        }
    )


def show_slice(
    ax: Axes,
    image_hu: NDArray,
    spacing_mm: Sequence[float],
    *,
    window_hu: tuple[float, float] = SOFT_TISSUE_HU,
    title: str = "",
    bar_cm: float = 5.0,
) -> Axes:
    """One axial slice, patient's right on the left, with a scale bar.

    Args:
        ax: Where to draw.
        image_hu: ``(H, W)``.
        spacing_mm: ``(dy, dx)``.
        window_hu: Values shown black and white.
        title: Written above.
        bar_cm: Length of the scale bar; 0 for none.
    """
    height, width = image_hu.shape
    dy, dx = spacing_mm
    ax.imshow(image_hu, cmap="gray", vmin=window_hu[0], vmax=window_hu[1], extent=(0, width * dx, height * dy, 0))
    if bar_cm:
        x, y = 0.04 * width * dx, 0.95 * height * dy
        ax.plot([x, x + bar_cm * 10], [y, y], color="white", lw=2, solid_capstyle="butt")
        ax.text(x, y - 0.02 * height * dy, f"{bar_cm:g} cm", color="white", fontsize=7, va="bottom")
    ax.set_title(title)
    ax.axis("off")
    return ax


def outline(ax: Axes, mask: NDArray, spacing_mm: Sequence[float], kind: str = "truth") -> Axes:
    """The contour of a region over a slice; ``kind`` names its colour in :data:`COLOURS`."""
    if np.any(mask) and not np.all(mask):
        y, x = ((np.arange(n) + 0.5) * s for n, s in zip(mask.shape, spacing_mm, strict=True))
        ax.contour(x, y, np.asarray(mask, float), [0.5], colors=COLOURS[kind], linewidths=1.0)
    return ax


def shade(ax: Axes, amount: NDArray, spacing_mm: Sequence[float], kind: str = "found") -> Axes:
    """Colour over a slice, as strong as ``amount`` in [0, 1]."""
    rgba = np.zeros((*amount.shape, 4))
    rgba[..., :3] = tuple(int(COLOURS[kind][i : i + 2], 16) / 255 for i in (1, 3, 5))
    rgba[..., 3] = 0.75 * np.clip(amount, 0, 1)
    (height, width), (dy, dx) = amount.shape, spacing_mm
    ax.imshow(rgba, extent=(0, width * dx, height * dy, 0))
    return ax


def localization(
    axes: Sequence[Axes], case: Case, found: Localization, unit: str, window_hu: tuple[float, float] = SOFT_TISSUE_HU
) -> Sequence[Axes]:
    """One case in three pictures: slice, candidates, and the map with the truth's outline where it is known."""
    known = case.id if case.value is None else f"known {case.value:.1f} {unit}"
    titles = known, "candidates", f"found {found.value:.1f} {unit}"
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        show_slice(ax, case.image, case.spacing_mm, window_hu=window_hu, title=title, bar_cm=0 if i else 5)
    shade(axes[1], case.weights > 0, case.spacing_mm, "candidates")
    shade(axes[2], found.map * (case.weights > 0), case.spacing_mm)
    if case.mask is not None:
        outline(axes[2], case.mask, case.spacing_mm)
    return axes


def gallery(
    cases: Sequence[Case],
    titles: Sequence[str] = (),
    columns: int = 4,
    height: float = 2.4,
    window_hu: tuple[float, float] = SOFT_TISSUE_HU,
) -> Figure:
    """Slices side by side, with their known regions outlined."""
    rows = -(-len(cases) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 2.3, rows * height), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, case) in enumerate(zip(axes.flat, cases, strict=False)):
        title = titles[i] if i < len(titles) else ""
        show_slice(ax, case.image, case.spacing_mm, window_hu=window_hu, title=title, bar_cm=0 if i else 5)
        if case.mask is not None:
            outline(ax, case.mask, case.spacing_mm)
    return figure


def show_projection(
    ax: Axes, volume_hu: NDArray, spacing_mm: Sequence[float], *, axis: int = 0, window_hu=(0.0, 500.0), title: str = ""
) -> Axes:
    """The brightest voxel along every ray (maximum-intensity projection), with a scale bar.

    Args:
        ax: Where to draw.
        volume_hu: ``(D, H, W)``, slices from feet to head.
        spacing_mm: ``(dz, dy, dx)``.
        axis: Along which to look: 0 from below, as at a slice; 1 from the front, head up; 2 from the side, head up.
        window_hu: Values shown black and white.
        title: Written above.
    """
    return show_slice(ax, *projected(volume_hu, spacing_mm, axis), window_hu=window_hu, title=title)


def projected(volume: NDArray, spacing_mm: Sequence[float], axis: int) -> tuple[NDArray, tuple[float, float]]:
    """The largest values along an axis as a picture, head up where it has one, and the picture's spacing."""
    picture = np.max(volume, axis=axis)
    left = tuple(s for i, s in enumerate(spacing_mm) if i != axis)
    return (picture if axis == 0 else picture[::-1]), left


def lesions_3d(ax: Axes, case: Case, found: Localization) -> Axes:
    """Candidate voxels in space: true and found, missed, and found in error; the size is what a voxel adds.

    Args:
        ax: Made with ``projection="3d"``.
        case: A volume with a mask.
        found: Its localization.
    """
    marked, true = (found.map > 0.5) & (case.weights > 0), case.mask
    dz, dy, dx = case.spacing_mm
    for name, kind, which in (
        ("true and found", "candidates", marked & true),
        ("missed", "truth", true & ~marked & (case.weights > 0)),
        ("found in error", "error", marked & ~true),
    ):
        z, y, x = np.nonzero(which)
        ax.scatter(
            x * dx, y * dy, z * dz, s=1 + case.weights[which], color=COLOURS[kind], label=f"{name} ({which.sum()})"
        )
    depth, height, width = case.image.shape
    ax.set(xlim=(0, width * dx), ylim=(height * dy, 0), zlim=(0, depth * dz))
    ax.set(xlabel="to the left [mm]", ylabel="to the back [mm]", zlabel="to the head [mm]")
    ax.set_box_aspect((width * dx, height * dy, depth * dz), zoom=0.85)
    ax.locator_params(nbins=3)
    ax.view_init(20, -70)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    return ax


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
    ax.tick_params(length=0, labelsize=8)
    return ax


def agreement(axes: Sequence[Axes], report: Report, *, log: bool = False) -> Sequence[Axes]:
    """Predicted against known, and the differences against their mean with the limits of agreement.

    Args:
        axes: Two.
        report: From :func:`biomark.evaluate`.
        log: Logarithmic axes, linear below 10, for values from 0 to thousands.
    """
    cases, unit = report.cases, report.unit
    span = [min(cases.known.min(), cases.predicted.min()), max(cases.known.max(), cases.predicted.max())]
    axes[0].plot(span, span, color=COLOURS["ink"], lw=0.8, zorder=0)
    axes[0].scatter(cases.known, cases.predicted, s=7, alpha=0.6, color=COLOURS["truth"])
    axes[0].set(xlabel=f"known [{unit}]", ylabel=f"predicted [{unit}]", title=f"r = {report.r.value:.4f}")
    axes[1].scatter(
        (cases.known + cases.predicted) / 2,
        cases.predicted - cases.known,
        s=7,
        alpha=0.6,
        color=COLOURS["truth"],
    )
    for level, style in ((report.bias, "-"), (report.limits[0], "--"), (report.limits[1], "--")):
        axes[1].axhline(level, color=COLOURS["ink"], lw=0.8, ls=style)
    title = f"bias {report.bias:+.2f}, limits {report.limits[0]:+.2f} to {report.limits[1]:+.2f} {unit}"
    axes[1].set(xlabel=f"mean of both [{unit}]", ylabel=f"predicted - known [{unit}]", title=title)
    if log:
        scale = {"value": "symlog", "linthresh": 10, "linscale": 0.5}
        for set_scale in (axes[0].set_xscale, axes[0].set_yscale, axes[1].set_xscale, axes[1].set_yscale):
            set_scale(**scale)
        axes[1].set_xlim(left=0)
    return axes


def curves(
    ax: Axes, series: Mapping[str, Sequence[float]], *, xlabel: str = "epoch", ylabel: str = "training loss"
) -> Axes:
    """Lines over epochs, counted from 1, named directly at their ends."""
    for name, values in series.items():
        (line,) = ax.plot(np.arange(1, len(values) + 1), values, marker="o", ms=3)
        ax.annotate(
            name,
            (len(values), values[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
        )
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Room for the names on the right alone.
    first, last = ax.get_xlim()
    ax.set_xlim(first, last + 0.25 * (last - first))
    return ax
