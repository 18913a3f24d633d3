"""What lies around the heart phantom: lungs, chest wall with sternum and ribs, liver, spine, and vessels between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.heart_anatomy import Heart
from biomark.phantoms.volume import Bar, Cloud, Ellipsoid, Volume, stretch, union


def paint_around_heart(
    volume: Volume, rng: np.random.Generator, heart: Heart, fat_hu: float, blood_hu: float, age: float
) -> None:
    """Paint everything but the heart. ``age`` is a standard normal number: bones lose and cartilage gains calcium."""
    uniform = rng.uniform
    x, y = volume.x, volume.y
    volume.hu[:] = uniform(-900, -800) + uniform(0, 0.6) * y  # lung is denser towards the back
    volume.sprinkle([_draw_lung_vessels(rng, blood_hu)])

    rv = heart.chambers["RV"]
    front = float(rv.centre[1] - np.linalg.norm(rv.half_mm * rv.axes[:, 1])) - uniform(4, 10)
    wall = front + x**2 / np.float32(2 * uniform(140, 220))
    back = float(heart.descending.knots[0, 2] + uniform(2, 8))
    _paint_fat(volume, rng, heart, fat_hu, front, back)
    _paint_below_diaphragm(volume, rng, heart, fat_hu)
    volume.paint(y - wall, uniform(-30, 40))  # muscle and fat between the ribs
    volume.paint(y - wall + np.float32(uniform(12, 18)), fat_hu)
    volume.paint(y - wall + np.float32(uniform(20, 30)), uniform(20, 50))
    _paint_ribs(volume, rng, wall, age)
    _paint_sternum(volume, rng, front)
    _paint_spine(volume, rng, back, age)
    _paint_gullet_and_airways(volume, rng, heart)


def _draw_lung_vessels(rng: np.random.Generator, blood_hu: float) -> Cloud:
    """Vessels that run from the roots of the lungs outwards and grow thin."""
    count, each = 50, 300
    side = rng.choice([-1, 1], count)
    start = np.stack([side * 46, np.full(count, 26), rng.uniform(-15, 35, count)], 1) + rng.normal(0, 6, (count, 3))
    way = rng.normal(0, 1, (count, 3)) * [0.7, 0.8, 0.9]
    way[:, 0] = np.abs(way[:, 0]) * side
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    length, radius = rng.uniform(25, 75, count), rng.uniform(0.85, 1.75, count) ** 2.2
    t = rng.random((count, each))
    spread = rng.normal(0, 1, (count, each, 3)) * (radius[:, None] * (1 - 0.7 * t) / 2.5)[..., None]
    points = start[:, None] + (t * length[:, None])[..., None] * way[:, None] + spread
    points[..., 2] += (8 * t**2) * rng.normal(0, 1, (count, 1))
    share = np.repeat(np.pi * (radius * 0.7) ** 2 * length / each, each)
    return Cloud(points.reshape(-1, 3), share, blood_hu)


def _paint_fat(
    volume: Volume, rng: np.random.Generator, heart: Heart, fat_hu: float, front: float, back: float
) -> None:
    """The mediastinum: a strip behind the sternum, a column before the spine, the pedicle of the great vessels."""
    uniform = rng.uniform
    strip = Ellipsoid.upright((uniform(-4, 8), front, 0), (uniform(22, 44), uniform(12, 28), 1e4))
    column = Ellipsoid.upright((8, back + 4, 0), (uniform(28, 36), uniform(24, 32), 1e4))
    for shape in (strip, column):  # the same in every slice
        volume.paint(shape.distance(volume.x, volume.y, np.zeros((1, 1, 1), np.float32)), fat_hu + uniform(0, 12))
    x, y, z = heart.root
    pedicle = Ellipsoid.upright((x + 4, y + 8, z + 60), (uniform(34, 42), uniform(38, 48), 75))
    volume.fill(pedicle, fat_hu + uniform(0, 12))


def _paint_below_diaphragm(volume: Volume, rng: np.random.Generator, heart: Heart, fat_hu: float) -> None:
    """Liver on the right, stomach and spleen in fat on the left."""
    uniform = rng.uniform
    bottom = min(float(c.centre[2] - np.linalg.norm(c.half_mm * c.axes[:, 2])) for c in heart.chambers.values())
    floor = []
    for place, rise in ((-uniform(45, 60), uniform(12, 34)), (uniform(40, 60), uniform(4, 20)), (5.0, uniform(5, 9))):
        half = (uniform(80, 105), uniform(80, 105), 60)
        dome = Ellipsoid.upright((place, uniform(-5, 12), bottom + rise - 60), half)
        floor.append(dome.distance(volume.x, volume.y, volume.z))
    left = union(floor[1:], 6.0)
    volume.paint(left - 1, uniform(20, 50))  # the diaphragm itself
    volume.paint(left + 2, fat_hu)
    gas = rng.random() < 0.5
    stomach = Ellipsoid.upright((uniform(25, 45), uniform(-15, 15), bottom - uniform(18, 32)), (35, 40, 32))
    volume.fill(stomach, uniform(35, 50))
    volume.fill(stomach, -950 if gas else uniform(0, 60), grow_mm=-4)
    lobe = floor[2] + np.maximum(volume.x * np.float32(0.5) + 2, 4)  # the left lobe reaches under the heart
    volume.paint(np.minimum(floor[0], lobe), uniform(48, 66))


def _paint_ribs(volume: Volume, rng: np.random.Generator, wall: NDArray, age: float) -> None:
    """Ribs: bone outside, cartilage towards the sternum, which calcifies with age, first along its rim."""
    uniform = rng.uniform
    x, y, z = volume.x, volume.y, volume.z
    rows = stretch((y < wall + 4).any(axis=(0, 2)))
    x, y, wall = x[:, rows], y[:, rows], wall[:, rows]
    gap, half_height, half_depth = uniform(24, 30), uniform(5.5, 7.5), uniform(4, 5.5)
    side = np.sign(x)
    shift = np.where(side > 0, uniform(0, gap), uniform(0, gap)).astype(np.float32)
    rise = np.float32(uniform(-0.1, 0.5)) * np.abs(x)  # towards the sternum the cartilage rises
    height = np.mod(z - shift + rise, np.float32(gap)) - np.float32(gap / 2)
    depth = y - (wall - np.float32(half_depth + 3))
    radius = np.sqrt((height / np.float32(half_height)) ** 2 + (depth / np.float32(half_depth)) ** 2)
    joint = np.where(side > 0, uniform(80, 110), uniform(80, 110))
    bone = np.abs(x) > joint
    rim = 75 + max(float(age + rng.normal(0, 0.7)) - 0.8, 0) * uniform(40, 160)
    shell = np.where(bone, uniform(450, 900), rim).astype(np.float32)
    core = np.where(bone, uniform(80, 250), uniform(45, 80)).astype(np.float32)
    pixel, hu = np.float32(volume.spacing_mm[1]), volume.hu[:, rows]
    for reach, value in ((1, shell), (0.68, core)):
        cover = np.clip((reach - radius) * np.float32(half_depth) / pixel + 0.5, 0, 1)
        hu += cover * (value - hu)


def _box(x: NDArray, y: NDArray, half: tuple[float, float], round_mm: float) -> NDArray:
    """Distance from a rectangle with rounded corners."""
    dx, dy = np.abs(x) - (half[0] - round_mm), np.abs(y) - (half[1] - round_mm)
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - round_mm


def _paint_sternum(volume: Volume, rng: np.random.Generator, front: float) -> None:
    """The body of the sternum: a plate with a bright rim."""
    uniform = rng.uniform
    half = (uniform(14, 21), uniform(5, 7))
    plate = _box(volume.x - uniform(-3, 3), volume.y - (front - half[1] - uniform(1, 3)), half, 4.5)
    plate = np.broadcast_to(plate, (1, *volume.shape[1:]))
    volume.paint(plate, uniform(350, 700))
    volume.paint(plate + np.float32(uniform(1.6, 2.4)), uniform(40, 200))


def _paint_spine(volume: Volume, rng: np.random.Generator, back: float, age: float) -> None:
    """The front of the vertebral bodies, with discs between them."""
    uniform = rng.uniform
    x, y, z = volume.x, volume.y, volume.z
    body, disc = uniform(19, 23), uniform(4, 6)
    wide, deep = uniform(16, 20), uniform(14, 17)
    centre = back + deep - uniform(0, 4)
    outline = Ellipsoid.upright((uniform(-4, 2), centre, 0), (wide, deep, 1e4))
    distance = outline.distance(x, y, np.float32(0) * z[:1])
    level = np.abs(np.mod(z + np.float32(uniform(0, 30)), np.float32(body + disc)) - np.float32((body + disc) / 2))
    flat = level - np.float32(body / 2)  # above 0 in a disc
    volume.paint(distance, uniform(75, 115))
    shell = uniform(350, 650)
    volume.paint(np.maximum(distance, flat), shell)
    thick = uniform(1.6, 2.6)
    marrow = max(170 - 30 * age + rng.normal(0, 30), 60)
    volume.paint(np.maximum(distance + thick, flat + thick), marrow)
    for _ in range(rng.integers(0, 4)):  # spurs that bridge a disc, usually on the right
        place = (uniform(-18, 4), back + uniform(-1, 5), uniform(-50, 50))
        spur = Ellipsoid.upright(place, (uniform(3, 7), uniform(2, 4), uniform(5, 12)))
        volume.fill(spur, uniform(250, 600))


def _paint_gullet_and_airways(volume: Volume, rng: np.random.Generator, heart: Heart) -> None:
    """The oesophagus behind the left atrium, the two main bronchi above it."""
    uniform = rng.uniform
    x, y = volume.x, volume.y
    left = heart.chambers["LA"]
    behind = left.centre[1] + left.half_mm[1]
    gullet = _box(x - np.float32(uniform(-2, 12)), y - np.float32(behind + uniform(4, 7)), (uniform(6, 10), 4), 3.5)
    volume.paint(gullet, uniform(25, 45))
    if rng.random() < 0.4:
        volume.paint(gullet + 3, -600)
    fork = np.array([0, behind + uniform(-6, 2), left.centre[2] + left.half_mm[2] + uniform(14, 24)])
    for side in (-1, 1):
        end = fork + np.array([side * 42, uniform(-2, 6), -uniform(18, 34)])
        bronchus = Bar(fork, end, uniform(5, 6.8))
        volume.fill(bronchus, 20, grow_mm=1.8)
        volume.fill(bronchus, -960)
