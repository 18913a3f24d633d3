"""Masks as booleans. Given as numbers, ``~`` and ``&`` would work on their bits and be silently wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def booleans(mask: NDArray, what: str = "a mask") -> NDArray[np.bool_]:
    """A mask of any type as booleans; one that is boolean stays as it is, and on disk where it lies there.

    Args:
        mask: True and false, or 0 and 1, of any shape.
        what: What to call it.

    Raises:
        ValueError: It holds something else.
    """
    if getattr(mask, "dtype", None) == np.bool_:
        return mask
    mask = np.asarray(mask)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"values from {mask.min():g} to {mask.max():g} in {what} are not true or false: give such as masks > 0."
        )
    return mask.astype(bool)


def alike(found: NDArray, truth: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks of one shape, as booleans.

    Raises:
        ValueError: They have two shapes, or are no masks.
    """
    same_shape(found, truth)
    return booleans(found, "what was found"), booleans(truth, "the truth")


def same_shape(a: NDArray, b: NDArray) -> None:
    """Stop before numpy stretches one array to the shape of another.

    Raises:
        ValueError: They have two shapes.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"arrays of shape {np.shape(a)} and {np.shape(b)} cannot be compared: give them one shape.")
