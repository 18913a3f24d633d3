"""book/execute.py: chapters run side by side, what they gave is kept, and a failure stops no other."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache

BOOK = Path(__file__).resolve().parent.parent / "book"


@pytest.fixture
def execute(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    for name in ("execute", "badges"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import execute

    return execute


def run(execute, paths, folder, params=None):
    return execute.execute_all(paths, folder, 60, at_once=2, params=params)


def chapter(folder, name, code, kernel="python3"):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def test_a_failure_is_reported_and_stops_no_other(execute, tmp_path, capsys):
    paths = [chapter(tmp_path, "01-broken", "1 / 0"), chapter(tmp_path, "02-whole", "print(6 * 7)")]
    cache, reports = tmp_path / ".jupyter_cache", tmp_path / "reports"
    assert run(execute, paths, tmp_path) == ["01-broken"]
    assert "ZeroDivisionError" in (reports / "01-broken.log").read_text()
    assert "01-broken" in capsys.readouterr().out
    assert execute.waiting(paths, cache) == [paths[0]]
    _, kept = get_cache(cache).merge_match_into_notebook(nbformat.read(paths[1], 4))
    assert kept.cells[0].outputs[0].text == "42\n"
    # Mended, it leaves nothing to do and no report; words may change without a new run, code may not.
    chapter(tmp_path, "01-broken", "1 / 1")
    assert run(execute, paths, tmp_path) == []
    assert execute.waiting(paths, cache) == [] and not list(reports.glob("*.log"))


def test_a_kernel_that_dies_is_a_failure(execute, tmp_path):
    path = chapter(tmp_path, "03-dies", "import os; os._exit(1)")
    assert run(execute, [path], tmp_path) == ["03-dies"]
    assert "DeadKernel" in (tmp_path / "reports" / "03-dies.log").read_text()


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    """Makes a kernel that dies at its first starts; the file that it gives has a dot for each start."""
    starts, folder = tmp_path / "starts", tmp_path / "kernels" / "flaky"

    def make(bad_starts):
        folder.mkdir(parents=True)
        (folder / "start.py").write_text(
            "import sys\nfrom pathlib import Path\n"
            f"starts = Path({str(starts)!r})\n"
            "starts.write_text((starts.read_text() if starts.exists() else '') + '.')\n"
            f"if len(starts.read_text()) <= {bad_starts}:\n    sys.exit(1)\n"
            "from ipykernel.kernelapp import launch_new_instance\nlaunch_new_instance()\n"
        )
        argv = [sys.executable, str(folder / "start.py"), "-f", "{connection_file}"]
        (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Flaky", "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
        return starts

    return make


@pytest.mark.parametrize(("bad_starts", "failed"), [(1, []), (2, ["05-late"])])
def test_a_kernel_that_never_answers_is_started_once_more(execute, tmp_path, flaky, bad_starts, failed):
    starts = flaky(bad_starts)
    path = chapter(tmp_path, "05-late", "print(6 * 7)", kernel="flaky")
    assert run(execute, [path], tmp_path) == failed
    assert starts.read_text() == ".."
    assert bool(execute.waiting([path], tmp_path / ".jupyter_cache")) == bool(failed)


@pytest.mark.parametrize(("bad_starts", "said"), [(1, "1 passed"), (2, "1 error")])
def test_so_it_is_where_chapters_run_cell_by_cell(tmp_path, flaky, bad_starts, said):
    starts = flaky(bad_starts)
    path = chapter(tmp_path, "05-late", "print(6 * 7)", kernel="flaky")
    asked = ["-p", "tests.kernels", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-kernel-name", "flaky"]
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), *asked, str(path)]
    ran = subprocess.run(command, cwd=BOOK.parent, capture_output=True, text=True)
    assert said in ran.stdout, ran.stdout + ran.stderr
    assert starts.read_text() == ".."


def test_a_cell_that_fails_is_not_run_again(execute, tmp_path):
    runs = tmp_path / "runs"
    path = chapter(tmp_path, "06-fails", f"open({str(runs)!r}, 'a').write('.')\n1 / 0")
    assert run(execute, [path], tmp_path) == ["06-fails"]
    assert runs.read_text() == "."


def test_values_change_what_is_shown_and_not_what_is_read(execute, tmp_path):
    path = chapter(tmp_path, "04-values", "n: int = 1  # how many")
    notebook = nbformat.read(path, 4)
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.cells.append(nbformat.v4.new_code_cell("print(n)"))
    nbformat.write(notebook, path)
    (tmp_path / "04-values.yml").write_text("n: 5\n")
    assert run(execute, [path], tmp_path, params=tmp_path) == []
    _, kept = get_cache(tmp_path / ".jupyter_cache").merge_match_into_notebook(nbformat.read(path, 4))
    assert [cell.source for cell in kept.cells] == ["n: int = 1  # how many", "print(n)"]
    assert kept.cells[1].outputs[0].text == "5\n"


def test_the_longest_chapters_go_first(execute, tmp_path):
    names = ["01-one", "06-six", "08-eight", "laboratory"]
    paths = [chapter(tmp_path, name, f"{number}") for number, name in enumerate(names)]
    assert [path.stem for path in execute.waiting(paths, tmp_path / ".jupyter_cache")] == [
        "08-eight",
        "06-six",
        "01-one",
        "laboratory",
    ]


def test_every_chapter_called_long_is_there(execute):
    assert all(list(BOOK.glob(f"{number}-*.ipynb")) for number in execute.LONGEST)
