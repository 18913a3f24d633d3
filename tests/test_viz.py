"""Figures draw what they are given, in millimetres, patient's right on the left."""

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import biomark as bm
from biomark import viz


@pytest.fixture(autouse=True)
def style():
    """The book's style ends with each test: others draw in their own."""
    with matplotlib.rc_context():
        yield


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 5, seed=8, size=48)


def test_slices_are_drawn_in_mm():
    _, ax = plt.subplots()
    viz.show_slice(ax, np.zeros((10, 20)), (2.0, 3.0))
    assert ax.images[0].get_extent() == [0, 60, 20, 0]
    plt.close("all")


def test_shade_is_as_strong_as_the_map():
    _, ax = plt.subplots()
    viz.shade(ax, np.array([[0.0, 1.0]]), (1, 1))
    assert ax.images[0].get_array()[0, :, 3].tolist() == [0, 0.75]
    plt.close("all")


def test_every_figure_draws(cohort):
    viz.use_style()
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=2)
    model.prepare(cohort)
    figure, axes = plt.subplots(1, 3)
    viz.localization(axes, cohort[0], model.locate(cohort[0]), "cm2")
    assert "found" in axes[2].get_title() and "known" in axes[0].get_title()
    assert len(viz.gallery(list(cohort), ["a"]).axes) == 8
    figure, axes = plt.subplots(1, 2)
    viz.agreement(axes, bm.evaluate(model, cohort))
    viz.curves(axes[0], {"a": [3, 2, 1]})
    figure.canvas.draw()
    plt.close("all")


def test_projections_show_the_brightest_head_up():
    volume = np.zeros((2, 3, 4))
    volume[1, 2, 3] = 7  # in the upper slice, at the back, on the left
    picture, spacing = viz.projected(volume, (5, 1, 2), 1)
    assert picture[0, 3] == 7 and picture.shape == (2, 4) and spacing == (5, 2)
    picture, spacing = viz.projected(volume, (5, 1, 2), 0)
    assert picture[2, 3] == 7 and spacing == (1, 2)
    picture, spacing = viz.projected(volume, (5, 1, 2), 2)
    assert picture[0, 2] == 7 and spacing == (5, 1)


def test_lesions_in_space_are_sorted():
    """One voxel of each kind; what is marked outside the candidates is not drawn."""
    weights = np.array([[[1.0, 1, 1, 0]]], np.float32)
    mask, map = np.array([[[True, True, False, False]]]), np.array([[[0.9, 0.1, 0.8, 1.0]]])
    case = bm.Case("one", weights * 200, weights, 2.0, mask, (3.0, 1.0, 1.0))
    ax = plt.figure().add_subplot(projection="3d")
    viz.lesions_3d(ax, case, bm.Localization(1.8, map))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "true and found (1)",
        "missed (1)",
        "found in error (1)",
    ]
    plt.close("all")


def test_confusion_counts():
    _, ax = plt.subplots()
    viz.confusion(ax, np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), ["none", "some", "much"])
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in ax.texts}
    assert texts[0, 1] == "1" and texts[1, 1] == "1" and texts[1, 0] == ""
    plt.close("all")
