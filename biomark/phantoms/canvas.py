"""A fine grid in body coordinates on which anatomy is painted, one shape over another.

Coordinates are millimetres with the origin in the middle of the chest: x grows to the patient's left (the image's
right), y grows to the back (the image's bottom). Every sub-pixel carries a Hounsfield value and a part number;
painting a shape replaces both, so a vessel painted over fat is no longer counted as fat, and the truth follows from
the picture by construction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Canvas:
    """A square picture, super-sampled, in body coordinates.

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
        """Give the chosen sub-pixels a Hounsfield value and a part number.

        Args:
            where: Boolean array of the window's shape (of the whole grid without a window).
            hu: One value, or one for each chosen sub-pixel.
            part: 0 for "not counted", else the number under which :meth:`coverage` counts it.
            window: Two slices from :meth:`near`.
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

    def block_mean(self, fine: NDArray) -> NDArray:
        """Average sub-pixels into pixels: partial volume, exactly."""
        s = self.supersample
        return fine.reshape(self.size, s, self.size, s).mean(axis=(1, 3))

    def coverage(self, part: int) -> NDArray:
        """Share of each pixel that a part covers, ``(size, size)``: its sum times the pixel area is the true area."""
        return self.block_mean((self.part == part).astype(float))
