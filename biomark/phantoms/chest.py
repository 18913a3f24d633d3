"""An axial chest slice at the aortic arch, drawn from numbers: a phantom, not a patient.

Organs are layers around the middle of the chest, each a distance that depends on the direction: lungs, rib cage, a
compartment of muscle and fat, fascia, subcutaneous fat, skin. Muscles live inside the compartment
(:mod:`.chest_wall`); bones, vessels, airways and lesions are painted over (:mod:`.thorax`). Nothing here is measured
on patients; the ranges are ours, chosen so that areas, Hounsfield values and noise resemble adult chest CT (the book
compares them with real slices and says where they differ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from biomark.phantoms import chest_wall, surroundings, thorax
from biomark.phantoms.acquisition import scan, smooth_field
from biomark.phantoms.canvas import Canvas
from biomark.phantoms.directions import STEPS, Directions, ring

SUBCUTANEOUS, PECTORALIS = 1, 2
"""Part numbers on the canvas of the two structures whose areas are known."""

PARTS = {"sfa": SUBCUTANEOUS, "pma": PECTORALIS}


@dataclass
class Body:
    """One phantom's skeleton of numbers: layer tables (mm by direction) and tissue values (HU)."""

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
    """Draw the layers of one phantom.

    What is given is taken instead of what was drawn; the generator goes on as it would have, so that one generator's
    state gives one person, wider or leaner.

    Args:
        rng: Source of every random choice.
        female: Sex; drawn 1 to 1.
        half_width_mm: Half the width of the chest inside the ribs; drawn from 82 to 118.
        muscularity: Thickness of muscles, about 1; drawn from 0.5 to 1.7.
        adipose_mm: Thickness of the subcutaneous fat at the side; drawn from 5 to 45.
    """
    uniform = rng.uniform
    ticks = np.deg2rad(np.arange(STEPS) * 360 / STEPS - 180)
    drawn = bool(rng.random() < 0.5)
    female = drawn if female is None else female
    drawn = uniform(82, 107) if female else uniform(92, 118)
    half_width = drawn if half_width_mm is None else half_width_mm
    half_depth = half_width * uniform(0.66, 0.84)
    power = uniform(2.0, 2.6)
    pleura = (np.abs(np.sin(ticks) / half_width) ** power + np.abs(np.cos(ticks) / half_depth) ** power) ** (-1 / power)
    pleura = pleura * (
        1 + 0.02 * uniform(-1, 1) * np.cos(3 * ticks + uniform(0, 6.3)) + 0.02 * uniform(-1, 1) * np.sin(ticks)
    )
    cage = pleura + uniform(8, 12)

    drawn = float(np.clip(rng.normal(0.9 if female else 1.2, 0.18), 0.5, 1.7))
    muscularity = drawn if muscularity is None else muscularity
    axilla = float(np.clip(np.exp(rng.normal(0, 0.35)), 0.5, 2.3))
    layer, fat = {}, {}
    drawn = float(np.clip(np.exp(rng.normal(np.log(18 if female else 13), 0.45)), 5, 45))
    adipose = drawn if adipose_mm is None else adipose_mm
    shared = {d: uniform(0.6, 1.5) for d in (0, 30, 60, 90, 120, 150, 180)}
    for side in (-1, 1):
        jitter = lambda low, high: uniform(low, high) * rng.normal(1, 0.05)  # noqa: E731
        layer |= {
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
        thickness = {0: 0.55, 30: 0.9, 60: 1.0, 90: 1.05, 120: 0.95, 150: 0.9, 180: 0.75}
        fat |= {side * max(d, 1): adipose * t * shared[d] * jitter(0.8, 1.2) for d, t in thickness.items()}
    deep = cage + ring(layer)

    thickness = np.maximum(ring(fat, 9), 3)
    breast = uniform(6, 55) if female else uniform(0, 8)
    degrees = np.rad2deg(ticks)
    for side in (-1, 1):
        centre, spread = side * uniform(28, 46), uniform(11, 20)
        thickness = thickness + breast * rng.normal(1, 0.08) * np.exp(-(((degrees - centre) / spread) ** 2) / 2)

    skin_mm, fascia_mm = uniform(1.3, 2.6), uniform(0.8, 2.0)
    skin = deep + fascia_mm + thickness + skin_mm
    # The back is flattened by the patient's weight: the skin follows a line, but never cuts into muscle.
    flat = (skin[0] + skin[-1]) / 2 * uniform(0.9, 1.08)
    behind = np.abs(degrees) > 115
    line = np.where(behind, flat / np.maximum(np.abs(np.cos(ticks)), 0.2), np.inf)
    floor = deep + fascia_mm + skin_mm + 2.5
    skin = gaussian_filter1d(np.maximum(np.minimum(skin, line), floor), 3 * STEPS / 360, mode="wrap")

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


def draw_slice(
    rng: np.random.Generator, size: int, supersample: int = 3, **body: float
) -> tuple[NDArray, dict[str, NDArray], float]:
    """Draw one chest slice.

    Args:
        rng: Source of every random choice.
        size: Pixels on a side.
        supersample: Sub-pixels on a side of a pixel.
        **body: What of the body is given rather than drawn, as for :func:`draw_body`.

    Returns:
        The image in HU ``(size, size)`` float32; the share of each pixel covered by each counted part, by task key;
        the pixel's side in mm.
    """
    body = draw_body(rng, **body)
    reach = float(body.skin.max())
    width = 2 * max(np.abs(body.skin * np.sin(np.arange(STEPS) * 2 * np.pi / STEPS)))
    # Most real chest scans cut the body somewhere: the field of view is chosen for the lungs, not for the skin.
    cut = rng.random() < 0.35
    fov = float(np.clip(width * (rng.uniform(0.82, 1.02) if cut else rng.uniform(1.02, 1.3)), 280, 500))
    shift = (rng.normal(0, 22 if cut else 8), rng.normal(8, 14))
    canvas = Canvas(size, fov, shift, float(np.clip(rng.normal(0, 5), -14, 14)), supersample)
    at = Directions.of(canvas)

    surroundings.outside(canvas, rng, body, reach)
    skin = body.skin[at.index]
    canvas.paint(at.r < skin, 35)
    thickness = body.fat_thickness[at.index]
    subcutaneous = at.r < skin - body.skin_mm
    canvas.paint(subcutaneous, body.fat_hu, SUBCUTANEOUS)
    chest_wall.subcutaneous_strands(canvas, rng, body, at, subcutaneous, thickness)
    deep = body.deep[at.index]
    canvas.paint(at.r < deep + body.fascia_mm, rng.uniform(0, 40))
    canvas.paint(at.r < deep, body.fat_hu + rng.normal(4, 3))
    chest_wall.muscles(canvas, rng, body, at, PECTORALIS)
    thorax.inside(canvas, rng, body, at)

    texture = smooth_field(rng, canvas.hu.shape, int(rng.integers(14, 40)))
    canvas.hu += np.where(np.abs(canvas.hu) < 250, rng.uniform(1, 6) * texture, 0)
    image, seen = scan(
        canvas,
        rng,
        # At 2 mm a pixel. Noise is correlated, so a pixel of twice the area averages away less than half of its
        # variance: the exponent is what real slices showed between pixels of 2 and 3 mm.
        noise_hu=float(np.exp(rng.uniform(np.log(6.5), np.log(17)))) * (2 * size / fov) ** 0.75,
        streak_hu=float(rng.choice([0.0, rng.uniform(0, 9)])),
        blur_mm=float(rng.uniform(0.5, 1.3)),
        sharpen=float(rng.uniform(0, 0.5)),
        circle=bool(rng.random() < 0.5),
    )
    return image, {key: canvas.coverage(part) * seen for key, part in PARTS.items()}, fov / size
