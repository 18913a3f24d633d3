"""An axial portal-venous slice of the upper abdomen with a liver and, often, tumours in it: a phantom, not a patient.

The liver fills the right of the cavity up to an edge that recedes from the dome downwards. What a reader must not
count is there too: gallbladder, cysts, vessels that the contrast has not reached, fat along the fissure. A tumour is
darker than the liver, by little in some patients; the bright rim that some have is perfused liver and does not count.
The ranges are ours, chosen to resemble what the LiTS challenge reports (0 to 12 tumours, of 20 to 60 HU contrast).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.body import DEGREES, PARTS, Directions, Trunk, draw_trunk, point_at, step_at
from biomark.phantoms.canvas import Canvas, draw_acquisition
from biomark.phantoms.surroundings import paint_surroundings, paint_vertebra

_TUMOUR = PARTS["liver"]


def draw_slice(
    rng: np.random.Generator, pixels: int = 384
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]], float]:
    """Draw one slice; ``pixels`` on a side of the measuring grid, of about 1 mm.

    Returns:
        The image in HU ``(pixels, pixels)``; which of its pixels are tumour, under the task's key ``liver``, and which
        are the organ, tumours included, under ``organ``; the pixel's side in mm.
    """
    trunk = draw_trunk(rng)
    width = 2 * float(max(np.abs(trunk.skin * np.sin(np.deg2rad(DEGREES + 180)))))
    fov = float(np.clip(width * rng.uniform(0.97, 1.25), 280, 500))
    centre = (rng.normal(0, 8), rng.normal(4, 10))
    canvas = Canvas(pixels, fov, centre, float(np.clip(rng.normal(0, 4), -10, 10)))
    at = Directions.of(canvas)

    paint_surroundings(canvas, rng, trunk, at)
    _paint_wall(canvas, rng, trunk, at)
    _paint_organs_behind(canvas, rng, trunk)
    _paint_organs_before(canvas, rng, trunk)
    organ = _paint_liver(canvas, rng, trunk, at)
    image, seen = draw_acquisition(canvas, rng, texture_hu=(0.5, 4), noise_hu=(5, 13), streak_hu=4, sharpen=0.3)
    return image, {"liver": (canvas.part == _TUMOUR) & seen, "organ": organ & seen}, fov / pixels


def _paint_wall(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, at: Directions) -> None:
    """Skin, subcutaneous fat, the muscles of the wall with cut ribs, and the fat that fills the cavity."""
    uniform = rng.uniform
    skin, wall, cavity = (layer.astype(np.float32)[at.index] for layer in (trunk.skin, trunk.wall, trunk.cavity))
    below = skin - at.r
    canvas.paint(below > 0, 35)
    canvas.paint(below > trunk.skin_mm, trunk.fat_hu)
    canvas.paint(at.r < wall, trunk.muscle_hu)
    between = (at.r - cavity) / np.maximum(wall - cavity, np.float32(1))
    inside = (between > 0) & (between < 1)
    layers, beside = between[inside], np.abs(at.degrees[inside]) < 150
    tissue_hu = np.full(layers.shape, trunk.muscle_hu, np.float32)
    for depth in (uniform(0.25, 0.4), uniform(0.6, 0.75)):  # fat between the layers of muscle
        tissue_hu[(np.abs(layers - depth) < uniform(0.01, 0.09)) & beside] = trunk.fat_hu + uniform(0, 40)
    marbling = canvas.random_field(rng, rng.integers(40, 90))[inside] > uniform(1.6, 2.6)
    tissue_hu[marbling] = trunk.fat_hu + uniform(10, 60)
    canvas.paint(inside, tissue_hu)
    for side in (-1, 1):
        degrees = uniform(35, 60)
        while degrees < 155:
            half, depth, shell, marrow = uniform(3, 10), uniform(0.3, 0.5), uniform(450, 950), uniform(90, 350)
            window = _find_rib(canvas, trunk, side * degrees, half)
            cut = ((at.degrees[window] * side - degrees) / half) ** 2 + ((between[window] - depth) / 0.32) ** 2
            canvas.paint(cut < 1, shell, window=window)
            canvas.paint(cut < 0.4, marrow, window=window)
            degrees += half + uniform(12, 34)
    canvas.paint(at.r < cavity, trunk.fat_hu + uniform(-3, 12))


def _find_rib(canvas: Canvas, trunk: Trunk, degrees: float, half_deg: float) -> tuple[slice, slice]:
    """A window that holds all of the wall within ``half_deg`` of a direction."""
    steps = np.arange(step_at(degrees - half_deg), step_at(degrees + half_deg) + 2) % len(trunk.wall)
    inner, outer = float(trunk.cavity[steps].min()), float(trunk.wall[steps].max())
    x, y = point_at((inner + outer) / 2, degrees)
    return canvas.near(x, y, (outer - inner) / 2 + outer * np.deg2rad(half_deg))


def _paint_organs_behind(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Spine, psoas, the great vessels, kidneys and spleen."""
    uniform, width, level = rng.uniform, trunk.half_width_mm, trunk.level
    spine = trunk.cavity[0] - uniform(-4, 8)
    for side in (-1, 1):
        grown = 0.3 + level
        canvas.ellipse(side * uniform(26, 34), spine - uniform(0, 6), 11 * grown, 15 * grown, trunk.muscle_hu)
        canvas.bar((side * 16, spine - 6), (side * 8, spine - 30), uniform(2, 5), trunk.muscle_hu)  # crura
    paint_vertebra(canvas, rng, spine)
    blood = trunk.blood_hu
    canvas.ellipse(uniform(2, 12), spine - uniform(24, 31), uniform(8, 12), uniform(8, 12), blood + uniform(-5, 25))
    if rng.random() < 0.25:
        canvas.ellipse(uniform(4, 14), spine - uniform(18, 24), uniform(2, 6), 1.3, uniform(300, 800))
    canvas.ellipse(-uniform(16, 26), spine - uniform(26, 36), uniform(9, 15), uniform(7, 12), blood + uniform(-40, 5))
    if level > 0.3:
        for side in (-1, 1):
            _paint_kidney(canvas, rng, trunk, side * width * uniform(0.42, 0.5), spine - uniform(4, 16))
    if level < 0.8:  # the spleen, between stomach and left flank
        degrees = uniform(100, 125)
        x, y = point_at(trunk.cavity[step_at(degrees)] - uniform(20, 28), degrees)
        canvas.ellipse(x, y, uniform(18, 26), uniform(30, 56), uniform(105, 135), turn_deg=uniform(10, 45))


def _paint_kidney(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, x: float, y: float) -> None:
    uniform = rng.uniform
    rx, ry, turn = uniform(20, 28), uniform(24, 32), uniform(-30, 30)
    canvas.ellipse(x, y, rx + 3, ry + 3, trunk.fat_hu, turn_deg=turn)
    canvas.ellipse(x, y, rx, ry, uniform(110, 160), turn_deg=turn, rim=(uniform(5, 9), uniform(160, 220)))
    canvas.ellipse(x - np.sign(x) * uniform(0, 8), y, uniform(4, 10), uniform(5, 13), trunk.fat_hu + 10)
    if rng.random() < 0.3:  # a simple cyst
        r = uniform(4, 22)
        canvas.ellipse(x + uniform(-rx, rx), y + uniform(-ry, ry), r, r * uniform(0.8, 1.2), uniform(-5, 20))


def _paint_organs_before(canvas: Canvas, rng: np.random.Generator, trunk: Trunk) -> None:
    """Stomach, pancreas and bowel: soft tissue, fluid, air and swallowed contrast."""
    uniform, width, depth, level = rng.uniform, trunk.half_width_mm, trunk.half_depth_mm, trunk.level
    if level > 0.35:
        for _ in range(rng.integers(4, 18)):
            x, y = uniform(-0.35, 0.75) * width, uniform(-0.8, 0.15) * depth
            _paint_gut(canvas, rng, x, y, uniform(8, 22), uniform(8, 18))
    if rng.random() < 0.8:
        x, y = uniform(-5, 5), uniform(-0.15, 0.15) * depth
        for step in range(rng.integers(3, 8)):  # pancreas: a row of lobules
            canvas.ellipse(x + 11 * step, y - uniform(0, 4) * step, uniform(6, 12), uniform(6, 12), uniform(80, 115))
    if level < 0.75:
        x, y = uniform(0.3, 0.55) * width, uniform(-0.5, -0.1) * depth
        _paint_gut(canvas, rng, x, y, uniform(24, 52), uniform(20, 42))
    for _ in range(rng.integers(0, 8)):  # vessels and nodes in the fat
        x, y = uniform(-0.2, 0.6) * width, uniform(-0.5, 0.4) * depth
        canvas.ellipse(x, y, uniform(2, 6), uniform(2, 6), uniform(40, 170))


def _paint_gut(canvas: Canvas, rng: np.random.Generator, x: float, y: float, rx: float, ry: float) -> None:
    """A loop with its wall, filled with food or fluid, air above it, or contrast medium."""
    uniform = rng.uniform
    turn, content = uniform(-40, 40), uniform(0, 70) if rng.random() < 0.8 else uniform(120, 400)
    canvas.ellipse(x, y, rx, ry, content, turn_deg=turn, rim=(uniform(2, 4), uniform(50, 110)))
    if rng.random() < 0.4:
        surface = y + uniform(-0.6, 0.5) * ry
        window = canvas.near(x, y, max(rx, ry))
        inside = ((canvas.x[window] - x) / (rx - 4)) ** 2 + ((canvas.y[window] - y) / (ry - 4)) ** 2 < 1
        canvas.paint(inside & (canvas.y[window] < surface), uniform(-980, -850), window=window)


def _paint_liver(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, at: Directions) -> NDArray:
    """The liver with all that lies in it; returns where it is."""
    uniform, level = rng.uniform, trunk.level
    across, down = canvas.x / trunk.half_width_mm, canvas.y / trunk.half_depth_mm
    # The edge towards the patient's left, from front to back: a left lobe above, a right lobe alone below.
    places = np.array([-1.0, -0.6, -0.15, 0.3, 0.9])
    dome, tip = np.array([0.5, 0.42, 0.0, -0.1, -0.25]), np.array([-0.5, -0.42, -0.45, -0.5, -0.6])
    middle = dome + level * (tip - dome)
    edge = np.interp(down, places, middle + rng.normal(0, 0.06, 5)).astype(np.float32)
    edge += np.float32(0.03) * canvas.random_field(rng, 8)
    floor = uniform(0.55, 0.9) - 0.35 * level + 0.25 * np.abs(across)  # above the right kidney
    to_wall = trunk.cavity.astype(np.float32)[at.index] - at.r
    # Below the dome, lung lies between the liver's right and the wall.
    lung_mm, air_hu = max(0.35 - level, 0) * uniform(0, 90), uniform(-880, -750)
    lung = lung_mm * np.clip((-at.degrees - 60) / 60, 0, 1) if lung_mm else 0
    if lung_mm:
        canvas.paint((to_wall > 0) & (to_wall < lung), air_hu)
    liver = (to_wall > uniform(1, 3.5) + lung) & (across < edge) & (down < floor)
    if not liver.any():
        return liver
    fatty = rng.random() < 0.12
    parenchyma = uniform(72, 90) if fatty else float(np.clip(rng.normal(108, 8), 92, 126))
    canvas.paint(liver, parenchyma)
    outside = canvas.hu.copy()
    _paint_vessels(canvas, rng, trunk, liver, parenchyma)
    _paint_mimics(canvas, rng, liver, parenchyma)
    _paint_tumours(canvas, rng, liver, parenchyma)
    np.copyto(canvas.hu, outside, where=~liver)
    canvas.part *= liver
    if 0.25 < level < 0.95 and rng.random() < 0.6:  # the gallbladder, on the liver's lower edge
        y = uniform(-0.55, -0.1)
        x = np.interp(y, places, middle) - uniform(-0.05, 0.15)
        rx, ry = uniform(9, 20), uniform(12, 28)
        x, y = x * trunk.half_width_mm, y * trunk.half_depth_mm
        window = canvas.near(x, y, max(rx, ry))
        before = canvas.hu[window].copy()
        canvas.ellipse(x, y, rx, ry, uniform(0, 26), turn_deg=uniform(-50, 50), rim=(uniform(1, 2.5), uniform(40, 90)))
        liver[window] &= before == canvas.hu[window]
    return liver


def _paint_vessels(canvas: Canvas, rng: np.random.Generator, trunk: Trunk, liver: NDArray, parenchyma: float) -> None:
    """Portal and hepatic veins; early in the contrast's passage the hepatic ones are darker than the liver."""
    uniform, places = rng.uniform, np.flatnonzero(liver)
    late = rng.random() < 0.75
    for _ in range(rng.integers(3, 10)):
        portal = rng.random() < 0.5
        x, y = _draw_place(canvas, rng, places)
        hu = trunk.blood_hu if portal or late else parenchyma - uniform(5, 35)
        direction, half = uniform(0, 2 * np.pi), uniform(1.2, 5)
        for _ in range(rng.integers(1, 5)):
            length = uniform(8, 30)
            end = (x + length * np.cos(direction), y + length * np.sin(direction))
            canvas.bar((x, y), end, half, hu)
            (x, y), direction, half = end, direction + rng.normal(0, 0.4), max(half * uniform(0.7, 1), 0.8)


def _paint_mimics(canvas: Canvas, rng: np.random.Generator, liver: NDArray, parenchyma: float) -> None:
    """Cysts, which are darker and rounder than tumours, and fat beside the fissure."""
    uniform, places = rng.uniform, np.flatnonzero(liver)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 5)):
            x, y = _draw_place(canvas, rng, places)
            radius = float(np.clip(np.exp(rng.normal(np.log(7), 0.6)), 2.5, 28))
            canvas.ellipse(x, y, radius, radius * uniform(0.85, 1.15), uniform(-5, 15))
    if rng.random() < 0.35:
        x, y = _draw_place(canvas, rng, places)
        end = (x + uniform(-6, 6), y + uniform(15, 40))
        canvas.bar((x, y), end, uniform(1, 4), uniform(-90, 40))
        if rng.random() < 0.3:
            canvas.ellipse(x, y, uniform(4, 9), uniform(8, 14), parenchyma - uniform(15, 40))


def _paint_tumours(canvas: Canvas, rng: np.random.Generator, liver: NDArray, parenchyma: float) -> None:
    """None in a third of the patients, else one to six, alike within a patient."""
    uniform, places = rng.uniform, np.flatnonzero(liver)
    if rng.random() < 0.35:
        return
    contrast = float(np.clip(np.exp(rng.normal(np.log(38), 0.4)), 13, min(75, parenchyma - 28)))
    rough, soft_mm, rimmed = uniform(0.02, 0.16), uniform(0.2, 3), rng.random() < 0.2
    for _ in range(min(int(rng.geometric(0.42)), 6)):
        x, y = _draw_place(canvas, rng, places)
        mass = rng.random() < 0.08
        radius = uniform(28, 50) if mass else float(np.clip(np.exp(rng.normal(np.log(10), 0.5)), 3.5, 28))
        window, depth = _draw_blob(canvas, rng, x, y, radius, rough)
        hu = max(parenchyma - contrast + rng.normal(0, 4), 24)
        within = (depth > 0) & liver[window]
        if rimmed:
            rim = liver[window] & (depth > -uniform(1.5, 4)) & (canvas.part[window] != _TUMOUR)
            canvas.paint(rim, parenchyma + uniform(15, 45), window=window)
        # From liver to tumour within soft_mm inside the outline.
        share = np.clip(depth[within] / soft_mm, 0.35, 1)
        canvas.paint(within, parenchyma + share * (hu - parenchyma), _TUMOUR, window)
        if radius > 12 and rng.random() < 0.4:  # dead tissue in the middle
            canvas.paint(within & (depth > radius * uniform(0.4, 0.7)), max(hu - uniform(5, 25), 18), _TUMOUR, window)


def _draw_place(canvas: Canvas, rng: np.random.Generator, places: NDArray) -> tuple[float, float]:
    """One of the pixels whose numbers are ``places``, all of them equally likely."""
    chosen = rng.choice(places)
    return float(canvas.x.flat[chosen]), float(canvas.y.flat[chosen])


def _draw_blob(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, radius: float, rough: float
) -> tuple[tuple[slice, slice], NDArray]:
    """A round shape with an uneven outline: its window, and there the depth within it in mm, negative outside."""
    window = canvas.near(x, y, radius * (1 + 2.5 * rough))
    dx, dy = canvas.x[window] - x, canvas.y[window] - y
    angle, outline = np.arctan2(dy, dx), np.ones(dx.shape)
    for k in range(2, 7):
        outline += rough * rng.normal(0, 1 / k) * 2 * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return window, radius * np.clip(outline, 0.4, 1 + 2.5 * rough) - np.hypot(dx, dy)
