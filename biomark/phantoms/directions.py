"""Directions from the middle of the body, and layers whose distance depends on them.

Degrees count from the front: 0 is the front, 90 the side, 180 the spine; negative on the patient's right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from biomark.phantoms.canvas import Canvas

STEPS = 2048  # directions in a table: 0.18 degrees, 0.6 mm along the skin


def ring(controls: dict[float, float], smooth_deg: float = 6.0) -> NDArray:
    """A closed smooth curve over all directions through ``{degrees: mm}``; both sides given by the sign."""
    degrees = np.array(sorted(controls))
    values = np.array([controls[d] for d in degrees])
    ticks = np.arange(STEPS) * 360 / STEPS - 180
    curve = np.interp(ticks, degrees, values, period=360)
    return gaussian_filter1d(curve, smooth_deg * STEPS / 360, mode="wrap")


@dataclass
class Directions:
    """Where each sub-pixel lies: distance from the middle, direction, and the layers' distances in that direction."""

    r: NDArray
    degrees: NDArray
    index: NDArray

    @classmethod
    def of(cls, canvas: Canvas) -> Directions:
        degrees = np.rad2deg(np.arctan2(canvas.x, -canvas.y))
        index = np.floor((degrees + 180) * (STEPS / 360)).astype(np.int32) % STEPS
        return cls(np.hypot(canvas.x, canvas.y), degrees, index)
