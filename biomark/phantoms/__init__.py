"""Phantoms: images drawn from numbers, so that the truth is known exactly. None of them is a patient."""

from __future__ import annotations

import joblib
import numpy as np
from numpy.typing import NDArray

from biomark.cohort import Cohort
from biomark.phantoms import chest, heart, liver
from biomark.tasks import TASKS

SIZE = {"pma": 128, "sfa": 128, "liver": 96, "cac": 80}
"""Pixels on a side when ``size`` is not given, about 3 mm a pixel in the chest, 4 mm in the abdomen and 1.8 mm
in the heart box."""

_CHEST = ("female", "half_width_mm", "muscularity", "adipose_mm")
GIVEN = {"pma": _CHEST, "sfa": _CHEST, "liver": (), "cac": ("calcium",)}
"""What :func:`draw` takes instead of drawing it, by task; see ``chest.draw_body`` and ``heart.draw_volume``."""


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
        slices: Of a heart box, ``heart.SLICES`` by default; ``heart.draw_volume`` draws the same heart with slices at
            a given distance.
        workers: Processes that draw, each case by itself: how many there are changes no bit. By default as many as
            there are processors, but one for every hundred cases, because each takes some seconds to start.
        **given: What is given rather than drawn, the same for all cases; :data:`biomark.phantoms.GIVEN` lists the
            names by key.

    Returns:
        A cohort with values and masks. Areas are analytic, the painted area, counted on a grid three times finer
        than the pixels; a mask holds the pixels that are covered by more than half. A calcium score is what a reader
        who knows all painted coronary calcium would click on the finished image (``heart.lesions``).

    Raises:
        ValueError: No phantom of that key, ``n`` or ``workers`` below 1, ``seed`` below 0, ``size`` or ``slices`` below
            8, one of these no whole number, or something given that this phantom does not take.
    """
    if key not in SIZE:
        raise ValueError(f"no phantom is drawn for {key!r}: choose one of {', '.join(sorted(SIZE))}.")
    numbers = {"n": n, "seed": seed, "size": size, "slices": slices, "workers": workers}
    for name, number in numbers.items():
        optional = name not in ("n", "seed") and number is None
        if not (optional or isinstance(number, (int, np.integer))):
            raise ValueError(f"{name} must be a whole number, not {number!r}.")
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}.")
    if n < 1:
        raise ValueError(f"a cohort needs at least one case, not {n}.")
    if workers is None:
        workers = max(1, min(joblib.cpu_count(), n // 100))
    if workers < 1:
        raise ValueError(f"at least one process must draw, not {workers}: give workers=1 or more.")
    if unknown := ", ".join(sorted(given.keys() - set(GIVEN[key]))):
        takes = f"it takes {', '.join(GIVEN[key])}" if GIVEN[key] else "all of it is drawn"
        raise ValueError(f"the phantom {key!r} does not take {unknown}: {takes}.")
    task, size = TASKS[key], SIZE[key] if size is None else size
    if size < 8:
        raise ValueError(f"no phantom can be seen in {size} pixels: take a size of 8 or more.")
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


def _draw_case(
    key: str, seed: int, i: int, size: int, given: dict[str, float]
) -> tuple[NDArray, NDArray, float, tuple[float, ...], NDArray]:
    """Image, mask, value, spacing and weights of one case."""
    rng = np.random.default_rng([seed, i])
    drawn = heart.draw_volume(rng, size, **given) if key == "cac" else _draw_slice(key, rng, size, **given)
    image, mask, value, spacing = drawn
    return image, mask, value, spacing, TASKS[key].weigh(image.astype(np.float32, copy=False), spacing)


def _draw_slice(
    key: str, rng: np.random.Generator, size: int, **given: float
) -> tuple[NDArray, NDArray, float, tuple[float, float]]:
    """Image, mask, area in cm2 and pixel spacing of one slice."""
    if key == "liver":
        image, tumour, _, pixel = liver.draw_slice(rng, size)
        coverage = {key: tumour}
    else:
        image, coverage, pixel = chest.draw_slice(rng, size, **given)
    return image, coverage[key] > 0.5, coverage[key].sum() * pixel**2 / 100, (pixel, pixel)
