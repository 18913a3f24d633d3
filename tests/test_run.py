"""`make run`: what the chapter does not know is refused before anything runs, and no run takes another's place."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import biomark as bm

RUN = Path(__file__).resolve().parent.parent / "book" / "run.py"

PARAMETERS = """epochs: int = 2  # passes
lr: float = 0.1  # rate
strict: bool = True  # whether to hold
out: str = ""  # folder"""
BODY = """from pathlib import Path
import biomark as bm
parameters = bm.records.parameters(globals())
Path("executed").touch()
if parameters.get("out"):
    bm.records.write(out, parameters=parameters)"""


def notebook(path, parameters, body):
    def cell(source, *tags):
        return {
            "cell_type": "code",
            "source": source,
            "metadata": {"tags": tags},
            "outputs": [],
            "execution_count": None,
        }

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [cell(parameters, "parameters"), cell(body)]
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of two chapters, and its script's functions."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "run.py").write_text(RUN.read_text())
    notebook(tmp_path / "book" / "07-fat.ipynb", PARAMETERS, BODY)
    notebook(tmp_path / "book" / "08-plain.ipynb", PARAMETERS.rsplit("\n", 1)[0], BODY)
    monkeypatch.chdir(tmp_path)
    return runpy.run_path(str(tmp_path / "book" / "run.py"))["run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "epoch", "3"], "no parameter 'epoch': did you mean 'epochs'"),
        (["-y", "{epochs: 3, zebra: 1}"], "no parameter 'zebra': the parameters are epochs, lr, strict, out"),
        (["-p", "epochs", "many"], "'epochs' must be of type int, but is 'many'"),
        (["-r", "lr", "0.2"], "'lr' must be of type float, but is '0.2'"),
    ],
)
def test_what_the_chapter_does_not_know_is_refused_before_it_runs(book, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        book("07", *arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"book"}


def test_a_scan_that_is_not_there_is_refused_before_anything_runs(book, tmp_path):
    """README's own example, with a typo in it."""
    parameters = f'{PARAMETERS}\nscan: str = ""  # a CT\nslice_index: int = -1  # its slice'
    notebook(tmp_path / "book" / "07-fat.ipynb", parameters, BODY)
    with pytest.raises(ValueError, match="my-ct does not exist; the nearest folder that does is"):
        book("07", "-p", "scan", str(tmp_path / "my-ct"), "-p", "slice_index", "42")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "runs").exists()


def test_a_number_that_names_no_chapter(book):
    for number in ("09", "0", "", "/etc", "../book/07", "0*", "[0-9]7", "**"):
        with pytest.raises(ValueError, match="which chapter is .*07-fat, 08-plain"):
            book(number)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [("1", "01-one-number"), ("01", "01-one-number"), ("17", "17-how-fast")])
def test_a_chapter_goes_by_its_number(number, name):
    assert runpy.run_path(str(RUN))["chapter"](number).stem == name


def test_every_run_has_a_folder_of_its_own(book, tmp_path):
    first, second = book("07", "-p", "epochs", "3"), book("08")
    assert first == tmp_path / "runs" / "chapters" / "07-fat" / "1"
    for folder, name in ((first, "07-fat"), (second, "08-plain")):
        assert {path.name for path in folder.iterdir()} == {f"{name}.ipynb", "run.json"}
    assert bm.records.read(first)["parameters"] == {"epochs": 3, "lr": 0.1, "strict": True, "out": str(first)}
    assert book("08") == second.with_name("2")
    (tmp_path / "executed").unlink()
    with pytest.raises(FileExistsError, match=r"run\.json already holds a run"):
        book("07", "-p", "out", str(first))
    assert not (tmp_path / "executed").exists()


def test_on_the_command_line_it_is_one_sentence():
    result = subprocess.run([sys.executable, RUN, "99"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and result.stderr.startswith("which chapter is '99'? Say the number of one of 01-")
    assert "Traceback" not in result.stderr


def test_a_value_that_was_forgotten_runs_nothing(book, tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        book("07", "-p", "epochs")
    assert not (tmp_path / "runs").exists()


def test_help_is_what_the_script_says_of_itself():
    result = subprocess.run([sys.executable, RUN, "--help"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stdout.startswith("Run a chapter with values of your own")


def test_a_terminal_without_utf_8_and_no_home_are_no_traceback(tmp_path):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, RUN, "é"], capture_output=True, env=environment, timeout=300)
    assert result.returncode == 1 and b"which chapter is" in result.stderr and b"Traceback" not in result.stderr
