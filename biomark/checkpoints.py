"""A training kept on disk after each epoch, and taken up again only by the call that it belongs to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fabric as lf
import numpy as np
from numpy.typing import NDArray
from torch import nn

from .fingerprints import rule
from .rows import Rows, parts


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training in a file.

    Attributes:
        path: The file.
        fabric: What trains; on several processes, the first writes and all read.
        state: ``model``, ``optimizer``, ``schedule``, and ``history``, a mapping with lists ``loss`` and ``seconds``.
        call: Fingerprint of the training, by :func:`digest`.
        start: Fingerprint of the weights that it began from, by :func:`of_weights`.
    """

    path: str | os.PathLike
    fabric: lf.Fabric
    state: dict[str, Any]
    call: str
    start: str

    def keep(self) -> None:
        """Write the state, whole or not at all."""
        target = Path(self.path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")  # one process writes, the first
        self.fabric.save(partial, self.state | {"call": self.call, "start": self.start})
        if self.fabric.is_global_zero:
            os.replace(partial, target)
        self.fabric.barrier()

    def resume(self) -> bool:
        """Take the state from the file, if there is one.

        Returns:
            Whether the training in the file began from other weights than this one.

        Raises:
            ValueError: It cannot be read, is of another model, other data or settings, or not there for all processes.
        """
        there = Path(self.path).expanduser().exists()
        seen_by = int(self.fabric.all_reduce(float(there), reduce_op="sum"))
        if seen_by not in (0, self.fabric.world_size):
            raise ValueError(
                f"only {seen_by} of {self.fabric.world_size} processes find the checkpoint {self.path}: give a file on "
                "a disk that all of them share."
            )
        if not there:
            return False
        try:
            kept = self.fabric.load(Path(self.path).expanduser())
        except Exception as error:
            raise ValueError(
                f"the checkpoint {self.path} cannot be read ({error}): remove it to train from the start."
            ) from error
        if kept.get("call") != self.call:
            raise ValueError(
                f"the checkpoint {self.path} belongs to another model, other data or settings: remove it, or give "
                "another file."
            )
        for name in ("model", "optimizer", "schedule"):
            self.state[name].load_state_dict(kept[name])
        self.state["history"].update({k: kept["history"][k] for k in ("loss", "seconds")})
        return kept.get("start", self.start) != self.start


def digest(arrays: Iterable[NDArray | Rows], *settings: object) -> str:
    """A fingerprint of data and settings."""
    found = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        for part in parts(array):
            found.update(np.ascontiguousarray(part))
    return found.hexdigest()


def of_model(model: nn.Module) -> str:
    """A fingerprint of what a model is beside its weights: its classes, plain attributes such as the task, and shapes.

    An attribute that cannot be told, such as an open file, is left out.
    """
    told = [repr([(name, tuple(values.shape)) for name, values in model.state_dict().items()])]
    for name, part in model.named_modules():
        for key, value in [("", type(part)), *sorted(vars(part).items())]:
            if not key.startswith("_") and key != "training" and (said := rule(value)) == rule(value):
                told.append(f"{name}.{key} {said}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def of_weights(model: nn.Module) -> str:
    """A fingerprint of a model's weights."""
    found = hashlib.sha256()
    for name, values in model.state_dict().items():
        found.update(name.encode() + values.detach().cpu().contiguous().float().numpy().tobytes())
    return found.hexdigest()
