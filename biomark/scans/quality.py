"""What a careful reader would want to know of a scan before measuring on it."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Outside the reconstruction circle GE writes -3024 HU (-2000 stored) and Canon -2048 HU; no tissue and no
# noise in air comes near, so all values below this limit are padding.
_PADDING_BELOW_HU = -1500
# 12 bits hold 4096 values: with intercepts of -1024 and -1000 HU they end at 3071 and 3095 HU. 1023 HU is
# where 3D-IRCADb and others were clipped (11 bits).
_CLIPPED_AT_HU = (1023, 3071, 3095)
_METAL_HU = 3000
_AIR_HU, _AIR_TOLERANCE_HU = -1000, 50
# 5 mm slices are known to lower calcium scores; 3 mm is what the Agatston score was defined on.
_THICK_MM = 3.0
_SLICES_EXAMINED = 7
# What is no HU, although some values are negative; on the real scans here and what was made of them, the shares differ
# by ten times. Air that was cut off or scaled down crowds at the lowest value, which in a part of a body is rare.
_CUT_ABOVE_HU, _CROWD_HU, _CROWD_OF_RANGE, _CROWD_SHARE = -500, 30, 0.05, 0.1
# Padding is one value; many different ones so low, close to one another, are air, shifted or stretched from -1000 HU.
_VARIED_SHARE, _TISSUE_SHARE, _AIR_RANGE_HU = 0.05, 0.05, (-1150, -600)
_SPREAD_HU = 500
_VOXELS_SAMPLED, _LOWEST_HU = 10**5, -(2**15) - 2**10
_COARSE_MM = 4.0
_SILENT = "A NIfTI file names no contrast agent, kernel, tube voltage or slice thickness, so none was checked."
# How technologists write that no contrast agent was given; all else is taken for one.
_WITHOUT = re.compile(
    r"[-./0 ]+|c-|n|nein|no|none|nil|non|not|n[./ ]?a\.?|negative|nati(v|ve|f)|plain|(un|non)[ -]?enhanced|"
    r"(no|non|none|not|without|w/?o|ohne|sans|sin|kein)[ -]*(i\.?v\.?|intravenous)?[ -]*"
    r"(contrast|contraste|kontrast(mittel)?|km|c)?[ -]*(agent|medium|media)?[ -]*"
    r"(given|used|applied|administered|applicable|available)?",
    re.IGNORECASE,
)


def examine(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    meta: dict[str, Any],
    extremes_hu: tuple[float, float],
    padding_hu: float | None = None,
) -> list[str]:
    """Findings on the header and on the values, one sentence each; an empty list when all is usual.

    ``extremes_hu`` are the lowest and the highest value, ``padding_hu`` what the header calls padding.
    """
    notes = _header(spacing_mm, meta) if meta["source"] == "DICOM" else [_SILENT]
    return notes + _values(hu, extremes_hu[1]) + _body(hu, spacing_mm, padding_hu)


def not_hu(hu: NDArray[np.float32], extremes_hu: tuple[float, float]) -> str | None:
    """What shows that values, some of them negative, are no Hounsfield units, as an end of a sentence; None if nothing.

    Looks further only where the lowest or the highest value is unusual, and not at values beyond 16 bits.
    """
    low, high = extremes_hu
    if low < _LOWEST_HU:
        return None
    if high <= _CUT_ABOVE_HU:
        return f"no value lies above {high:g} HU, so there is no tissue in it, or the values were rescaled twice"
    if _PADDING_BELOW_HU <= low <= _CUT_ABOVE_HU:
        return None
    step = max(1, math.ceil(math.sqrt(hu.size / _VOXELS_SAMPLED)))
    sample = hu[:, ::step, ::step]
    if low < _PADDING_BELOW_HU:
        return _darker_than_air(sample)
    share = np.mean(sample <= low + min(_CROWD_HU, _CROWD_OF_RANGE * (high - low)))
    if share <= _CROWD_SHARE:
        return None
    return (
        f"the lowest value is {low:g} and {share:.0%} of the voxels lie there or just above, so air was cut off by a "
        "window, or these are grey values"
    )


def _darker_than_air(sample: NDArray[np.float32]) -> str | None:
    """As :func:`not_hu`, of values of which some are darker than air can be."""
    dark = sample < _PADDING_BELOW_HU
    rest = sample[~dark]
    tissue = np.mean(rest > _CUT_ABOVE_HU) if rest.size else 0.0
    values, varied = np.rint(sample[dark]), 0.0
    if values.size and values.min() < values.max():
        unique, counts = np.unique(values, return_counts=True)
        other = values[values != unique[counts.argmax()]]
        if np.ptp(np.percentile(other, (25, 75))) < _SPREAD_HU:
            varied = other.size / sample.size
    air = np.count_nonzero((rest > _AIR_RANGE_HU[0]) & (rest < _AIR_RANGE_HU[1])) / sample.size
    # Of padding that was interpolated, the rim is varied too, but then there is tissue, and air or lung.
    if tissue > 0 and (varied <= _VARIED_SHARE or (tissue > _TISSUE_SHARE and air > varied / 2)):
        return None
    return (
        f"{np.mean(dark):.0%} of the voxels are darker than {_PADDING_BELOW_HU} HU, which is no air, and there is "
        f"{'too little' if tissue else 'no'} tissue or air beside them; the values seem to be rescaled twice, or "
        "multiplied"
    )


def _header(spacing_mm: tuple[float, ...], meta: dict[str, Any]) -> list[str]:
    notes = []
    agent = meta["contrast_agent"]
    if agent and not _WITHOUT.fullmatch(agent.strip()):
        notes.append("The header names a contrast agent, so do not score calcium on this scan.")
    # No name is repeated: some departments type a patient's into any field.
    sharp = is_sharp(meta["kernel"])
    if sharp:
        notes.append("The kernel is a sharp one: more noise, and more noise specks above 130 HU.")
    elif not meta["kernel"]:
        notes.append("The header names no reconstruction kernel.")
    elif sharp is None:
        notes.append("Whether the kernel is a sharp one is not known here: see meta['kernel'].")
    if meta["kVp"] is not None and meta["kVp"] != 120:
        notes.append(f"The tube voltage is {meta['kVp']:g} kV; published HU limits are for 120 kV.")
    thickness = meta["slice_thickness_mm"]
    # Between source slices, whichever axis of the turned volume that is now.
    step = spacing_mm[("axial", "coronal", "sagittal").index(meta["orientation"])]
    gap = abs(thickness - step) if thickness else 0.0
    if gap > max(0.05, 0.01 * step):
        relation = "overlap by" if thickness > step else "leave gaps of"
        notes.append(f"The slices are {thickness:g} mm thick but {step:g} mm apart, so they {relation} {gap:.3g} mm.")
    if thickness and thickness > _THICK_MM:
        notes.append(f"The slices are {thickness:g} mm thick, which blurs small calcifications and thin layers.")
    return notes


def is_sharp(kernel: str | None) -> bool | None:
    """Whether a reconstruction kernel is a sharp one by its vendor's naming; None if the name does not tell.

    Siemens numbers its kernels by sharpness: B10 to B40 are soft to standard, B50 to B80 sharp (SOMATOM Sensation,
    operating instructions, 'Body kernels'). GE names them by use. Canon's FC50 and above are for lung and bone.
    """
    name = (kernel or "").split("/")[0].strip().upper()
    if any(word in name for word in ("LUNG", "BONE", "EDGE")):
        return True
    if name in ("STANDARD", "SOFT"):
        return False
    if canon := re.match(r"FC(\d\d)", name):
        number = int(canon[1])
        return True if number >= 50 else False if number < 30 else None
    if siemens := re.match(r"[BDHIQTU][A-Z]?(\d\d)", name):
        return int(siemens[1]) >= 50
    return None


def _values(hu: NDArray[np.float32], high: float) -> list[str]:
    notes = []
    if high > _METAL_HU:
        count = np.count_nonzero(hu > _METAL_HU)
        notes.append(f"{count} voxel{'s' if count > 1 else ''} above {_METAL_HU} HU: metal, which casts streaks.")
    # Clipped values pile up at the limit; a single voxel there is chance.
    if high in _CLIPPED_AT_HU and (count := np.count_nonzero(hu == high)) >= 10:
        notes.append(f"The values are clipped at {high:g} HU ({count} voxels), so denser matter is not told apart.")
    return notes


def _body(hu: NDArray[np.float32], spacing_mm: tuple[float, ...], padding_hu: float | None) -> list[str]:
    """Findings on a few coarse slices: does the image cut the body, and is the air outside -1000 HU?"""
    planes = _spread(len(hu), min(_SLICES_EXAMINED, len(hu)))
    rows, columns = (
        _spread(n, 1 if np.isnan(mm) else max(1, round(n * mm / _COARSE_MM)))
        for n, mm in zip(hu.shape[1:], spacing_mm[1:], strict=True)
    )
    if min(len(rows), len(columns)) < 16:
        return []
    cut, air = 0, []
    for plane in planes:
        coarse = hu[plane].take(rows, axis=0).take(columns, axis=1)
        # Where the scanner wrote a filling value instead of a measurement.
        padding = (coarse < _PADDING_BELOW_HU) | (coarse == np.float32(np.nan if padding_hu is None else padding_hu))
        inside = ~padding
        rim = inside & ~ndimage.binary_erosion(inside)
        # Two erosions remove the table's thin shell; beyond the edge counts as body, so that a body which reaches the
        # edge is not eroded there.
        solid = ndimage.binary_erosion((coarse > -300) | padding, iterations=2, border_value=1) & inside
        if not solid.any():
            continue
        # The largest part is the body; labelled only where some part reaches the rim, over 12 mm of it.
        if np.count_nonzero(solid & rim) >= 3 and np.count_nonzero(_largest(solid) & rim) >= 3:
            cut += 1
            continue  # lung may be open to the edge: the air would not be outside air
        labels, _ = ndimage.label((coarse < -700) & inside)
        air.append(coarse[np.isin(labels, np.setdiff1d(labels[rim], 0))])
    notes = []
    if cut:
        of = f" in {cut} of {len(planes)} slices looked at" if len(planes) > 1 else ""
        notes.append(f"The body reaches the edge of the field of view{of}, so areas may be too small.")
    outside = np.concatenate(air) if air else np.empty(0)
    median = float(np.median(outside)) if outside.size >= 100 else _AIR_HU
    if abs(median - _AIR_HU) > _AIR_TOLERANCE_HU:
        notes.append(f"The air outside the body has a median of {median:.0f} HU instead of -1000 HU.")
    return notes


def _spread(n: int, count: int) -> NDArray[np.intp]:
    """``count`` indices below n, evenly spread, with both ends."""
    return np.linspace(0, n - 1, count).round().astype(int)


def _largest(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of a region's connected parts."""
    labels, _ = ndimage.label(region)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()
