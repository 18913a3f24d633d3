"""Batch normalisation by the statistics of the whole batch, on however many processes it is computed."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Total(torch.autograd.Function):
    """The sum of a tensor over all processes, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process used the total, so what it is worth to any of them counts.
        return Total.apply(gradient.contiguous())


class _Together(nn.Module):
    """Mixed into a batch normalisation of PyTorch, which it is to the last bit on a single process.

    PyTorch's own ``SyncBatchNorm`` has no kernels for CPUs, and so could be neither tested nor taught without several
    GPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
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
