"""A box of voxels in body coordinates on which anatomy is painted in millimetres, and the scanner that images it.

Coordinates are millimetres with the origin in the middle of the box: x grows to the patient's left (the image's
right), y to the back (the image's bottom), z to the head. The array's axes are (slice, row, column), from feet to head.

Large organs are given by their signed distance, which covers a voxel at the rim in part, and may be painted on large
pixels (:meth:`Volume.onto`). Small things (calcium, vessels, metal) are clouds of points, far closer together than
voxels. What acts along one axis is a product with a small matrix: several times faster than filters, and as exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HU_RANGE = (-1024.0, 3071.0)
"""What 12 bits hold with the usual intercept of -1024 HU."""


class Volume:
    """Hounsfield values on a box of voxels: ``hu`` (D, H, W), float32, -1000 HU at first.

    ``x``, ``y`` and ``z`` are body coordinates in mm, of shapes (1, H, W), (1, H, W) and (D, 1, 1); ``spacing_mm`` is
    (dz, dy, dx); ``rotation_deg`` turns the patient about the long axis of the scanner.
    """

    def __init__(self, shape: Sequence[int], spacing_mm: Sequence[float], rotation_deg: float = 0.0) -> None:
        dz, dy, dx = map(float, spacing_mm)
        self.shape, self.spacing_mm = tuple(shape), (dz, dy, dx)
        self.rotation_deg = rotation_deg
        angle = np.deg2rad(rotation_deg)
        self._turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centres = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(self.shape, self.spacing_mm, strict=True)]
        down, across = centres[1][:, None], centres[2][None, :]
        self.x = (self._turn[0, 0] * across + self._turn[0, 1] * down).astype(np.float32)[None]
        self.y = (self._turn[1, 0] * across + self._turn[1, 1] * down).astype(np.float32)[None]
        self.z = centres[0].astype(np.float32)[:, None, None]
        self.hu = np.full(self.shape, -1000, np.float32)

    def paint(self, distance_mm: NDArray, hu: float, window: tuple[Any, ...] = (...,)) -> None:
        """Fill a shape with a Hounsfield value; a voxel at its rim is covered in part.

        ``distance_mm`` is the signed distance of each voxel's centre from the shape, negative inside; it broadcasts to
        the window that :meth:`near` gave, or to the whole box.
        """
        cover = distance_mm * np.float32(-1 / self.spacing_mm[1])
        cover += np.float32(0.5)
        np.clip(cover, 0, 1, out=cover)
        if window == (...,) and len(cover) == 1:  # the same in every slice: where it is in the plane is soon known
            window = (slice(None), *(stretch(cover[0].any(axis=axis)) for axis in (1, 0)))
            cover = cover[window]
        change = np.float32(hu) - self.hu[window]
        change *= cover
        self.hu[window] += change

    def onto(self, pixels: int) -> Volume:
        """The same box with ``pixels`` on a side; HU are interpolated by cubic polynomials in the slice."""
        (depth, height, width), (dz, dy, dx) = self.shape, self.spacing_mm
        spacing_mm = dz, dy * height / pixels, dx * width / pixels
        finer = Volume((depth, pixels, pixels), spacing_mm, self.rotation_deg)
        finer.hu = _in_slices(self.hu, cubic(height, pixels), cubic(width, pixels))
        return finer

    def fill(self, shape: Ellipsoid | Bar | Tube, hu: float, *, grow_mm: float = 0.0) -> None:
        """Paint a small shape, or a layer of ``grow_mm`` around it: distances are evaluated near it alone."""
        window = self.near(*shape.extent(), grow_mm)
        if all(s.stop > s.start for s in window):
            plane = (slice(None), *window[1:])
            distance = shape.distance(self.x[plane], self.y[plane], self.z[window[0]])
            self.paint(distance - np.float32(grow_mm), hu, window)

    def near(self, centre: NDArray, reach: NDArray, grow_mm: float = 0.0) -> tuple[slice, slice, slice]:
        """The window that holds every voxel within ``reach`` (3,) in mm of a place in body coordinates (x, y, z)."""
        middle, half = self._turn.T @ centre[:2], np.abs(self._turn.T) @ reach[:2]

        def side(axis: int, place: float, far: float) -> slice:
            count = self.shape[axis]
            ends = (place + np.array([-1, 1]) * (far + grow_mm)) / self.spacing_mm[axis] + (count - 1) / 2
            return slice(int(np.clip(ends[0] - 1, 0, count)), int(np.clip(ends[1] + 3, 0, count)))

        return side(0, centre[2], reach[2]), side(1, middle[1], half[1]), side(2, middle[0], half[0])

    def sprinkle(self, clouds: Sequence[Cloud]) -> NDArray[np.float32]:
        """Paint clouds of points, those outside the box left out, and return what they changed, in HU, (D, H, W)."""
        change = np.zeros(self.shape, np.float32)
        if not clouds:
            return change
        points = np.concatenate([c.points for c in clouds])
        volume = np.concatenate([np.broadcast_to(c.volume_mm3, len(c.points)) for c in clouds])
        hu = np.repeat([float(c.hu) for c in clouds], [len(c.points) for c in clouds])
        turned = points[:, :2] @ self._turn  # the inverse of a rotation is its transpose
        index = np.stack([points[:, 2], turned[:, 1], turned[:, 0]])
        index = np.floor(index / np.array(self.spacing_mm)[:, None] + np.array(self.shape)[:, None] / 2)
        inside = ((index >= 0) & (index < np.array(self.shape)[:, None])).all(0)
        flat = np.ravel_multi_index(tuple(index[:, inside].astype(np.int64)), self.shape)
        voxel = np.prod(self.spacing_mm)
        # Of millions of voxels, clouds lie in a few thousand: these alone are counted, by their place among them.
        some, place = np.zeros(self.hu.size, bool), np.empty(self.hu.size, np.int32)
        some[flat] = True
        at = np.flatnonzero(some)
        place[at] = np.arange(len(at))
        place = place[flat]
        share = np.bincount(place, volume[inside] / voxel, len(at))
        sum_hu = np.bincount(place, (volume * hu)[inside] / voxel, len(at))
        # Where clouds overlap, a voxel is full, and each has the part of it that it would have had alone.
        before = self.hu.reshape(-1)
        change.reshape(-1)[at] = sum_hu / np.maximum(share, 1) - np.minimum(share, 1) * before[at]
        before[at] += change.reshape(-1)[at]
        return change


@dataclass(frozen=True)
class Cloud:
    """Points that fill a small thing: body coordinates (P, 3) in mm, the volume of each in mm3, HU, and a name."""

    points: NDArray
    volume_mm3: float | NDArray
    hu: float
    name: str = ""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: centre (3,) and half-axes (3,) in mm, and their directions as the rows of a (3, 3) matrix."""

    centre: NDArray
    half_mm: NDArray
    axes: NDArray

    @classmethod
    def upright(cls, centre: Sequence[float], half_mm: Sequence[float]) -> Ellipsoid:
        """An ellipsoid whose axes are those of the body."""
        return cls(np.array(centre, float), np.array(half_mm, float), np.eye(3))

    def distance(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
        """Signed distance in mm, negative inside; exact on the surface and to first order near it."""
        # As a polynomial in z whose coefficients are planes: three passes over the voxels instead of nine.
        dx, dy, dz = (a - np.float32(c) for a, c in zip((x, y, z), self.centre, strict=True))
        forms = []
        for power in (2, 4):
            form = ((self.axes.T / self.half_mm**power) @ self.axes).astype(np.float32)
            plane = dx * (form[0, 0] * dx + 2 * form[0, 1] * dy) + form[1, 1] * dy * dy
            total = (2 * form[0, 2] * dx + 2 * form[1, 2] * dy) + form[2, 2] * dz
            total *= dz
            total += plane
            forms.append(total)
        length = np.sqrt(np.maximum(forms[0], 0))
        return (length - 1) * length / np.sqrt(np.maximum(forms[1], 0) + np.float32(1e-9))

    def extent(self) -> tuple[NDArray, NDArray]:
        """Centre and reach along x, y and z, (3,) in mm."""
        return self.centre, np.linalg.norm(self.half_mm[:, None] * self.axes, axis=0)

    def outward(self, points: NDArray) -> tuple[NDArray, NDArray]:
        """Distance (P,) and outward direction (P, 3) of points (P, 3)."""
        normal = ((points - self.centre) @ self.axes.T / self.half_mm**2) @ self.axes
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        return self.distance(*points.T), normal


@dataclass(frozen=True)
class Bar:
    """A rounded bar between two points (3,) in mm, of a radius in mm."""

    start: NDArray
    end: NDArray
    radius_mm: float

    def extent(self) -> tuple[NDArray, NDArray]:
        """Centre and reach along x, y and z, (3,) in mm."""
        return (self.start + self.end) / 2, np.abs(self.end - self.start) / 2 + self.radius_mm

    def distance(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
        """Signed distance in mm, negative inside."""
        way = np.asarray(self.end, np.float32) - np.asarray(self.start, np.float32)
        dx, dy, dz = (a - np.float32(s) for a, s in zip((x, y, z), self.start, strict=True))
        along = np.clip(((dx * way[0] + dy * way[1]) + dz * way[2]) / (way @ way), 0, 1)
        square = (dx - along * way[0]) ** 2 + (dy - along * way[1]) ** 2 + (dz - along * way[2]) ** 2
        return np.sqrt(square) - np.float32(self.radius_mm)


@dataclass(frozen=True)
class Tube:
    """A vessel that runs along the body: knots of z, x, y and radius, (K, 4) in mm, z increasing."""

    knots: NDArray

    def at(self, z: NDArray | float) -> tuple[NDArray, NDArray, NDArray]:
        """Centre x and y, and radius, at a height; the radius is negative above and below the vessel."""
        z_knots, *columns = self.knots.T
        x, y, r = (np.interp(z, z_knots, c) for c in columns)
        return x, y, r

    def extent(self) -> tuple[NDArray, NDArray]:
        """Centre and reach along x, y and z, (3,) in mm."""
        r = np.maximum(self.knots[:, 3:], 0) * [1, 1, 0]
        points = self.knots[:, [1, 2, 0]]
        low, high = (points - r).min(0), (points + r).max(0)
        return (low + high) / 2, (high - low) / 2

    def distance(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
        """Signed distance in mm within the slice, negative inside."""
        cx, cy, r = (np.asarray(a, np.float32) for a in self.at(z))
        return np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - r


def union(distances: Sequence[NDArray], blend_mm: float) -> NDArray[np.float32]:
    """Distance from the union of shapes, whose creases are filled as by a skin of stiffness ``blend_mm``."""
    total: Any = np.float32(0)
    for distance in distances:
        part = np.maximum(distance, np.float32(-60))
        part *= np.float32(-1 / blend_mm)
        total = np.exp(part, out=part) + total
    np.log(total, out=total)
    total *= np.float32(-blend_mm)
    return total


@dataclass(frozen=True)
class Scanner:
    """How a volume is imaged."""

    blur_mm: tuple[float, float, float]  # SD of the Gaussian point spread along (z, y, x); along z the slice profile
    sharpen: float  # 0 for a smooth kernel; 0.5 overshoots edges as sharp kernels do
    noise_hu: float  # SD of the noise in the image's own voxels
    grain: tuple[float, float, float]  # SD of the noise's correlation along (z, y, x), in voxels
    streak_hu: float  # SD of the noise along rows, which long paths through shoulders and arms leave

    def resolve(self, array: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.float32]:
        """Blur and sharpen, (D, H, W). It is linear: the image of a sum is the sum of the images."""
        matrices: list[NDArray] = []
        for axis, (n, blur, side) in enumerate(zip(array.shape, self.blur_mm, spacing_mm, strict=True)):
            matrix: NDArray = gaussian(n, blur / side)
            if axis and self.sharpen:
                wide = gaussian(n, SHARPEN_MM / side)
                matrix = matrix + np.float32(self.sharpen) * (matrix - wide @ matrix)
            matrices.append(matrix)
        return _along_all(np.asarray(array, np.float32), matrices)

    def noise(self, rng: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
        """One draw of the noise, (D, H, W) in HU."""
        # Below a fifth of a voxel, a Gaussian on the grid is a single voxel.
        grains = [gaussian(n, s if s > 0.2 else 0, mode="wrap") for n, s in zip(shape, self.grain, strict=True)]
        # The sum of independent numbers of SD 1 has the norm of its coefficients as SD.
        grains = [g / np.linalg.norm(g[0]) for g in grains]
        grains[0] = grains[0] * np.float32(self.noise_hu)
        noise = _along_all(rng.standard_normal(tuple(shape), dtype=np.float32), grains)
        if self.streak_hu:  # values that change slowly along each row
            depth, height, width = shape
            knots = max(width // 10, 2)
            streaks = rng.standard_normal((depth * height, knots), dtype=np.float32)
            across = np.linspace(0, knots - 1, width)
            lines = np.maximum(1 - np.abs(across - np.arange(knots)[:, None]), 0).astype(np.float32)
            noise += (streaks @ (np.float32(1.2 * self.streak_hu) * lines)).reshape(shape)
        return noise


SHARPEN_MM = 1.8
"""SD of the blur that sharp kernels take away from an image in part. Ours."""


def gaussian(n: int, sigma: float, mode: str = "nearest") -> NDArray[np.float32]:
    """The matrix (n, n) of a Gaussian blur of SD ``sigma`` voxels; what lies beyond the ends as ``np.pad`` has it.

    ``mode`` is ``"nearest"``, the last voxel again and again, or ``"wrap"``.
    """
    reach = int(3 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / max(sigma, 1e-6)) ** 2)
    at = np.arange(n)[:, None] + offsets
    at = at % n if mode == "wrap" else np.clip(at, 0, n - 1)
    return _matrix(at, np.broadcast_to(kernel / kernel.sum(), at.shape), n)


def cubic(n: int, m: int) -> NDArray[np.float32]:
    """The matrix (m, n) that interpolates n voxels onto m over the same length (Catmull-Rom; Keys 1981, a = -1/2).

    Where m is below n, voxels are left out rather than averaged.
    """
    place = (np.arange(m) + 0.5) * n / m - 0.5
    low = np.floor(place)
    at = low[:, None] + np.arange(-1, 3)
    away = np.abs(place[:, None] - at)
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return _matrix(np.clip(at, 0, n - 1).astype(int), np.where(away <= 1, near, np.where(away < 2, far, 0)), n)


def stretch(inside: Any) -> slice:
    """From the first true to the last."""
    at = np.flatnonzero(inside)
    return slice(at[0], at[-1] + 1) if len(at) else slice(0, 0)


def _matrix(at: NDArray, shares: NDArray, n: int) -> NDArray[np.float32]:
    """Rows that take ``shares`` (m, k) of the voxels ``at`` (m, k), in 0 to n - 1."""
    flat = at + n * np.arange(len(at))[:, None]
    return np.bincount(flat.ravel(), shares.ravel(), n * len(at)).reshape(len(at), n).astype(np.float32)


def _in_slices(array: NDArray, down: NDArray, across: NDArray) -> NDArray[np.float32]:
    """Matrices that act on the rows and columns of each slice of (D, H, W)."""
    return down @ (array @ across.T)


def _along_all(array: NDArray, matrices: Sequence[NDArray]) -> NDArray[np.float32]:
    """A matrix for each axis of (D, H, W)."""
    along, down, across = matrices
    # Coronary calcium lies in few slices and rows: nothing is computed of what is empty.
    slices = stretch(array.any(axis=(1, 2)))
    if slices.start == slices.stop:
        return np.zeros((len(along), len(down), len(across)), np.float32)
    rows = stretch(array[slices].any(axis=(0, 2)))
    part = _in_slices(array[slices, rows], down[:, rows], across)
    return (along[:, slices] @ part.reshape(len(part), -1)).reshape(len(along), *part.shape[1:])
