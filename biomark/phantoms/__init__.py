"""Phantoms: images drawn from numbers, so that the truth is known exactly. None of them is a patient."""

import joblib
import numpy as np
from numpy.typing import NDArray

from biomark.cohort import Cohort
from biomark.phantoms import chest, heart, liver
from biomark.phantoms.body import PARTS, Body, Directions, draw_body
from biomark.phantoms.canvas import Canvas, acquire
from biomark.phantoms.chest import paint_muscles, paint_thorax
from biomark.tasks import TASKS

__all__ = [
    "GIVEN",
    "PARTS",
    "SIZE",
    "Body",
    "Canvas",
    "Directions",
    "acquire",
    "coverage",
    "draw",
    "draw_body",
    "heart",
    "liver_masks",
    "paint_muscles",
    "paint_thorax",
]

SIZE = {"pma": 128, "sfa": 128, "liver": 96, "cac": 80}
"""Pixels on a side when ``size`` is not given, about 3 mm a pixel in the chest, 4 mm in the abdomen and 1.8 mm
in the heart box."""

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
    **given: float,
) -> Cohort:
    """Draw a cohort of phantoms.

    Case ``i`` depends on ``seed`` and ``i`` alone: the first cases of a larger cohort are those of a smaller one,
    and ``pma`` and ``sfa`` with one seed are two numbers of the same images.

    Args:
        key: A task's key: ``"pma"``, ``"sfa"``, ``"liver"`` or ``"cac"``.
        n: Number of cases, at least 1.
        seed: Same arguments, same bits on one machine.
        size: Pixels on a side; :data:`biomark.phantoms.SIZE` by default.
        slices: Of a heart box, ``heart.SLICES`` by default (``heart.draw_volume`` takes their distance instead).
        workers: Processes that draw; their number changes no bit. One for every hundred cases by default, at most as
            many as there are processors, because each takes some seconds to start.
        **given: What is given rather than drawn, the same for all cases: the names in :data:`biomark.phantoms.GIVEN`.

    Returns:
        A cohort with values and masks. Areas are analytic (see :func:`coverage`); a mask holds the pixels that are
        covered by more than half. A calcium score is what a reader who knows all painted coronary calcium would click
        on the finished image (``heart.lesions``).

    Raises:
        ValueError: An unknown key or ``given``, ``n`` or ``workers`` below 1, ``seed`` below 0, ``size`` or ``slices``
            below 8, or one of these is no whole number.
    """
    size = _checked_size(key, n, seed, size, given)
    workers = max(1, min(joblib.cpu_count(), n // 100)) if workers is None else workers
    _check_whole(slices=heart.SLICES if slices is None else slices, workers=workers)
    if workers < 1:
        raise ValueError(f"at least one process must draw, not {workers}: give workers=1 or more.")
    task = TASKS[key]
    if slices is not None and (task.ndim == 2 or slices < 8):
        raise ValueError(
            f"a heart box has 8 slices or more, and {key!r} with slices={slices} is none: leave slices out."
        )
    if task.ndim == 3:
        given = given | {"slices": slices or heart.SLICES}
    shape = (size, size) if task.ndim == 2 else (given["slices"], size, size)
    images = np.empty((n, *shape), np.float32)
    weights = np.empty_like(images)
    masks = np.empty(images.shape, bool)
    values, spacing = np.empty(n), np.empty((n, task.ndim))
    jobs = (joblib.delayed(_draw_case)(key, seed, i, size, given) for i in range(n))
    # In order and one at a time, so that no case is held twice.
    for i, case in enumerate(joblib.Parallel(n_jobs=workers, return_as="generator")(jobs)):
        images[i], masks[i], values[i], spacing[i], weights[i] = case
    return Cohort(task, images, weights, values, masks, spacing, tuple(f"{key}-{seed}-{i}" for i in range(n)))


def coverage(
    key: str, n: int, seed: int, *, size: int | None = None, **given: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The true shares of tissue in the pixels of what :func:`draw` gives for the same arguments.

    Returns:
        The share of each pixel that the measured tissue covers, ``(n, size, size)``, counted on a grid three times
        finer than the pixels; the pixels' sides in mm, ``(n,)``. Share times pixel area, in sum, is the true area.

    Raises:
        ValueError: As :func:`draw`, and for ``"cac"``, which is no area.
    """
    size = _checked_size(key, n, seed, size, given)
    if TASKS[key].ndim == 3:
        raise ValueError(f"{key!r} is no area, so no shares of its voxels are known: ask for pma, sfa or liver.")
    shares, pixels_mm = np.empty((n, size, size)), np.empty(n)
    for i in range(n):
        _, drawn, pixels_mm[i] = _draw_slice(key, seed, i, size, given)
        shares[i] = drawn[key]
    return shares, pixels_mm


def liver_masks(n: int, seed: int, *, size: int | None = None) -> NDArray[np.bool_]:
    """The livers, tumours included, of the phantoms that ``draw("liver", n, seed, size=size)`` gives.

    They stand for the organ masks that a segmentation tool would give: :meth:`biomark.Cohort.within` narrows the
    candidates to them.

    Returns:
        Boolean array ``(n, size, size)``, true in pixels of which more than half is liver.
    """
    size = _checked_size("liver", n, seed, size, {})
    return np.stack([_draw_slice("liver", seed, i, size, {})[1]["organ"] > 0.5 for i in range(n)])


def _check_whole(**numbers: object) -> None:
    for name, number in numbers.items():
        if not isinstance(number, (int, np.integer)):
            raise ValueError(f"{name} must be a whole number, not {number!r}.")


def _checked_size(key: str, n: int, seed: int, size: int | None, given: dict[str, float]) -> int:
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


def _draw_slice(key: str, seed: int, i: int, size: int, given: dict[str, float]) -> tuple[NDArray, dict, float]:
    """Image, shares by name and pixel side in mm of the i-th slice of a seed."""
    draw_slice = liver.draw_slice if key == "liver" else chest.draw_slice
    return draw_slice(np.random.default_rng([seed, i]), size, **given)


def _draw_case(
    key: str, seed: int, i: int, size: int, given: dict[str, float]
) -> tuple[NDArray, NDArray, float, tuple[float, ...], NDArray]:
    """Image, mask, value, spacing and weights of one case."""
    if key == "cac":
        image, mask, value, spacing = heart.draw_volume(np.random.default_rng([seed, i]), size, **given)
    else:
        image, shares, pixel = _draw_slice(key, seed, i, size, given)
        mask, value, spacing = shares[key] > 0.5, shares[key].sum() * pixel**2 / 100, (pixel, pixel)
    return image, mask, value, spacing, TASKS[key].weigh(image.astype(np.float32, copy=False), spacing)
