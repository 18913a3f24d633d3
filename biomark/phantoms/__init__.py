"""Phantoms: images drawn from numbers, so that the truth is known exactly. None of them is a patient."""

from functools import partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biomark.cohort import Case, Cohort, Voxels
from biomark.grids import Boxes
from biomark.phantoms import chest, heart, liver
from biomark.phantoms.body import PARTS, Body, Directions, draw_body
from biomark.phantoms.canvas import Canvas, acquire
from biomark.phantoms.chest import paint_muscles, paint_thorax
from biomark.tasks import TASKS

__all__ = [
    "GIVEN",
    "PARTS",
    "SIZE",
    "VOXELS",
    "Body",
    "Canvas",
    "Directions",
    "acquire",
    "draw",
    "draw_body",
    "heart",
    "liver_masks",
    "paint_muscles",
    "paint_thorax",
]

SIZE = {"pma": 128, "sfa": 128, "liver": 96, "cac": 80}
"""Boxes on a side when ``size`` is not given, about 3 mm a box in the chest, 4 mm in the abdomen and 1.9 mm in the
heart box."""

VOXELS = {"pma": 3, "sfa": 3, "liver": 4, "cac": 2}
"""Voxels on a side of a box in a slice, about 1 mm each. On them phantoms are drawn and measured."""

_CHEST = ("female", "half_width_mm", "muscularity", "adipose_mm")
GIVEN = {"pma": _CHEST, "sfa": _CHEST, "liver": (), "cac": ("calcium",)}
"""What :func:`draw` takes instead of drawing it, by task; see :func:`draw_body` and ``heart.draw_volume``."""


def draw(
    key: str,
    n: int,
    seed: int,
    *,
    size: int | None = None,
    slices: int | None = None,
    workers: int | None = None,
    **given: Any,
) -> Cohort:
    """Draw a cohort of phantoms.

    Case ``i`` depends on ``seed`` and ``i`` alone: the first cases of a larger cohort are those of a smaller one,
    and ``pma`` and ``sfa`` with one seed are two numbers of the same images.

    Args:
        key: A task's key: ``"pma"``, ``"sfa"``, ``"liver"`` or ``"cac"``.
        n: Number of cases, at least 1.
        seed: Same arguments, same bits on one machine.
        size: Boxes of :data:`biomark.phantoms.VOXELS` on a side; :data:`biomark.phantoms.SIZE` by default.
        slices: Of a heart box, ``heart.SLICES`` by default (``heart.draw_volume`` takes their distance instead).
        workers: Processes that draw; their number changes no bit. One for every hundred cases by default, at most as
            many as there are processors, because each takes some seconds to start.
        **given: What is given rather than drawn, the same for all cases: the names in :data:`biomark.phantoms.GIVEN`.

    Returns:
        A cohort in boxes, with values, truth and voxels. A value is what a reader's tool gives, the weights inside the
        outline added up. The outline is that of the tissue, or the coronary calcium that a reader who knows all that
        was painted would click (``heart.lesions``). ``about`` has the outline's own area, ``area_cm2``.

    Raises:
        ValueError: An unknown key or ``given``, ``n`` or ``workers`` below 1, ``seed`` below 0, ``size`` or ``slices``
            below 8, or one of these is no whole number.
    """
    size = _checked_size(key, n, seed, size, given)
    workers = max(1, min(joblib.cpu_count(), n // 100)) if workers is None else workers
    depth = heart.SLICES if slices is None else slices
    _check_whole(slices=depth, workers=workers)
    if workers < 1:
        raise ValueError(f"at least one process must draw, not {workers}: give workers=1 or more.")
    task = TASKS[key]
    if slices is not None and (task.ndim == 2 or slices < 8):
        raise ValueError(
            f"a heart box has 8 slices or more, and {key!r} with slices={slices} is none: leave slices out."
        )
    given = given if task.ndim == 2 else given | {"slices": depth}
    images = np.empty((n, *(depth, size, size)[-task.ndim :]), np.float32)
    weights, truth = np.empty_like(images), np.empty_like(images)
    values, spacing, fine, areas = np.empty(n), np.empty((n, task.ndim)), [], []
    jobs = (joblib.delayed(_draw_boxes)(key, seed, i, size, given) for i in range(n))
    # In order and one at a time, so that no case is held twice.
    for i, case in enumerate(joblib.Parallel(n_jobs=workers, return_as="generator")(jobs)):
        images[i], weights[i], truth[i], values[i], area, voxels = case
        spacing[i] = voxels.boxes.spacing_mm(voxels.spacing_mm)
        fine.append(voxels)
        areas.append(area)
    about = pd.DataFrame({"area_cm2": areas}) if task.ndim == 2 else None
    ids = tuple(f"{key}-{seed}-{i}" for i in range(n))
    return Cohort(task, images, weights, values, truth, spacing, ids, about, fine=fine)


def liver_masks(n: int, seed: int, *, size: int | None = None) -> list[NDArray[np.bool_]]:
    """The livers, tumours included, of the phantoms that ``draw("liver", n, seed, size=size)`` gives.

    They stand for the organ masks that a segmentation tool would give, boolean on the measuring grid:
    :meth:`biomark.Cohort.within` narrows the candidates to them.
    """
    size = _checked_size("liver", n, seed, size, {})
    return [_draw_slice("liver", seed, i, size, {})[1]["organ"] for i in range(n)]


def _check_whole(**numbers: object) -> None:
    for name, number in numbers.items():
        if not isinstance(number, (int, np.integer)):
            raise ValueError(f"{name} must be a whole number, not {number!r}.")


def _checked_size(key: str, n: int, seed: int, size: int | None, given: dict[str, Any]) -> int:
    """Raise ValueError for what cannot be drawn; the size in pixels."""
    if key not in SIZE:
        raise ValueError(f"no phantom is drawn for {key!r}: choose one of {', '.join(sorted(SIZE))}.")
    size = SIZE[key] if size is None else size
    _check_whole(n=n, seed=seed, size=size)
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}.")
    if n < 1:
        raise ValueError(f"a cohort needs at least one case, not {n}.")
    if size < 8:
        raise ValueError(f"no phantom can be seen in {size} pixels: take a size of 8 or more.")
    if unknown := ", ".join(sorted(given.keys() - set(GIVEN[key]))):
        takes = f"it takes {', '.join(GIVEN[key])}" if GIVEN[key] else "all of it is drawn"
        raise ValueError(f"the phantom {key!r} does not take {unknown}: {takes}.")
    return size


def _draw_slice(key: str, seed: int, i: int, size: int, given: dict[str, Any]) -> tuple[NDArray, dict, float]:
    """Image, outlines by name and pixel side in mm of the i-th slice of a seed, on the measuring grid."""
    draw_slice: Any = liver.draw_slice if key == "liver" else chest.draw_slice
    return draw_slice(np.random.default_rng([seed, i]), size * VOXELS[key], **given)


def _draw_case(key: str, seed: int, i: int, size: int, given: dict[str, Any]) -> tuple[Case, NDArray[np.bool_]]:
    """One case on the measuring grid, and its mask."""
    spacing: tuple[float, ...]
    if key == "cac":
        rng = np.random.default_rng([seed, i])
        image, mask, _, spacing = heart.draw_volume(rng, size * VOXELS[key], **given)
    else:
        image, outlines, pixel = _draw_slice(key, seed, i, size, given)
        mask, spacing = outlines[key], (pixel, pixel)
    weights = TASKS[key].weigh(image, spacing)
    value = float(np.sum(weights, where=mask, dtype=float))
    return Case(f"{key}-{seed}-{i}", image, weights, value, mask, spacing), mask


def _draw_image(*case: Any) -> NDArray[np.float32]:
    return _draw_case(*case)[0].image


def _draw_boxes(key: str, seed: int, i: int, size: int, given: dict[str, Any]) -> tuple[Any, ...]:
    """Image, weights and truth of the boxes of one case, its value, the outline's area in cm2, and its voxels."""
    (case, mask), k = _draw_case(key, seed, i, size, given), VOXELS[key]
    sides = case.image.shape
    voxels = (1, k, k)[-len(sides) :]
    boxes = Boxes(tuple(n // v for n, v in zip(sides, voxels, strict=True)), voxels, sides)
    area = np.count_nonzero(mask) * np.prod(case.spacing_mm[-2:]) / 100
    arrays = boxes.means(case.image, 0), boxes.sums(case.weights), boxes.sums(case.weights * mask)
    return *arrays, case.value, area, Voxels.of(case, boxes, partial(_draw_image, key, seed, i, size, given))
