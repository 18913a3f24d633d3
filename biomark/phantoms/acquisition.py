"""What a scanner does to anatomy: partial volume, blur, correlated noise, streaks and a field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomark.phantoms.canvas import Canvas
from biomark.phantoms.volume import HU_RANGE


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> NDArray:
    """A random field of mean 0 and SD about 1 whose grain is ``1/cells`` of the picture's side."""
    coarse = rng.standard_normal((cells + 1, cells + 1))
    # Linear interpolation along each axis is a product with a hat-function matrix: far faster than resampling point
    # by point.
    down, across = (np.maximum(0, 1 - np.abs(np.linspace(0, cells, n)[:, None] - np.arange(cells + 1))) for n in shape)
    return 1.5 * (down @ coarse @ across.T)


def scan(
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
        noise_hu: SD of the isotropic noise, after reconstruction to this pixel size.
        streak_hu: SD of the noise along the longest X-ray paths (left to right, strongest at the shoulders' height).
        blur_mm: SD of the point spread function (a Gaussian).
        sharpen: 0 for a smooth kernel; 0.5 overshoots edges as sharp kernels do.
        circle: Whether what lies outside the reconstruction circle is padding.

    Returns:
        Hounsfield units ``(size, size)``, float32, and the pixels that were reconstructed; what lies in the padding was
        not seen, so it must not be counted either.
    """
    pixel_mm = canvas.fov_mm / canvas.size
    image = canvas.block_mean(canvas.hu)
    blurred = ndimage.gaussian_filter(image, blur_mm / pixel_mm, mode="nearest")
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
