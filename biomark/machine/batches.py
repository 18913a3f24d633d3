"""In which order training sees the cases, and who takes which of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biomark.machine.disk_arrays import Batches


@dataclass(frozen=True)
class MicroBatch:
    """Cases that one process takes at a time.

    Attributes:
        rows: Their numbers in the cohort, ``(K,)``. There may be none: then others have what is left of a batch.
        mirror: Which of them are seen mirrored, ``(K,)``.
        share: What their mean loss counts, so that the mean over processes of the sum over parts is the batch's mean.
    """

    rows: Tensor
    mirror: Tensor
    share: float

    def of(self, array: Tensor | Batches) -> Tensor:
        """The cases' rows, flipped left to right (the last axis) where mirrored; numbers, which have none, stay."""
        picked = array[self.rows]
        if picked.ndim < 3:
            return picked
        return torch.where(self.mirror.view(-1, *[1] * (picked.ndim - 1)), picked.flip(-1), picked)


def epoch_batches(
    cases: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    mirrored: bool,
    device: torch.device,
    parts: int = 1,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[list[MicroBatch]]:
    """One epoch: every case once, in an order drawn from ``(seed, epoch)``; of each step, what this process takes.

    Which cases make a step depends neither on the parts nor on the processes among which they are divided.

    Args:
        cases: How many there are.
        batch_size: Cases a step, over all parts and processes; the last step takes what is left.
        seed: Of the training.
        epoch: Number of the epoch.
        mirrored: Whether each case is mirrored or not, at random.
        device: Where the numbers of the cases are needed.
        parts: Into how many parts, taken one after the other, each process divides its cases of a step.
        rank: Number of this process.
        processes: How many there are.
    """
    draw = np.random.default_rng([seed, epoch])
    order = torch.as_tensor(draw.permutation(cases), device=device)
    mirror = torch.as_tensor(draw.random(cases) < 0.5 * mirrored, device=device)
    for batch in order.split(batch_size):
        pieces = batch.tensor_split(parts * processes)  # the first are the larger ones
        ours = [pieces[first + rank] for first in range(0, len(pieces), processes) if len(pieces[first])]
        yield [MicroBatch(rows, mirror[rows], len(rows) * processes / len(batch)) for rows in ours]
