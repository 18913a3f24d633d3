"""Arrays that stay on disk: a cohort larger than memory is read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray


class Rows(NDArrayOperatorsMixin):
    """Rows of an array on disk, in any order, each read when it is asked for.

    Indexing reads what is asked for and gives an ordinary array. Whatever else an array can do (``rows > 0``,
    ``rows.mean()``, ``numpy.asarray(rows)``) works too, and reads everything into memory first.

    Args:
        source: What the rows are taken from: ``source[i]`` is a row. A memory-mapped array, or other ``Rows``.
        rows: Number of each row in ``source``; all of them by default.
    """

    def __init__(self, source: Sequence[NDArray] | NDArray | Rows, rows: NDArray | None = None) -> None:
        rows = np.arange(len(source)) if rows is None else np.asarray(rows)
        self._source, self._rows = (source._source, source._rows[rows]) if isinstance(source, Rows) else (source, rows)
        self._row = source._row if isinstance(source, Rows) else (source[0].shape, source[0].dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, *S)``."""
        return (len(self), *self._row[0])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self._row[1]

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[NDArray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> NDArray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, (int, np.integer)):
            row = np.asarray(self._source[self._rows[first]])
            return row[tuple(rest)] if rest else row
        picked = self._rows[first]
        out = np.empty((len(picked), *self._row[0]), self.dtype)
        for place, i in zip(out, picked, strict=True):
            place[...] = self._source[i]
        return out[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError("rows on disk cannot be had as an array without reading them: leave out copy=False.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(a) if isinstance(a, Rows) else a for a in inputs), **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only methods and properties of arrays; a private name that is missing must stay missing (copying asks for it).
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"rows on disk have no attribute {name!r}.")
        return getattr(self[:], name)

    def __repr__(self) -> str:
        return f"Rows({' x '.join(map(str, self.shape))} {self.dtype} on disk, {self.nbytes / 2**20:.0f} MiB)"
