"""Bodies drawn from numbers: of the chest phantom at the aortic arch, and of the liver phantom in the upper abdomen.

A body is layers around its middle. In the chest, from the middle outwards: lungs (``pleura``), rib cage, muscles
(``lean``), the compartment that holds them (``deep``), fascia, subcutaneous fat, skin. Where subcutaneous fat ends is a
rule, the same here and on real slices: it is the fat outside the union of lean tissue and lungs, closed by disks of
35 mm (:func:`bridge`). So the axilla, a pocket of fat between the folds of pectoralis and latissimus, is not
subcutaneous; nor is fat between muscles or in the mediastinum. The ranges are ours, set by real slices.

Degrees count from the front: 0 is the front, 90 the side, 180 the spine; negative on the patient's right. A layer is a
table of ``STEPS`` distances in mm, from -180 degrees on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def ring(controls: Mapping[Any, float], smooth_deg: float = 6.0) -> NDArray:
    """A closed smooth layer through ``{degrees: mm}``."""
    curve = np.interp(DEGREES, list(controls), list(controls.values()), period=360)
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


_TURN = np.subtract.outer(RADIANS[::8], RADIANS[::8])
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)


def bridge(layer: NDArray, radius_mm: float = 35.0) -> NDArray:
    """A layer closed by disks: gaps are bridged into which a disk rolling along its outside does not fit."""

    def half_chord(r: NDArray) -> NDArray:
        return np.sqrt(np.where(_COS > 0, np.maximum(radius_mm**2 - (r * _SIN) ** 2, -1), -1))

    with np.errstate(invalid="ignore"):  # directions in which no disk of the radius lies
        coarse = layer[::8]
        rolled = np.nanmax(coarse * _COS + half_chord(coarse), axis=1)
        closed = np.nanmin(rolled * _COS - half_chord(rolled), axis=1)
    return np.maximum(layer, np.interp(DEGREES, DEGREES[::8], closed, period=360))


@dataclass
class Body:
    """One chest's numbers: layers (mm by direction) and tissue values (HU).

    ``fold`` is where the outer end of pectoralis major lies and ``wing`` where the shoulder begins behind the
    axilla, in degrees, by side (-1 is the patient's right): between them the axilla opens.
    """

    female: bool
    raised: bool
    half_width_mm: float
    half_depth_mm: float
    muscularity: float
    pleura: NDArray
    cage: NDArray
    lean: NDArray
    deep: NDArray
    fold: dict[int, float]
    wing: dict[int, float]
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
    sex = bool(rng.random() < 0.5)
    female = sex if female is None else female
    drawn = uniform(82, 107) if female else uniform(92, 118)
    half_width = drawn if half_width_mm is None else half_width_mm
    half_depth = half_width * uniform(0.58, 0.76)
    pleura = superellipse(half_width, half_depth, uniform(2.0, 2.6))
    wave = 0.02 * uniform(-1, 1) * np.cos(3 * RADIANS + uniform(0, 6.3))
    pleura = pleura * (1 + wave + 0.02 * uniform(-1, 1) * np.sin(RADIANS))
    cage = pleura + uniform(8, 12)

    drawn = float(np.clip(rng.normal(0.9 if female else 1.2, 0.18), 0.5, 1.7))
    muscularity = drawn if muscularity is None else muscularity
    raised = bool(rng.random() < 0.8)
    muscle, fold, wing = _draw_muscle(rng, muscularity, raised)
    fat = _draw_fat(rng, female, adipose_mm)
    lean = cage + muscle
    deep = bridge(lean)
    # Skin spans the hollows between the folds more widely than the sheath of the muscles does.
    fat = np.maximum(fat, 3) + uniform(0.2, 1) * (bridge(deep, 110) - deep)
    thickness = _add_breasts(rng, fat, female)
    skin_mm, fascia_mm = uniform(1.3, 2.6), uniform(0.2, 0.8)
    skin = gaussian_filter1d(deep + fascia_mm + thickness + skin_mm, 3 * STEPS / 360, mode="wrap")
    flat = (skin[0] + skin[-1]) / 2 * uniform(0.9, 1.08)
    skin = flatten_back(skin, flat, 115, deep + fascia_mm + skin_mm + 2.5)

    contrast = rng.random() < 0.35
    return Body(
        female=female,
        raised=raised,
        half_width_mm=half_width,
        half_depth_mm=half_depth,
        muscularity=muscularity,
        pleura=pleura,
        cage=cage,
        lean=lean,
        deep=deep,
        fold=fold,
        wing=wing,
        fat_thickness=thickness,
        skin=skin,
        fat_hu=float(np.clip(rng.normal(-104, 7), -122, -86)),
        muscle_hu=float(np.clip(rng.normal(46, 9), 22, 66)) + (8 if contrast else 0),
        blood_hu=float(uniform(120, 380) if contrast else uniform(32, 50)),
        skin_mm=skin_mm,
        fascia_mm=fascia_mm,
    )


def _draw_muscle(
    rng: np.random.Generator, muscularity: float, raised: bool
) -> tuple[NDArray, dict[int, float], dict[int, float]]:
    """Thickness in mm of what lies on the ribs; ``fold`` and ``wing`` of :class:`Body`.

    A raised arm turns the shoulder blade outwards: blade, latissimus and teres stand out behind the axilla like a wing.
    """
    uniform, m = rng.uniform, muscularity

    def jitter(low: float, high: float) -> float:
        return uniform(low, high) * rng.normal(1, 0.05)

    axilla = float(np.clip(np.exp(rng.normal(0, 0.35)), 0.5, 2.3))
    ends, gap, stand = uniform(48, 68), uniform(4, 32), uniform(40, 68)
    lift = uniform(0, 1) ** 2 * (30 if raised else 16) * axilla
    front, behind = (uniform(5, 11), uniform(20, 34)) if raised else (uniform(14, 22), uniform(28, 44))
    stand *= (0.55 + 0.45 * m) * (1 if raised else 0.7)
    wide, back, erector = uniform(4, 10), uniform(7, 24), uniform(5, 20)
    thickness, fold, wing = np.zeros(STEPS), {}, {}
    for side in (-1, 1):
        fold[side] = ends + rng.normal(0, 2)
        peak = min(fold[side] + max(gap + rng.normal(0, 3), 2) + 1.6 * front, 116)
        wing[side] = max(peak - 1.6 * front, fold[side] + 2)
        serratus = 3 + m * jitter(1, 6)
        controls = {
            1: jitter(0.5, 3),
            12: 3 + m * jitter(2, 7),
            30: 4 + m * jitter(9, 16) + 0.4 * lift,
            fold[side] - 6: 5 + m * jitter(9, 18) + lift,
            fold[side] + 4: serratus + 0.3 * lift,
            fold[side] + 10: serratus,
            max(peak, 84): serratus + 3,
            125: 6 + m * wide,
            148: 8 + m * back,
            168: 8 + m * erector,
            179: 9 + m * jitter(6, 14),
        }
        half = ring({side * degrees: mm for degrees, mm in controls.items()}, 3)
        turn = side * DEGREES - peak
        bump = np.exp(-(np.abs(turn / np.where(turn < 0, front, behind)) ** 2.4) / 2)
        bump *= stand * rng.normal(1, 0.06)
        thickness = np.where(side * DEGREES > 0, half + bump, thickness)
    return gaussian_filter1d(thickness, 2 * STEPS / 360, mode="wrap"), fold, wing


def _draw_fat(rng: np.random.Generator, female: bool, adipose_mm: float | None) -> NDArray:
    """Thickness in mm of the subcutaneous fat, without breasts."""
    uniform = rng.uniform
    drawn = float(np.clip(np.exp(rng.normal(np.log(18 if female else 13), 0.45)), 5, 45))
    adipose = drawn if adipose_mm is None else adipose_mm
    shared = {d: uniform(0.6, 1.5) for d in (0, 30, 60, 90, 120, 150, 180)}
    usual = {0: 0.5, 30: 0.85, 60: 1.0, 90: 1.15, 120: 1.1, 150: 0.95, 180: 0.75}
    fat = {
        side * max(d, 1): adipose * share * shared[d] * uniform(0.8, 1.2) * rng.normal(1, 0.05)
        for side in (-1, 1)
        for d, share in usual.items()
    }
    return ring(fat, 9)


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
    muscle: dict[int, float] = {}
    fat: dict[int, float] = {}
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
