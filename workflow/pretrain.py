"""Make a trained model that comes with the library: `make pretrained`, or `python workflow/pretrain.py pma --seed 10`.

It trains with the task's own settings on as many phantoms as `sweep.yml` says, stores the weights in half precision,
judges what was stored on phantoms that training had not seen, lets an Inspector learn its errors from others, and
writes weights, `inspector.json`, `run.json`, `predictions.csv` and `card.md` to a folder. `--model FILE` takes a model
that was trained already, such as a run of the sweep, whose record beside it says how. Stopped, the same command goes
on.

Figures on real scans stand in `patients.csv` of that folder, a row each, whatever its columns; `--card` writes the card
again with them.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from pathlib import Path

import numpy as np
import torch
import yaml

import biomark as bm
from biomark.records.card import NOT_FOR, PATIENTS, write_card

ROOT = Path(__file__).resolve().parent.parent
SWEEP = yaml.safe_load((ROOT / "workflow" / "sweep.yml").read_text())["settings"]
LARGEST_BYTES = 1_500_000
MOST_CHANGE = 1e-3  # of the mean value, by rounding to half precision


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*bm.TASKS])
    parser.add_argument("--seed", type=int, default=10, help="of phantoms, weights and order; 10 is the sweep's first")
    parser.add_argument("--model", type=Path, help="a trained model.safetensors: nothing is trained")
    parser.add_argument("--into", type=Path, default=ROOT / "book" / "reference" / "pretrained")
    parser.add_argument("--card", action="store_true", help=f"only write the card again, with {PATIENTS}")
    parser.add_argument("--n-train", type=int, help="phantoms to learn from; as in sweep.yml by default")
    parser.add_argument("--n-test", type=int, default=300)
    parser.add_argument("--n-calibrate", type=int, default=300)
    for name, what in {"epochs": "task", "width": "task", "size": "phantom"}.items():
        parser.add_argument(f"--{name}", type=int, help=f"the {what}'s own by default")
    parser.add_argument("--watch", type=int, help="keep the maps of this test phantom after every epoch, in epochs.npz")
    return parser.parse_args()


def train(asked: argparse.Namespace) -> tuple[bm.Localizer, bm.Cohort | None, bm.History | None, list[dict]]:
    """A model, what it was trained on and how, and, where they are to be kept, its weights before each epoch."""
    if asked.model:
        model, beside = bm.load(asked.model), asked.model.with_name("run.json")
        if model.task.key != asked.task or not isinstance(model, bm.Localizer):
            raise SystemExit(f"{asked.model} is a {type(model).__name__} of {model.task.key!r}, not of {asked.task!r}.")
        record = bm.records.read(beside.parent) if beside.is_file() else {"parameters": {}, "training": {}}
        for name in {"seed", "n_train", "epochs"} & record["parameters"].keys():
            setattr(asked, name, record["parameters"][name])
        return model, None, bm.History(**record["training"]) if record["training"] else None, []
    cohort = bm.phantoms.draw(asked.task, asked.n_train, seed=asked.seed, size=asked.size).without_masks()
    torch.manual_seed(asked.seed)
    model = bm.Localizer(asked.task, width=asked.width)
    how = {"epochs": asked.epochs, "seed": asked.seed}
    if asked.watch is None:
        return model, cohort, bm.fit_once(model, cohort, **how), []
    kept, step, steps = [], itertools.count(), -(-asked.n_train // model.task.settings.batch_size)

    def keep(module: torch.nn.Module, inputs: object) -> None:
        if module.training and next(step) % steps == 0:
            kept.append(copy.deepcopy(module.state_dict()))

    hook = model.register_forward_pre_hook(keep)
    history = bm.fit(model, cohort, **how)
    hook.remove()
    return model, cohort, history, kept


def halve(model: bm.Localizer, test: bm.Cohort) -> float:
    """Round the weights to what is stored; how far that moved the values of the first cases, as a share of their mean.

    Half precision, not bfloat16: at 50 phantoms or fewer it moved them by up to 0.05 %, and bfloat16 by 0.7 % (liver).
    """
    few = [test[i] for i in range(min(30, len(test)))]
    before = np.array([model.locate(case).value for case in few])
    model.half().float()
    after = np.array([model.locate(case).value for case in few])
    change = float(np.abs(after - before).mean() / max(before.mean(), 1e-6))
    if change > MOST_CHANGE:
        raise SystemExit(f"half precision moves the values by {change:.2%}, more than {MOST_CHANGE:.1%}.")
    return change


def describe(asked: argparse.Namespace, model: bm.Localizer, change: float) -> tuple[dict, dict]:
    """What the record says of how it was made, and what the card says in words."""
    usual, first = model.task.settings, asked.seed
    parameters = {name: getattr(asked, name) for name in ("n_train", "n_test", "n_calibrate", "seed", "epochs")}
    parameters |= {"size": asked.size or bm.phantoms.SIZE[asked.task], "batch_size": usual.batch_size}
    parameters |= {**vars(usual.loss), **vars(usual.optimizer), "backbone": model.backbone_name, "width": model.width}
    parameters |= {"depth": model.depth, "fold": [*model.fold], "stored": "float16"}
    about = {
        "data": "Phantoms drawn by the library, and one number each: "
        f"`bm.phantoms.draw({asked.task!r}, n={asked.n_train}, seed={first}, size={parameters['size']})`. No patient. "
        f"The weights are stored in half precision, which moves the values by {change:.3%} of their mean.",
        "tested": f"phantoms of seed {first + 1000}",
        "calibrated": f"{asked.n_calibrate} phantoms of seed {first + 2000}",
        "not_for": [*NOT_FOR, "Figures on phantoms as a promise for patients."],
    }
    return parameters, about


def main() -> None:
    """Train or take the model, judge it, and write all that belongs to it."""
    asked = arguments()
    folder = asked.into / asked.task
    if asked.card:
        print(write_card(folder))
        return
    asked.n_train = asked.n_train or SWEEP[asked.task]["n_train"]
    asked.epochs = asked.epochs or bm.TASKS[asked.task].settings.epochs
    model, cohort, history, kept = train(asked)
    model.to("cpu")
    test = bm.phantoms.draw(asked.task, asked.n_test, seed=asked.seed + 1000, size=asked.size)
    change = halve(model, test)
    report = bm.evaluate(model, test)
    print(report)
    others = bm.phantoms.draw(asked.task, asked.n_calibrate, seed=asked.seed + 2000, size=asked.size)
    inspector = bm.Inspector(model, others)
    inspector.model = copy.deepcopy(model).half()
    inspector.save(folder)
    weights = folder / "model-0.safetensors"
    if weights.stat().st_size > LARGEST_BYTES:
        raise SystemExit(f"{weights} has {weights.stat().st_size} bytes, more than {LARGEST_BYTES}: it cannot ship.")
    parameters, about = describe(asked, model, change)
    result = {"report": report, "history": history, "data": (test,) if cohort is None else (cohort, test)}
    extra = {"about": about, "change_by_rounding": change}
    bm.records.write(folder, parameters=parameters, **result, extra=extra, overwrite=True)
    if kept:
        states = [*kept, model.state_dict()]
        maps = [copy.deepcopy(model).restore(state).locate(test[asked.watch]).map for state in states]
        of = {"case": asked.watch, "seed": asked.seed + 1000, "size": parameters["size"]}
        np.savez_compressed(folder / "epochs.npz", maps=np.round(255 * np.stack(maps)).astype(np.uint8), **of)
    print(write_card(folder))


if __name__ == "__main__":
    main()
