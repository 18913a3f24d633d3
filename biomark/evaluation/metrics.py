"""How well a map lies on the truth: arrays in, numbers out.

Masks are boolean ``(N, *S)``, or 0 and 1 of any type; weights, what each voxel adds to the biomarker, are ``(N, *S)``.
One number a case, ``(N,)``, and one rule for what cannot be measured, so that a model never gains by finding nothing:
nan where the truth is empty; the worst possible value, 0 or the diagonal of the image in mm, where the truth is not
empty and nothing was found. Average with ``np.nanmean``, and report empty cases by what is falsely found in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from biomark.machine.masks import alike, booleans, refuse_excess, same_shape, unmasked


def dice(found: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Dice overlap of each case, in [0, 1]: twice the common voxels over the sum of both masks' voxels.

    >>> truth = np.array([[[True, True], [False, False]], [[False] * 2] * 2])
    >>> dice(np.array([[[False, True], [True, False]], [[True] * 2] * 2]), truth)
    array([0.5, nan])
    """
    found, truth = _cases(found, truth)
    # Case by case: numpy counts a mask several times faster than it sums it along axes.
    counts = [[np.count_nonzero(m) for m in (f & t, f, t)] for f, t in zip(found, truth, strict=True)]
    both, ours, theirs = np.array(counts, float).reshape(-1, 3).T
    return np.divide(2 * both, ours + theirs, out=np.full(len(both), np.nan), where=theirs > 0)


def precision(found: NDArray, truth: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Share of what was found that is true, by weight: of an area its square centimetres, not its pixels."""
    return _share(found, truth, weights, of=found)


def recall(found: NDArray, truth: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Share of the truth that was found, by weight."""
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
    """

    def farther(there: NDArray, back: NDArray) -> float:
        return float(max(np.percentile(there, 95), np.percentile(back, 95)))

    spacing_mm = _spacings(spacing_mm, truth)
    diagonals = np.linalg.norm((np.array(np.shape(truth)[1:]) - 1) * spacing_mm, axis=1)
    return _by_surface(found, truth, spacing_mm, farther, diagonals)


def surface_dice(found: NDArray, truth: NDArray, spacing_mm: ArrayLike, *, tolerance_mm: float) -> NDArray[np.float64]:
    """Normalised surface Dice: share of both surfaces that lies within a tolerance of the other one.

    Nikolov et al., J. Med. Internet Res. 23 (2021) e26151. Surfaces are voxels, as in :func:`hd95` and in
    MONAI, and each counts once; the authors' own program weighs them by their area.

    Args:
        found: Boolean, ``(N, *S)``.
        truth: Boolean, ``(N, *S)``.
        spacing_mm: As for :func:`hd95`.
        tolerance_mm: Distance that is still right: choose what two readers differ by.
    """
    if not tolerance_mm >= 0:
        raise ValueError(f"a tolerance of {tolerance_mm} mm is no distance: give 0 or more.")

    def within(there: NDArray, back: NDArray) -> float:
        return float(np.mean(np.concatenate([there, back]) <= tolerance_mm))

    return _by_surface(found, truth, _spacings(spacing_mm, truth), within, np.zeros(len(truth)))


def true_weights(truth: NDArray, weights: NDArray) -> NDArray:
    """What of the weights lies in the truth, given as that or as masks.

    Args:
        truth: As ``truth`` of a cohort, or masks of any integer type, ``(N, *S)``.
        weights: ``(N, *S)``.

    Raises:
        ValueError: Shapes differ, or the truth is negative or more than the weights.
    """
    same_shape(truth, weights)
    truth, weights = np.asarray(unmasked(truth, "the truth")), np.asarray(weights)
    if truth.dtype.kind in "uib":
        return booleans(truth, "the truth") * weights
    refuse_excess(truth, weights)
    return truth


def energy(maps: NDArray, truth: NDArray, weights: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each case's map adds inside the truth and in all, in the biomarker's unit, ``(N,)`` each.

    In boxes it is exactly what it is voxel by voxel with each voxel at the map value of its box.

    Args:
        maps: ``(N, *S)``, not negative.
        truth: What of the weights lies in the true region, or masks (:func:`true_weights`), ``(N, *S)``.
        weights: ``(N, *S)``.
    """
    same_shape(maps, truth)
    _refuse_one(truth)
    axes, truth = tuple(range(1, np.ndim(truth))), true_weights(truth, weights)
    inside, total = (np.sum(np.multiply(maps, part), axis=axes, dtype=float) for part in (truth, weights))
    return inside, total


def energy_in_mask(maps: NDArray, truth: NDArray, weights: NDArray) -> float:
    """Share of the predicted biomarker that comes from inside the truth: sum over cases over sum over cases.

    Arguments as :func:`energy`.

    Returns:
        A number in [0, 1]; nan when nothing at all is predicted.
    """
    inside, total = (sums.sum() for sums in energy(maps, truth, weights))
    return float(inside / total) if total > 0 else float("nan")


@dataclass(frozen=True)
class Lesions:
    """The lesions of a truth and of what was found, in one case or in many.

    Attributes:
        values: What each true lesion adds to the biomarker, ``(K,)``.
        shares: Share of that which was found, ``(K,)``.
        false_values: What each found lesion that is not true adds, ``(L,)``.
    """

    values: NDArray[np.float64]
    shares: NDArray[np.float64]
    false_values: NDArray[np.float64]

    @property
    def f1(self) -> float:
        """F1 = 2TP / (2TP + FN + FP) over lesions; nan where there are none at all."""
        hits = np.count_nonzero(self.shares >= 0.5)
        total = hits + len(self.shares) + len(self.false_values)
        return 2 * hits / total if total else float("nan")

    @property
    def missed(self) -> int:
        """True lesions of which less than half was found."""
        return int(np.count_nonzero(self.shares < 0.5))


def lesions(found: NDArray, truth: NDArray, weights: NDArray) -> Lesions:
    """Match the lesions of one case, all arrays ``S``: connected components, by corners too.

    A true lesion is found when at least half of its weight is; a found one is false when less than half of its weight
    is true. The common rule, one shared voxel, would reward a map that marks everything.
    """
    found, truth = alike(found, truth)
    same_shape(weights, truth)
    values, shares = _components(truth, found, weights)
    found_values, true_shares = _components(found, truth, weights)
    return Lesions(values, shares, found_values[true_shares < 0.5])


def together(cases: Sequence[Lesions]) -> Lesions:
    """The lesions of many cases as one list."""
    cases = [Lesions(np.zeros(0), np.zeros(0), np.zeros(0)), *cases]
    return Lesions(*(np.concatenate([getattr(c, k) for c in cases]) for k in ("values", "shares", "false_values")))


def _components(mask: NDArray, other: NDArray, weights: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of each component of a mask, and the share of it that lies in the other mask."""
    mask = mask & (weights > 0)  # what adds nothing is no lesion
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    labels, weights = labels[mask], weights[mask].astype(float)
    values, shared = (np.bincount(labels, w, count + 1)[1:].astype(float) for w in (weights, weights * other[mask]))
    return values, shared / values


def _cases(found: NDArray, truth: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the same cases, ``(N, *S)``, as booleans."""
    _refuse_one(truth)
    return alike(found, truth)


def _refuse_one(masks: NDArray) -> None:
    """A mask of one slice would be taken for as many cases as it has rows."""
    if np.ndim(masks) not in (3, 4):
        raise ValueError(
            f"masks of shape {np.shape(masks)} are not those of cases, (N, H, W) or (N, D, H, W): give one case as "
            "mask[None]."
        )


def _share(found: NDArray, truth: NDArray, weights: NDArray, *, of: NDArray) -> NDArray[np.float64]:
    """Weight of what is found and true over that of a mask; 0 where the mask has none, nan where the truth has none."""
    found, truth = _cases(found, truth)
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
    found, truth = _cases(found, truth)
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
    _refuse_one(truth)
    n, ndim = len(truth), np.ndim(truth) - 1
    spacing_mm = np.asarray(spacing_mm, float)
    if spacing_mm.shape not in ((ndim,), (n, ndim)) or not np.all(spacing_mm > 0):
        raise ValueError(
            f"{n} cases of {ndim} axes need {ndim} spacings in mm, or as many for each case, all above 0; "
            f"got shape {spacing_mm.shape}."
        )
    return np.broadcast_to(spacing_mm, (n, ndim))
