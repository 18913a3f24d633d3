"""How long each method and each recipe trains until it is good, pass by pass. Not a test.

    python tests/benchmarks/accuracy.py          # hours on one core
    python tests/benchmarks/accuracy.py --quick

The localizer as ``fit`` trains it; the same with AdamW at its best rate; the same recipe with MONAI's BasicUNet and
with its DynUNet of residual blocks, MONAI's form of nnU-Net, in place of our network; and the rivals: the same network
on masks, direct regression and the size penalty, each with its settings of ``workflow/sweep.yml``. They are judged
after every pass on phantoms that training does not see. What counts as time is the CPU time of the training on one
thread, or on a GPU the wall time; judging is not counted. One record for each task, row, precision and seed; what is
there already is not run again.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import yaml
from monai.networks.nets import DynUNet
from step import basic_unet, count
from torch import nn
from turns import command, keep

import biomark as bm
from biomark.machine.devices import resolve_precision
from biomark.machine.optimizers import AdamW

METHODS = {
    "localizer": bm.Localizer,
    "segmenter": bm.Segmenter,
    "direct": bm.DirectRegressor,
    "size_constrained": bm.SizeConstrained,
}
ROWS = {"localizer": {}, "adamw": {"lr": 0.003, "rest": 0.0}, "basic_unet": {}, "dyn_unet": {}} | dict.fromkeys(
    ("segmenter", "direct", "size_constrained"), {}
)
"""What differs from the sweep's settings. AdamW's rate: the best of .001, .003 and .01 on seed 100."""

SWEEP = Path(__file__).resolve().parents[2] / "workflow" / "sweep.yml"
FIT = ("epochs", "batch_size", "lr", "rest", "value_scale", "backbone", "width", "depth", "fold")
PASSES, N_TRAIN = 10, 1500


def settings(task: str, row: str) -> dict:
    """What a model is built and trained with."""
    sweep = yaml.safe_load(SWEEP.read_text())
    given = sweep["settings"][task] | sweep["own"].get(task, {}).get(row, {}) | ROWS[row]
    return {name: given[name] for name in FIT}


def dyn_unet(parameters: int) -> nn.Module:
    """MONAI's DynUNet with residual blocks on four scales and about so many parameters."""

    def build(f: int) -> DynUNet:
        sides = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
        return DynUNet(2, 4, 1, **sides, filters=[f, 2 * f, 4 * f, 8 * f], res_block=True)

    return min(map(build, range(8, 65, 2)), key=lambda net: abs(count(net) - parameters))


def in_blocks(net: nn.Module) -> nn.Module:
    """A network on blocks of two by two boxes, as ours is: one logit stands for a block."""
    return nn.Sequential(nn.PixelUnshuffle(2), net, nn.Upsample(scale_factor=2, mode="bilinear"))


PEERS = {"basic_unet": partial(basic_unet, channels=4), "dyn_unet": dyn_unet}


class Watch:
    """Judges a model before the first step of each pass but the first: a hook on the network it calls once a step."""

    def __init__(self, model: torch.nn.Module, test: bm.Cohort, steps: int, clock: Callable[[], float]) -> None:
        self.model, self.test, self.steps, self.clock = model, test, steps, clock
        self.calls, self.judging, self.rows = 0, 0.0, []
        network = model.encoder if isinstance(model, bm.DirectRegressor) else model.backbone
        network.register_forward_pre_hook(self.before_step)
        self.start = clock()

    def before_step(self, *_: object) -> None:
        if not self.model.training:  # it is being judged
            return
        if self.calls and self.calls % self.steps == 0:
            self.judge()
        self.calls += 1

    def judge(self) -> None:
        before = self.clock()
        with torch.autocast(next(self.model.parameters()).device.type, enabled=False):
            report = bm.evaluate(self.model, self.test)
        self.model.train()
        names = ("r", "mae", "dice", "energy_in_mask")
        found = {name: value for name, value in report.to_dict().items() if name in names}
        seconds = before - self.start - self.judging
        self.rows.append({"pass": len(self.rows) + 1, "seconds": round(seconds, 2)} | found)
        self.judging += self.clock() - before


def train_and_judge(asked: argparse.Namespace, task: str, row: str, precision: str) -> None:
    """One training, kept as a record."""
    name = f"accuracy/{task}-{row}-{precision}-seed{asked.seed}"
    if (asked.into / asked.device / name / "run.json").exists() and not asked.quick:
        return
    given = settings(task, row)
    n_train, n_test, size, epochs = (16, 8, 64, 2) if asked.quick else (N_TRAIN, 100, None, PASSES)
    train = bm.phantoms.draw(task, n_train, seed=asked.seed, size=size)
    test = bm.phantoms.draw(task, n_test, seed=asked.seed + 1000, size=size)
    torch.manual_seed(asked.seed)
    model = METHODS.get(row, bm.Localizer)(task, **{key: given[key] for key in ("backbone", "width", "depth", "fold")})
    if row in PEERS:
        model = bm.Localizer(task, in_blocks(PEERS[row](count(model))))
    clock = time.process_time if asked.device == "cpu" else time.perf_counter
    watch = Watch(model, test, -(-n_train // given["batch_size"]), clock)
    bm.fit(
        model,
        train,
        loss=model.own_loss or bm.SumLoss(given["value_scale"]),
        optimizer=bm.Muon(given["lr"], given["rest"]) if given["rest"] else AdamW(given["lr"]),
        epochs=epochs,
        batch_size=given["batch_size"],
        seed=asked.seed,
        device=asked.device,
        precision=precision,
        progress=False,
    )
    watch.judge()
    of = {"task": task, "row": row, "precision": precision, "n_train": n_train, "n_test": n_test}
    keep(asked, name, watch.rows, peers=("monai",), **of | given | {"epochs": epochs}, parameters=count(model))


def main() -> None:
    asked = command(__doc__, seed=0)
    torch.set_num_threads(1)
    fast = resolve_precision("auto", asked.device).partition("-")[0]
    for precision, task, row in itertools.product(dict.fromkeys(("32", fast)), ("sfa", "pma"), ROWS):
        train_and_judge(asked, task, row, precision)


if __name__ == "__main__":
    main()
