"""The trunk around the liver of an axial slice of the upper abdomen, drawn from numbers: a phantom, not a patient.

Skin, fat and a wall of muscle are layers around the middle, as in :mod:`.chest`; within the cavity, organs are painted
one over another. ``level`` runs from 0 (just below the dome of the liver) to 1 (its lower tip) and decides which organs
a slice meets. The ranges are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from biomark.phantoms.acquisition import smooth_field
from biomark.phantoms.canvas import Canvas
from biomark.phantoms.directions import STEPS, Directions, ring
from biomark.phantoms.thorax import vertebra


@dataclass
class Trunk:
    """One phantom's numbers: layers (mm by direction), tissue values (HU) and the level of the slice (0 to 1)."""

    half_width_mm: float
    half_depth_mm: float
    level: float
    cavity: NDArray
    wall: NDArray
    skin: NDArray
    skin_mm: float
    fat_hu: float
    muscle_hu: float
    blood_hu: float


def draw_trunk(rng: np.random.Generator) -> Trunk:
    """Draw the layers of one phantom."""
    uniform = rng.uniform
    ticks = np.deg2rad(np.arange(STEPS) * 360 / STEPS - 180)
    half_width = uniform(108, 150)
    half_depth = half_width * uniform(0.62, 0.84)
    power = uniform(2.0, 2.5)
    cavity = (np.abs(np.sin(ticks) / half_width) ** power + np.abs(np.cos(ticks) / half_depth) ** power) ** (-1 / power)
    cavity = cavity * (1 + 0.02 * uniform(-1, 1) * np.sin(ticks) + 0.015 * uniform(-1, 1) * np.cos(3 * ticks))

    muscularity = float(np.clip(rng.normal(1, 0.2), 0.6, 1.5))
    adipose = float(np.clip(np.exp(rng.normal(np.log(17), 0.5)), 4, 55))
    thick = {1: (4, 8), 20: (7, 13), 50: (7, 14), 90: (9, 18), 130: (14, 26), 155: (28, 46), 179: (24, 38)}
    deep = {1: 0.8, 40: 0.9, 90: 0.8, 130: 1.0, 179: 0.7}
    muscle, fat = {}, {}
    for side in (-1, 1):
        muscle |= {side * d: muscularity * uniform(*mm) for d, mm in thick.items()}
        fat |= {side * d: adipose * share * uniform(0.7, 1.3) for d, share in deep.items()}
    wall = cavity + ring(muscle)
    skin_mm = uniform(1.3, 2.6)
    skin = wall + np.maximum(ring(fat, 10), 2.5) + skin_mm
    # The back is flattened by the patient's weight, but the skin never cuts into muscle.
    behind = np.abs(np.rad2deg(ticks)) > 120
    line = np.where(behind, (skin[0] + skin[-1]) / 2 / np.maximum(np.abs(np.cos(ticks)), 0.2), np.inf)
    skin = gaussian_filter1d(np.maximum(np.minimum(skin, line), wall + skin_mm + 2), 3 * STEPS / 360, mode="wrap")
    return Trunk(
        half_width_mm=half_width,
        half_depth_mm=half_depth,
        level=float(rng.random()),
        cavity=cavity,
        wall=wall,
        skin=skin,
        skin_mm=skin_mm,
        fat_hu=float(np.clip(rng.normal(-103, 7), -120, -86)),
        muscle_hu=float(np.clip(rng.normal(58, 8), 35, 76)),
        blood_hu=float(uniform(125, 190)),
    )


def blob(canvas: Canvas, rng: np.random.Generator, x: float, y: float, radius: float, rough: float) -> tuple:
    """A round shape with an uneven outline: its window on the canvas and, in it, the distance within the outline in mm
    (negative outside)."""
    window = canvas.near(x, y, radius * (1 + 2.5 * rough))
    dx, dy = canvas.x[window] - x, canvas.y[window] - y
    angle, outline = np.arctan2(dy, dx), np.ones(dx.shape)
    for k in range(2, 7):
        outline += rough * rng.normal(0, 1 / k) * 2 * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return window, radius * np.clip(outline, 0.4, 1 + 2.5 * rough) - np.hypot(dx, dy)


def walls(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, at: Directions) -> None:
    """Skin, subcutaneous fat, the muscles of the wall with cut ribs, and the fat that fills the cavity."""
    uniform = rng.uniform
    skin, wall, cavity = trunk.skin[at.index], trunk.wall[at.index], trunk.cavity[at.index]
    canvas.paint(at.r < skin, 35)
    canvas.paint(at.r < skin - trunk.skin_mm, trunk.fat_hu)
    canvas.paint(at.r < wall, trunk.muscle_hu)
    between = (at.r - cavity) / np.maximum(wall - cavity, 1)
    inside = (between > 0) & (between < 1)
    for depth in (uniform(0.25, 0.4), uniform(0.6, 0.75)):  # fat between the layers of muscle
        stripe = inside & (np.abs(between - depth) < uniform(0.01, 0.09)) & (np.abs(at.degrees) < 150)
        canvas.paint(stripe, trunk.fat_hu + uniform(0, 40))
    marbling = inside & (smooth_field(rng, canvas.hu.shape, int(rng.integers(40, 90))) > uniform(1.6, 2.6))
    canvas.paint(marbling, trunk.fat_hu + uniform(10, 60))
    for side in (-1, 1):
        degrees = uniform(35, 60)
        while degrees < 155:
            half = uniform(3, 10)
            cut = ((at.degrees * side - degrees) / half) ** 2 + ((between - uniform(0.3, 0.5)) / 0.32) ** 2
            canvas.paint(cut < 1, uniform(450, 950))
            canvas.paint(cut < 0.4, uniform(90, 350))
            degrees += half + uniform(12, 34)
    canvas.paint(at.r < cavity, trunk.fat_hu + uniform(-3, 12))


def organs_behind(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Spine, psoas, the great vessels, kidneys and spleen."""
    uniform, width, level = rng.uniform, trunk.half_width_mm, trunk.level
    spine = trunk.cavity[0] - uniform(-4, 8)
    for side in (-1, 1):
        grown = 0.3 + level
        canvas.ellipse(side * uniform(26, 34), spine - uniform(0, 6), 11 * grown, 15 * grown, trunk.muscle_hu)
        canvas.bar((side * 16, spine - 6), (side * 8, spine - 30), uniform(2, 5), trunk.muscle_hu)  # crura
    vertebra(canvas, rng, spine)
    blood = trunk.blood_hu
    canvas.ellipse(uniform(2, 12), spine - uniform(24, 31), *uniform(8, 12, 2), blood + uniform(-5, 25))
    if rng.random() < 0.25:
        canvas.ellipse(uniform(4, 14), spine - uniform(18, 24), uniform(2, 6), 1.3, uniform(300, 800))
    canvas.ellipse(-uniform(16, 26), spine - uniform(26, 36), uniform(9, 15), uniform(7, 12), blood + uniform(-40, 5))
    if level > 0.3:
        for side in (-1, 1):
            _kidney(canvas, rng, trunk, side * width * uniform(0.42, 0.5), spine - uniform(4, 16))
    if level < 0.8:  # the spleen, between stomach and left flank
        angle = np.deg2rad(uniform(100, 125))
        far = trunk.cavity[int((np.rad2deg(angle) + 180) / 360 * STEPS)] - uniform(20, 28)
        x, y = far * np.sin(angle), -far * np.cos(angle)
        canvas.ellipse(x, y, uniform(18, 26), uniform(30, 56), uniform(105, 135), turn_deg=uniform(10, 45))


def _kidney(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, x: float, y: float) -> None:
    uniform = rng.uniform
    rx, ry, turn = uniform(20, 28), uniform(24, 32), uniform(-30, 30)
    canvas.ellipse(x, y, rx + 3, ry + 3, trunk.fat_hu, turn_deg=turn)
    canvas.ellipse(x, y, rx, ry, uniform(110, 160), turn_deg=turn, rim=(uniform(5, 9), uniform(160, 220)))
    canvas.ellipse(x - np.sign(x) * uniform(0, 8), y, uniform(4, 10), uniform(5, 13), trunk.fat_hu + 10)
    if rng.random() < 0.3:  # a simple cyst
        r = uniform(4, 22)
        canvas.ellipse(x + uniform(-rx, rx), y + uniform(-ry, ry), r, r * uniform(0.8, 1.2), uniform(-5, 20))


def organs_before(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Stomach, pancreas and bowel: soft tissue, fluid, air and swallowed contrast."""
    uniform, width, depth, level = rng.uniform, trunk.half_width_mm, trunk.half_depth_mm, trunk.level
    if level > 0.35:
        for _ in range(rng.integers(4, 18)):
            x, y = uniform(-0.35, 0.75) * width, uniform(-0.8, 0.15) * depth
            _gut(canvas, rng, x, y, uniform(8, 22), uniform(8, 18))
    if rng.random() < 0.8:
        x, y = uniform(-5, 5), uniform(-0.15, 0.15) * depth
        for step in range(rng.integers(3, 8)):  # pancreas: a row of lobules
            canvas.ellipse(x + 11 * step, y - uniform(0, 4) * step, *uniform(6, 12, 2), uniform(80, 115))
    if level < 0.75:
        _gut(canvas, rng, uniform(0.3, 0.55) * width, uniform(-0.5, -0.1) * depth, uniform(24, 52), uniform(20, 42))
    for _ in range(rng.integers(0, 8)):  # vessels and nodes in the fat
        canvas.ellipse(uniform(-0.2, 0.6) * width, uniform(-0.5, 0.4) * depth, *uniform(2, 6, 2), uniform(40, 170))


def _gut(canvas: Canvas, rng: np.random.Generator, x: float, y: float, rx: float, ry: float) -> None:
    """A loop with its wall, filled with food or fluid, air above it, or contrast medium."""
    uniform = rng.uniform
    turn, content = uniform(-40, 40), uniform(0, 70) if rng.random() < 0.8 else uniform(120, 400)
    canvas.ellipse(x, y, rx, ry, content, turn_deg=turn, rim=(uniform(2, 4), uniform(50, 110)))
    if rng.random() < 0.4:
        surface = y + uniform(-0.6, 0.5) * ry
        window = canvas.near(x, y, max(rx, ry))
        inside = ((canvas.x[window] - x) / (rx - 4)) ** 2 + ((canvas.y[window] - y) / (ry - 4)) ** 2 < 1
        canvas.paint(inside & (canvas.y[window] < surface), uniform(-980, -850), window=window)
