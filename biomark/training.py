"""The training loop. It knows nothing of a model but ``prepare`` and ``loss``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import lightning_fabric as lf
import numpy as np
import torch
from lightning_fabric.plugins import MixedPrecision
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import devices, records
from .cohort import Cohort
from .losses import terms
from .rows import Rows, held, parts


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
        total = sum(self.seconds)
        where = f"on {self.device} ({self.precision})"
        return f"{len(self.loss)} epochs in {total:.0f} s {where}: loss {self.loss[0]:.3f} -> {self.loss[-1]:.3f}"


def fit(
    model: nn.Module,
    cohort: Cohort,
    *,
    epochs: int,
    batch_size: int = 16,
    lr: float = 3e-3,
    seed: int = 0,
    prior: bool = True,
    value_scale: str = "linear",
    decide: float = 0.0,
    smooth: float = 0.0,
    shares: float = 0.0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
    checkpoint: str | os.PathLike | None = None,
) -> History:
    """Train a model on the numbers of a cohort.

    The whole cohort is kept on the device. Only of a cohort on disk (:class:`~biomark.rows.Rows`) each batch is read
    when it is due, unless all of it takes less than half of a GPU's free memory. Every epoch sees every case once, in
    an order drawn from ``(seed, epoch)``, each case mirrored left to right or not where the task allows it. AdamW with
    a one-cycle learning rate.

    Args:
        model: A :class:`~biomark.localizer.Localizer` or a rival with the same two methods.
        cohort: Training cases. Masks are read only by a model that says ``learns_from_masks``, as the segmenter.
        epochs: Passes over the cohort.
        batch_size: Cases a step.
        lr: Highest learning rate.
        seed: Order of cases and mirroring. (The initial weights are the model's own: seed them before building it.)
        prior: Start from the share of candidate weight that belongs.
        value_scale: Where sums and numbers are compared: ``"linear"``, or ``"sqrt"``, ``"log"`` or ``"linear+log"`` for
            a biomarker that ranges from 0 to thousands (:func:`biomark.losses.value_loss`).
        decide: Weight of the map's indecision (:func:`biomark.losses.indecision`), reached linearly from 0 at the
            start: first find the place, then make up one's mind.
        smooth: Weight of the length of the map's outline through like tissue (:func:`biomark.losses.outline`), reached
            half way. The first sixth goes without it: an outline that costs from the start freezes the first guess.
        shares: Weight of how badly the map's shares of the candidates go with the known ones
            (:func:`biomark.losses.share_mismatch`): for a cohort in which all candidates together already tell the
            number. It compares the cases of a batch; give it eight or more.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"auto"`` (bfloat16 where the hardware multiplies it fast, else float32), ``"32"``, ``"bf16"`` or
            ``"16"``.
        progress: Show a bar.
        checkpoint: File in which each finished epoch is kept. When it exists and belongs to the same call, training
            goes on from there, to the same bits (on a CPU) as without the interruption.

    Returns:
        Loss and time by epoch. The model is left trained, in evaluation mode, on the device.

    Raises:
        ValueError: An argument cannot be used, masks are needed and missing, or the checkpoint belongs to another run.
    """
    if epochs < 1 or batch_size < 1 or len(cohort) < 1:
        raise ValueError(
            f"training needs epochs, batch_size and cases >= 1, got {epochs}, {batch_size} and {len(cohort)}."
        )
    arrays = _read(model, cohort)
    device = devices.available(device)
    precision = devices.arithmetic(precision, device)
    # A precision given as a plugin is used without a line on stderr.
    plugins = [] if precision == "32-true" else [MixedPrecision(precision, device)]
    fabric = lf.Fabric(accelerator=device, devices=1, plugins=plugins)
    fabric.launch()
    model.prepare(cohort, **({} if prior else {"prior": False}))
    if device == "mps":  # which is no faster with channels last
        model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4, fused=device != "mps")
    wrapped, optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("loss")
    steps = math.ceil(len(cohort) / batch_size)
    # 0.21, not 0.2: a rise of exactly one step (five steps in all) divides by zero in PyTorch's schedule.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps, pct_start=0.21)
    data = [held(a, fabric.device) for a in arrays]

    history = History(device=devices.name(fabric.device), precision=precision)
    state = {"model": wrapped, "optimizer": optimizer, "schedule": schedule, "history": vars(history)}
    call = _digest(arrays, epochs, batch_size, lr, seed, prior, value_scale, decide, smooth, shares, precision)
    _resume(fabric, checkpoint, state, call)
    model.train()
    # Only what differs from the plain loss is asked of a model, so that one with images, weights and values will do.
    how = {} if value_scale == "linear" else {"value_scale": value_scale}
    beside = {"decide": decide, "smooth": smooth, "shares": shares}
    bar = tqdm(
        total=epochs * steps, initial=len(history.loss) * steps, disable=not progress, desc="training", unit="step"
    )
    for epoch in range(len(history.loss), epochs):
        start, total = time.perf_counter(), torch.zeros((), device=fabric.device)
        # One stream for each (seed, epoch): a resumed run draws what the whole run would have drawn.
        draw = np.random.default_rng([seed, epoch])
        order = torch.as_tensor(draw.permutation(len(cohort)), device=fabric.device)
        mirror = torch.as_tensor(draw.random(len(cohort)) < 0.5 * cohort.task.mirrored, device=fabric.device)
        for step, rows in enumerate(order.split(batch_size), start=epoch * steps):
            images, *others = (_mirrored(a[rows], mirror[rows]) for a in data)
            # Fabric enters the precision by itself only for a forward through a strategy's own wrapper.
            with fabric.autocast():
                loss = wrapped.loss(images[:, None], *others, **how, **terms(step / (epochs * steps), **beside))
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(wrapped, optimizer, max_norm=1.0, error_if_nonfinite=False)
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(rows)
            bar.update()
        mean = total.item() / len(cohort)
        if not math.isfinite(mean):
            raise ValueError(f"the loss became {mean} in epoch {epoch + 1}: lower lr (now {lr}) or use precision='32'.")
        history.loss.append(mean)
        history.seconds.append(time.perf_counter() - start)
        bar.set_postfix(loss=f"{mean:.3f}")
        _keep(fabric, checkpoint, state, call)
    bar.close()
    model.eval()
    return history


def fit_once(model: nn.Module, cohort: Cohort, *, folder: str | os.PathLike | None = None, **settings) -> History:
    """:func:`fit`, unless the same has been trained before: then its weights are taken from the folder.

    "The same" is judged by fingerprints of the library's code, the initial weights, the data and the settings. A
    training that was interrupted goes on where it stopped.

    Args:
        model: The model, trained in place.
        cohort: Training cases.
        folder: Where trained models are kept; :func:`biomark.records.runs_folder` by default.
        **settings: As for :func:`fit`, without ``checkpoint``.

    Returns:
        The history of the training, now or then.
    """
    # The printed model tells apart networks of like weights, such as two dilations.
    key = hashlib.sha256(records.code_digest().encode() + repr(model).encode())
    key.update(_digest(_read(model, cohort), sorted((k, v) for k, v in settings.items() if k != "progress")).encode())
    for name, tensor in model.state_dict().items():
        key.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    place = Path(folder or records.runs_folder()) / "trained" / key.hexdigest()[:24]
    weights, story = place / "model.safetensors", place / "history.json"
    if weights.exists() and story.exists():
        model.restore(load_file(weights)).to(devices.available(settings.get("device", "auto")))
        return History(**json.loads(story.read_text()))
    history = fit(model, cohort, **settings, checkpoint=place / "checkpoint.pt")
    model.save(weights)
    partial = story.with_suffix(".partial")
    partial.write_text(json.dumps(vars(history)))
    os.replace(partial, story)  # last: a folder with a history is complete
    (place / "checkpoint.pt").unlink()
    return history


def _mirrored(array: Tensor, mirror: Tensor) -> Tensor:
    """Flip the chosen cases left to right (the last axis); numbers, which have none, stay."""
    if array.ndim < 3:
        return array
    return torch.where(mirror.view(-1, *[1] * (array.ndim - 1)), array.flip(-1), array)


def _read(model: nn.Module, cohort: Cohort) -> list[NDArray | Rows]:
    """All that training reads: images, weights and values, and masks only for a model that learns from them."""
    arrays = [cohort.images, cohort.weights, cohort.values]
    if not getattr(model, "learns_from_masks", False):
        return arrays
    if cohort.masks is None:
        raise ValueError(f"a {type(model).__name__} learns from masks, and this cohort has none: give one with masks.")
    return [*arrays, cohort.masks]


def _digest(arrays: list[NDArray | Rows], *settings: object) -> str:
    """A fingerprint of data and settings: a checkpoint goes on only with the run that wrote it."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        for part in parts(array):
            digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _keep(fabric: lf.Fabric, checkpoint: str | os.PathLike | None, state: dict, call: str) -> None:
    if checkpoint is None:
        return
    target = Path(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    fabric.save(partial, state | {"call": call})
    os.replace(partial, target)


def _resume(fabric: lf.Fabric, checkpoint: str | os.PathLike | None, state: dict, call: str) -> None:
    if checkpoint is None or not Path(checkpoint).exists():
        return
    try:
        kept = fabric.load(checkpoint)
    except Exception as error:
        raise ValueError(
            f"the checkpoint {checkpoint} cannot be read ({error}): remove it to train from the start."
        ) from error
    if kept.get("call") != call:
        raise ValueError(
            f"the checkpoint {checkpoint} belongs to other data or settings: remove it, or give another file."
        )
    state["model"].load_state_dict(kept["model"])
    state["optimizer"].load_state_dict(kept["optimizer"])
    state["schedule"].load_state_dict(kept["schedule"])
    state["history"].update({k: kept["history"][k] for k in ("loss", "seconds")})
