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

from biomark.machine import axes

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
        given: dict[str, map] = {"shape": map(int, self.shape), "voxels": map(float, self.voxels)}
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
        return cls(tuple(boxes), tuple(voxels), tuple(shape))

    @cached_property
    def places(self) -> list[NDArray[np.float64]]:
        """Along each axis, where the centre of each voxel lies, in boxes from the first box's edge."""
        each = zip(self.image_shape, self.starts, self.voxels, strict=True)
        return [(np.arange(n, dtype=float) + 0.5 - start) / voxel + _ROUNDING for n, start, voxel in each]

    @cached_property
    def edges(self) -> list[NDArray[np.int64]]:
        """Along each axis, the first voxel of each box, and one past the last."""
        return [np.searchsorted(along, np.arange(n + 1)) for along, n in zip(self.places, self.shape, strict=True)]

    def spacing_mm(self, voxel_mm: Sequence[float]) -> tuple[float, ...]:
        """Sides of a box, from those of a voxel."""
        return tuple(n * float(s) for n, s in zip(self.voxels, voxel_mm, strict=True))

    def sums(self, weights: NDArray) -> NDArray[np.float32]:
        """The sum of the voxels in each box, ``(*image_shape) -> (*shape)``; what lies in no box is lost."""
        return axes.sums(weights, self.edges).astype(np.float32)

    def means(self, image: NDArray, outside: float) -> NDArray[np.float32]:
        """The mean of the voxels in each box; ``outside`` where there is none."""
        if set(self.voxels) == {1.0} and self.shape == self.image_shape and not any(self.starts):
            return np.asarray(image, np.float32)
        count = np.ones(())
        for along in self.edges:
            count = np.multiply.outer(count, np.diff(along))
        total = axes.sums(image, self.edges)
        return np.divide(total, count, out=np.full(self.shape, float(outside)), where=count > 0).astype(np.float32)

    def spread(self, values: NDArray) -> NDArray:
        """Each voxel gets the value of its box, 0 where it lies in none: ``(*shape) -> (*image_shape)``."""
        return axes.spread(np.asarray(values), self.edges, self.image_shape)

    def interpolate(self, values: NDArray) -> NDArray[np.float32]:
        """Linear interpolation between the centres of boxes, at the centre of each voxel; constant beyond them."""
        return axes.interpolate(np.asarray(values, np.float32), [along - 0.5 for along in self.places])


def highest(membership: NDArray, weights: NDArray, value: float) -> NDArray[np.bool_]:
    """The mask of a value: the candidates of highest membership whose weights add up to the value, to one voxel.

    Args:
        membership, weights: Of each voxel, and what it would add, ``S``.
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
