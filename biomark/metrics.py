"""How well a map lies on the truth: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def dice(found: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Dice overlap of each case, twice the common part over the sum of both parts.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.

    Returns:
        ``(N,)`` in [0, 1]; nan where the truth is empty, because no overlap is possible there and any number would
        be a choice.
    """
    _same(found, truth)
    axes = tuple(range(1, np.ndim(truth)))
    both, sizes = np.sum(found & truth, axis=axes), np.sum(found, axis=axes) + np.sum(truth, axis=axes)
    return np.where(np.any(truth, axis=axes), 2 * both / np.maximum(sizes, 1), np.nan)


def energy_in_mask(contribution: NDArray, truth: NDArray) -> float:
    """Share of the predicted biomarker that comes from inside the truth: sum over cases over sum over cases.

    Args:
        contribution: Map times weights, ``(N, *S)``, not negative.
        truth: Boolean, ``(N, *S)``.

    Returns:
        A number in [0, 1]; nan when nothing at all is predicted.
    """
    _same(contribution, truth)
    total = np.sum(contribution, dtype=float)
    return float(np.sum(contribution, where=truth, dtype=float) / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class Lesions:
    """The separate parts of a truth and of what was found, in one case or in many.

    Attributes:
        worth: What each true lesion adds to the biomarker, ``(K,)``.
        share: Share of that which was found, ``(K,)``.
        false_worth: What each found lesion that is not true adds, ``(L,)``.
    """

    worth: NDArray[np.float64]
    share: NDArray[np.float64]
    false_worth: NDArray[np.float64]

    @property
    def f1(self) -> float:
        """Twice the lesions found over twice these, the missed and the false ones; nan where there are none at all."""
        hits = np.count_nonzero(self.share >= 0.5)
        total = hits + len(self.share) + len(self.false_worth)
        return 2 * hits / total if total else float("nan")

    @property
    def missed(self) -> int:
        """True lesions of which less than half was found."""
        return int(np.count_nonzero(self.share < 0.5))


def lesions(found: NDArray, truth: NDArray, weights: NDArray) -> Lesions:
    """Match the lesions of one case: parts that hang together, by corners too.

    A true lesion is found when at least half of its weight is; a found one is false when less than half of its weight
    is true. The common rule, one shared voxel, would reward a map that marks everything.

    Args:
        found: Boolean, ``S``.
        truth: Boolean, ``S``.
        weights: What each voxel adds to the biomarker, ``S``.
    """
    _same(found, truth)
    worth, share = _parts(truth, found, weights)
    found_worth, true_share = _parts(found, truth, weights)
    return Lesions(worth, share, found_worth[true_share < 0.5])


def together(cases: Sequence[Lesions]) -> Lesions:
    """The lesions of many cases as one list."""
    cases = [Lesions(np.zeros(0), np.zeros(0), np.zeros(0)), *cases]
    return Lesions(*(np.concatenate([getattr(c, k) for c in cases]) for k in ("worth", "share", "false_worth")))


def _parts(mask: NDArray, other: NDArray, weights: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of each part of a mask, and the share of it that lies in the other mask."""
    mask = mask & (weights > 0)  # what adds nothing is no lesion
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    labels, weights = labels[mask], weights[mask].astype(float)
    worth = np.bincount(labels, weights, count + 1)[1:]
    return worth, np.bincount(labels, weights * other[mask], count + 1)[1:] / worth


def _same(a: NDArray, b: NDArray) -> None:
    if np.shape(a) != np.shape(b):
        raise ValueError(f"arrays of shape {np.shape(a)} and {np.shape(b)} cannot be compared: give them one shape.")
