"""A box around the heart of a non-contrast chest CT, drawn from numbers: a phantom, not a patient.

Fat fills the grooves between the chambers (:mod:`.heart_anatomy`) up to the pericardium, and the coronary arteries
(:mod:`.coronaries`) run there. Other calcium and metal, and what lies around the heart (:mod:`.mediastinum`), are what
a score must not count. Ranges are ours, chosen to resemble adult anatomy, unless a source is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark import agatston
from biomark.phantoms import coronaries
from biomark.phantoms.heart_anatomy import Heart, draw_great_vessels, draw_heart
from biomark.phantoms.mediastinum import paint_around_heart
from biomark.phantoms.volume import HU_RANGE, Scanner, Volume, union

SLICES = 32
"""Slices of the box, 2.9 to 4.4 mm apart; scores are defined on 3 mm, and routine chest CT is read at 2.5 to 5 mm."""

ORGANS = 80
"""Pixels on a side on which organs are painted, 1.7 to 2.2 mm, before they are brought to the scanner's, for time."""


def draw_volume(
    rng: np.random.Generator,
    pixels: int,
    *,
    slices: int = SLICES,
    slice_mm: float | None = None,
    calcium: float | None = None,
) -> tuple[NDArray, NDArray, float, tuple[float, float, float]]:
    """Draw one heart box, as a detector of the heart would give it.

    It is 134 to 173 mm on a side (from the back of the sternum to the front of the spine) and 93 to 141 mm high (from
    the pulmonary arteries to below the diaphragm).

    Args:
        rng: Source of every random choice.
        pixels: The scanner's pixels on a side, the measuring grid: 160 make them 0.84 to 1.08 mm.
        slices: How many the box's height is divided by.
        slice_mm: Distance between slices, in place of their number. A generator in the same state draws the same heart
            at every distance: thin slices show it sharper along the body and noisier, for they share the dose.
        calcium: Agatston score up to which coronary calcium is painted; what is seen of it after blur, motion and
            noise is not quite that. None draws it.

    Returns:
        The image in HU, (D, H, W) float32; the mask of the coronary calcium, boolean (see :func:`lesions`); its score;
        the spacing (dz, dy, dx) in mm.
    """
    uniform = rng.uniform
    scale = uniform(0.9, 1.1)
    side, height = scale * uniform(149, 157), scale * uniform(104, 128)
    slices = slices if slice_mm is None else round(height / slice_mm)
    slice_mm = slice_mm or height / slices
    organs = min(ORGANS, pixels)
    volume = Volume((slices, organs, organs), (slice_mm, *[side / organs] * 2), float(np.clip(rng.normal(0, 4), -9, 9)))
    heart = draw_heart(rng, scale * uniform(0.92, 1.05))
    blood_hu = float(np.clip(rng.normal(42, 5), 30, 55))
    fat_hu = float(np.clip(rng.normal(-98, 8), -118, -78))

    # Calcium follows age: one number ties the arteries' to the aorta's and the valves', loosely.
    age = rng.normal()
    burden = 0.75 * age + np.sqrt(1 - 0.75**2) * rng.normal()
    paint_around_heart(volume, rng, heart, fat_hu, blood_hu, age)
    _paint_heart(volume, rng, heart, fat_hu, blood_hu)
    volume = volume.onto(pixels)
    spacing = volume.spacing_mm
    arteries = coronaries.draw_arteries(rng, heart)
    volume.sprinkle([a.lumen(blood_hu) for a in arteries])
    others = coronaries.draw_other_calcium(rng, heart, age)
    volume.sprinkle(others + coronaries.draw_devices(rng, heart, arteries, burden))
    aim = _aimed_score(burden) if calcium is None else calcium
    painted = volume.sprinkle(coronaries.draw_calcium(rng, arteries, aim))

    scanner = _draw_scanner(rng, spacing, height / SLICES)
    image = scanner.resolve(volume.hu, spacing) + scanner.noise(rng, volume.shape)
    image = np.clip(image, *HU_RANGE).astype(np.float32)
    mask, score = lesions(image, scanner.resolve(painted, spacing), spacing)
    return image, mask, score, spacing


def _aimed_score(burden: float) -> float:
    """A smoker's score for a burden of coronary disease, given as a standard normal number.

    One in five has none, and with calcium too small to be told from noise nearly one in three scores 0. Of 1,875
    smokers of COPDGene 12.9 % had 400 or more. A median of 30, between those of the men and women of Heinz Nixdorf (41
    and 1), and one in 120 above 3000, are ours.
    """
    normal, score = (-0.85, 0.0, 1.13, 2.4, 3.2), (5, 30, 400, 3000, 5000)
    return 0.0 if burden < normal[0] else float(np.exp(np.interp(burden, normal, np.log(score))))


def _draw_scanner(rng: np.random.Generator, spacing_mm: tuple[float, float, float], usual_mm: float) -> Scanner:
    """Low dose: noise of 12 to 32 HU in slices ``usual_mm`` apart.

    One dose is shared by all slices, so that noise grows as their distance falls, by its square root; no further than
    to 40 HU, where reconstruction would smooth. The profile along the body is as wide as the distance makes it. Ours.
    """
    uniform = rng.uniform
    plane = uniform(0.5, 0.95)
    dose = np.sqrt(usual_mm / spacing_mm[0])
    return Scanner(
        blur_mm=(uniform(0.15, 0.4) * spacing_mm[0], plane, plane),
        sharpen=float(uniform(0, 0.1)),
        noise_hu=float(np.clip(dose * np.exp(uniform(np.log(12), np.log(32))), 12, 40)),
        grain=(uniform(0.2, 0.4), (grain := uniform(0.45, 0.8)), grain),
        streak_hu=float(max(uniform(-6, 8), 0)),
    )


EXPLAINED_HU = 40.0
"""How much coronary calcium must add to a voxel for it to be called calcified, about half of the way from muscle
(45 HU) to 130 HU. Below, the far tail of the blur would claim noise. Ours."""


def lesions(
    image_hu: NDArray, calcium_hu: NDArray, spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.bool_], float]:
    """Which voxels of an image are coronary calcium, and their Agatston score: what a reader's clicks would give.

    A voxel is *explained* when it reaches 130 HU, would not without the painted coronary calcium, and has at least
    :data:`EXPLAINED_HU` from it. A reader clicks whole lesions: an in-slice component (8 neighbours, at least 1 mm2) of
    which at least half is explained belongs as a whole. Where calcium touches more of something else (bone, the aorta's
    wall, metal), the reader cuts: there only the explained voxels belong.

    ``calcium_hu`` (D, H, W) is what coronary calcium adds to the image, blurred as the image is. Returns the mask,
    boolean (D, H, W), and the sum of :func:`biomark.agatston.weights` (rules ``dz3``) inside it.
    """
    mask = np.zeros(image_hu.shape, bool)
    if not calcium_hu.any():
        return mask, 0.0
    weights = agatston.weights(image_hu, spacing_mm, "dz3")
    above = weights > 0
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = True
    labels, count = ndimage.label(above, in_slice)
    at = np.flatnonzero(above)
    labels, calcium_hu, hu = (a.reshape(-1)[at] for a in (labels, calcium_hu, image_hu))
    explained = (hu - calcium_hu < 130) & (calcium_hu >= EXPLAINED_HU)
    share = np.bincount(labels, explained, count + 1) / np.maximum(np.bincount(labels, minlength=count + 1), 1)
    mask.reshape(-1)[at] = explained | (share[labels] >= 0.5)
    return mask, float(np.sum(weights.reshape(-1)[at], where=mask.reshape(-1)[at], dtype=float))


def _paint_heart(volume: Volume, rng: np.random.Generator, heart: Heart, fat_hu: float, blood_hu: float) -> None:
    """Pericardium, fat, chambers and great vessels."""
    at, uniform = (volume.x, volume.y, volume.z), rng.uniform
    aorta = heart.aorta.distance(*at)
    chambers = [c.distance(*at) for c in heart.chambers.values()]
    # A stiff skin over chambers and vessels leaves the grooves to fat; it never cuts into a chamber.
    stiff = uniform(11, 16)
    bare = union(chambers, 2.0)
    skin = union([*chambers, np.maximum(aorta, volume.z - heart.root[2] - 22)], stiff)
    sac = union([skin + np.float32(stiff * uniform(0.35, 0.75)), bare - np.float32(1)], 2.0)
    volume.paint(sac - np.float32(uniform(0.5, 4)), fat_hu - 4)  # fat outside the pericardium
    volume.paint(sac - np.float32(uniform(0.4, 0.9)), uniform(0, 35))
    volume.paint(sac, fat_hu)
    for vessel in draw_great_vessels(rng, heart):
        volume.fill(vessel, blood_hu - 2)
    volume.paint(bare, blood_hu + uniform(0, 6))
    volume.paint(aorta - np.float32(1.2), blood_hu + 6)  # the wall
    volume.paint(aorta, blood_hu)
    volume.fill(heart.descending, blood_hu + 6, grow_mm=1.2)
    volume.fill(heart.descending, blood_hu)
