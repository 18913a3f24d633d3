"""A grid in body coordinates on which slices are painted, one shape over another, and the scanner that images it.

Coordinates are millimetres with the origin in the middle of the body: x grows to the patient's left (the image's
right), y to the back (the image's bottom). Every pixel carries a Hounsfield value and a part number; painting a shape
replaces both, so that a vessel painted over fat is not counted as fat: the truth follows from the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.phantoms.volume import HU_RANGE

GRAIN_MM = (0.3, 0.7)
"""SD of the Gaussian that correlates noise. With it, and with what :func:`acquire` takes back along the columns, noise
in muscle and fat has the SD, per pixel and in blocks of 3 mm, and the correlation at 1, 2 and 3 mm of 12 real slices of
seven patients. Ours."""


class Canvas:
    """A square picture: float32 arrays ``x`` and ``y`` in mm, ``hu`` and ``part`` of its pixels.

    Args:
        size: Pixels on a side.
        fov_mm: Side of the field of view.
        centre_mm: Body coordinates (x, y) of the middle of the field of view.
        rotation_deg: Rotation of the patient in the scanner.
    """

    def __init__(
        self, size: int, fov_mm: float, centre_mm: tuple[float, float] = (0.0, 0.0), rotation_deg: float = 0.0
    ) -> None:
        self.size, self.fov_mm = size, fov_mm
        self.step_mm = fov_mm / size
        ticks = (np.arange(size) + 0.5) * self.step_mm - fov_mm / 2
        angle = np.deg2rad(rotation_deg)
        self._turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._centre = np.asarray(centre_mm, float)
        (x_x, x_y), (y_x, y_y) = (self._turn[..., None] * ticks).astype(np.float32)
        self.x = (x_x + np.float32(centre_mm[0])) + x_y[:, None]
        self.y = (y_x + np.float32(centre_mm[1])) + y_y[:, None]
        self.hu = np.full(self.x.shape, -1000, np.float32)
        self.part = np.zeros(self.x.shape, np.int8)

    def near(self, x_mm: float, y_mm: float, reach_mm: float) -> tuple[slice, slice]:
        """The window that holds every pixel within ``reach_mm`` of a place: shapes are evaluated only there."""
        across, down = self._turn.T @ (np.array([x_mm, y_mm]) - self._centre)
        reach, top = reach_mm / self.step_mm + 1, self.size

        def side(t: float) -> slice:
            middle = (t + self.fov_mm / 2) / self.step_mm
            return slice(int(np.clip(middle - reach, 0, top)), int(np.clip(middle + reach + 1, 0, top)))

        return side(down), side(across)

    def paint(self, where: NDArray, hu: float | NDArray, part: int = 0, window: tuple = (...,)) -> None:
        """Give pixels a Hounsfield value, or one each, and a part number: 0 for "not counted".

        ``where`` is boolean, of the shape of the ``window`` that :meth:`near` gave; of the whole grid without one.
        """
        self.hu[window][where] = hu
        self.part[window][where] = part

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, hu: float, turn_deg: float = 0, part: int = 0, rim: tuple = ()
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

    def bar(self, start: Any, end: Any, half_mm: float, hu: float, part: int = 0, rim: tuple = ()) -> None:
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

    def random_field(self, rng: np.random.Generator, cells: int | np.integer) -> NDArray[np.float32]:
        """A random field of mean 0 and SD about 1 whose grain is ``1 / cells`` of the picture's side."""
        coarse = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
        hats: Any = _hats(len(self.hu), cells + 1)
        return np.float32(1.5) * (hats @ coarse @ hats.T)

    def block_mean(self, fine: NDArray) -> NDArray:
        """A copy of what is painted, pixel by pixel."""
        return fine.copy()


def _hats(count: int, knots: int | np.integer) -> NDArray[np.float32]:
    """Linear interpolation from ``knots`` values to ``count`` as a matrix: far faster than resampling."""
    across = np.linspace(0, knots - 1, count)[:, None] - np.arange(knots)
    return np.asarray(np.maximum(0, 1 - np.abs(across)), np.float32)


def _smooth(image: Any, y_px: float, x_px: float) -> NDArray[np.float32]:
    """A Gaussian of other SD along rows and columns, cut off after three of them."""
    return ndimage.gaussian_filter(image, (y_px, x_px), mode="nearest", truncate=3)


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
        canvas, rng: The painted anatomy, and the source of the noise.
        noise_hu: SD of the noise that is alike in all directions, in the pixels of this image.
        streak_hu: SD of the noise along the longest X-ray paths (left to right, strongest at the shoulders' height).
        blur_mm: SD of the point spread function (a Gaussian).
        sharpen: 0 for a smooth kernel; 0.5 overshoots edges as sharp kernels do.
        circle: Whether what lies outside the reconstruction circle is padding.

    Returns:
        Hounsfield units ``(size, size)``, float32, and the pixels that were reconstructed; padding must not be counted.
    """
    pixel = canvas.step_mm
    blurred = _smooth(canvas.hu, blur_mm / pixel, blur_mm / pixel)
    image = blurred + np.float32(sharpen) * (blurred - _smooth(blurred, 1.5 / pixel, 1.5 / pixel))

    # Reconstruction leaves noise alike over about a millimetre, longer along rows; down the columns it swings back.
    grain = rng.uniform(*GRAIN_MM) / pixel
    noise = _smooth(rng.standard_normal(image.shape, dtype=np.float32), grain, grain * rng.uniform(1, 1.8))
    noise -= np.float32(rng.uniform(0.2, 0.8)) * _smooth(noise, 1.3 / pixel, 0)
    image += np.float32(noise_hu / noise.std()) * noise
    if streak_hu:
        # Streaks follow rows that cross much tissue; where there is only air there are none.
        path = (canvas.hu > -500).mean(axis=1, keepdims=True)
        knots = rng.standard_normal((canvas.size, 2 + int(canvas.fov_mm / 60)), dtype=np.float32)
        streaks = ndimage.gaussian_filter1d(knots, 1 / pixel, axis=0) @ _hats(canvas.size, knots.shape[1]).T
        image += np.float32(streak_hu / streaks.std()) * streaks * (path / max(path.max(), 1e-6)) ** 2

    np.clip(image, *HU_RANGE, out=image)
    ticks = np.linspace(-1, 1, canvas.size)
    seen = (ticks[:, None] ** 2 + ticks[None, :] ** 2 <= 1.0) | (not circle)
    image[~seen] = HU_RANGE[0]
    return image, seen


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

    The SD of texture and noise (in pixels of 2 mm) lie between two ends; half of the images have streaks, of
    ``streak_hu`` at most; ``sharpen`` is the largest overshoot.
    """
    texture = canvas.random_field(rng, rng.integers(14, 40))
    canvas.hu += (np.float32(rng.uniform(*texture_hu)) * texture) * (np.abs(canvas.hu) < 250)
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
