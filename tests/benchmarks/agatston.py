"""How fast the calcium scorer is, beside the patterns in use. Not a test.

    python tests/benchmarks/agatston.py          # six sizes, minutes
    python tests/benchmarks/agatston.py --full 1 # all nine
    python tests/benchmarks/agatston.py --quick

The patterns are written here from reading how others do it; none is their code. In each size, every pattern first has
to give our score. Memory is what a call needs on top of the volume (int16) and the mask, as a multiple of the volume.
"""

from functools import partial

import numpy as np
from scipy import ndimage
from turns import OURS, command, keep, peak_mib, take

from biomark import agatston

try:
    import cc3d
    import SimpleITK
except ImportError as error:
    raise SystemExit(f"this benchmark needs {error.name}: pip install 'biomark[peers]'.") from error

SPACING_MM = (1.0, 0.7, 0.7)
AREA_MM2 = SPACING_MM[1] * SPACING_MM[2]
SIZES = [(slices, lesions) for slices in (48, 120, 400) for lesions in (10, 40, 200)]
QUICK = [(48, 10), (48, 40), (48, 200), (120, 10), (120, 40), (400, 10)]
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = True


def scan(slices, lesions):
    """Noise of SD 30 HU around 40 HU (int16), ellipsoids of calcium in the cells of a grid, and a mask of them."""
    rng = np.random.default_rng(slices * 1000 + lesions)
    hu = np.empty((slices, 512, 512), np.int16)
    for image in hu:
        image[:] = rng.normal(40, 30, image.shape)
    hu[:, :60] = -1000
    mask = np.zeros(hu.shape, bool)
    cells = [(z, y, x) for z in range(6, slices - 6, 12) for y in range(150, 400, 30) for x in range(150, 400, 30)]
    for z, y, x in rng.permutation(cells)[:lesions]:
        box = np.s_[z - 5 : z + 6, y - 9 : y + 10, x - 9 : x + 10]
        radii = rng.uniform((1.5, 3, 3), (4, 8, 8))
        inside = sum((g / r) ** 2 for g, r in zip(np.mgrid[-5:6, -9:10, -9:10], radii, strict=True)) <= 1
        hu[box][inside] = rng.uniform(180, 900) * rng.uniform(0.9, 1.1, inside.sum())
        mask[box] |= inside & (hu[box] >= 130)
    return hu, mask


def factor(peak):
    return min(int(peak) // 100, 4) if peak >= 200 else int(peak >= 130)


# --- lesions through the volume, the convention ai_cac ---------------------------------------------------


def mask_per_lesion(hu, mask):
    """As in AI-CAC: for every lesion a mask of the full volume, and the volume times the mask."""
    labels, count = ndimage.label(mask)
    score = 0
    for label in range(1, count + 1):
        lesion = np.zeros(mask.shape)
        lesion[labels == label] = 1
        voxels = lesion.sum()
        if voxels > 1:
            score += round(float(voxels * np.prod(SPACING_MM) / 3 * factor((hu * lesion).max())))
    return score


def from_labels(hu, labels, value, smallest):
    """Sizes and peaks of all labels at once."""
    index = np.flatnonzero(labels)
    found = labels.reshape(-1)[index]
    voxels = np.bincount(found)[1:]
    peaks = ndimage.maximum(hu.reshape(-1)[index], found, np.arange(1, len(voxels) + 1)) if len(voxels) else []
    return [float(n * value * factor(peak)) for n, peak in zip(voxels, peaks, strict=True) if n >= smallest]


def cc3d_volume(hu, mask):
    value = np.prod(SPACING_MM) / 3
    return sum(round(s) for s in from_labels(hu, cc3d.connected_components(mask, connectivity=6), value, 2))


def simple_itk(hu, mask):
    """Components and their peaks by SimpleITK's filters."""
    labels = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(mask.astype(np.uint8)))
    found = SimpleITK.LabelIntensityStatisticsImageFilter()
    found.Execute(labels, SimpleITK.GetImageFromArray(hu))
    value = np.prod(SPACING_MM) / 3
    lesions = ((found.GetNumberOfPixels(n), found.GetMaximum(n)) for n in found.GetLabels())
    return sum(round(float(voxels * value * factor(peak))) for voxels, peak in lesions if voxels > 1)


# --- lesions within a slice, the convention agatston1990 --------------------------------------------------


def mask_per_slice(hu, mask):
    """As in DeepCAC and Comp2Comp: slice by slice, for every lesion a mask of the slice."""
    score = 0.0
    for image, inside in zip(hu, mask, strict=True):
        labels, count = ndimage.label(inside, np.ones((3, 3)))
        for label in range(1, count + 1):
            lesion = labels == label
            area = lesion.sum() * AREA_MM2
            if area >= 1:
                score += area * factor(image[lesion].max())
    return score


def label_once(hu, mask):
    return sum(from_labels(hu, ndimage.label(mask, IN_PLANE)[0], AREA_MM2, 3))


def boxes(hu, mask):
    labels, _ = ndimage.label(mask, IN_PLANE)
    score = 0.0
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        lesion = labels[box] == label
        area = lesion.sum() * AREA_MM2
        if area >= 1:
            score += area * factor(hu[box][lesion].max())
    return score


def cc3d_slices(hu, mask):
    score = 0.0
    for image, inside in zip(hu, mask, strict=True):
        if inside.any():
            score += sum(from_labels(image, cc3d.connected_components(inside, connectivity=8), AREA_MM2, 3))
    return score


PATTERNS = {
    "ai_cac": {
        OURS: lambda hu, mask: agatston.score(hu, mask, SPACING_MM, "ai_cac"),
        "mask per lesion": mask_per_lesion,
        "cc3d": cc3d_volume,
        "SimpleITK": simple_itk,
    },
    "agatston1990": {
        OURS: lambda hu, mask: agatston.score(hu, mask, SPACING_MM),
        "mask per lesion and slice": mask_per_slice,
        "scipy label, once": label_once,
        "scipy label, boxes": boxes,
        "cc3d, slice by slice": cc3d_slices,
    },
    "no mask, agatston1990": {
        OURS: lambda hu, mask: agatston.score(hu, None, SPACING_MM),
        "biomark weights": lambda hu, mask: np.sum(agatston.weights(hu, SPACING_MM), dtype=float),
        "scipy label, once": lambda hu, mask: label_once(hu, hu >= 130),
    },
}


def main():
    asked = command(__doc__, full=0)
    rows = []
    for slices, lesions in [(24, 10)] if asked.quick else SIZES if asked.full else QUICK:
        hu, mask = scan(slices, lesions)
        for group, patterns in PATTERNS.items():
            ways = {who: partial(pattern, hu, mask) for who, pattern in patterns.items()}
            memory = {who: peak_mib(way) for who, way in ways.items()}
            scores = {who: float(way()) for who, way in ways.items()}
            for who, score in scores.items():
                if not np.isclose(score, scores[OURS], rtol=1e-6):
                    raise SystemExit(f"{who} scores {score}, biomark {scores[OURS]}: nothing was measured.")
            of = {"slices": slices, "lesions": lesions, "rules": group, "score": scores[OURS]}
            for row in take(ways, budget_s=25):
                peak = memory[row["who"]]
                volumes = None if peak is None else round(peak * 2**20 / hu.nbytes, 2)
                rows.append(of | row | {"memory_volumes": volumes})
    keep(asked, "agatston", rows, peers=("connected-components-3d", "SimpleITK"))


if __name__ == "__main__":
    main()
