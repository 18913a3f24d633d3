"""One grid of boxes for all images of a cohort, whatever their voxels: laid over each so that it holds what counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomark.grids import Boxes

PADDING_HU = -1024.0
"""Fills boxes beyond the image's edge; the lowest value of most scanners. Values below it, such as a scanner's own
padding of -3024 HU, are raised to it before voxels are averaged, so that they do not darken the skin beside them."""


@dataclass(frozen=True)
class Grid:
    """The boxes in which the network sees all images of a cohort.

    Attributes:
        shape: Boxes along each axis, ``(H, W)`` or ``(D, H, W)``.
        spacing_mm: Their sides in the same order; where an image's voxel is larger, a box is one voxel. None makes each
            voxel a box: images are cut and padded, and no value is changed.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if self.spacing_mm is not None:
            object.__setattr__(self, "spacing_mm", tuple(float(s) for s in self.spacing_mm))
        spacing = self.spacing_mm or (1.0,) * len(self.shape)
        known = all(0 < s < np.inf for s in spacing)  # false for nan
        if min(self.shape, default=0) < 1 or len(spacing) != len(self.shape) or not known:
            raise ValueError(f"a grid needs a size and a spacing above 0 for each axis, not {self.shape}, {spacing}.")

    @classmethod
    def usual(cls, ndim: int, spacing_mm: Sequence[float] | None = None) -> Grid:
        """The default grid for images in ``ndim`` dimensions; ours.

        In 2-D 144 x 168 boxes of 3 mm: 432 x 504 mm, as wide as a scanner's field of view (500 mm). In 3-D 44 x 96 x
        96 boxes of 3 x 2 x 2 mm: 132 x 192 x 192 mm, the largest box of :func:`biomark.scans.heart_box`. Another
        spacing, such as a model's ``trained_spacing_mm``, gives a grid of that extent.
        """
        extents = (432.0, 504.0) if ndim == 2 else (132.0, 192.0, 192.0)
        usual = (3.0, 3.0) if ndim == 2 else (3.0, 2.0, 2.0)
        voxels = usual if spacing_mm is None else tuple(round(float(s), 4) for s in spacing_mm)
        return cls(tuple(math.ceil(mm / s - 1e-6) for mm, s in zip(extents, voxels, strict=True)), voxels)

    def place(self, shape: Sequence[int], spacing_mm: Sequence[float], part: Sequence[slice]) -> Boxes:
        """Lay the grid over an image, from one of its voxels' corners on.

        It is centred on ``part`` of the image, every voxel of which gets a box, but shifted so that it leaves the image
        as little as possible. ``shape`` and ``spacing_mm`` are the image's.

        Raises:
            ValueError: The part is larger than the grid.
        """
        own = tuple(float(s) for s in spacing_mm)
        voxels = tuple(max(new / old, 1.0) for new, old in zip(self.spacing_mm or own, own, strict=True))
        starts = []
        for n, voxel, size, inner in zip(self.shape, voxels, shape, part, strict=True):
            free = n * voxel - (inner.stop - inner.start)
            if free < -1e-6:
                need = " x ".join(f"{(p.stop - p.start) * s:.0f}" for p, s in zip(part, own, strict=True))
                have = " x ".join(f"{n * v * s:.0f}" for n, v, s in zip(self.shape, voxels, own, strict=True))
                raise ValueError(f"what is measured extends over {need} mm, the grid over {have}: give a larger grid.")
            over = size - n * voxel  # of the image beyond the grid
            start = inner.start - math.floor(free / 2)
            starts.append(min(max(start, math.ceil(min(over, 0))), math.ceil(max(over, 0))))
        return Boxes(self.shape, voxels, tuple(shape), tuple(starts))
