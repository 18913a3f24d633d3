"""The training loop. It knows nothing of a model but ``prepare`` and ``loss``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import warnings
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path

import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm

from . import checkpoints, devices, provenance, records
from .cohort import Cohort, refuse_broken
from .files import whole
from .fingerprints import rule
from .losses import terms
from .model import refuse_other_task
from .order import steps
from .rows import Rows, held


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
    accumulate: int = 1,
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

    The whole cohort is kept on the device. Only what takes more than half of a GPU's free memory is brought there batch
    by batch, and of a cohort on disk (:class:`~biomark.rows.Rows`) a CPU reads each batch when it is due. Every epoch
    sees every case once, in an order drawn from ``(seed, epoch)``, each case mirrored left to right or not where the
    task allows it. AdamW with a one-cycle learning rate.

    A script that ``torchrun --nproc-per-node 2 script.py`` starts trains one model on all its processes, and so on
    several GPUs or machines: each takes its share of every step's cases, gradients are averaged, and every process
    returns with the same model. How many there are changes rounding and seconds, not what is computed. (Except for what
    looks at several cases at once, those that a process takes together: ``shares``, a Segmenter's Dice, and a batch
    normalisation of your own, unless ``torch.nn.SyncBatchNorm`` converted it.)

    A model that was trained before is trained on from where it is, say from phantoms on a few scans: bring those to the
    spacing of its pixels (``trained_spacing_mm``), take a tenth of the learning rate, and let some of the first cohort
    stay among them.

    Args:
        model: A :class:`~biomark.localizer.Localizer` or a rival with the same two methods.
        cohort: Training cases. Masks are read only by a model that says ``learns_from_masks``, as the segmenter.
        epochs: Passes over the cohort.
        batch_size: Cases a step, over all processes.
        accumulate: Parts in which a step's cases are taken, one after the other, their gradients added: less memory,
            the same mean loss. What looks at several cases at once then sees a part at a time.
        lr: Highest learning rate.
        seed: Of the order of cases, mirroring and dropout. (Initial weights are made before: seed those yourself.)
        prior: Start from the share of candidate weight that belongs, unless the model was trained before or knows none.
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
            goes on from there, to the same bits (on a CPU) as without the interruption; also on another number of
            processes or of parts. Every process must be able to read it.

    Returns:
        Loss and time by epoch. The model is left trained, in evaluation mode, on the device.

    Raises:
        ValueError: An argument cannot be used, masks are needed and missing, or the checkpoint belongs to another run.
    """
    if min(epochs, batch_size, accumulate, len(cohort)) < 1:
        given = f"{epochs}, {batch_size}, {accumulate} and {len(cohort)}"
        raise ValueError(f"training needs epochs, batch_size, accumulate and cases >= 1, got {given}.")
    refuse_other_task(model, cohort)
    arrays = _read(model, cohort)
    device = devices.available(device)
    precision = devices.arithmetic(precision, device)
    fabric = devices.start(device, precision)
    if shares and batch_size < 2 * accumulate * fabric.world_size:
        given = f"{batch_size} a step in {accumulate} parts on {fabric.world_size} processes"
        raise ValueError(f"shares compares cases, and {given} are fewer than 2 at a time: take a larger batch_size.")
    # Of several processes the first reads all weights for the prior; the others get its start when they are joined.
    before = (checkpoints.of_model(model), checkpoints.of_weights(model)) if checkpoint else ("", "")
    knows_prior = {"prior", "kwargs"} & {*signature(model.prepare).parameters}
    model.prepare(cohort, **({"prior": False} if knows_prior and not (prior and fabric.is_global_zero) else {}))
    if device == "mps":  # which is no faster with channels last
        model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4, fused=device != "mps")
    wrapped, optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("loss")
    n_steps = math.ceil(len(cohort) / batch_size)
    # 0.21, not 0.2: a rise of exactly one step (five steps in all) divides by zero in PyTorch's schedule.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * n_steps, pct_start=0.21)
    data = [held(a, fabric.device) for a in arrays]

    history = History(device=devices.name(fabric.device), precision=precision)
    state = {"model": wrapped, "optimizer": optimizer, "schedule": schedule, "history": vars(history)}
    call = (epochs, batch_size, lr, seed, prior, value_scale, decide, smooth, shares, precision)
    kept = None
    if checkpoint:
        mark = checkpoints.digest(arrays, *call, before[0], rule(cohort.task)) if fabric.is_global_zero else ""
        kept = checkpoints.Checkpoint(checkpoint, fabric, state, *fabric.broadcast((mark, before[1])))
        if kept.resume() and len(history.loss) == epochs:
            warnings.warn(
                f"the training in {checkpoint} is finished and began from other weights than this model's: its result "
                "is taken and nothing trained. Give each training a file of its own.",
                stacklevel=2,
            )
    model.train()
    # Only what differs from the plain loss is asked of a model, so that one with images, weights and values will do.
    how = {} if value_scale == "linear" else {"value_scale": value_scale}
    beside = {"decide": decide, "smooth": smooth, "shares": shares}
    done, quiet = len(history.loss) * n_steps, not (progress and fabric.is_global_zero)
    bar = tqdm(total=epochs * n_steps, initial=done, disable=quiet, desc="training", unit="step")
    for epoch in range(len(history.loss), epochs):
        start, total = time.perf_counter(), torch.zeros((), device=fabric.device)
        epoch_steps = steps(
            len(cohort),
            batch_size,
            epoch=epoch,
            seed=seed,
            mirrored=cohort.task.mirrored,
            device=fabric.device,
            parts=accumulate,
            rank=fabric.global_rank,
            processes=fabric.world_size,
        )
        with devices.draws(fabric.device, seed, epoch, fabric.global_rank):
            for step, taken in enumerate(epoch_steps, start=epoch * n_steps):
                extra = terms(step / (epochs * n_steps), **beside)
                optimizer.zero_grad(set_to_none=True)
                for part in taken:
                    images, *others = map(part.of, data)
                    # Fabric enters the precision by itself only for a forward through a strategy's own wrapper.
                    with fabric.no_backward_sync(wrapped, enabled=part is not taken[-1]):
                        with fabric.autocast():
                            loss = wrapped.loss(images[:, None], *others, **how, **extra)
                        fabric.backward(loss * part.share)
                    if len(part.rows):  # the mean of none is no number
                        total += loss.detach() * len(part.rows)
                fabric.clip_gradients(wrapped, optimizer, max_norm=1.0, error_if_nonfinite=False)
                optimizer.step()
                schedule.step()
                bar.update()
        mean = fabric.all_reduce(total, reduce_op="sum").item() / len(cohort)
        if not all(p.isfinite().all() for p in model.parameters()):
            mean = math.nan  # as the next loss would be
        if not math.isfinite(mean):
            refuse_broken(cohort)
            raise ValueError(f"the loss became {mean} in epoch {epoch + 1}: lower lr (now {lr}) or use precision='32'.")
        history.loss.append(mean)
        history.seconds.append(time.perf_counter() - start)
        bar.set_postfix(loss=f"{mean:.3f}")
        if kept:
            kept.keep()
    bar.close()
    model.eval()
    return history


_DEFAULTS = {name: p.default for name, p in signature(fit).parameters.items() if p.default is not p.empty}


def fit_once(model: nn.Module, cohort: Cohort, *, folder: str | os.PathLike | None = None, **settings) -> History:
    """:func:`fit`, unless the same has been trained before: then its weights are taken from the folder.

    "The same" is judged by fingerprints of the library's code, the initial weights, the data and the settings.

    Args:
        model: The model, trained in place. If its training was interrupted before, it goes on there.
        cohort: Training cases.
        folder: Where trained models are kept; :func:`biomark.records.runs_folder` by default.
        **settings: As for :func:`fit`, without ``checkpoint``.

    Returns:
        Its history, now or then.
    """
    if not (hasattr(model, "save") and hasattr(model, "restore")):
        raise ValueError(f"a {type(model).__name__} has no save and restore, as a biomark model has: train it by fit.")
    # The printed model tells apart networks of like weights, such as two dilations.
    key = hashlib.sha256(provenance.code_digest().encode() + repr(model).encode())
    key.update((checkpoints.of_model(model) + rule(cohort.task) + checkpoints.of_weights(model)).encode())
    meant = _DEFAULTS | settings | {"progress": None}
    key.update(checkpoints.digest(_read(model, cohort), sorted(meant.items())).encode())
    place = Path(folder or records.runs_folder()).expanduser() / "trained" / key.hexdigest()[:24]
    weights, story = place / "model.safetensors", place / "history.json"
    if weights.exists() and story.exists():
        model.restore(load_file(weights)).to(devices.available(settings.get("device", "auto")))
        return History(**json.loads(story.read_text()))
    history = fit(model, cohort, **settings, checkpoint=place / "checkpoint.pt")
    if devices.first():
        model.save(weights)
        with whole(story) as partial:  # last: a folder with a history is complete
            partial.write_text(json.dumps(vars(history)))
        (place / "checkpoint.pt").unlink(missing_ok=True)  # another process may have been as fast
    devices.wait()
    return history


def _read(model: nn.Module, cohort: Cohort) -> list[NDArray | Rows]:
    """All that training reads: images, weights and values, and masks only for a model that learns from them."""
    arrays = [cohort.images, cohort.weights, cohort.values]
    if not getattr(model, "learns_from_masks", False):
        return arrays
    if cohort.masks is None:
        raise ValueError(f"a {type(model).__name__} learns from masks, and this cohort has none: give one with masks.")
    return [*arrays, cohort.masks]
