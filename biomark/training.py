"""The training loop. It knows nothing of a model but that it gives a value, and of a loss but that it can be called."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from biomark.cohort import Cohort
from biomark.localizer import refuse_other_task
from biomark.machine import checkpoints, devices, fingerprints, optimizers
from biomark.machine.batches import epoch_batches
from biomark.machine.disk_arrays import DiskArray, on_device
from biomark.machine.moves import Moves
from biomark.machine.rows import refuse_broken


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: Mean training loss of each epoch.
        seconds: Wall time of each epoch.
        device: Where it ran.
        precision: In which arithmetic.
    """

    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    device: str = ""
    precision: str = ""

    def __str__(self) -> str:
        if not self.loss:
            return "nothing trained"
        took = f"{len(self.loss)} epochs in {sum(self.seconds):.0f} s on {self.device} ({self.precision})"
        return f"{took}: loss {self.loss[0]:.3f} -> {self.loss[-1]:.3f}"


def fit(
    model: nn.Module,
    cohort: Cohort,
    *,
    loss: Any = None,
    optimizer: Callable[[nn.Module], Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int = 1,
    seed: int = 0,
    augment: bool = True,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    checkpoint: str | os.PathLike | None = None,
) -> History:
    """Train a model on the numbers of a cohort, with learning rates that rise and fall once.

    What is None is taken from ``task.settings``. A model that was trained before is trained on from where it is. A
    script that ``torchrun`` starts trains one model on all its processes; chapter 16 says what that changes.

    Args:
        model: A :class:`~biomark.Localizer`, a rival, or a module ``(images_hu, weights) -> Localization`` of yours.
        cohort: Training cases. Their truth is read only for a loss that says ``needs_truth``, as the segmenter's.
        loss: A :class:`~biomark.SumLoss`, or anything called like one.
        optimizer: Makes one of the model, with its highest learning rates: :class:`~biomark.Muon`, or any callable,
            such as ``lambda model: torch.optim.AdamW(model.parameters(), 0.003)``.
        epochs: Passes over the cohort, each in an order drawn from ``(seed, epoch)``.
        batch_size: Cases a step, over all processes.
        accumulate: Parts in which a step's cases are taken, one after the other: less memory, the same mean loss.
        seed: Of the order of cases, their moves and dropout. (Initial weights are made before: seed those yourself.)
        augment: Shift, turn and, where the task allows it, mirror each case at random (:attr:`biomark.Task.moves`).
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"auto"`` (bfloat16 where the hardware multiplies it fast), ``"32"``, ``"bf16"`` or ``"16"``.
        progress: Show a bar.
        checkpoint: File in which each finished epoch is kept, for all processes to read. When it exists and belongs to
            the same call, training goes on from there, to the same bits (on a CPU) as without the interruption.

    Returns:
        Loss and time by epoch. The model is left trained, in evaluation mode, on the device.

    Raises:
        ValueError: An argument cannot be used, the truth is needed and missing, or the checkpoint is another run's.
    """
    loss, optimizer, epochs, batch_size = choose_settings(model, cohort, loss, optimizer, epochs, batch_size)
    _refuse_nothing(epochs=epochs, batch_size=batch_size, accumulate=accumulate, cases=len(cohort))
    arrays, device = training_arrays(loss, cohort), devices.available(device)
    precision = devices.resolve_precision(precision, device)
    fabric = devices.start(device, precision)
    began = (fingerprints.of_model(model), fingerprints.of_weights(model)) if checkpoint else ("", "")
    if prepare := getattr(model, "prepare", None):
        prepare(cohort)
    rules = tuple(map(fingerprints.of_rule, (loss, optimizer, cohort.task, cohort.task.moves)))
    n_steps, last = math.ceil(len(cohort) / batch_size), epochs * math.ceil(len(cohort) / batch_size)
    objective, stepper, schedule = optimizers.set_up(fabric, optimizers.Objective(model, loss), optimizer, last)
    history = History(device=devices.name(fabric.device), precision=precision)
    state = {"model": objective, "optimizer": stepper, "schedule": schedule, "history": vars(history)}
    mark = partial(fingerprints.of_arrays, arrays, epochs, batch_size, seed, augment, precision, began[0], *rules)
    saved = checkpoints.open_checkpoint(checkpoint, fabric, state, mark, began[1], epochs)
    data, done = [on_device(array, fabric.device) for array in arrays], len(history.loss)
    bar = tqdm(total=last, initial=done * n_steps, desc="training", disable=not (progress and fabric.is_global_zero))
    moves = cohort.task.moves if augment else Moves()
    shares: dict[str, Any] = {"device": fabric.device, "parts": accumulate}
    shares |= {"rank": fabric.global_rank, "processes": fabric.world_size}
    model.train()
    for epoch in range(done, epochs):
        start, total = time.perf_counter(), torch.zeros((), device=fabric.device)
        batches = epoch_batches(len(cohort), batch_size, seed=seed, epoch=epoch, moves=moves, **shares)
        with devices.seeded(fabric.device, seed, epoch, fabric.global_rank):
            for step, parts in enumerate(batches, start=epoch * n_steps):
                stepper.zero_grad(set_to_none=True)
                for part in parts:
                    images, *others = part.of(*data)
                    with fabric.no_backward_sync(objective, enabled=part is not parts[-1]):
                        error = objective(images[:, None], *others, progress=step / last)
                        fabric.backward(error * part.share)
                    if len(part.rows):  # the mean of none is no number
                        total += error.detach() * len(part.rows)
                fabric.clip_gradients(objective, stepper, max_norm=1.0, error_if_nonfinite=False)
                stepper.step()
                schedule.step()
                bar.update()
        whole: Any = fabric.all_reduce(total, reduce_op="sum")
        mean = whole.item() / len(cohort)
        _refuse_infinite(model, cohort, mean, epoch, optimizers.highest_lr(stepper))
        history.loss.append(mean)
        history.seconds.append(time.perf_counter() - start)
        bar.set_postfix(loss=f"{mean:.3f}")
        if saved:
            saved.write()
    bar.close()
    model.eval()
    return history


def choose_settings(
    model: nn.Module, cohort: Cohort, loss: Any, optimizer: Any, *numbers: int | None
) -> tuple[Any, Any, int, int]:
    """Loss, optimizer, epochs and batch size: as asked for, or the model's or the task's own."""
    refuse_other_task(model, cohort)
    usual = cohort.task.settings
    loss = next(one for one in (loss, getattr(model, "own_loss", None), usual.loss) if one is not None)
    steps = (optimizer, getattr(model, "own_optimizer", None), usual.optimizer)
    optimizer = next(one for one in steps if one is not None)
    names = ("epochs", "batch_size")
    epochs, batch_size = (getattr(usual, k) if v is None else v for k, v in zip(names, numbers, strict=True))
    if epochs is None:
        raise ValueError(f"task {cohort.task.key!r} has no settings of its own: say how many epochs to train.")
    return loss, optimizer, epochs, batch_size


def training_arrays(loss: Any, cohort: Cohort) -> list[NDArray | DiskArray]:
    """All that training reads: images, weights, values and sizes, and the truth only for a loss that needs it."""
    arrays = [cohort.images, cohort.weights, cohort.values, np.prod(cohort.spacing_mm, axis=1)]
    if not getattr(loss, "needs_truth", False):
        return arrays
    if cohort.truth is None:
        raise ValueError(f"{type(loss).__name__} needs the truth, and this cohort has none: give one with masks.")
    return [*arrays, cohort.truth]


def _refuse_nothing(**counts: int) -> None:
    for name, count in counts.items():
        if not (hasattr(count, "__index__") and count >= 1):
            raise ValueError(f"training needs {name} >= 1, a whole number, got {count!r}.")


def _refuse_infinite(model: nn.Module, cohort: Cohort, mean: float, epoch: int, lr: float) -> None:
    if not all(p.isfinite().all() for p in model.parameters()):
        mean = math.nan  # as the next loss would be
    if not math.isfinite(mean):
        refuse_broken(cohort)
        advice = f"lower its learning rate (now {lr}) or use precision='32'"
        raise ValueError(f"the loss became {mean} in epoch {epoch + 1}: {advice}.")
