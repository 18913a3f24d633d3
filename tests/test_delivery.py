"""A sheet goes in; values, maps on the scans' own voxels and pages come out, whatever single scans are like."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from dicom_files import PERSON, body_hu, ct_slice, named, personal, save, series
from scipy import ndimage

import biomark as bm
from biomark import delivery, manifests, scans
from biomark.delivery import page
from biomark.manifests.preparation import take
from biomark.manifests.rules import rule_of

GRID = scans.Grid((60, 60), (8.0, 8.0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = bm.Localizer("pma", width=2)
    model.trained_spacing_mm.fill_(8.0)
    return model.eval()


@pytest.fixture
def sheet(tmp_path):
    """Four scans in folders named after people: two DICOM series, one NIfTI file and one that is damaged."""
    root = tmp_path / "in"
    personal(root / "GRAUBNER_ILSE")
    personal(root / "GRAUBNER_2", places_mm=(0, 3, 6))
    hu = np.stack([body_hu(k) for k in range(3)]).astype(np.float32)
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-7.0, -7, 5, 1])), root / "c.nii.gz")
    (root / "HOLTER.dcm").write_bytes((root / "GRAUBNER_2" / "0.dcm").read_bytes()[:-700])
    rows = {
        "id": ["a", "b", "c", "d", "e"],
        "image": ["GRAUBNER_ILSE", "GRAUBNER_2", "c.nii.gz", "HOLTER.dcm", "GRAUBNER/none"],
        "slice": ["2", "", "1", "0", ""],
        "value": ["", "30", "", "", ""],
    }
    pd.DataFrame(rows).to_csv(root / "sheet.csv", index=False)
    return root / "sheet.csv"


def test_every_scan_gets_its_value_and_its_map_and_a_bad_one_stops_nothing(model, sheet, tmp_path):
    values = delivery.deliver(model, sheet, tmp_path / "out", grid=GRID, progress=False)
    assert values["id"].tolist() == list("abcde")
    assert values["problem"].isna().tolist() == [True, True, True, False, False]
    assert "truncated" in values["problem"][3]
    assert values["known"].tolist()[1] == 30 and values["slice"].tolist()[:3] == [2, 1, 1]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "values.csv"), values, check_dtype=False)
    for i, name in enumerate(["GRAUBNER_ILSE", "GRAUBNER_2", "c.nii.gz"]):
        scan = scans.read(sheet.parent / name)
        file = nib.load(tmp_path / "out" / values["id"][i] / "map.nii.gz")
        volume = np.asarray(file.dataobj).transpose(2, 1, 0)
        assert volume.shape == scan.hu.shape
        k = int(values["slice"][i])
        assert not np.delete(volume, k, 0).any(), "a map of one slice is empty elsewhere"
        weights = bm.TASKS["pma"].weigh(scan.hu[k], scan.spacing_mm[1:])
        assert (volume[k] * weights).sum() == pytest.approx(values["value"][i], rel=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
def test_the_outline_that_is_delivered_has_the_value_that_is_reported(sheet, tmp_path):
    """To one pixel, in areas; of calcium whole lesions are taken, so that the score is nearly the value."""
    pytest.importorskip("highdicom")
    for seed in range(3):
        values = delivery.deliver(another(seed), sheet, tmp_path / str(seed), write="dicom", grid=GRID, progress=False)
        for row in values[:2].itertuples():
            scan = scans.read(sheet.parent / {"a": "GRAUBNER_ILSE", "b": "GRAUBNER_2"}[row.id])
            weights = bm.TASKS["pma"].weigh(scan.hu[int(row.slice)], scan.spacing_mm[1:])
            data = pydicom.dcmread(tmp_path / str(seed) / row.id / "segmentation.dcm")
            mask = data.pixel_array.reshape(scan.hu.shape[1:]) > 0
            assert abs(weights[mask].sum(dtype=float) - row.value) <= 0.5 * weights.max() + 1e-4
            assert not mask[weights == 0].any() and 0 < mask.sum() < (weights > 0).sum()
            assert data.ImageComments == f"Candidates: {row.candidates}."
            assert row.candidates == "-29 to 150 HU, more than 2.5 mm below the surface"


def test_of_calcium_whole_lesions_are_outlined(tmp_path):
    hu = np.stack([body_hu(k) for k in range(6)])
    hu[2:4, 20:22, 20:22], hu[1:3, 30:33, 30:31] = 300, 500
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-2.0, -2, 3, 1])), tmp_path / "c.nii")
    scan, model = scans.read(tmp_path / "c.nii"), bm.Localizer("cac", width=2).eval()
    excerpt = take(scan, model.task, scans.Grid((12, 30, 30), (3.0, 4.0, 4.0)), crop=False)
    for bias in (-3.0, 0.0, 3.0):
        torch.nn.init.constant_(model.bias, bias)
        found = model.locate(excerpt.case, boxes=excerpt.boxes)
        score = bm.agatston.score(scan.hu, excerpt.whole(found.mask), scan.spacing_mm, "dz3")
        assert score == pytest.approx(float(excerpt.case.weights[found.mask].sum()), rel=1e-6)
        for k in range(6):
            labels, count = ndimage.label(excerpt.case.weights[k] > 0, np.ones((3, 3)))
            assert all(len(set(found.mask[k][labels == n])) == 1 for n in range(1, count + 1))


def test_the_values_are_those_that_evaluation_sees(model, sheet, tmp_path):
    rows = pd.read_csv(sheet, dtype=str).iloc[:3].assign(value="30")
    rows.to_csv(sheet, index=False)
    cohort = manifests.read(sheet, "pma", grid=GRID, cache=tmp_path / "cache", progress=False)
    values = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    np.testing.assert_allclose(values["value"], bm.predict(model, cohort)[0], rtol=1e-5)


def test_without_a_grid_a_scan_is_looked_at_as_finely_as_the_model_learned(model, sheet, tmp_path):
    """Else a model trained at 8 mm would be shown 3 mm, where everything is larger, and nobody would be told."""
    grid = scans.Grid.usual(2, model.trained_spacing_mm)
    assert grid == scans.Grid((54, 63), (8.0, 8.0))
    for name, network in {"model": model, "ensemble": bm.Ensemble([model, model])}.items():
        plain = delivery.deliver(network, sheet, tmp_path / name, write=[], progress=False)
        asked = delivery.deliver(network, sheet, tmp_path / f"{name} asked", write=[], grid=grid, progress=False)
        assert plain["value"].equals(asked["value"]) and plain["value"].notna().sum() == 3


def test_what_is_done_is_not_done_again_unless_something_changed(model, sheet, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(
        "biomark.delivery.sheet.read", lambda path, **k: looked.append(path.name) or scans.reader.read(path, **k)
    )

    def run(model=model, **more):
        looked.clear()
        values = delivery.deliver(model, sheet, tmp_path / "out", grid=GRID, progress=False, **more)
        return values, list(looked)

    first, read = run(write=["page"])
    assert len(read) == 4
    again, read = run(write=["page"])
    assert read == ["HOLTER.dcm"], "only what failed is tried again"
    pd.testing.assert_frame_equal(first, again, check_dtype=False)
    assert len(run(write=["nifti"])[1]) == 4
    # A call that is stopped leaves the values that it has, and a row for every other scan.
    (tmp_path / "out" / "c" / "result.json").unlink()

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("biomark.delivery.sheet.read", stopped)
        run(write=["nifti"])
    left = pd.read_csv(tmp_path / "out" / "values.csv")
    assert left["id"].tolist() == list("abcde") and left["value"].notna().tolist() == [True, True, False, False, False]
    assert left["problem"].str.startswith("Not measured yet").tolist()[2:4] == [True, True]
    assert run(write=["nifti"])[1] == ["c.nii.gz", "HOLTER.dcm"]
    torch.manual_seed(1)
    other = bm.Localizer("pma", width=2)  # the same but for its weights
    other.trained_spacing_mm.fill_(8.0)
    assert len(run(other, write=["nifti"])[1]) == 4


@pytest.fixture
def single(tmp_path):
    """Deliver one scan, with other cells or another model: its row, and the files in its folder."""
    series(tmp_path / "in" / "GRAUBNER_1")

    def run(model, cells=None, **more):
        row = {"id": "a", "image": "GRAUBNER_1"} | (cells or {})
        pd.DataFrame([row]).to_csv(tmp_path / "in" / "sheet.csv", index=False)
        values = delivery.deliver(
            model, tmp_path / "in" / "sheet.csv", tmp_path / "out", grid=GRID, progress=False, **more
        )
        place = tmp_path / "out" / "a"
        return values.iloc[-1], sorted(p.name for p in place.iterdir()) if place.is_dir() else []

    return run


def another(seed):
    torch.manual_seed(seed)
    model = bm.Localizer("pma", width=2)
    model.trained_spacing_mm.fill_(8.0)
    return model.eval()


def test_a_known_value_that_was_corrected_is_shown(model, single, tmp_path):
    page = tmp_path / "out" / "a" / "page.html"
    for value, known, words in (("30", 30, "spreadsheet: 30"), ("45", 45, "spreadsheet: 45"), ("", None, None)):
        row, _ = single(model, {"value": value})
        assert row["known"] == known if known else pd.isna(row["known"])
        assert (words or "In the spreadsheet") in page.read_text() or words is None
        assert words or "In the spreadsheet" not in page.read_text()


def test_no_file_stays_beside_another_value(model, single, tmp_path):
    _, files = single(model)
    assert files == ["map.nii.gz", "page.html", "result.json"]
    row, files = single(another(1), write=["page"])
    assert files == ["page.html", "result.json"] and row["value"] > 0
    (tmp_path / "out" / "a" / "page.html").unlink()
    assert "page.html" in single(another(1), write=["page"])[1], "what is gone is written again"
    dicom = tmp_path / "in" / "GRAUBNER_1" / "2.dcm"
    dicom.write_bytes(dicom.read_bytes()[:-700])
    row, files = single(another(1), write=["page"])
    assert "truncated" in row["problem"] and files == []


def test_only_the_case_s_own_files_are_removed(model, single, tmp_path):
    single(model)
    (tmp_path / "out" / "a" / "notes.txt").write_text("mine")
    (tmp_path / "map.nii.gz").write_text("outside")
    values, files = single(model, {"id": "..", "image": "none"})
    assert values["problem"] and "map.nii.gz" in files and (tmp_path / "map.nii.gz").exists()
    assert "map.nii.gz" in single(model, {"image": "none"})[1], "a drive that is not there today takes nothing away"
    dicom = tmp_path / "in" / "GRAUBNER_1" / "2.dcm"
    dicom.write_bytes(dicom.read_bytes()[:-700])
    assert single(model)[1] == ["notes.txt"]


def test_leftovers_are_removed_by_their_age(model, single, tmp_path):
    """A number of a process says nothing where containers or machines share a disk."""
    (tmp_path / "out" / "a").mkdir(parents=True)
    for place in (tmp_path / "out", tmp_path / "out" / "a"):
        for name, hours in ((".partial-1-map.nii.gz", 25), (f".partial-{os.getpid()}-x", 25), (".partial-new", 1)):
            (place / name).touch()
            os.utime(place / name, (time.time() - 3600 * hours,) * 2)
    single(model)
    for place in (tmp_path / "out", tmp_path / "out" / "a"):
        assert {p.name for p in place.glob(".partial*")} == {".partial-new"}


KILLED = """
import os, sys, threading
import biomark as bm, torch
from biomark import delivery, scans
from biomark.delivery import sheet
torch.manual_seed(1)
model = bm.Localizer("pma", width=2)
model.trained_spacing_mm.fill_(8.0)
whole, count = sheet._measure, [0]
def measure(*args):
    count[0] += 1
    if count[0] == 2:
        os.kill(os.getpid(), 9)
    return whole(*args)
sheet._measure = measure
delivery.deliver(model.eval(), sys.argv[1], sys.argv[2], grid=scans.Grid((60, 60), (8.0, 8.0)), progress=False)
"""


def test_a_killed_call_with_another_model_leaves_no_value_beside_another_map(model, sheet, tmp_path):
    first = delivery.deliver(model, sheet, tmp_path / "out", grid=GRID, progress=False)
    subprocess.run([sys.executable, "-c", KILLED, sheet, tmp_path / "out"], check=False, timeout=300)
    values = pd.read_csv(tmp_path / "out" / "values.csv")
    assert values["id"].tolist() == list("abcde") and values["value"].isna().all()
    again = delivery.deliver(another(1), sheet, tmp_path / "out", grid=GRID, progress=False)
    assert again["value"].notna().sum() == 3 and not again["value"].equals(first["value"])


def test_two_calls_do_not_write_to_one_folder_at_a_time(model, single, tmp_path, monkeypatch):
    whole, told = page.render, []

    def render(*args, **kwargs):
        with pytest.raises(OSError, match="another call is writing to .*: wait until it is done"):
            delivery.deliver(another(1), tmp_path / "in" / "sheet.csv", tmp_path / "out", grid=GRID, progress=False)
        told.append(True)
        return whole(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("biomark.delivery.sheet.page.render", render)
        row, files = single(model)
    assert told and row["value"] > 0 and files == ["map.nii.gz", "page.html", "result.json"]
    assert single(another(1))[0]["value"] != row["value"], "afterwards it may"
    assert {p.name for p in (tmp_path / "out").glob("[!.]*")} == {"a", "values.csv"}


def test_values_that_cannot_be_written_are_told_before_a_scan_is_read(model, single, tmp_path, monkeypatch):
    (tmp_path / "out" / "values.csv").mkdir(parents=True)
    monkeypatch.setattr("biomark.delivery.sheet.read", None)  # would be called
    with pytest.raises(OSError, match="values.csv cannot be written"):
        single(model)


@pytest.mark.parametrize(
    "name", ["=WEBSERVICE(A1)", "@SUM(A1)", "+1", "-1", "＝1", "a\rb", "a\x1b[2J", "values.csv", "Values.CSV"]
)
def test_what_an_id_or_a_cell_says_is_carried_out_by_nothing(model, sheet, tmp_path, name):
    rows = pd.read_csv(sheet, dtype=str).iloc[:2]
    rows.loc[0, "id"] = name
    rows.to_csv(sheet, index=False, quoting=1)
    values = delivery.deliver(model, sheet, tmp_path / "out", write=["page"], grid=GRID, progress=False)
    assert values["problem"].notna().tolist() == [True, False] and values["value"].notna().tolist() == [False, True]
    lines = (tmp_path / "out" / "values.csv").read_bytes().decode().splitlines()
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    for cell in (
        pd.read_csv(tmp_path / "out" / "values.csv", dtype=str)[["id", "findings", "problem"]].to_numpy().ravel()
    ):
        assert pd.isna(cell) or cell[0] not in "=+-@＝"
    with pytest.raises(manifests.ManifestError) as caught:
        manifests.read(sheet, "pma", progress=False)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


@pytest.mark.parametrize(
    "name", [b"DOE\xc2\xa0JANE 2.dcm", b"DOE\xe9 JANE 2.dcm", "DOÉ JANE.dcm".encode(), b"DOE'JANE.dcm", b"DOE\nJANE"]
)
@pytest.mark.parametrize("fault", ["cut", "same place", "OSError"])
def test_names_of_files_are_not_told_in_any_form(model, single, tmp_path, name, fault, monkeypatch):
    image = tmp_path / "in" / "GRAUBNER_1"
    odd = image / os.fsdecode(name)
    (image / "1.dcm").rename(odd)
    if fault == "cut":
        odd.write_bytes(odd.read_bytes()[:-700])
    elif fault == "same place":
        shutil.copy(odd, image / "x.dcm")
    else:

        def denied(path, **options):
            raise PermissionError(13, "Permission denied", str(odd))

        monkeypatch.setattr("biomark.delivery.sheet.read", denied)
    row, _ = single(model)
    assert re.search(r"file \d of the image", row["problem"]), row["problem"]
    content = (tmp_path / "out" / "values.csv").read_bytes()
    assert not re.search(b"JANE|DOE|GRAUBNER", content) and str(tmp_path).encode() not in content


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_value_map_and_page_stay_where_no_dicom_object_can_be_written(model, sheet, tmp_path):
    pytest.importorskip("highdicom")
    series(sheet.parent / "GRAUBNER_ILSE")  # without a StudyInstanceUID
    personal(sheet.parent / "GRAUBNER_2", places_mm=(0, 3, 6), PatientBirthDate="1950", StudyTime="noon")
    how = {"write": delivery.FORMATS, "grid": GRID, "identify": True, "progress": False}
    with pytest.warns(UserWarning, match="so the DICOM objects are without it"):
        values = delivery.deliver(model, sheet, tmp_path / "out", **how)
    assert values["value"].notna().tolist() == [True, True, True, False, False]
    assert "No DICOM object was written: file 1 of the image has no StudyInstanceUID" in values["findings"][0]
    assert "PatientBirthDate is not as DICOM has it" in values["findings"][1] and "StudyTime" in values["findings"][1]
    there = {name: sorted(p.name for p in (tmp_path / "out" / name).iterdir()) for name in "ab"}
    assert there["a"] == ["map.nii.gz", "page.html", "result.json"]
    assert there["b"] == ["map.dcm", "map.nii.gz", "page.html", "result.json", "segmentation.dcm"]
    assert b"MRN-778812" in (tmp_path / "out" / "b" / "map.dcm").read_bytes()


def test_cells_that_are_not_used_keep_no_scan_from_being_measured(model, sheet, tmp_path):
    whole = pd.read_csv(sheet, dtype=str).iloc[:3]
    sound = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    odd = whole.assign(group=["p", "", "P"], split=["train", "", "Train"], mask=["GRAUBNER/none.nii", "", ""], slit="x")
    odd["value"] = ["31,5", "Holter", "3050"]
    odd.to_csv(sheet, index=False)
    values = delivery.deliver(model, sheet, tmp_path / "out", write=["page"], grid=GRID, progress=False)
    assert values["problem"].isna().all() and values["known"].isna().all()
    np.testing.assert_array_equal(values["value"], sound["value"][:3])
    pages = [(tmp_path / "out" / name / "page.html").read_text() for name in "abc"]
    for text, page_text, words in zip(
        values["findings"], pages, ("has a comma", "value is not a number", "100 times too large"), strict=True
    ):
        assert "The spreadsheet's value is left out: " in text and words in text and words in page_text
        assert "plausible" not in text and "Holter" not in text


def test_a_line_with_too_many_cells_is_listed(model, sheet, tmp_path):
    sheet.write_text(sheet.read_text() + "GRAUBNER, ILSE,c.nii.gz,0,30\n")
    values = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    assert len(values) == 6 and pd.isna(values["id"][5])
    assert values["problem"][5].startswith("Row 7 of the sheet has 5 cells, but there are 4 columns")


def test_a_problem_names_no_file(model, single, tmp_path):
    """Files of a series are often named after the patient, and so is what lies beside it."""
    image = tmp_path / "in" / "GRAUBNER_1"
    for k in range(4):
        (image / f"{k}.dcm").rename(image / f"GRAUBNER ILSE {k}.dcm")
    save(ct_slice(body_hu(), (-168.0, -168.0, 2.0)), image / "HOLTER")
    (tmp_path / "in" / "GRAUBNER_2").mkdir()
    told = [single(model)[0]["problem"], single(model, {"image": "GRAUBNER_3"})[0]["problem"]]
    told.append(single(model, {"slice": "of GRAUBNER"})[0]["problem"])
    (image / "HOLTER").write_bytes((image / "HOLTER").read_bytes()[:500])
    told.append(single(model)[0]["problem"])
    assert "file 2 of the image and file 5 of the image lie at the same position" in told[0]
    assert "bm.manifests.check says why" in told[1] and "the slice is not a number" in told[2]
    assert told[3].startswith("file 5 of the image")
    for sentence in told:
        assert not re.search("GRAUBNER|HOLTER", sentence) and str(tmp_path) not in sentence


def test_a_value_that_is_not_finite_is_a_problem(single, tmp_path):
    broken = another(0)
    with torch.no_grad():
        next(p for p in broken.parameters()).fill_(torch.nan)
    row, files = single(broken)
    assert re.search("no finite value|no numbers", row["problem"]) and pd.isna(row["value"]) and files == []


def test_the_next_scan_is_read_while_one_is_measured_and_no_more(model, sheet, tmp_path, monkeypatch):
    """The network of the first scan waits for the reading of the second, which could not be if they took turns."""
    reading, looked, ahead = threading.Event(), [], []

    def read(path, **options):
        if path.name == "GRAUBNER_2":
            reading.set()
        looked.append(path.name)
        return scans.reader.read(path, **options)

    def locate(case, *, boxes, window):
        assert reading.wait(60), "the second scan was not begun while the first was measured"
        ahead.append(len(looked))
        return bm.Localizer.locate(model, case, boxes=boxes, window=window)

    monkeypatch.setattr("biomark.delivery.sheet.read", read)
    monkeypatch.setattr(model, "locate", locate)
    values = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    assert looked == ["GRAUBNER_ILSE", "GRAUBNER_2", "c.nii.gz", "HOLTER.dcm"]
    assert all(begun <= done + 2 for done, begun in enumerate(ahead)), "one scan ahead, not more"
    assert values["id"].tolist() == list("abcde")
    stages = values[["reading_s", "network_s", "writing_s"]]
    assert (stages[:3] >= 0).all(axis=None) and stages[3:].isna().all(axis=None)


def test_a_window_is_looked_through_and_is_a_setting(model, sheet, tmp_path):
    whole = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    parts = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, window=(48, 48), progress=False)
    assert not np.array_equal(parts["value"][:3], whole["value"][:3])
    np.testing.assert_allclose(parts["value"][:3].astype(float), whole["value"][:3].astype(float), rtol=0.05)


def test_nothing_names_the_patient(model, sheet, tmp_path):
    pytest.importorskip("highdicom")
    delivery.deliver(model, sheet, tmp_path / "out", write=delivery.FORMATS, grid=GRID, progress=False)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {p.name for p in files} - {".in-use"} == {
        *("values.csv", "result.json", "page.html", "map.nii.gz", "segmentation.dcm", "map.dcm")
    }
    for path in files:
        assert not named(path) and b"HOLTER" not in path.read_bytes(), path
        assert str(tmp_path).encode() not in path.read_bytes(), "a path may name a patient"
    assert not (tmp_path / "out" / "c" / "segmentation.dcm").exists()
    delivery.deliver(model, sheet, tmp_path / "named", write=["dicom"], grid=GRID, identify=True, progress=False)
    assert PERSON["PatientID"].encode() in (tmp_path / "named" / "a" / "map.dcm").read_bytes()


def test_what_cannot_go_well_is_refused_before_a_scan_is_read(model, sheet, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no format is named 'pdf'"):
        delivery.deliver(model, sheet, tmp_path / "out", write=["pdf"])
    with pytest.raises(ValueError, match="a DirectRegressor has no map to write"):
        delivery.deliver(bm.DirectRegressor("pma", width=2), sheet, tmp_path / "out")
    with pytest.raises(ValueError, match="images in 2-D: a grid of .* does not fit"):
        delivery.deliver(model, sheet, tmp_path / "out", grid=scans.Grid.usual(3))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="file cannot be written to .*: give another"):
        patch.setattr("biomark.delivery.sheet.checks.check_sheet", None)  # would be called
        delivery.deliver(model, sheet, tmp_path / "file")
    with pytest.raises(ValueError, match="give 2 sides of 32 voxels"):
        delivery.deliver(model, sheet, tmp_path / "out", window=(48, 128, 128))
    (tmp_path / "bare.csv").write_text("id,value\na,3\n")
    with pytest.raises(manifests.ManifestError, match="no column 'image'"):
        delivery.deliver(model, tmp_path / "bare.csv", tmp_path / "out", progress=False)


def test_one_format_may_be_named_alone_and_the_folder_from_home_on(model, single, sheet, tmp_path, monkeypatch):
    assert single(model, write="page")[1] == ["page.html", "result.json"]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    delivery.deliver(model, sheet, "~/found", write="page", grid=GRID, progress=False)
    assert (tmp_path / "home" / "found" / "values.csv").is_file() and not (tmp_path / "~").exists()


def test_a_page_says_what_an_inspector_says_and_needs_no_other_file():
    image, weights = np.full((30, 40), 40.0, np.float32), np.full((30, 40), 0.5, np.float32)
    case = bm.Case("x", image, weights, None, None, (7.0, 7.0))
    map = np.zeros((30, 40), np.float32)
    map[10:20, 10:20] = 0.9
    told = dict(spread=None, findings=("It is <b>thick</b>.",), traits={}, unusual=("noise [HU] 90: usual is 5 to 30",))
    found = bm.Inspection("x & y", "muscle", "cm2", 45.0, 40.0, 51.0, 0.9, map, map > 0.5, **told)
    text = page.render(found, case, map, rule_of(bm.TASKS["pma"]), slice=3, known=44.0)
    for words in (
        "x &amp; y: muscle",
        "45 cm2",
        "90% interval 40 to 51",
        "spreadsheet: 44",
        "&lt;b&gt;",
        "Slice 3",
        "Candidates: -29 to 150 HU, more than 2.5 mm below the surface.",
        "noise",
    ):
        assert words in text, words
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 2000
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    nan = float("nan")
    plain = bm.Inspection("x", "m", "cm2", 0.0, nan, nan, nan, map * 0, map > 1, None, (), {}, ())
    assert "No interval is known" in page.render(plain, case, map * 0, "any")


def test_a_volume_shows_the_slice_that_adds_most():
    weights = np.ones((5, 20, 20), np.float32)
    map = np.zeros((5, 20, 20), np.float32)
    map[3, 4:8, 4:8] = 1
    nan = float("nan")
    found = bm.Inspection("v", "calcium", "Agatston", 16.0, nan, nan, nan, map, map > 0.5, None, (), {}, ())
    text = page.render(found, bm.Case("v", weights * 100, weights, None, None, (3.0, 2.0, 2.0)), map, "any")
    assert "100% of the value: number 3 of the 5" in text
