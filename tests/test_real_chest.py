"""The models that ship on a patient: the public chest, where it has been downloaded (`biomark.scans.sample`).

The outlines were drawn by the authors, not by a radiologist, before any map of these slices had been seen.
"""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy import ndimage

import biomark as bm

CACHE = Path("~/.cache/biomark/samples").expanduser()
ARCH = range(44, 49)  # slices that show the aortic arch and both pectoral muscles
# Column and row of the corners of the pectoral muscles, right and left, by slice.
PECTORALS = {
    46: (
        "243 190, 230 190, 215 193, 200 197, 185 201, 170 206, 155 213, 140 221, 130 229, 122 238, 119 247, "
        "118 257, 119 263, 121 265, 126 266, 131 264, 135 260, 139 256, 146 249, 152 243, 157 237, 163 231, "
        "170 225, 178 219, 188 213, 198 209, 206 208, 214 206, 222 203, 232 201, 240 199, 243 196",
        "281 190, 290 191, 302 194, 315 198, 328 203, 340 208, 352 213, 362 217, 372 223, 382 231, 390 239, "
        "396 247, 400 256, 402 264, 406 274, 409 282, 404 277, 399 273, 395 268, 391 263, 386 260, 383 258, "
        "376 252, 368 245, 360 239, 355 234, 350 234, 342 227, 334 220, 326 214, 320 210, 314 208, 306 206, "
        "296 203, 288 199, 282 195",
    ),
    48: (
        "245 203, 240 200, 228 199, 215 201, 200 205, 185 210, 170 216, 155 223, 142 231, 130 240, 122 247, "
        "118 255, 117 263, 119 269, 124 271, 131 271, 137 268, 142 264, 147 259, 153 257, 158 250, 163 243, "
        "168 238, 174 235, 182 230, 190 225, 198 220, 207 216, 216 212, 224 209, 235 207, 243 205",
        "284 205, 292 202, 303 204, 315 207, 328 211, 342 216, 355 221, 366 227, 376 234, 386 242, 393 250, "
        "398 258, 402 267, 405 276, 409 286, 404 281, 398 277, 391 273, 385 272, 378 268, 372 262, 366 257, "
        "360 250, 354 243, 347 237, 338 229, 330 224, 321 219, 312 216, 303 213, 295 210, 287 208",
    ),
}


@pytest.fixture(scope="module")
def chest():
    if not (CACHE / "chest").exists():
        pytest.skip("the sample was not downloaded: biomark.scans.sample('chest') does")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOMARK_SAMPLES", str(CACHE))
        return bm.scans.read(bm.scans.sample("chest"))


def inside(corners, shape):
    """Pixels whose middle lies in a polygon."""
    rows, columns = np.indices(shape)
    polygon = Polygon([tuple(map(float, corner.split())) for corner in corners.split(",")])
    return polygon.contains_points(np.c_[columns.ravel(), rows.ravel()]).reshape(shape)


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_pectoral_muscles_as_the_authors_drew_them(chest):
    model = bm.pretrained("pma")
    for k, outlines in PECTORALS.items():
        case = chest.case(model.task, k)
        drawn = np.logical_or.reduce([inside(corners, case.image.shape) for corners in outlines])
        assert overlap(model.locate(case).mask, drawn & (case.weights > 0)) > 0.85


def test_both_sides_and_nothing_else_at_the_arch(chest):
    """On each side of the midline one part of 6 cm2 or more, and no other of more than 1 cm2."""
    model = bm.pretrained("pma")
    for k in ARCH:
        case = chest.case(model.task, k)
        marked = ndimage.binary_closing(model.locate(case).mask, iterations=2)
        parts, count = ndimage.label(marked)
        areas = ndimage.sum(case.weights, parts, np.arange(1, count + 1))
        columns = np.array([x for _, x in ndimage.center_of_mass(marked, parts, np.arange(1, count + 1))])
        large = areas > 1
        assert (areas[large] > 6).all() and large.sum() == 2, (k, areas[areas > 0.3].round(1))
        assert columns[large].min() < 256 < columns[large].max()


def under_the_skin(image, spacing_mm):
    """The rule for subcutaneous fat: outside of lean tissue and lungs, closed by 35 mm, holes filled; no armpit."""
    body, mm = bm.candidates.body(image, spacing_mm), spacing_mm[0]
    lean = ndimage.gaussian_filter(image, 1 / mm) > -29
    lean &= bm.candidates.below(body, spacing_mm, 4.0)
    core = np.pad(ndimage.binary_opening(lean, iterations=2) | (body & (image < -500)), 60)
    wide = ndimage.distance_transform_edt(~core) <= 35 / mm
    core = ndimage.binary_fill_holes(ndimage.distance_transform_edt(wide) > 35 / mm)[60:-60, 60:-60]
    return body & ~core


def test_the_ring_of_fat_is_closed_at_the_arch(chest):
    model = bm.pretrained("sfa")
    for k in ARCH:
        case = chest.case(model.task, k)
        candidates = case.weights > 0
        ring = under_the_skin(case.image, case.spacing_mm) & candidates
        found = model.locate(case).mask
        assert overlap(found, ring) > 0.87 and overlap(found, ring) > overlap(candidates, ring) + 0.1
        # The front, which no map of the first design held.
        rows, columns = np.nonzero(ring)
        front = (rows < np.median(rows)) & (np.abs(columns - 256) < 80)
        assert found[rows[front], columns[front]].mean() > 0.9
