"""Records: round trip, whole or not at all, and parameters that are checked."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

import biomark as bm
from biomark import records, scans


class FakeReport:
    def to_dict(self):
        return {"r": np.float64(0.5), "dice": float("nan"), "n": np.int64(3)}

    def to_frame(self):
        return pd.DataFrame({"id": ["a"], "known": [1.0]})


def test_round_trip(tmp_path):
    history = bm.History(loss=[0.2], seconds=[1.0], device="cpu", precision="32-true")
    records.write(
        tmp_path / "run", parameters={"seed": 3}, report=FakeReport(), history=history, extra={"cam": {"dice": np.nan}}
    )
    record = records.read(tmp_path / "run")
    assert record["parameters"] == {"seed": 3}
    assert record["metrics"] == {"r": 0.5, "dice": None, "n": 3}
    assert record["training"]["loss"] == [0.2]
    assert record["extra"] == {"cam": {"dice": None}}
    assert record["versions"]["biomark"] and record["created"].endswith("+00:00")
    assert pd.read_csv(tmp_path / "run" / "predictions.csv").known.tolist() == [1.0]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["predictions.csv", "run.json"]


def test_another_run_is_not_overwritten(tmp_path):
    records.write(tmp_path, parameters={"seed": 1})
    with pytest.raises(FileExistsError, match="already holds a run"):
        records.write(tmp_path, parameters={"seed": 2})
    records.write(tmp_path, parameters={"seed": 2}, overwrite=True)
    assert records.read(tmp_path)["parameters"]["seed"] == 2


def test_predictions_of_a_run_that_was_replaced_are_gone(tmp_path):
    records.write(tmp_path, parameters={}, report=FakeReport())
    records.write(tmp_path, parameters={}, overwrite=True)
    with pytest.raises(FileNotFoundError, match=r"holds a run without predictions\.csv"):
        records.predictions(tmp_path)


def test_predictions_belong_to_their_run(tmp_path):
    """Two runs in one folder, or one that was stopped while it replaced another, are not taken for one."""
    for name in ("a", "b"):
        records.write(tmp_path / name, parameters={}, report=FakeReport())
    (tmp_path / "b" / "predictions.csv").write_text("id,known\nNA,2.0\n")
    assert records.predictions(tmp_path / "a").id.tolist() == ["a"]
    with pytest.raises(ValueError, match="does not belong to the run.json beside it"):
        records.predictions(tmp_path / "b")


def test_a_run_that_is_stopped_while_it_replaces_another_leaves_one_of_both(tmp_path, monkeypatch):
    records.write(tmp_path, parameters={"seed": 1}, report=FakeReport())
    with pytest.raises(TypeError):
        records.write(tmp_path, parameters={"seed": {2}}, report=FakeReport(), overwrite=True)
    assert records.read(tmp_path)["parameters"] == {"seed": 1}, "nothing to replace it with"

    class Other(FakeReport):
        def to_frame(self):
            return pd.DataFrame({"id": ["b"], "known": [2.0]})

    def found():
        return records.read(tmp_path)["parameters"]["seed"], records.predictions(tmp_path).id.tolist()

    for patch, after in (
        (("atomic_write", lambda path: 1 / 0), (1, ["a"])),
        (("sweep", lambda path: 1 / 0), (2, ["b"])),
    ):
        with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
            patched.setattr(records.run, *patch)
            records.write(tmp_path, parameters={"seed": 2}, report=Other(), overwrite=True)
        assert found() == after
    # Between the two files: the new predictions wait beside the new record.
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        replace = os.replace
        patched.setattr(os, "replace", lambda a, b: 1 / 0 if str(b)[-16:] == "/predictions.csv" else replace(a, b))
        records.write(tmp_path, parameters={"seed": 3}, report=FakeReport(), overwrite=True)
    assert found() == (3, ["a"]) and "2.0" in (tmp_path / "predictions.csv").read_text()
    records.write(tmp_path, parameters={"seed": 4}, report=FakeReport(), overwrite=True)
    assert found() == (4, ["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.csv", "run.json"]


@pytest.mark.parametrize("text", ["[]", "null", "3", ""])
def test_what_is_no_record_is_said(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run it again"):
        records.read(tmp_path)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        records.read(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 1, ')
    with pytest.raises(ValueError, match="not readable JSON"):
        records.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        records.read(tmp_path)


DECLARED = {"__annotations__": {"epochs": int, "lr": float, "scan": str}, "epochs": 8, "lr": 0.1, "scan": ""}


def test_parameters_as_declared():
    assert records.parameters(DECLARED | {"_hidden": 1, "In": [], "np": np}) == {
        "epochs": 8,
        "lr": 0.1,
        "scan": "",
    }
    assert records.parameters(DECLARED | {"lr": 1})["lr"] == 1  # a whole number where a fraction is meant


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"epoch": 3}, "no parameter 'epoch': did you mean 'epochs'"),
        ({"zebra": 3}, "the parameters are epochs, lr, scan"),
        ({"epochs": "many"}, "'epochs' must be of type int, but is 'many'"),
        ({"epochs": True}, "must be of type int"),
        ({"scan": 5}, "must be of type str"),
    ],
)
def test_parameters_that_are_wrong(extra, words):
    with pytest.raises(ValueError, match=words):
        records.parameters(DECLARED | extra)


def test_a_folder_with_a_run_is_refused_before_the_training(tmp_path):
    declared = {"__annotations__": {"out": str}, "out": str(tmp_path / "run")}
    assert records.parameters(declared)["out"]
    records.write(tmp_path / "run", parameters={})
    with pytest.raises(FileExistsError, match=r"run\.json already holds a run"):
        records.parameters(declared)


def given(**values):
    return {"__annotations__": {name: type(value) for name, value in values.items()}, **values}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A scan of three slices."""
    folder = tmp_path_factory.mktemp("scans") / "series"
    hu = np.random.default_rng(0).normal(-400, 300, (3, 16, 16))
    return str(scans.write_dicom(folder, hu, (5.0, 1.0, 1.0)))


def test_what_a_chapter_is_given_is_looked_at_first(series, tmp_path):
    values = {"scan": series, "slice_index": 2, "width": 1, "out": str(tmp_path / "new" / "run"), "manifest": ""}
    values |= {"sweep": str(tmp_path), "device": "cpu", "task": "cac", "chest": ""}
    assert records.parameters(given(**values)) == values
    assert not (tmp_path / "new").exists(), "looking leaves nothing"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (
            {"scan": "SERIES", "slice_index": 99},
            ValueError,
            r"^There is no slice 99: .* slices 0 \(feet\) to 2 \(head\)",
        ),
        ({"scan": "SERIES", "scan_slice": -2}, ValueError, "no slice -2"),
        ({"scan": "", "slice_index": 42}, ValueError, "'slice_index' is 42, but no scan is named"),
        ({"scan": "TYPO"}, ValueError, "does not exist; .* you perhaps meant 'series'"),
        ({"chest": "FILE"}, ValueError, "neither DICOM nor NIfTI"),
        ({"out": "FILE/run"}, NotADirectoryError, "'out': .*notes.txt is a file: name a folder"),
        ({"manifest": "FILES"}, FileNotFoundError, "'manifest': .* does not exist; .* perhaps meant 'notes.txt'"),
        ({"sweep": "FILE/full"}, FileNotFoundError, "'sweep': .* does not exist"),
        ({"width": -4}, ValueError, "^parameter 'width' is -4: take a number of 1 or more"),
        ({"n_train": 0}, ValueError, "'n_train' is 0"),
        ({"device": "gpu"}, ValueError, "device 'gpu' is not available here: choose one of cpu"),
        ({"backbone": "vnet"}, ValueError, "'backbone' is 'vnet': choose one of fcn, unet, resunet"),
        ({"task_key": "fat"}, ValueError, "choose one of pma, sfa, liver, cac"),
    ],
)
def test_what_would_fail_after_the_training_fails_before_it(series, tmp_path, values, kind, words):
    file = tmp_path / "notes.txt"
    file.write_text("no scan")
    places = {"SERIES": series, "TYPO": series[:-1] + "z", "FILES": f"{file}s", "FILE": str(file)}
    for name, value in values.items():
        for place, path in places.items():
            if isinstance(value, str) and value.split("/")[0] == place:
                values = values | {name: value.replace(place, path)}
    with pytest.raises(kind, match=words):
        records.parameters(given(**values))


def test_runs_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BIOMARK_RUNS", str(tmp_path))
    assert records.runs_folder() == tmp_path
    monkeypatch.delenv("BIOMARK_RUNS")
    assert records.runs_folder().parts[-2:] == ("biomark", "runs")


def test_reference_records_come_along():
    folder = records.reference("sweep-0.1")
    assert {"results.csv", "results.json"} <= {path.name for path in folder.iterdir()}
    with pytest.raises(FileNotFoundError, match="'sweep-0.2'.*sweep-0.1"):
        records.reference("sweep-0.2")


def test_arrays_are_kept_as_lists_and_what_json_cannot_hold_is_refused(tmp_path):
    records.write(tmp_path / "a", parameters={}, extra={"d": np.arange(3), "m": {1: np.float32(0.5)}, "f": tmp_path})
    assert records.read(tmp_path / "a")["extra"] == {"d": [0, 1, 2], "m": {"1": 0.5}, "f": str(tmp_path)}
    both = {"zero": np.array(3.0), "torch": torch.ones(2), "column": pd.Series([1, np.nan])}
    records.write(tmp_path / "c", parameters={}, extra=both)
    assert records.read(tmp_path / "c")["extra"] == {"zero": 3.0, "torch": [1.0, 1.0], "column": [1.0, None]}
    with pytest.raises(TypeError, match="'extra', 's' holds a set, which JSON cannot"):
        records.write(tmp_path / "b", parameters={}, extra={"s": {1, 2}})
    with pytest.raises(TypeError, match=r"give a list of cohorts, data=\(train, test\)"):
        records.write(tmp_path / "b", parameters={}, data=np.ones(3))
    assert not (tmp_path / "b" / "run.json").exists()
