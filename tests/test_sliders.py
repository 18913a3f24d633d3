"""Sliders over pictures: every position has its picture, with the widgets of today and with those of Colab."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from biomark.viz import sliders

ipywidgets = pytest.importorskip("ipywidgets")


def grey(level, other=0):
    """A figure of one even colour, by which it is known again."""
    figure = plt.figure(figsize=(0.4, 0.2), facecolor="none")
    figure.add_axes((0, 0, 1, 1)).imshow([[(level, other, 0)]], aspect="auto")
    figure.axes[0].axis("off")
    return figure


def colour(picture):
    """The colour of an `img` element's data, and its pixels across and down."""
    data = base64.b64decode(re.search(r"base64,([^\"]+)\"", picture)[1])
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB"), int)[5, 5][:2], image.size


LEVELS = [0, 100, 200]


def test_a_slider_moves_a_stack_in_the_browser(monkeypatch):
    linked, jslink = [], ipywidgets.jslink
    monkeypatch.setattr(ipywidgets, "jslink", lambda *ends: linked.append(ends) or jslink(*ends))
    box = sliders.frames(grey, {"level": LEVELS}, alt='a "grey" field', start=[1])
    bar, stack = box.children
    assert bar.description == "level" and bar.options == ("0", "100", "200") and bar.index == stack.selected_index == 1
    for level, picture in zip(LEVELS, stack.children, strict=True):
        (red, _), size = colour(picture.value)
        assert abs(red - level) < 12 and size == (40, 20)
        assert f'alt="a &quot;grey&quot; field (level {level})"' in picture.value
    assert linked == [((bar, "index"), (stack, "selected_index"))]
    assert not plt.get_fignums(), "the figures are closed"


def test_two_sliders_give_every_combination():
    box = sliders.frames(grey, {"level": LEVELS, "other": [50, 250]}, alt="field", start=[2, 1])
    outer = box.children[2]
    assert len(outer.children) == 3 and outer.selected_index == 2
    for level, inner in zip(LEVELS, outer.children, strict=True):
        assert inner.selected_index == 1
        for other, picture in zip([50, 250], inner.children, strict=True):
            assert np.abs(colour(picture.value)[0] - (level, other)).max() < 12


def test_without_stack_it_is_plain_html(monkeypatch):
    monkeypatch.delattr(ipywidgets, "Stack")
    page = sliders.frames(grey, {"level <HU>": LEVELS, "other": [50, 250]}, alt="field", start=[1, 0]).data
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) == 6 and page.count('type="range"') == 2 and "level &lt;HU&gt;" in page
    assert [" hidden " in picture for picture in pictures] == [True, True, False, True, True, True]
    assert np.abs(colour(pictures[5])[0] - (200, 250)).max() < 12
    assert "http" not in page


def test_without_ipywidgets_too(monkeypatch):
    monkeypatch.setattr(sliders, "ipywidgets", None)
    assert "<img" in sliders.frames(grey, {"level": LEVELS}, alt="field").data


@pytest.mark.parametrize(
    ("asked", "start"), [({}, None), ({"a": []}, None), ({"a": [1], "b": [1], "c": [1]}, None), ({"a": [1]}, [1])]
)
def test_what_cannot_be_shown_is_refused(asked, start):
    with pytest.raises(ValueError, match="slider"):
        sliders.frames(grey, asked, alt="field", start=start)
