"""How large a network is, how far it sees, and what it costs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from biomark.backbones import build


@dataclass(frozen=True)
class Description:
    """What a backbone is made of, how far it sees and what it costs.

    Attributes:
        parameters: Learned numbers.
        receptive_field: Boxes along each axis that the middle box's logit can depend on
            (:func:`receptive_field`).
        multiply_adds: Multiplications, each with its addition, that the convolutions and matrix products of one image
            take. Counts in FLOPs are twice as large.
    """

    parameters: int
    receptive_field: tuple[int, ...]
    multiply_adds: int


def describe(
    backbone: str | nn.Module,
    ndim: int,
    width: int,
    shape: Sequence[int],
    *,
    depth: int | None = None,
    fold: Sequence[int] = (),
) -> Description:
    """Count and measure a backbone on one image.

    Args:
        backbone: Name of a backbone, or a module, which is left as it is.
        ndim: 2 for slices, 3 for volumes.
        width: Channels of a named backbone at its finest scale.
        shape: Size of the image, ``(H, W)`` or ``(D, H, W)``.
        depth, fold: Of a named backbone, as :func:`biomark.backbones.build` takes them.

    Raises:
        ValueError: No backbone of that name, or ``shape`` has not ``ndim`` sides.
    """
    if len(shape) != ndim:
        raise ValueError(f"shape {tuple(shape)} has {len(shape)} sides, and ndim is {ndim}: give one side an axis.")
    with torch.random.fork_rng(devices=[]):  # building draws weights, and describing should change nothing
        net = copy.deepcopy(build(backbone, ndim, width, depth, fold)).cpu().eval()
        slim = build(backbone, ndim, 1, depth, fold)  # a named backbone sees as far at any width
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, *shape))
    parameters = sum(p.numel() for p in net.parameters())
    return Description(parameters, receptive_field(slim, shape), counter.get_total_flops() // 2)


def receptive_field(net: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """Measure along each axis how many boxes can change the logit of the middle box.

    It is where the gradient is not 0, in a copy whose weights are all positive, on an image that grows from its middle
    outwards: then no rectifier is shut, no two paths cancel, and every maximum comes from the farthest box. What a
    *trained* network uses of that field is usually less (Luo 2016).

    Args:
        net: A module ``(N, 1, *S) -> (N, 1, *S)``.
        shape: Size of the image, ``S``. No field is found larger than that. Where the net pools or gives one
            logit for a block, another box's field may be a few boxes wider or narrower.
    """
    net = copy.deepcopy(net).cpu().double().eval()
    module: Any
    for module in net.modules():
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1 / math.prod(parameter.shape[1:]))  # means, which neither grow nor vanish
    middle = [n // 2 for n in shape]
    axes = [torch.arange(n, dtype=torch.float64) - m for n, m in zip(shape, middle, strict=True)]
    distances = torch.stack(torch.meshgrid(*axes, indexing="ij")).abs()
    image = distances.sum(0)[None, None].requires_grad_()
    (slope,) = torch.autograd.grad(net(image)[(0, 0, *middle)], image)
    reached = slope[0, 0].nonzero()
    return tuple((reached.amax(0) - reached.amin(0) + 1).tolist())
