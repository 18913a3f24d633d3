"""What a scorer can be given by mistake, each refused in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Pixels of CT are 0.2 to 1 mm wide and slices 0.3 to 10 mm apart. What lies outside was given in m, cm or um.
_PIXEL_MM = (0.1, 20.0)
_SLICE_MM = (0.1, 50.0)
# Stored values are usually HU + 1024 or + 1000, which puts all soft tissue here; as HU this is metal and dense bone.
_STORED_TISSUE = (900, 1200)
_STORED_SHARE = 0.1


def checked_volume(volume_hu: ArrayLike) -> NDArray:
    """The volume as an array, (D, H, W), whose values can be Hounsfield units.

    Raises:
        ValueError: It has another number of axes, no voxels, or values that are no Hounsfield units.
    """
    volume = np.asarray(volume_hu)
    if volume.ndim != 3:
        hint = ": give one slice as volume_hu[None]" if volume.ndim == 2 else ""
        raise ValueError(f"volume_hu has shape {volume.shape}, but (slices, rows, columns) is needed{hint}.")
    if volume.size == 0:
        raise ValueError(f"volume_hu has shape {volume.shape}, which holds no voxel.")
    if volume.dtype.kind not in "if":
        raise ValueError(
            f"volume_hu is of type {volume.dtype}, which holds no Hounsfield units (air is -1000 HU): apply the "
            "rescale slope and intercept first, as scans.read does."
        )
    if not has_negative(volume):
        low, high = _STORED_TISSUE
        share = np.mean([np.mean((image >= low) & (image <= high)) for image in volume])
        if share > _STORED_SHARE:
            raise ValueError(
                f"volume_hu holds no value below 0 and {share:.0%} of it lies between {low} and {high}, which is "
                "tissue in stored values and not in Hounsfield units: apply the rescale slope and intercept first."
            )
    return volume


def has_negative(volume_hu: NDArray) -> bool:
    """Whether any value lies below 0, as fat, lung and air do. Quick where one does."""
    return any((image < 0).any() for image in volume_hu)


def checked_mask(mask: ArrayLike | None, volume_hu: NDArray) -> NDArray | None:
    """The mask as an array of the volume's shape, or None.

    Raises:
        ValueError: It has another shape, or holds something else than True and False or whole numbers from 0.
    """
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != volume_hu.shape:
        raise ValueError(f"mask has shape {mask.shape}, but the volume has {volume_hu.shape}: give them one shape.")
    if mask.dtype.kind in "bu":
        return mask
    if mask.dtype.kind not in "if":
        raise ValueError(f"mask is of type {mask.dtype}: give True and False, or whole numbers that name arteries.")
    for k, image in enumerate(mask):
        whole = image == np.rint(image) if mask.dtype.kind == "f" else True
        if not np.all((image >= 0) & whole):
            raise ValueError(
                f"slice {k} of mask holds values that are no whole numbers from 0: cut probabilities first, for "
                "example mask > 0.5."
            )
    return mask


def checked_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """The spacing as three numbers (dz, dy, dx) in mm.

    Raises:
        ValueError: There are not three, or one is no distance in mm that CT has.
    """
    spacing = tuple(float(s) for s in spacing_mm)
    if len(spacing) != 3:
        raise ValueError(f"spacing_mm is {spacing}, but three distances (dz, dy, dx) in mm are needed.")
    dz, dy, dx = spacing
    for name, value, (low, high) in (("dz", dz, _SLICE_MM), ("dy", dy, _PIXEL_MM), ("dx", dx, _PIXEL_MM)):
        if not low <= value <= high:
            raise ValueError(
                f"spacing_mm is {spacing}: {name} should lie between {low:g} and {high:g} mm. Was it given in another "
                "unit, or is it not known?"
            )
    return spacing
