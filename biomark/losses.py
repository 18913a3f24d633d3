"""Arithmetic between a map and a number: the sum, and how far it is from what is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    """What training minimises when only numbers are known: the distance from sum to number, and three terms on the map.

    For :func:`biomark.fit` a loss is anything called like this one. A new term is one function and one field here.

    Attributes:
        scale: Where sums and numbers are compared: ``"linear"``, ``"squared"``, ``"sqrt"``, ``"log"``, or several
            joined by ``+``, as in ``"linear+log"`` for a biomarker from 0 to thousands (``losses.value_loss``).
        binarity: Weight of ``losses.binarity``, which grows from 0 at the start: first find the place, then decide.
        edges: Weight of ``losses.edges``, from the first sixth on, whole half way: sooner it freezes the first guess.
        shares: Weight of ``losses.shares``, where all candidates together already tell the number. It compares the
            cases of a batch; give it eight or more.

    Raises:
        ValueError: There is no such scale.
    """

    scale: str = "linear"
    binarity: float = 0.0
    edges: float = 0.0
    shares: float = 0.0

    def __post_init__(self) -> None:
        for name in self.scale.split("+"):
            if name not in SCALES:
                raise ValueError(f"values cannot be compared on a scale {name!r}: choose from {', '.join(SCALES)}.")

    @property
    def compares_cases(self) -> bool:  # and so needs two or more at a time
        return self.shares > 0

    def __call__(
        self, model: nn.Module, images_hu: Tensor, weights: Tensor, values: Tensor, *, progress: float = 1.0
    ) -> Tensor:
        """The loss of a batch. No mask is an argument.

        Args:
            model: Gives a :class:`~biomark.Localization` of images and weights, and has the typical value, ``scale``.
            images_hu: Hounsfield units, ``(N, 1, *S)``.
            weights: From ``task.weigh``, ``(N, *S)``.
            values: Known values, ``(N,)``.
            progress: How much of the training is done, from 0 to 1.
        """
        found = model(images_hu, weights)
        total = value_loss(found.value, values, model.scale, self.scale)
        if found.map is None and (self.binarity or self.edges):
            raise ValueError("binarity and edges judge a map, and this model has none: leave them at 0.")
        if weight := self.binarity * progress:
            total = total + weight * binarity(found.map, weights, model.scale)
        if weight := self.edges * min(1.0, max(0.0, 3 * progress - 0.5)):
            total = total + weight * edges(found.map, weights, images_hu[:, 0], model.scale)
        if self.shares:
            total = total + self.shares * shares(found.value, values, weights)
        return total


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


def binarity(maps: Tensor, weights: Tensor, typical: Tensor | float) -> Tensor:
    """How much candidate weight is left undecided, in units of ``typical``: the mean over cases of sum w m (1 - m).

    A number fixes only the total, so a faint map spread over all candidates can carry a part of it. This term is 0 for
    a map of zeros and ones. Our addition.

    Args:
        maps: ``(N, *S)`` in [0, 1].
        weights: ``(N, *S)``.
        typical: A typical value of the biomarker.
    """
    return aggregate(maps * (1 - maps), weights).mean() / typical


ALIKE_HU = 40.0
"""Difference at which two neighbours stop counting as alike in :func:`edges`, above the noise between two pixels (10 to
25 HU in the scans that this book looked at), far below the step from fat to muscle (150 HU). Ours."""


def edges(maps: Tensor, weights: Tensor, images_hu: Tensor, typical: Tensor | float) -> Tensor:
    """How long the map's outline is where nothing is to be seen, by area in units of ``typical``.

    It is the mean over cases of ``sum min(w_p, w_q) exp(-(h_p - h_q)^2 / 2 s^2) abs(m_p - m_q)`` over neighbouring
    voxels p and q, with h in HU and s = :data:`ALIKE_HU`: the contrast-sensitive Potts energy of graph cuts (Boykov and
    Jolly 2001), relaxed as by Tang et al. 2018. Our addition.

    Args:
        maps: ``(N, *S)`` in [0, 1].
        weights: ``(N, *S)``.
        images_hu: Hounsfield units, ``(N, *S)``.
        typical: A typical value of the biomarker.
    """
    total = torch.zeros((), device=maps.device)
    for axis in range(1, maps.ndim):
        n = maps.shape[axis] - 1
        (m, w, h), (m_next, w_next, h_next) = (
            [a.narrow(axis, start, n) for a in (maps, weights, images_hu)] for start in (0, 1)
        )
        alike = torch.minimum(w, w_next) * torch.exp(-((h - h_next) / ALIKE_HU).square() / 2)
        total = total + (alike * (m - m_next).abs()).sum()
    return total / len(maps) / typical


def shares(predicted: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """How badly the map's share of the candidates goes with the known share: 1 - Pearson's r over the cases of a batch.

    Where the tissue beside grows with the target, the same small value everywhere has nearly the right sum in every
    patient. But it takes the *same share* of everybody's candidates, which earns nothing here. Our addition.

    Args:
        predicted: Values, ``(N,)``.
        known: ``(N,)``, same unit.
        weights: ``(N, *S)``. A case without candidates has no share and is left out.

    Returns:
        A number from 0 to 2; 1 where all shares are alike, or fewer than two cases are left.
    """
    total = weights.float().flatten(1).sum(1)
    both = torch.stack([predicted.float(), known.float()])[:, total > 0] / total[total > 0]
    return 1 - F.cosine_similarity(*(both - both.mean(1, keepdim=True)), dim=0, eps=1e-6)


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
