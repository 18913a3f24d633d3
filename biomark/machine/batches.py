"""In which order training sees the cases, and who takes which of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biomark.machine.disk_arrays import Batches
from biomark.machine.moves import Moves, moved


@dataclass(frozen=True)
class MicroBatch:
    """Cases that one process takes at a time.

    Attributes:
        rows: Their numbers in the cohort, ``(K,)``. There may be none: then others have what is left of a batch.
        moves: How each is moved, ``(K, 5)``; None where none is.
        share: What their mean loss counts, so that the mean over processes of the sum over parts is the batch's mean.
    """

    rows: Tensor
    moves: Tensor | None
    share: float

    def of(self, *arrays: Tensor | Batches) -> list[Tensor]:
        """The cases' rows of images, weights, numbers and, where there is one, the truth; all but numbers moved."""
        rows = [array[self.rows] for array in arrays]
        if self.moves is None:
            return rows
        maps = iter(moved(self.moves, *(row for row in rows if row.ndim > 1)))
        return [next(maps) if row.ndim > 1 else row for row in rows]


def epoch_batches(
    cases: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    moves: Moves,
    device: torch.device,
    parts: int = 1,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[list[MicroBatch]]:
    """One epoch: every case once, in an order drawn from ``(seed, epoch)``; of each step, what this process takes.

    Args:
        cases: How many there are.
        batch_size: Cases a step, over all parts and processes; the last step takes what is left.
        seed: Of the training.
        epoch: Number of the epoch.
        moves: How far cases are moved, each anew in every epoch.
        device: Where the numbers of the cases are needed.
        parts: Into how many parts each process divides its cases of a step; which cases make a step is the same.
        rank: Number of this process.
        processes: How many there are.
    """
    order = torch.as_tensor(np.random.default_rng([seed, epoch]).permutation(cases), device=device)
    drawn = moves.draw(cases, [seed, epoch, 1], device) if moves else None
    for batch in order.split(batch_size):
        pieces = batch.tensor_split(parts * processes)  # the first are the larger ones
        ours = [pieces[first + rank] for first in range(0, len(pieces), processes) if len(pieces[first])]
        shares = [len(rows) * processes / len(batch) for rows in ours]
        theirs = [None if drawn is None else drawn[rows] for rows in ours]
        yield [MicroBatch(*part) for part in zip(ours, theirs, shares, strict=True)]
