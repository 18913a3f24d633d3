"""What lies around the body of a phantom: table, mattress, blanket, leads and arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biomark.phantoms.canvas import Canvas

if TYPE_CHECKING:
    from biomark.phantoms.abdomen import Trunk
    from biomark.phantoms.chest import Body


def outside(canvas: Canvas, rng: np.random.Generator, body: Body | Trunk, reach: float) -> None:
    """Table, mattress, blanket, leads and arms."""
    uniform = rng.uniform
    half = len(body.skin) // 2
    bottom = max(body.skin[0], body.skin[-1], body.skin[half // 8], body.skin[-half // 8])
    if rng.random() < 0.92:
        top, bend = bottom + uniform(-2, 30), uniform(250, 1200)
        depth = canvas.y - top + canvas.x**2 / (2 * bend)
        if rng.random() < 0.5:
            canvas.paint((depth > -uniform(0, 20)) & (depth < 0), uniform(-960, -820))
        canvas.paint((depth > 0) & (depth < uniform(1.5, 5)), uniform(-250, 450))
        if rng.random() < 0.6:  # underside of the table: a second shell or two straight legs
            below = uniform(12, 60)
            if rng.random() < 0.5:
                canvas.paint((depth > below) & (depth < below + uniform(1.5, 5)), uniform(-250, 450))
            else:
                foot = uniform(60, 160)
                for side in (-1, 1):
                    canvas.bar(
                        (side * (foot + 70), top + 5),
                        (side * foot, top + below + 40),
                        uniform(1.5, 4),
                        uniform(-200, 400),
                    )
            canvas.paint((depth > 5) & (depth < below), uniform(-1000, -900))
    if rng.random() < 0.45:  # blanket, gown or cable loops over the chest
        lift = uniform(1, 25)
        shape = (
            body.skin + lift + 6 * np.sin(np.arange(len(body.skin)) * rng.integers(2, 9) * 2 * np.pi / len(body.skin))
        )
        r = np.hypot(canvas.x, canvas.y)
        index = np.floor((np.rad2deg(np.arctan2(canvas.x, -canvas.y)) + 180) * len(shape) / 360).astype(int) % len(
            shape
        )
        away = np.abs(r - shape[index])
        canvas.paint((away < uniform(0.5, 2.5)) & (canvas.y < uniform(-40, 60)), uniform(-850, -50))
    for _ in range(rng.integers(0, 4)):  # leads and tubes
        angle = uniform(-1.6, 1.6)
        canvas.ellipse((reach + 4) * np.sin(angle), -(bottom + 3) * np.cos(angle), 2, 2, uniform(0, 2500))
    if rng.random() < 0.22:
        for side in rng.choice([-1, 1], rng.integers(1, 3), replace=False):
            _arm(canvas, rng, body, side)


def _arm(canvas: Canvas, rng: np.random.Generator, body: Body | Trunk, side: int) -> None:
    """An arm beside the trunk, touching it or not. Its fat and muscle are not counted."""
    uniform = rng.uniform
    beside = body.skin[(len(body.skin) * 3) // 4 if side > 0 else len(body.skin) // 4]
    rx, ry = uniform(32, 50), uniform(36, 58)
    x, y = side * (beside + rx + uniform(-8, 20)), uniform(-40, 50)
    fat = uniform(4, 14)
    canvas.ellipse(x, y, rx, ry, body.fat_hu, rim=(body.skin_mm, 35))
    canvas.ellipse(x, y, rx - fat, ry - fat * uniform(0.8, 1.4), body.muscle_hu)
    canvas.bar((x - rx + fat, y), (x, y + uniform(-8, 8)), 1.2, body.fat_hu + 20)
    canvas.ellipse(x, y + uniform(-4, 4), 12, 12, uniform(-50, 150), rim=(4, 1000))
