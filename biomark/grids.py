"""Images between grids of voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_POINTS = 2**20  # interpolated at a time: 40 MB


def resampled(image: NDArray, zoom: NDArray) -> NDArray[np.float32]:
    """The image on a grid ``zoom`` times as fine over the same extent; coarser voxels take the mean there."""
    image, zoom = np.asarray(image, np.float32), np.asarray(zoom, float)
    if np.all(zoom == 1):
        return image
    shape = np.maximum(np.round(np.array(image.shape) * zoom), 1).astype(int)
    parts = np.maximum(np.ceil(1 / zoom), 1).astype(int)  # points on a side of a new voxel, as dense as the old ones
    fine = onto(image, 1 / (zoom * parts), shape * parts)
    sides = [n for pair in zip(shape, parts, strict=True) for n in pair]
    return fine.reshape(sides).mean(axis=tuple(range(1, 2 * image.ndim, 2)))


def onto(array: NDArray, zoom: NDArray, shape: tuple[int, ...] | NDArray) -> NDArray[np.float32]:
    """Linear interpolation onto a grid of ``shape`` whose voxels are ``zoom`` times as large; corners coincide."""
    if np.all(np.asarray(zoom) == 1):
        return np.asarray(array, np.float32)
    first, *rest = ((np.arange(n) + 0.5) * z - 0.5 for n, z in zip(shape, zoom, strict=True))
    array, found = np.asarray(array, np.float32), np.empty(shape, np.float32)
    # Some planes at a time: the places of all voxels take many times the memory of the image.
    step = max(1, _POINTS // found[0].size)
    for i in range(0, len(first), step):
        grid = np.meshgrid(first[i : i + step], *rest, indexing="ij", sparse=False)
        ndimage.map_coordinates(array, grid, output=found[i : i + step], order=1, mode="nearest")
    return found
