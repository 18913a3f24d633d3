"""Two grids: a scan is measured on its own voxels, and a network looks at boxes of them.

The image of a box is the mean of its voxels, its weight the sum of theirs. A map of boxes is spread back to the voxels
unchanged, so that the sum of map times weight is the same on both grids, whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

NEAR = 1.25
"""A box that is a whole number of voxels may be larger or smaller than what was asked for by this factor. Ours."""

_ROUNDING = 1e-9  # so that a centre on the edge of two boxes belongs to the second, however their sides round


@dataclass(frozen=True)
class Boxes:
    """Boxes laid over an image: each voxel belongs to the box that holds its centre, or to none.

    Attributes:
        shape: Boxes along each axis.
        voxels: Voxels on a side of a box, at least 1, not always a whole number.
        image_shape: Voxels of the image along each axis.
        starts: Voxel of the image at whose corner the boxes begin; below 0 where they begin outside.
    """

    shape: tuple[int, ...]
    voxels: tuple[float, ...]
    image_shape: tuple[int, ...]
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given = {"shape": map(int, self.shape), "voxels": map(float, self.voxels)}
        given |= {"image_shape": map(int, self.image_shape), "starts": map(int, self.starts or (0,) * len(self.shape))}
        for name, value in given.items():
            object.__setattr__(self, name, tuple(value))
        if min(self.voxels) < 1 or len({len(getattr(self, name)) for name in given}) > 1:
            raise ValueError(f"boxes hold one voxel or more along each axis, but got {self.voxels} for {self.shape}.")

    @classmethod
    def over(cls, shape: Sequence[int], spacing_mm: Sequence[float], box_mm: Sequence[float]) -> Boxes:
        """Boxes of about ``box_mm`` over a whole image: whole numbers of voxels where that comes near, never less than
        one voxel.

        >>> Boxes.over((512, 512), (0.7, 0.7), (3.0, 3.0)).voxels
        (4.0, 4.0)
        """
        voxels = []
        for own, wanted in zip(spacing_mm, box_mm, strict=True):
            ratio = max(float(wanted) / float(own), 1.0)
            whole = round(ratio)
            voxels.append(float(whole) if max(whole / ratio, ratio / whole) <= NEAR else ratio)
        # The last box is that of the last voxel: none is without a voxel.
        boxes = [int((n - 0.5) / v + _ROUNDING) + 1 for n, v in zip(shape, voxels, strict=True)]
        return cls(boxes, voxels, shape)

    @cached_property
    def places(self) -> list[NDArray[np.float64]]:
        """Along each axis, where the centre of each voxel lies, in boxes from the first box's edge."""
        axes = zip(self.image_shape, self.starts, self.voxels, strict=True)
        return [(np.arange(n) + 0.5 - start) / voxel + _ROUNDING for n, start, voxel in axes]

    def spacing_mm(self, voxel_mm: Sequence[float]) -> tuple[float, ...]:
        """Sides of a box, from those of a voxel."""
        return tuple(n * float(s) for n, s in zip(self.voxels, voxel_mm, strict=True))

    def sums(self, weights: NDArray) -> NDArray[np.float32]:
        """The sum of the voxels in each box, ``(*image_shape) -> (*shape)``; what lies in no box is lost."""
        return self._sums(weights).astype(np.float32)

    def means(self, image: NDArray, outside: float) -> NDArray[np.float32]:
        """The mean of the voxels in each box; ``outside`` where there is none."""
        if set(self.voxels) == {1.0} and self.shape == self.image_shape and not any(self.starts):
            return np.asarray(image, np.float32)
        count = np.ones(())
        for axis, ends in enumerate(self._ends):
            count = np.multiply.outer(count, np.diff(ends[0]))
        means = np.divide(self._sums(image), count, out=np.full(self.shape, float(outside)), where=count > 0)
        return means.astype(np.float32)

    def spread(self, values: NDArray) -> NDArray:
        """Each voxel gets the value of its box, 0 where it lies in none: ``(*shape) -> (*image_shape)``."""
        values = np.asarray(values)
        for axis, (edges, index) in enumerate(self._ends):
            values = np.take(values, index, axis)
            values[(slice(None),) * axis + (slice(0, edges[0]),)] = 0
            values[(slice(None),) * axis + (slice(edges[-1], None),)] = 0
        return values

    def interpolate(self, values: NDArray) -> NDArray[np.float32]:
        """Linear interpolation between the centres of boxes, at the centre of each voxel."""
        values = np.asarray(values, np.float32)
        for axis, places in enumerate(self.places):
            place = np.clip(places - 0.5, 0, self.shape[axis] - 1)
            low = np.minimum(place.astype(int), max(self.shape[axis] - 2, 0))
            share = (place - low).astype(np.float32).reshape(-1, *[1] * (values.ndim - axis - 1))
            high = np.minimum(low + 1, self.shape[axis] - 1)
            values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
        return values

    @cached_property
    def _ends(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Along each axis: the first voxel of each box, and one past the last; and the box of each voxel, clipped."""
        found = []
        for places, n in zip(self.places, self.shape, strict=True):
            edges = np.searchsorted(places, np.arange(n + 1))
            found.append((edges, np.clip(places.astype(int), 0, n - 1)))
        return found

    def _sums(self, array: NDArray) -> NDArray[np.float64]:
        for axis, (edges, _) in enumerate(self._ends):
            before, full = (slice(None),) * axis, np.diff(edges) > 0
            if self.voxels[axis] == 1 and full.all():
                array = array[(*before, slice(edges[0], edges[-1]))]
                continue
            sums = np.zeros((*array.shape[:axis], len(full), *array.shape[axis + 1 :]))
            if full.any():  # of an empty box `reduceat` would give the next voxel
                inside = array[(*before, slice(edges[0], edges[-1]))]
                sums[(*before, full)] = np.add.reduceat(inside, edges[:-1][full] - edges[0], axis, dtype=float)
            array = sums
        return np.asarray(array, float)


def highest(membership: NDArray, weights: NDArray, value: float) -> NDArray[np.bool_]:
    """The mask of a value: the candidates of highest membership whose weights add up to the value, to one voxel.

    Args:
        membership: ``S``.
        weights: What each voxel would add, ``S``.
        value: The biomarker.
    """
    candidates = np.flatnonzero(weights)
    order = candidates[np.argsort(-membership.ravel()[candidates], kind="stable")]
    total = np.cumsum(weights.ravel()[order], dtype=float)
    # Half of the last voxel decides: the sum that is nearest.
    count = np.searchsorted(total - weights.ravel()[order] / 2, value)
    mask = np.zeros(weights.shape, bool)
    mask.ravel()[order[:count]] = True
    return mask
