"""One look for all figures: colours, sizes, letters."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt

# Okabe and Ito's palette, distinct for every kind of colour vision.
COLOURS = {
    "found": "#E69F00",
    "truth": "#56B4E9",
    "candidates": "#009E73",
    "error": "#D55E00",
    "points": "#0072B2",
    "masks": "#0072B2",
    "size": "#CC79A7",
    "ink": "#333333",
}
METHODS = {
    "localizer": ("localizer", "o", "found"),
    "segmenter": ("U-Net on masks", "s", "masks"),
    "direct": ("direct regression", "D", "error"),
    "size_constrained": ("size-constrained", "^", "size"),
}
"""Name, marker and key of ``COLOURS`` of each method, in every figure that holds several."""
WIDE = (9.0, 3.2)
"""Width and height of a figure in inches, where a chapter does not say otherwise."""
SOFT_TISSUE_HU = (-200.0, 250.0)
"""Display window of level 25, width 450, in which fat is dark grey and muscle light grey."""


def use_style() -> None:
    """One look for all figures of the book."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.figsize": WIDE,
            "figure.constrained_layout.use": True,
            "font.size": 10.5,
            "axes.titlesize": 10.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=[COLOURS[k] for k in ("truth", "found", "candidates", "error")]),
            "legend.frameon": False,
            "image.interpolation": "nearest",
        }
    )


def pretty(unit: str) -> str:
    """A unit, or a text that holds units, as it is written in figures: ``cm2`` as cm², ``mm3`` as mm³."""
    return re.sub(r"\b([cm]m)([23])\b", lambda found: found[1] + "²³"[int(found[2]) - 2], unit)
