"""Phantoms: images drawn from numbers, so that the truth is known exactly. None of them is a patient."""

from __future__ import annotations

import numpy as np

from ..cohort import Cohort
from ..tasks import TASKS
from . import chest

SIZE = {"pma": 128, "sfa": 128}
"""Pixels on a side when ``size`` is not given."""


def draw(key: str, n: int, seed: int, *, size: int | None = None) -> Cohort:
    """Draw a cohort of phantoms.

    Case ``i`` depends on ``seed`` and ``i`` alone: the first cases of a larger cohort are those of a smaller one,
    and ``pma`` and ``sfa`` with one seed are two numbers of the same images.

    Args:
        key: A task's key: ``"pma"`` or ``"sfa"``.
        n: Number of cases, at least 1.
        seed: Same arguments, same bits on one machine.
        size: Pixels on a side; 128 by default, about 3 mm a pixel.

    Returns:
        A cohort with analytic values and masks. A value is the painted area, counted on a grid three times finer
        than the pixels; a mask holds the pixels that are covered by more than half.

    Raises:
        ValueError: No phantom of that key, or ``n`` below 1.
    """
    if key not in SIZE:
        raise ValueError(f"no phantom is drawn for {key!r}: choose one of {', '.join(sorted(SIZE))}.")
    if n < 1:
        raise ValueError(f"a cohort needs at least one case, not {n}.")
    task, size = TASKS[key], size or SIZE[key]
    images = np.empty((n, size, size), np.float32)
    weights = np.empty_like(images)
    masks = np.empty(images.shape, bool)
    values, pixels = np.empty(n), np.empty(n)
    for i in range(n):
        images[i], coverage, pixels[i] = chest.draw_slice(np.random.default_rng([seed, i]), size)
        weights[i] = task.weigh(images[i], (pixels[i], pixels[i]))
        masks[i] = coverage[key] > 0.5
        values[i] = coverage[key].sum() * pixels[i] ** 2 / 100
    spacing = np.repeat(pixels[:, None], task.ndim, axis=1)
    return Cohort(task, images, weights, values, masks, spacing, tuple(f"{key}-{seed}-{i}" for i in range(n)))
