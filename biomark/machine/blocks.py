"""Blocks of voxels as voxels with more channels, and images made as large as blocks need."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


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
    """Repeat the far edges until every side is a multiple: outside an image there is more of what is at its edge.

    Each side becomes at least ``least`` multiples long: kernels wider than the coarsest scale see little but padding.
    (And oneDNN, as of PyTorch 2.13, gives wrong bfloat16 gradients for volumes two voxels deep.)
    """
    pad: list[int] = []
    for n, m in zip(reversed(image.shape[2:]), reversed(multiple), strict=True):
        pad += [0, max(math.ceil(n / m), least) * m - n]
    return F.pad(image, pad, mode="replicate") if any(pad) else image
