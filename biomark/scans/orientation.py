"""The one orientation of all volumes: slices towards the head, rows towards the back, columns to the patient's left."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt2axcodes,
    ornt_transform,
)
from numpy.typing import NDArray

_SPL = axcodes2ornt(("S", "P", "L"))


def reorient(
    data: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Permute and flip the axes of a 3-D volume from the order of its file to (S, P, L); nothing is copied.

    Returns:
        The volume (D, H, W), its affine from the index to RAS mm, and the file's axes, such as ``("R", "A", "S")``.
    """
    axes, turn, inverse = _turn(tuple(map(tuple, orientation(affine).tolist())), data.shape)
    return apply_orientation(data, turn), affine @ inverse, axes


def restore(
    volume: NDArray[Any], affine: NDArray[np.float64], axes: tuple[str, ...]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Undo :func:`reorient`: the volume in the order of the file whose axes point to ``axes``, and its affine."""
    turn = ornt_transform(_SPL, axcodes2ornt(axes))
    return apply_orientation(volume, turn), affine @ inv_ornt_aff(turn, volume.shape)


def orientation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """nibabel's `io_orientation`: a RAS axis and a sign for each axis. Fast where the axes are the scanner's."""
    columns = affine[:3, :3].T.tolist()
    places = [[i for i, step in enumerate(column) if step] for column in columns]
    if sorted(places) != [[0], [1], [2]] or not np.isfinite(affine).all():
        return io_orientation(affine)
    return np.array([[i, math.copysign(1, column[i])] for (i,), column in zip(places, columns, strict=True)])


@lru_cache(64)
def _turn(
    source: tuple[tuple[float, float], ...], shape: tuple[int, ...]
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Axis codes, nibabel's transform to (S, P, L), and the matrix that undoes it; cached, since nibabel is slow."""
    turn = ornt_transform(source, _SPL)
    return ornt2axcodes(source), turn, inv_ornt_aff(turn, shape)
