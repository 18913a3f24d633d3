"""Train the small models of the laboratory page. Run it as `make laboratory`, after a change of phantoms or networks.

Each is an Inspector (model, intervals, what is usual) under `reference/laboratory`, its weights in half precision, with
a run record; with that of fat comes, of one unseen slice, the map after every epoch. A quarter of an hour on two
slow CPU cores. `python book/laboratory.py cac` trains one of them.
"""

import copy
import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

import biomark as bm

HOME = Path(__file__).resolve().parent / "reference" / "laboratory"
SEED, N_CALIBRATE, N_TEST = 0, 150, 100
PLANS = {  # all else as the task says; narrower networks, so that they ship with the library
    "sfa": {"size": 96, "width": 12, "n_train": 800, "epochs": 10},
    "cac": {"size": 80, "width": 8, "n_train": 800, "epochs": 4},
}
WATCHED = {"sfa": 4}  # task: number of the test phantom whose maps are kept


def train(key: str) -> None:
    """Train, calibrate, judge and write the model of one task."""
    size, width, n_train, epochs = PLANS[key].values()
    usual = bm.TASKS[key].settings
    cohort = bm.phantoms.draw(key, n_train, seed=SEED, size=size).without_masks()
    test = bm.phantoms.draw(key, N_TEST, seed=SEED + 1000, size=size)
    torch.manual_seed(SEED)
    model = bm.Localizer(key, width=width)

    weights, step, steps = (
        [],
        itertools.count(),
        -(-n_train // usual.batch_size),
    )

    def keep(module: torch.nn.Module, inputs: object) -> None:
        if module.training and next(step) % steps == 0:
            weights.append(copy.deepcopy(module.state_dict()))

    hook = model.register_forward_pre_hook(keep)
    history = bm.fit(model, cohort, epochs=epochs, seed=SEED, device="cpu")
    hook.remove()
    model.half().float()  # calibrated and judged as it is stored
    inspector = bm.Inspector(
        model, bm.phantoms.draw(key, N_CALIBRATE, seed=SEED + 2000, size=size)
    )
    report = bm.evaluate(model, test)
    print(report)

    folder = HOME / key
    shutil.rmtree(folder, ignore_errors=True)
    inspector.model = copy.deepcopy(model).half()
    inspector.save(folder)
    asked = PLANS[key] | {"n_calibrate": N_CALIBRATE, "seed": SEED}
    asked |= {
        "batch_size": usual.batch_size,
        **vars(usual.loss),
        **vars(usual.optimizer),
    }
    asked |= {
        "backbone": usual.backbone,
        "depth": usual.depth,
        "fold": [*usual.fold],
    }
    bm.records.write(
        folder,
        parameters=asked,
        report=report,
        history=history,
        data=(cohort, test),
    )
    (folder / "predictions.csv").unlink()
    if key in WATCHED:
        watched = test[WATCHED[key]]
        states = [*weights, model.state_dict()]
        maps = [
            np.round(255 * copy.deepcopy(model).restore(state).locate(watched).map)
            for state in states
        ]
        kept = {"case": WATCHED[key], "seed": SEED + 1000, "size": size}
        np.savez_compressed(
            folder / "epochs.npz", maps=np.stack(maps).astype(np.uint8), **kept
        )


if __name__ == "__main__":
    for key in sys.argv[1:] or PLANS:
        train(key)
