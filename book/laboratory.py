"""Train the small models of the laboratory page. Run it as `make laboratory`, after a change of phantoms or networks.

Each is an Inspector (model, intervals, what is usual) under `reference/laboratory/KEY`, stored in half precision so
that all three together stay below 1 MB, with a run record and, of one unseen slice, the map after every epoch.
"""

import copy
import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

import biomark as bm

HERE = Path(__file__).resolve().parent / "reference" / "laboratory"
SLICES = {"size": 96, "n_train": 800, "epochs": 7, "batch_size": 8, "decide": 0.1, "smooth": 0.2}
VOLUMES = {"size": 80, "n_train": 500, "epochs": 5, "batch_size": 2, "decide": 0.3, "value_scale": "log"}
SETTINGS = {"sfa": SLICES, "pma": SLICES, "cac": VOLUMES}
WIDTH, SEED, N_CALIBRATE, N_TEST = 8, 0, 150, 100
WATCHED = 4  # number of the test phantom whose maps are kept


def train(key: str) -> None:
    """Train, calibrate, judge and write one model."""
    settings = dict(SETTINGS[key])
    size, n_train = settings.pop("size"), settings.pop("n_train")
    cohort = bm.phantoms.draw(key, n_train, seed=SEED, size=size).without_masks()
    test = bm.phantoms.draw(key, N_TEST, seed=SEED + 1000, size=size)
    torch.manual_seed(SEED)
    model = bm.Localizer(key, backbone="unet", width=WIDTH)

    weights, step, steps = [], itertools.count(), -(-n_train // settings["batch_size"])

    def keep(module: torch.nn.Module, inputs: object) -> None:
        if module.training and next(step) % steps == 0:
            weights.append(copy.deepcopy(module.state_dict()))

    hook = model.register_forward_pre_hook(keep)
    history = bm.fit(model, cohort, seed=SEED, device="cpu", **settings)
    hook.remove()
    model.half().float()  # calibrated and judged as it is stored
    watched = test[WATCHED]
    maps = []
    for state in [*weights, model.state_dict()]:
        then = copy.deepcopy(model)
        maps.append(np.round(255 * then.restore(state).locate(watched).map).astype(np.uint8))

    inspector = bm.Inspector(model, bm.phantoms.draw(key, N_CALIBRATE, seed=SEED + 2000, size=size))
    report = bm.evaluate(model, test)
    print(report)
    shutil.rmtree(HERE / key, ignore_errors=True)
    inspector.model = copy.deepcopy(model).half()
    inspector.save(HERE / key)
    asked = {"size": size, "n_train": n_train, "width": WIDTH, "seed": SEED, "n_calibrate": N_CALIBRATE} | settings
    bm.records.write(HERE / key, parameters=asked, report=report, history=history)
    (HERE / key / "predictions.csv").unlink()
    if test.task.ndim == 2:
        np.savez_compressed(HERE / key / "epochs.npz", maps=np.stack(maps), case=WATCHED, seed=SEED + 1000, size=size)


if __name__ == "__main__":
    for task in sys.argv[1:] or SETTINGS:
        train(task)
