"""Values and maps of a cohort."""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from biomark.cohort import Cohort
from biomark.localizer import refuse_other_task, tensor
from biomark.machine import tensor_files
from biomark.machine.optimizers import call
from biomark.machine.rows import refuse_broken


@torch.no_grad()
def predict(
    model: nn.Module, cohort: Cohort, batch_size: int = 32, *, maps: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Values ``(N,)`` and maps ``(N, *S)`` of a cohort; no maps from a model that has none, or when not asked for.

    Args:
        model: A localizer or a rival, or a module of your own that gives a :class:`~biomark.Localization`.
        cohort: The cases, each looked at on its own grid, as in training; of quite other spacings ask
            :meth:`biomark.Localizer.locate`.
        batch_size: Cases at a time.
        maps: Whether maps are wanted.

    Raises:
        ValueError: The cohort has no cases, is of another task, or holds voxels that are no numbers.
    """
    refuse_other_task(model, cohort)
    if not len(cohort):
        raise ValueError("a cohort without cases gives nothing to predict: see what selected them.")
    # A rule in the form of a module has neither.
    device = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    training, values, kept = model.training, [], []
    model.eval()
    try:
        for start in range(0, len(cohort), batch_size):
            rows = slice(start, start + batch_size)
            images, weights = (tensor(a[rows]).to(device) for a in (cohort.images, cohort.weights))
            sizes = tensor(np.prod(cohort.spacing_mm[rows], axis=1)).to(device)
            out = call(model, images[:, None], weights, sizes)
            values.append(out.value.cpu().double().numpy())
            if maps and out.map is not None:
                kept.append(out.map.cpu().numpy())
    finally:
        model.train(training)
    found = np.concatenate(values)
    if not np.isfinite(found).all():
        refuse_broken(cohort)
        tensor_files.refuse_broken(model.state_dict(), "the model")
    return found, np.concatenate(kept) if kept else None
