"""The aggregation and the loss: arithmetic between a map and a number, and for the rivals a mask or a size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def aggregate(map: Tensor, weights: Tensor) -> Tensor:
    """The value that a map stands for: the weighted sum over voxels.

    Args:
        map: Membership of each voxel in [0, 1], ``(N, *S)``.
        weights: What each voxel would add, in the biomarker's unit, ``(N, *S)``.

    Returns:
        Values ``(N,)``, float32. The sum is taken in float32 whatever the map's precision; in half precision a sum
        over thousands of voxels loses its last digits or overflows.
    """
    if map.shape != weights.shape:
        raise ValueError(f"map {tuple(map.shape)} and weights {tuple(weights.shape)} must have one shape.")
    return (map.float() * weights.float()).flatten(1).sum(1)


SOFTENING = 0.02
"""Values well below a fiftieth of the typical one count as alike on the scales ``"sqrt"`` and ``"log"`` of
:func:`value_loss`; without it, the step from 0 to the smallest lesion would outweigh all others. Ours."""

FAR = 5.0
"""Difference, in typical values, beyond which ``"squared"`` of :func:`value_loss` goes on as a straight line; one giant
tumour must not outweigh all other images of a batch. Ours."""

_ON_SCALE = {
    "linear": lambda value: value,
    "sqrt": lambda value: torch.sqrt(value + SOFTENING),
    "log": lambda value: torch.log(value + SOFTENING),
}
SCALES = (*_ON_SCALE, "squared")
"""Where values can be compared."""


def value_loss(predicted: Tensor, known: Tensor, scale: Tensor | float, value_scale: str = "linear") -> Tensor:
    """Mean absolute difference of values, on a linear, square root or logarithmic scale; or the squared difference.

    An area varies by a factor of two or three between people, a calcium score from 0 to thousands: on a linear scale
    training mostly hears the hearts with the most, whose candidates weigh most. On a square root a count's noise, on a
    logarithm a product's, is as large for high values as for low ones.

    Where many images hold nothing and a few hold much, as with tumours, the absolute difference is satisfied by their
    median long before anything is located; the square listens to the few, which say most about what to look for.

    Args:
        predicted: ``(N,)``, not negative.
        known: ``(N,)``, same unit.
        scale: A typical value of the biomarker. With it the loss, and so the learning rate, means the same for a fat
            area of 160 cm2 and a muscle area of 28 cm2.
        value_scale: ``"linear"``: ``|p - k|`` in units of ``scale``. ``"sqrt"`` and ``"log"``: the same of square roots
            and logarithms of values in units of ``scale``, to which :data:`SOFTENING` is added. ``"squared"``: half of
            ``|p - k|**2``, linear beyond :data:`FAR` (Huber 1964). Several, joined by ``+`` as in ``"linear+log"``,
            are added.

    Raises:
        ValueError: No such scale.
    """
    predicted, known = predicted / scale, known / scale
    total = torch.zeros((), device=predicted.device)
    for name in value_scale.split("+"):
        if name not in SCALES:
            raise ValueError(f"values cannot be compared on a scale {name!r}: choose from {', '.join(SCALES)}.")
        if name == "squared":
            total = total + F.huber_loss(predicted, known, delta=FAR)
            continue
        total = total + (_ON_SCALE[name](predicted) - _ON_SCALE[name](known)).abs().mean()
    return total


def indecision(map: Tensor, weights: Tensor, scale: Tensor | float) -> Tensor:
    """How much candidate weight is left undecided, in units of ``scale``: the mean over cases of sum w m (1 - m).

    A number fixes only the total, so a faint map spread over all candidates can carry a part of it. This term is 0 for
    a map of zeros and ones. It is our addition; the paper's abstract knows no such term.

    Args:
        map: ``(N, *S)`` in [0, 1].
        weights: ``(N, *S)``.
        scale: A typical value of the biomarker.
    """
    return aggregate(map * (1 - map), weights).mean() / scale


ALIKE_HU = 40.0
"""Difference in HU at which two neighbours stop counting as alike in :func:`outline`, above the noise between two
pixels (10 to 25 HU in the scans that this book looked at), far below the step from fat to muscle (150 HU)."""


def outline(map: Tensor, weights: Tensor, images_hu: Tensor, scale: Tensor | float) -> Tensor:
    """How long the map's outline is where nothing is to be seen, by area in units of ``scale``.

    It is the mean over cases of ``sum min(w_p, w_q) exp(-(h_p - h_q)^2 / 2 s^2) abs(m_p - m_q)`` over neighbouring
    voxels p and q, with h in HU and s = :data:`ALIKE_HU`: of an area, that of a band one pixel wide along the outline.
    The same outline counts half in pixels half as wide, so that a weight chosen for one size of pixel is not that for
    another.

    A number does not say where a region's edge runs: a strip too many here pays for a strip too few there. Anatomy
    ends at visible edges, and this term makes an edge through like tissue cost something, one along a step in HU next
    to nothing. It is the contrast-sensitive Potts energy of graph cuts (Boykov and Jolly 2001) in the relaxed form of
    Tang et al. 2018, and our addition: the paper's abstract knows no such term.

    Args:
        map: ``(N, *S)`` in [0, 1].
        weights: ``(N, *S)``.
        images_hu: Hounsfield units, ``(N, *S)``.
        scale: A typical value of the biomarker.
    """
    total = torch.zeros((), device=map.device)
    for axis in range(1, map.ndim):
        n = map.shape[axis] - 1
        (m, w, h), (m_next, w_next, h_next) = (
            [a.narrow(axis, start, n) for a in (map, weights, images_hu)] for start in (0, 1)
        )
        alike = torch.minimum(w, w_next) * torch.exp(-((h - h_next) / ALIKE_HU).square() / 2)
        total = total + (alike * (m - m_next).abs()).sum()
    return total / len(map) / scale


def share_mismatch(predicted: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """How badly the map's share of the candidates goes with the known share: 1 - Pearson's r over the cases of a batch.

    Where the tissue beside grows with the target, a map that gives every candidate the same small value has nearly the
    right sum in every patient; so little error is left that training stays there. But such a map takes the *same
    share* of everybody's candidates, and that earns nothing here. The term asks what the candidates' total cannot
    answer: in whom is the target large for that total? It is our addition; the paper's abstract knows no such term.

    Args:
        predicted: Values, ``(N,)``.
        known: ``(N,)``, same unit.
        weights: ``(N, *S)``. A case without candidates has no share and is left out.

    Returns:
        A number from 0 to 2; 1 where all shares are alike, or fewer than two cases are left.
    """
    total = weights.float().flatten(1).sum(1)
    shares = torch.stack([predicted.float(), known.float()])[:, total > 0] / total[total > 0]
    return 1 - F.cosine_similarity(*(shares - shares.mean(1, keepdim=True)), dim=0, eps=1e-6)


def terms(progress: float, *, decide: float, smooth: float, shares: float) -> dict[str, float]:
    """The terms beside the value's, with their weights at this point, 0 to 1, of a training.

    Only what weighs something is named, so that a model without a map is never asked for what it does not know.
    """
    weights = {"decide": decide * progress, "smooth": smooth * min(1.0, max(0.0, 3 * progress - 0.5)), "shares": shares}
    return {name: weight for name, weight in weights.items() if weight}


def prior_logit(values: Tensor, weights: Tensor) -> Tensor:
    """The bias from which training starts: the logit of the share of candidate weight that belongs, over the
    training set.

    With it the first, uniform map already sums to the right total. From a zero bias (a map of one half) the network
    first spends its time on size, often by a uniformly small map that it never leaves.

    Args:
        values: Known values, ``(N,)``.
        weights: ``(N, *S)``.
    """
    total = weights.double().sum()
    if total <= 0:
        raise ValueError(
            "no training case has a candidate voxel: check that images are in Hounsfield units and spacing in mm."
        )
    # Beyond these shares the gradient of the sigmoid is too small to learn from.
    return torch.logit((values.double().sum() / total).clamp(1e-3, 1 - 1e-3)).float()


def mask_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy plus soft Dice loss of a segmentation, over the candidates alone.

    It is the usual loss of supervised segmentation: soft Dice (Milletari et al. 2016) for regions that are a small
    part of the image, cross entropy for a gradient at every voxel, added with equal weight as in nnU-Net (Isensee et
    al. 2021). The overlap is taken of all cases of a batch together, as nnU-Net can: a single case may have no lesion.

    Voxels outside the candidates are left out, because no value and no Dice ever looks at them; so both this loss and
    the one on the sum put one question to the network: which of the candidates? It also does away with most of the
    imbalance: calcium fills a ten thousandth of a heart box, but a good part of what is brighter than 130 HU.

    Args:
        logits: ``(N, *S)``.
        masks: True regions, boolean, ``(N, *S)``.
        weights: ``(N, *S)``; only whether they are above 0 counts.
    """
    candidates = (weights > 0).float()
    truth = masks.float() * candidates
    entropy = F.binary_cross_entropy_with_logits(logits, truth, candidates, reduction="sum")
    found = torch.sigmoid(logits) * candidates
    overlap = (2 * (found * truth).sum() + 1e-5) / (found.sum() + truth.sum() + 1e-5)  # 1e-5 as in nnU-Net
    return entropy / candidates.sum().clamp_min(1) + 1 - overlap


def size_penalty(predicted: Tensor, known: Tensor, scale: Tensor | float, slack: float = 0.1) -> Tensor:
    """How far sizes lie outside their bounds: the mean square of the excess, in units of ``scale``; 0 within.

    The penalty of Kervadec et al. 2019 with bounds for each image.

    Args:
        predicted: Sizes, ``(N,)``.
        known: ``(N,)``, same unit.
        scale: A typical size. With it the penalty means the same in any unit and at any number of pixels.
        slack: The bounds lie at ``1 - slack`` and ``1 + slack`` times the known size.
    """
    excess = F.relu(predicted - (1 + slack) * known) + F.relu((1 - slack) * known - predicted)
    return (excess / scale).square().mean()
