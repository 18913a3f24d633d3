"""The box around the heart: found in drawn chests, well and sick, and refused where it holds no heart or contrast."""

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


def chest(spacing_mm, heart=True, lungs=True, blood_hu=45.0):
    """A body with lungs, mediastinum, heart, spine, a liver dome and a table, in HU."""
    z, y, x = grid(spacing_mm)
    hu = np.full(z.shape, -1000.0)
    hu[((y - 140) / 110) ** 2 + ((x - 180) / 165) ** 2 < 1] = -100
    hu[((y - 140) / 100) ** 2 + ((x - 180) / 150) ** 2 < 1] = 40
    if lungs:
        for side in (-1, 1):
            hu[inside(z, y, x, (130, 140, 180 + side * 75), (155, 85, 62)) & (z > 35)] = -850
    hu[(np.abs(x - 180) < 20) & (np.abs(y - 140) < 85)] = 30
    if heart:
        hu[inside(z, y, x, *HEART)] = blood_hu
    hu[inside(z, y, x, (20, 130, 115), (70, 75, 75))] = 55
    hu[inside(z, y, x, (5, 130, 240), (55, 70, 60))] = 50
    hu[(np.hypot(x - 180, y - 205) < 18)] = 250
    hu[np.abs(y - 262) < 2] = 100
    return hu


THIN_HEART = ((90.0, 130.0, 190.0), (42.0, 36.0, 40.0))


def hyperinflated(spacing_mm, heart=True):
    """A thin chest wall of 10 mm, lungs that grow wider from a flat diaphragm to near the top, a small steep heart."""
    z, y, x = grid(spacing_mm)
    hu, wide = np.full(z.shape, -1000.0), 80 + 70 * np.clip((z - 40) / 200, 0, 1)
    hu[((y - 140) / 110) ** 2 + ((x - 180) / (wide + 10)) ** 2 < 1] = 40
    taper = np.clip((290 - z) / 40, 0.01, 1)
    hu[(z > 40) & (((y - 140) / 100) ** 2 + ((x - 180) / wide) ** 2 < taper)] = -900
    hu[(np.abs(x - 180) < 20) & (np.abs(y - 150) < 95)] = 30
    hu[(np.hypot(x - 180, y - 140) < 8) & (z > 190)] = -1000
    if heart:
        hu[inside(z, y, x, *THIN_HEART)] = 40
    hu[(np.hypot(x - 180, y - 215) < 18)] = 250
    return hu


def test_lungs_that_are_widest_near_the_top():
    """The box lies at the heart, not at the neck, and without a heart it is refused."""
    spacing = (5.0, 2.0, 2.0)
    hu = hyperinflated(spacing)
    area = (hu < -500)[:, 30:-30, 30:-30].sum((1, 2))
    assert area.argmax() * spacing[0] > 200 and area[10:40].min() > 0.4 * area.max()
    box = heart_box(scan_of(hu, spacing))
    heart = inside(*grid(spacing), *THIN_HEART)
    assert heart[box.slices].sum() > 0.99 * heart.sum() and box.findings == ()
    assert heart[box.slices].mean() > 0.1 and box.slices[0].stop * spacing[0] < 170
    with pytest.raises(ScanError, match="No heart was found between the lungs from"):
        heart_box(scan_of(hyperinflated(spacing, heart=False), spacing))


@pytest.mark.parametrize("draw", [chest, hyperinflated])
def test_a_scan_whose_head_lies_at_its_feet_is_refused(draw):
    spacing = (5.0, 2.0, 2.0)
    hu = draw(spacing)
    assert heart_box(scan_of(hu, spacing)).findings == ()
    with pytest.raises(ScanError, match=r"upper half, \d+ mm above the lowest slice.*upside down"):
        heart_box(scan_of(hu[::-1], spacing))


def test_a_short_heart_on_a_high_diaphragm():
    spacing = (5.0, 2.5, 2.5)
    z, y, x = grid(spacing)
    hu, short = chest(spacing, heart=False), ((125.0, 120.0, 190.0), (40.0, 45.0, 65.0))
    hu[inside(z, y, x, *short)] = 45
    hu[(z < 90) & inside(z, y, x, (35, 135, 180), (60, 95, 145))] = 55
    box = heart_box(scan_of(hu, spacing))
    heart = inside(z, y, x, *short)
    assert heart[box.slices].sum() > 0.97 * heart.sum()


@pytest.mark.parametrize("blood_hu", [130, 315, 405])
def test_contrast_is_seen_in_the_blood_though_no_header_names_it(blood_hu):
    spacing = (5.0, 2.5, 2.5)
    with pytest.raises(ScanError, match="A quarter of the heart's middle, 1.. mm above the lowest slice, is brighter"):
        heart_box(scan_of(chest(spacing, blood_hu=blood_hu), spacing))


def test_muscle_of_a_third_does_not_hide_contrast():
    """Early contrast: bright chambers, and muscle as without."""
    spacing = (5.0, 2.5, 2.5)
    z, y, x = grid(spacing)
    hu = chest(spacing, blood_hu=50)
    hu[inside(z, y, x, HEART[0], (44, 39, 51))] = 200
    with pytest.raises(ScanError, match="take a non-contrast series"):
        heart_box(scan_of(hu, spacing))


@pytest.mark.parametrize("noise_hu", [0, 60])
def test_calcium_metal_and_noise_are_no_contrast(noise_hu):
    """A lump of 10 ml of calcium, a wire through the heart, and noise of a sharp kernel."""
    spacing = (5.0, 2.0, 2.0)
    z, y, x = grid(spacing)
    hu = chest(spacing, blood_hu=55) + np.random.default_rng(0).normal(0, noise_hu, z.shape)
    hu[inside(z, y, x, (105, 120, 170), (12, 14, 14))] = 900
    hu[(np.abs(y - 118) < 2.5) & (np.abs(x - 190) < 40) & (np.abs(z - 120) < 4)] = 3000
    box = heart_box(scan_of(hu, spacing))
    heart = inside(z, y, x, *HEART)
    assert heart[box.slices].sum() > 0.97 * heart.sum()


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
    """15 mm below the slice at which four in ten of the lungs' columns have ended; further down there is still some."""
    spacing = (5.0, 2.5, 2.5)
    hu = chest(spacing)
    lungs = hu == -850
    lowest = lungs.argmax(0)[lungs.any(0)]
    box = heart_box(scan_of(hu, spacing))
    base = box.slices[0].start + 3
    assert 0.3 < np.mean(lowest <= base) < 0.5 and lungs[base - 4].any() and box.findings == ()


def test_narrow_field_of_view():
    """Cut so that the lungs are open to both sides, as cardiac scans are."""
    spacing = (3.0, 2.0, 2.0)
    hu = chest(spacing)[:, :, 35:150]
    box = heart_box(scan_of(hu, spacing))
    heart = inside(*grid(spacing), *HEART)[:, :, 35:150]
    assert heart[box.slices].sum() > 0.9 * heart.sum()


def test_a_scan_that_ends_in_the_heart_says_so_or_is_refused():
    """Above the diaphragm: with most of the heart a finding, with half of it or nothing a refusal."""
    spacing = (5.0, 2.5, 2.5)
    hu = chest(spacing)
    box = heart_box(scan_of(hu[14:], spacing))
    assert any("lowest slice" in sentence for sentence in box.findings)
    with pytest.raises(ScanError, match="lower part is missing"):
        heart_box(scan_of(hu[21:], spacing))
    with pytest.raises(ScanError, match="No heart was found"):
        heart_box(scan_of(hyperinflated(spacing)[27:], spacing))


def test_an_abdomen_is_no_chest():
    """Where the lungs begin to show, and where gas in the bowel fills more than they do."""
    spacing = (5.0, 2.5, 2.5)
    z, y, x = grid(spacing)
    hu = chest(spacing)
    with pytest.raises(ScanError, match="mm of the lungs, too little to hold a heart"):
        heart_box(scan_of(hu[:18], spacing))
    bowel = chest(spacing, heart=False, lungs=False)
    for side in (-1, 1):
        bowel[inside(z, y, x, (150, 110, 180 + side * 75), (140, 40, 40))] = -1000
    with pytest.raises(ScanError, match="No lungs were found"):
        heart_box(scan_of(bowel, spacing))


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


@pytest.mark.parametrize("name", ["chest", "contrast-chest"])
def test_real_chests(name, monkeypatch):
    """Where the samples are at hand: the box seen to hold the heart of one, and the other's contrast."""
    cache = Path("~/.cache/biomark/samples").expanduser()
    if not (cache / name).exists():
        pytest.skip("the sample was not downloaded: biomark.scans.sample does")
    monkeypatch.setenv("BIOMARK_SAMPLES", str(cache))
    scan = bm.scans.read(bm.scans.sample(name))
    if name == "contrast-chest":
        with pytest.raises(ScanError, match="is brighter than 3.. HU"):
            heart_box(scan)
        return
    slices, rows, columns = heart_box(scan).slices
    assert slices.start <= 14 and slices.stop >= 31
    assert rows.start < 160 and rows.stop > 305 and columns.start < 220 and columns.stop > 362
    with pytest.raises(ScanError, match="upside down"):
        heart_box(dataclasses.replace(scan, hu=scan.hu[::-1]))


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
