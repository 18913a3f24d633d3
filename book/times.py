"""Measure how long the chapters take, and hold what they say to it: `make times`, or `python book/times.py 06 07`.

Each chapter runs alone at its defaults, one after another as in the book; models start from an empty folder, so that a
chapter finds trained only what an earlier one trained. Seconds of the clock and of the processors go to
`book/reference/times.json`, with the machine, and the heads of the chapters are written from them.

`--check` writes nothing and fails where a chapter takes more than twice, or less than half, of what is kept. `--seed N`
gives every chapter that seed in place of its own: do the claims of the last cells hold for other phantoms?
"""

import argparse
import json
import math
import os
import platform
import re
import resource
import sys
import tempfile
from datetime import date
from pathlib import Path

import joblib
import nbformat
import torch
import yaml

from badges import notebooks
from biomark.machine.devices import resolve_precision
from biomark.machine.files import atomic_write
from execute import execute
from run import values

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "book" / "reference" / "times.json"
STATED = re.compile(
    r"(less than a minute|about a minute|about \d+ minutes) to run on two CPU cores"
)
"""What the head of a chapter says."""
SHORT_S = 20
"""A chapter below it, which mostly starts Python, is not held to a factor."""


def phrase(seconds: float) -> str:
    """What a chapter says of these seconds."""
    if seconds <= 40:
        words = "less than a minute"
    elif seconds <= 80:
        words = "about a minute"
    else:
        words = f"about {max(2, math.ceil(seconds / 60 - 0.25))} minutes"
    return f"{words} to run on two CPU cores"


def machine() -> dict:
    """Where it is measured."""
    names = re.findall(
        r"model name\s*: (.*)",
        Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "",
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": joblib.cpu_count(),
        "precision": resolve_precision("auto", "cpu"),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def used_s() -> float:
    """Seconds of the processors that all processes which have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(paths: list[Path], seed: int | None, timeout: int) -> dict:
    """Seconds of each chapter; a chapter that failed has a report in their place."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BIOMARK_RUNS"] = folder
        given = Path(folder) / "seed.yml"
        given.write_text(yaml.safe_dump({"seed": seed}))
        for path in paths:
            seeded = seed is not None and "seed" in values(path)
            began = used_s()
            _, wall_s, report = execute(path, given if seeded else None, timeout)
            core_s = used_s() - began
            found[path.stem] = {"wall_s": round(wall_s), "core_s": round(core_s)}
            if report:
                found[path.stem]["failed"] = report
            says = f", failed:\n{report[-3000:]}" if report else ""
            print(
                f"{path.stem}: {wall_s:.0f} s, of processors {core_s:.0f} s{says}",
                flush=True,
            )
    return found


def astray(found: dict, kept: dict) -> list[str]:
    """Chapters that take more than twice, or less than half, of the seconds that are kept."""
    said = []
    for name, now in found.items():
        one, two = now["wall_s"], kept.get(name, {"wall_s": 0})["wall_s"]
        if max(one, two) > SHORT_S and not 0.5 <= one / max(two, 1) <= 2:
            said.append(f"{name} took {one} s, and {two} s are kept")
    return said


def write_heads(chapters: dict) -> None:
    """Bring what the chapters say of their time up to what was measured."""
    for path in (ROOT / f"{name}.ipynb" for name in notebooks()):
        if path.stem not in chapters:
            continue
        notebook = nbformat.read(path, 4)
        head, count = STATED.subn(
            phrase(chapters[path.stem]["wall_s"]), notebook.cells[0].source
        )
        if count != 1:
            raise ValueError(
                f"{path.stem}: the first cell does not say, once, how long it runs"
            )
        notebook.cells[0].source = head
        text = json.dumps(
            json.loads(nbformat.writes(notebook)), indent=1, ensure_ascii=False
        )
        path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Measure, and write what succeeded, or check; exit with 1 when a chapter failed or strays."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "chapters", nargs="*", help="beginnings of names; all by default"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare, and write nothing"
    )
    parser.add_argument(
        "--seed", type=int, help="in place of the chapters' own; writes nothing"
    )
    asked = parser.parse_args()
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"][
        "timeout"
    ]
    paths = [ROOT / f"{name}.ipynb" for name in notebooks()]
    if asked.chapters:
        paths = [p for p in paths if p.stem.startswith(tuple(asked.chapters))]
    found = measure(paths, asked.seed, timeout)
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"chapters": {}}
    failed = [name for name, one in found.items() if "failed" in one]
    done = {name: one for name, one in found.items() if name not in failed}
    said = astray(done, kept["chapters"]) if asked.check else []
    if not asked.check and asked.seed is None and done:
        kept = {"machine": machine(), "chapters": kept["chapters"] | done}
        with atomic_write(FILE) as partial:
            partial.write_text(json.dumps(kept, indent=1) + "\n")
        write_heads(kept["chapters"])
    said += [f"{name} failed" for name in failed]
    if said:
        sys.exit(f"Not as it is said: {'; '.join(said)}.")


if __name__ == "__main__":
    main()
