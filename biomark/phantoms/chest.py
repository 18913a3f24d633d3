"""An axial chest slice at the aortic arch, drawn from numbers: a phantom, not a patient.

Muscles live between ribs and fascia; bones, vessels, airways and lesions are painted over. Four of five patients have
raised their arms. Where subcutaneous fat ends is said in :mod:`.body`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biomark.phantoms.body import DEGREES, PARTS, STEPS, Body, Directions, draw_body, point_at, step_at
from biomark.phantoms.canvas import Canvas, draw_acquisition
from biomark.phantoms.surroundings import paint_surroundings, paint_vertebra


def draw_slice(
    rng: np.random.Generator, pixels: int = 384, **given: Any
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]], float]:
    """Draw one slice; ``pixels`` on a side of the measuring grid, of about 1 mm; ``given`` as :func:`draw_body` takes.

    Returns:
        The image in HU ``(pixels, pixels)``; which of its pixels each counted part covers, by task key; the pixel's
        side in mm.
    """
    body = draw_body(rng, **given)
    width = 2 * max(np.abs(body.skin * np.sin(np.arange(STEPS) * 2 * np.pi / STEPS)))
    # Most real chest scans cut the body somewhere: the field of view is chosen for the lungs, not for the skin.
    cut = rng.random() < 0.35
    fov = float(np.clip(width * (rng.uniform(0.88, 1.02) if cut else rng.uniform(1.02, 1.3)), 280, 500))
    centre = (rng.normal(0, 22 if cut else 8), rng.normal(8, 14))
    canvas = Canvas(pixels, fov, centre, float(np.clip(rng.normal(0, 5), -14, 14)))
    at = Directions.of(canvas)

    paint_surroundings(canvas, rng, body, at, arms=0.02 if body.raised else 0.9)
    skin, deep = body.skin[at.index], body.deep[at.index]
    canvas.paint(at.r < skin, 35)
    subcutaneous = at.r < skin - body.skin_mm
    canvas.paint(subcutaneous, body.fat_hu, PARTS["sfa"])
    paint_strands(canvas, rng, body, at, subcutaneous)
    # A sheath is seen where it covers muscle, hardly where it spans the axilla.
    span = [(DEGREES * s > body.fold[s] + 1) & (DEGREES * s < body.wing[s] + 2) for s in (-1, 1)]
    sheath = np.where(span[0] | span[1], body.fat_hu + rng.uniform(0, 60), rng.uniform(0, 40))
    inside = at.r < deep + body.fascia_mm
    canvas.paint(inside, sheath[at.index[inside]])
    canvas.paint(at.r < deep, body.fat_hu + rng.normal(4, 3))
    paint_muscles(canvas, rng, body, at)
    paint_thorax(canvas, rng, body, at)

    image, seen = draw_acquisition(canvas, rng, texture_hu=(1, 6), noise_hu=(6.5, 22), streak_hu=9, sharpen=0.5)
    return image, {key: (canvas.part == PARTS[key]) & seen for key in ("sfa", "pma")}, fov / pixels


def paint_strands(canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions, where: NDArray) -> None:
    """Fibrous strands, vessels and, in women, gland: soft tissue within the subcutaneous fat, not counted as fat."""
    field = canvas.random_field(rng, rng.integers(16, 36))
    # A thin band around the field's zero level is a web of lines.
    strands = where & (np.abs(field) < rng.uniform(0.0, 0.05))
    canvas.paint(strands, body.fat_hu + rng.uniform(20, 80))
    if body.female and rng.random() < 0.8:
        thickness = body.fat_thickness[at.index]
        front = np.exp(-(((np.abs(at.degrees) - 36) / 16) ** 2) / 2) * np.clip(thickness / 25, 0, 1)
        depth = (body.skin[at.index] - at.r) / np.maximum(thickness, 1)
        gland = where & (depth > 0.2) & (depth < 0.95)
        gland &= canvas.random_field(rng, rng.integers(12, 30)) + 2.2 * front > rng.uniform(2.0, 4.2)
        canvas.paint(gland, rng.uniform(-10, 45))
    to_fascia = body.skin - body.deep
    for _ in range(rng.integers(0, 6)):
        degrees = rng.uniform(-180, 180)
        i = step_at(degrees)
        r = body.skin[i] - rng.uniform(0.3, 0.7) * to_fascia[i]
        canvas.ellipse(*point_at(r, degrees), rng.uniform(0.8, 2.5), rng.uniform(0.8, 2.5), min(body.blood_hu, 120))
    if rng.random() < 0.06:  # a port or pacemaker under the skin of the upper chest
        degrees = rng.choice([-1, 1]) * rng.uniform(25, 50)
        i = step_at(degrees)
        x, y = point_at(body.skin[i] - body.skin_mm - 0.5 * to_fascia[i], degrees)
        canvas.ellipse(x, y, rng.uniform(4, 16), rng.uniform(2, 5), rng.uniform(400, 3000), turn_deg=degrees)


class Side:
    """The compartment between ribs and fascia on one side of the body, as flat arrays of its pixels; lengths in mm."""

    def __init__(self, canvas: Canvas, body: Body, at: Directions, pick: NDArray) -> None:
        self.canvas, self.pick = canvas, pick
        index = at.index[pick]
        cage, deep = body.cage[index], body.deep[index]
        self.d, self.r = np.abs(at.degrees[pick]), at.r[pick]  # degrees from the front; distance from the middle
        self.above, self.below = self.r - cage, deep - self.r  # over the ribs; under the fascia
        self.lean = self.r < body.lean[index]  # under the muscles' outline
        self.layer = np.maximum(deep - cage, 1)
        self.f = self.above / self.layer  # share of the way from ribs (0) to fascia (1)
        self.hu, self.part = canvas.hu[pick], canvas.part[pick]

    def fill(self, where: NDArray, hu: float | NDArray, part: int = 0) -> None:
        """Give the chosen pixels a value and a part number."""
        self.hu[where], self.part[where] = hu, part

    def write_back(self) -> None:
        """Put what was filled onto the canvas."""
        self.canvas.hu[self.pick], self.canvas.part[self.pick] = self.hu, self.part


def paint_muscles(canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions) -> None:
    """Muscles, shoulder blades, planes of fat and the axilla of both sides between rib cage and fascia."""
    compartment = (at.r >= body.cage[at.index] - 0.5) & (at.r < body.deep[at.index])
    marbling = canvas.random_field(rng, rng.integers(30, 60))
    web = canvas.random_field(rng, rng.integers(24, 50))
    person = {name: rng.uniform(0, 1) for name in ("major", "minor", "leanness")}
    for sign in (-1, 1):
        side = Side(canvas, body, at, compartment & (at.degrees * sign > 0))
        edge = _paint_axilla(side, rng, body, web[side.pick], body.wing[sign])
        _paint_back(side, rng, body, edge, person["leanness"], body.wing[sign])
        _paint_pectorals(side, rng, body, person, body.fold[sign])
        # Fat streaks the muscle; in some people much, in most hardly.
        streaked = (side.hu > 0) & (side.hu < 110) & (marbling[side.pick] > 1.4 + 2.6 * person["leanness"])
        side.fill(streaked, body.fat_hu + 15)
        side.write_back()
        if rng.random() < 0.92:
            _paint_blade(canvas, rng, body, sign)
        for _ in range(rng.integers(3, 14)):  # axillary vessels and nodes
            degrees, depth = sign * rng.uniform(body.fold[sign] - 4, body.wing[sign] + 10), rng.uniform(0.2, 0.85)
            i = step_at(degrees)
            r = body.cage[i] + depth * (body.deep[i] - body.cage[i])
            value = body.blood_hu if rng.random() < 0.5 else rng.uniform(10, 50)
            (x, y), (rx, ry) = point_at(r, degrees), rng.uniform(1, 4.5, 2)
            canvas.ellipse(x, y, rx, ry, value, turn_deg=rng.uniform(0, 180))


def _hump(u: NDArray, rise: float, fall: float) -> NDArray:
    """A bump on [0, 1] of height 1: blunt where the exponent is small, tapering where it is large; 0 outside."""
    v = np.clip(u, 0, 1)
    peak = rise / (rise + fall)
    return np.where((u > 0) & (u < 1), v**rise * (1 - v) ** fall / (peak**rise * (1 - peak) ** fall), 0)


def _paint_axilla(side: Side, rng: np.random.Generator, body: Body, web: NDArray, wing: float) -> NDArray:
    """Loose fat with strands, serratus anterior on the ribs; returns the shoulder muscles' front edge in degrees."""
    uniform = rng.uniform
    side.fill(np.abs(web) < uniform(0.02, 0.16), body.fat_hu + uniform(25, 70))
    start, end = uniform(46, 60), uniform(110, 135)
    serratus = body.muscularity * uniform(3, 9) * _hump((side.d - start) / (end - start), 0.4, 0.6)
    side.fill(side.above < serratus, body.muscle_hu)
    # Latissimus dorsi and teres major reach forward under the skin, so that the armpit's fat is a pocket with a narrow
    # mouth between them and pectoralis major; nearer the ribs their edge lies further back.
    pocket = uniform(4, 26) * np.clip(1 - side.f, 0, 1)
    return wing + pocket + uniform(0, 2.5) * np.sin(side.f * uniform(4, 9) + uniform(0, 6))


def _paint_back(side: Side, rng: np.random.Generator, body: Body, edge: NDArray, lean: float, wing: float) -> None:
    """Muscles of shoulder and back, from latissimus to the spinal erectors, divided by planes of fat."""
    uniform = rng.uniform
    behind = (side.d > edge) & side.lean & (side.above > uniform(0, 2))
    side.fill(behind, body.muscle_hu + rng.normal(0, 4))
    widest = 1.8 + 6 * (1 - lean) ** 2
    for _ in range(rng.integers(3, 7)):  # between layers, along the back
        centre, half = uniform(100, 170), uniform(12, 40)
        curve = uniform(0.2, 0.95) + uniform(-0.012, 0.012) * (side.d - centre)
        plane = (np.abs(side.f - curve) * side.layer < uniform(0.6, widest) / 2) & (np.abs(side.d - centre) < half)
        side.fill(behind & plane & (side.below > 3), body.fat_hu + 8)
    # Between neighbours, from ribs to fascia; first between latissimus with teres and the muscles of the blade.
    for centre in (wing + uniform(8, 22), *uniform(92, 178, rng.integers(2, 6))):
        across = np.abs(side.d - centre - uniform(-25, 25) * (side.f - 0.5)) * np.deg2rad(side.r)
        reach = np.abs(side.f - uniform(0.2, 0.9)) < uniform(0.15, 0.5)
        side.fill(behind & reach & (across < uniform(0.4, widest) / 2), body.fat_hu + 8)
    # Spinal erectors sit in the groove beside the spine, a lighter texture of muscle and fat around them.
    groove = side.d > uniform(166, 174)
    side.fill(groove & (side.below > uniform(3, 8)) & (side.f > 0.5), body.fat_hu + uniform(10, 90))


def _paint_blade(canvas: Canvas, rng: np.random.Generator, body: Body, sign: int) -> None:
    """Shoulder blade: a bent plate from its thick border in the wing to the ribs behind, often with its spine."""
    uniform = rng.uniform

    def place(degrees: float, share: float) -> NDArray:
        i = step_at(sign * degrees)
        return np.array(point_at(body.cage[i] + share * (body.deep[i] - body.cage[i]), sign * degrees))

    outer = body.wing[sign] + uniform(8, 20)
    inner = min(outer + uniform(24, 44), 158)
    border, end = place(outer, uniform(0.38, 0.6)), place(inner, uniform(0.2, 0.45))
    middle = (border + end) / 2
    middle *= 1 + uniform(1, 7) / np.hypot(*middle)
    half, shell = uniform(1.2, 2.4), uniform(350, 900)
    canvas.bar(border, middle, half, shell)
    canvas.bar(middle, end, half, shell)
    if rng.random() < 0.45:
        root = border + uniform(0.3, 0.8) * (end - border)
        canvas.bar(root, place(uniform(outer + 10, inner), uniform(0.7, 0.92)), uniform(1.2, 2.6), shell)
    (x, y), rim = border, (uniform(1, 2), shell)
    canvas.ellipse(x, y, uniform(4, 9), uniform(3, 6), uniform(100, 300), turn_deg=uniform(0, 180), rim=rim)


def _paint_pectorals(side: Side, rng: np.random.Generator, body: Body, person: dict[str, float], fold: float) -> None:
    """Pectoralis minor on the ribs, pectoralis major under the fascia; the pair whose area is known."""
    uniform, m, d, part = rng.uniform, body.muscularity, side.d, PARTS["pma"]
    tone = body.muscle_hu + rng.normal(0, 4)
    start, end = uniform(20, 32), fold + uniform(-4, 10)
    u = (d - start) / (end - start)
    # A raised arm pulls the outer end of both muscles off the ribs and towards the shoulder.
    lift = uniform(0.5, 4) + uniform(0, 20 if body.raised else 12) * np.clip(u, 0, 1)
    minor = (5 + 9 * person["minor"]) * m * uniform(0.8, 1.2) * _hump(u, uniform(0.3, 0.8), uniform(0.3, 0.8))
    first, last = uniform(3, 11), fold + uniform(-1, 4)
    v = (d - first) / (last - first)
    major = (11 + 15 * person["major"]) * m * uniform(0.85, 1.15) * _hump(v, uniform(0.35, 1.1), uniform(0.2, 0.8))
    plane = side.below > major + uniform(0.8, 3)
    side.fill(plane & (side.above > lift) & (side.above < lift + minor), tone + rng.normal(0, 3), part)
    inside = (side.below < major) & (side.above > 1)
    side.fill(inside, tone, part)
    if rng.random() < 0.3:  # fat between the two heads of pectoralis major
        cut = np.abs(v - uniform(0.35, 0.7) - uniform(-0.02, 0.02) * side.below) < uniform(0.006, 0.02)
        side.fill(inside & cut, body.fat_hu)


def paint_thorax(canvas: Canvas, rng: np.random.Generator, body: Body, at: Directions) -> None:
    """Cage wall, ribs, lungs, mediastinum and spine."""
    uniform = rng.uniform
    pleura, cage = body.pleura[at.index], body.cage[at.index]
    wall = (at.r >= pleura) & (at.r < cage)
    between = (at.r - pleura) / np.maximum(cage - pleura, 1)
    muscle = wall & (between > uniform(0.1, 0.3)) & (between < uniform(0.75, 0.95))
    canvas.paint(wall, body.fat_hu + 15)
    canvas.paint(muscle, body.muscle_hu - uniform(0, 25))
    _paint_ribs(canvas, rng, at, wall, between)

    lungs = at.r < pleura
    level = uniform(-900, -760)
    lung = level + uniform(0, 0.6) * canvas.y[lungs] + 25 * canvas.random_field(rng, 30)[lungs]
    canvas.paint(lungs, np.clip(lung, -1000, -500))
    vessels = lungs & (canvas.random_field(rng, rng.integers(28, 60)) > uniform(2.2, 3.2))
    canvas.paint(vessels, min(body.blood_hu, 150))
    # What is painted in the chest must not replace muscle of the wall: what lies outside the lungs is put back.
    hu, part = canvas.hu.copy(), canvas.part.copy()
    _paint_lesions(canvas, rng, body, lungs)
    _paint_mediastinum(canvas, rng, body)
    np.copyto(canvas.hu, hu, where=~lungs)
    np.copyto(canvas.part, part, where=~lungs)
    _paint_sternum(canvas, rng, body)
    paint_vertebra(canvas, rng, body.pleura[0] - uniform(16, 30))


def _paint_ribs(canvas: Canvas, rng: np.random.Generator, at: Directions, wall: NDArray, between: NDArray) -> None:
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


def _paint_lesions(canvas: Canvas, rng: np.random.Generator, body: Body, lungs: NDArray) -> None:
    """Masses, effusion and consolidation: soft tissue where air is expected."""
    uniform = rng.uniform
    if rng.random() < 0.22:
        for _ in range(rng.integers(1, 3)):
            side = rng.choice([-1, 1])
            x, y = side * uniform(0.35, 0.85) * body.half_width_mm, uniform(-0.7, 0.6) * body.half_depth_mm
            canvas.ellipse(x, y, uniform(8, 48), uniform(8, 42), uniform(10, 60), turn_deg=uniform(0, 180))
    if rng.random() < 0.15:
        level = uniform(0.25, 0.75) * body.half_depth_mm
        canvas.paint(lungs & (canvas.y > level) & (canvas.x * rng.choice([-1, 1]) > 0), uniform(-5, 35))
    if rng.random() < 0.15:
        patchy = lungs & (canvas.random_field(rng, rng.integers(5, 14)) > uniform(1.2, 2.5))
        canvas.paint(patchy, uniform(-500, 40))


def _paint_mediastinum(canvas: Canvas, rng: np.random.Generator, body: Body) -> None:
    """Fat and vessels between the lungs: the aortic arch, veins, airway, gullet, nodes; sometimes the heart's base."""
    uniform, ellipse, depth = rng.uniform, canvas.ellipse, body.half_depth_mm
    fat, ample = body.fat_hu + uniform(-2, 25), uniform(0, 1)
    ellipse(uniform(-4, 8), -0.55 * depth, uniform(3, 8) + 24 * ample, 0.6 * depth, fat)
    ellipse(uniform(-4, 8), 0.05 * depth, uniform(18, 24) + 16 * ample, uniform(26, 32) + 14 * ample, fat)
    ellipse(0, 0.75 * depth, uniform(20, 28), uniform(22, 30), fat)
    blood = body.blood_hu + rng.normal(0, 4)
    if rng.random() < 0.3:  # a lower level: great arteries and the base of the heart
        x, y = uniform(5, 22), uniform(-30, -5)
        ellipse(x, y, uniform(28, 58), uniform(24, 46), blood, turn_deg=uniform(-30, 30))
        ellipse(uniform(10, 24), uniform(25, 40), 13, 13, blood)
    else:
        tilt, x, y = uniform(-35, 10), uniform(8, 24), uniform(-12, 8)
        ellipse(x, y, uniform(11, 17), uniform(28, 44), blood, turn_deg=tilt)
        if rng.random() < 0.4:  # calcium in its wall
            x, y = x + uniform(-8, 8), y + uniform(-26, 26)
            ellipse(x, y, uniform(1, 5), 1.2, uniform(300, 900), turn_deg=uniform(0, 180))
    x, y = uniform(-30, -18), uniform(-24, -6)
    ellipse(x, y, uniform(7, 11), uniform(7, 12), blood + rng.choice([0, uniform(-40, 150)]))
    ellipse(uniform(-8, 4), uniform(0, 16), uniform(8, 12), uniform(8, 11), -990, rim=(1.6, 30))
    ellipse(uniform(0, 10), uniform(24, 36), uniform(6, 10), uniform(5, 9), uniform(20, 45))
    for _ in range(rng.integers(2, 10)):
        ellipse(uniform(-32, 34), uniform(-40, 34), uniform(2, 7), uniform(2, 6), uniform(10, 60))
    if rng.random() < 0.35:  # thymus remnant or anterior mass
        ellipse(uniform(-8, 10), -0.72 * depth, uniform(10, 26), uniform(5, 14), uniform(-60, 45))


def _paint_sternum(canvas: Canvas, rng: np.random.Generator, body: Body) -> None:
    """Manubrium or body of the sternum, with the joints beside it."""
    uniform = rng.uniform
    front = -(body.pleura[STEPS // 2] + uniform(3, 8))
    half, thick, slope = uniform(14, 32), uniform(5, 9), uniform(-6, 6)
    ends = (-half, front + slope / 2), (half, front - slope / 2)
    canvas.bar(*ends, thick, uniform(60, 260), rim=(1.8, uniform(350, 800)))
    if rng.random() < 0.5:
        for side in (-1, 1):
            x = side * (half + uniform(6, 16))
            value = uniform(80, 180) if rng.random() < 0.5 else uniform(200, 500)
            y, rx, ry = front + uniform(-2, 10), uniform(7, 15), uniform(5, 8)
            canvas.ellipse(x, y, rx, ry, value, rim=(1.5, value + uniform(0, 350)))
