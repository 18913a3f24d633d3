"""A reporting table by CLAIM, the checklist for artificial intelligence in medical imaging, from a run's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

AUTHORS = "to be written by the authors"
"""Answer to an item on which a record has nothing."""

ITEMS = {
    1: ("title", "names AI and its kind, such as deep learning"),
    2: ("abstract", "design, methods, results and conclusions in short"),
    3: ("introduction", "background, and what the AI is meant for"),
    4: ("introduction", "aims and hypotheses"),
    5: ("study design", "prospective or retrospective"),
    6: ("study design", "goal of the study"),
    7: ("data", "where the data come from"),
    8: ("data", "who was included and who was not"),
    9: ("data", "preprocessing"),
    10: ("data", "parts of the data that were selected"),
    11: ("data", "de-identification"),
    12: ("data", "missing data"),
    13: ("data", "how images were acquired"),
    14: ("reference standard", "how it was obtained"),
    15: ("reference standard", "why it was chosen"),
    16: ("reference standard", "who annotated"),
    17: ("reference standard", "how the test set was annotated"),
    18: ("reference standard", "variability within and between annotators"),
    19: ("partitions", "how cases were assigned"),
    20: ("partitions", "level at which they are disjoint, such as patients"),
    21: ("test data", "intended number of cases, and why"),
    22: ("model", "description"),
    23: ("model", "software"),
    24: ("model", "initial parameters"),
    25: ("training", "details"),
    26: ("training", "how the final model was selected"),
    27: ("training", "ensembles"),
    28: ("evaluation", "metrics"),
    29: ("evaluation", "statistical significance and uncertainty"),
    30: ("evaluation", "robustness or sensitivity"),
    31: ("evaluation", "explanation or interpretation"),
    32: ("evaluation", "on internal data"),
    33: ("evaluation", "on external data"),
    34: ("evaluation", "registration of a clinical trial"),
    35: ("results: data", "cases included and excluded"),
    36: ("results: data", "characteristics of the cases in each partition"),
    37: ("results: performance", "metrics with their uncertainty"),
    38: ("results: performance", "diagnostic performance and its precision"),
    39: ("results: performance", "analysis of failures"),
    40: ("discussion", "limitations"),
    41: ("discussion", "what it means for practice"),
    42: ("other", "protocol or further technical details"),
    43: ("other", "availability of software, model and data"),
    44: ("other", "funding"),
}
"""Section and content of the 2024 update's items, reworded (Tejani et al., Radiol. Artif. Intell. 6 (2024) e240300)."""

_TRAINING = ("epochs", "batch_size", "accumulate", "optimizer", "lr", "prior", "value_scale", "binarity")
_MODEL = ("method", "backbone", "width", "depth", "fold", "size")
_WHOLE = (23, 28, 37)  # items that ask for nothing but what a record holds


def table(record: Mapping[str, Any]) -> pd.DataFrame:
    """What a run's record, from :func:`biomark.records.read`, answers to CLAIM 2024, and what remains to be written.

    Returns:
        One row an item, with ``section``, ``asks``, ``answer`` and ``source``, which is ``"record"``,
        ``"record, in part"`` (it has no reasons) or :data:`AUTHORS`.

    Raises:
        ValueError: It is no run's record.
    """
    missing = {"parameters", "metrics", "training", "versions"} - set(record)
    if missing:
        raise ValueError(
            f"this is not a run's record, it has no {', '.join(sorted(missing))}: give records.read(folder)."
        )
    answers = _answers(record)
    rows = {}
    for item, (section, asks) in ITEMS.items():
        source = "record" if item in _WHOLE else "record, in part"
        answer, source = (answers[item], source) if answers.get(item) else (AUTHORS, AUTHORS)
        rows[item] = {"section": section, "asks": asks, "answer": answer, "source": source}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("item")


def _answers(record: Mapping[str, Any]) -> dict[int, str]:
    """What a record says, by item; empty where it says nothing."""
    asked, metrics, run = (record[name] or {} for name in ("parameters", "metrics", "training"))
    tested = metrics.get("n") or asked.get("n_test")
    cases = _listed({"cases for training": asked.get("n_train"), "cases for testing": tested})
    passes = len(run.get("loss") or ())
    intervals = [name for name in metrics if f"{name}_low" in metrics]
    results = [name for name in metrics if _is_result(name, metrics)]
    training = {name: asked.get(name) for name in _TRAINING} | {name: run.get(name) for name in ("device", "precision")}
    if passes:
        last, seconds = run["loss"][-1], sum(run.get("seconds") or ())
        training |= {"passes": passes, "last loss": last and f"{last:.4g}", "seconds": seconds and f"{seconds:.0f}"}
    origin = {name.replace("_", " "): record.get(name) for name in ("git_commit", "code_digest", "data_digest")}
    return {
        7: _listed({"fingerprint of the data": record.get("data_digest")}),
        19: cases and cases + _listed({"; seed": asked.get("seed")}),
        21: _listed({"cases for testing, in fact": tested}),
        22: _listed({"task": metrics.get("task"), **{name: asked.get(name) or None for name in _MODEL}}),
        23: _listed((record["versions"] or {}) | {"on": (record.get("machine") or {}).get("platform")}),
        24: _listed({"random, from seed": asked.get("seed")}),
        25: _listed(training),
        26: f"the weights after the last of {passes} passes" if passes else "",
        28: ", ".join(results),
        29: f"95 % intervals of {', '.join(intervals)}" if intervals else "",
        32: _listed({"cases that training did not see": metrics.get("n")}),
        35: cases,
        37: ", ".join(_with_interval(name, metrics) for name in results),
        38: _with_interval("kappa", metrics) if metrics.get("kappa") is not None else "",
        43: _listed(origin),
    }


def _is_result(name: str, metrics: Mapping[str, Any]) -> bool:
    """Neither a label, nor an end of another number's interval, nor unknown."""
    ends = any(name.endswith(end) and name.removesuffix(end) in metrics for end in ("_low", "_high"))
    return not ends and name != "n" and isinstance(metrics[name], (int, float))


def _with_interval(name: str, metrics: Mapping[str, Any]) -> str:
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    between = f" ({low:.4g} to {high:.4g})" if low is not None and high is not None else ""
    return f"{name} {metrics[name]:.4g}{between}"


def _listed(values: Mapping[str, Any]) -> str:
    """What is known, in one line."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, ""))
