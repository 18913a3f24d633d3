"""Masks as booleans. Given as numbers, ``~`` and ``&`` would work on their bits and be silently wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unmasked(array: Any, what: str) -> Any:
    """An array as it is, unless numpy hides some of its elements: computing with those would be silently wrong."""
    if np.ma.is_masked(array):
        raise ValueError(
            f"{what} are an array of which numpy masks {np.ma.count_masked(array)} elements: leave those out, or fill "
            "them with nan."
        )
    return array


def booleans(mask: NDArray, what: str = "a mask") -> NDArray[np.bool_]:
    """A mask, true and false or 0 and 1, as booleans; a boolean one stays as it is. ``what`` it is called in errors."""
    if getattr(unmasked(mask, what), "dtype", None) == np.bool_:
        return mask
    mask = np.asarray(mask)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"values from {mask.min():g} to {mask.max():g} in {what} are not true or false: give such as masks > 0."
        )
    return mask.astype(bool)


def inside(regions: NDArray, what: str = "a mask") -> NDArray[np.bool_]:
    """Where a region is, or any of several that are numbered: true, or a whole number above 0; never probabilities."""
    regions = np.asarray(unmasked(regions, what))
    if regions.dtype == np.bool_:
        return regions
    if not ((regions >= 0) & (regions == np.rint(regions))).all():
        raise ValueError(
            f"values in {what} are no whole numbers from 0: cut probabilities first, for example at > 0.5."
        )
    return regions > 0


def memberships(maps: NDArray, candidates: NDArray[np.bool_]) -> NDArray:
    """Map values within 0 and 1 at the candidates, and 0 elsewhere, where they do not matter; both ``(N, *S)``."""
    at = np.asarray(unmasked(maps, "the maps"))[candidates]
    low, high = at.min(initial=0), at.max(initial=0)
    if not (low >= 0 and high <= 1):
        raise ValueError(f"map values run from {low:g} to {high:g}, not within 0 and 1: give maps, not logits.")
    return np.where(candidates, maps, 0)


def refuse_excess(truth: NDArray, weights: NDArray) -> None:
    """Stop where a truth, what of the weights lies in a region, is negative or more than the weights."""
    if not ((truth >= 0) & (truth <= 1.0001 * weights)).all():
        raise ValueError("the truth is more than the weights: give masks as booleans, or what of the weights is in.")


def alike(found: NDArray, truth: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks of one shape, as booleans."""
    same_shape(found, truth)
    return booleans(found, "what was found"), booleans(truth, "the truth")


def same_shape(a: NDArray, b: NDArray) -> None:
    """Stop before numpy stretches one array to the shape of another."""
    if np.shape(unmasked(a, "the values")) != np.shape(unmasked(b, "the values")):
        raise ValueError(f"arrays of shape {np.shape(a)} and {np.shape(b)} cannot be compared: give them one shape.")
