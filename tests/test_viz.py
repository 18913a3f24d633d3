"""Figures draw what they are given, in millimetres, patient's right on the left."""

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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


def edges(mask):
    """How many sides of pixels lie between a region and what is not."""
    return sum(np.count_nonzero(np.diff(np.pad(mask, 1), axis=axis)) for axis in (0, 1))


def test_what_is_outlined_is_the_mask_of_the_value_or_the_map_above_one_half(cohort):
    case = cohort.voxels(0)
    box, there = viz.body_box(case), case.weights > 0
    found = np.where(np.arange(144) < 72, 0.9, 0.2) * np.ones((144, 1))
    small = there & (np.arange(144) < 50)
    for given, marked in ((small, small), (None, there & (found > 0.5))):
        _, axes = plt.subplots(1, 3)
        viz.localization(axes, case, bm.Localization(1.0, found, given), "cm2")
        drawn = [len(lines.get_segments()) for lines in axes[2].collections]
        assert drawn == [edges(marked[box]), edges(case.mask[box])]
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
    mask, found = np.array([[[True, True, False, False]]]), np.array([[[0.9, 0.1, 0.8, 1.0]]])
    case = bm.Case("one", weights * 200, weights, 2.0, mask, (3.0, 1.0, 1.0))
    ax = plt.figure().add_subplot(projection="3d")
    viz.lesions_3d(ax, case, bm.Localization(1.8, found))
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


def test_a_frame_keeps_sizes():
    """Two pictures in frames of one side show a millimetre equally long."""
    sides = []
    for pixels, spacing in ((10, 2.0), (10, 4.0)):
        figure, ax = plt.subplots(figsize=(3, 3))
        viz.show_slice(ax, np.zeros((pixels, pixels)), (spacing, spacing))
        viz.frame(ax, np.zeros((pixels, pixels)), (spacing, spacing), 40.0)
        figure.canvas.draw()
        sides.append(np.diff(ax.transData.transform([(0, 0), (1, 0)])[:, 0])[0])
    assert sides[0] == pytest.approx(sides[1])
    plt.close("all")


def test_an_outline_follows_the_edges_of_pixels():
    """Around a single pixel runs its whole edge, also at the picture's edge, and the picture keeps its limits."""
    for where in ((3, 3), (0, 7)):
        mask = np.zeros((8, 8), bool)
        mask[where] = True
        _, ax = plt.subplots()
        viz.show_slice(ax, mask, (2.0, 1.0), bar_cm=0)
        before = ax.axis()
        viz.outline(ax, mask, (2.0, 1.0))
        (lines,) = ax.collections
        edges = {tuple(sorted(map(tuple, line.tolist()))) for line in lines.get_segments()}
        (y, x), corners = where, [(0, 0), (1, 0), (1, 2), (0, 2)]
        a, b, c, d = ((x + dx, 2 * y + dy) for dx, dy in corners)
        assert edges == {(a, b), (b, c), (d, c), (a, d)} and ax.axis() == before
    plt.close("all")


def test_the_box_holds_all_candidates():
    weights = np.zeros((50, 60), np.float32)
    weights[20:30, 5:40] = 1
    case = bm.Case("one", weights, weights, None, None, (2.0, 2.0))
    assert viz.body_box(case) == (slice(15, 35), slice(0, 45))
    assert viz.body_box(bm.Case("none", weights, 0 * weights, None, None, (2.0, 2.0))) == (slice(None), slice(None))


def test_one_curve_has_no_name_and_whole_epochs():
    _, (one, two) = plt.subplots(1, 2)
    viz.curves(one, {"error": np.linspace(1, 0, 20)})
    assert not one.texts and all(1 <= tick <= 20 and tick == round(tick) for tick in one.get_xticks())
    viz.curves(two, {"a": [3, 2, 1], "b": [3]})
    assert [text.get_text() for text in two.texts] == ["a", "b"]
    plt.close("all")


def test_methods_have_a_row_each(cohort):
    """Localizers first, one's own last; a mark a seed where its run lies, and the reader's run as a line."""
    seeds = pd.DataFrame(
        [
            ("mine", "unet", 0.8, 0.4),
            ("direct", "unet", 0.7, np.nan),
            ("localizer", "resunet", 0.99, 0.9),
            ("localizer", "unet", 0.9, 0.5),
            ("localizer", "unet", 0.8, 0.6),
        ],
        columns=["method", "backbone", "r", "dice"],
    ).assign(r_low=0.1, r_high=0.999, dice_low=0.3, dice_high=0.95, dice_candidates=0.2)
    rows = viz.method_rows(seeds)
    assert list(rows.values()) == ["localizer, unet", "localizer, resunet", "direct regression", "mine"]
    torch.manual_seed(0)
    model = bm.Localizer("sfa", width=2)
    model.prepare(cohort)
    report = bm.evaluate(model, cohort)
    _, axes = plt.subplots(1, 2, sharey=True)
    viz.methods(axes, seeds, mine=report)
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == list(rows.values())
    marks = [[line.get_xydata()[0] for line in ax.lines if line.get_marker() in "osDv^"] for ax in axes]
    for x, expected in zip(marks[0], (0.1, 0.2, 0.01, 0.3, 0.2), strict=True):
        assert x[0] == pytest.approx(expected)
    assert [round(float(y)) for _, y in marks[0]] == [0, 0, 1, 2, 3]
    assert marks[1][0][0] == 0.5 and any(text.get_text() == "no map" for text in axes[1].texts)
    assert axes[1].lines[-1].get_xdata()[0] == report.dice.value
    viz.methods(axes, seeds.assign(r=0.9999, r_high=0.99995), mine=bm.Report.of(cohort, cohort.values))
    assert axes[0].get_xlim()[1] < 5e-5, "the best run is in the picture"
    assert 0 < axes[0].lines[-1].get_xdata()[0] < 5e-5
    plt.close("all")


def test_units_are_pretty():
    assert viz.pretty("cm2") == "cm²" and viz.pretty("mass [mg/cm3] of 12 mm2") == "mass [mg/cm³] of 12 mm²"
    assert viz.pretty("Agatston") == "Agatston" and viz.pretty("scm2x") == "scm2x"


def test_a_cropped_case_keeps_its_value(cohort):
    case = cohort[0]
    small = viz.cropped(case)
    assert small.weights.sum() == pytest.approx(case.weights.sum()) and small.value == case.value
    assert small.image.shape == small.mask.shape == small.weights.shape <= case.image.shape
