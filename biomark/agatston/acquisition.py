"""What the acquisition does to a score: sentences for whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence

from biomark.agatston.inputs import checked_spacing
from biomark.agatston.rules import Rules, named

# The definition of 1990: contiguous slices of 3 mm.
_ORIGINAL_MM = 3.0
# Headers round; as scans.findings has it.
_TOLERANCE_MM = 0.05


def findings(
    spacing_mm: Sequence[float],
    slice_thickness_mm: float | None = None,
    kvp: float | None = None,
    rules: str | Rules = "agatston1990",
) -> list[str]:
    """What sets a score apart from the original one, a sentence each; an empty list for 3 mm slices at 120 kV.

    Args:
        spacing_mm: (dz, dy, dx) in mm; dz is the distance between slices.
        slice_thickness_mm: Thickness of a slice in mm; None: not known, and overlap and thickness are not checked.
        kvp: Tube voltage in kV; None: not known and not checked.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.

    Raises:
        ValueError: The spacing, thickness or voltage is none, or the rules are unknown.
    """
    dz, dy, dx = checked_spacing(spacing_mm)
    rules = named(rules)
    notes = []
    if max(dy, dx) > 1.5 * min(dy, dx):
        notes.append(f"The pixels are {dy:g} mm by {dx:g} mm, which CT has not: spacing_mm is (dz, dy, dx).")
    reference = rules.reference_spacing_mm
    if abs(dz - _ORIGINAL_MM) > _TOLERANCE_MM:
        notes.append(
            f"The slices are {dz:g} mm apart instead of {_ORIGINAL_MM:g}; "
            + (
                f"{rules.name} scales the score by {dz:g}/{reference:g}, which gives an equivalent of the Agatston "
                "score and not the original."
                if reference
                else f"{rules.name} does not correct for it, so the score is about {_ORIGINAL_MM / dz:.2g} times that "
                f"of slices {_ORIGINAL_MM:g} mm apart (the rules dz3 correct)."
            )
        )
    if slice_thickness_mm is not None:
        notes += _thickness(dz, slice_thickness_mm, rules)
    if kvp is not None:
        if not 40 <= kvp <= 160:
            raise ValueError(f"kvp is {kvp}, but CT has 70 to 150 kV: give the tube voltage in kV.")
        if kvp != rules.kvp:
            notes.append(
                f"The tube voltage is {kvp:g} kV, but the HU limits of {rules.name} hold for {rules.kvp:g} kV: calcium "
                f"is {'brighter' if kvp < rules.kvp else 'darker'} here (see Rules.at_kvp)."
            )
    return notes


def _thickness(dz: float, thickness: float, rules: Rules) -> list[str]:
    if not 0.1 <= thickness <= 50:
        raise ValueError(f"slice_thickness_mm is {thickness}: give the thickness of a slice in mm.")
    notes = []
    if thickness - dz > _TOLERANCE_MM:
        effect = (
            "the overlap is not counted twice, because the score is scaled by the spacing"
            if rules.reference_spacing_mm
            else "what lies in the overlap is counted more than once"
        )
        notes.append(f"The slices are {thickness:g} mm thick but {dz:g} mm apart, so they overlap: {effect}.")
    elif dz - thickness > _TOLERANCE_MM:
        notes.append(
            f"The slices are {thickness:g} mm thick but {dz:g} mm apart, so calcium in the gaps of "
            f"{dz - thickness:.3g} mm is not seen."
        )
    if abs(thickness - _ORIGINAL_MM) > _TOLERANCE_MM:
        effect = (
            "thinner slices blur calcium less and hold more noise, which raises scores"
            if thickness < _ORIGINAL_MM
            else "thicker slices blur calcium more, which lowers the scores of small lesions"
        )
        notes.append(f"The slices are {thickness:g} mm thick instead of {_ORIGINAL_MM:g}: {effect}.")
    return notes
