"""Rivals of the localizer, made and trained as it is: those with a map are its network with another loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from biomark.backbones import pad_to_multiple
from biomark.cohort import Cohort
from biomark.localizer import Localization, Localizer, Model
from biomark.losses import SOFTENING
from biomark.machine.optimizers import AdamW
from biomark.tasks import area_cm2

HIGHEST_LOG = 10.0
"""Values end at exp(10) softenings, about 440 times the typical value; beyond, a step of training would overflow."""


class DirectRegressor(Model):
    """Image in, number out: the encoder of a backbone, its coarsest features pooled, and two layers.

    It sees what the localizer's encoder sees, starts from the typical value (``prior``), and takes the same
    :class:`~biomark.SumLoss`. It is told the size of a box, by which its answer is multiplied, over the training set's
    mean: an image does not show it, and the localizer knows it by its weights.
    What it lacks is the idea of this book, that the number is a sum over candidates.

    Raises:
        ValueError: The backbone has no ``encoder``.
    """

    needs_sizes = True
    own_optimizer = AdamW(0.003)
    encoder: Any
    size: Tensor

    def assemble(self, network: nn.Module) -> None:
        """Take the encoder, and add two layers."""
        if not hasattr(network, "encoder"):
            raise ValueError(
                f"a direct regressor reads the encoder of its backbone, and {type(network).__name__} has no attribute "
                "'encoder': give it one, shaped as biomark.backbones.Encoder."
            )
        self.encoder = network.encoder
        wide = self.encoder.channels[-1]
        first, last = nn.Linear(2 * wide, wide), nn.Linear(wide, 1)
        self.head: Any = nn.Sequential(first, nn.ReLU(inplace=True), last)
        # Small, so that training starts near the typical value, but not 0: a last layer of zeros hides the image from
        # the first steps, and training on skewed values then settles on their median.
        nn.init.normal_(last.weight, 0, 0.05)
        # Mean size of a box in the training set, mm2 or mm3.
        self.register_buffer("size", torch.ones(()))

    def forward(self, images_hu: Tensor, weights: Tensor | None = None, sizes: Tensor | None = None) -> Localization:
        """Predict values ``(N,)``, float32, not negative; there is no map.

        Args:
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: Not read.
            sizes: Of a box of each case, ``(N,)`` in mm2 or mm3. Without, boxes are of the training set's size.
        """
        image = pad_to_multiple(self.normalise(images_hu), self.encoder.multiple)
        features = self.encoder(image)[-1].flatten(2)
        # The mean says how much there is of something, the maximum whether there is any.
        pooled = torch.cat([features.mean(2), features.amax(2)], dim=1)
        # The head gives the logarithm of the value, as far as that can be told from 0 (losses.SOFTENING): so a score
        # of 10 is as easy to say as one of 1000, and 0 can be said too.
        above = F.softplus(self.head(pooled)[:, 0].float()).clamp(max=HIGHEST_LOG)
        larger = 1.0 if sizes is None else sizes / self.size
        return Localization(torch.expm1(above) * SOFTENING * self.scale * larger, None)

    def prepare(self, cohort: Cohort) -> None:
        """Take the typical value, spacing and size of a box from the training set, and start near that value.

        A model that was trained before has learned values in units of these, and keeps them.
        """
        trained, scale = self.trained, self.scale.clone()
        super().prepare(cohort)
        if trained:
            self.scale.copy_(scale)
            return
        self.size.fill_(float(np.prod(cohort.spacing_mm, axis=1).mean()))
        if self.prior:
            nn.init.constant_(self.head[-1].bias, math.log(1 / SOFTENING))  # softplus hardly changes it


@dataclass(frozen=True)
class MaskLoss:
    """What a segmenter minimises (:func:`biomark.baselines.mask_loss`), called as a SumLoss with the truth."""

    needs_truth = True

    def __call__(
        self, model: Localizer, images: Tensor, weights: Tensor, _: Tensor, truth: Tensor, **__: Any
    ) -> Tensor:
        """The loss of a batch; values are not read."""
        return mask_loss(model.logits(images), truth, weights)


def mask_loss(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy plus soft Dice loss of a segmentation, over the candidates alone, each box by its weight.

    Soft Dice (Milletari et al. 2016) and cross entropy with equal weight as in nnU-Net (Isensee et al. 2021). The
    overlap is that of all cases of a batch together: a single case may have no lesion. A box may lie in the mask in
    part; its share is what the map should say there.

    Args:
        logits: ``(N, *S)``.
        truth: What of the weights lies in the mask, ``(N, *S)``.
        weights: ``(N, *S)``.
    """
    unit = weights.sum().clamp_min(1e-9)
    share = (truth / weights.clamp_min(1e-9)).clamp(0, 1)
    entropy = F.binary_cross_entropy_with_logits(logits, share, weights, reduction="sum") / unit
    found = torch.sigmoid(logits)
    both, sizes = (weights * found * share).sum() / unit, (weights * (found + share)).sum() / unit
    return entropy + 1 - (2 * both + 1e-5) / (sizes + 1e-5)  # 1e-5 as in nnU-Net


class Segmenter(Localizer):
    """The localizer's network, taught with masks: what could be had if someone drew every training case.

    It learns by ``MaskLoss`` what share of each box belongs. Value and mask follow from its map as the localizer's do;
    the number serves for no more than the prior, from which training starts as the localizer's does.
    """

    own_loss = MaskLoss()


@dataclass(frozen=True)
class SizeLoss:
    """What a size-constrained model minimises (:func:`biomark.baselines.size_penalty`), called as a SumLoss."""

    slack: float = 0.1

    def __call__(self, model: Localizer, images: Tensor, weights: Tensor, values: Tensor, **_: Any) -> Tensor:
        """The loss of a batch."""
        return size_penalty(model(images, weights).value, values, model.scale, self.slack)


def size_penalty(predicted: Tensor, known: Tensor, typical: Tensor | float, slack: float = 0.1) -> Tensor:
    """How far sizes lie outside their bounds: the mean square of the excess, in units of ``typical``; 0 within.

    The penalty of Kervadec et al. 2019 with bounds for each image.

    Args:
        predicted: Sizes, ``(N,)``.
        known: ``(N,)``, same unit.
        typical: A typical size. With it the penalty means the same in any unit and at any number of pixels.
        slack: The bounds lie at ``1 - slack`` and ``1 + slack`` times the known size.
    """
    excess = F.relu(predicted - (1 + slack) * known) + F.relu((1 - slack) * known - predicted)
    return (excess / typical).square().mean()


class SizeConstrained(Localizer):
    """Segmentation from a known size alone: the whole map must cover about the right area.

    It learns by ``SizeLoss``, the constrained CNN loss of Kervadec et al. 2019 with bounds of 10 % about each
    image's size, without the few labelled pixels of the original: every rival gets the number and nothing else. Beside
    the localizer it lacks the candidates: area is counted over all pixels of the image, and so is the prior.

    Raises:
        ValueError: The task measures no area.
    """

    own_loss = SizeLoss()
    needs_sizes = True

    def assemble(self, network: nn.Module) -> None:
        """Take the whole backbone, for a task that measures an area."""
        super().assemble(network)
        if self.task.voxel_weight is not area_cm2 or self.task.ndim != 2:
            raise ValueError(
                f"task {self.task.key!r} measures no area in a slice, so that no number of pixels stands for its "
                "value: take a Localizer or a Segmenter."
            )

    def aggregate(self, maps: Tensor, weights: Tensor, sizes: Tensor | None = None) -> Tensor:
        """The map's area in cm2 over all of the image, candidate or not."""
        sizes = self.trained_spacing_mm.prod() if sizes is None else sizes
        return maps.float().flatten(1).sum(1) * sizes / 100  # mm2 to cm2

    def max_value(self, weights: NDArray, size: float) -> float:
        """The area of a map of ones: the whole image."""
        return weights.size * size / 100
