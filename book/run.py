"""Run a chapter with values of your own: `make run CHAPTER=07 ARGS="-p seed 3"`, or `python book/run.py 07 -p seed 3`.

What comes after the chapter's number goes to papermill as it is. A name that the chapter does not know, or a value of
another type, is refused before anything runs: papermill itself would only print a line. Every run gets a folder of its
own, runs/chapters/NAME/1, 2, 3 ..., or the one that `-p out FOLDER` names. It holds the executed notebook, run.json
and, of a chapter with the parameter `out`, predictions.csv and the model.

The values given stand in run.json and in the notebook, paths too. Where a folder is named after a patient, keep its name
out: go there first and give the path from there on (`cd FOLDER; python .../book/run.py 14 -p manifest sheet.csv`), and
let `out` be a folder elsewhere.
"""

import ast
import builtins
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import biomark as bm

ROOT = Path(__file__).resolve().parent.parent


def chapter(number: str) -> Path:
    """The notebook whose name begins like this."""
    every = sorted((ROOT / "book").glob("*.ipynb"))
    # 1 is chapter 1, though 10 to 17 begin so as well.
    start = number.zfill(2) if number.isdigit() else number
    found = [path for path in every if path.stem.startswith(start)]
    if len(found) != 1 or not number:
        names = [path.stem for path in found or every if path.stem[0].isdigit()]
        raise ValueError(
            f"which chapter is {number!r}? Say the number of one of {', '.join(names)}."
        )
    return found[0]


def values(notebook: Path) -> dict:
    """What the parameters cell declares and papermill injected, as the notebook itself would see them."""
    namespace = {"__annotations__": {}}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if {"parameters", "injected-parameters"} & set(
            cell["metadata"].get("tags", [])
        ):
            for line in ast.parse("".join(cell["source"])).body:
                if isinstance(line, ast.AnnAssign):
                    namespace["__annotations__"][line.target.id] = getattr(
                        builtins, line.annotation.id
                    )
                name = (
                    line.target
                    if isinstance(line, ast.AnnAssign)
                    else line.targets[0]
                )
                namespace[name.id] = ast.literal_eval(line.value)
    return namespace


def free_folder(parent: Path) -> Path:
    """The first of parent/1, parent/2 ... that does not exist; it is made, so that no other run takes it."""
    number = 1
    while True:
        try:
            (parent / str(number)).mkdir(parents=True)
            return parent / str(number)
        except FileExistsError:
            number += 1


def run(number: str, *arguments: str) -> Path:
    """Check the values, execute the chapter, and return its folder.

    Raises:
        ValueError: There is no such chapter, parameter or type.
        FileExistsError: The folder already holds a run.
        OSError: The folder cannot be written to.
        subprocess.CalledProcessError: papermill, or a cell, failed.
    """
    source = chapter(number)
    papermill = [sys.executable, "-m", "papermill", str(source)]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / source.name
        only = ["--prepare-only", "--log-level", "ERROR", "--no-progress-bar"]
        # Ours first: where a value was forgotten at the end, papermill must not take one of them for it.
        subprocess.run([*papermill, str(prepared), *only, *arguments], check=True)
        given = bm.records.parameters(values(prepared))
    out = Path(
        given.get("out") or free_folder(ROOT / "runs" / "chapters" / source.stem)
    ).resolve()
    out.mkdir(parents=True, exist_ok=True)
    where = ["-r", "out", str(out)] if "out" in given else []
    subprocess.run(
        [*papermill, str(out / source.name), *arguments, *where], check=True
    )
    if not where:
        bm.records.write(out, parameters=given)
    return out


if __name__ == "__main__":
    # A terminal without UTF-8 shows a chapter's name with "?" in it instead of a traceback.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    if {"-h", "--help"} & set(sys.argv[1:2]):
        print(__doc__)
        sys.exit()
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        print(f"The executed chapter is in {run(*sys.argv[1:])}")
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
