"""Arrays that stay on disk: a cohort larger than memory is read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from biomark.machine import masks

_AT_A_TIME = 64


class Rows(Sequence):
    """Some rows of a sequence, each taken when it is asked for.

    Args:
        source: ``source[i]`` is a row.
        rows: Number of each row in ``source``; all of them by default.
    """

    def __init__(self, source: Any, rows: NDArray | None = None) -> None:
        rows = np.arange(len(source)) if rows is None else np.asarray(rows)
        if isinstance(source, Rows):
            source, rows = source._source, source._rows[rows]
        self._source: Any = source
        self._rows: NDArray = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._source[int(self._rows[index])]


class DiskArray(NDArrayOperatorsMixin, Rows):
    """Rows of an array on disk, in any order, each read when it is asked for.

    Indexing gives an ordinary array. Arithmetic (``rows > 0``) and numpy's functions read everything into memory first.

    Args:
        source: What the rows are taken from: ``source[i]`` is a row. A memory-mapped array, or other ``DiskArray``.
        rows: Number of each row in ``source``; all of them by default.

    Attributes:
        shape: ``(N, *S)``.
        ndim: Number of axes.
        dtype: Type of the elements.
        nbytes: Bytes that all rows would take in memory.
    """

    def __init__(self, source: Any, rows: NDArray | None = None) -> None:
        super().__init__(source, rows)
        nested = isinstance(source, DiskArray)  # of which nothing need be read
        row, self.dtype = (source.shape[1:], source.dtype) if nested else (source[0].shape, source[0].dtype)
        self.shape, self.ndim = (len(self), *row), 1 + len(row)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> NDArray:  # type: ignore[override]  # an array is more than a Sequence
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis:
            first, *rest = (slice(None), first, *rest) if len(rest) < self.ndim else rest
        if isinstance(first, (int, np.integer)):
            row = np.asarray(self._source[self._rows[first]])
            return row[tuple(rest)] if rest else row
        picked = self._rows[first]
        out = np.empty((len(picked), *self.shape[1:]), self.dtype)
        for place, i in zip(out, picked, strict=True):
            place[...] = self._source[i]
        # Rows by number go in pairs with what is picked by number on other axes, as numpy has it.
        return out[(slice(None) if isinstance(first, slice) else np.arange(len(out)), *rest)] if rest else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError("rows on disk cannot be had as an array without reading them: leave out copy=False.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        def read(a: Any) -> Any:
            return np.asarray(a) if isinstance(a, DiskArray) else a

        return getattr(ufunc, method)(*map(read, inputs), **{name: read(a) for name, a in kwargs.items()})

    def __repr__(self) -> str:
        return f"DiskArray({' x '.join(map(str, self.shape))} {self.dtype} on disk, {self.nbytes / 2**20:.0f} MiB)"


class Batches:
    """Rows that are read and moved to a device when they are due: ``batches[rows]`` is a tensor."""

    def __init__(self, array: DiskArray | NDArray, device: torch.device) -> None:
        self._array, self._device = array, device

    def __getitem__(self, rows: Tensor) -> Tensor:
        batch = torch.as_tensor(_plain(self._array[rows.cpu().numpy()]))
        if self._device.type == "cuda":  # from pinned memory it travels while the GPU computes
            batch = batch.pin_memory()
        return batch.to(self._device, non_blocking=True)


def on_disk(array: NDArray | DiskArray) -> bool:
    """Whether an array is read from a file when it is indexed."""
    return isinstance(array, (DiskArray, np.memmap))


def take_rows(array: NDArray | DiskArray, rows: NDArray) -> NDArray | DiskArray:
    """Rows of an array, by their numbers; what lies on disk stays there."""
    return DiskArray(array, rows) if on_disk(array) else array[rows]


def numbers(array: NDArray | DiskArray) -> NDArray[np.float32] | DiskArray:
    """As torch reads it: float32 in this machine's order of bytes and without gaps. What lies on disk stays there."""
    return array if on_disk(array) else np.ascontiguousarray(masks.unmasked(array, "images or weights"), np.float32)


def on_device(array: NDArray | DiskArray, device: torch.device) -> Tensor | Batches:
    """An array for training: as a tensor on the device, or batch by batch where it is too large for that."""
    on_gpu, kind = device.type == "cuda", torch.bool if array.dtype == bool else torch.float32
    if on_gpu and array.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return Batches(array, device)
    if not on_disk(array):
        return torch.as_tensor(array, dtype=kind, device=device)
    # A batch from disk costs a CPU little beside what it computes, and its memory stays free.
    if not on_gpu:
        return Batches(array, device)
    tensor = torch.empty(array.shape, dtype=kind, device=device)
    for place, part in zip(tensor.split(_AT_A_TIME), parts(array), strict=True):
        place.copy_(torch.as_tensor(_plain(np.array(part))))
    return tensor


def parts(array: NDArray | DiskArray) -> Iterator[NDArray]:
    """An array's rows in order, a few at a time."""
    return (array[start : start + _AT_A_TIME] for start in range(0, len(array), _AT_A_TIME))


def _plain(part: NDArray) -> NDArray:
    """As torch reads it: numbers as float32 in this machine's order of bytes, whatever a file holds."""
    return np.asarray(part, bool if part.dtype == bool else np.float32)
