"""One grid for all images of a cohort: cut out, padded with air and averaged so that no biomarker changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING_HU = -1024.0
"""Fills a grid beyond the image's edge; the lowest value of most scanners. Values below it, such as a scanner's own
padding of -3024 HU, are raised to it before voxels are averaged, so that they do not darken the skin beside them."""


@dataclass(frozen=True)
class Grid:
    """The voxels that all images of a cohort are brought to.

    Attributes:
        shape: Voxels along each axis, ``(H, W)`` or ``(D, H, W)``.
        spacing_mm: Their spacing in the same order. None keeps every image's own: images are cut and padded, and no
            value is changed.
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
            raise ValueError(
                f"a grid needs a size and a spacing above 0 for each axis, but got {self.shape} and {self.spacing_mm}."
            )

    @classmethod
    def usual(cls, ndim: int, spacing_mm: Sequence[float] | None = None) -> Grid:
        """The default grid for images in ``ndim`` dimensions; ours.

        In 2-D 144 x 168 pixels of 3 mm: 432 x 504 mm, as wide as a scanner's field of view (500 mm). In 3-D 44 x 96 x
        96 voxels of 3 x 2 x 2 mm: 132 x 192 x 192 mm, the largest box of :func:`biomark.scans.heart_box`. Another
        spacing, such as a model's ``trained_spacing_mm``, gives a grid of that extent.
        """
        grid = cls((144, 168), (3.0, 3.0)) if ndim == 2 else cls((44, 96, 96), (3.0, 2.0, 2.0))
        if spacing_mm is None:
            return grid
        voxels = tuple(round(float(s), 4) for s in spacing_mm)
        extents = (n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True))
        return cls(tuple(math.ceil(mm / s - 1e-6) for mm, s in zip(extents, voxels, strict=True)), voxels)

    def place(self, shape: Sequence[int], spacing_mm: Sequence[float], part: Sequence[slice]) -> Placement:
        """Lay the grid over an image, from one of its voxels' corners on.

        It is centred on ``part`` of the image, which must lie on it, but shifted so that it leaves the image as little
        as possible. ``shape`` and ``spacing_mm`` are the image's.

        Raises:
            ValueError: The part is larger than the grid.
        """
        own = tuple(float(s) for s in spacing_mm)
        voxels = tuple(new / old for new, old in zip(self.spacing_mm or own, own, strict=True))
        starts = []
        for n, voxel, size, inner in zip(self.shape, voxels, shape, part, strict=True):
            free = n * voxel - (inner.stop - inner.start)
            if free < -1e-6:
                need = " x ".join(f"{(p.stop - p.start) * s:.0f}" for p, s in zip(part, own, strict=True))
                have = " x ".join(f"{n * v * s:.0f}" for n, v, s in zip(self.shape, voxels, own, strict=True))
                raise ValueError(
                    f"what is to be measured extends over {need} mm and the grid over {have} mm: give a larger grid."
                )
            over = size - n * voxel  # of the image beyond the grid
            start = inner.start - math.floor(free / 2)
            starts.append(min(max(start, math.ceil(min(over, 0))), math.ceil(max(over, 0))))
        return Placement(self.shape, self.spacing_mm or own, tuple(starts), voxels)


@dataclass(frozen=True)
class Placement:
    """A grid laid over one image."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    starts: tuple[int, ...]  # voxel of the image at whose corner the grid begins; below 0 where it begins outside
    voxels: tuple[float, ...]  # size of a grid voxel in voxels of the image

    def means(self, image: NDArray, outside: float) -> NDArray[np.float32]:
        """The mean of an image over each voxel of the grid, with ``outside`` beyond the image's edge."""
        return (self._resample(np.asarray(image, float) - outside, mean=True) + outside).astype(np.float32)

    def sums(self, weights: NDArray) -> NDArray[np.float32]:
        """The sum of an image's weights in each voxel of the grid; a voxel that is cut gives each part its share.

        So the total over whatever lies on the grid stays the same.
        """
        return self._resample(np.asarray(weights, float)).astype(np.float32)

    def mask(self, mask: NDArray, weights: NDArray) -> NDArray[np.bool_]:
        """A mask on the grid: the voxels of whose weight (where there is none: volume) more than half is in the mask.

        By weight, so that a biomarker of thin or small things hardly changes.
        """
        total = self._resample(np.asarray(weights, float))
        inside = self._resample(np.where(mask, weights, 0).astype(float))
        return np.where(total > 0, inside > total / 2, self.means(mask, 0) > 0.5)

    def back(self, values: NDArray, shape: Sequence[int]) -> NDArray[np.float32]:
        """A map on the grid, on the voxels of an image of size ``shape``: the mean of the grid over each, 0 beyond.

        Weighted by an image's weights it adds up to exactly what the map does, weighted by :meth:`sums` of them.
        """
        array = np.asarray(values, float)
        for axis, n in enumerate(shape):
            array = np.moveaxis(np.tensordot(self._overlap(axis, n), array, (0, axis)), 0, axis)
        return array.astype(np.float32)

    def _resample(self, array: NDArray[np.float64], *, mean: bool = False) -> NDArray[np.float64]:
        """The sum or the mean of an image's voxels in each voxel of the grid."""
        for axis, voxel in enumerate(self.voxels):
            overlap = self._overlap(axis, array.shape[axis]) / (voxel if mean else 1)
            array = np.moveaxis(np.tensordot(overlap, array, (1, axis)), 0, axis)
        return array

    def _overlap(self, axis: int, size: int) -> NDArray[np.float64]:
        """Overlap of each voxel of the grid with each of the image along an axis, in voxels of the image."""
        edges = self.starts[axis] + self.voxels[axis] * np.arange(self.shape[axis] + 1)
        own = np.arange(size)
        return np.maximum(np.minimum(edges[1:, None], own + 1) - np.maximum(edges[:-1, None], own), 0)
