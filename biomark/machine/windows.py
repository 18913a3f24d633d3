"""A network's map of an image that is too large for it, window by window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor

ALIGNED = 16
"""Windows begin at multiples of this many voxels, so that what a network pools lies where it would in the whole image.
Ours: 8 does for the named backbones, 16 for most others."""

OVERLAP = 0.25
"""The least share of a window's side that it has in common with the next one. As in MONAI's sliding windows."""


def check(window: Sequence[int], ndim: int) -> None:
    """Refuse a window of other than ``ndim`` sides, or with one below two steps of :data:`ALIGNED`."""
    if len(window) != ndim or min(window) < 2 * ALIGNED:
        raise ValueError(
            f"the window {tuple(window)} does not suit images of {ndim} axes: give {ndim} sides of {2 * ALIGNED} "
            "voxels or more (a side may be longer than the image's)."
        )


def blend(network: Callable[[Tensor], Tensor], image: Tensor, window: Sequence[int] | None) -> Tensor:
    """The map of an image, from overlapping windows whose maps fade into one another.

    Near a seam it may differ from that of the whole image, most at the rim of a window, which counts least.

    Args:
        network: ``(1, 1, *W) -> (1, *W)``, a map in [0, 1] of a window of that size or smaller.
        image: ``(1, 1, *S)``.
        window: Voxels on each side. None, or a window as large as the image, calls the network once.

    Returns:
        The map, ``(1, *S)``.
    """
    sides = image.shape[2:]
    if window is None:
        return network(image)
    check(window, len(sides))
    spans = [_spans(n, w) for n, w in zip(sides, window, strict=True)]
    if all(len(along) == 1 for along in spans):
        return network(image)
    shares = [_shares(n, along) for n, along in zip(sides, spans, strict=True)]
    membership = torch.zeros(1, *sides)
    for chosen in itertools.product(*(zip(*pair, strict=True) for pair in zip(spans, shares, strict=True))):
        where: tuple[Any, ...] = (..., *(slice(*span) for span, _ in chosen))
        part = network(image[where]).cpu()
        for axis, (_, share) in enumerate(chosen):
            part = part * share.view(-1, *[1] * (len(sides) - 1 - axis))
        membership[where] += part
    # Shares add up to 1 but for the last bit.
    return membership.clamp_(max=1)


def _spans(n: int, window: int) -> list[tuple[int, int]]:
    """Where windows begin and end along an axis of n voxels: as few as will do, evenly spread."""
    if window >= n:
        return [(0, n)]
    whole, wide = ceil(n / ALIGNED), window // ALIGNED
    count = ceil((whole - wide) / (wide - ceil(OVERLAP * wide))) + 1
    firsts = torch.linspace(0, whole - wide, count, dtype=torch.float64).round().int().tolist()
    return [(ALIGNED * first, min(ALIGNED * (first + wide), n)) for first in firsts]


def _shares(n: int, spans: list[tuple[int, int]]) -> list[Tensor]:
    """What each window counts in its voxels along an axis: more in its middle than at a seam, 1 in all together."""
    heights = torch.zeros(len(spans), n, dtype=torch.float64)
    for height, (first, last) in zip(heights, spans, strict=True):
        voxel = torch.arange(first, last)
        # The rim of the image is no seam.
        from_first = voxel - first + 1 if first else torch.full_like(voxel, n)
        to_last = last - voxel if last < n else torch.full_like(voxel, n)
        height[first:last] = torch.minimum(from_first, to_last)
    shares = (heights / heights.sum(0)).float()
    return [share[first:last] for share, (first, last) in zip(shares, spans, strict=True)]
