"""How long each method trains until it is good, epoch by epoch. Not a test.

    python tests/benchmarks/accuracy.py          # an hour on one core
    python tests/benchmarks/accuracy.py --quick

The localizer, the U-Net on masks, direct regression and the size penalty, each with its settings of
``workflow/sweep.yml``, are judged after every epoch on phantoms that training does not see. What counts as time is the
CPU time of the training on one thread, or on a GPU the wall time; judging is not counted. One record for each task and
method; what is there already is not run again.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from turns import command, keep

import biomark as bm
from biomark.machine.optimizers import AdamW

METHODS = {
    "localizer": bm.Localizer,
    "segmenter": bm.Segmenter,
    "direct": bm.DirectRegressor,
    "size_constrained": bm.SizeConstrained,
}
SWEEP = Path(__file__).resolve().parents[2] / "workflow" / "sweep.yml"
FIT = ("epochs", "batch_size", "lr", "rest", "value_scale", "backbone", "width", "depth", "fold")


def settings(task: str, method: str) -> dict:
    """What ``fit`` is given, and the number of phantoms."""
    sweep = yaml.safe_load(SWEEP.read_text())
    given = sweep["settings"][task] | sweep["own"].get(task, {}).get(method, {})
    return {name: given[name] for name in (*FIT, "n_train")}


class Watch:
    """Judges a model before the first step of each epoch but the first: a hook on the network it calls once a step."""

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
        self.rows.append({"epoch": len(self.rows) + 1, "seconds": round(seconds, 2)} | found)
        self.judging += self.clock() - before


def main() -> None:
    asked = command(__doc__, seed=0)
    torch.set_num_threads(1)
    clock = time.process_time if asked.device == "cpu" else time.perf_counter
    for task in ("sfa", "pma"):
        for method, kind in METHODS.items():
            name = f"accuracy/{task}-{method}-seed{asked.seed}"
            if (asked.into / asked.device / name / "run.json").exists() and not asked.quick:
                continue
            given = settings(task, method)
            n_train, n_test, size = given.pop("n_train"), 100, None
            if asked.quick:
                n_train, n_test, size = 16, 8, 48
                given["epochs"] = 2
            train = bm.phantoms.draw(task, n_train, seed=asked.seed, size=size)
            test = bm.phantoms.draw(task, n_test, seed=asked.seed + 1000, size=size)
            torch.manual_seed(asked.seed)
            built = {name: given.pop(name) for name in ("backbone", "width", "depth", "fold")}
            model = kind(task, **built)
            watch = Watch(model, test, -(-n_train // given["batch_size"]), clock)
            names = ("value_scale", "lr", "rest")
            scale, lr, rest = own = [given.pop(name) for name in names]
            given["loss"] = model.own_loss or bm.SumLoss(scale)
            given["optimizer"] = bm.Muon(lr, rest) if rest else AdamW(lr)
            bm.fit(model, train, **given, seed=asked.seed, device=asked.device, progress=False)
            watch.judge()
            of = {"task": task, "method": method, "n_train": n_train, "n_test": n_test, "clock": clock.__name__}
            passes = {name: given[name] for name in ("epochs", "batch_size")}
            keep(asked, name, watch.rows, **of, **passes, **built, **dict(zip(names, own, strict=True)))


if __name__ == "__main__":
    main()
