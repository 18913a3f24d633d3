"""Slices and projections in millimetres, and regions coloured or outlined on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from biomark.cohort import Case
from biomark.localizer import Localization
from biomark.viz.style import COLOURS, SOFT_TISSUE_HU, pretty


def show_slice(
    ax: Axes,
    image_hu: NDArray,
    spacing_mm: Sequence[float],
    *,
    window_hu: tuple[float, float] = SOFT_TISSUE_HU,
    title: str = "",
    bar_cm: float = 5.0,
) -> Axes:
    """One axial slice ``(H, W)`` of pixels ``(dy, dx)``, patient's right on the left.

    ``window_hu`` are the values shown black and white, ``bar_cm`` is the length of the scale bar, 0 for none.
    """
    y, x = np.multiply(image_hu.shape, spacing_mm)
    ax.imshow(image_hu, cmap="gray", vmin=window_hu[0], vmax=window_hu[1], extent=(0, x, y, 0))
    if bar_cm:
        _scale_bar(ax, bar_cm, 0.04 * x, 0.95 * y, 0.02 * y)
    ax.set_title(title)
    ax.axis("off")
    return ax


def _scale_bar(ax: Axes, length_cm: float, x_mm: float, y_mm: float, gap_mm: float) -> None:
    """A white bar from a point to the right, with its length above."""
    rim = [withStroke(linewidth=3, foreground="black")]  # tells it apart from white tissue
    ends = [x_mm, x_mm + length_cm * 10]
    ax.plot(ends, [y_mm, y_mm], color="white", lw=2, solid_capstyle="butt", path_effects=rim)
    ax.text(x_mm, y_mm - gap_mm, f"{length_cm:g} cm", color="white", fontsize=9, va="bottom", path_effects=rim)


def frame(ax: Axes, image: NDArray, spacing_mm: Sequence[float], side_mm: float, bar_cm: float = 0.0) -> Axes:
    """A picture ``(H, W)`` in the middle of a black square of ``side_mm``, so that several can be compared in size.

    The side is :func:`widest_mm` of all of them. With ``bar_cm``, a scale bar of that length is drawn in the corner.
    """
    (y, x), half = np.multiply(image.shape, spacing_mm) / 2, side_mm / 2
    ax.axis("on")
    ax.set(xlim=(x - half, x + half), ylim=(y + half, y - half), xticks=[], yticks=[], facecolor="black")
    ax.spines[:].set_visible(False)
    if bar_cm:
        _scale_bar(ax, bar_cm, x - 0.92 * half, y + 0.9 * half, 0.04 * half)
    return ax


def widest_mm(cases: Sequence[Case]) -> float:
    """The longest side of any of these slices, in mm."""
    return float(max(max(np.multiply(case.image.shape, case.spacing_mm)) for case in cases))


def body_box(case: Case, pad_mm: float = 10.0) -> tuple[slice, ...]:
    """The part of a slice or volume that holds the candidates, and so the body, with ``pad_mm`` around them."""
    box = []
    for axis, spacing in enumerate(case.spacing_mm):
        some = np.flatnonzero((case.weights > 0).any(tuple(i for i in range(case.weights.ndim) if i != axis)))
        pad = round(pad_mm / spacing)
        box.append(slice(max(some[0] - pad, 0), some[-1] + 1 + pad) if len(some) else slice(None))
    return tuple(box)


def cropped(case: Case) -> Case:
    """A case without the air around the body."""
    box = body_box(case)
    mask = None if case.mask is None else case.mask[box]
    return replace(case, image=case.image[box], weights=case.weights[box], mask=mask)


def outline(ax: Axes, mask: NDArray, spacing_mm: Sequence[float], kind: str = "truth", linewidth: float = 1.0) -> Axes:
    """The contour of a region ``(H, W)`` along the edges of its pixels, in a colour of :data:`COLOURS`."""
    padded = np.pad(np.asarray(mask, bool), 1)  # so that the line also closes at the edge of the picture
    lines: list[Any] = []
    for axis, along in enumerate(((0, 1), (1, 0))):
        # An edge runs where two neighbours along an axis differ, and one pixel along the other axis.
        first = np.argwhere(np.diff(padded, axis=axis)) - np.array(along)
        lines.append(np.stack([first, first + along], 1) * np.asarray(spacing_mm))
    segments: Any = np.concatenate(lines)[..., ::-1]
    edge = LineCollection(segments, colors=COLOURS[kind], linewidths=linewidth, capstyle="projecting")
    ax.add_collection(edge, autolim=False)
    return ax


def shade(ax: Axes, amount: NDArray, spacing_mm: Sequence[float], kind: str = "found") -> Axes:
    """Colour over a slice, as strong as ``amount`` in [0, 1]."""
    rgba = np.full((*amount.shape, 4), to_rgba(COLOURS[kind]))
    rgba[..., 3] = 0.75 * np.clip(amount, 0, 1)
    y, x = np.multiply(amount.shape, spacing_mm)
    ax.imshow(rgba, extent=(0, x, y, 0))
    return ax


def localization(
    axes: Sequence[Axes], case: Case, found: Localization, unit: str, window_hu: tuple[float, float] = SOFT_TISSUE_HU
) -> Sequence[Axes]:
    """One case in three pictures, cropped to the body: slice, candidates, and map with outlines.

    Args:
        axes: Three.
        case: On any grid, such as its own voxels, ``cohort.voxels(i)``.
        found: What a model finds in it, on that grid; outlined is its mask, or without one what has a map above 1/2.
        unit: Of the value.
        window_hu: Values shown black and white.
    """
    known = case.id if case.value is None else f"known {case.value:.1f} {pretty(unit)}"
    titles = known, "candidates", f"found {found.value:.1f} {pretty(unit)}"
    box = body_box(case)
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        show_slice(ax, case.image[box], case.spacing_mm, window_hu=window_hu, title=title, bar_cm=0 if i else 5)
    shade(axes[1], case.weights[box] > 0, case.spacing_mm, "candidates")
    shade(axes[2], (np.asarray(found.map) * (case.weights > 0))[box], case.spacing_mm)
    outline(axes[2], _marked(case, found)[box], case.spacing_mm, "found", linewidth=0.8)
    if case.mask is not None:
        outline(axes[2], case.mask[box], case.spacing_mm, linewidth=0.8)
    return axes


def _marked(case: Case, found: Localization) -> NDArray[np.bool_]:
    """The mask of the value; without one, the candidates whose map is above 1/2."""
    return np.asarray(found.mask) if found.mask is not None else (np.asarray(found.map) > 0.5) & (case.weights > 0)


def gallery(
    cases: Sequence[Case],
    titles: Sequence[str] = (),
    columns: int = 4,
    height: float = 2.4,
    window_hu: tuple[float, float] = SOFT_TISSUE_HU,
) -> Figure:
    """Slices side by side, cropped and all to one scale, with their known regions outlined."""
    cases, rows = [cropped(case) for case in cases], -(-len(cases) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 2.25, rows * height), squeeze=False)
    side_mm = widest_mm(cases)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, case) in enumerate(zip(axes.flat, cases, strict=False)):
        title = titles[i] if i < len(titles) else ""
        show_slice(ax, case.image, case.spacing_mm, window_hu=window_hu, title=title, bar_cm=0)
        if case.mask is not None:
            outline(ax, case.mask, case.spacing_mm)
        frame(ax, case.image, case.spacing_mm, side_mm, bar_cm=0 if i else 5)
    return figure


def show_projection(
    ax: Axes, volume_hu: NDArray, spacing_mm: Sequence[float], *, axis: int = 0, window_hu=(0.0, 500.0), title: str = ""
) -> Axes:
    """Maximum-intensity projection of a volume ``(D, H, W)``, slices from feet to head, with a scale bar.

    Along axis 0 one looks from below, as at a slice, along 1 from the front and along 2 from the side, head up.
    """
    return show_slice(ax, *projected(volume_hu, spacing_mm, axis), window_hu=window_hu, title=title)


def projected(volume: NDArray, spacing_mm: Sequence[float], axis: int) -> tuple[NDArray, tuple[float, float]]:
    """The largest values along an axis as a picture, head up where it has one, and the picture's spacing."""
    picture: NDArray = np.max(volume, axis=axis)
    down, across = (s for i, s in enumerate(spacing_mm) if i != axis)
    return (picture if axis == 0 else picture[::-1]), (down, across)


def lesions_3d(ax: Any, case: Case, found: Localization) -> Axes:
    """Candidates of a volume with a mask: true and found, missed, found in error; the larger, the more a voxel adds.

    The axes are made with ``projection="3d"``.
    """
    marked, true = _marked(case, found), np.asarray(case.mask)
    dz, dy, dx = case.spacing_mm
    for name, kind, mark, which in (
        ("true and found", "candidates", "o", marked & true),
        ("missed", "truth", "s", true & ~marked & (case.weights > 0)),
        ("found in error", "error", "^", marked & ~true),
    ):
        if which.any():
            z, y, x = np.nonzero(which)
            size = 6 + 2 * case.weights[which]
            ax.scatter(x * dx, y * dy, z * dz, s=size, marker=mark, color=COLOURS[kind], depthshade=False)
        ax.plot([], [], [], mark, color=COLOURS[kind], ms=6, label=f"{name} ({which.sum()})")
    depth, height, width = np.multiply(case.image.shape, case.spacing_mm)
    ax.set(xlim=(0, width), ylim=(height, 0), zlim=(0, depth))
    ax.set(xticks=(0, 50, 100), yticks=(50, 100), zticks=(0, 50, 100))
    ax.set_xlabel("left [mm]", labelpad=-1)
    ax.set_ylabel("back [mm]", labelpad=0)
    ax.set_zlabel("head [mm]", labelpad=-4)
    ax.tick_params(pad=-1, labelsize=9)
    ax.set_box_aspect((width, height, depth), zoom=1.0)
    ax.view_init(20, -60)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), handletextpad=0.2)
    return ax
