"""Bones, lungs, mediastinum and lesions of the chest phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biomark.phantoms.acquisition import smooth_field
from biomark.phantoms.canvas import Canvas

if TYPE_CHECKING:
    from biomark.phantoms.chest import Body
    from biomark.phantoms.directions import Directions


def inside(canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions) -> None:
    """Cage wall, ribs, lungs, mediastinum and spine."""
    uniform = rng.uniform
    pleura, cage = body.pleura[at.index], body.cage[at.index]
    wall = (at.r >= pleura) & (at.r < cage)
    between = (at.r - pleura) / np.maximum(cage - pleura, 1)
    muscle = wall & (between > uniform(0.1, 0.3)) & (between < uniform(0.75, 0.95))
    canvas.paint(wall, body.fat_hu + 15)
    canvas.paint(muscle, body.muscle_hu - uniform(0, 25))
    _ribs(canvas, rng, at, wall, between)

    lungs = at.r < pleura
    level = uniform(-900, -760)
    lung = level + uniform(0, 0.6) * canvas.y[lungs] + 25 * smooth_field(rng, canvas.hu.shape, 30)[lungs]
    canvas.paint(lungs, np.clip(lung, -1000, -500))
    vessels = lungs & (smooth_field(rng, canvas.hu.shape, int(rng.integers(28, 60))) > uniform(2.2, 3.2))
    canvas.paint(vessels, min(body.blood_hu, 150))
    _lesions(canvas, rng, body, lungs)
    _mediastinum(canvas, rng, body, lungs)
    _sternum(canvas, rng, body)
    vertebra(canvas, rng, body.pleura[0] - uniform(8, 18))


def _ribs(canvas, rng, at, wall, between) -> None:
    """Cut ribs: short arcs in the cage wall, a bright shell around marrow; cartilage near the sternum."""
    hu, part, degrees_here, between = canvas.hu[wall], canvas.part[wall], at.degrees[wall], between[wall]
    for side in (-1, 1):
        degrees = rng.uniform(18, 30)
        while degrees < 165:
            half = rng.uniform(4, 13)
            along = (degrees_here * side - degrees) / half
            depth = (between - rng.uniform(0.42, 0.58)) / rng.uniform(0.36, 0.5)
            cut = along**2 + depth**2
            hu[cut < 1] = rng.uniform(80, 160) if degrees < 34 and rng.random() < 0.6 else rng.uniform(450, 1000)
            hu[cut < 0.4] = rng.uniform(80, 400)
            part[cut < 1] = 0
            degrees += half + rng.uniform(9, 26)
    canvas.hu[wall], canvas.part[wall] = hu, part


def _lesions(canvas, rng, body, lungs) -> None:
    """Masses, consolidation and effusion: soft tissue where air is expected."""
    uniform = rng.uniform
    hu = canvas.hu.copy()
    if rng.random() < 0.22:
        for _ in range(rng.integers(1, 3)):
            side = rng.choice([-1, 1])
            x, y = side * uniform(0.35, 0.85) * body.half_width_mm, uniform(-0.7, 0.6) * body.half_depth_mm
            canvas.ellipse(x, y, uniform(8, 48), uniform(8, 42), uniform(10, 60), turn_deg=uniform(0, 180))
    if rng.random() < 0.15:
        level = uniform(0.25, 0.75) * body.half_depth_mm
        canvas.paint(lungs & (canvas.y > level) & (canvas.x * rng.choice([-1, 1]) > 0), uniform(-5, 35))
    if rng.random() < 0.15:
        patchy = lungs & (smooth_field(rng, canvas.hu.shape, int(rng.integers(5, 14))) > uniform(1.2, 2.5))
        canvas.paint(patchy, uniform(-500, 40))
    # A lesion painted over the chest wall would replace muscle: put back what lies outside the lungs.
    canvas.hu[~lungs] = hu[~lungs]


def _mediastinum(canvas, rng, body, lungs) -> None:
    """Fat and vessels between the lungs: the aortic arch, veins, airway, gullet, nodes; sometimes the heart's base."""
    uniform = rng.uniform
    hu = canvas.hu.copy()
    depth = body.half_depth_mm
    fat = body.fat_hu + uniform(-2, 25)
    canvas.ellipse(uniform(-4, 8), -0.55 * depth, uniform(14, 42), 0.6 * depth, fat)
    canvas.ellipse(uniform(-4, 8), 0.05 * depth, uniform(32, 46), uniform(34, 48), fat)
    canvas.ellipse(0, 0.75 * depth, uniform(24, 36), uniform(26, 38), fat)
    blood = body.blood_hu + rng.normal(0, 4)
    if rng.random() < 0.3:  # a lower level: great arteries and the base of the heart
        canvas.ellipse(
            uniform(5, 22),
            uniform(-30, -5),
            uniform(28, 58),
            uniform(24, 46),
            blood,
            turn_deg=uniform(-30, 30),
        )
        canvas.ellipse(uniform(10, 24), uniform(25, 40), 13, 13, blood)
    else:
        tilt, x, y = uniform(-35, 10), uniform(8, 24), uniform(-12, 8)
        canvas.ellipse(x, y, uniform(11, 17), uniform(28, 44), blood, turn_deg=tilt)
        if rng.random() < 0.4:
            canvas.ellipse(
                x + uniform(-8, 8),
                y + uniform(-26, 26),
                uniform(1, 5),
                1.2,
                uniform(300, 900),
                turn_deg=uniform(0, 180),
            )
    canvas.ellipse(
        uniform(-30, -18),
        uniform(-24, -6),
        uniform(7, 11),
        uniform(7, 12),
        blood + rng.choice([0, uniform(-40, 150)]),
    )
    canvas.ellipse(uniform(-8, 4), uniform(0, 16), uniform(8, 12), uniform(8, 11), -990, rim=(1.6, 30))
    canvas.ellipse(uniform(0, 10), uniform(24, 36), uniform(6, 10), uniform(5, 9), uniform(20, 45))
    for _ in range(rng.integers(2, 10)):
        canvas.ellipse(uniform(-32, 34), uniform(-40, 34), uniform(2, 7), uniform(2, 6), uniform(10, 60))
    if rng.random() < 0.35:  # thymus remnant or anterior mass
        canvas.ellipse(uniform(-8, 10), -0.72 * depth, uniform(10, 26), uniform(5, 14), uniform(-60, 45))
    canvas.hu[~lungs] = hu[~lungs]


def _sternum(canvas, rng, body) -> None:
    """Manubrium or body of the sternum, with the joints beside it."""
    uniform = rng.uniform
    front = -(body.pleura[len(body.pleura) // 2] + uniform(3, 8))
    half, thick, slope = uniform(14, 32), uniform(5, 9), uniform(-6, 6)
    canvas.bar(
        (-half, front + slope / 2),
        (half, front - slope / 2),
        thick,
        uniform(60, 260),
        rim=(1.8, uniform(350, 800)),
    )
    if rng.random() < 0.5:
        for side in (-1, 1):
            x = side * (half + uniform(6, 16))
            value = uniform(80, 180) if rng.random() < 0.5 else uniform(200, 500)
            canvas.ellipse(
                x,
                front + uniform(-2, 10),
                uniform(7, 15),
                uniform(5, 8),
                value,
                rim=(1.5, value + uniform(0, 350)),
            )


def vertebra(canvas: Canvas, rng: np.random.Generator, y: float) -> None:
    """A vertebra whose body's middle lies at ``y`` mm: body, canal, arch and processes."""
    uniform = rng.uniform
    marrow, shell = uniform(120, 300), uniform(350, 800)
    turn, size = uniform(-3, 3), uniform(0.9, 1.15)
    for side in (-1, 1):
        canvas.bar(
            (side * 14, y + 16 * size),
            (side * uniform(34, 46), y + uniform(18, 30)),
            uniform(4, 6),
            marrow,
            rim=(1.5, shell),
        )
    canvas.ellipse(turn, y + 20 * size, 17 * size, 13 * size, shell)
    canvas.bar(
        (turn, y + 30 * size),
        (turn + uniform(-3, 3), y + uniform(42, 56) * size),
        uniform(2.5, 4),
        marrow,
        rim=(1.2, shell),
    )
    canvas.ellipse(turn, y, 18 * size, 15 * size, marrow, rim=(1.8, shell))
    canvas.ellipse(turn, y + 21 * size, uniform(7, 9), uniform(6.5, 8.5), uniform(5, 40))
