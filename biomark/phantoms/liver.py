"""An axial portal-venous slice of the upper abdomen with a liver and, often, tumours in it: a phantom, not a patient.

The liver fills the right of the cavity up to an edge that recedes from the dome downwards. What a reader must not
count is there too: gallbladder, cysts, vessels that the contrast has not reached, fat along the fissure. A tumour is
darker than the liver, by little in some patients; the bright rim that some have is perfused liver and does not count.
The ranges are ours, chosen to resemble what the LiTS challenge reports (0 to 12 tumours, of 20 to 60 HU contrast).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms import abdomen, surroundings
from biomark.phantoms.acquisition import scan, smooth_field
from biomark.phantoms.canvas import Canvas
from biomark.phantoms.directions import Directions

TUMOUR = 1
"""Part number on the canvas of what is counted."""


def draw_slice(rng: np.random.Generator, size: int, supersample: int = 3) -> tuple[NDArray, NDArray, NDArray, float]:
    """Draw one slice.

    Args:
        rng: Source of every random choice.
        size: Pixels on a side.
        supersample: Sub-pixels on a side of a pixel.

    Returns:
        The image in HU ``(size, size)`` float32; the share of each pixel covered by tumour; that covered by liver,
        tumours included; the pixel's side in mm.
    """
    trunk = abdomen.draw_trunk(rng)
    width = 2 * float(max(np.abs(trunk.skin * np.sin(np.deg2rad(np.arange(len(trunk.skin)) * 360 / len(trunk.skin))))))
    fov = float(np.clip(width * rng.uniform(0.97, 1.25), 280, 500))
    shift = (rng.normal(0, 8), rng.normal(4, 10))
    canvas = Canvas(size, fov, shift, float(np.clip(rng.normal(0, 4), -10, 10)), supersample)
    at = Directions.of(canvas)

    surroundings.outside(canvas, rng, trunk, float(trunk.skin.max()))
    abdomen.walls(canvas, rng, trunk, at)
    abdomen.organs_behind(canvas, rng, trunk)
    abdomen.organs_before(canvas, rng, trunk)
    liver = _liver(canvas, rng, trunk, at)

    texture = smooth_field(rng, canvas.hu.shape, int(rng.integers(14, 40)))
    canvas.hu += np.where(np.abs(canvas.hu) < 250, rng.uniform(0.5, 4) * texture, 0)
    image, seen = scan(
        canvas,
        rng,
        # At 2 mm a pixel; the exponent as in the chest phantom.
        noise_hu=float(np.exp(rng.uniform(np.log(5), np.log(13)))) * (2 * size / fov) ** 0.75,
        streak_hu=float(rng.choice([0.0, rng.uniform(0, 4)])),
        blur_mm=float(rng.uniform(0.5, 1.3)),
        sharpen=float(rng.uniform(0, 0.3)),
        circle=bool(rng.random() < 0.5),
    )
    return image, canvas.coverage(TUMOUR) * seen, canvas.block_mean(liver.astype(float)) * seen, fov / size


def regions(n: int, seed: int, size: int) -> NDArray[np.bool_]:
    """The livers, tumours included, of the phantoms that ``draw("liver", n, seed, size=size)`` gives.

    They stand for the organ masks that a segmentation tool would give: :meth:`biomark.Cohort.within` narrows the
    candidates to them.

    Args:
        n: Number of phantoms.
        seed: Their seed.
        size: Pixels on a side.

    Returns:
        Boolean array ``(n, size, size)``, true in pixels of which more than half is liver.
    """
    return np.stack([draw_slice(np.random.default_rng([seed, i]), size)[2] > 0.5 for i in range(n)])


def _liver(canvas: Canvas, rng: np.random.Generator, trunk: abdomen.Trunk, at: Directions) -> NDArray:
    """The liver with all that lies in it; returns where it is on the fine grid."""
    uniform, level = rng.uniform, trunk.level
    across, down = canvas.x / trunk.half_width_mm, canvas.y / trunk.half_depth_mm
    # The edge towards the patient's left, from front to back: a left lobe above, a right lobe alone below.
    places = np.array([-1.0, -0.6, -0.15, 0.3, 0.9])
    dome, tip = np.array([0.5, 0.42, 0.0, -0.1, -0.25]), np.array([-0.5, -0.42, -0.45, -0.5, -0.6])
    edge = np.interp(down, places, dome + level * (tip - dome) + rng.normal(0, 0.06, 5))
    edge += 0.03 * smooth_field(rng, canvas.hu.shape, 8)
    floor = uniform(0.55, 0.9) - 0.35 * level + 0.25 * np.abs(across)  # above the right kidney
    to_wall = trunk.cavity[at.index] - at.r
    lung = np.clip((at.degrees < -60) * (0.35 - level), 0, 1) * uniform(0, 90) * np.clip((-at.degrees - 60) / 60, 0, 1)
    canvas.paint((to_wall > 0) & (to_wall < lung), uniform(-880, -750))
    liver = (to_wall > uniform(1, 3.5) + lung) & (across < edge) & (down < floor)
    if not liver.any():
        return liver
    fatty = rng.random() < 0.12
    parenchyma = uniform(72, 90) if fatty else float(np.clip(rng.normal(108, 8), 92, 126))
    canvas.paint(liver, parenchyma)
    outside = canvas.hu[~liver]
    _vessels(canvas, rng, trunk, liver, parenchyma)
    _mimics(canvas, rng, liver, parenchyma)
    _tumours(canvas, rng, liver, parenchyma)
    canvas.hu[~liver], canvas.part[~liver] = outside, 0
    if 0.25 < level < 0.95 and rng.random() < 0.6:  # the gallbladder, on the liver's lower edge
        y = uniform(-0.55, -0.1)
        x = np.interp(y, places, dome + level * (tip - dome)) - uniform(-0.05, 0.15)
        bladder = canvas.hu.copy()
        rx, ry = uniform(9, 20), uniform(12, 28)
        x, y = x * trunk.half_width_mm, y * trunk.half_depth_mm
        canvas.ellipse(x, y, rx, ry, uniform(0, 26), turn_deg=uniform(-50, 50), rim=(uniform(1, 2.5), uniform(40, 90)))
        liver &= bladder == canvas.hu
    return liver


def _vessels(canvas: Canvas, rng: np.random.Generator, trunk: abdomen.Trunk, liver: NDArray, parenchyma: float) -> None:
    """Portal and hepatic veins; early in the contrast's passage the hepatic ones are darker than the liver."""
    uniform = rng.uniform
    late = rng.random() < 0.75
    for _ in range(rng.integers(3, 10)):
        portal = rng.random() < 0.5
        x, y = _somewhere(canvas, rng, liver)
        hu = trunk.blood_hu if portal or late else parenchyma - uniform(5, 35)
        direction, half = uniform(0, 2 * np.pi), uniform(1.2, 5)
        for _ in range(rng.integers(1, 5)):
            length = uniform(8, 30)
            end = (x + length * np.cos(direction), y + length * np.sin(direction))
            canvas.bar((x, y), end, half, hu)
            (x, y), direction, half = end, direction + rng.normal(0, 0.4), max(half * uniform(0.7, 1), 0.8)


def _mimics(canvas: Canvas, rng: np.random.Generator, liver: NDArray, parenchyma: float) -> None:
    """Cysts, which are darker and rounder than tumours, and fat beside the fissure."""
    uniform = rng.uniform
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 5)):
            x, y = _somewhere(canvas, rng, liver)
            radius = float(np.clip(np.exp(rng.normal(np.log(7), 0.6)), 2.5, 28))
            canvas.ellipse(x, y, radius, radius * uniform(0.85, 1.15), uniform(-5, 15))
    if rng.random() < 0.35:
        x, y = _somewhere(canvas, rng, liver)
        end = (x + uniform(-6, 6), y + uniform(15, 40))
        canvas.bar((x, y), end, uniform(1, 4), uniform(-90, 40))
        if rng.random() < 0.3:
            canvas.ellipse(x, y, uniform(4, 9), uniform(8, 14), parenchyma - uniform(15, 40))


def _tumours(canvas: Canvas, rng: np.random.Generator, liver: NDArray, parenchyma: float) -> None:
    """None in a third of the patients, else one to six, alike within a patient."""
    uniform = rng.uniform
    if rng.random() < 0.35:
        return
    contrast = float(np.clip(np.exp(rng.normal(np.log(38), 0.4)), 13, min(75, parenchyma - 28)))
    rough, soft_mm, rimmed = uniform(0.02, 0.16), uniform(0.2, 3), rng.random() < 0.2
    for _ in range(min(int(rng.geometric(0.42)), 6)):
        x, y = _somewhere(canvas, rng, liver)
        mass = rng.random() < 0.08
        radius = uniform(28, 50) if mass else float(np.clip(np.exp(rng.normal(np.log(10), 0.5)), 3.5, 28))
        window, depth = abdomen.blob(canvas, rng, x, y, radius, rough)
        hu = max(parenchyma - contrast + rng.normal(0, 4), 24)
        within = (depth > 0) & liver[window]
        if rimmed:
            ring = liver[window] & (depth > -uniform(1.5, 4)) & (canvas.part[window] != TUMOUR)
            canvas.paint(ring, parenchyma + uniform(15, 45), window=window)
        # From liver to tumour within soft_mm inside the outline.
        share = np.clip(depth[within] / soft_mm, 0.35, 1)
        canvas.paint(within, parenchyma + share * (hu - parenchyma), TUMOUR, window)
        if radius > 12 and rng.random() < 0.4:  # dead tissue in the middle
            canvas.paint(within & (depth > radius * uniform(0.4, 0.7)), max(hu - uniform(5, 25), 18), TUMOUR, window)


def _somewhere(canvas: Canvas, rng: np.random.Generator, liver: NDArray) -> tuple[float, float]:
    """A place in the liver, all of them equally likely."""
    chosen = rng.choice(np.flatnonzero(liver))
    return float(canvas.x.flat[chosen]), float(canvas.y.flat[chosen])
