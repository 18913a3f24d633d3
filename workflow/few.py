"""What few numbers of another population give: `python workflow/few.py pma`, into book/reference/few-numbers.

The population is one that the models which come with the library have not seen: larger chests, more fat and a harder
kernel (below, all of it ours). From 0, 30, 100 and 500 of its numbers, once from the pretrained model and once from
nothing, with the settings that `biomark train` takes, a model is made and judged on cases that it has not seen. A row
is written as soon as it is known; stopped, the same command goes on. The seeds 100 to 199 are for choosing settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import biomark as bm
from biomark.evaluation import perturbations
from biomark.machine.files import atomic_write
from biomark.records.trained import settings_for

ROOT = Path(__file__).resolve().parent.parent
HALF_WIDTHS_MM = (112.0, 120.0, 128.0)  # of the ribs; the models saw 82 to 118
ADIPOSE_MM = (25.0, 40.0, 55.0)  # of fat at the side; the models saw 5 to 45
SHARPEN = 0.8  # of what a blur of 3 mm takes away; edges overshoot and noise grows


def population(key: str, n: int, seed: int) -> bm.Cohort:
    """Large people in a scanner with a hard kernel, ``n`` of nine sizes; the number is what the task's rule gives."""
    sizes = list(itertools.product(HALF_WIDTHS_MM, ADIPOSE_MM))
    parts = []
    for k, (width, adipose) in enumerate(sizes):
        some = -(-(n - k) // len(sizes))
        if some > 0:
            drawn = bm.phantoms.draw(key, some, seed=1000 * seed + k, half_width_mm=width, adipose_mm=adipose)
            parts.append(perturbations.sharpen(drawn, SHARPEN))
    names = ("images", "weights", "values", "truth", "spacing_mm")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    ids = tuple(itertools.chain.from_iterable(part.ids for part in parts))
    fine = list(itertools.chain.from_iterable(part.fine for part in parts))
    whole = dataclasses.replace(parts[0], **joined, ids=ids, fine=fine, about=None)
    return whole[np.random.default_rng(seed).permutation(n)]


def row(model: bm.Localizer, test: bm.Cohort, **about: object) -> dict:
    """What is said of a model."""
    report = bm.evaluate(model.to("cpu"), test)
    found = {name: getattr(report, name).value for name in ("r", "mae", "bias", "dice")}
    return about | found | {"n_test": len(test)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["pma", "sfa"])
    parser.add_argument("--numbers", type=int, nargs="+", default=[0, 30, 100, 500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--n-test", type=int, default=300)
    parser.add_argument("--into", type=Path, default=ROOT / "book" / "reference" / "few-numbers")
    asked = parser.parse_args()
    file = asked.into / f"{asked.task}.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    done = {(r["seed"], r["start"], r["numbers"]) for r in rows}
    for seed in asked.seeds:
        left = [(start, n) for start in ("pretrained", "nothing") for n in asked.numbers]
        left = [one for one in left if (seed, *one) not in done and one != ("nothing", 0)]
        if not left:
            continue
        test = population(asked.task, asked.n_test, 1000 + seed)
        numbers = population(asked.task, max(asked.numbers), seed).without_masks()
        for start, n in left:
            torch.manual_seed(seed)
            model = bm.pretrained(asked.task) if start == "pretrained" else bm.Localizer(asked.task)
            epochs, began = 0, time.process_time()
            if n:
                how = settings_for(model, n)
                epochs = how["epochs"]
                bm.fit(model, numbers[:n], seed=seed, **how)
            took = time.process_time() - began
            about = {"task": asked.task, "seed": seed, "start": start, "numbers": n, "epochs": epochs}
            rows.append(row(model, test, **about, core_s=took))
            asked.into.mkdir(parents=True, exist_ok=True)
            with atomic_write(file) as partial:
                pd.DataFrame(rows).round(4).to_csv(partial, index=False)
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
