"""The coronary arteries of the heart phantom, the calcium along them, and other calcium and metal, not to be counted.

Each artery follows a groove between two chambers, embedded in fat: the right coronary artery between right atrium and
ventricle, the circumflex between left atrium and ventricle, the anterior and posterior descending arteries between
the ventricles. The ranges are ours unless a source is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from biomark.phantoms.heart_anatomy import Heart
from biomark.phantoms.volume import Cloud, Ellipsoid, Tube

STEP_MM = 0.6
"""Distance of the points that stand for an artery, a third of a default pixel. Calcium has two thirds of it."""

SHARE_OF_LESIONS = {"LAD": 0.42, "RCA": 0.26, "LCX": 0.20, "LM": 0.12}
"""Where plaques lie, most in the left anterior descending artery. Ours."""


@dataclass(frozen=True)
class Motion:
    """How an artery moves in the axial plane while a slice is acquired, without ECG gating: each in another phase."""

    way_mm: NDArray  # (x, y) between the two ends of the movement
    beat_mm: float  # distance along z over which the table moves in one heartbeat
    phase: float  # where in the heartbeat z = 0 was acquired, radians
    dwell: NDArray  # share of the time spent at equally spaced places along the way, (K,), in sum 1

    def spread(self, points: NDArray, volume_mm3: float) -> tuple[NDArray, NDArray]:
        """Points where they are seen, (K P, 3), and the volume that each still stands for, (K P,)."""
        fast = np.abs(np.sin(np.pi * points[:, 2] / self.beat_mm + self.phase))
        copies = []
        for place in np.linspace(-0.5, 0.5, len(self.dwell)):
            copy = points.copy()
            copy[:, :2] += place * fast[:, None] * self.way_mm
            copies.append(copy)
        return np.concatenate(copies), np.repeat(self.dwell * volume_mm3, len(points))


@dataclass(frozen=True)
class Artery:
    """One artery: its centre line, (P, 3) in mm, a point every :data:`STEP_MM`; its radius at each; its motion."""

    name: str
    line: NDArray
    radius_mm: NDArray
    motion: Motion

    @property
    def length_mm(self) -> float:
        """Length of the centre line."""
        return (len(self.line) - 1) * STEP_MM

    def tube(
        self,
        first_mm: float,
        last_mm: float,
        step_mm: float,
        radius_mm: NDArray | float,
        beside_mm: tuple[float, float] = (0.0, 0.0),
    ) -> NDArray:
        """Points (P, 3) in a tube along the artery, ``step_mm`` apart: each stands for ``step_mm**3``.

        ``radius_mm`` is one radius, or radii at equally spaced places from first to last; ``beside_mm`` how far the
        tube's middle lies beside the artery's, in two directions across.
        """
        count = max(int(np.ceil((last_mm - first_mm) / step_mm)), 1)
        at = (first_mm + (np.arange(count) + 0.5) * (last_mm - first_mm) / count) / STEP_MM
        ticks = np.arange(len(self.line))
        middle, tangent = (
            np.stack([np.interp(at, ticks, column) for column in curve.T], 1)
            for curve in (self.line, np.gradient(self.line, axis=0))
        )
        # Two directions across, from any vector that is not along.
        other = np.where(np.abs(tangent[:, 2:]) < 0.8 * STEP_MM, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
        one = np.cross(tangent, other)
        one /= np.linalg.norm(one, axis=1, keepdims=True)
        two = np.cross(tangent, one)
        two /= np.linalg.norm(two, axis=1, keepdims=True)
        radii = np.atleast_1d(np.asarray(radius_mm, float))
        radius = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(radii)), radii)
        steps = np.ceil(radius.max() / step_mm)
        u, v = (g.ravel() for g in np.meshgrid(*[np.arange(-steps, steps + 1) * step_mm] * 2))
        place, which = np.nonzero(u**2 + v**2 <= np.maximum(radius[:, None], step_mm / 2) ** 2)
        across = (u[which, None] + beside_mm[0]) * one[place] + (v[which, None] + beside_mm[1]) * two[place]
        return middle[place] + across

    def lumen(self, hu: float) -> Cloud:
        """The blood in the artery with its wall, moved."""
        points = self.tube(0, self.length_mm, STEP_MM, self.radius_mm)
        return Cloud(*self.motion.spread(points, STEP_MM**3), hu)


def draw_arteries(rng: np.random.Generator, heart: Heart) -> list[Artery]:
    """Draw the four arteries on a heart's surface."""
    uniform, chambers = rng.uniform, heart.chambers
    deep = uniform(2.2, 4.0)  # depth of the centre line in the fat
    x, y, r = heart.aorta.at(heart.root[2] + 12)
    left, right = (
        np.array([x + r * np.cos(a), y + r * np.sin(a), heart.root[2] + z])
        for a, z in ((uniform(-0.2, 0.5), uniform(8, 13)), (uniform(-2.3, -1.6), uniform(5, 11)))
    )
    fork = left + np.array([uniform(7, 13), uniform(-4, 3), uniform(-4, 1)]) * heart.size

    def groove(knots: Sequence[Sequence[float]], one: str, other: str) -> NDArray:
        return _into_groove(np.array([heart.place(*k) for k in knots]), chambers[one], chambers[other], deep)

    around = np.deg2rad(np.linspace(65, uniform(170, 215), 7))
    lcx = groove([(0, -18 + 33 * np.cos(t), 33 * np.sin(t)) for t in around], "LV", "LA")
    around = np.deg2rad(np.linspace(70, -75, 9))
    rca = groove([(0, 16 + 30 * np.cos(t), 38 * np.sin(t)) for t in around], "RV", "RA")
    lad = groove([(a, -3, 26 - a / 6) for a in np.linspace(12, uniform(58, 78), 7)], "LV", "RV")
    pda = groove([(a, -3, -28 + a / 6) for a in np.linspace(8, uniform(25, 55), 4)], "LV", "RV")
    thick = uniform(1.5, 2.3)  # lumen 3 to 4 mm across, with the wall
    arteries = []
    for name, knots, ends, reach in (
        ("LM", [left, (left + fork) / 2, fork], (1.15, 1.05), uniform(0.5, 3)),
        ("LAD", [fork, *lad], (1.0, 0.5), uniform(1, 5)),
        ("LCX", [fork, *lcx], (0.95, 0.5), uniform(1, 7)),
        ("RCA", [right, *rca, *pda], (1.05, 0.5), uniform(2, 12)),
    ):
        line = smooth_line(np.array(knots))
        radius = thick * np.linspace(*ends, len(line))
        arteries.append(Artery(name, line, radius, _draw_motion(rng, reach)))
    return arteries


def _draw_motion(rng: np.random.Generator, reach_mm: float) -> Motion:
    """Non-gated: between sharp and doubled. Reach by artery: the right one moves most."""
    angle = rng.uniform(0, 2 * np.pi)
    ends = rng.uniform(0.2, 0.9)  # share of the time spent near the two ends, where the movement turns
    dwell = np.full(5, (1 - ends) / 3)
    dwell[[0, -1]] = ends * np.array([0.5, 0.5]) + rng.uniform(-0.2, 0.2) * ends * np.array([1, -1])
    way = reach_mm * np.array([np.cos(angle), np.sin(angle)])
    return Motion(way, float(rng.uniform(18, 40)), float(rng.uniform(0, np.pi)), dwell)


def _into_groove(points: NDArray, one: Ellipsoid, other: Ellipsoid, deep_mm: float) -> NDArray:
    """Move points to where two chambers are both ``deep_mm`` away: step by step towards one and the other."""
    for _ in range(5):
        for chamber in (one, other):
            away, outward = chamber.outward(points)
            points = points - (np.clip(away - deep_mm, -6, 6))[:, None] * outward
    return points


def smooth_line(knots: NDArray) -> NDArray:
    """A smooth line from the first knot to the last, a point every :data:`STEP_MM`: (K, 3) gives (P, 3)."""
    dense = _resample(knots, 1.0)
    # Continued beyond its ends as its own point reflection there, a line keeps them; otherwise they shrink inwards.
    beyond = np.pad(dense, ((16, 16), (0, 0)), mode="reflect", reflect_type="odd")
    return _resample(gaussian_filter1d(beyond, 4.0, axis=0, truncate=4)[16:-16], STEP_MM)


def _resample(line: NDArray, step_mm: float) -> NDArray:
    """Points on a line about ``step_mm`` apart, its ends among them."""
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    ticks = np.linspace(0, arc[-1], max(round(arc[-1] / step_mm), 1) + 1)
    return np.stack([np.interp(ticks, arc, c) for c in line.T], 1)


def draw_calcium(rng: np.random.Generator, arteries: Sequence[Artery], aim: float) -> list[Cloud]:
    """Draw plaques, elongated lumps in the arteries' walls, until they are worth about the Agatston score ``aim``.

    The score that they will have depends on blur, noise and motion; ``aim`` is only what the drawing goes by, 0 for
    none. Returns clouds of points, moved with their artery.
    """
    by_name, worth = {a.name: a for a in arteries}, 0.0
    taken: list[tuple[str, float, float]] = []
    clouds: list[Cloud] = []
    heavy = max(aim, 30) / 100  # more calcium: longer, thicker and denser plaques
    for _ in range(90):
        if worth >= aim:
            break
        artery = by_name[rng.choice(list(SHARE_OF_LESIONS), p=list(SHARE_OF_LESIONS.values()))]
        length = float(np.clip(np.exp(rng.normal(np.log(5.0 * heavy**0.3), 0.6)), 1.2, 30))
        radius = float(np.clip(np.exp(rng.normal(np.log(1.1 * heavy**0.18), 0.25)), 0.4, 2.4))
        hu = float(rng.uniform(150 + 100 * min(heavy, 2.5), 1200))
        shrink = min(1.0, _mass(1.5 * (aim - worth)) / (length * radius**2 * hu)) ** (1 / 3)  # the last one is smaller
        length, radius = max(length * shrink, 1.0), max(radius * shrink, 0.4)
        # Plaques lie towards the beginning of an artery.
        first = rng.beta(1.1, 2.4) * max(artery.length_mm - length, 0.1)
        last = min(first + length, artery.length_mm)
        if any(name == artery.name and first < b + 3 and last > a - 3 for name, a, b in taken):
            continue
        taken.append((artery.name, first, last))
        worth += _score((last - first) * radius**2 * hu)
        step = STEP_MM * 2 / 3
        lumps = rng.uniform(0.75, 1.15, 5) * np.array([0.55, 0.95, 1.0, 0.95, 0.55]) * radius
        angle, out = rng.uniform(0, 2 * np.pi), max(float(np.mean(artery.radius_mm)) - 0.6 * radius, 0)
        points = artery.tube(first, last, step, lumps, (out * np.cos(angle), out * np.sin(angle)))
        points += rng.uniform(-0.5, 0.5, 3) * step
        clouds.append(Cloud(*artery.motion.spread(points, step**3), hu, artery.name))
    return clouds


# Fitted to single plaques drawn at the default size: the score is about 2.7 times the mass less 4, where the mass in
# mm3 x 1000 HU is 2.4 length radius^2 HU / 1000. Below 4, blur and motion leave nothing above 130 HU.
def _score(length_radius2_hu: float) -> float:
    return 2.7 * max(2.4e-3 * length_radius2_hu - 4, 0)


def _mass(score: float) -> float:
    """The length x radius^2 x HU that is worth a score: the inverse of :func:`_score`."""
    return (score / 2.7 + 4) / 2.4e-3


def draw_stents(rng: np.random.Generator, arteries: Sequence[Artery]) -> list[Cloud]:
    """One or two stents: a mesh of metal, too fine to be seen strut by strut. Not calcium, and not counted."""
    clouds = []
    for _ in range(rng.integers(1, 3)):
        artery = arteries[int(rng.integers(1, 4))]
        length = rng.uniform(10, 28)
        first = rng.uniform(2, max(artery.length_mm * 0.6 - length, 3))
        points = artery.tube(first, min(first + length, artery.length_mm), 0.3, rng.uniform(1.4, 1.8))
        shell = points[rng.random(len(points)) < rng.uniform(0.12, 0.25)]
        clouds.append(Cloud(*artery.motion.spread(shell, 0.3**3), rng.uniform(2500, 5000), "stent"))
    return clouds


GRAIN_MM = 0.5
"""Distance of the points that stand for other calcium."""


def draw_other_calcium(rng: np.random.Generator, heart: Heart, age: float) -> list[Cloud]:
    """Calcium of the aorta's wall, of the valves and of lymph nodes; more with ``age``, a standard normal number."""
    clouds, uniform = [], rng.uniform
    z = heart.root[2]
    for tube, low, high, mean in ((heart.aorta, z - 2, z + 45, 1.0), (heart.descending, -65, 65, 2.0)):
        for _ in range(min(rng.poisson(mean * np.exp(0.9 * age - 0.3)), 14)):
            clouds.append(_draw_wall_patch(rng, tube, uniform(low, high)))
    if rng.random() < 1 / (1 + np.exp(1.1 - 1.2 * age)):  # aortic valve: grains on the cusps
        for _ in range(rng.integers(1, 6)):
            angle, out = uniform(0, 2 * np.pi), uniform(1, 11)
            where = heart.root + np.array([out * np.cos(angle), out * np.sin(angle), uniform(-4, 5)])
            clouds.append(_draw_grain(rng, where, uniform(0.8, 2.8), uniform(250, 1100), "aortic valve"))
    if rng.random() < 1 / (1 + np.exp(2.0 - 1.2 * age)):  # mitral annulus: a piece of a ring behind the left ventricle
        clouds.append(_draw_annulus(rng, heart))
    if rng.random() < 0.12:  # lymph nodes after an old infection, very dense, at the roots of the lungs
        for _ in range(rng.integers(1, 4)):
            where = np.array([rng.choice([-1, 1]) * uniform(25, 55), uniform(15, 45), uniform(5, 55)])
            clouds.append(_draw_grain(rng, where, uniform(1.5, 4), uniform(500, 1500), "lymph node"))
    if rng.random() < 0.02:  # a plate in the pericardium
        where = heart.place(uniform(20, 70), uniform(0, 30), uniform(30, 40))
        clouds.append(_draw_grain(rng, where, uniform(2, 5), uniform(300, 900), "pericardium"))
    return clouds


def draw_devices(rng: np.random.Generator, heart: Heart, arteries: Sequence[Artery], burden: float) -> list[Cloud]:
    """Metal in a few per cent: stents, clips of bypass surgery, the lead of a pacemaker.

    ``burden`` is coronary disease, a standard normal number: stents and bypasses are rare without it.
    """
    clouds, uniform = [], rng.uniform
    if rng.random() < 1 / (1 + np.exp(4.2 - 1.6 * burden)):
        clouds += draw_stents(rng, arteries)
    if rng.random() < 1 / (1 + np.exp(4.7 - 1.6 * burden)):
        # Clips along a mammary artery, from behind the sternum to the front of the heart.
        start, end = np.array([uniform(12, 25), -58, 50]), heart.place(45, 2, 34)
        for t in np.sort(uniform(0, 1, rng.integers(3, 10))):
            where = start + t * (end - start) + rng.normal(0, 3, 3)
            clouds.append(_draw_grain(rng, where, uniform(0.8, 1.4), 3000, "clip"))
    if rng.random() < 0.015:
        knots = np.array([[-24, -2, 70], [-26, 0, 30], heart.place(-5, 25, 0), heart.place(60, 12, -8)])
        line = smooth_line(knots)
        points = np.repeat(line, 4, 0) + rng.normal(0, 0.4, (4 * len(line), 3))
        clouds.append(Cloud(points, 0.3, 3000, "lead"))
    return clouds


def _draw_wall_patch(rng: np.random.Generator, tube: Tube, z: float) -> Cloud:
    """A plate in the wall of an aorta."""
    uniform = rng.uniform
    tall, wide, thick = uniform(2, 11), uniform(2, 13), uniform(0.6, 1.8)
    heights, arc, depth = (np.arange(-extent / 2, extent / 2, GRAIN_MM) for extent in (tall, wide, thick))
    dz, s, d = (g.ravel() for g in np.meshgrid(heights, arc, depth, indexing="ij"))
    inside = (2 * dz / tall) ** 2 + (2 * s / wide) ** 2 < rng.uniform(0.7, 1.15, len(dz))
    dz, s, d = dz[inside], s[inside], d[inside]
    x, y, r = tube.at(z + dz)
    angle = uniform(0, 2 * np.pi) + s / np.maximum(r, 1)
    points = np.stack([x + (r + d) * np.cos(angle), y + (r + d) * np.sin(angle), z + dz], 1)
    return Cloud(points, GRAIN_MM**3, uniform(250, 1200), "aortic wall")


def _draw_grain(rng: np.random.Generator, centre: NDArray, radius_mm: float, hu: float, name: str) -> Cloud:
    """A lump: an ellipsoid of random proportions."""
    half = radius_mm * rng.uniform(0.7, 1.4, 3)
    ticks = np.arange(-half.max(), half.max() + GRAIN_MM, GRAIN_MM)
    points = np.stack([g.ravel() for g in np.meshgrid(ticks, ticks, ticks)], 1) + rng.uniform(-0.25, 0.25, 3)
    return Cloud(points[((points / half) ** 2).sum(1) < 1] + centre, GRAIN_MM**3, hu, name)


def _draw_annulus(rng: np.random.Generator, heart: Heart) -> Cloud:
    """Part of the ring of the mitral valve, on the side away from the septum, close to the circumflex artery."""
    middle, half = np.deg2rad(rng.uniform(150, 260)), np.deg2rad(rng.uniform(8, 65))
    radius, thick = rng.uniform(17, 23), rng.uniform(1.0, 3.2)
    angles = np.arange(middle - half, middle + half, GRAIN_MM / (radius * heart.size))
    line = np.array([heart.place(-3, -18 + radius * np.cos(a), radius * np.sin(a)) for a in angles])
    ticks = np.arange(-thick, thick + GRAIN_MM, GRAIN_MM)
    u, v = (g.ravel() for g in np.meshgrid(ticks, ticks))
    u, v = u[u**2 + v**2 < thick**2], v[u**2 + v**2 < thick**2]
    out = np.cos(angles)[:, None] * heart.axes[1] + np.sin(angles)[:, None] * heart.axes[2]
    points = (line[:, None] + u[:, None] * out[:, None] + v[:, None] * heart.axes[0]).reshape(-1, 3)
    keep = rng.random(len(points)) < rng.uniform(0.5, 1)
    return Cloud(points[keep], GRAIN_MM**3, rng.uniform(300, 1100), "mitral annulus")
