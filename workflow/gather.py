"""Gathers the run records below a folder: `python workflow/gather.py runs/sweep/full [KEPT]`.

Writes into that folder, or into KEPT with a copy of the records (without models, notebooks and logs), for the book:

- results.csv: one row a run, with parameters, measures, intervals, cost and origin;
- comparisons.csv: one row a question, with the one answer that `biomark.evaluation.protocol` gives to it;
- post_hoc.csv: the post hoc maps of each direct regressor, beside the localizers on the same phantoms;
- results.json: all three.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import biomark as bm
from biomark.evaluation import protocol
from biomark.machine.files import atomic_write

METHODS = ["localizer", "segmenter", "size_constrained", "direct"]  # a pair is given in this order
RUN = ["task", "method", "backbone", "n_train", "seed"]  # what names a run
SAME_TEST = ["task", "n_train", "seed", "n_test", "size", "slices"]  # runs that agree in these can be compared


def result(root: Path, folder: Path) -> dict:
    """One row of the table: what was asked, what came out, what it cost, and by which code."""
    record = bm.records.read(folder)
    asked, training = record["parameters"], record["training"]
    kinds = dict(zip(RUN, (str, str, str, int, int), strict=True)) | dict.fromkeys(("n_test", "size"), (int, float))
    for name, kind in kinds.items():
        if not isinstance(asked.get(name, 0 if name in SAME_TEST else None), kind):
            raise ValueError(f"its {name} is {asked.get(name)!r}")
    return {
        **{name: asked[name] for name in RUN},
        **{name: value for name, value in record["metrics"].items() if name != "task"},
        **{name: value for name, value in asked.items() if name not in (*RUN, "device", "out")},
        **{f"{part}_s": seconds for part, seconds in record["extra"].get("seconds", {}).items()},
        "seconds": sum(record["extra"].get("seconds", {"training": sum(training["seconds"])}).values()),
        "training_core_s": record["extra"].get("training_core_s"),
        "loss": training["loss"][-1],
        "device": training["device"],
        "precision": training["precision"],
        **{name: record["machine"].get(name) for name in ("peak_memory_mib", "peak_gpu_memory_mib")},
        **{name: record[name] for name in ("created", "code_digest", "git_commit", "data_digest")},
        **{name: record["versions"].get(name) for name in ("python", "torch")},
        "folder": folder.relative_to(root).as_posix(),
    }


def compared(results: pd.DataFrame, explained: pd.DataFrame) -> pd.DataFrame:
    """The answer to each question; what cannot be compared is said."""
    again = results.duplicated(RUN)
    for run in results[again].itertuples():
        print(f"{run.folder} is left out of the comparisons: a like run with other settings stands before it.")
    for (task, n_train, seed), group in results.groupby(["task", "n_train", "seed"]):
        if group.data_digest.nunique() > 1:
            print(f"{task}, n{n_train}, seed {seed}: left out of the comparisons are runs on other phantoms.")
    return protocol.answers(results[~again], explained)


def post_hoc(root: Path, read: dict[str, bm.Report], results: pd.DataFrame) -> pd.DataFrame:
    """The best post hoc map of each method, and by how much a localizer's Dice is above it on the same phantoms."""
    rows = []
    for _, group in results.groupby(SAME_TEST, sort=False):
        for direct in group[group.method == "direct"].itertuples():
            explained = bm.records.read(root / direct.folder)["extra"].get("post_hoc", {})
            for method, found in explained.items():
                theirs = np.array(found.pop("dices"), float)
                row = {name: getattr(direct, name) for name in RUN if name != "method"}
                row |= {"method": method, **found, "n": len(theirs)}
                for localizer in group[group.method == "localizer"].itertuples():
                    ours = read[localizer.folder].cases.dice.to_numpy()[: len(theirs)]
                    known = ~np.isnan(ours)
                    above = bm.statistics.mean((ours - theirs)[known])
                    rows.append(
                        row
                        | {"localizer": localizer.backbone, "localizer_dice": ours[known].mean()}
                        | {"difference": above.value, "difference_low": above.low, "difference_high": above.high}
                    )
                if not (group.method == "localizer").any():
                    rows.append(row)
    return pd.DataFrame(rows)


def summary(results: pd.DataFrame) -> str:
    """Means over seeds, to look at."""
    by = ["task", "n_train", "method", "backbone"]
    means = results.groupby(by, sort=False)[["r", "mae", "dice", "energy_in_mask", "seconds"]].mean()
    return means.assign(seeds=results.groupby(by, sort=False).size()).round(3).to_string()


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def keep(root: Path, kept: Path) -> None:
    """Copy the records, not the models, of all runs below a folder."""
    for record in root.glob("**/run.json"):
        folder = kept / record.parent.relative_to(root)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("predictions.csv", "run.json"):
            if record.with_name(name).is_file():  # else gather says what is wrong with it
                shutil.copyfile(record.with_name(name), folder / name)


def gather(root: Path) -> None:
    """Read all runs below the folder and write the tables into it."""
    rows, read = [], {}
    for path in sorted(root.glob("**/run.json")):
        try:
            row = result(root, path.parent)
            read[row["folder"]] = bm.Report.read(path.parent)
            rows.append(row)
        # One that is damaged in whatever way, or a record of something else, is no reason to lose the table.
        except Exception as error:
            print(f"left out: {path.parent.relative_to(root)} ({type(error).__name__}: {error})")
    if not rows:
        print(f"{root} holds no finished run: there is nothing to gather.")
        return
    results = pd.DataFrame(rows).sort_values(RUN, key=ranked, ignore_index=True)
    for name in SAME_TEST:
        if name not in results:  # of a time before this parameter, whose usual value 0 is
            results[name] = 0
        results[name] = results[name].fillna(0)
    explained = post_hoc(root, read, results)
    tables = {"results": results, "comparisons": compared(results, explained), "post_hoc": explained}
    for name, table in tables.items():
        # Names of columns make a file that can be read where there are no rows.
        write(root / f"{name}.csv", (table if len(table) else pd.DataFrame(columns=RUN)).to_csv(index=False))
    # JSON has null for what is nan. (pandas' own JSON rounds a p of 1e-12 to 0.)
    plain = {k: t.astype(object).where(t.notna(), None).to_dict("records") for k, t in tables.items()}
    write(root / "results.json", json.dumps(plain, indent=1))
    print(summary(results))
    if results.code_digest.nunique() > 1:
        print("The runs are of different versions of the library (code_digest): remove the older ones and run again.")


def ranked(column: pd.Series) -> pd.Series:
    """Methods in their own order and others after them, the rest by value."""
    return (
        column.map(lambda m: (METHODS.index(m) if m in METHODS else len(METHODS), m))
        if column.name == "method"
        else column
    )


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if len(sys.argv) == 3:
        keep(Path(sys.argv[1]), Path(sys.argv[2]))
    gather(Path(sys.argv[-1]))
