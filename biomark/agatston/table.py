"""The lesions behind a score, as a table to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from biomark.agatston.acquisition import findings
from biomark.agatston.inputs import checked_spacing, has_negative
from biomark.agatston.measurement import measure
from biomark.agatston.rules import Rules, named

if TYPE_CHECKING:
    import pandas as pd


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

    Lesions are formed before arteries are told apart: a lesion on a border belongs to the artery that most of its
    voxels carry (the smaller label of two equal ones). So the scores of the arteries always add up to the score.

    Args:
        volume_hu: Hounsfield units, (D, H, W).
        mask: As for :func:`score`.
        spacing_mm: (dz, dy, dx) in mm.
        rules: A name in :data:`PRESETS`, or :class:`Rules`.
        arteries: Names of the labels in the mask, such as ``{1: "LAD", 2: "RCA"}``; a label without a name stands as
            its number.
        slice_thickness_mm: For the findings, as in :func:`findings`.
        kvp: For the findings, as in :func:`findings`.

    Returns:
        A table with the columns ``slice`` (the first one) and ``last_slice``, numbered from 0; ``row`` and ``column``
        of the centre, in pixels; ``artery`` where ``arteries`` is given; ``voxels``; ``area_mm2``, over all its slices;
        ``volume_mm3``; ``mean_hu``; ``peak_hu``; ``factor`` 0 to 4; ``score``. Rules that form components in the volume
        give a row a component; if they take a peak in each slice, a row for each of its slices. ``attrs`` carries the
        name of the ``rules`` and the ``findings``.

    Raises:
        ValueError: As :func:`score`; or arteries are named but the mask has no labels.
    """
    import pandas as pd  # half a second, which `import biomark` does without

    rules = named(rules)
    by_label = arteries is not None
    if by_label and (mask is None or np.asarray(mask).dtype == bool):
        raise ValueError("arteries names the labels of a mask of whole numbers, but the mask has none: give one.")
    found = measure(volume_hu, mask, spacing_mm, rules, by_label=by_label)
    dz, dy, dx = checked_spacing(spacing_mm)
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
    if by_label:
        table.insert(4, "artery", [arteries.get(int(label), str(label)) for label in found.label])
    notes = findings(spacing_mm, slice_thickness_mm, kvp, rules)
    if not has_negative(np.asarray(volume_hu)):
        notes.append("No value lies below 0 HU, as fat, lung and air do: make sure that these are Hounsfield units.")
    table.attrs = {"rules": rules.name, "findings": tuple(notes)}
    return table
