"""Rivals of the localizer: they have its two methods, ``prepare`` and ``loss``, so that one loop trains them all.

Those with a map are the localizer with another loss: same network, same start, same way to look at a case.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import build, pad_to_multiple
from .cohort import Cohort
from .localizer import Localizer
from .losses import SOFTENING, aggregate, mask_loss, size_penalty, value_loss
from .model import Localization, Model
from .tasks import Task, area_cm2

HIGHEST_LOG = 10.0
"""Values end at exp(10) softenings, about 440 times the typical value; beyond, a step of training would overflow."""


class DirectRegressor(Model):
    """Image in, number out: the encoder of a backbone, its coarsest features pooled, and two layers.

    It sees what the localizer's encoder sees, starts from the typical value, and has the same loss and training. Where
    all candidates of a case are worth the same, as the pixels of an area are, its answer is multiplied by that worth
    over the training set's mean: an image does not show how many millimetres its pixels have, and the localizer knows
    by its weights. What it lacks is the idea of this book: that the number is a sum over candidates.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module with an ``encoder`` as :class:`biomark.backbones.Encoder`.
        width: Channels of a named backbone at its finest scale.

    Raises:
        ValueError: The backbone has no encoder.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module = "unet", width: int = 16) -> None:
        super().__init__(task, backbone, width)
        network = build(backbone, self.task.ndim, width)
        if not hasattr(network, "encoder"):
            raise ValueError(
                f"a direct regressor reads the encoder of its backbone, and {type(network).__name__} has no attribute "
                "'encoder': give it one, shaped as biomark.backbones.Encoder."
            )
        self.encoder = network.encoder
        wide = self.encoder.channels[-1]
        self.head = nn.Sequential(nn.Linear(2 * wide, wide), nn.ReLU(inplace=True), nn.Linear(wide, 1))
        # Small, so that training starts near the typical value, but not 0: a last layer of zeros hides the image from
        # the first steps, and training on skewed values then settles on their median.
        nn.init.normal_(self.head[-1].weight, 0, 0.05)
        # What a voxel is worth in the training set; 0 where voxels of one case differ, as with density factors.
        self.register_buffer("voxel", torch.zeros(()))

    def forward(self, images_hu: Tensor, weights: Tensor | None = None) -> Localization:
        """Predict.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``: only the largest of each case is read, and that where all
                candidates of a case are worth the same. Without, voxels are taken to be of the training set's size.

        Returns:
            Values ``(N,)``, float32, not negative. There is no map.
        """
        image = pad_to_multiple(self.normalised(images_hu), self.encoder.multiple)
        features = self.encoder(image)[-1].flatten(2)
        # The mean says how much there is of something, the maximum whether there is any.
        pooled = torch.cat([features.mean(2), features.amax(2)], dim=1)
        # The head gives the logarithm of the value, as far as that can be told from 0 (losses.SOFTENING): so a score
        # of 10 is as easy to say as one of 1000, and 0 can be said too.
        above = F.softplus(self.head(pooled)[:, 0].float()).clamp(max=HIGHEST_LOG)
        return Localization(torch.expm1(above) * SOFTENING * self.scale * self._size(weights), None)

    def _size(self, weights: Tensor | None) -> Tensor:
        """How many times a voxel of the training set one of each case is worth, ``(N,)``; 1 where it is not told."""
        if weights is None:
            return torch.ones_like(self.voxel)
        worth = weights.flatten(1).amax(1)
        return torch.where((worth > 0) & (self.voxel > 0), worth / self.voxel.clamp_min(1e-12), 1.0)

    def prepare(self, cohort: Cohort, *, prior: bool = True) -> None:
        """Take the typical value, spacing and worth of a voxel from the training set; with ``prior``, start near that
        value.

        A model that was trained before has learned values in units of these, and keeps them.
        """
        trained, scale = not self.trained_spacing_mm.isnan().any(), self.scale.clone()
        super().prepare(cohort)
        if trained:
            self.scale.copy_(scale)
            return
        candidates = [weights[weights > 0] for weights in cohort.weights if weights.any()]
        if candidates and all(worth.min() == worth.max() for worth in candidates):
            self.voxel.fill_(float(np.mean([worth[0] for worth in candidates])))
        if prior:
            nn.init.constant_(self.head[-1].bias, math.log(1 / SOFTENING))  # softplus hardly changes it

    def loss(
        self,
        images_hu: Tensor,
        weights: Tensor,
        values: Tensor,
        *,
        value_scale: str = "linear",
        decide: float = 0.0,
        smooth: float = 0.0,
        shares: float = 0.0,
    ) -> Tensor:
        """What training minimises: the distance between prediction and number.

        ``decide``, ``smooth`` and ``shares`` judge a map and do not apply.
        """
        return value_loss(self(images_hu, weights).value, values, self.scale, value_scale)


class Segmenter(Localizer):
    """The localizer's network, taught with masks: what could be had if someone drew every training case.

    It is asked which candidates belong (:func:`biomark.losses.mask_loss`), and its value is measured as a drawn mask
    is: the sum of the weights where its map exceeds one half. The number serves for no more than the prior, from which
    training starts as the localizer's does.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module ``(N, 1, *S) -> (N, 1, *S)``.
        width: Channels of a named backbone at full resolution.
    """

    learns_from_masks = True

    def measured(self, map: Tensor, weights: Tensor) -> Tensor:
        """The values of the masks that the maps become at one half."""
        return aggregate(map > 0.5, weights)

    def loss(
        self,
        images_hu: Tensor,
        weights: Tensor,
        values: Tensor,
        masks: Tensor,
        *,
        value_scale: str = "linear",
        decide: float = 0.0,
        smooth: float = 0.0,
        shares: float = 0.0,
    ) -> Tensor:
        """What training minimises: cross entropy and soft Dice among the candidates.

        ``value_scale``, ``decide``, ``smooth`` and ``shares`` mend what a number leaves open, and do not apply.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``; only whether they are above 0 counts.
            values: Not looked at.
            masks: True regions, boolean, ``(N, *S)``.
        """
        return mask_loss(self.logits(images_hu), masks, weights)


class SizeConstrained(Localizer):
    """Segmentation from a known size alone: the whole map must cover about the right area.

    It is the constrained CNN loss of Kervadec et al. 2019 with bounds of 10 % about each image's size: no penalty
    within, a quadratic one outside (:func:`biomark.losses.size_penalty`). Beside the localizer it lacks the
    candidates: the area is counted over all pixels of the image, and a pixel of air is as good as one of fat. The
    value is that area. (Reports still count Dice and energy among the candidates, which is generous.)

    It differs from the original in that no pixel is labelled: there, a few labelled pixels inside the region and
    their cross entropy say what the size only bounds; here every rival gets the number and nothing else. The penalty
    is in units of the typical area, not of pixels, and training starts from the prior as the localizer's does, taken
    over all pixels.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``. It must measure an area.
        backbone: Name of a backbone, or a module ``(N, 1, *S) -> (N, 1, *S)``.
        width: Channels of a named backbone at full resolution.

    Raises:
        ValueError: The task measures no area.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module = "unet", width: int = 16) -> None:
        super().__init__(task, backbone, width)
        if self.task.worth is not area_cm2 or self.task.ndim != 2:
            raise ValueError(
                f"task {self.task.key!r} measures no area in a slice, so that no number of pixels stands for its "
                "value: take a Localizer or a Segmenter."
            )

    def measured(self, map: Tensor, weights: Tensor) -> Tensor:
        """The map's area in cm2 over all pixels of the image."""
        return aggregate(map, everywhere(weights))

    def most(self, weights: NDArray) -> float:
        """The area of a map of ones: the whole image."""
        return float(weights.max() * weights.size)

    def loss(
        self,
        images_hu: Tensor,
        weights: Tensor,
        values: Tensor,
        *,
        value_scale: str = "linear",
        decide: float = 0.0,
        smooth: float = 0.0,
        shares: float = 0.0,
    ) -> Tensor:
        """What training minimises: how far the area lies outside its bounds. The localizer's terms do not apply."""
        return size_penalty(self(images_hu, weights).value, values, self.scale)


def everywhere(weights: Tensor) -> Tensor:
    """The area of a pixel at every pixel, candidate or not.

    The weights of an area are the pixel's area at candidates and 0 elsewhere, so that their maximum over a case is
    that area. A case without a single candidate stays at 0: its area is 0 whatever its map.

    Args:
        weights: From the ``weigh`` of a task that measures an area, ``(N, H, W)``.
    """
    return weights.amax((1, 2), keepdim=True).expand_as(weights)
