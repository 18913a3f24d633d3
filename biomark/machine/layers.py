"""Parts of networks: batch normalisation over processes, blocks of voxels as channels, the layout of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class Total(torch.autograd.Function):
    """The sum of a tensor over all processes, with its gradient."""  # that of torch.distributed.nn is deprecated

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process used the total, so what it is worth to any of them counts.
        return Total.apply(gradient.contiguous())


class _Together:
    """Mixed into a batch normalisation of PyTorch, which it is to the last bit on a single process.

    PyTorch's own ``SyncBatchNorm`` has no kernels for CPUs: it could not be tested without several GPUs.
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)  # type: ignore[misc]  # the base class is that of the class it is mixed into
        axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        values = x.float()
        count = Total.apply(values.new_tensor(x.numel() / x.shape[1]))
        mean = Total.apply(values.sum(axes)) / count
        # From the mean: a mean of squares less a square of means loses the digits of a small spread.
        apart = values - mean.view(shape)
        variance = Total.apply(apart.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (apart * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class BatchNorm2d(_Together, nn.BatchNorm2d):
    """Of slices, ``(N, C, H, W)``."""


class BatchNorm3d(_Together, nn.BatchNorm3d):
    """Of volumes, ``(N, C, D, H, W)``."""


NORM = {2: BatchNorm2d, 3: BatchNorm3d}
"""The normalisation by number of axes."""


def fold_blocks(image: Tensor, fold: Sequence[int]) -> Tensor:
    """Blocks of voxels as voxels with a channel for each part: ``(N, C, *S) -> (N, C * prod(fold), *S / fold)``."""
    if max(fold) == 1:
        return image
    n, c, *sides = image.shape
    parts = image.view(n, c, *(k for side, f in zip(sides, fold, strict=True) for k in (side // f, f)))
    axes = range(2, parts.ndim)
    return parts.permute(0, 1, *axes[1::2], *axes[::2]).flatten(1, 1 + len(fold))


def unfold_blocks(features: Tensor, fold: Sequence[int]) -> Tensor:
    """The inverse of :func:`fold_blocks`."""
    if max(fold) == 1:
        return features
    n, c, *sides = features.shape
    parts = features.reshape(n, c // math.prod(fold), *fold, *sides)
    d = len(fold)
    pairs = [axis for i in range(d) for axis in (2 + d + i, 2 + i)]
    return parts.permute(0, 1, *pairs).reshape(n, parts.shape[1], *(s * f for s, f in zip(sides, fold, strict=True)))


def pad_to_multiple(image: Tensor, multiple: Sequence[int], least: int = 3) -> Tensor:
    """Repeat the far edges until every side is a multiple, and at least ``least`` multiples long.

    Kernels wider than the coarsest scale see little but padding; and oneDNN, as of PyTorch 2.13, gives wrong bfloat16
    gradients for volumes two voxels deep.
    """
    pad: list[int] = []
    for n, m in zip(reversed(image.shape[2:]), reversed(multiple), strict=True):
        pad += [0, max(math.ceil(n / m), least) * m - n]
    return F.pad(image, pad, mode="replicate") if any(pad) else image


def channels_last(model: nn.Module) -> None:
    """Lay weights out as convolutions on CPUs and tensor cores read them fastest.

    The layout decides the last bit of a sum, so that trained and restored models must have the same.
    """
    formats: dict[int, torch.memory_format] = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        # By the weight's own axes: a network for volumes may read them slice by slice.
        if weight.ndim in formats:
            weight.data = weight.data.to(memory_format=formats[weight.ndim])
        # A kernel of one voxel is in order either way; gradients, and so their exchange, come in the plain one.
        if weight.ndim > 2 and weight[0, 0].numel() == 1:
            shape = weight.shape
            weight.data = weight.data.contiguous().as_strided(shape, (shape[1], *[1] * (weight.ndim - 1)))
