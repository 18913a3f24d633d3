"""Rivals of the localizer: they have its two methods, ``prepare`` and ``loss``, so that one loop trains them all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import build, pad_to_multiple
from .cohort import Cohort
from .losses import SOFTENING, value_loss
from .model import Localization, Model
from .tasks import Task

HIGHEST_LOG = 10.0
"""Values end at exp(10) softenings, about 440 times the typical value: beyond, a step of training would overflow."""


class DirectRegressor(Model):
    """Image in, number out: the encoder of a backbone, its coarsest features pooled, and two layers.

    It sees what the localizer's encoder sees, starts from the typical value, and has the same loss and training. What
    it lacks is the idea of this book: that the number is a sum over candidates, in a known unit.

    Args:
        task: What is measured: a :class:`~biomark.tasks.Task` or a key of ``TASKS``.
        backbone: Name of a backbone, or a module with an ``encoder`` as :class:`biomark.backbones.Encoder`.
        width: Channels of a named backbone at its finest scale.
    """

    def __init__(self, task: Task | str, backbone: str | nn.Module = "unet", width: int = 16) -> None:
        super().__init__(task, backbone, width)
        self.encoder = build(backbone, self.task.ndim, width).encoder
        wide = self.encoder.channels[-1]
        self.head = nn.Sequential(nn.Linear(2 * wide, wide), nn.ReLU(inplace=True), nn.Linear(wide, 1))
        # Small, so that training starts near the typical value, but not 0: a last layer of zeros hides the image from
        # the first steps, and training on skewed values then settles on their median.
        nn.init.normal_(self.head[-1].weight, 0, 0.05)

    def forward(self, images_hu: Tensor, weights: Tensor | None = None) -> Localization:
        """Predict.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: Not looked at.

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
        return Localization(torch.expm1(above) * SOFTENING * self.scale, None)

    def prepare(self, cohort: Cohort, *, prior: bool = True) -> None:
        """Take the typical value and the spacing from the training set; with ``prior``, start near that value."""
        super().prepare(cohort)
        if prior:
            nn.init.constant_(self.head[-1].bias, math.log(1 / SOFTENING))  # softplus hardly changes it

    def loss(
        self, images_hu: Tensor, weights: Tensor, values: Tensor, *, value_scale: str = "linear", **of_maps: float
    ) -> Tensor:
        """What training minimises: the distance between prediction and number. Terms that judge a map do not apply."""
        return value_loss(self(images_hu).value, values, self.scale, value_scale)
