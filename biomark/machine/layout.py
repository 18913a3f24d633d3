"""The order of weights in memory."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Lay weights out as convolutions on CPUs and tensor cores read them fastest.

    The layout decides the last bit of a sum, so that trained and restored models must have the same.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        # By the weight's own axes: a network for volumes may read them slice by slice.
        if weight.ndim in formats:
            weight.data = weight.data.to(memory_format=formats[weight.ndim])
        # A kernel of one voxel is in order either way; gradients, and so their exchange, come in the plain one.
        if weight.ndim > 2 and weight[0, 0].numel() == 1:
            shape = weight.shape
            weight.data = weight.data.contiguous().as_strided(shape, (shape[1], *[1] * (weight.ndim - 1)))
