"""The slice at the aortic arch, by the windpipe's fork and the lungs' tops."""

import os
from pathlib import Path

import numpy as np
import pytest

import biomark as bm
from biomark import scans

STEP_MM = 2.5
LEVELS = {"low": (20, 52), "usual": (24, 56), "high": (28, 60)}  # slices of fork and lungs' tops, from 0 at the feet


def chest(fork=24, top=56, slices=70, thin_wall=()):
    """A body in air with lungs that end in a point, and a windpipe that forks; 2.5 x 2 x 2 mm."""
    rows, columns = np.mgrid[:140, :180] * 2.0
    hu = np.full((slices, 140, 180), -1000.0, np.float32)
    for k in range(slices):
        image = hu[k]
        image[np.hypot((rows - 140) / 105, (columns - 180) / 165) < 1] = 40
        size = np.clip((top + 0.5 - k) / 16, 0, 1) ** 0.5  # of the lungs, whose tops are round
        for side in (-1, 1):
            if size:
                image[np.hypot((rows - 140) / (80 * size), (columns - 180 - side * 75) / (55 * size)) < 1] = -850
        apart = 4 + 2.2 * (fork + 1 - k) if k <= fork else 0
        for side in (-1, 1):
            image[np.hypot(rows - 135, columns - 182 - side * apart) < (6 if apart else 8)] = -990
        if k in thin_wall:  # a gap in the wall: the windpipe is one with a lung
            image[133:138, 180:260] = -900
    return hu


def scan_of(hu, spacing_mm=(STEP_MM, 2.0, 2.0)):
    return scans.Scan(hu, spacing_mm, np.diag([-1.0, -1, 1, 1]), {"source": "drawn"}, ())


@pytest.mark.parametrize("level", LEVELS)
def test_it_lies_a_third_of_the_way_from_fork_to_tops(level):
    fork, top = LEVELS[level]
    found = scans.arch_slice(scan_of(chest(fork, top)))
    assert abs(found.fork - fork) <= 1 and abs(found.top - top) <= 2
    assert abs(found.index - (fork + (top - fork) / 3)) <= 2 and not found.findings
    assert str(found.index) in str(found)


def test_a_wall_too_thin_to_be_seen_is_no_fork():
    found = scans.arch_slice(scan_of(chest(thin_wall=(40, 41, 42))))
    assert abs(found.fork - 24) <= 1 and abs(found.index - 35) <= 2


def test_thick_and_thin_slices_agree():
    hu = chest()
    assert abs(2 * scans.arch_slice(scan_of(hu[::2], (5.0, 2.0, 2.0))).index - scans.arch_slice(scan_of(hu)).index) <= 2


def test_a_patient_beside_the_middle_of_the_image():
    """Air of 60 mm on one side: the windpipe is looked for between the lungs, not in the middle of the image."""
    hu = chest()
    aside = np.pad(hu, ((0, 0), (0, 0), (60, 0)), constant_values=-1000)
    assert scans.arch_slice(scan_of(aside)) == scans.arch_slice(scan_of(hu))


def test_a_scan_upside_down_is_refused():
    hu = chest()
    hu[:8] = hu[-1]  # below the lungs
    with pytest.raises(scans.ScanError, match="forks above the lungs' tops"):
        scans.arch_slice(scan_of(hu[::-1]))


def test_a_short_way_is_a_finding():
    (finding,) = scans.arch_slice(scan_of(chest(fork=42))).findings
    assert "which is unusual: look at the slice" in finding


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (slice(0, 50), "The lungs' tops are not in this scan"),
        (slice(30, 70), "The windpipe's fork is not in this scan"),
        (slice(62, 70), "No lungs were found"),
        (slice(30, 31), "One slice has no level"),
    ],
)
def test_what_is_not_in_the_scan_is_said(part, says):
    with pytest.raises(scans.ScanError, match=says):
        scans.arch_slice(scan_of(chest()[part]))


def test_a_scan_without_a_slice_is_measured_at_the_arch(tmp_path):
    scans.write_dicom(tmp_path / "series", chest(), (STEP_MM, 2.0, 2.0))
    (tmp_path / "sheet.csv").write_text("id,image,value\none,series,20\n")
    table = bm.delivery.deliver(bm.Localizer("pma", width=4), tmp_path / "sheet.csv", tmp_path / "out", progress=False)
    assert table.slice.tolist() == [scans.arch_slice(scans.read(tmp_path / "series")).index]
    assert "a third of the way" in table.findings[0]


@pytest.mark.parametrize(("name", "first", "last"), [("chest", 44, 48), ("contrast-chest", 98, 103)])
def test_real_chests(name, first, last, monkeypatch):
    """Where both samples are at hand; the slices that show the arch, seen by eye."""
    cache = Path("~/.cache/biomark/samples").expanduser()
    if not (cache / name).exists():
        pytest.skip("the sample was not downloaded: biomark.scans.sample does")
    monkeypatch.setenv("BIOMARK_SAMPLES", str(cache))
    found = scans.arch_slice(scans.read(scans.sample(name)))
    assert first <= found.index <= last and not found.findings


@pytest.mark.skipif("BIOMARK_SCANS" not in os.environ, reason="BIOMARK_SCANS names no folder of real scans")
def test_a_part_of_a_chest_is_refused():
    """41 mm at the arch, without the lungs' tops."""
    with pytest.raises(scans.ScanError, match="The lungs' tops are not in this scan"):
        scans.arch_slice(scans.read(Path(os.environ["BIOMARK_SCANS"]) / "lidc-0314-arch" / "dicom"))
