"""Arrays of which most is 0 or one number, kept in a few kilobytes: the voxels of thousands of scans."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packed:
    """Where an array is not 0, as compressed bits, and its numbers there, one where all are alike."""

    shape: tuple[int, ...]
    dtype: str  # of the numbers, as numpy writes it
    bits: bytes  # where it is not 0, compressed
    numbers: bytes  # what it is there, compressed

    @classmethod
    def of(cls, array: NDArray) -> Packed:
        """Pack an array of numbers or booleans."""
        array = np.asarray(array)
        numbers = array[array != 0]
        if len(numbers) and (numbers == numbers[0]).all():
            numbers = numbers[:1]
        bits = np.packbits(array != 0)
        return cls(array.shape, array.dtype.str, *(zlib.compress(a.tobytes(), 1) for a in (bits, numbers)))

    def unpack(self) -> NDArray:
        """The array; a ValueError where the bytes are damaged."""
        try:
            bits, numbers = (zlib.decompress(a) for a in (self.bits, self.numbers))
        except zlib.error as error:
            raise ValueError(f"an array packed with a cohort is damaged ({error}): make its file again.") from error
        there = np.unpackbits(np.frombuffer(bits, np.uint8), count=int(np.prod(self.shape)))
        array = np.zeros(self.shape, self.dtype)
        array[there.astype(bool).reshape(self.shape)] = np.frombuffer(numbers, self.dtype)
        return array


@dataclass(frozen=True, eq=False)
class Voxels:
    """A scan's own voxels, of which a cohort keeps the boxes: the measuring grid.

    Attributes:
        boxes: How the boxes lie over them, a :class:`biomark.grids.Boxes`.
        spacing_mm: Of the voxels.
        weights: What each adds to the biomarker.
        mask: The true region, or None.
        image: Gives the Hounsfield units, by drawing or reading them again; None where they cannot be had any more.
    """

    boxes: Any
    spacing_mm: tuple[float, ...]
    weights: Packed
    mask: Packed | None
    image: Callable[[], NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, case: Any, boxes: Any, image: Callable[[], NDArray[np.float32]] | None = None) -> Voxels:
        """What is kept of a :class:`biomark.Case` on the measuring grid."""
        mask = None if case.mask is None else Packed.of(case.mask)
        return cls(boxes, tuple(map(float, case.spacing_mm)), Packed.of(case.weights), mask, image)


def join(arrays: Sequence[Packed]) -> tuple[NDArray[np.uint8], list]:
    """Packed arrays as one array of bytes, and a list that JSON can hold by which :func:`part` finds each again."""
    index = [[a.shape, a.dtype, len(a.bits), len(a.numbers)] for a in arrays]
    return np.frombuffer(b"".join(a.bits + a.numbers for a in arrays), np.uint8), index


def part(data: NDArray[np.uint8], index: Sequence) -> list[Packed]:
    """The inverse of :func:`join`; a ValueError where the bytes are fewer or more than the index says."""
    content, found = io.BytesIO(data.tobytes()), []
    for shape, dtype, *sizes in index:
        found.append(Packed(tuple(shape), dtype, *map(content.read, sizes)))
    if content.tell() != len(data) or sum(sum(sizes) for _, _, *sizes in index) != len(data):
        raise ValueError(f"packed arrays hold {len(data)} bytes, other bytes than their index says")
    return found
