"""What chest and abdomen have alike: the spine, and around the body a table, mattress, blanket, leads and arms."""

from __future__ import annotations

import numpy as np

from biomark.phantoms.body import STEPS, Body, Directions, Trunk, step_at
from biomark.phantoms.canvas import Canvas


def paint_surroundings(
    canvas: Canvas, rng: np.random.Generator, body: Body | Trunk, at: Directions, arms: float = 0.22
) -> None:
    """Table, mattress, blanket and leads; with a probability of ``arms``, one arm or both at the side."""
    uniform = rng.uniform
    bottom = max(body.skin[[0, -1, STEPS // 16, -STEPS // 16]])
    if rng.random() < 0.92:
        _paint_table(canvas, rng, bottom)
    if rng.random() < 0.45:  # blanket, gown or cable loops over the chest
        lift = uniform(1, 25)
        shape = body.skin + lift + 6 * np.sin(np.arange(STEPS) * rng.integers(2, 9) * 2 * np.pi / STEPS)
        away = np.abs(at.r - shape[at.index])
        canvas.paint((away < uniform(0.5, 2.5)) & (canvas.y < uniform(-40, 60)), uniform(-850, -50))
    if rng.random() < 0.4:  # the cover of a cushion, on which the back lies
        folds = 2 + 2 * np.sin(np.arange(STEPS) * rng.integers(8, 40) * 2 * np.pi / STEPS)
        away = np.abs(at.r - (body.skin + folds + uniform(-1, 4))[at.index])
        canvas.paint((away < uniform(0.4, 1.2)) & (canvas.y > uniform(0, 80)), uniform(-400, 300))
    reach = float(body.skin.max())
    for _ in range(rng.integers(0, 4)):  # leads and tubes
        angle = uniform(-1.6, 1.6)
        canvas.ellipse((reach + 4) * np.sin(angle), -(bottom + 3) * np.cos(angle), 2, 2, uniform(0, 2500))
    if rng.random() < arms:
        for side in rng.choice([-1, 1], rng.integers(1, 3), replace=False):
            _paint_arm(canvas, rng, body, side)


def _paint_table(canvas: Canvas, rng: np.random.Generator, bottom: float) -> None:
    """A curved table, often with a mattress and with a second shell or two legs under it."""
    uniform = rng.uniform
    top, bend = bottom + (uniform(-5, 4) if rng.random() < 0.5 else uniform(4, 30)), uniform(250, 1200)
    depth = canvas.y - top + canvas.x**2 / (2 * bend)
    if rng.random() < 0.5:
        canvas.paint((depth > -uniform(0, 20)) & (depth < 0), uniform(-960, -820))
    canvas.paint((depth > 0) & (depth < uniform(1.5, 5)), uniform(-250, 450))
    if rng.random() < 0.6:
        below = uniform(12, 60)
        if rng.random() < 0.5:
            canvas.paint((depth > below) & (depth < below + uniform(1.5, 5)), uniform(-250, 450))
        else:
            foot = uniform(60, 160)
            for side in (-1, 1):
                start, end = (side * (foot + 70), top + 5), (side * foot, top + below + 40)
                canvas.bar(start, end, uniform(1.5, 4), uniform(-200, 400))
        canvas.paint((depth > 5) & (depth < below), uniform(-1000, -900))


def _paint_arm(canvas: Canvas, rng: np.random.Generator, body: Body | Trunk, side: int) -> None:
    """An arm beside the trunk, touching it or not. Its fat and muscle are not counted."""
    uniform = rng.uniform
    rx, ry = uniform(32, 50), uniform(36, 58)
    x, y = side * (body.skin[step_at(90 * side)] + rx + uniform(-8, 20)), uniform(-40, 50)
    fat = uniform(4, 14)
    canvas.ellipse(x, y, rx, ry, body.fat_hu, rim=(body.skin_mm, 35))
    canvas.ellipse(x, y, rx - fat, ry - fat * uniform(0.8, 1.4), body.muscle_hu)
    canvas.bar((x - rx + fat, y), (x, y + uniform(-8, 8)), 1.2, body.fat_hu + 20)
    canvas.ellipse(x, y + uniform(-4, 4), 12, 12, uniform(-50, 150), rim=(4, 1000))


def paint_vertebra(canvas: Canvas, rng: np.random.Generator, y: float) -> None:
    """A vertebra whose body's middle lies at ``y`` mm: body, canal, arch and processes."""
    uniform = rng.uniform
    marrow, shell = uniform(120, 300), uniform(350, 800)
    turn, size = uniform(-3, 3), uniform(0.9, 1.15)
    for side in (-1, 1):
        tip = (side * uniform(34, 46), y + uniform(18, 30))
        canvas.bar((side * 14, y + 16 * size), tip, uniform(4, 6), marrow, rim=(1.5, shell))
    canvas.ellipse(turn, y + 20 * size, 17 * size, 13 * size, shell)
    tip = (turn + uniform(-3, 3), y + uniform(42, 56) * size)
    canvas.bar((turn, y + 30 * size), tip, uniform(2.5, 4), marrow, rim=(1.2, shell))
    canvas.ellipse(turn, y, 18 * size, 15 * size, marrow, rim=(1.8, shell))
    canvas.ellipse(turn, y + 21 * size, uniform(7, 9), uniform(6.5, 8.5), uniform(5, 40))
