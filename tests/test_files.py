"""Paths with a home folder, also where there is none; tables as JSON."""

import pandas as pd
import pytest

import biomark as bm
from biomark import scans
from biomark.machine import files

NOBODY = "~no-such-user-here/there"


@pytest.mark.parametrize(
    "use",
    [
        files.expand,
        scans.read,
        bm.load,
        bm.records.load_cohort,
        bm.Inspector.load,
        bm.records.read,
        lambda path: bm.records.write(path, parameters={}),
        lambda path: bm.manifests.check(path, "sfa", progress=False),
    ],
)
def test_a_home_folder_that_nobody_has_is_a_sentence(use):
    with pytest.raises(ValueError, match="begins in a home folder, and none is known here: give a path from / on"):
        use(NOBODY)


def test_a_machine_without_a_home_is_a_sentence(monkeypatch):
    monkeypatch.setattr("pathlib.Path.expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("BIOMARK_RUNS", raising=False)
    with pytest.raises(ValueError, match="none is known here"):
        files.runs_folder()


def test_the_home_folder_is_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expand("~/runs") == tmp_path / "runs" and files.expand(tmp_path) == tmp_path


def test_a_table_comes_back_from_json_with_its_types():
    table = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "name": ["a", None], "box": [(1, 2), (3, 4)]})
    table["kind"], table["day"] = pd.Categorical(["u", "v"]), pd.to_datetime(["2026-01-02", "2026-01-03"])
    again = files.table_from_json(files.json_from_table(table))
    pd.testing.assert_series_equal(again.dtypes, table.dtypes)
    assert again.box.tolist() == [(1, 2), (3, 4)] and again.day.equals(table.day)
