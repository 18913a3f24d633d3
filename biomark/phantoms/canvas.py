"""A fine grid in body coordinates on which slices are painted, one shape over another, and the scanner that images it.

Coordinates are millimetres with the origin in the middle of the body: x grows to the patient's left (the image's
right), y grows to the back (the image's bottom). Every sub-pixel carries a Hounsfield value and a part number;
painting a shape replaces both, so a vessel painted over fat is no longer counted as fat, and the truth follows from
the picture by construction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.phantoms.volume import HU_RANGE


class Canvas:
    """A square picture, super-sampled: arrays ``x`` and ``y`` in mm, ``hu`` and ``part`` of its sub-pixels.

    Args:
        size: Pixels on a side of the finished image.
        fov_mm: Side of the field of view.
        centre_mm: Body coordinates (x, y) of the middle of the field of view.
        rotation_deg: Rotation of the patient in the scanner.
        supersample: Sub-pixels on a side of each pixel.
    """

    def __init__(
        self,
        size: int,
        fov_mm: float,
        centre_mm: tuple[float, float] = (0.0, 0.0),
        rotation_deg: float = 0.0,
        supersample: int = 3,
    ) -> None:
        self.size, self.fov_mm, self.supersample = size, fov_mm, supersample
        self.step_mm = fov_mm / (size * supersample)
        ticks = (np.arange(size * supersample) + 0.5) * self.step_mm - fov_mm / 2
        angle = np.deg2rad(rotation_deg)
        self._turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._centre = np.asarray(centre_mm, float)
        across, down = np.meshgrid(ticks, ticks)
        self.x = self._turn[0, 0] * across + self._turn[0, 1] * down + centre_mm[0]
        self.y = self._turn[1, 0] * across + self._turn[1, 1] * down + centre_mm[1]
        self.hu = np.full(self.x.shape, -1000.0)
        self.part = np.zeros(self.x.shape, np.int8)

    def near(self, x_mm: float, y_mm: float, reach_mm: float) -> tuple[slice, slice]:
        """The window that holds every sub-pixel within ``reach_mm`` of a place: shapes are evaluated only there."""
        across, down = self._turn.T @ (np.array([x_mm, y_mm]) - self._centre)
        middle = [(t + self.fov_mm / 2) / self.step_mm for t in (down, across)]
        reach = reach_mm / self.step_mm + 1
        top = self.size * self.supersample
        return tuple(slice(int(np.clip(m - reach, 0, top)), int(np.clip(m + reach + 1, 0, top))) for m in middle)

    def paint(self, where: NDArray, hu: float | NDArray, part: int = 0, window: tuple | None = None) -> None:
        """Give sub-pixels a Hounsfield value, or one each, and a part number: 0 for "not counted".

        ``where`` is boolean, of the shape of the ``window`` that :meth:`near` gave; of the whole grid without one.
        """
        window = window or (slice(None), slice(None))
        self.hu[window][where] = hu
        self.part[window][where] = part

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        hu: float,
        *,
        turn_deg: float = 0,
        part: int = 0,
        rim: tuple = (),
    ) -> None:
        """Paint an ellipse; ``rim = (thickness_mm, hu)`` gives it an outer shell inside its outline."""
        window = self.near(x, y, max(rx, ry))
        angle = np.deg2rad(turn_deg)
        dx, dy = self.x[window] - x, self.y[window] - y
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        if rim:
            thickness, rim_hu = rim
            self.paint((u / rx) ** 2 + (v / ry) ** 2 < 1, rim_hu, part, window)
            rx, ry = max(rx - thickness, 1e-3), max(ry - thickness, 1e-3)
        self.paint((u / rx) ** 2 + (v / ry) ** 2 < 1, hu, part, window)

    def bar(self, start: tuple, end: tuple, half_mm: float, hu: float, *, part: int = 0, rim: tuple = ()) -> None:
        """Paint a rounded bar between two points, with the same ``rim`` as :meth:`ellipse`."""
        (x0, y0), (x1, y1) = start, end
        length2 = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        window = self.near((x0 + x1) / 2, (y0 + y1) / 2, length2**0.5 / 2 + half_mm)
        dx, dy = self.x[window] - x0, self.y[window] - y0
        along = np.clip((dx * (x1 - x0) + dy * (y1 - y0)) / length2, 0, 1)
        away2 = (dx - along * (x1 - x0)) ** 2 + (dy - along * (y1 - y0)) ** 2
        if rim:
            thickness, rim_hu = rim
            self.paint(away2 < half_mm**2, rim_hu, part, window)
            half_mm = max(half_mm - thickness, 0)
        self.paint(away2 < half_mm**2, hu, part, window)

    def random_field(self, rng: np.random.Generator, cells: int) -> NDArray:
        """A random field of mean 0 and SD about 1 whose grain is ``1 / cells`` of the picture's side."""
        coarse = rng.standard_normal((cells + 1, cells + 1))
        # Linear interpolation along each axis is a product with a matrix of hat functions: far faster than resampling.
        hats = np.maximum(0, 1 - np.abs(np.linspace(0, cells, len(self.hu))[:, None] - np.arange(cells + 1)))
        return 1.5 * (hats @ coarse @ hats.T)

    def block_mean(self, fine: NDArray) -> NDArray:
        """Average sub-pixels into pixels: partial volume, exactly."""
        s = self.supersample
        return fine.reshape(self.size, s, self.size, s).mean(axis=(1, 3))

    def coverage(self, part: int) -> NDArray:
        """Share of each pixel that a part covers, ``(size, size)``: its sum times the pixel area is the true area."""
        return self.block_mean((self.part == part).astype(float))


def acquire(
    canvas: Canvas,
    rng: np.random.Generator,
    *,
    noise_hu: float,
    streak_hu: float,
    blur_mm: float,
    sharpen: float,
    circle: bool,
) -> tuple[NDArray, NDArray]:
    """Turn the painted anatomy into a CT image.

    Args:
        canvas: The painted anatomy.
        rng: Source of the noise.
        noise_hu: SD of the noise that is alike in all directions, in the pixels of this image.
        streak_hu: SD of the noise along the longest X-ray paths (left to right, strongest at the shoulders' height).
        blur_mm: SD of the point spread function (a Gaussian).
        sharpen: 0 for a smooth kernel; 0.5 overshoots edges as sharp kernels do.
        circle: Whether what lies outside the reconstruction circle is padding.

    Returns:
        Hounsfield units ``(size, size)``, float32, and the pixels that were reconstructed; padding must not be counted.
    """
    image = canvas.block_mean(canvas.hu)
    blurred = ndimage.gaussian_filter(image, blur_mm / (canvas.fov_mm / canvas.size), mode="nearest")
    image = blurred + sharpen * (blurred - ndimage.gaussian_filter(blurred, 1.0, mode="nearest"))

    # Reconstruction correlates noise over neighbouring pixels; 0.6 pixels leave it grainy, 1.0 blotchy.
    white = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.3, 0.9))
    image = image + noise_hu * white / white.std()
    streaks = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.5, 12.0))
    # Streaks follow rows that cross much tissue; where there is only air there are none.
    path = (canvas.block_mean((canvas.hu > -500).astype(float))).mean(axis=1, keepdims=True)
    image = image + streak_hu * streaks / streaks.std() * (path / max(path.max(), 1e-6)) ** 2

    ticks = np.linspace(-1, 1, canvas.size)
    seen = (ticks[:, None] ** 2 + ticks[None, :] ** 2 <= 1.0) | (not circle)
    return np.clip(np.where(seen, image, HU_RANGE[0]), *HU_RANGE).astype(np.float32), seen


def draw_acquisition(
    canvas: Canvas,
    rng: np.random.Generator,
    *,
    texture_hu: tuple[float, float],
    noise_hu: tuple[float, float],
    streak_hu: float,
    sharpen: float,
) -> tuple[NDArray, NDArray]:
    """Give soft tissue a texture, and :func:`acquire` the canvas with a scanner that is drawn.

    The SD of the texture and of the noise (in pixels of 2 mm) lie between two ends; half of the images have streaks, of
    ``streak_hu`` at most; ``sharpen`` is the largest overshoot.
    """
    texture = canvas.random_field(rng, rng.integers(14, 40))
    canvas.hu += np.where(np.abs(canvas.hu) < 250, rng.uniform(*texture_hu) * texture, 0)
    # Noise is correlated, so a pixel of twice the area averages away less than half of its variance: the exponent is
    # what real slices showed between pixels of 2 and 3 mm.
    coarser = (2 * canvas.size / canvas.fov_mm) ** 0.75
    return acquire(
        canvas,
        rng,
        noise_hu=float(np.exp(rng.uniform(*np.log(noise_hu)))) * coarser,
        streak_hu=float(rng.choice([0.0, rng.uniform(0, streak_hu)])),
        blur_mm=float(rng.uniform(0.5, 1.3)),
        sharpen=float(rng.uniform(0, sharpen)),
        circle=bool(rng.random() < 0.5),
    )
