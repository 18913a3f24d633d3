"""The command line: what a person types comes out as values, files, exit status and sentences."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import biomark as bm
from biomark import cli
from biomark.records import trained


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Phantoms on disk (two DICOM series of three slices, one NIfTI of one), a tiny model and a tiny inspector."""
    folder = tmp_path_factory.mktemp("cli")
    drawn = bm.phantoms.draw("pma", 3, seed=3, size=32)
    for i, case in enumerate(map(drawn.voxels, range(3))):
        volume = np.stack([case.image] * (3 if i < 2 else 1))
        scan = bm.scans.read(bm.scans.write_dicom(folder / f"p{i}", volume, (5.0, *case.spacing_mm)))
    bm.scans.write_nifti(folder / "third.nii.gz", scan.hu, scan)
    torch.manual_seed(0)
    model = bm.Localizer("pma", width=2)
    bm.fit(model, drawn.without_masks(), epochs=1, progress=False)
    model.save(folder / "model.safetensors")
    bm.Inspector(model, bm.phantoms.draw("pma", 40, seed=5, size=32)).save(folder / "inspector")
    return folder


def biomark(capsys, *arguments):
    """Exit status, output and errors of a command; usage errors too."""
    try:
        status = cli.main([*map(str, arguments)])
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_help_needs_no_torch_and_says_by_example_what_to_type():
    code = "import sys; from biomark.cli import main\ntry: main(['measure', '--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout
    assert said.endswith("[]\n") and "biomark measure --sample chest --task pma" in said


def test_the_tasks_of_the_help_are_those_of_the_library():
    assert {key: task.name for key, task in bm.TASKS.items()} == cli.TASKS


def test_it_runs_as_a_module(place, tmp_path):
    """And measures by the model that ships, which here is none."""
    command = [sys.executable, "-m", "biomark", "measure", place / "third.nii.gz", "--task", "pma", "--quiet"]
    run = subprocess.run([*command, "--model", place / "inspector"], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("third: pectoralis muscle area ")
    assert (tmp_path / "biomark-pma" / "third" / "page.html").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
def test_scans_are_measured_by_the_librarys_own_delivery(place, tmp_path, capsys):
    pytest.importorskip("highdicom")
    scans, out = [place / "p0", place / "p1"], tmp_path / "out"
    asked = ["measure", *scans, "--task", "pma", "--slice", 1, "--model", place / "inspector", "--out", out, "--quiet"]
    status, said, errors = biomark(capsys, *asked)
    assert (status, errors) == (0, "")
    values = pd.read_csv(out / "values.csv")
    assert list(values["id"]) == ["p0", "p1"] and list(values["slice"]) == [1, 1]
    own = bm.Inspector.load(place / "inspector")
    found = own.inspect(bm.scans.read(scans[0]).case(bm.TASKS["pma"], 1))
    assert values["value"][0] == pytest.approx(found.value, rel=0.02)  # boxes may begin at another pixel
    for row in values.itertuples():
        line = f"{row.id}: pectoralis muscle area {row.value:.4g} cm2 (90% interval {row.low:.4g} to {row.high:.4g})"
        assert f"{line}, slice 1\n" in said
        files = {"map.nii.gz", "page.html", "segmentation.dcm", "map.dcm"}
        assert files <= {path.name for path in (out / row.id).iterdir()}
    assert "2 of 2 scans measured" in said


def test_a_sheet_goes_on_after_a_bad_scan_and_takes_up_what_it_has(place, tmp_path, capsys, monkeypatch):
    rows = [("one", "third.nii.gz"), ("bad", "broken.nii.gz"), ("two", "p2")]
    pd.DataFrame(rows, columns=["id", "image"]).to_csv(tmp_path / "scans.csv", index=False)
    shutil.copy(place / "third.nii.gz", tmp_path)
    shutil.copytree(place / "p2", tmp_path / "p2")
    (tmp_path / "broken.nii.gz").write_bytes((place / "third.nii.gz").read_bytes()[:999])
    asked = ["measure", tmp_path / "scans.csv", "--model", place / "model.safetensors", "--out", tmp_path / "out"]
    status, said, errors = biomark(capsys, *asked, "--quiet")
    assert status == 1 and "2 of 3 scans measured" in said and "interval" not in said
    (sentence,) = errors.splitlines()
    assert sentence.startswith("bad: ") and "Traceback" not in errors
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("page.html")}
    assert len(before) == 2
    assert biomark(capsys, *asked, "--quiet")[:2] == (1, said)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is measured stays"


def test_the_model_that_ships_is_taken_and_a_liver_needs_its_slice(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    liver = bm.Localizer("liver", width=2, depth=2)
    bm.fit(liver, bm.phantoms.draw("liver", 2, seed=3, size=32), epochs=1, progress=False)
    bm.Inspector(liver, bm.phantoms.draw("liver", 40, seed=5, size=32)).save(tmp_path / "liver")
    monkeypatch.setattr(trained, "reference", lambda name: tmp_path / name.partition("/")[2])
    status, said, errors = biomark(capsys, "measure", place / "p0", "--task", "liver", "--quiet")
    assert (status, errors.count("\n")) == (1, 1) and "name it, by --slice" in errors
    status, said, errors = biomark(capsys, "measure", place / "p0", "--task", "liver", "--slice", 0, "--quiet")
    assert status == 0 and "liver tumour area" in said and ", slice 0" in said


def test_a_sample_is_fetched_by_its_name(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bm.scans, "sample", lambda name: place / {"chest": "p2"}[name], raising=False)
    asked = ["measure", "--sample", "chest", "--model", place / "model.safetensors", "--out", tmp_path, "--quiet"]
    status, said, _ = biomark(capsys, *asked)
    assert status == 0 and said.startswith("chest: pectoralis muscle area ")
    assert "Lung-PET-CT-Dx" in said, "whose picture it is"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["measure"], "name scans"),
        (["measure", "a.nii"], "say what to measure"),
        (["measure", "a.csv", "b.nii", "--task", "pma"], "one sheet alone"),
        (["measure", "a.csv", "--slice", "3", "--task", "pma"], "has a column slice"),
        (["measure", "a.nii", "--task", "heart"], "invalid choice"),
        (["measure", "a.nii", "--model", "none.safetensors"], "no model at none.safetensors"),
        (["check", "none.csv", "--task", "pma"], "there is no file none.csv"),
        (["train", "none.csv", "--task", "pma"], "there is no file none.csv"),
        ([], "required: COMMAND"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said, errors = biomark(capsys, *arguments)
    assert (status, said) == (2, "") and sentence in errors and "Traceback" not in errors
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_scans_of_one_name_get_names_of_their_own(tmp_path):
    scans = [
        (cli._name(path), path) for path in (tmp_path / "a" / "ct.nii.gz", tmp_path / "b" / "CT", tmp_path / "=x?")
    ]
    sheet = pd.read_csv(cli._sheet_of(scans, None, tmp_path / "out"))
    assert list(sheet["id"]) == ["ct", "CT-2", "x"] and sheet["slice"].isna().all()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A hospital's sheet: 60 scans of 30 patients, one row with a slip."""
    folder = tmp_path_factory.mktemp("own")
    drawn, rows = bm.phantoms.draw("pma", 60, seed=4, size=24), []
    for i, case in enumerate(map(drawn.voxels, range(60))):
        bm.scans.write_dicom(folder / f"{i}", case.image[None], (5.0, *case.spacing_mm))
        rows.append({"id": f"scan {i}", "image": i, "value": round(case.value, 3), "group": f"patient {i // 2}"})
    pd.DataFrame(rows).to_csv(folder / "sheet.csv", index=False)
    pd.DataFrame(rows).replace({"value": {rows[7]["value"]: -1.0}}).to_csv(folder / "slip.csv", index=False)
    return folder


def test_check_names_the_problems(own, capsys):
    assert biomark(capsys, "check", own / "sheet.csv", "--task", "pma", "--quiet")[0] == 0
    status, said, _ = biomark(capsys, "check", own / "slip.csv", "--task", "pma", "--quiet")
    assert status == 1 and "row 9 (scan 7), value: " in said


def test_train_leaves_a_model_that_measures_with_a_report_on_patients_it_did_not_see(
    own, place, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("BIOMARK_CACHE", str(tmp_path / "cache"))
    asked = ["train", own / "sheet.csv", "--task", "pma", "--epochs", 1, "--out", tmp_path / "model", "--quiet"]
    asked += ["--from", place / "model.safetensors"]
    status, said, errors = biomark(capsys, *asked)
    assert status == 0 and "16 unseen cases of pma" in said and "no intervals, for 6 cases" in errors
    seen = set(bm.records.predictions(tmp_path / "model")["id"])
    assert {f"scan {int(name.split()[1]) ^ 1}" for name in seen} == seen, "both scans of a patient are held out"
    card = (tmp_path / "model" / "card.md").read_text()
    assert "patients that it had not seen" in card and "44 scans of a spreadsheet" in card
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr(trained, "fit", None)
    assert biomark(capsys, *asked)[0] == 0, "what is trained is not trained again"
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    asked = ["measure", place / "third.nii.gz", "--model", tmp_path / "model", "--out", tmp_path / "out", "--quiet"]
    assert biomark(capsys, *asked)[0] == 0


def test_train_stops_at_a_slip_or_leaves_it_out(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BIOMARK_CACHE", str(tmp_path / "cache"))
    asked = ["train", own / "slip.csv", "--task", "pma", "--epochs", 1, "--width", 2, "--out", tmp_path, "--quiet"]
    status, _, errors = biomark(capsys, *asked)
    assert status == 2 and "row 9 (scan 7), value: " in errors
    status, _, errors = biomark(capsys, *asked, "--leave-out")
    assert status == 1 and "1 row was set aside" in errors
