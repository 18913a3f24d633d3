"""How well a map lies on the truth: arrays in, numbers out.

One policy for what cannot be measured, so that a model never gains by finding nothing: a case whose truth is empty is
nan in every metric, because no overlap is possible there and any number would be a choice; a case with a truth on
which nothing was found keeps the worst value there is, 0 or the diagonal of the image in mm. Average with
``np.nanmean``, and report empty cases by what is falsely found in them.

Masks are boolean; 0 and 1 of any other type are read as such, and anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from biomark.machine.masks import alike, booleans, same_shape


def dice(found: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Dice overlap of each case, twice the common part over the sum of both parts.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.

    Returns:
        ``(N,)`` in [0, 1]; nan where the truth is empty.

    >>> truth = np.array([[True, True, False, False], [False] * 4])
    >>> dice(np.array([[False, True, True, False], [True] * 4]), truth)
    array([0.5, nan])
    """
    found, truth = alike(found, truth)
    # Case by case: numpy counts a mask several times faster than it sums it along axes.
    counts = [[np.count_nonzero(m) for m in (f & t, f, t)] for f, t in zip(found, truth, strict=True)]
    both, ours, theirs = np.array(counts, float).reshape(-1, 3).T
    return np.divide(2 * both, ours + theirs, out=np.full(len(both), np.nan), where=theirs > 0)


def precision(found: NDArray, truth: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Share of what was found that is true, by weight: for an area its square centimetres, not its pixels.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.
        weights: What each voxel adds to the biomarker, ``(N, *S)``.

    Returns:
        ``(N,)`` in [0, 1]; 0 where nothing of weight was found, nan where the truth has no weight.
    """
    return _share(found, truth, weights, of=found)


def recall(found: NDArray, truth: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Share of the truth that was found, by weight.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.
        weights: What each voxel adds to the biomarker, ``(N, *S)``.

    Returns:
        ``(N,)`` in [0, 1]; nan where the truth has no weight.
    """
    return _share(found, truth, weights, of=truth)


def hd95(found: NDArray, truth: NDArray, spacing_mm: ArrayLike) -> NDArray[np.float64]:
    """Hausdorff distance without its farthest 5 %, in mm.

    The surface of a mask are its voxels of which a face touches the outside, and the edge of the image counts as
    outside. From each surface voxel of the one to the nearest of the other, centre to centre: the 95th percentile in
    either direction, and the larger of both. Programs differ in all of this; MONAI does the same.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.
        spacing_mm: Voxel spacing of all cases, ``(ndim,)``, or of each, ``(N, ndim)``.

    Returns:
        ``(N,)``; where nothing was found the diagonal of the image, which no distance exceeds; nan where the truth is
        empty.
    """

    def worse(there: NDArray, back: NDArray) -> float:
        return float(max(np.percentile(there, 95), np.percentile(back, 95)))

    spacing_mm = _spacings(spacing_mm, truth)
    diagonals = np.linalg.norm((np.array(np.shape(truth)[1:]) - 1) * spacing_mm, axis=1)
    return _by_surface(found, truth, spacing_mm, worse, diagonals)


def surface_dice(found: NDArray, truth: NDArray, spacing_mm: ArrayLike, *, tolerance_mm: float) -> NDArray[np.float64]:
    """Normalised surface Dice: share of both surfaces that lies within a tolerance of the other one.

    Nikolov et al., J. Med. Internet Res. 23 (2021) e26151. Surfaces are voxels, as in :func:`hd95` and in
    MONAI, and each counts once; the authors' own program weighs them by their area.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.
        spacing_mm: Voxel spacing of all cases, ``(ndim,)``, or of each, ``(N, ndim)``.
        tolerance_mm: Distance that is still right: choose what two readers differ by.

    Returns:
        ``(N,)`` in [0, 1]; 0 where nothing was found, nan where the truth is empty.
    """

    def within(there: NDArray, back: NDArray) -> float:
        return float(np.mean(np.concatenate([there, back]) <= tolerance_mm))

    return _by_surface(found, truth, _spacings(spacing_mm, truth), within, np.zeros(len(truth)))


def energy(contribution: NDArray, truth: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each case's map adds to the biomarker inside the truth, and in all.

    Args:
        contribution: Map times weights, ``(N, *S)``, not negative.
        truth: Boolean, ``(N, *S)``.

    Returns:
        Two arrays ``(N,)`` in the unit of the biomarker.
    """
    same_shape(contribution, truth)
    truth = booleans(truth)
    axes = tuple(range(1, np.ndim(truth)))
    return np.sum(contribution, axis=axes, where=truth, dtype=float), np.sum(contribution, axis=axes, dtype=float)


def energy_in_mask(contribution: NDArray, truth: NDArray) -> float:
    """Share of the predicted biomarker that comes from inside the truth: sum over cases over sum over cases.

    Args:
        contribution: Map times weights, ``(N, *S)``, not negative.
        truth: Boolean, ``(N, *S)``.

    Returns:
        A number in [0, 1]; nan when nothing at all is predicted.
    """
    inside, total = (sums.sum() for sums in energy(contribution, truth))
    return float(inside / total) if total > 0 else float("nan")


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
    found, truth = alike(found, truth)
    same_shape(weights, truth)
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


def _share(found: NDArray, truth: NDArray, weights: NDArray, *, of: NDArray) -> NDArray[np.float64]:
    """Weight of what was rightly found over that of a mask, 0 where the mask has none, nan where the truth has none."""
    found, truth = alike(found, truth)
    same_shape(weights, truth)
    axes = tuple(range(1, np.ndim(truth)))
    parts = found & truth, booleans(of), truth
    right, whole, true = (np.sum(weights, axis=axes, where=m, dtype=float) for m in parts)
    return np.where(true > 0, np.divide(right, whole, out=np.zeros_like(right), where=whole > 0), np.nan)


def _by_surface(
    found: NDArray,
    truth: NDArray,
    spacing_mm: NDArray,
    measure: Callable[[NDArray, NDArray], float],
    worst: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Measure the distances between the surfaces of each case; the worst value where nothing was found."""
    found, truth = alike(found, truth)
    values = np.where(np.any(truth, axis=tuple(range(1, np.ndim(truth)))), worst, np.nan)
    for i, (f, t) in enumerate(zip(found, truth, strict=True)):
        if f.any() and t.any():
            values[i] = measure(*_surface_distances(f, t, spacing_mm[i]))
    return values


def _surface_distances(found: NDArray, truth: NDArray, spacing_mm: NDArray) -> tuple[NDArray, NDArray]:
    """From each surface voxel of the one mask to the nearest of the other, and back, in mm."""
    box = ndimage.find_objects((found | truth).astype(np.uint8))[0]  # both surfaces lie in it, and it is far smaller
    surfaces = [m & ~ndimage.binary_erosion(m) for m in (found[box], truth[box])]
    to_found, to_truth = (ndimage.distance_transform_edt(~s, sampling=spacing_mm) for s in surfaces)
    return to_truth[surfaces[0]], to_found[surfaces[1]]


def _spacings(spacing_mm: ArrayLike, truth: NDArray) -> NDArray[np.float64]:
    n, ndim = len(truth), np.ndim(truth) - 1
    spacing_mm = np.asarray(spacing_mm, float)
    if spacing_mm.shape not in ((ndim,), (n, ndim)) or not np.all(spacing_mm > 0):
        raise ValueError(
            f"{n} cases of {ndim} axes need {ndim} spacings in mm, or as many for each case, all above 0; "
            f"got shape {spacing_mm.shape}."
        )
    return np.broadcast_to(spacing_mm, (n, ndim))
