"""A training kept on disk after each epoch, and taken up again only by the call that it belongs to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from biomark.machine import tensor_files
from biomark.machine.files import DAMAGE, expand

if TYPE_CHECKING:
    import lightning_fabric as lf

_STATE = ("model", "optimizer", "schedule")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training in a file that holds numbers and names, and nothing that is executed.

    Attributes:
        path: The file.
        fabric: What trains; on several processes, the first writes and all read.
        state: ``model``, ``optimizer``, ``schedule``, and ``history``, a mapping with lists ``loss`` and ``seconds``.
        call: Fingerprint of the training, by :func:`~biomark.machine.fingerprints.of_arrays`.
        start: Fingerprint of the weights that it began from, by :func:`~biomark.machine.fingerprints.of_weights`.
    """

    path: str | os.PathLike
    fabric: lf.Fabric
    state: dict[str, Any]
    call: str
    start: str

    def write(self) -> None:
        """Write the state, whole or not at all."""
        if self.fabric.is_global_zero:
            states = {name: self.state[name].state_dict() for name in _STATE}
            tree, tensors = tensor_files.flatten(states)
            history = {name: self.state["history"][name] for name in ("loss", "seconds")}
            header = {"call": self.call, "start": self.start, "history": history, "state": tree}
            tensor_files.write(self.path, tensors, header, "biomark checkpoint")
        self.fabric.barrier()

    def resume(self) -> bool:
        """Take the state from the file, if there is one; whether the training there began from other weights."""
        there = expand(self.path).exists()
        seen_by: Any = self.fabric.all_reduce(torch.tensor(float(there)), reduce_op="sum")
        if seen_by not in (0, self.fabric.world_size):
            raise ValueError(
                f"only {seen_by:.0f} of {self.fabric.world_size} processes find the checkpoint {self.path}: give a "
                "file on a disk that all of them share."
            )
        if not there:
            return False
        try:
            header, tensors = tensor_files.read(self.path, "checkpoint", "biomark checkpoint")
            same = header.get("call") == self.call
            states = tensor_files.rebuild(header["state"], tensors) if same else {}
            history = {name: [float(v) for v in header["history"][name]] for name in ("loss", "seconds")}
            for name in _STATE if same else ():
                self.state[name].load_state_dict(states[name])
        except DAMAGE as error:
            raise ValueError(f"the checkpoint {self.path} is damaged: remove it to train from the start.") from error
        if not same:
            raise ValueError(
                f"the checkpoint {self.path} belongs to another model, other data or settings: remove it, or give "
                "another file."
            )
        self.state["history"].update(history)
        return header.get("start") != self.start


def open_checkpoint(
    path: str | os.PathLike | None,
    fabric: lf.Fabric,
    state: dict[str, Any],
    call: Callable[[], str],
    start: str,
    epochs: int,
) -> Checkpoint | None:
    """The checkpoint of a training, whose state is taken up where the file has one; None where no file is wanted.

    ``call`` gives the fingerprint of the training; it reads all data, and so is called on one process only.
    """
    if not path:
        return None
    checkpoint = Checkpoint(path, fabric, state, *fabric.broadcast((call() if fabric.is_global_zero else "", start)))
    if checkpoint.resume() and len(state["history"]["loss"]) == epochs:
        warnings.warn(
            f"the training in {path} is finished and began from other weights than this model's: its result is taken "
            "and nothing trained. Give each training a file of its own.",
            stacklevel=3,
        )
    return checkpoint
