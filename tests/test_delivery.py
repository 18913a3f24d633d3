"""A sheet goes in; values, maps on the scans' own voxels and pages come out, whatever single scans are like."""

from __future__ import annotations

import base64
import re
import threading

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_files import PERSON, body_hu, named, personal

import biomark as bm
from biomark import delivery, page, scans

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


def test_the_values_are_those_that_evaluation_sees(model, sheet, tmp_path):
    rows = pd.read_csv(sheet, dtype=str).iloc[:3].assign(value="30")
    rows.to_csv(sheet, index=False)
    cohort = scans.read_manifest(sheet, "pma", grid=GRID, cache=tmp_path / "cache", progress=False)
    values = delivery.deliver(model, sheet, tmp_path / "out", write=[], grid=GRID, progress=False)
    np.testing.assert_allclose(values["value"], bm.predict(model, cohort)[0], rtol=1e-5)


def test_what_is_done_is_not_done_again_unless_something_changed(model, sheet, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(scans, "read", lambda path, **k: looked.append(path.name) or scans.reader.read(path, **k))

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
    # A call that is stopped leaves the values that it has.
    (tmp_path / "out" / "c" / "result.json").unlink()

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scans, "read", stopped)
        run(write=["nifti"])
    assert pd.read_csv(tmp_path / "out" / "values.csv")["id"].tolist() == ["a", "b", "c"]
    assert run(write=["nifti"])[1] == ["c.nii.gz", "HOLTER.dcm"]
    torch.manual_seed(1)
    other = bm.Localizer("pma", width=2)  # the same but for its weights
    other.trained_spacing_mm.fill_(8.0)
    assert len(run(other, write=["nifti"])[1]) == 4


def test_the_next_scan_is_read_while_one_is_measured_and_no_more(model, sheet, tmp_path, monkeypatch):
    """The network of the first scan waits for the reading of the second, which could not be if they took turns."""
    reading, looked, ahead = threading.Event(), [], []

    def read(path, **options):
        if path.name == "GRAUBNER_2":
            reading.set()
        looked.append(path.name)
        return scans.reader.read(path, **options)

    def locate(case, *, window):
        assert reading.wait(60), "the second scan was not begun while the first was measured"
        ahead.append(len(looked))
        return bm.Localizer.locate(model, case, window=window)

    monkeypatch.setattr(scans, "read", read)
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
    assert {p.name for p in files} == {
        *("values.csv", "result.json", "page.html", "map.nii.gz", "segmentation.dcm", "map.dcm")
    }
    for path in files:
        assert not named(path) and b"HOLTER" not in path.read_bytes(), path
        assert str(tmp_path).encode() not in path.read_bytes(), "a path may name a patient"
    assert not (tmp_path / "out" / "c" / "segmentation.dcm").exists()
    delivery.deliver(model, sheet, tmp_path / "named", write=["dicom"], grid=GRID, identify=True, progress=False)
    assert PERSON["PatientID"].encode() in (tmp_path / "named" / "a" / "map.dcm").read_bytes()


def test_an_unknown_format_a_wrong_window_and_a_sheet_without_images_are_refused(model, sheet, tmp_path):
    with pytest.raises(ValueError, match="no format is named 'pdf'"):
        delivery.deliver(model, sheet, tmp_path / "out", write=["pdf"])
    with pytest.raises(ValueError, match="give 2 sides of 32 voxels"):
        delivery.deliver(model, sheet, tmp_path / "out", window=(48, 128, 128))
    (tmp_path / "bare.csv").write_text("id,value\na,3\n")
    with pytest.raises(scans.ManifestError, match="no column 'image'"):
        delivery.deliver(model, tmp_path / "bare.csv", tmp_path / "out", progress=False)


def test_a_page_says_what_an_inspector_says_and_needs_no_other_file():
    image, weights = np.full((30, 40), 40.0, np.float32), np.full((30, 40), 0.5, np.float32)
    case = bm.Case("x", image, weights, None, None, (7.0, 7.0))
    map = np.zeros((30, 40), np.float32)
    map[10:20, 10:20] = 0.9
    told = dict(spread=None, findings=("It is <b>thick</b>.",), traits={}, unusual=("noise [HU] 90: usual is 5 to 30",))
    found = bm.Inspection("x & y", "muscle", "cm2", 45.0, 40.0, 51.0, 0.9, map, **told)
    text = page.render(found, case, map, slice=3, known=44.0)
    for words in (
        "x &amp; y: muscle",
        "45 cm2",
        "90% interval 40 to 51",
        "spreadsheet: 44",
        "&lt;b&gt;",
        "Slice 3",
        "noise",
    ):
        assert words in text, words
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 2000
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    nan = float("nan")
    plain = bm.Inspection("x", "m", "cm2", 0.0, nan, nan, nan, map * 0, None, (), {}, ())
    assert "No interval is known" in page.render(plain, case, map * 0)


def test_a_volume_shows_the_slice_that_adds_most():
    weights = np.ones((5, 20, 20), np.float32)
    map = np.zeros((5, 20, 20), np.float32)
    map[3, 4:8, 4:8] = 1
    nan = float("nan")
    found = bm.Inspection("v", "calcium", "Agatston", 16.0, nan, nan, nan, map, None, (), {}, ())
    text = page.render(found, bm.Case("v", weights * 100, weights, None, None, (3.0, 2.0, 2.0)), map)
    assert "100% of the value: number 3 of the 5" in text
