"""book/times.py: what a chapter says of its time was measured."""

import json
import sys

import nbformat
import pytest

from tests.test_book import ROOT

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def times(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    for name in ("times", "execute", "badges", "run"):
        sys.modules.pop(name, None)
    import times

    return times


def test_every_chapter_says_what_was_measured(times):
    kept = json.loads(times.FILE.read_text())["chapters"]
    assert kept.keys() == {name.rpartition("/")[2] for name in times.notebooks()}, "measure again: make times"
    for name in times.notebooks():
        head = nbformat.read(ROOT / f"{name}.ipynb", 4).cells[0].source
        said, seconds = times.STATED.search(head), kept[name.rpartition("/")[2]]["wall_s"]
        assert said and said[0] == times.phrase(seconds), f"{name} took {seconds} s"


def test_no_chapter_takes_more_than_five_minutes(times):
    kept = json.loads(times.FILE.read_text())["chapters"]
    assert {name: one["wall_s"] for name, one in kept.items() if one["wall_s"] > 300} == {}
    minutes = sum(one["core_s"] for one in kept.values()) / 2 / 60
    assert minutes <= 30, f"{minutes:.0f} minutes, two at a time: README says half an hour"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (39, "less than a minute"),
        (61, "about a minute"),
        (95, "about 2 minutes"),
        (130, "about 2 minutes"),
        (290, "about 5 minutes"),
    ],
)
def test_a_phrase_is_no_shorter_than_it_seems(times, seconds, words):
    assert times.phrase(seconds) == f"{words} to run on two CPU cores"


def test_a_chapter_is_astray_at_twice_or_half_its_time(times):
    kept = {name: {"wall_s": 100} for name in "abcd"} | {"short": {"wall_s": 4}}
    now = {name: {"wall_s": s} for name, s in {"a": 199, "b": 201, "c": 49, "d": 51, "short": 16, "new": 60}.items()}
    assert [said[0] for said in times.astray(now, kept)] == ["b", "c", "n"]


def test_a_chapter_is_run_and_timed_with_the_seed_that_is_asked_for(times, tmp_path):
    cells = [nbformat.v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell("assert seed == 7, seed"))
    path = tmp_path / "01-seeded.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), path)
    assert 0 < times.measure([path], 7, 60)["01-seeded"]["core_s"] < 60
    assert "AssertionError" in times.measure([path], None, 60)["01-seeded"]["failed"]
