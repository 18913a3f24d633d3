"""Sliders over pictures drawn beforehand, which move on a page without a kernel (``from biomark.viz import sliders``).

With ipywidgets 8 a slider is linked to a stack of pictures in the browser; with an older one, as in Colab, or without,
the same pictures come as plain HTML.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

try:
    from IPython.display import HTML
except ImportError as error:
    message = "sliders are shown in a notebook, and IPython is not installed: pip install 'biomark[book]'."
    raise ImportError(message) from error
try:
    import ipywidgets
except ImportError:
    ipywidgets = None

QUALITY = 80
"""Of WebP, 0 to 100. Ours; letters stay sharp, and a slice with its map takes about 10 kB."""


def frames(
    draw: Callable[..., Figure],
    sliders: Mapping[str, Sequence[Any]],
    *,
    alt: str,
    start: Sequence[int] | None = None,
    dpi: float = 100,
) -> Any:
    """One or two sliders, a widget or HTML; all pictures are drawn now, so keep them to a hundred or two.

    Args:
        draw: Gets one value of each slider and returns a figure, which is closed here.
        sliders: Name of each slider and its values, which are also its labels.
        alt: What is seen, for readers who do not see it; the sliders' values are added for each picture.
        start: Position of each slider at first, counted from 0; the first values by default.
        dpi: Pixels per inch of the figures.

    Raises:
        ValueError: No slider or more than two, one without values, or a start that is no position.
    """
    values = [list(options) for options in sliders.values()]
    labels = {name: [str(value) for value in options] for name, options in sliders.items()}
    start = [0] * len(values) if start is None else list(start)
    if len(values) not in (1, 2) or not all(values):
        raise ValueError(f"frames take one or two sliders with values, got {dict(labels)}.")
    if len(start) != len(values) or not all(0 <= k < len(v) for k, v in zip(start, values, strict=True)):
        raise ValueError(f"start {start} must hold one position of each slider, from 0: {dict(labels)}.")
    pictures = [
        _picture(draw(*chosen), f"{alt} ({', '.join(f'{n} {v}' for n, v in zip(sliders, chosen, strict=True))})", dpi)
        for chosen in itertools.product(*values)
    ]
    if hasattr(ipywidgets, "Stack"):
        return _stacked(pictures, labels, start)
    return HTML(_page(pictures, labels, start))


def _picture(figure: Figure, alt: str, dpi: float) -> str:
    """An ``img`` element that holds its own data, as wide as drawn and no wider than the page."""
    file = io.BytesIO()
    figure.savefig(file, format="webp", dpi=dpi, facecolor="white", pil_kwargs={"quality": QUALITY})
    plt.close(figure)
    width, height = (round(inches * dpi) for inches in figure.get_size_inches())
    data = base64.b64encode(file.getvalue()).decode()
    style = "max-width: 100%; height: auto"
    return (
        f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" style="{style}" '
        f'alt="{escape(alt, quote=True)}">'
    )


def _stacked(pictures: list[str], labels: Mapping[str, list[str]], start: list[int]) -> Any:
    """Sliders linked to stacks in the browser; for two sliders a stack of stacks, whose inner ones move together."""
    look = {"style": {"description_width": "initial"}, "layout": {"width": "min(28rem, 95%)"}}
    bars = [
        ipywidgets.SelectionSlider(options=options, index=k, description=name, **look)
        for (name, options), k in zip(labels.items(), start, strict=True)
    ]
    stack: Any = [ipywidgets.HTML(picture) for picture in pictures]
    # From the last slider, whose values change fastest among the pictures, to the first.
    for bar, k in reversed(list(zip(bars, start, strict=True))):
        size = len(bar.options)
        stack = [ipywidgets.Stack(stack[i : i + size], selected_index=k) for i in range(0, len(stack), size)]
        for one in stack:
            ipywidgets.jslink((bar, "index"), (one, "selected_index"))
    return ipywidgets.VBox([*bars, *stack])


_MOVED = (
    "const all = this.closest('.biomark-frames'); let k = 0;"
    "for (const bar of all.querySelectorAll('input')) {"
    "  k = k * (Number(bar.max) + 1) + Number(bar.value);"
    "  const label = JSON.parse(bar.dataset.labels)[bar.value];"
    "  bar.nextElementSibling.textContent = label; bar.setAttribute('aria-valuetext', label);"
    "}"
    "all.querySelectorAll('img').forEach((one, i) => { one.hidden = i !== k; });"
)


def _page(pictures: list[str], labels: Mapping[str, list[str]], start: list[int]) -> str:
    """The same as plain HTML: native sliders, and a script of a few lines in the page itself."""
    bars, shown = [], 0
    for (name, options), k in zip(labels.items(), start, strict=True):
        shown = shown * len(options) + k
        bars.append(
            f'<label style="display: block">{escape(name)} <input type="range" min="0" max="{len(options) - 1}" '
            f'value="{k}" aria-valuetext="{escape(options[k])}" '
            f'data-labels="{escape(json.dumps(options))}" oninput="{escape(_MOVED)}"> '
            f"<output>{escape(options[k])}</output></label>"
        )
    images = [picture.replace("<img ", "<img hidden ", 1) for picture in pictures]
    images[shown] = pictures[shown]
    return f'<div class="biomark-frames">{"".join(bars)}{"".join(images)}</div>'
