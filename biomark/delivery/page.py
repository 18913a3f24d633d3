"""One page for one scan: the picture, the value and the findings. Loads matplotlib."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from biomark.cohort import Case
from biomark.uncertainty.inspector import Inspection
from biomark.version import __version__
from biomark.viz.pictures import outline, shade, show_slice

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.3rem; margin: 0; } .value { font-size: 2rem; margin: .3rem 0 0; } p { margin: .3rem 0; }
img { width: 100%; } figcaption, footer { color: #666; font-size: .85rem; } figure { margin: 1rem 0; }
.warn { background: #fdf0e3; border-left: 4px solid #D55E00; padding: .4rem .8rem; margin: 1rem 0; }
@media print { body { margin: 0; } }
"""


def render(
    found: Inspection,
    case: Case,
    map: NDArray,
    rule: str,
    slice: int | None = None,
    known: float | None = None,
) -> str:
    """The page as HTML that needs no other file.

    Args:
        found: What an :class:`~biomark.Inspector` says, or the same without an interval (nan).
        case: Image and weights on the scan's own voxels.
        map: Membership on the same voxels.
        rule: Which voxels are candidates (``rule_of`` in ``manifests/rules.py``).
        slice: Which slice of the scan the case is, if it is one.
        known: The value that is known already.
    """
    text = html.escape
    lines = [
        f"<h1>{text(found.id)}: {text(found.name)}</h1>",
        f'<p class="value">{found.value:.4g} {text(found.unit)}</p>',
        f"<p>Candidates: {text(rule)}.</p>",
    ]
    if math.isfinite(found.coverage):
        lines.append(
            f"<p>{found.coverage:.0%} interval {found.low:.4g} to {found.high:.4g} {text(found.unit)}: of cases like "
            f"those it was calibrated on, {found.coverage:.0%} have their true value inside.</p>"
        )
    else:
        lines.append("<p>No interval is known: the model came without an inspector.</p>")
    if known is not None:
        lines.append(f"<p>In the spreadsheet: {known:.4g} {text(found.unit)}.</p>")
    if found.unusual:
        lines.append(
            f'<div class="warn">Unlike the cases that the model is known to measure well, so the interval promises '
            f"nothing:{_items(found.unusual)}</div>"
        )
    picture, caption = _picture(case, map, found.mask, slice)
    lines.append(
        f'<figure><img alt="The slice, and again with what was found" src="data:image/png;base64,{picture}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )
    if found.findings:
        lines.append(f"<h2>What the scan itself says</h2>{_items(found.findings)}")
    lines.append(f"<footer>biomark {text(__version__)}. For research: no medical device. Look for yourself.</footer>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(found.id)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(lines) + "\n</body></html>\n"
    )


def _items(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _picture(case: Case, membership: NDArray, mask: NDArray, index: int | None) -> tuple[str, str]:
    """The slice that adds most as PNG in base64, and its caption."""
    image, adds, spacing = case.image, membership * case.weights, case.spacing_mm
    where = "" if index is None else f"Slice {index} of the scan. "
    if image.ndim == 3:
        k = int(np.argmax(adds.sum((1, 2))))
        share = adds[k].sum() / total if (total := adds.sum()) > 0 else 0.0
        where = f"The slice that adds most, {share:.0%} of the value: number {k} of the {len(image)} looked at. "
        image, membership, mask, adds, spacing = image[k], membership[k], mask[k], adds[k], spacing[1:]
    # Not pyplot's: a cohort of thousands would leave thousands of figures open.
    figure = Figure(figsize=(9, 9 * image.shape[0] * spacing[0] / (2 * image.shape[1] * spacing[1])), dpi=110)
    axes = figure.subplots(1, 2, gridspec_kw={"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.01})
    for ax in axes:
        show_slice(ax, image, spacing)
    shade(axes[1], 0.6 * np.where(adds > 0, membership, 0), spacing)
    outline(axes[1], mask, spacing, "found")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    caption = where + "Shaded: how much of a pixel belongs; outlined: the pixels that the value stands for."
    return base64.b64encode(file.getvalue()).decode(), caption
