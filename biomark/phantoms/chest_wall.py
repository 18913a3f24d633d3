"""Muscles and fat between the ribs and the skin of the chest phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.acquisition import smooth_field
from biomark.phantoms.canvas import Canvas

if TYPE_CHECKING:
    from biomark.phantoms.chest import Body
    from biomark.phantoms.directions import Directions


def subcutaneous_strands(
    canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions, where: NDArray, thickness: NDArray
) -> None:
    """Fibrous strands, vessels and, in women, gland: soft tissue within the subcutaneous fat, not counted as fat."""
    field = smooth_field(rng, canvas.hu.shape, int(rng.integers(16, 36)))
    # A thin band around the field's zero level is a web of lines.
    strands = where & (np.abs(field) < rng.uniform(0.0, 0.05))
    canvas.paint(strands, body.fat_hu + rng.uniform(20, 80))
    if body.female and rng.random() < 0.8:
        front = np.exp(-(((np.abs(at.degrees) - 36) / 16) ** 2) / 2) * np.clip(thickness / 25, 0, 1)
        depth = (body.skin[at.index] - at.r) / np.maximum(thickness, 1)
        gland = where & (depth > 0.2) & (depth < 0.95)
        gland &= smooth_field(rng, canvas.hu.shape, int(rng.integers(12, 30))) + 2.2 * front > rng.uniform(2.0, 4.2)
        canvas.paint(gland, rng.uniform(-10, 45))
    for _ in range(rng.integers(0, 6)):
        degrees = rng.uniform(-180, 180)
        i = int((degrees + 180) / 360 * len(body.skin)) % len(body.skin)
        r = body.skin[i] - rng.uniform(0.3, 0.7) * thickness_at(body, i)
        canvas.ellipse(*_place(r, degrees), *rng.uniform(0.8, 2.5, 2), min(body.blood_hu, 120))
    if rng.random() < 0.06:  # a port or pacemaker under the skin of the upper chest
        degrees = rng.choice([-1, 1]) * rng.uniform(25, 50)
        i = int((degrees + 180) / 360 * len(body.skin))
        r = body.skin[i] - body.skin_mm - 0.5 * thickness_at(body, i)
        canvas.ellipse(
            *_place(r, degrees),
            rng.uniform(4, 16),
            rng.uniform(2, 5),
            rng.uniform(400, 3000),
            turn_deg=degrees,
        )


def thickness_at(body: Body, index: int) -> float:
    """Depth in mm from skin to fascia in a direction."""
    return float(body.skin[index] - body.deep[index])


def _place(r: float, degrees: float) -> tuple[float, float]:
    angle = np.deg2rad(degrees)
    return r * np.sin(angle), -r * np.cos(angle)


def _hump(u: NDArray, rise: float, fall: float) -> NDArray:
    """A bump on [0, 1] of height 1: blunt where the exponent is small, tapering where it is large; 0 outside."""
    v = np.clip(u, 0, 1)
    peak = rise / (rise + fall)
    return np.where((u > 0) & (u < 1), v**rise * (1 - v) ** fall / (peak**rise * (1 - peak) ** fall), 0)


class Side:
    """The compartment between ribs and fascia on one side of the body, as flat arrays of its sub-pixels.

    ``d`` is the direction in degrees from the front (0 to 180), ``r`` the distance from the middle, ``above`` the
    distance from the ribs and ``below`` the depth under the fascia, all in mm; ``f`` is the share of the way from
    ribs (0) to fascia (1).
    """

    def __init__(self, canvas: Canvas, body: Body, at: Directions, pick: NDArray) -> None:
        self.canvas, self.pick = canvas, pick
        cage, deep = body.cage[at.index[pick]], body.deep[at.index[pick]]
        self.d, self.r = np.abs(at.degrees[pick]), at.r[pick]
        self.above, self.below = self.r - cage, deep - self.r
        self.layer = np.maximum(deep - cage, 1)
        self.f = self.above / self.layer
        self.hu, self.part = canvas.hu[pick], canvas.part[pick]

    def fill(self, where: NDArray, hu: float | NDArray, part: int = 0) -> None:
        """Give the chosen sub-pixels a value and a part number."""
        self.hu[where], self.part[where] = hu, part

    def done(self) -> None:
        """Bring the side back onto the canvas."""
        self.canvas.hu[self.pick], self.canvas.part[self.pick] = self.hu, self.part


def muscles(canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions, pectoralis: int) -> None:
    """Paint muscles, shoulder blades, fat planes and the axilla of both sides between cage and fascia."""
    compartment = (at.r >= body.cage[at.index] - 0.5) & (at.r < body.deep[at.index])
    marbling = smooth_field(rng, canvas.hu.shape, int(rng.integers(30, 60)))
    web = smooth_field(rng, canvas.hu.shape, int(rng.integers(24, 50)))
    person = {name: rng.uniform(0, 1) for name in ("major", "minor", "lean", "arm")}
    for sign in (-1, 1):
        side = Side(canvas, body, at, compartment & (at.degrees * sign > 0))
        edge = _axilla(side, rng, body, web[side.pick])
        _shoulder_and_back(side, rng, body, edge, person["lean"])
        _pectorals(side, rng, body, person, pectoralis)
        # Fat streaks the muscle; in some people much, in most hardly.
        streaked = (side.hu > 0) & (side.hu < 110) & (marbling[side.pick] > 1.4 + 2.6 * person["lean"])
        side.fill(streaked, body.fat_hu + 15)
        side.done()
        for _ in range(rng.integers(4, 14)):  # axillary vessels and nodes
            degrees, depth = sign * rng.uniform(54, 88), rng.uniform(0.2, 0.85)
            i = int((degrees + 180) / 360 * len(body.deep))
            r = body.cage[i] + depth * (body.deep[i] - body.cage[i])
            value = body.blood_hu if rng.random() < 0.5 else rng.uniform(10, 50)
            canvas.ellipse(*_place(r, degrees), *rng.uniform(1, 4.5, 2), value, turn_deg=rng.uniform(0, 180))


def _axilla(side: Side, rng: np.random.Generator, body: Body, web: NDArray) -> NDArray:
    """Loose fat with strands, serratus anterior on the ribs; returns the shoulder muscles' front edge in degrees."""
    uniform = rng.uniform
    side.fill(np.abs(web) < uniform(0.02, 0.16), body.fat_hu + uniform(25, 70))
    start, end = uniform(46, 60), uniform(100, 125)
    side.fill(
        side.above < body.muscularity * uniform(3, 9) * _hump((side.d - start) / (end - start), 0.4, 0.6),
        body.muscle_hu,
    )
    # Latissimus dorsi and teres major reach forward under the skin, so that the armpit's fat is a pocket with a narrow
    # mouth between them and pectoralis major; nearer the ribs their edge lies further back.
    pocket = uniform(12, 38) * np.clip(1 - side.f, 0, 1) + uniform(0, 5) * np.clip((side.f - 0.85) / 0.15, 0, 1) ** 2
    return uniform(60, 82) + pocket + uniform(1, 4) * np.sin(side.f * uniform(4, 9) + uniform(0, 6))


def _shoulder_and_back(side: Side, rng: np.random.Generator, body: Body, edge: NDArray, lean: float) -> None:
    """Muscles of shoulder and back, from latissimus to the spinal erectors, divided by planes of fat; the blade."""
    uniform = rng.uniform
    behind = (side.d > edge) & (side.below > uniform(0, 1.5)) & (side.above > uniform(0, 2))
    side.fill(behind, body.muscle_hu + rng.normal(0, 4))
    widest = 1.2 + 6 * (1 - lean) ** 2
    blade = rng.random() < 0.88
    middle, slope = uniform(112, 128), uniform(-0.02, 0.006)
    level = uniform(0.38, 0.56) + slope * (side.d - middle)
    for _ in range(rng.integers(2, 5)):  # between layers, along the back
        centre, half = uniform(100, 170), uniform(12, 40)
        curve = uniform(0.15, 0.85) + uniform(-0.012, 0.012) * (side.d - centre)
        plane = (np.abs(side.f - curve) * side.layer < uniform(0.4, widest) / 2) & (np.abs(side.d - centre) < half)
        side.fill(behind & plane, body.fat_hu + 8)
    for _ in range(rng.integers(2, 6)):  # between neighbours, from ribs to fascia
        across = np.abs(side.d - uniform(92, 178) - uniform(-25, 25) * (side.f - 0.5)) * np.deg2rad(side.r)
        reach = np.abs(side.f - uniform(0.2, 0.9)) < uniform(0.15, 0.5)
        side.fill(behind & reach & (across < uniform(0.4, widest) / 2), body.fat_hu + 8)
    # Spinal erectors sit in the groove beside the spine, a lighter texture of muscle and fat around them.
    groove = side.d > uniform(166, 174)
    side.fill(groove & (side.below > uniform(3, 8)) & (side.f > 0.5), body.fat_hu + uniform(10, 90))
    if blade:
        thick = uniform(1.4, 3.6) / side.layer
        plate = (np.abs(side.d - middle - uniform(-25, 10) * (side.f - 0.5)) < uniform(10, 24)) & (
            np.abs(side.f - level) < thick
        )
        side.fill(plate, uniform(350, 900))
        if rng.random() < 0.5:  # the thick lateral border
            knob = ((side.d - middle + uniform(8, 16)) * np.deg2rad(side.r)) ** 2 + ((side.f - level) * side.layer) ** 2
            side.fill(knob < uniform(3, 7) ** 2, uniform(250, 700))


def _pectorals(side: Side, rng: np.random.Generator, body: Body, person: dict[str, float], part: int) -> None:
    """Pectoralis minor on the ribs, pectoralis major under the fascia; the pair whose area is known."""
    uniform, m, d = rng.uniform, body.muscularity, side.d
    tone = body.muscle_hu + rng.normal(0, 4)
    start, end = uniform(20, 32), uniform(48, 70)
    u = (d - start) / (end - start)
    # A raised arm pulls the outer end of both muscles off the ribs and towards the shoulder.
    raised = person["arm"] > 0.75
    lift = uniform(0.5, 4) + uniform(0, 24 if raised else 12) * np.clip(u, 0, 1)
    minor = (5 + 9 * person["minor"]) * m * uniform(0.8, 1.2) * _hump(u, uniform(0.3, 0.8), uniform(0.3, 0.8))
    first, last = uniform(3, 11), uniform(44, 62) + uniform(4, 14) * raised
    v = (d - first) / (last - first)
    major = (11 + 15 * person["major"]) * m * uniform(0.85, 1.15) * _hump(v, uniform(0.35, 1.1), uniform(0.2, 0.8))
    sheath = uniform(0, 1.5)
    plane = side.below > sheath + major + uniform(0.8, 3)
    side.fill(plane & (side.above > lift) & (side.above < lift + minor), tone + rng.normal(0, 3), part)
    inside = (side.below > sheath) & (side.below < sheath + major) & (side.above > 1)
    side.fill(inside, tone, part)
    if rng.random() < 0.3:  # fat between the two heads of pectoralis major
        cut = np.abs(v - uniform(0.35, 0.7) - uniform(-0.02, 0.02) * side.below) < uniform(0.006, 0.02)
        side.fill(inside & cut, body.fat_hu)
