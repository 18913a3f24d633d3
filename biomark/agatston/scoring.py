"""The scores: what the lesions of a mask add up to, what each voxel would add, and the lesions as a table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biomark.agatston.checks import check_order, check_spacing, findings, has_negative
from biomark.agatston.components import SLAB, Measurement, measure, ranges
from biomark.agatston.rules import Rules, resolve_rules

if TYPE_CHECKING:
    import pandas as pd

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

    Args:
        volume_hu: Hounsfield units, (D, H, W), axial slices first.
        mask: Boolean, or whole numbers of which all above 0 are inside, (D, H, W); None for everywhere. An empty mask
            scores 0.
        spacing_mm: (dz, dy, dx) in mm; dz is the distance between slices, not their thickness. Only rules with a
            ``reference_spacing_mm`` correct for it: see :func:`findings`.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.

    Raises:
        ValueError: The shapes do not fit, the values cannot be Hounsfield units, the spacing is not in mm or not in
            that order, or the rules are unknown.

    >>> import numpy as np
    >>> volume_hu = np.full((1, 4, 4), -100.0)
    >>> volume_hu[0, 1:3, 1:3] = [[150, 150], [150, 250]]  # four pixels; the peak of 250 HU makes the factor 2
    >>> score(volume_hu, None, (3.0, 0.5, 0.5))  # 4 * 0.25 mm2 * 2
    2.0
    """
    check_order(spacing_mm)
    return float(measure(volume_hu, mask, spacing_mm, resolve_rules(rules)).score.sum())


def weights(
    volume_hu: ArrayLike, spacing_mm: Sequence[float], rules: str | Rules = "agatston1990"
) -> NDArray[np.float32]:
    """What each voxel, (D, H, W), adds to the score of a mask that holds its whole lesion; 0 outside the candidates.

    The score is linear in the mask as long as lesions are taken or left whole (in the slice, or in the volume where the
    rules form components there): ``sum(weights * mask) == score(volume, mask)``, up to the rounding of float32 (a
    relative 1e-7; sum in float64). Rounded lesion scores are spread evenly over their voxels.

    Args:
        volume_hu, spacing_mm, rules: As for :func:`score`.

    Raises:
        ValueError: As :func:`score`.
    """
    check_order(spacing_mm)
    found = measure(volume_hu, None, spacing_mm, resolve_rules(rules))
    runs = found.runs
    w = np.zeros(np.shape(volume_hu), np.float32)
    value = np.append(found.score / found.voxels, 0.0)[found.of_run]  # of_run is -1 for what does not count
    # A slab at a time, because the indices of the voxels take more memory than the voxels.
    bounds = np.searchsorted(runs.start, np.arange(0, w.size + SLAB, SLAB))
    for begin, end in itertools.pairwise(bounds):
        length = runs.length[begin:end]
        w.reshape(-1)[ranges(runs.start[begin:end], length)] = np.repeat(value[begin:end], length)
    return w


def mass_score(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    calibration_mg_per_cm3_hu: float | None = None,
    rules: str | Rules = "agatston1990",
) -> float:
    """The calcium mass of the lesions that count, in mg of hydroxyapatite: calibration x mean HU x volume.

    The calibration belongs to one scanner, tube voltage and patient size: a rod of known density in the scan gives it
    as density / (HU of the rod - HU of water). McCollough et al., Radiology 2007;243:527-38 [abstract read].

    Args:
        volume_hu, mask, spacing_mm, rules: As for :func:`score`.
        calibration_mg_per_cm3_hu: mg of hydroxyapatite per cm3 for each HU, about 0.8 at 120 kV. There is no default.

    Raises:
        ValueError: As :func:`score`; or the calibration is missing or in another unit.
    """
    calibration, (low, high) = calibration_mg_per_cm3_hu, _CALIBRATION_MG_PER_CM3_HU
    if calibration is None:
        raise ValueError(
            "a mass needs calibration_mg_per_cm3_hu, which belongs to the scanner: the density of a calibration rod in "
            "mg/cm3, divided by its HU above those of water."
        )
    if not low <= calibration <= high:
        raise ValueError(
            f"calibration_mg_per_cm3_hu is {calibration:g}, but it is about 0.8 in mg/cm3 per HU; multiply one in "
            "mg/mm3 by 1000."
        )
    check_order(spacing_mm)
    found = measure(volume_hu, mask, spacing_mm, resolve_rules(rules))
    return float(calibration * found.sum_hu.sum() * (np.prod(spacing_mm) / 1000))


def lesions(
    volume_hu: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    rules: str | Rules = "agatston1990",
    *,
    arteries: Mapping[int, str] | None = None,
    slice_thickness_mm: float | None = None,
    kvp: float | None = None,
) -> pd.DataFrame:
    """The lesions that a score is made of, one row each.

    Args:
        volume_hu, mask, spacing_mm, rules: As for :func:`score`.
        arteries: Names of the labels in the mask, such as ``{1: "LAD", 2: "RCA"}``; a label without a name appears as
            its number. A lesion on a border belongs to the artery of most of its voxels (the smaller label of two
            equal ones), so that the scores of the arteries add up to the score.
        slice_thickness_mm, kvp: As for :func:`findings`.

    Returns:
        A table with the columns ``slice`` (the first one) and ``last_slice``, numbered from 0; ``row`` and ``column``
        of the centre, in pixels; ``artery`` where ``arteries`` is given; ``voxels``; ``area_mm2``, over all its slices;
        ``volume_mm3``; ``mean_hu``; ``peak_hu``; ``factor`` 0 to 4; ``score``. Components in the volume have a row
        each; if the rules take a peak in each slice, a row for each slice. ``attrs`` carries the name of the ``rules``
        and the ``findings``.

    Raises:
        ValueError: As :func:`score`; or arteries are named but the mask has no labels.
    """
    import pandas as pd  # half a second, which `import biomark` does without

    rules = resolve_rules(rules)
    if arteries is not None and (mask is None or np.asarray(mask).dtype == bool):
        raise ValueError("arteries names the labels of a mask of whole numbers, but the mask has none: give one.")
    found = measure(volume_hu, mask, spacing_mm, rules)
    dz, dy, dx = check_spacing(spacing_mm)
    table = pd.DataFrame(
        {
            "slice": found.first_plane,
            "last_slice": found.last_plane,
            "row": found.row,
            "column": found.column,
            "voxels": found.voxels,
            "area_mm2": found.voxels * (dy * dx),
            "volume_mm3": found.voxels * (dz * dy * dx),
            "mean_hu": found.sum_hu / found.voxels,
            "peak_hu": found.peak_hu,
            "factor": found.factor,
            "score": found.score,
        }
    )
    if arteries is not None:
        labels = _commonest_labels(found, np.asarray(mask))
        table.insert(4, "artery", [arteries.get(int(label), str(label)) for label in labels])
    notes = findings(spacing_mm, slice_thickness_mm, kvp, rules)
    if not has_negative(np.asarray(volume_hu)):
        notes.append("No value lies below 0 HU, as fat, lung and air do: make sure that these are Hounsfield units.")
    table.attrs = {"rules": rules.name, "findings": tuple(notes)}
    return table


def _commonest_labels(found: Measurement, mask: NDArray) -> NDArray[np.int64]:
    """The label with the most voxels of each lesion, (L,); the smallest of several."""
    entry = np.repeat(found.of_run, found.runs.length)
    label = mask.reshape(-1)[ranges(found.runs.start, found.runs.length)].astype(np.int64)
    (owner, name), votes = np.unique(np.stack([entry, label])[:, entry >= 0], axis=1, return_counts=True)
    best = np.lexsort((name, -votes, owner))
    return name[best[np.flatnonzero(np.diff(owner[best], prepend=-1))]]
