"""A model card: what a trained model is for, what it learned from, how it did, and what it must not be used for."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biomark.machine.files import atomic_write, expand
from biomark.records import run
from biomark.tasks import TASKS

PATIENTS = "patients.csv"
"""What was measured on real scans, a row each, in a file beside a model; its columns are the card's."""

NOT_FOR = (
    "Any decision on a patient: it is no medical device, and nobody has shown that it is safe.",
    "Scans that its inspector calls unlike, contrast where its task has none, parts of the body that it never saw.",
    "A number that nobody looks at: open the map, for a plausible sum can be made of the wrong voxels.",
)

_FIGURES = {
    "r": "r",
    "ccc": "concordance (CCC)",
    "mae": "mean absolute error",
    "bias": "bias",
    "dice": "Dice",
    "dice_candidates": "Dice of all candidates",
    "energy_in_mask": "energy in mask",
    "lesion_f1": "F1 of lesions",
    "kappa": "kappa of risk groups",
}


def write_card(folder: str | os.PathLike) -> Path:
    """Write ``card.md`` beside a model, from its run record and, where there is one, ``patients.csv``.

    Args:
        folder: Of a run whose ``extra`` has ``about``: ``data`` (a sentence), ``tested`` (on what, in a few words) and
            ``not_for`` (sentences).

    Returns:
        The card's path.
    """
    folder = expand(folder)
    record, patients = run.read(folder), []
    if (folder / PATIENTS).is_file():
        with open(folder / PATIENTS, newline="", encoding="utf-8") as file:
            patients = [row for row in csv.reader(file) if any(row)]
    with atomic_write(folder / "card.md") as partial:
        partial.write_text(_card(record, patients), encoding="utf-8")
    return folder / "card.md"


def _card(record: Mapping[str, Any], patients: Sequence[Sequence[str]]) -> str:
    """The text; of patients the names of the columns first, then a row each."""
    metrics, about, asked = record["metrics"], record["extra"]["about"], record["parameters"]
    task, made = TASKS[metrics["task"]], record["versions"]
    of = [f"The 90 % intervals of its inspector come from {about['calibrated']}."] if "calibrated" in about else []
    lines = [
        f"# {task.name.capitalize()} [{task.unit}]",
        f"A localizer of `biomark` {made['biomark']} for the task `{task.key}`: it says which of the candidate voxels "
        "belong, and their weights add up to the value. No mask was used in training.",
        "## What it learned from",
        about["data"],
        _table(("setting", "value"), [(name, str(value)) for name, value in asked.items()]),
        f"## On {about['tested']}",
        f"{metrics['n']} cases that training had not seen; 95 % intervals.",
        _table(("figure", "value", "from", "to"), _figures(metrics, task.unit)),
        *of,
        "## On real scans, one row each",
        _table(patients[0], patients[1:]) if patients else "None was measured.",
        "## Not for",
        "\n".join(f"- {sentence}" for sentence in about["not_for"]),
        "## How it was made",
        f"{record['created']}, code {record['code_digest']}, data {record['data_digest']}, commit "
        f"{record['git_commit'] or 'unknown'}, torch {made['torch']}. `run.json` has the rest.",
    ]
    return "\n\n".join(lines) + "\n"


def _figures(metrics: Mapping[str, Any], unit: str) -> list[tuple[str, ...]]:
    rows = []
    for key, name in _FIGURES.items():
        numbers = [metrics.get(k) for k in (key, f"{key}_low", f"{key}_high")]
        if numbers[0] is not None:
            named = f"{name} [{unit}]" if key in ("mae", "bias") else name
            rows.append((named, *("" if x is None else f"{x:.3g}" if abs(x) >= 1 else f"{x:.3f}" for x in numbers)))
    return rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
