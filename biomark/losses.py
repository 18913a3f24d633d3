"""Arithmetic between a map and a number: the sum, and how far it is from what is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def aggregate(maps: Tensor, weights: Tensor) -> Tensor:
    """The value that a map stands for: the weighted sum over voxels.

    Args:
        maps: Membership of each voxel in [0, 1], ``(N, *S)``.
        weights: What each voxel would add, in the biomarker's unit, ``(N, *S)``.

    Returns:
        Values ``(N,)``, summed in float32; half precision would lose the last digits or overflow.
    """
    if maps.shape != weights.shape:
        raise ValueError(f"maps {tuple(maps.shape)} and weights {tuple(weights.shape)} must have one shape.")
    return (maps.float() * weights.float()).flatten(1).sum(1)


@dataclass(frozen=True)
class SumLoss:
    """What training minimises when only numbers are known: the distance from sum to number, and nothing else.

    For :func:`biomark.fit` a loss is anything called like this one: chapter 12 writes one with terms on the map.

    Attributes:
        scale: Where sums and numbers are compared: ``"linear"``, ``"squared"``, ``"sqrt"``, ``"log"``, or several
            joined by ``+``, as in ``"linear+log"`` for a biomarker from 0 to thousands (``losses.value_loss``).

    Raises:
        ValueError: There is no such scale.
    """

    scale: str = "linear"

    def __post_init__(self) -> None:
        for name in self.scale.split("+"):
            if name not in SCALES:
                raise ValueError(f"values cannot be compared on a scale {name!r}: choose from {', '.join(SCALES)}.")

    def __call__(
        self, model: Any, images_hu: Tensor, weights: Tensor, values: Tensor, *, progress: float = 1.0
    ) -> Tensor:
        """The loss of a batch. No mask is an argument.

        Args:
            model: Gives a :class:`~biomark.Localization` of images and weights, and has the typical value, ``scale``.
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``.
            values: Known values, ``(N,)``.
            progress: How much of the training is done, from 0 to 1.
        """
        return value_loss(model(images_hu, weights).value, values, model.scale, self.scale)


SOFTENING = 0.02
"""Values well below a fiftieth of the typical one count as alike on the scales ``"sqrt"`` and ``"log"``; else the step
from 0 to the smallest lesion would outweigh all others. Ours."""

FAR = 5.0
"""Difference, in typical values, beyond which ``"squared"`` goes on as a straight line; one giant tumour must not
outweigh all other images of a batch. Ours."""

_ON_SCALE = {
    "linear": lambda value: value,
    "sqrt": lambda value: torch.sqrt(value + SOFTENING),
    "log": lambda value: torch.log(value + SOFTENING),
}
SCALES = (*_ON_SCALE, "squared")
"""Where values can be compared."""


def value_loss(predicted: Tensor, known: Tensor, typical: Tensor | float, scale: str = "linear") -> Tensor:
    """Mean absolute difference of values, on a linear, square root or logarithmic scale; or the squared difference.

    Args:
        predicted: ``(N,)``, not negative.
        known: ``(N,)``, same unit.
        typical: A typical value of the biomarker. With it the loss, and so the learning rate, means the same for a fat
            area of 160 cm2 and a muscle area of 28 cm2.
        scale: ``"linear"``: ``|p - k|`` in units of ``typical``. ``"sqrt"`` and ``"log"``: the same of square roots
            and logarithms of values in these units, to which :data:`SOFTENING` is added: as loud for low values as for
            high ones. ``"squared"``: half of ``|p - k|**2``, linear beyond :data:`FAR` (Huber 1964): where most images
            hold nothing, the absolute difference is content with their median. Several are joined by ``+`` and added.
    """
    predicted, known = predicted / typical, known / typical
    total = torch.zeros((), device=predicted.device)
    for name in scale.split("+"):
        if name == "squared":
            total = total + F.huber_loss(predicted, known, delta=FAR)
        else:
            total = total + (_ON_SCALE[name](predicted) - _ON_SCALE[name](known)).abs().mean()
    return total


def prior_logit(values: Tensor, weights: Tensor) -> Tensor:
    """The bias from which training starts: the logit of the share of candidate weight that belongs, over all cases.

    With it the first, uniform map already sums to the right total. From a map of one half the network first spends its
    time on size, often by a uniformly small map that it never leaves.

    Args:
        values: Known values, ``(N,)``.
        weights: ``(N, *S)``, or their sum in each case, ``(N,)``.
    """
    total = weights.double().sum()
    if total <= 0:
        raise ValueError(
            "no training case has a candidate voxel: check that images are in Hounsfield units and spacing in mm."
        )
    # Beyond these shares the gradient of the sigmoid is too small to learn from.
    return torch.logit((values.double().sum() / total).clamp(1e-3, 1 - 1e-3)).float()
