"""Which voxels could be calcium: what is bright, larger than noise and smaller than a bone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from biomark.agatston.components import Runs, find_runs, join, ranges
from biomark.agatston.rules import Rules

CALCIUM_HU = 130.0
"""Lowest value of calcium (Agatston et al. 1990)."""

LARGEST_CALCIUM_MM3 = 1500.0
"""Largest part of an image above :data:`CALCIUM_HU` that may be calcium, a piece of an artery 8 cm long and 5 mm thick,
blur included. Ours; a rib is ten times as large. (SlicerCIP's scorer stops at 500 mm3.)"""

SMALLEST_CALCIUM_MM3 = 6.0
"""Smallest part that may be calcium, 2 mm2 in one slice of 3 mm, twice what a reader counts. Ours. On phantoms such a
part is noise as a rule, and 0.1 % of all coronary calcium is lost with it."""


def calcium(image_hu: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """Voxels of at least :data:`CALCIUM_HU` in parts that are neither as large as bones nor as small as noise.

    What hangs together by faces and is larger than :data:`LARGEST_CALCIUM_MM3` drops out: with the bones, a hundred
    times the weight of the calcium, a network could write any score in tiny map values. Of what is left, parts smaller
    than :data:`SMALLEST_CALCIUM_MM3` drop out, neighbours by corners counted: noise stands alone in its slice. The
    price: very heavy calcium in one piece, or touching a bone, and the least specks cannot be found.

    Args:
        image_hu: Hounsfield units, (D, H, W).
        spacing_mm: (dz, dy, dx).
    """
    image_hu = np.asarray(image_hu)
    # As runs of voxels, of which there are few: labels of all voxels, twice, would take as long as drawing.
    part = Rules(threshold_hu=CALCIUM_HU, minimum_area_mm2=0.0, connectivity=6)
    no_bone = replace(part, maximum_volume_mm3=LARGEST_CALCIUM_MM3)
    no_speck = replace(part, connectivity=26, minimum_volume_mm3=SMALLEST_CALCIUM_MM3)
    runs = find_runs(image_hu, None, spacing_mm, part)
    for rules in (no_bone, no_speck):
        if len(runs.start):
            counts = join(runs, image_hu.shape, spacing_mm, rules) >= 0
            runs = Runs._make(values[counts] for values in runs)
    found = np.zeros(image_hu.shape, bool)
    found.reshape(-1)[ranges(runs.start, runs.length)] = True
    return found
