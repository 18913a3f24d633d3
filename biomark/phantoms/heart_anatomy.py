"""The anatomy of the heart phantom: four chambers around a long axis, and the great vessels, drawn from numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.volume import Bar, Ellipsoid, Tube


@dataclass(frozen=True)
class Heart:
    """One heart: its axes, its chambers and its great vessels, in body coordinates."""

    origin: NDArray  # middle of the valve plane (3,)
    axes: NDArray  # unit vectors (3, 3): along the long axis to the apex; from the left to the right ventricle; up
    size: float  # 1 for a heart 12 cm wide
    chambers: dict[str, Ellipsoid]  # by name: LV, RV, LA, RA
    root: NDArray  # middle of the aortic root (3,)
    aorta: Tube  # ascending
    descending: Tube

    def place(self, along: float, right: float, up: float) -> NDArray:
        """Body coordinates of a place given in the heart's own axes, mm at size 1."""
        return self.origin + self.size * np.array([along, right, up]) @ self.axes


def draw_heart(rng: np.random.Generator, size: float) -> Heart:
    """Draw the shape of one heart, whose long axis points to the left, the front and the feet."""
    uniform, normal = rng.uniform, rng.normal
    long = np.array([0.66, -0.57, -0.49]) + normal(0, 0.07, 3)  # lying or upright
    long /= np.linalg.norm(long)
    right = np.array([-0.60, -0.75, 0.10])
    right -= right @ long * long
    right /= np.linalg.norm(right)
    axes = np.stack([long, right, np.cross(right, long)])
    origin = np.array([-8.0, 0.0, 1.0]) + normal(0, 3, 3)

    def place(*own_mm: float) -> NDArray:
        return origin + size * np.array(own_mm) @ axes

    def chamber(own_mm: tuple, half_mm: tuple, directions: NDArray) -> Ellipsoid:
        return Ellipsoid(place(*own_mm), size * np.array(half_mm) * normal(1, 0.05, 3), directions)

    chambers = {
        "LV": chamber((29, -19, 0), (50, 29, 30), axes),
        "RV": chamber((29, 15, -1), (43, 25, 35), axes),
        "LA": chamber((-21, -13, 5), (32, 20, 24), np.eye(3)),
        "RA": chamber((-16, 29, -1), (23, 27, 28), np.eye(3)),
    }
    root = place(-4, 3, 12)
    wide = uniform(14, 19) * size**0.5
    x, y, z = root
    aorta = [
        (z - 9, x + 3, y + 2, -5),
        (z - 7, x + 3, y + 2, wide * 0.75),
        (z + 6, x, y, wide * 1.05),
        (z + 22, x - 4, y - 3, wide * 0.95),
        (z + 60, x - 9, y - 2, wide),
        (z + 90, x - 8, y + 4, wide),
    ]
    near, thin, x = uniform(1, 6), uniform(10.5, 14.5), uniform(17, 27)
    y = chambers["LA"].centre[1] + chambers["LA"].half_mm[1] + near + thin
    drift = uniform(-4, 8)
    descending = [(-90, x - drift, y + 3, thin), (90, x + drift, y, thin)]
    return Heart(origin, axes, size, chambers, root, Tube(np.array(aorta)), Tube(np.array(descending)))


def draw_great_vessels(rng: np.random.Generator, heart: Heart) -> list[Tube | Bar]:
    """The trunk of the pulmonary artery, the superior vena cava, the pulmonary artery's branches, pulmonary veins."""
    uniform = rng.uniform
    x, y, z = heart.place(4, 12, 30)
    wide = uniform(12, 16) * heart.size**0.5
    trunk = [(z - 14, x, y, -5), (z - 10, x, y, wide), (z + 16, x + 7, y + 8, wide), (z + 32, x + 10, y + 18, wide)]
    trunk += [(z + 42, x + 10, y + 20, 0.7 * wide), (z + 46, x + 10, y + 20, -5)]
    right, left = heart.chambers["RA"], heart.chambers["LA"]
    thin = uniform(8, 10.5)
    x_cava, y_cava, z_cava = right.centre + np.array([-3, 5, 4])
    cava = [(z_cava - 5, x_cava, y_cava, -5), (z_cava, x_cava, y_cava, thin), (z_cava + 90, x_cava, y_cava + 4, thin)]
    parting = np.array([x + 8, y + 19, z + 30])
    vessels: list[Tube | Bar] = [Tube(np.array(trunk)), Tube(np.array(cava))]
    vessels.append(Bar(parting, np.array([-40, left.centre[1] + uniform(-2, 8), z + uniform(20, 30)]), 0.6 * wide))
    vessels.append(Bar(parting, np.array([40, left.centre[1] + uniform(8, 18), z + uniform(26, 36)]), 0.65 * wide))
    for side in (-1, 1):
        for height in (uniform(4, 12), uniform(-16, -6)):
            start = left.centre + np.array([side * left.half_mm[0] * 0.7, 2, height])
            end = start + np.array([side * uniform(14, 26), uniform(4, 12), uniform(-4, 4) + 0.5 * height])
            vessels.append(Bar(start, end, uniform(4, 7)))
    return vessels
