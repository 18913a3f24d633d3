"""The box around the heart: found in drawn chests, at any spacing, and refused where there is no chest."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

import biomark as bm
from biomark.scans import Scan, ScanError, heart_box

EXTENT_MM = np.array([300.0, 280.0, 360.0])


def scan_of(hu, spacing_mm):
    return Scan(hu.astype(np.float32), tuple(spacing_mm), np.diag([-1.0, -1, 1, 1]), {"source": "drawn"}, ())


def grid(spacing_mm):
    """Coordinates z, y, x in mm from the corner, and an empty chest on them."""
    shape = np.round(EXTENT_MM / spacing_mm).astype(int)
    return np.meshgrid(*((np.arange(n) + 0.5) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij")


def inside(z, y, x, centre, half):
    return sum(((a - c) / h) ** 2 for a, c, h in zip((z, y, x), centre, half, strict=True)) < 1


HEART = ((105.0, 120.0, 190.0), (50.0, 45.0, 58.0))


def chest(spacing_mm, heart=True, lungs=True):
    """A body with lungs, mediastinum, heart, spine, a liver dome and a table, in HU."""
    z, y, x = grid(spacing_mm)
    hu = np.full(z.shape, -1000.0)
    hu[((y - 140) / 110) ** 2 + ((x - 180) / 165) ** 2 < 1] = -100
    hu[((y - 140) / 100) ** 2 + ((x - 180) / 150) ** 2 < 1] = 40
    if lungs:
        for side in (-1, 1):
            hu[inside(z, y, x, (130, 140, 180 + side * 75), (155, 85, 62)) & (z > 35)] = -850
    hu[(np.abs(x - 180) < 38) & (np.abs(y - 140) < 85)] = 30
    if heart:
        hu[inside(z, y, x, *HEART)] = 45
    hu[inside(z, y, x, (20, 130, 115), (70, 75, 75))] = 55
    hu[inside(z, y, x, (5, 130, 240), (55, 70, 60))] = 50
    hu[(np.hypot(x - 180, y - 205) < 18)] = 250
    hu[np.abs(y - 262) < 2] = 100
    return hu


@pytest.mark.parametrize("spacing", [(5.0, 1.5, 1.5), (3.0, 2.0, 2.0), (2.0, 3.0, 3.0)])
def test_box_holds_the_heart_and_little_more(spacing):
    box = heart_box(scan_of(chest(spacing), spacing))
    heart = inside(*grid(spacing), *HEART)
    assert heart[box.slices].sum() > 0.97 * heart.sum()
    assert heart[box.slices].mean() > 0.15
    assert box.hu.shape == heart[box.slices].shape and box.findings == ()


def test_box_is_the_scan_s_own_voxels():
    spacing = (5.0, 2.5, 2.5)
    scan = scan_of(chest(spacing), spacing)
    box = heart_box(scan)
    np.testing.assert_array_equal(box.hu, scan.hu[box.slices])
    case = box.case(bm.TASKS["cac"])
    assert case.value is None and case.spacing_mm == spacing
    np.testing.assert_array_equal(case.weights, bm.TASKS["cac"].weigh(box.hu, spacing))


def test_box_holds_the_calcium_of_phantoms_set_into_a_chest():
    """Heart boxes drawn by numbers, at the heart's place in the chest: their calcium lies in the box that is found."""
    cohort = bm.phantoms.draw("cac", 4, seed=2)
    for case in cohort:
        spacing = case.spacing_mm
        hu, truth = chest(spacing), np.zeros(grid(spacing)[0].shape, bool)
        corner = np.round(np.array([105, 120, 180]) / spacing - np.array(case.image.shape) / 2).astype(int)
        place = tuple(slice(c, c + n) for c, n in zip(corner, case.image.shape, strict=True))
        hu[place], truth[place] = case.image, case.mask
        box = heart_box(scan_of(hu, spacing))
        assert truth[box.slices].sum() >= 0.9 * truth.sum()


def test_the_box_begins_below_the_domes_of_the_diaphragm():
    """10 mm below the slice in which less than 60 % of the widest is lung; further down there is still some."""
    spacing = (5.0, 2.5, 2.5)
    hu = chest(spacing)
    lung = (hu == -850).sum((1, 2)) / (hu == -850).sum((1, 2)).max()
    box = heart_box(scan_of(hu, spacing))
    start = box.slices[0].start + 2
    assert 0.55 < lung[start] < 0.65 and 0 < lung[start - 4] < 0.4 and box.findings == ()


def test_narrow_field_of_view():
    """Cut so that the lungs are open to both sides, as cardiac scans are."""
    spacing = (3.0, 2.0, 2.0)
    hu = chest(spacing)[:, :, 35:150]
    box = heart_box(scan_of(hu, spacing))
    heart = inside(*grid(spacing), *HEART)[:, :, 35:150]
    assert heart[box.slices].sum() > 0.9 * heart.sum()


def test_a_scan_that_ends_in_the_heart_says_so():
    spacing = (5.0, 2.5, 2.5)
    box = heart_box(scan_of(chest(spacing)[20:], spacing))
    assert any("lowest slice" in sentence for sentence in box.findings)


def test_no_lungs_no_box():
    spacing = (5.0, 2.5, 2.5)
    with pytest.raises(ScanError, match="No lungs were found"):
        heart_box(scan_of(chest(spacing, lungs=False), spacing))
    with pytest.raises(ScanError, match="No lungs were found"):
        heart_box(scan_of(np.full((20, 50, 50), -1000.0), (5.0, 5.0, 5.0)))


def test_what_cannot_hold_a_heart_is_refused():
    spacing = (5.0, 2.5, 2.5)
    scan = scan_of(chest(spacing), spacing)
    with pytest.raises(ScanError, match="covers 40 mm"):
        heart_box(dataclasses.replace(scan, hu=scan.hu[:8]))
    with pytest.raises(ScanError, match="one slice"):
        heart_box(dataclasses.replace(scan, hu=scan.hu[:1], spacing_mm=(np.nan, 2.5, 2.5)))


REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))


@pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")
def test_real_scans():
    """A series of the aortic arch is too short; of a thorax phantom every calcium insert lies in the box."""
    with pytest.raises(ScanError, match="cannot hold a heart"):
        heart_box(bm.scans.read(REAL / "lidc-0314-arch" / "dicom"))
    box = heart_box(bm.scans.read(REAL / "qrm-calcium-phantom" / "dicom"))
    slices, rows, columns = box.slices
    assert slices.start <= 21 and slices.stop > 23
    for row, column in ((282, 299), (151, 291), (220, 180), (260, 285), (173, 280), (221, 206)):
        assert rows.start < row - 20 and row + 20 < rows.stop
        assert columns.start < column - 20 and column + 20 < columns.stop
    assert bm.TASKS["cac"].weigh(box.hu, box.spacing_mm).sum() > 0
