"""What can be wrong with a scorer's input, and what the acquisition does to a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biomark.agatston.rules import Rules, resolve_rules

# Pixels of CT are 0.2 to 1 mm wide and slices 0.3 to 10 mm apart. What lies outside was given in m, cm or um.
_PIXEL_MM = (0.1, 20.0)
_SLICE_MM = (0.1, 50.0)
# Stored values are usually HU + 1024 or + 1000, which puts all soft tissue here; as HU this is metal and dense bone.
_STORED_TISSUE = (900, 1200)
_STORED_SHARE = 0.1
# The definition of 1990: contiguous slices of 3 mm.
_ORIGINAL_MM = 3.0
# CT's pixels are square; where one side equals the distance between slices instead, the order was another one.
_SQUARE_SHARE, _EQUAL_SHARE = 0.01, 1e-4
# Headers round; the same tolerance as in the findings of a scan.
_TOLERANCE_MM = 0.05


def check_volume(volume_hu: ArrayLike) -> NDArray:
    """The volume as an array, (D, H, W) with voxels; a ValueError where its values cannot be Hounsfield units."""
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
                f"volume_hu holds no value below 0, and {share:.0%} of it lies between {low} and {high}, which is "
                "tissue in stored values and not in Hounsfield units: apply the rescale slope and intercept first."
            )
    return volume


def has_negative(volume_hu: NDArray) -> bool:
    """Whether any value lies below 0, as fat, lung and air do; stops at the first slice that has one."""
    return any((image < 0).any() for image in volume_hu)


def check_mask(mask: ArrayLike | None, volume_hu: NDArray) -> NDArray | None:
    """The mask as an array of the volume's shape, or None; a ValueError where it is not true, false or a label."""
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
        if not np.all((image >= 0) & (image == np.rint(image))):
            raise ValueError(
                f"slice {k} of mask holds values other than whole numbers from 0: cut probabilities first, for "
                "example mask > 0.5."
            )
    return mask


def check_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """The spacing as three numbers (dz, dy, dx) in mm; a ValueError where CT has no such distances."""
    spacing = tuple(float(s) for s in spacing_mm)
    if len(spacing) != 3:
        raise ValueError(f"spacing_mm is {spacing}, but three distances (dz, dy, dx) in mm are needed.")
    for name, value, (low, high) in zip(("dz", "dy", "dx"), spacing, (_SLICE_MM, _PIXEL_MM, _PIXEL_MM), strict=True):
        if not low <= value <= high:
            raise ValueError(
                f"spacing_mm is {spacing}, but {name} should lie between {low:g} and {high:g} mm: give (dz, dy, dx) "
                "in mm."
            )
    return spacing[0], spacing[1], spacing[2]


def check_order(spacing_mm: Sequence[float]) -> None:
    """Raise a ValueError for a spacing in another order, such as (x, y, z): what should be dz is a side of the pixels.

    :func:`findings` says so instead, and of other pixels that are not square.
    """
    dz, dy, dx = check_spacing(spacing_mm)
    equal = min(abs(dz - dy), abs(dz - dx)) <= _EQUAL_SHARE * dz
    if equal and abs(dy - dx) > _SQUARE_SHARE * min(dy, dx):
        raise ValueError(
            f"spacing_mm is {(dz, dy, dx)}, which gives pixels of {dy:g} mm by {dx:g} mm, but in CT they are square: "
            "give (dz, dy, dx), not (x, y, z)."
        )


def findings(
    spacing_mm: Sequence[float],
    slice_thickness_mm: float | None = None,
    kvp: float | None = None,
    rules: str | Rules = "agatston1990",
) -> list[str]:
    """How the acquisition makes a score differ from the original one, a sentence each; empty for 3 mm at 120 kV.

    Args:
        spacing_mm: (dz, dy, dx) in mm; dz is the distance between slices.
        slice_thickness_mm, kvp: Thickness of a slice in mm and tube voltage in kV; None, not known, is not checked.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.

    Raises:
        ValueError: The spacing, thickness or voltage is not possible, or the rules are unknown.
    """
    dz, dy, dx = check_spacing(spacing_mm)
    rules = resolve_rules(rules)
    notes = []
    if max(dy, dx) > 1.5 * min(dy, dx):
        notes.append(f"The pixels are {dy:g} mm by {dx:g} mm, but in CT they are square: spacing_mm is (dz, dy, dx).")
    if abs(dz - _ORIGINAL_MM) > _TOLERANCE_MM:
        effect = (
            f"scales the score by {dz:g}/{rules.reference_spacing_mm:g}, which gives an equivalent of the Agatston "
            "score and not the original."
            if rules.reference_spacing_mm
            else f"does not correct for it, so the score is about {_ORIGINAL_MM / dz:.2g} times that of slices "
            f"{_ORIGINAL_MM:g} mm apart (the rules dz3 correct)."
        )
        notes.append(f"The slices are {dz:g} mm apart instead of {_ORIGINAL_MM:g}; {rules.name} {effect}")
    if slice_thickness_mm is not None:
        notes += _thickness_findings(dz, slice_thickness_mm, rules)
    if kvp is not None:
        if not 40 <= kvp <= 160:
            raise ValueError(f"kvp is {kvp}, but CT uses 70 to 150 kV: give the tube voltage in kV.")
        if kvp != rules.kvp:
            notes.append(
                f"The tube voltage is {kvp:g} kV, but the HU limits of {rules.name} hold for {rules.kvp:g} kV: calcium "
                f"is {'brighter' if kvp < rules.kvp else 'darker'} here (see Rules.at_kvp)."
            )
    return notes


def _thickness_findings(dz: float, thickness: float, rules: Rules) -> list[str]:
    if not 0.1 <= thickness <= 50:
        raise ValueError(f"slice_thickness_mm is {thickness}: give the thickness of a slice in mm.")
    notes = []
    if abs(thickness - dz) > _TOLERANCE_MM:
        if thickness < dz:
            effect = f"calcium in the gaps of {dz - thickness:.3g} mm is not seen"
        elif rules.reference_spacing_mm:
            effect = "they overlap: the overlap is not counted twice, because the score is scaled by the spacing"
        else:
            effect = "they overlap: what lies in the overlap is counted more than once"
        notes.append(f"The slices are {thickness:g} mm thick but {dz:g} mm apart, so {effect}.")
    if abs(thickness - _ORIGINAL_MM) > _TOLERANCE_MM:
        effect = (
            "thinner slices blur calcium less and hold more noise, which raises scores"
            if thickness < _ORIGINAL_MM
            else "thicker slices blur calcium more, which lowers the scores of small lesions"
        )
        notes.append(f"The slices are {thickness:g} mm thick instead of {_ORIGINAL_MM:g}: {effect}.")
    return notes
