"""Figures: axes in, axes out. Loaded only by who draws (``from biomark import viz``)."""

from biomark.viz.charts import agreement, confusion, curves, method_rows, methods
from biomark.viz.pictures import (
    body_box,
    cropped,
    frame,
    gallery,
    lesions_3d,
    localization,
    outline,
    projected,
    shade,
    show_projection,
    show_slice,
    widest_mm,
)
from biomark.viz.style import COLOURS, METHODS, SOFT_TISSUE_HU, WIDE, pretty, use_style

__all__ = [
    "COLOURS",
    "METHODS",
    "SOFT_TISSUE_HU",
    "WIDE",
    "agreement",
    "body_box",
    "confusion",
    "cropped",
    "curves",
    "frame",
    "gallery",
    "lesions_3d",
    "localization",
    "method_rows",
    "methods",
    "outline",
    "pretty",
    "projected",
    "shade",
    "show_projection",
    "show_slice",
    "use_style",
    "widest_mm",
]
