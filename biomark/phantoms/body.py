"""Bodies drawn from numbers: of the chest phantom at the aortic arch, and of the liver phantom in the upper abdomen.

A body is layers around its middle, whose distance depends on the direction. In the chest, from the middle outwards:
lungs (``pleura``), rib cage, a compartment of muscle and fat (``deep``), fascia, subcutaneous fat, skin. Nothing here
is measured on patients; the ranges are ours, chosen so that areas, Hounsfield values and noise resemble adult CT (the
book compares them with real slices and says where they differ).

Degrees count from the front: 0 is the front, 90 the side, 180 the spine; negative on the patient's right. A layer is a
table of ``STEPS`` distances in mm, from -180 degrees on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from biomark.phantoms.canvas import Canvas

PARTS = {"sfa": 1, "pma": 2, "liver": 1}
"""Part numbers on the canvas of the structures whose areas are known, by task key."""

STEPS = 2048  # directions in a table: 0.18 degrees, 0.6 mm along the skin
DEGREES = np.arange(STEPS) * 360 / STEPS - 180
RADIANS = np.deg2rad(DEGREES)


@dataclass
class Directions:
    """Where each sub-pixel of a canvas lies: distance ``r`` from the middle in mm, direction, and index in tables."""

    r: NDArray
    degrees: NDArray
    index: NDArray

    @classmethod
    def of(cls, canvas: Canvas) -> Directions:
        """The directions of a canvas's sub-pixels."""
        degrees = np.rad2deg(np.arctan2(canvas.x, -canvas.y))
        index = ((degrees + 180) * np.float32(STEPS / 360)).astype(np.int32) % STEPS
        return cls(np.hypot(canvas.x, canvas.y), degrees, index)


def step_at(degrees: float) -> int:
    """The place of a direction in a table."""
    return int((degrees + 180) / 360 * STEPS) % STEPS


def point_at(r_mm: float, degrees: float) -> tuple[float, float]:
    """Body coordinates (x, y) of a point at a distance in a direction."""
    angle = np.deg2rad(degrees)
    return r_mm * np.sin(angle), -r_mm * np.cos(angle)


def ring(controls: dict[float, float], smooth_deg: float = 6.0) -> NDArray:
    """A closed smooth layer through ``{degrees: mm}``."""
    degrees = np.array(sorted(controls))
    curve = np.interp(DEGREES, degrees, np.array([controls[d] for d in degrees]), period=360)
    return gaussian_filter1d(curve, smooth_deg * STEPS / 360, mode="wrap")


def superellipse(half_width_mm: float, half_depth_mm: float, power: float) -> NDArray:
    """A layer between an ellipse (power 2) and a rectangle (a high power)."""
    across, down = np.abs(np.sin(RADIANS) / half_width_mm), np.abs(np.cos(RADIANS) / half_depth_mm)
    return (across**power + down**power) ** (-1 / power)


def flatten_back(skin: NDArray, flat_mm: float, from_deg: float, floor: NDArray) -> NDArray:
    """Skin on a table: behind ``from_deg`` it follows a line ``flat_mm`` from the middle, but never below a floor."""
    behind = np.abs(DEGREES) > from_deg
    line = np.where(behind, flat_mm / np.maximum(np.abs(np.cos(RADIANS)), 0.2), np.inf)
    return gaussian_filter1d(np.maximum(np.minimum(skin, line), floor), 3 * STEPS / 360, mode="wrap")


@dataclass
class Body:
    """One chest's numbers: layers (mm by direction) and tissue values (HU)."""

    female: bool
    half_width_mm: float
    half_depth_mm: float
    muscularity: float
    pleura: NDArray
    cage: NDArray
    deep: NDArray
    fat_thickness: NDArray
    skin: NDArray
    fat_hu: float
    muscle_hu: float
    blood_hu: float
    skin_mm: float
    fascia_mm: float


def draw_body(
    rng: np.random.Generator,
    *,
    female: bool | None = None,
    half_width_mm: float | None = None,
    muscularity: float | None = None,
    adipose_mm: float | None = None,
) -> Body:
    """Draw the layers of one chest.

    What is given replaces what was drawn; the generator goes on as it would have, so that one state of the generator
    gives one person, wider or leaner.

    Args:
        rng: Source of every random choice.
        female: Sex; drawn 1 to 1.
        half_width_mm: Half the width of the chest inside the ribs; drawn from 82 to 118.
        muscularity: Thickness of muscles, about 1; drawn from 0.5 to 1.7.
        adipose_mm: Thickness of the subcutaneous fat at the side; drawn from 5 to 45.
    """
    uniform = rng.uniform
    drawn = bool(rng.random() < 0.5)
    female = drawn if female is None else female
    drawn = uniform(82, 107) if female else uniform(92, 118)
    half_width = drawn if half_width_mm is None else half_width_mm
    half_depth = half_width * uniform(0.66, 0.84)
    pleura = superellipse(half_width, half_depth, uniform(2.0, 2.6))
    wave = 0.02 * uniform(-1, 1) * np.cos(3 * RADIANS + uniform(0, 6.3))
    pleura = pleura * (1 + wave + 0.02 * uniform(-1, 1) * np.sin(RADIANS))
    cage = pleura + uniform(8, 12)

    drawn = float(np.clip(rng.normal(0.9 if female else 1.2, 0.18), 0.5, 1.7))
    muscularity = drawn if muscularity is None else muscularity
    muscle, fat = _draw_layers(rng, female, muscularity, adipose_mm)
    deep = cage + ring(muscle)
    thickness = _add_breasts(rng, np.maximum(ring(fat, 9), 3), female)
    skin_mm, fascia_mm = uniform(1.3, 2.6), uniform(0.8, 2.0)
    skin = deep + fascia_mm + thickness + skin_mm
    flat = (skin[0] + skin[-1]) / 2 * uniform(0.9, 1.08)
    skin = flatten_back(skin, flat, 115, deep + fascia_mm + skin_mm + 2.5)

    contrast = rng.random() < 0.35
    return Body(
        female=female,
        half_width_mm=half_width,
        half_depth_mm=half_depth,
        muscularity=muscularity,
        pleura=pleura,
        cage=cage,
        deep=deep,
        fat_thickness=thickness,
        skin=skin,
        fat_hu=float(np.clip(rng.normal(-104, 7), -122, -86)),
        muscle_hu=float(np.clip(rng.normal(46, 9), 22, 66)) + (8 if contrast else 0),
        blood_hu=float(uniform(120, 380) if contrast else uniform(32, 50)),
        skin_mm=skin_mm,
        fascia_mm=fascia_mm,
    )


def _draw_layers(
    rng: np.random.Generator, female: bool, muscularity: float, adipose_mm: float | None
) -> tuple[dict[float, float], dict[float, float]]:
    """Thickness in mm, by degrees, of the compartment of muscle and of the subcutaneous fat."""
    uniform = rng.uniform
    axilla = float(np.clip(np.exp(rng.normal(0, 0.35)), 0.5, 2.3))
    drawn = float(np.clip(np.exp(rng.normal(np.log(18 if female else 13), 0.45)), 5, 45))
    adipose = drawn if adipose_mm is None else adipose_mm
    shared = {d: uniform(0.6, 1.5) for d in (0, 30, 60, 90, 120, 150, 180)}
    usual = {0: 0.55, 30: 0.9, 60: 1.0, 90: 1.05, 120: 0.95, 150: 0.9, 180: 0.75}

    def jitter(low: float, high: float) -> float:
        return uniform(low, high) * rng.normal(1, 0.05)

    muscle, fat = {}, {}
    for side in (-1, 1):
        muscle |= {
            side * 1: jitter(3, 7),
            side * 12: 4 + muscularity * jitter(5, 9),
            side * 30: 6 + muscularity * jitter(12, 20),
            side * 50: 8 + muscularity * jitter(16, 26) + 10 * np.clip(axilla - 0.6, 0, 1),
            side * 68: axilla * jitter(22, 48),
            side * 92: axilla * jitter(14, 30) + muscularity * jitter(14, 28),
            side * 120: 10 * axilla + muscularity * jitter(22, 42),
            side * 148: 10 + muscularity * jitter(16, 28),
            side * 168: 12 + muscularity * jitter(12, 22),
            side * 179: 10 + muscularity * jitter(8, 16),
        }
        fat |= {side * max(d, 1): adipose * share * shared[d] * jitter(0.8, 1.2) for d, share in usual.items()}
    return muscle, fat


def _add_breasts(rng: np.random.Generator, thickness: NDArray, female: bool) -> NDArray:
    """Subcutaneous fat with a breast on either side."""
    breast = rng.uniform(6, 55) if female else rng.uniform(0, 8)
    degrees = np.rad2deg(RADIANS)
    for side in (-1, 1):
        centre, spread = side * rng.uniform(28, 46), rng.uniform(11, 20)
        thickness = thickness + breast * rng.normal(1, 0.08) * np.exp(-(((degrees - centre) / spread) ** 2) / 2)
    return thickness


@dataclass
class Trunk:
    """One abdomen's numbers: layers (mm by direction) and tissue values (HU).

    ``level`` runs from 0 (just below the dome of the liver) to 1 (its lower tip): which organs the slice meets.
    """

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
    """Draw the layers of one abdomen."""
    uniform = rng.uniform
    half_width = uniform(108, 150)
    half_depth = half_width * uniform(0.62, 0.84)
    cavity = superellipse(half_width, half_depth, uniform(2.0, 2.5))
    wave = 0.02 * uniform(-1, 1) * np.sin(RADIANS)
    cavity = cavity * (1 + wave + 0.015 * uniform(-1, 1) * np.cos(3 * RADIANS))

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
    skin = flatten_back(skin, (skin[0] + skin[-1]) / 2, 120, wall + skin_mm + 2)
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
