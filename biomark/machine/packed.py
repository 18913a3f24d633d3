"""Arrays of which most is 0 or one number, kept in a few kilobytes: the voxels of thousands of scans."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packed:
    """Where an array is not 0, as compressed bits, and its numbers there, one where all are alike.

    Attributes:
        shape: Of the array.
        dtype: Of its numbers, as numpy writes it.
        bits, numbers: Compressed.
    """

    shape: tuple[int, ...]
    dtype: str
    bits: bytes
    numbers: bytes

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
        """The array."""
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        there = np.unpackbits(bits, count=int(np.prod(self.shape))).astype(bool).reshape(self.shape)
        array = np.zeros(self.shape, self.dtype)
        array[there] = np.frombuffer(zlib.decompress(self.numbers), self.dtype)
        return array


def join(arrays: Sequence[Packed]) -> tuple[NDArray[np.uint8], list]:
    """Packed arrays as one array of bytes, and a list that JSON can hold by which :func:`part` finds each again."""
    index = [[a.shape, a.dtype, len(a.bits), len(a.numbers)] for a in arrays]
    return np.frombuffer(b"".join(a.bits + a.numbers for a in arrays), np.uint8), index


def part(data: NDArray[np.uint8], index: Sequence) -> list[Packed]:
    """The inverse of :func:`join`."""
    data, found, start = data.tobytes(), [], 0
    for shape, dtype, bits, numbers in index:
        middle, end = start + bits, start + bits + numbers
        found.append(Packed(tuple(shape), dtype, data[start:middle], data[middle:end]))
        start = end
    return found
