"""Train the small model of the laboratory page. Run it as `make laboratory`, after a change of phantoms or networks.

It is an Inspector (model, intervals, what is usual) under `reference/laboratory/sfa`, its weights in half precision,
with a run record and, of one unseen slice, the map after every epoch. Minutes on two CPU cores.
"""

import copy
import itertools
import shutil
from pathlib import Path

import numpy as np
import torch

import biomark as bm

KEY = "sfa"
FOLDER = Path(__file__).resolve().parent / "reference" / "laboratory" / KEY
SIZE, N_TRAIN, N_CALIBRATE, N_TEST = 96, 800, 150, 100
WIDTH, SEED = 8, 0
SETTINGS = {"epochs": 7, "batch_size": 8, "decide": 0.1, "smooth": 0.2, "seed": SEED}
WATCHED = 4  # number of the test phantom whose maps are kept


def main() -> None:
    """Train, calibrate, judge and write the model."""
    train = bm.phantoms.draw(KEY, N_TRAIN, seed=SEED, size=SIZE).without_masks()
    test = bm.phantoms.draw(KEY, N_TEST, seed=SEED + 1000, size=SIZE)
    torch.manual_seed(SEED)
    model = bm.Localizer(KEY, backbone="unet", width=WIDTH)

    weights, step, steps = [], itertools.count(), -(-N_TRAIN // SETTINGS["batch_size"])

    def keep(module: torch.nn.Module, inputs: object) -> None:
        if module.training and next(step) % steps == 0:
            weights.append(copy.deepcopy(module.state_dict()))

    hook = model.register_forward_pre_hook(keep)
    history = bm.fit(model, train, device="cpu", **SETTINGS)
    hook.remove()
    model.half().float()  # calibrated and judged as it is stored
    watched = test[WATCHED]
    maps = []
    for state in [*weights, model.state_dict()]:
        then = copy.deepcopy(model)
        maps.append(np.round(255 * then.restore(state).locate(watched).map).astype(np.uint8))

    inspector = bm.Inspector(model, bm.phantoms.draw(KEY, N_CALIBRATE, seed=SEED + 2000, size=SIZE))
    report = bm.evaluate(model, test)
    print(report)
    shutil.rmtree(FOLDER, ignore_errors=True)
    inspector.model = copy.deepcopy(model).half()
    inspector.save(FOLDER)
    asked = {"size": SIZE, "n_train": N_TRAIN, "width": WIDTH, "n_calibrate": N_CALIBRATE} | SETTINGS
    bm.records.write(FOLDER, parameters=asked, report=report, history=history)
    (FOLDER / "predictions.csv").unlink()
    np.savez_compressed(FOLDER / "epochs.npz", maps=np.stack(maps), case=WATCHED, seed=SEED + 1000, size=SIZE)


if __name__ == "__main__":
    main()
