"""Candidate regions: the voxels that could belong to a biomarker, judged by intensity alone.

A candidate rule must be generous: what it leaves out can never be found. It need not be clever: telling pectoralis
from the other muscles is the network's work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.agatston.candidates import CALCIUM_HU, LARGEST_CALCIUM_MM3, SMALLEST_CALCIUM_MM3, calcium
from biomark.machine.moves import AIR_HU

__all__ = ["CALCIUM_HU", "LARGEST_CALCIUM_MM3", "SMALLEST_CALCIUM_MM3", "TISSUE_HU"]
__all__ += ["below", "body", "calcium", "smooth", "window"]

TISSUE_HU = -400.0
"""Above this a voxel holds more tissue than air, half way between lung (-850) or air (-1000) and fat (-100)."""


def window(image_hu: NDArray, window_hu: tuple[float, float]) -> NDArray[np.bool_]:
    """Voxels whose Hounsfield value lies in a window, its lowest and highest value included."""
    low, high = window_hu
    return (image_hu >= low) & (image_hu <= high)


def smooth(image_hu: NDArray, spacing_mm: Sequence[float], sd_mm: float) -> NDArray[np.float32]:
    """Each slice convolved with a Gaussian: which voxels are candidates then hangs less on noise. Outside there is air.

    Args:
        image_hu: Hounsfield units, ``(H, W)`` or ``(D, H, W)``.
        spacing_mm: In the order of the array's axes.
        sd_mm: SD of the Gaussian.
    """
    sd = [0.0] * (np.ndim(image_hu) - 2) + [sd_mm / s for s in spacing_mm[-2:]]
    return ndimage.gaussian_filter(np.asarray(image_hu, np.float32), sd, mode="constant", cval=AIR_HU)


def below(region: NDArray[np.bool_], spacing_mm: Sequence[float], depth_mm: float) -> NDArray[np.bool_]:
    """What of a region lies more than ``depth_mm`` below its surface. Outside of the picture there is air."""
    half_pixel = max(spacing_mm) / 2  # the transform measures to the centre of the next voxel outside
    away = ndimage.distance_transform_edt(np.pad(region, 1), sampling=spacing_mm)
    return away[(slice(1, -1),) * region.ndim] - half_pixel > depth_mm


def body(
    image_hu: NDArray, spacing_mm: Sequence[float], *, thinnest_mm: float = 5.0, smallest_share: float = 0.1
) -> NDArray[np.bool_]:
    """The patient without table, clothes and the air around: lungs are inside; arms stay unless they are small pieces.

    Tissue is what lies above :data:`TISSUE_HU`. An opening cuts off things thinner than ``thinnest_mm`` (the table's
    shells, blankets, cables); of what is left, pieces of at least ``smallest_share`` of the largest are kept, grown
    back to their outline, and their holes (lungs, airways) are filled. Distances are in mm and the same in every
    direction, so flips, added air and cropped air change nothing.

    Args:
        image_hu: One axial slice in Hounsfield units, ``(H, W)``.
        spacing_mm: Distance between rows and between columns, ``(dy, dx)``.
        thinnest_mm: Thickness below which something outside the body is cut off. Things of one or two pixels are cut
            off at any pixel size.
        smallest_share: Smallest piece kept, as a share of the largest.

    Returns:
        Boolean array ``(H, W)``.

    Raises:
        ValueError: The image is not a slice.
    """
    if np.ndim(image_hu) != 2:
        raise ValueError(f"the body is found slice by slice: expected an (H, W) image, got shape {np.shape(image_hu)}.")
    # A frame of air, so that a body cut by the field of view has an edge there as it would have with air added.
    tissue = np.pad(np.asarray(image_hu) > TISSUE_HU, 1)
    # The distance transform measures to the next air pixel's centre; the edge lies half a pixel before it.
    half_pixel = max(spacing_mm) / 2
    core = ndimage.distance_transform_edt(tissue, sampling=spacing_mm) - half_pixel > thinnest_mm / 2
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros(np.shape(image_hu), bool)
    sizes = np.bincount(labels.ravel())[1:]
    large = np.concatenate([[False], sizes >= smallest_share * sizes.max()])[labels]
    away = ndimage.distance_transform_edt(~large, sampling=spacing_mm)
    grown = tissue & (away <= thinnest_mm / 2 + 2 * half_pixel)
    return ndimage.binary_fill_holes(grown)[1:-1, 1:-1]
