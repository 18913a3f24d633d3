"""Execute the chapters that the cache does not hold yet, two at a time; `make book` does it before it builds the pages.

With `--params FOLDER` the chapters run with the values of FOLDER/NAME.yml, and the pages show what came of these; the
cells shown stay as they are. `make preview` does so with the smallest values.

One training leaves half of two processors waiting, because drawing, measuring and plotting run on one. Two chapters
side by side, each with its share of the processors, finish sooner. The results go where Jupyter Book looks for them,
so that it has only pages left to build. A chapter that fails stops no other; its report stays in `_build/reports`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import joblib
import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from badges import notebooks

ROOT = Path(__file__).resolve().parent.parent
LONGEST = ("08", "09", "06", "07")
"""Chapters that train for minutes go first, or the last of them would run alone."""
UNANSWERED = ("Kernel died before replying", "Kernel didn't respond in")
"""How jupyter_client says that a kernel never answered. Of two that start at the same moment, one may find its ports
taken by the other; it happens about once in a thousand starts, and says nothing about the chapter."""


def waiting(paths: list[Path], cache: Path) -> list[Path]:
    """The notebooks whose code the cache does not know, those first that take longest."""
    kept, unknown = get_cache(cache), []
    for path in paths:
        try:
            kept.match_cache_notebook(nbformat.read(path, 4))
        except KeyError:
            unknown.append(path)
    return sorted(
        unknown, key=lambda path: (LONGEST + (path.name[:2],)).index(path.name[:2])
    )


def execute(
    path: Path, values: Path | None, timeout: int
) -> tuple[nbformat.NotebookNode, float, str]:
    """A notebook executed in its folder, the seconds it took, and the report of what stopped it, or an empty text."""
    notebook, started = nbformat.read(path, 4), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "papermill",
            path,
            Path(folder) / path.name,
            "--cwd",
            path.parent,
        ]
        command += [
            "--no-progress-bar",
            "--execution-timeout",
            str(timeout),
            *(("-f", values) if values else ()),
        ]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode and any(
            words in ran.stderr for words in UNANSWERED
        ):  # no cell has begun: once more
            ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode == 0:
            run = nbformat.read(Path(folder) / path.name, 4)
            # The cache knows a notebook by its code and its cells' metadata, so what it gets is what was read.
            cells = [
                cell
                for cell in run.cells
                if "injected-parameters" not in cell.metadata.get("tags", [])
            ]
            for cell, done in zip(notebook.cells, cells, strict=True):
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = (
                        done.outputs,
                        done.execution_count,
                    )
            kept = {
                name: run.metadata[name]
                for name in ("language_info", "widgets")
                if name in run.metadata
            }
            notebook.metadata |= kept
    return (
        notebook,
        time.perf_counter() - started,
        ran.stderr if ran.returncode else "",
    )


def execute_all(
    paths: list[Path],
    build: Path,
    timeout: int,
    at_once: int,
    params: Path | None = None,
) -> list[str]:
    """Execute what waits and put the outputs into the cache below a folder; the names of those that failed."""
    cache, reports, failed = build / ".jupyter_cache", build / "reports", []
    todo, pool = waiting(paths, cache), ThreadPoolExecutor(at_once)
    if todo:
        print(
            f"    {len(todo)} chapters, {at_once} at a time, the longest first; a line as each is done",
            flush=True,
        )
    values = {
        path: params / f"{path.stem}.yml" if params else None for path in todo
    }
    # A chapter without parameters of that kind runs with its own.
    jobs = {
        pool.submit(execute, p, v if v and v.exists() else None, timeout): p
        for p, v in values.items()
    }
    try:
        for job in as_completed(jobs):
            path, (notebook, seconds, report) = jobs[job], job.result()
            (reports / f"{path.stem}.log").unlink(missing_ok=True)
            if report:
                failed.append(path.stem)
                reports.mkdir(parents=True, exist_ok=True)
                (reports / f"{path.stem}.log").write_text(report, encoding="utf-8")
            else:
                bundle = CacheBundleIn(
                    notebook, str(path), data={"execution_seconds": seconds}
                )
                get_cache(cache).cache_notebook_bundle(
                    bundle, check_validity=False, overwrite=True
                )
            print(
                f"    {path.stem}: {seconds:.0f} s{', failed' if report else ''}",
                flush=True,
            )
    finally:  # after Ctrl-C, which also stops the chapters that run, no other begins
        pool.shutdown(cancel_futures=True)
    return sorted(failed)


def main() -> None:
    """Execute what waits; exit with 1 when a chapter failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--build",
        type=Path,
        default=ROOT / "_build",
        help="folder that Jupyter Book builds in",
    )
    parser.add_argument(
        "--params", type=Path, help="folder of values, a file for each chapter"
    )
    asked = parser.parse_args()
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))[
        "execute"
    ]["timeout"]
    at_once = min(2, joblib.cpu_count())
    share = str(joblib.cpu_count() // at_once)
    # The first is heard by PyTorch, the second by what draws phantoms; a value of the user's own stands.
    os.environ.setdefault("OMP_NUM_THREADS", share)
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", share)
    paths = [ROOT / f"{name}.ipynb" for name in notebooks()]
    failed = execute_all(paths, asked.build, timeout, at_once, asked.params)
    if failed:
        sys.exit(
            f"These chapters failed: {', '.join(failed)}. What stopped each is in {asked.build / 'reports'}."
        )


if __name__ == "__main__":
    main()
