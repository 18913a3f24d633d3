"""Calcium and metal of the heart phantom that are not coronary calcium: bright, near, and not to be counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.coronaries import Artery, draw_stents, smooth_line
from biomark.phantoms.heart_anatomy import Heart
from biomark.phantoms.volume import Cloud, Tube

STEP_MM = 0.5
"""Distance of the points that stand for calcium."""


def draw_other_calcium(rng: np.random.Generator, heart: Heart, age: float) -> list[Cloud]:
    """Calcium of the aorta's wall, of the valves and of lymph nodes; more with ``age``, a standard normal number."""
    clouds, uniform = [], rng.uniform
    z = heart.root[2]
    for tube, low, high, mean in ((heart.aorta, z - 2, z + 45, 1.0), (heart.descending, -65, 65, 2.0)):
        for _ in range(min(rng.poisson(mean * np.exp(0.9 * age - 0.3)), 14)):
            clouds.append(_draw_wall_patch(rng, tube, uniform(low, high)))
    if rng.random() < 1 / (1 + np.exp(1.1 - 1.2 * age)):  # aortic valve: grains on the cusps
        for _ in range(rng.integers(1, 6)):
            angle, out = uniform(0, 2 * np.pi), uniform(1, 11)
            where = heart.root + np.array([out * np.cos(angle), out * np.sin(angle), uniform(-4, 5)])
            clouds.append(_draw_grain(rng, where, uniform(0.8, 2.8), uniform(250, 1100), "aortic valve"))
    if rng.random() < 1 / (1 + np.exp(2.0 - 1.2 * age)):  # mitral annulus: a piece of a ring behind the left ventricle
        clouds.append(_draw_annulus(rng, heart))
    if rng.random() < 0.12:  # lymph nodes after an old infection, very dense, at the roots of the lungs
        for _ in range(rng.integers(1, 4)):
            where = np.array([rng.choice([-1, 1]) * uniform(25, 55), uniform(15, 45), uniform(5, 55)])
            clouds.append(_draw_grain(rng, where, uniform(1.5, 4), uniform(500, 1500), "lymph node"))
    if rng.random() < 0.02:  # a plate in the pericardium
        where = heart.place(uniform(20, 70), uniform(0, 30), uniform(30, 40))
        clouds.append(_draw_grain(rng, where, uniform(2, 5), uniform(300, 900), "pericardium"))
    return clouds


def draw_devices(rng: np.random.Generator, heart: Heart, arteries: Sequence[Artery], burden: float) -> list[Cloud]:
    """Metal in a few per cent: stents, clips of bypass surgery, the lead of a pacemaker.

    ``burden`` is coronary disease, a standard normal number: stents and bypasses are rare without it.
    """
    clouds, uniform = [], rng.uniform
    if rng.random() < 1 / (1 + np.exp(4.2 - 1.6 * burden)):
        clouds += draw_stents(rng, arteries)
    if rng.random() < 1 / (1 + np.exp(4.7 - 1.6 * burden)):
        # Clips along a mammary artery, from behind the sternum to the front of the heart.
        start, end = np.array([uniform(12, 25), -58, 50]), heart.place(45, 2, 34)
        for t in np.sort(uniform(0, 1, rng.integers(3, 10))):
            where = start + t * (end - start) + rng.normal(0, 3, 3)
            clouds.append(_draw_grain(rng, where, uniform(0.8, 1.4), 3000, "clip"))
    if rng.random() < 0.015:
        knots = np.array([[-24, -2, 70], [-26, 0, 30], heart.place(-5, 25, 0), heart.place(60, 12, -8)])
        line = smooth_line(knots)
        points = np.repeat(line, 4, 0) + rng.normal(0, 0.4, (4 * len(line), 3))
        clouds.append(Cloud(points, 0.3, 3000, "lead"))
    return clouds


def _draw_wall_patch(rng: np.random.Generator, tube: Tube, z: float) -> Cloud:
    """A plate in the wall of an aorta."""
    uniform = rng.uniform
    tall, wide, thick = uniform(2, 11), uniform(2, 13), uniform(0.6, 1.8)
    heights, arc, depth = (np.arange(-extent / 2, extent / 2, STEP_MM) for extent in (tall, wide, thick))
    dz, s, d = (g.ravel() for g in np.meshgrid(heights, arc, depth, indexing="ij"))
    inside = (2 * dz / tall) ** 2 + (2 * s / wide) ** 2 < rng.uniform(0.7, 1.15, len(dz))
    dz, s, d = dz[inside], s[inside], d[inside]
    x, y, r = tube.at(z + dz)
    angle = uniform(0, 2 * np.pi) + s / np.maximum(r, 1)
    points = np.stack([x + (r + d) * np.cos(angle), y + (r + d) * np.sin(angle), z + dz], 1)
    return Cloud(points, STEP_MM**3, uniform(250, 1200), "aortic wall")


def _draw_grain(rng: np.random.Generator, centre: NDArray, radius_mm: float, hu: float, name: str) -> Cloud:
    """A lump: an ellipsoid of random proportions."""
    half = radius_mm * rng.uniform(0.7, 1.4, 3)
    ticks = np.arange(-half.max(), half.max() + STEP_MM, STEP_MM)
    points = np.stack([g.ravel() for g in np.meshgrid(ticks, ticks, ticks)], 1) + rng.uniform(-0.25, 0.25, 3)
    return Cloud(points[((points / half) ** 2).sum(1) < 1] + centre, STEP_MM**3, hu, name)


def _draw_annulus(rng: np.random.Generator, heart: Heart) -> Cloud:
    """Part of the ring of the mitral valve, on the side away from the septum, close to the circumflex artery."""
    middle, half = np.deg2rad(rng.uniform(150, 260)), np.deg2rad(rng.uniform(8, 65))
    radius, thick = rng.uniform(17, 23), rng.uniform(1.0, 3.2)
    angles = np.arange(middle - half, middle + half, STEP_MM / (radius * heart.size))
    line = np.array([heart.place(-3, -18 + radius * np.cos(a), radius * np.sin(a)) for a in angles])
    ticks = np.arange(-thick, thick + STEP_MM, STEP_MM)
    u, v = (g.ravel() for g in np.meshgrid(ticks, ticks))
    u, v = u[u**2 + v**2 < thick**2], v[u**2 + v**2 < thick**2]
    out = np.cos(angles)[:, None] * heart.axes[1] + np.sin(angles)[:, None] * heart.axes[2]
    points = (line[:, None] + u[:, None] * out[:, None] + v[:, None] * heart.axes[0]).reshape(-1, 3)
    keep = rng.random(len(points)) < rng.uniform(0.5, 1)
    return Cloud(points[keep], STEP_MM**3, rng.uniform(300, 1100), "mitral annulus")
