"""Figures draw what they are given, in millimetres, patient's right on the left."""

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import biomark as bm
from biomark import viz


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
