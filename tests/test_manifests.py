"""Manifests: every slip is named by its row, one bad scan loses nothing else, and a killed run goes on."""

from __future__ import annotations

import ast
import datetime
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import body_hu, ct_slice, save, series
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut

import biomark as bm
from biomark import manifests
from biomark.delivery import sheet as sheet_of_results
from biomark.machine import fingerprints
from biomark.machine.disk_arrays import DiskArray
from biomark.manifests import ManifestError, cache, cross_checks, manifest, preparation, rules
from biomark.manifests.sheet import identifier
from biomark.scans import Grid, ScanError
from biomark.scans.anonymous import anonymous
from biomark.scans.arch import ArchSlice
from biomark.scans.grid import PADDING_HU

PMA = bm.TASKS["pma"]
# RAS millimetres of index (column, row, slice), as radiologists see it.
AFFINE = np.array([[-7.0, 0, 0, 168], [0, -7, 0, 168], [0, 0, 2, 0], [0, 0, 0, 1]])
COLUMNS = ("id", "image", "value", "slice", "mask", "split", "group")


def nifti(path: Path, slices: int = 4, data: np.ndarray | None = None) -> Path:
    """Slices of `body_hu`, or of the data given as (D, H, W)."""
    data = np.stack([body_hu(k) for k in range(slices)]) if data is None else data
    image = nib.Nifti1Image(np.ascontiguousarray(data.transpose(2, 1, 0)), AFFINE)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def sheet(path: Path, rows: list, columns: tuple[str, ...] = COLUMNS) -> Path:
    """Write rows of cells as CSV, as they are."""
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]), encoding="utf-8")
    return path


def cohort_of(folder: Path, rows: list, columns: tuple[str, ...] = ("id", "image", "value"), **options) -> bm.Cohort:
    path = sheet(folder / "m.csv", rows, columns)
    return manifests.read(path, "pma", **{"cache": folder / "cache", "progress": False} | options)


@pytest.fixture
def scans(tmp_path):
    """Three scans: NIfTI, a DICOM folder and one DICOM file."""
    nifti(tmp_path / "a.nii.gz")
    series(tmp_path / "b")
    save(ct_slice(body_hu(7), (-168.0, -168.0, 0.0)), tmp_path / "c.dcm")
    return tmp_path


ROWS = [("one", "a.nii.gz", 31.5), ("two", "b", 28), ("three", "c.dcm", "4.1e1")]


# --- what is read ----------------------------------------------------------------------------------------


def test_a_folder_and_a_spreadsheet_are_a_cohort(scans):
    cohort = cohort_of(scans, ROWS)
    assert cohort.ids == ("one", "two", "three") and list(cohort.values) == [31.5, 28, 41]
    assert cohort.images.shape == cohort.weights.shape == (3, 144, 168) and cohort.truth is None
    np.testing.assert_array_equal(cohort.spacing_mm, np.full((3, 2), 7.0))  # no box is thinner than a voxel
    assert list(cohort.about["row"]) == [2, 3, 4] and list(cohort.about["slice"]) == [2, 2, 0]
    assert "number 2 of 0 to 3, the middle one" in " ".join(cohort.about["findings"][0])
    assert cohort.set_aside is None
    # The disc of 40 HU, 19.2 voxels of 7 mm in radius, is all candidate.
    for case, k in zip(cohort, (2, 2, 7), strict=True):
        assert case.weights.sum(dtype=float) == pytest.approx(PMA.weigh(body_hu(k), (7, 7)).sum(), rel=1e-5)
    np.testing.assert_array_equal(cohort.images[0], cohort.images[1])  # the same slice, as NIfTI and as DICOM


def test_a_slice_that_is_not_given_is_found_by_a_rule_or_refused(scans, monkeypatch):
    """Only what was cut out around the level is measured in its middle, where the rule says nothing."""
    thin = bm.scans.read(scans / "a.nii.gz")  # 4 slices
    tall = replace(thin, spacing_mm=(20.0, 7.0, 7.0))
    monkeypatch.setitem(preparation.SLICES, "pma", lambda scan: ArchSlice(1, 0, 3, ("Look at it.",)))
    part = preparation.take(tall, PMA, None)
    assert part.slice == 1 and "number 1 was taken" in part.findings[-2] and part.findings[-1] == "Look at it."
    monkeypatch.undo()
    part = preparation.take(thin, PMA, None)
    assert part.slice == 2 and "the middle one, was taken. No " in part.findings[-1]
    with pytest.raises(ScanError, match="name it"):
        preparation.take(tall, PMA, None)
    with pytest.raises(ScanError, match="name it, by --slice or in the sheet's column"):
        preparation.take(thin, bm.TASKS["liver"], None)


def test_the_names_in_scans_are_the_same_functions():
    assert bm.scans.read_manifest is manifests.read and bm.scans.check_manifest is manifests.check


def test_masks_splits_and_groups(scans):
    drawn = np.zeros((4, 48, 48), np.uint8)
    drawn[1, 20:30, 10:30] = 1
    nifti(scans / "drawn.nii.gz", data=drawn)
    rows = [
        ("one", "a.nii.gz", 30, 1, "drawn.nii.gz", "train", "p1"),
        ("two", "b", 30, 1, "drawn.nii.gz", "train", "p1"),
        ("three", "a.nii.gz", 30, 2, "drawn.nii.gz", "test", "p2"),
    ]
    cohort = cohort_of(scans, rows, COLUMNS)
    weights = PMA.weigh(body_hu(1), (7, 7))
    np.testing.assert_allclose(cohort.truth.sum((1, 2)), [weights[20:30, 10:30].sum()] * 2 + [0], rtol=1e-6)
    np.testing.assert_array_equal(cohort.voxels(0).mask, drawn[1])
    assert "candidates in the mask add up to 9" in cohort.about["findings"][0][-1]
    measured = cohort_of(scans, rows, COLUMNS, from_masks=True)
    np.testing.assert_allclose(measured.values, cohort.truth.sum((1, 2)), rtol=1e-6)
    assert "candidates in the mask" not in str(measured.about["findings"][0])
    with pytest.raises(ValueError, match="names no masks"):
        cohort_of(scans, ROWS, from_masks=True)
    train = cohort[cohort.about["split"] == "train"]
    assert train.ids == ("one", "two") and list(train.about["group"]) == ["p1", "p1"]
    for seed in range(8):
        first, second = cohort.split(0.6, seed)
        assert not set(first.about["group"]) & set(second.about["group"])


def test_native_voxels_are_the_file_s_to_the_last_bit(scans):
    cohort = cohort_of(scans, ROWS, grid=Grid((48, 48), None))
    np.testing.assert_array_equal(cohort.images, np.stack([body_hu(k) for k in (2, 2, 7)]).astype(np.float32))
    for case in cohort:
        np.testing.assert_array_equal(case.weights, PMA.weigh(case.image, case.spacing_mm))
    assert cohort[0].spacing_mm == (7.0, 7.0)


def test_a_heart_box_for_calcium(tmp_path):
    from test_scans_heart import chest

    spacing = (4.0, 3.0, 3.0)
    hu = chest(spacing)
    hu[25:27, 38:41, 60:64] = 300  # calcium in the heart's front
    bm.scans.write_dicom(tmp_path / "chest", hu, spacing)
    path = sheet(tmp_path / "m.csv", [("a", "chest", 100)], ("id", "image", "value"))
    cohort = manifests.read(path, "cac", cache=tmp_path / "cache", progress=False)
    assert cohort.images.shape == (1, 44, 96, 96) and tuple(cohort.spacing_mm[0]) == spacing
    box = bm.scans.heart_box(bm.scans.read(tmp_path / "chest"))
    total = bm.TASKS["cac"].weigh(box.hu, spacing).sum(dtype=float)
    assert total > 0 and cohort.weights.sum(dtype=float) == pytest.approx(total, rel=1e-5)
    case = cohort.voxels(0)
    np.testing.assert_array_equal(case.image, np.maximum(box.hu, PADDING_HU))
    np.testing.assert_array_equal(case.weights, bm.TASKS["cac"].weigh(box.hu, spacing))


def test_a_scan_s_own_voxels_are_read_again_when_they_are_asked_for(scans):
    nifti(scans / "mask.nii", data=np.ones((4, 48, 48), np.uint8))
    rows = [("one", "a.nii.gz", 30, 1, "mask.nii"), ("two", "b", 30, "", "mask.nii")]
    for grid in (Grid((40, 40), (10.0, 10.0)), Grid((48, 48), None)):
        cohort = cohort_of(scans, rows, COLUMNS[:5], grid=grid, memory_gib=0)
        part = pickle.loads(pickle.dumps(cohort[[1, 0]]))
        for i, k in ((0, 2), (1, 1)):
            case, (weights, mask, boxes) = part.voxels(i), part.regions(i)
            np.testing.assert_array_equal(case.image, np.maximum(body_hu(k), -1024 if grid.spacing_mm else -9999))
            np.testing.assert_array_equal(case.weights, PMA.weigh(body_hu(k), (7, 7)))
            np.testing.assert_array_equal(case.weights, weights)
            assert case.mask.all() and mask.all() and case.spacing_mm == (7, 7)
            np.testing.assert_array_equal(boxes.sums(weights), part.weights[i])
            np.testing.assert_array_equal(boxes.means(case.image, -1024), part.images[i])
        assert "voxels of the mask lie outside the boxes" not in " ".join(cohort.about["findings"][0])
    cohort = cohort_of(scans, rows, COLUMNS[:5], grid=Grid((42, 42), None))
    assert f"{48**2 - 42**2} voxels of the mask lie outside the boxes" in " ".join(cohort.about["findings"][0])
    (scans / "a.nii.gz").unlink()
    assert cohort.regions(0)[0].any(), "what training and evaluation need was kept"
    with pytest.raises(ScanError, match="does not exist"):
        cohort.voxels(0)


def test_excel(scans):
    pytest.importorskip("openpyxl")
    pd.DataFrame(ROWS, columns=["ID", "Image ", "value"]).to_excel(scans / "m.xlsx", index=False)
    cohort = manifests.read(scans / "m.xlsx", "pma", cache=scans / "cache", progress=False)
    assert cohort.ids == ("one", "two", "three") and list(cohort.values) == [31.5, 28, 41]
    (scans / "bad.xlsx").write_text("no archive")
    with pytest.raises(ValueError, match="cannot be read as Excel"):
        manifests.check(scans / "bad.xlsx", "pma")


def test_without_openpyxl_the_sentence_says_what_to_do(scans, monkeypatch):
    (scans / "m.xlsx").write_bytes(b"PK")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r'pip install "biomark\[excel\]", or save as CSV'):
        manifests.check(scans / "m.xlsx", "pma")


@pytest.mark.parametrize(
    "text", ["\ufeffid;image;value\r\nä;a.nii.gz;31.5\r\n;;\r\n", "id\timage\tvalue\nä\ta.nii.gz\t31.5"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_csv_as_spreadsheets_write_it(scans, text, encoding):
    (scans / "m.csv").write_bytes(text.encode(encoding, errors="ignore"))
    assert manifests.read(scans / "m.csv", PMA, cache=scans / "c", progress=False).ids == ("ä",)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["31,5", "28,25", "30"], [31.5, 28.25, 30]),
        (["31.5", "28.25", "30"], [31.5, 28.25, 30]),
        (["31,512", "28,113", "30,007"], [31.512, 28.113, 30.007]),
        (["12,5", "1.204", "1.017,5"], [12.5, 1204, 1017.5]),  # a point beside decimal commas sets off thousands
    ],
)
def test_where_semicolons_separate_a_comma_may_be_the_decimal_mark(scans, values, read):
    rows = [
        f"{i};{name};{value}" for i, (name, value) in enumerate(zip(("a.nii.gz", "b", "c.dcm"), values, strict=True))
    ]
    (scans / "m.csv").write_text("\n".join(["id;image;value", *rows]))
    how = {"plausible": (0, 5000), "cache": scans / "c", "progress": False, "strict": False}
    assert manifests.read(scans / "m.csv", PMA, **how).values.tolist() == read


@pytest.mark.parametrize("separator", [";", ","])
def test_a_number_that_may_be_grouped_by_thousands_is_asked_for(scans, separator):
    """Among 85 and 412, 1.234 may be the highest of all values or one of the lowest."""
    rows = [f"{i},{name},{v}" for i, (name, v) in enumerate([("a.nii.gz", "85"), ("b", "1.234"), ("c.dcm", "2.017")])]
    (scans / "m.csv").write_text("\n".join(["id,image,value", *rows]).replace(",", separator))
    problems = manifests.check(scans / "m.csv", PMA, plausible=(0, 5000), progress=False)
    asked = problems[problems["column"] == "value"]
    assert asked["row"].tolist() == [3, 4]
    assert "'1.234' may mean 1234 or 1.2340" in asked["problem"].iloc[0]


def test_decimals_of_three_digits_in_all_rows_are_decimals(scans):
    rows = [
        f"{i},{name},{v}" for i, (name, v) in enumerate([("a.nii.gz", "31.512"), ("b", "28.113"), ("c.dcm", "9.007")])
    ]
    (scans / "m.csv").write_text("\n".join(["id,image,value", *rows]))
    assert manifests.check(scans / "m.csv", PMA, progress=False).empty


def test_decimals_that_could_not_be_thousands_are_decimals(scans):
    """28125 cm2 are no muscle."""
    (scans / "m.csv").write_text("id,image,value\n0,a.nii.gz,31\n1,b,28.125\n2,c.dcm,40\n")
    assert manifests.check(scans / "m.csv", PMA, progress=False).empty


# --- what is wrong with a sheet --------------------------------------------------------------------------


def test_links_within_a_series_lead_out_of_the_root_no_more_than_paths_do(tmp_path):
    root = tmp_path / "data"
    series(root / "own")
    series(tmp_path / "elsewhere")
    for name in ("inside", "outside", "mixed"):
        (root / name).mkdir()
    for k in range(4):
        (root / f"inside/{k}.dcm").symlink_to(f"../own/{k}.dcm")
        (root / f"outside/{k}.dcm").symlink_to(tmp_path / f"elsewhere/{k}.dcm")
        (root / f"mixed/{k}.dcm").symlink_to(f"../outside/{k}.dcm" if k == 2 else f"../own/{k}.dcm")
    (tmp_path / "sheet.csv").write_text(
        "id,image,value,slice\na,inside,30,0\nb,outside,40,0\nb2,outside,40,1\nc,mixed,50,0\n"
    )
    problems = manifests.check(tmp_path / "sheet.csv", "pma", root=root)
    found = problems[problems["problem"].str.contains("out of the data root")]
    assert list(found["id"]) == ["b", "b2", "c"] and set(found["column"]) == {"image"}
    assert "holds 4 links out of" in found["problem"].iloc[0] and "holds 1 link out of" in found["problem"].iloc[2]
    free = manifests.check(tmp_path / "sheet.csv", "pma", root=root, allow_outside=True)
    assert not free["problem"].str.contains("out of the data root").any()


@pytest.fixture
def faulty(tmp_path):
    """A sheet in which each row has a fault of another kind: its path, and what should be said of it."""
    root = tmp_path / "data"
    root.mkdir()
    nifti(root / "good.nii", 60)
    nifti(root / "mask.nii", data=np.ones((60, 48, 48), np.uint8))
    nifti(root / "small.nii", data=np.ones((60, 40, 48), np.uint8))
    series(root / "folder")
    nifti(tmp_path / "elsewhere.nii")
    (root / "link.nii").symlink_to(tmp_path / "elsewhere.nii")
    (root / "empty.nii").touch()
    (root / "nothing").mkdir()
    (root / "photo.png").write_bytes(b"\x89PNG" + bytes(200))
    (root / "damaged.nii").write_bytes(b"no header at all" * 30)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 5), np.int16), AFFINE), root / "film.nii")
    save(ct_slice(body_hu(), (0, 0, 0), Modality="MR"), root / "mr.dcm")
    whole = save(ct_slice(body_hu(), (0, 0, 0)), root / "cut.dcm").read_bytes()
    (root / "cut.dcm").write_bytes(whole[:500])
    (root / "scout").mkdir()
    save(ct_slice(body_hu(), (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), root / "scout" / "0.dcm")

    good = {"image": "good.nii", "value": "30", "mask": "mask.nii", "split": "train"}
    faults: list[tuple[dict, str, str]] = [
        ({"image": "god.nii"}, "image", "perhaps meant 'good.nii'"),
        ({"image": ""}, "image", "no path is given"),
        ({"image": "../elsewhere.nii"}, "image", "leads out of the data root"),
        ({"image": str(tmp_path / "elsewhere.nii")}, "image", "leads out of the data root"),
        ({"image": "link.nii"}, "image", "leads out of the data root"),
        ({"image": r"folder\0.dcm"}, "image", r"write / instead of \ in paths"),
        ({"image": "empty.nii"}, "image", "is empty"),
        ({"image": "nothing"}, "image", "holds no DICOM image among its 0 files"),
        ({"image": "scout"}, "image", "holds no DICOM image among its 1 files"),
        ({"image": "photo.png"}, "image", "neither DICOM nor NIfTI"),
        ({"image": "damaged.nii"}, "image", "cannot be read as NIfTI"),
        ({"image": "film.nii"}, "image", "save one 3-D volume"),
        ({"image": "mr.dcm"}, "image", "modality MR, not CT"),
        ({"image": "cut.dcm"}, "image", "truncated"),
        ({"id": ""}, "id", "no id is given"),
        ({"id": "p/1"}, "id", "cannot name a file"),
        ({"value": ""}, "value", "no value is given"),
        ({"value": "n/a"}, "value", "not a number"),
        ({"value": "inf"}, "value", "not a number"),
        ({"value": "-30"}, "value", "negative"),
        ({"value": '"31,5"'}, "value", "write '31.5' or '315', whichever it means"),
        ({"value": '"1,234"'}, "value", "write '1.234' or '1234', whichever it means"),
        ({"value": "3050"}, "value", "is it in mm2?"),
        ({"value": "0.3"}, "value", "100 times too small"),
        ({"value": "1e9"}, "value", "outside 4 to 150 cm2"),
        ({"slice": "60"}, "slice", "no slice 60: the image has 60"),
        ({"slice": "-1"}, "slice", "no whole number from 0"),
        ({"slice": "1.5"}, "slice", "no whole number from 0"),
        ({"slice": '"1,5"'}, "slice", "has a comma"),
        ({"image": "folder", "slice": "4", "mask": "mask.nii"}, "slice", "holds at most 4"),
        ({"mask": "msk.nii"}, "mask", "perhaps meant 'mask.nii'"),
        ({"mask": "small.nii"}, "mask", "60 of 40 x 48 slices, but its image has 60 of 48 x 48"),
        ({"mask": "folder"}, "mask", "convert the mask"),
        ({"mask": ""}, "mask", "no mask is given, though other rows have one"),
        ({"split": ""}, "split", "no split is given, though"),
        ({"split": "Train"}, "split", "written 'train' in row 2"),
        ({"group": ""}, "group", "no group is given, though"),
    ]
    rows, expected = [{"id": "fine"}], []
    for fault, column, words in faults:
        expected.append((len(rows) + 2, column, words))
        if fault.get("image") == "folder":
            expected.append((len(rows) + 2, "mask", "60 of 48 x 48 slices"))
        rows.append(fault)
    # Faults between two rows are named in both.
    pairs = [
        ({"id": "twice"}, {"id": "twice"}, "id", "also that of row"),
        ({"slice": "59"}, {"slice": "59"}, "image", "same image and slice"),
        ({"group": "leak"}, {"group": "leak", "split": "test"}, "split", "another split in row"),
    ]
    for first, second, column, words in pairs:
        expected += [(len(rows) + 2, column, words), (len(rows) + 3, column, words)]
        rows += [first, second]
    lines = [
        [{**good, "id": f"case{k}", "slice": k, "group": f"patient{k}", **row}[c] for c in COLUMNS]
        for k, row in enumerate(rows)
    ]
    expected.append((len(rows) + 2, "", "decimal comma"))
    lines.append(["last", "good.nii", "31,5", 58, "mask.nii", "train", "patient"])
    expected.append((1, "value", "there are 2 columns 'value'"))
    return sheet(
        root / "m.csv", [[*line, ""] for line in lines[:-1]] + [[*lines[-1], "x"]], (*COLUMNS, "Value")
    ), expected


def test_every_planted_fault_is_named_by_its_row(faulty):
    path, expected = faulty
    assert len({words for *_, words in expected}) >= 30
    problems = manifests.check(path, "pma", progress=False)
    found = sorted(zip(problems["row"], problems["column"], strict=True))
    assert found == sorted((row, column) for row, column, _ in expected)
    for row, column, words in expected:
        there = problems[(problems["row"] == row) & (problems["column"] == column)]
        assert any(words in sentence for sentence in there["problem"]), (row, words, list(there["problem"]))
    with pytest.raises(ManifestError, match=f"{len(expected)} problems") as caught:
        manifests.read(path, "pma", progress=False)
    assert caught.value.problems.equals(problems)
    assert all(words in str(caught.value) for *_, words in expected)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_columns_are_asked_for_by_their_nearest_name(scans):
    path = sheet(scans / "m.csv", [("a", "a.nii.gz", 30, 1)], ("id", "image", "valeu", "slcie"))
    problems = manifests.check(path, "pma", progress=False)
    assert list(problems["row"]) == [1, 1]
    assert "no column 'value': rename 'valeu'" in problems["problem"][0] + problems["problem"][1]
    assert "nearly 'slice': rename 'slcie'" in problems["problem"][0] + problems["problem"][1]


def test_a_column_all_in_another_unit_is_named_whole(scans):
    rows = [(name, image, 100 * float(value)) for name, image, value in ROWS]
    problems = manifests.check(sheet(scans / "m.csv", rows, COLUMNS[:3]), "pma", progress=False)
    assert list(problems["row"]) == [2, 3, 4] and problems["problem"].str.contains("is it in mm2?", regex=False).all()
    assert len(cohort_of(scans, rows, plausible=(0, 1e5))) == 3


def test_a_slice_for_a_volume_is_no_slice(scans):
    path = sheet(scans / "m.csv", [("a", "a.nii.gz", 30, 1)], COLUMNS[:4])
    assert "measures a volume" in manifests.check(path, "cac", progress=False)["problem"][0]


def test_paths_may_leave_the_root_when_asked(scans):
    (scans / "sheets").mkdir()
    path = sheet(scans / "sheets" / "m.csv", [("a", "../a.nii.gz", 30)], COLUMNS[:3])
    assert "leads out of" in manifests.check(path, "pma", progress=False)["problem"][0]
    assert manifests.check(path, "pma", allow_outside=True, progress=False).empty
    inside = sheet(path, [("a", "a.nii.gz", 30)], COLUMNS[:3])
    assert manifests.check(inside, "pma", root=scans, progress=False).empty


@pytest.mark.parametrize(
    "text", ["", "\n\n", "id,image,value\n", "id,image,value\n\n,,\n", "\0\1", 'id,image,value\n"a']
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match="m.csv"):
        manifests.check(tmp_path / "m.csv", "pma", progress=False)


def test_a_sheet_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="columns id, image, value"):
        manifests.check(tmp_path / "m.csv", "pma")


def test_sound_rows_go_on_without_the_faulty_ones(scans):
    nifti(scans / "e.nii")
    rows = [*ROWS, ("four", "missing.nii", 30), ("five", "e.nii", -1), ("six", "e.nii", "31,5")]
    cohort = cohort_of(scans, rows, strict=False)
    assert cohort.ids == ("one", "two", "three")
    aside = cohort.set_aside
    assert sorted(set(zip(aside["row"], aside["id"], strict=True))) == [(5, "four"), (6, "five"), (7, "six")]
    with pytest.raises(ManifestError, match="no column 'value'"):
        cohort_of(scans, [row[:2] for row in ROWS], COLUMNS[:2], strict=False)


@pytest.mark.parametrize("second", ["link.nii.gz", "folder/../a.nii.gz", "./a.nii.gz"])
def test_the_same_file_by_another_path_is_the_same_image(scans, second):
    (scans / "link.nii.gz").symlink_to("a.nii.gz")
    (scans / "folder").mkdir()
    rows = [("one", "a.nii.gz", 30, 1, "train"), ("two", second, 30, 2, "test")]
    columns = ("id", "image", "value", "slice", "split")
    problems = manifests.check(sheet(scans / "m.csv", rows, columns), "pma", progress=False)
    assert list(problems["row"]) == [2, 3] and problems["problem"].str.contains("another split").all()
    rows = [(*row[:3], 1, "train") for row in rows]
    problems = manifests.check(sheet(scans / "m.csv", rows, columns), "pma", progress=False)
    assert list(problems["row"]) == [2, 3] and problems["problem"].str.contains("same image and slice").all()


def test_a_group_written_in_two_ways_is_one(scans):
    rows = [("one", "a.nii.gz", 30, "train", "P1"), ("two", "b", 30, "test", "p1"), ("three", "c.dcm", 30, "test", "q")]
    columns = ("id", "image", "value", "split", "group")
    problems = manifests.check(sheet(scans / "m.csv", rows, columns), "pma", progress=False)
    assert [(p.row, p.column) for p in problems.itertuples()] == [(2, "split"), (3, "group"), (3, "split")]
    assert "the group 'p1' is written 'P1' in row 2" in problems["problem"][1]


@pytest.mark.parametrize(
    "one, other",
    [
        *(("007", "7"), ("7", "7.0"), ("100000", "1.00E+05")),
        *(("P 01", "P01"), ("P-01", "p01"), ("P01", "P1"), ("P\xa001", "P01"), ("P\u201301", "P-01"), ("Ｐ01", "P01")),
        *(("caf\xe9 1", "cafe\u0301 1"), ("P\u200b1", "P1"), ("STRASSE", "stra\xdfe")),
    ],
)
def test_one_patient_written_in_two_ways_is_on_no_two_sides(scans, one, other):
    rows = [("one", "a.nii.gz", 30, "train", one), ("two", "b", 30, "test", other), ("three", "c.dcm", 30, "test", "q")]
    columns = ("id", "image", "value", "split", "group")
    problems = manifests.check(sheet(scans / "m.csv", rows, columns), "pma", progress=False)
    assert [(p.row, p.column) for p in problems.itertuples()] == [(2, "split"), (3, "group"), (3, "split")]
    assert "is written" in problems["problem"][1] and "row 2: write it the same way" in problems["problem"][1]
    assert cohort_of(scans, rows, columns, strict=False).ids == ("three",)


@pytest.mark.parametrize(
    "texts",
    [
        *(("3-1", "1-3"), ("1-1", "11"), ("P1", "P10", "P100", "P11"), ("2025-03-01", "2026-03-01")),
        *(("7", "70", "0.7"), ("1" * 30, "1" * 29 + "2"), ("maria1", "mar1"), ("A", "B", "-", "+")),
    ],
)
def test_two_patients_are_two(texts):
    assert len({cross_checks.alike(text) for text in texts}) == len(texts)


@given(st.text(max_size=12))
def test_a_blank_in_front_or_behind_makes_no_other_patient(text):
    assert cross_checks.alike(text) == cross_checks.alike(f" {text} ")


def test_ids_that_share_a_folder_elsewhere_are_named(scans):
    rows = [("P01", "a.nii.gz", 30), ("p01", "b", 30), ("caf\xe9", "c.dcm", 30), ("cafe\u0301", "c.dcm", 30)]
    problems = manifests.check(sheet(scans / "m.csv", rows, COLUMNS[:3]), "pma", progress=False)
    told = problems[problems["column"] == "id"]
    assert (
        list(told["row"]) == [2, 3, 4, 5] and told["problem"].str.contains("names the same folder as that of row").all()
    )


@pytest.mark.parametrize(
    "name", ["=1+1", "@x", "-3", "CON", "com1.txt", "values.csv", ".hidden", "x.", "a" * 201, "a\x1bb", "a\rb"]
)
def test_an_id_that_is_no_name_of_a_folder_is_refused(scans, name):
    with pytest.raises(ScanError, match="the id "):
        identifier(name)


def test_a_sheet_of_one_group_takes_time_that_grows_with_its_rows():
    def seconds(n):
        rows = [
            {"row": k, "id": f"x{k}", "group": "one", "split": "train" if k < n - 1 else "test", "real": k}
            for k in range(n)
        ]
        start = time.process_time()
        assert len([*cross_checks.leaks(rows)]) == n and not [*cross_checks.spellings(rows)]
        return time.process_time() - start

    assert seconds(40_000) < 3
    repeated = [{"row": k, "id": "same", "real": "x", "slice": 1, "cell": "1", "image": "x"} for k in range(20_000)]
    start = time.process_time()
    assert len([*cross_checks.repeats(repeated)]) == 40_000 and time.process_time() - start < 3


def test_a_stray_cell_far_away_takes_no_memory(scans):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "image", "value"], *ROWS):
        book.active.append(row)
    book.active.cell(1_048_576, 16_384, "x")
    book.active["E2"] = "a note beside the table"
    book.save(scans / "m.xlsx")
    tracemalloc.start()
    problems = manifests.check(scans / "m.xlsx", "pma", progress=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50 * 2**20 and set(problems["row"]) == {1_048_576}
    for row in range(2, 1100):
        book.active.cell(row, 16_384, "x")
    book.save(scans / "m.xlsx")
    with pytest.raises(ValueError, match="too many empty ones"):
        manifests.check(scans / "m.xlsx", "pma", progress=False)


def test_cells_of_excel_are_read_as_they_look(scans):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    moment = datetime.datetime(2026, 3, 1)
    for row in (
        ["id", "image", "value", "group"],
        ["007", "a.nii.gz", 30.0, moment],
        [7, "b", 31.5, "#N/A"],
        [],
        ["x", True, 0.1],
    ):
        book.active.append(row)
    book.save(scans / "m.xlsx")
    table, problems = manifests.read_sheet(scans / "m.xlsx")
    assert table.to_numpy().tolist() == [
        [2, "007", "a.nii.gz", "30", "2026-03-01 00:00:00"],
        [3, "7", "b", "31.5", ""],
        [5, "x", "True", "0.1", ""],
    ]
    assert not problems


def test_a_reason_names_no_file_however_it_was_written(tmp_path):
    image = series(tmp_path / "DOE")
    (image / "0.dcm").rename(image / "JANE DOE 1950.dcm")
    (image / "1.dcm").rename(image / "X4711")
    mask = nifti(tmp_path / "DOE.nii")
    reason = f"{image / 'JANE DOE 1950.dcm'} and X4711 differ; {mask} and {tmp_path}/other, 3 files, {image}/new"
    assert anonymous(ValueError(reason), image, mask) == (
        "file 3 of the image and file 4 of the image differ; the mask and a folder/other, 3 files, a file of the image"
    )
    mask.unlink()
    gone = ScanError(f"{mask} does not exist; you perhaps meant 'JANE.nii'")
    assert anonymous(gone, image, mask).startswith("the mask can no")
    image = image.rename(tmp_path / "DOE\x07")
    assert anonymous(ScanError(f"{image} is empty"), image) == "the image is empty"


# --- which rule the numbers follow -----------------------------------------------------------------------


THICK = replace(PMA, skin_mm=5.0)  # one pixel of 7 mm


def layered() -> np.ndarray:
    """Four discs of which a third is near fat, and a third brighter than the lab's window for muscle."""
    hu = np.stack([body_hu(k) for k in range(4)])
    hu[:, :, 18:24] -= 75
    hu[:, :, 24:30] += 80
    return np.where(hu < -500, -1000, hu).astype(np.int16)


@pytest.fixture
def ruled(tmp_path):
    """A sheet with numbers by a rule, with masks or without, and what check says of it."""
    hu, drawn = layered(), np.zeros((4, 48, 48), np.uint8)
    drawn[:, 20:46, 12:32] = 1
    nifti(tmp_path / "a.nii", data=hu)
    nifti(tmp_path / "m.nii", data=drawn)

    def run(task, times=1.0, masks=True, **how):
        values = [times * task.measure(plane, mask, (7, 7)) for plane, mask in zip(hu, drawn, strict=True)]
        rows = [(f"p{k}", "a.nii", value, k, *(["m.nii"] if masks else [])) for k, value in enumerate(values)]
        path = sheet(tmp_path / "m.csv", rows, COLUMNS[: 5 if masks else 4])
        how = {"plausible": (0, 1e9), "progress": False} | how
        assert manifests.check(path, THICK, **how).empty, "by headers alone nothing is wrong"
        return manifests.check(path, THICK, candidates=True, **how)

    return run


def test_numbers_by_the_task_s_rule_are_said_to_be_so(ruled):
    problems = ruled(THICK)
    assert problems.empty
    assert problems.attrs["rule"].startswith("by the masks the numbers follow most nearly: -29 to 150 HU, more than 5")


@pytest.mark.parametrize("name", ["-50 to 90 HU", "-29 to 150 HU", "all inside of the outline"])
def test_another_rule_is_named(ruled, name):
    problems = ruled(rules.known(THICK)[name])
    assert list(problems["row"]) == [1] and problems["column"][0] == "value"
    words = f"most nearly: {name} (median difference 0.0%), and not the task's: -29 to 150 HU, more than 5 mm below"
    assert words in problems["problem"][0]


def test_numbers_that_no_rule_explains(ruled):
    told = ruled(THICK, times=100)["problem"]
    assert len(told) == 5 and ", 100 times what their masks hold by" in told[0]
    assert all("more than all candidates of the image hold together" in sentence for sentence in told[1:])
    told = ruled(THICK, times=100, masks=False)["problem"]
    assert "no known rule explains the numbers, " in told[0] and len(told) == 5
    told = ruled(THICK, times=0.005, masks=False)["problem"]
    assert len(told) == 1 and "are they in cm2, and of these slices?" in told[0]
    fine = ruled(THICK, masks=False)
    assert fine.empty and "of all candidates of their images" in fine.attrs["rule"]


def test_calcium_scores_are_held_against_the_presets(tmp_path):
    hu, drawn, spacing = np.stack([body_hu(k) for k in range(4)]), np.zeros((4, 48, 48), np.uint8), (2.0, 7.0, 7.0)
    hu[1, 20:22, 20:22], drawn[1, 18:24, 18:24] = 320, 1
    nifti(tmp_path / "a.nii", data=hu)
    nifti(tmp_path / "m.nii", data=drawn)
    for name, row in (("dz3", []), ("agatston1990", [1, 2])):
        value = bm.agatston.score(hu, drawn, spacing, name)
        path = sheet(tmp_path / "m.csv", [("a", "a.nii", value, "m.nii")], (*COLUMNS[:3], "mask"))
        problems = manifests.check(path, "cac", candidates=True, crop=False, progress=False)
        # At 2 mm the older score is half as large again, and more than there is by the task's.
        assert list(problems["row"]) == row and (not row or f"the rules {name!r}" in problems.attrs["rule"])


def test_a_scan_that_cannot_be_read_is_a_problem_of_its_row(ruled, tmp_path):
    nifti(tmp_path / "cut.nii", 2)
    (tmp_path / "cut.nii").write_bytes((tmp_path / "cut.nii").read_bytes()[:-700])
    path = sheet(tmp_path / "n.csv", [("x", "cut.nii", 30, 0)], COLUMNS[:4])
    problems = manifests.check(path, PMA, candidates=True, progress=False)
    assert list(problems["column"]) == ["image"] and "No number tells" in problems.attrs["rule"]


# --- one bad scan ----------------------------------------------------------------------------------------


def test_a_scan_that_cannot_be_read_is_set_aside_with_its_reason(scans):
    whole = (scans / "a.nii.gz").read_bytes()
    (scans / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    series(scans / "gap", (0, 2, 6, 8))
    nifti(scans / "huge.nii.gz", data=np.kron(np.stack([body_hu(k) for k in range(2)]), np.ones((1, 4, 4), np.int16)))
    rows = [ROWS[0], ("cut", "cut.nii.gz", 30), ("gap", "gap", 30), ("huge", "huge.nii.gz", 30), *ROWS[1:]]
    for _ in range(2):  # the second time most comes from the cache
        cohort = cohort_of(scans, rows)
        assert cohort.ids == ("one", "two", "three") and len(cohort.images) == 3
        aside = cohort.set_aside.set_index("id")
        assert list(aside.index) == ["cut", "gap", "huge"] and list(aside["row"]) == [3, 4, 5]
        assert "truncated or damaged" in aside.loc["cut", "problem"]
        assert "1 slice is missing" in aside.loc["gap", "problem"]
        assert "give a larger grid" in aside.loc["huge", "problem"]
    with pytest.raises(ManifestError, match="no scan could be read"):
        cohort_of(scans, rows[1:4])


def test_a_value_beyond_all_candidates_is_a_finding(scans):
    cohort = cohort_of(scans, [("a", "a.nii.gz", 700), ("b", "b", 30)], plausible=(0, 1000))
    assert "more than all candidates" in cohort.about["findings"][0][-1]
    assert not any("more than all" in sentence for sentence in cohort.about["findings"][1])


def test_no_patient_s_name_gets_out(scans):
    """Names stand in the DICOM headers; nothing that is returned or kept may hold one."""
    identity = {"PatientName": "DOE^JANE", "PatientID": "X4711", "PatientBirthDate": "19500102"}
    save(ct_slice(body_hu(), (-168.0, -168.0, 0), **identity), scans / "d.dcm")
    cut = save(ct_slice(body_hu(), (-168.0, -168.0, 0), **identity), scans / "DOE_JANE" / "e.dcm")
    cut.write_bytes(cut.read_bytes()[:-100])
    cohort = cohort_of(scans, [("p1", "d.dcm", 30), ("p2", "DOE_JANE/e.dcm", 30), ("p3", "DOE_JANE", 30)])
    assert list(cohort.set_aside["id"]) == ["p2", "p3"]
    assert cohort.set_aside["problem"][0].startswith("the image has")
    assert cohort.set_aside["problem"][1].startswith("file 1 of the image has"), "nor is the file's own name told"
    out = repr(cohort) + cohort.about.to_csv() + cohort.set_aside.to_csv() + repr(cohort.ids)
    kept = b"".join(p.read_bytes() + p.name.encode() for p in (scans / "cache").iterdir())
    for secret in ("DOE", "JANE", "X4711", "19500102"):
        assert secret not in out and secret.encode() not in kept


@pytest.mark.slow
def test_a_process_that_the_system_ends_costs_its_own_scan_alone(tmp_path, monkeypatch):
    """As where memory runs out; which of the scans under way it was is not told."""
    nifti(tmp_path / "a.nii", 8)
    whole = manifest._prepare

    def prepare(job, *how, whole=whole):
        if job.slice == 3:
            os.kill(os.getpid(), 9)
        return whole(job, *how)

    monkeypatch.setattr(manifest, "_prepare", prepare)
    rows = [(f"case{k}", "a.nii", 30, k) for k in range(8)]
    cohort = cohort_of(tmp_path, rows, COLUMNS[:4], workers=2)
    assert cohort.set_aside["id"].tolist() == ["case3"] and len(cohort) == 7
    assert "The system ended the process that read this scan" in cohort.set_aside["problem"][0]


# --- the cache -------------------------------------------------------------------------------------------


def kept_files(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder / "cache").iterdir()}


def test_what_is_kept_is_not_read_again(scans, monkeypatch):
    first = cohort_of(scans, ROWS)
    before = kept_files(scans)
    assert len(before) == 3
    monkeypatch.setattr("biomark.manifests.manifest.prepare", None)  # would be called
    again = cohort_of(scans, [(name, image, 50) for name, image, _ in reversed(ROWS)])
    assert kept_files(scans) == before and list(again.values) == [50, 50, 50]
    np.testing.assert_array_equal(again.images, first.images[::-1])


def test_files_and_settings_decide_what_is_kept(scans):
    cohort_of(scans, ROWS)
    cohort_of(scans, ROWS, grid=Grid((48, 48), (7, 7)))
    assert len(kept_files(scans)) == 6
    cohort_of(scans, [(*row, k) for row, k in zip(ROWS, (1, 1, 0), strict=True)], COLUMNS[:4])
    assert len(kept_files(scans)) == 9
    # Another image of the same size and time of writing, under the same name.
    stat = (scans / "c.dcm").stat()
    save(ct_slice(body_hu(8), (-168.0, -168.0, 0.0)), scans / "c.dcm")
    assert (scans / "c.dcm").stat().st_size == stat.st_size
    os.utime(scans / "c.dcm", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cohort = cohort_of(scans, ROWS, grid=Grid((48, 48), None))
    np.testing.assert_array_equal(cohort.images[2], body_hu(8))


def test_prepared_scans_may_be_read_by_others(scans):
    before = os.umask(0o022)
    try:
        cohort_of(scans, ROWS)
    finally:
        os.umask(before)
    assert {p.stat().st_mode & 0o777 for p in (scans / "cache").iterdir()} == {0o644}


def test_a_cache_that_has_no_place_is_a_sentence(scans, monkeypatch):
    (scans / "file").touch()
    with pytest.raises(OSError, match="file cannot be written to .*cache="):
        cohort_of(scans, ROWS, cache=scans / "file")
    monkeypatch.delenv("BIOMARK_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: Path("~")))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="begins in a home folder, and none is known"):
        manifests.cache_folder()


def test_a_damaged_file_is_made_again(scans):
    first = cohort_of(scans, ROWS)
    for path in (scans / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    np.testing.assert_array_equal(cohort_of(scans, ROWS).images, first.images)


def test_a_large_cohort_stays_on_disk(scans):
    plain, cohort = cohort_of(scans, ROWS), cohort_of(scans, ROWS, memory_gib=0)
    assert isinstance(cohort.images, DiskArray) and isinstance(cohort.weights, DiskArray)
    np.testing.assert_array_equal(cohort.images, plain.images)
    np.testing.assert_array_equal(cohort[1].weights, plain[1].weights)
    part = cohort[cohort.values > 30]
    assert isinstance(part.images, DiskArray) and part.ids == ("one", "three")
    for path in (scans / "cache").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="read the sheet again"):
        cohort[0]


@pytest.mark.slow
def test_several_processes_read_the_same(scans):
    np.testing.assert_array_equal(
        cohort_of(scans, ROWS).images, cohort_of(scans, ROWS, workers=2, cache=scans / "x").images
    )


SLOWLY = """
import time
from biomark.manifests import manifest
prepare = manifest.prepare
def slowly(*args, **kwargs):
    time.sleep(0.05)
    return prepare(*args, **kwargs)
manifest.prepare = slowly
"""


def test_two_processes_share_a_cache_and_one_is_killed(tmp_path, monkeypatch):
    nifti(tmp_path / "a.nii", 40)
    path = sheet(tmp_path / "m.csv", [(f"case{k}", "a.nii", 30, k) for k in range(40)], COLUMNS[:4])
    read = f"manifest.read({str(path)!r}, 'pma', cache={str(tmp_path / 'cache')!r}, progress=False)"
    other = subprocess.Popen([sys.executable, "-c", SLOWLY + read])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "cache").glob("*.safetensors"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    kill = threading.Timer(0.3, other.kill)
    kill.start()
    read, calls = manifest.prepare, []
    monkeypatch.setattr(manifest, "prepare", lambda *a, **k: (time.sleep(0.05), calls.append(a), read(*a, **k))[-1])
    cohort = manifests.read(path, "pma", cache=tmp_path / "cache", progress=False)
    kill.join()
    assert other.wait() != 0, "it was to be killed before its end"
    assert 0 < len(calls) <= 35, "what the other had finished is not made again"
    whole = manifests.read(path, "pma", cache=tmp_path / "alone", progress=False)
    np.testing.assert_array_equal(cohort.images, whole.images)
    np.testing.assert_array_equal(cohort.weights, whole.weights)


# --- what the keys of prepared scans and deliveries depend on ---------------------------------------------

# Reached by imports, but without influence on what is prepared or delivered: containers, files, checks of the sheet,
# fitting and evaluation (weights and what an inspector learned have fingerprints of their own).
NEUTRAL = {
    *("losses.py", "evaluation", "machine/disk_arrays.py", "machine/files.py", "machine/fingerprints.py"),
    *("machine/masks.py", "machine/tensor_files.py", "machine/checkpoints.py", "machine/batches.py"),
    *("machine/optimizers.py", "machine/rows.py", "training.py"),
    *("records", "manifests/__init__.py", "manifests/checks.py", "manifests/cross_checks.py"),
    *("manifests/manifest.py", "manifests/sheet.py", "scans/anonymous.py"),
}


def imports(module: str) -> set[str]:
    """The files of the package from which a file imports."""
    found = set()
    for node in ast.walk(ast.parse((fingerprints.PACKAGE / module).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "biomark":
            base = node.module.split(".")[1:]
            for parts in ([*base, alias.name] for alias in node.names):
                places = ["/".join(parts) + ".py", "/".join([*parts, "__init__"]) + ".py"]
                places += ["/".join(base) + ".py", "/".join([*base, "__init__"]) + ".py"]
                found.add(next(place for place in places if (fingerprints.PACKAGE / place).is_file()))
    return found


def covered(module: str, places: set[str]) -> bool:
    return module in places or module.split("/")[0] in places


def test_the_keys_depend_on_all_code_that_computes_and_on_no_other():
    for todo, places in (
        (["manifests/preparation.py"], {*cache._COMPUTES}),
        # No import leads to rivals: they are handed in.
        (["delivery/sheet.py", "baselines.py"], {*cache._COMPUTES, *sheet_of_results._COMPUTES}),
    ):
        seen = set()
        while todo:
            module = todo.pop()
            if module not in seen and (covered(module, places) or not covered(module, NEUTRAL)):
                seen.add(module)
                todo += imports(module)
        assert sorted(module for module in seen if not covered(module, places)) == []
        for place in places - {"manifests/cache.py"}:
            assert any(covered(module, {place}) for module in seen), f"{place} is not used"


def test_a_line_of_code_in_each_place_changes_the_key_and_a_comment_does_not(tmp_path, monkeypatch):
    package = tmp_path / "biomark"
    shutil.copytree(fingerprints.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "PACKAGE", package)
    model = bm.Localizer("pma", width=2)

    def fresh(function, *arguments):
        fingerprints.of_code.cache_clear()
        return function(*arguments)

    places = {*cache._COMPUTES, *sheet_of_results._COMPUTES}
    for place in places:
        root = package / place
        file = sorted(root.rglob("*.py"))[-1] if root.is_dir() else root
        whole, before = file.read_text(), fresh(fingerprints.of_code, place)
        file.write_text(whole.replace('"""', '"""Otherwise. ', 1) + "# a comment\n")
        assert fresh(fingerprints.of_code, place) == before, place
        file.write_text(whole + "ADDED = 1\n")
        assert fresh(fingerprints.of_code, place) != before, place
        file.write_text(whole)
    prepared = PMA, Grid((48, 48), None), True
    delivered = model, *prepared, (("page",), False, None)
    for place, key, arguments in (
        ("scans/quality.py", cache.settings, prepared),
        ("scans/quality.py", sheet_of_results._settings, delivered),
        ("delivery/page.py", sheet_of_results._settings, delivered),
    ):
        before = fresh(key, *arguments)
        (package / place).write_text((package / place).read_text() + "ADDED = 1\n")
        assert fresh(key, *arguments) != before
    before = fresh(cache.settings, *prepared)
    (package / "delivery" / "page.py").write_text("ADDED = 2\n")
    assert fresh(cache.settings, *prepared) == before, "a page has no part in what is prepared"
    fingerprints.of_code.cache_clear()


# --- real scans ------------------------------------------------------------------------------------------

REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))


@pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")
def test_real_slices_are_pydicom_s_to_the_last_bit(tmp_path):
    files = sorted(REAL.glob("ny-sbu-slices/*/axial/*.dcm"))
    rows = [(f"ny{k}", path.relative_to(REAL), 300, 0) for k, path in enumerate(files)]
    arch = sorted(
        (REAL / "lidc-0314-arch" / "dicom").iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2]
    )
    rows += [(f"lidc{k}", "lidc-0314-arch/dicom", 300, k) for k in (0, 20, 40)]
    path = sheet(tmp_path / "m.csv", rows, COLUMNS[:4])
    cohort = manifests.read(path, "sfa", root=REAL, grid=Grid((512, 512), None), cache=tmp_path / "c", progress=False)
    assert len(cohort) == 13 and cohort.set_aside is None
    for image, source in zip(cohort.images, [*files, arch[0], arch[20], arch[40]], strict=True):
        data = pydicom.dcmread(source)
        np.testing.assert_array_equal(image, apply_modality_lut(data.pixel_array, data).astype(np.float32))
    coarse = manifests.read(path, "sfa", root=REAL, cache=tmp_path / "c", progress=False)
    totals = [c.weights.sum((1, 2), dtype=float) for c in (cohort, coarse)]
    np.testing.assert_allclose(*totals, rtol=1e-5)
