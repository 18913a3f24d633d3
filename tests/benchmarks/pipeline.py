"""How fast cases reach the network, beside MONAI's and TorchIO's loaders, and an epoch from end to end. Not a test.

    python tests/benchmarks/pipeline.py          # five minutes
    python tests/benchmarks/pipeline.py --quick

Loaders: one epoch over a cohort in memory (each peer's own cache is warm), in random order, in batches, every image
and its weights mirrored together or not at random. Before anything is timed, two epochs of each have to bring every
case once. Epochs: ``fit``, which also shifts and turns, beside a loop over MONAI's cached data set, its BasicUNet of as
many parameters and its DiceCE loss, in two precisions. Phantoms: seconds to draw a case beside seconds to train on it.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from step import DiceCE, basic_unet, count, stepper
from torch.utils.data import DataLoader
from turns import OURS, command, keep, take

import biomark as bm
from biomark.machine.batches import epoch_batches
from biomark.machine.disk_arrays import on_device
from biomark.machine.moves import Moves

try:
    import torchio
    from monai.data import CacheDataset, ThreadDataLoader
    from monai.transforms import Compose, EnsureTyped, RandFlipd
except ImportError as error:
    raise SystemExit(f"this benchmark needs {error.name}: pip install 'biomark[peers]'.") from error

BATCH = 8
Epoch = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]  # images, weights, values


class Ours:
    """The loader of ``fit``, which mirrors as the others do; shifts and turns are left out."""

    def __init__(self, cohort: bm.Cohort, device: str) -> None:
        self.device, self.epoch, self.moves = torch.device(device), 0, Moves(mirror=cohort.task.mirrored)
        self.data = [on_device(a, self.device) for a in (cohort.images, cohort.weights, cohort.values)]

    def __call__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        self.epoch += 1
        n = len(self.data[0])
        for (part,) in epoch_batches(n, BATCH, seed=0, epoch=self.epoch, moves=self.moves, device=self.device):
            images, weights, values = part.of(*self.data)
            yield images[:, None], weights, values


def monai_epoch(cohort: bm.Cohort, device: str, loader: type[DataLoader]) -> Epoch:
    cases = [{"image": c.image[None], "weights": c.weights[None], "value": c.value} for c in cohort]
    keys = ("image", "weights")
    mirror = Compose([EnsureTyped(keys, device=device), RandFlipd(keys, prob=0.5, spatial_axis=1)])
    batches = loader(CacheDataset(cases, mirror, progress=False), batch_size=BATCH, shuffle=True, num_workers=0)

    def epoch() -> Iterator[tuple[torch.Tensor, ...]]:
        for b in batches:
            yield b["image"].as_tensor(), b["weights"].as_tensor()[:, 0], b["value"].to(device, torch.float32)

    return epoch


def torchio_epoch(cohort: bm.Cohort, device: str) -> Epoch:
    subjects = [
        torchio.Subject(
            image=torchio.ScalarImage(tensor=c.image[None, ..., None]),
            weights=torchio.ScalarImage(tensor=c.weights[None, ..., None]),
            value=c.value,
        )
        for c in cohort
    ]
    data = torchio.SubjectsDataset(subjects, transform=torchio.RandomFlip(axes=(1,), flip_probability=0.5))
    batches = torchio.SubjectsLoader(data, batch_size=BATCH, shuffle=True, num_workers=0)

    def epoch() -> Iterator[tuple[torch.Tensor, ...]]:
        for b in batches:
            image, weights = (b[name][torchio.DATA][..., 0].to(device) for name in ("image", "weights"))
            yield image, weights[:, 0], b["value"].to(device, torch.float32)

    return epoch


def through(epoch: Epoch) -> None:
    for _ in epoch():
        pass


def brings_all(who: str, epoch: Epoch, cohort: bm.Cohort) -> None:
    """Every case once, whole, its images and weights mirrored alike."""
    known = sorted(zip(cohort.values, cohort.images.sum((1, 2), dtype=float), strict=True))
    masses = sorted((cohort.images * cohort.weights).sum((1, 2), dtype=float))
    for _ in range(2):
        seen, together = [], []
        for images, weights, values in epoch():
            images = images[:, 0].double()
            seen += zip(values.tolist(), images.sum((1, 2)).tolist(), strict=True)
            together += (images * weights).sum((1, 2)).tolist()
        if len(seen) != len(known) or not np.allclose(sorted(seen), known, rtol=1e-5):
            raise SystemExit(f"{who} does not bring every case once: nothing was measured.")
        if not np.allclose(sorted(together), masses, rtol=1e-5):
            raise SystemExit(f"{who} mirrors images and weights apart: nothing was measured.")


def loaders(cohort: bm.Cohort, device: str) -> dict[str, Epoch]:
    return {
        OURS: Ours(cohort, device),
        "MONAI CacheDataset, DataLoader": monai_epoch(cohort, device, DataLoader),
        "MONAI CacheDataset, ThreadDataLoader": monai_epoch(cohort, device, ThreadDataLoader),
        "TorchIO SubjectsDataset, SubjectsLoader": torchio_epoch(cohort, device),
    }


def all_steps(step: Callable[[Sequence[torch.Tensor]], None], epoch: Epoch) -> None:
    for batch in epoch():
        step(batch)


def whole_epochs(cohort: bm.Cohort, device: str, turns: int, finish: Callable[[], object]) -> list[dict]:
    """One epoch of ``fit`` beside a loop with MONAI's parts."""
    rows = []
    for precision, dtype in {"32": torch.float32, "bf16": torch.bfloat16}.items():
        localizer = bm.Localizer(cohort.task).to(device)
        localizer.prepare(cohort)
        step = stepper(DiceCE(basic_unet(count(localizer))).to(device).train(), dtype)
        batches = monai_epoch(cohort, device, DataLoader)
        how = {"epochs": 1, "batch_size": BATCH, "device": device, "precision": precision, "progress": False}
        ways = {OURS: partial(bm.fit, localizer, cohort, **how), "MONAI, end to end": partial(all_steps, step, batches)}
        rows += [{"what": "epoch", "precision": precision} | row for row in take(ways, turns=turns, finish=finish)]
    return rows


def drawing(tasks: dict[str, int], turns: int) -> list[dict]:
    """A case drawn, with one process and with two."""
    rows = []
    for key, n in tasks.items():
        ways = {f"{w} process{'es' * (w > 1)}": partial(bm.phantoms.draw, key, n, seed=0, workers=w) for w in (1, 2)}
        rows += [{"what": f"draw {n} {key}", "cases": n} | row for row in take(ways, turns=turns)]
    return rows


def main() -> None:
    asked = command(__doc__)
    device, n, turns = asked.device, *((24, 2) if asked.quick else (400, 5))
    finish = getattr(torch, device).synchronize if device != "cpu" else int
    cohort = bm.phantoms.draw("pma", n, seed=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchio")
        epochs = loaders(cohort, device)
        for who, epoch in epochs.items():
            brings_all(who, epoch, cohort)
        timed = take({who: partial(through, epoch) for who, epoch in epochs.items()}, finish=finish)
    rows = [{"what": "loader", "cases_a_second": round(n / row["median_s"])} | row for row in timed]
    rows += whole_epochs(cohort[: n // 2], device, turns, finish)
    rows += drawing({"pma": 8, "cac": 4} if asked.quick else {"pma": 96, "liver": 96, "cac": 32}, turns)
    keep(asked, "pipeline", rows, peers=("monai", "torchio"), cases=n)


if __name__ == "__main__":
    main()
