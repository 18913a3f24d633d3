"""The scores: what the components of a mask add up to, and what each voxel would add."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biomark.agatston.components import counting
from biomark.agatston.inputs import checked_spacing
from biomark.agatston.measurement import measure
from biomark.agatston.rules import Rules, named

# mg/cm3 per HU. 0.7 to 0.9 for the three scanners of the QRM phantom's published table; mg/mm3 is 1000 times less.
_CALIBRATION_MG_PER_CM3_HU = (0.1, 10.0)


def score(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    rules: str | Rules = "agatston1990",
) -> float:
    """The Agatston score of a mask: over its lesions, area in mm2 times a density factor of 1 to 4.

    A lesion is a connected component of the voxels that reach the threshold *and* lie inside the mask. So a mask may be
    drawn generously around calcium; one that cuts through a lesion cuts its area, and perhaps its peak.

    With rules that do not correct for the slice spacing (``Rules.reference_spacing_mm`` is None, as in 1990), slices
    1 mm apart score about three times as much as slices 3 mm apart. Nothing is corrected in silence: see
    :func:`findings`.

    Args:
        volume_hu: Hounsfield units, (D, H, W), axial slices first.
        mask: Boolean, or whole numbers of which all above 0 are inside, (D, H, W); None for everywhere. An empty mask
            scores 0.
        spacing_mm: (dz, dy, dx) in mm; dz is the distance between slices, not their thickness.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.

    Returns:
        The score, 0 or more.

    Raises:
        ValueError: The shapes do not fit, the values are no Hounsfield units, the spacing is not in mm, or the rules
            are unknown.

    >>> import numpy as np
    >>> volume_hu = np.full((1, 4, 4), -100.0)
    >>> volume_hu[0, 1:3, 1:3] = [[150, 150], [150, 250]]  # four pixels; the peak of 250 HU makes the factor 2
    >>> score(volume_hu, None, (3.0, 0.5, 0.5))  # 4 * 0.25 mm2 * 2
    2.0
    """
    return float(measure(volume_hu, mask, spacing_mm, named(rules)).score.sum())


def weights(
    volume_hu: ArrayLike, spacing_mm: Sequence[float], rules: str | Rules = "agatston1990"
) -> NDArray[np.float32]:
    """What each voxel adds to the score of a mask that holds its whole lesion; 0 where there is no candidate.

    The score is linear in the mask as long as lesions are taken or left whole:
    ``sum(weights * mask) == score(volume, mask)``, up to the rounding of float32 (a relative 1e-7; sum in float64).
    Whole means whole in the slice, or in the volume where the rules form components there. Lesions are those of the
    full volume, since no mask is known; a mask that cuts through one has another score, because its part has another
    area and perhaps another peak. Rounded lesion scores are spread evenly over their voxels.

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        spacing_mm: (dz, dy, dx) in mm.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.

    Returns:
        float32, (D, H, W), in Agatston units.

    Raises:
        ValueError: As :func:`score`.
    """
    found = measure(volume_hu, None, spacing_mm, named(rules))
    runs = found.runs
    w = np.zeros(np.shape(volume_hu), np.float32)
    value = np.append(found.score / found.voxels, 0.0)[found.of_run]  # of_run is -1 for what does not count
    # A slice at a time, for the indices of the voxels take more memory than the voxels.
    bounds = np.searchsorted(runs.start, np.arange(len(w) + 1) * w[0].size)
    for begin, end in itertools.pairwise(bounds):
        length = runs.length[begin:end]
        w.reshape(-1)[counting(runs.start[begin:end], length)] = np.repeat(value[begin:end], length)
    return w


def volume_score(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    rules: str | Rules = "agatston1990",
) -> float:
    """The volume of the lesions that count, in mm3: their voxels, nothing interpolated.

    The volume score of Callister et al. (Radiology 1998;208:807-14) [not checked against the paper] first interpolates
    to cubic voxels; interpolation is left to whoever wants it, because it moves peaks and edges.

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        mask: As for :func:`score`.
        spacing_mm: (dz, dy, dx) in mm.
        rules: A name in :data:`PRESETS`, or :class:`Rules`: what counts as a lesion.

    Raises:
        ValueError: As :func:`score`.
    """
    found = measure(volume_hu, mask, spacing_mm, named(rules))
    return float(found.voxels.sum() * np.prod(checked_spacing(spacing_mm)))


def mass_score(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    calibration_mg_per_cm3_hu: float | None = None,
    rules: str | Rules = "agatston1990",
) -> float:
    """The calcium mass of the lesions that count, in mg of hydroxyapatite: calibration x mean HU x volume.

    The calibration belongs to one scanner, tube voltage and patient size: a rod of known density in the scan gives it
    as density / (HU of the rod - HU of water), 200 mg/cm3 in the QRM phantom. The formula is that of McCollough et al.,
    Radiology 2007;243:527-38 [abstract read].

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        mask: As for :func:`score`.
        spacing_mm: (dz, dy, dx) in mm.
        calibration_mg_per_cm3_hu: mg of hydroxyapatite per cm3 for each HU, about 0.8 at 120 kV. There is no default.
        rules: A name in :data:`PRESETS`, or :class:`Rules`: what counts as a lesion.

    Raises:
        ValueError: As :func:`score`; or there is no calibration, or one in another unit.
    """
    calibration, (low, high) = calibration_mg_per_cm3_hu, _CALIBRATION_MG_PER_CM3_HU
    if calibration is None:
        raise ValueError(
            "a mass needs calibration_mg_per_cm3_hu, which is the scanner's: the density of a calibration rod in "
            "mg/cm3 over its HU less those of water."
        )
    if not low <= calibration <= high:
        raise ValueError(
            f"calibration_mg_per_cm3_hu is {calibration:g}, but it is about 0.8 in mg/cm3 per HU; multiply one in "
            "mg/mm3 by 1000."
        )
    found = measure(volume_hu, mask, spacing_mm, named(rules))
    volume_cm3 = np.prod(checked_spacing(spacing_mm)) / 1000
    return float(calibration * found.sum_hu.sum() * volume_cm3)
