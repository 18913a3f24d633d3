"""The voxel weight: one definition, additive, in the biomarker's own unit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import biomark as bm
from biomark.grids import Boxes


def block(hu):
    image = np.full((30, 30), -1000.0, np.float32)
    image[5:25, 5:25] = hu
    return image


def test_area_by_hand():
    """20 x 20 pixels of 2 mm x 3 mm, less two rows and a column of skin on each side: 16 x 18 of 6 mm2, 17.28 cm2."""
    image = block(-100.0)
    task = bm.TASKS["sfa"]
    assert task.measure(image, np.ones_like(image, bool), (2.0, 3.0)) == pytest.approx(17.28)
    assert task.weigh(image, (2.0, 3.0)).max() == pytest.approx(0.06)
    assert task.weigh(image, (2.0, 3.0)).dtype == np.float32


def test_fat_is_no_candidate_for_muscle():
    assert bm.TASKS["pma"].weigh(block(-100.0), (2, 2)).sum() == 0
    assert bm.TASKS["pma"].weigh(block(45.0), (2, 2)).sum() == pytest.approx(0.04 * 18**2)


def test_windows_are_those_of_the_book():
    assert bm.TASKS["pma"].hu_window == (-29, 150) and bm.TASKS["sfa"].hu_window == (-190, -30)
    assert [bm.TASKS[key].skin_mm for key in ("pma", "sfa", "liver", "cac")] == [2.5, 2.5, 2.5, 0]
    assert bm.TASKS["cac"].hu_window == (130, np.inf)


def volume():
    """Air, fat and muscle in slices, with two lesions of 4 pixels (peaks 250 and 150 HU), a speck of 1 and a rib."""
    image = np.full((4, 30, 30), -1000.0, np.float32)
    image[:, 4:26, 4:26] = -100
    image[:, 10:20, 10:20] = 45
    image[1, 12:14, 12:14] = [[150, 150], [150, 250]]
    image[2, 16, 14:18] = 150
    image[0, 18, 15] = 150
    image[:, 22:28, 2:28] = 600
    return image


def test_calcium_by_hand():
    """4 pixels x 1.5 mm2 x factor 2 and 4 pixels x 1.5 mm2 x factor 1, slices 2.4 mm apart: 12 and 6, times 0.8."""
    image, spacing, task = volume(), (2.4, 1.0, 1.5), bm.TASKS["cac"]
    w = task.weigh(image, spacing)
    assert w.dtype == np.float32
    assert w[1].sum() == pytest.approx(12 * 0.8) and w[2].sum() == pytest.approx(6 * 0.8)
    # The speck's voxel has 3.6 mm3; the rib's 4 x 6 x 26 have 2246 mm3.
    assert w[0].sum() == w[3].sum() == 0
    np.testing.assert_array_equal(task.candidates(image, spacing), w > 0)
    score = bm.agatston.score(image, w > 0, spacing, "dz3")
    assert task.measure(image, np.ones_like(image, bool), spacing) == pytest.approx(score) == pytest.approx(18 * 0.8)


def test_the_weight_of_calcium_is_that_of_the_scorer():
    """One definition, the scorer's own weights, but for what by its size is no candidate: a rib, and specks of noise.

    A voxel of noise in a groove looks like a small plaque. Of the speck's 1.5 mm2 at factor 1, in slices 2.4 mm apart,
    a reader's tool makes 1.2; the task leaves out what has less than 6 mm3.
    """
    image, spacing, task = volume(), (2.4, 1.0, 1.5), bm.TASKS["cac"]
    w, scorer = task.weigh(image, spacing), bm.agatston.weights(image, spacing, "dz3")
    np.testing.assert_array_equal(w[1:, :22], scorer[1:, :22])
    assert scorer[0, :22].sum() == pytest.approx(1.2) and not w[0].any()
    assert scorer[:, 22:].any() and not w[:, 22:].any()
    image[1, 19, 16] = 150  # a second voxel, touching by a corner in the next slice: the two have 7.2 mm3
    scorer = bm.agatston.weights(image, spacing, "dz3")
    np.testing.assert_array_equal(task.weigh(image, spacing)[:, :22], scorer[:, :22])


def test_calcium_below_a_square_millimetre_is_none():
    """Nor below 6 mm3 in all its slices."""
    image = np.full((2, 10, 10), 45.0, np.float32)
    image[:, 0] = -1000
    image[:, 4, 4:7] = 300
    task = bm.TASKS["cac"]
    assert task.candidates(image, (9.0, 0.5, 0.5)).sum() == 0
    assert task.candidates(image, (3.0, 0.6, 0.6)).sum() == 6
    assert task.candidates(image[:1], (3.0, 0.6, 0.6)).sum() == 0


@settings(max_examples=20, deadline=None)
@given(chosen=st.lists(st.booleans(), min_size=12, max_size=12), dz=st.floats(0.5, 6))
def test_scores_add_up_over_lesions_in_slices(chosen, dz):
    """Whole lesions chosen in any way: the sum of weights is the Agatston score of the mask."""
    rng = np.random.default_rng(3)
    image = rng.normal(45, 20, (2, 30, 40)).astype(np.float32)
    image[:, 0] = -1000
    mask = np.zeros(image.shape, bool)
    spots = [(k % 2, 4 + 8 * (k // 2 % 3), 4 + 18 * (k // 6)) for k in range(12)]
    for k, row, column in spots:
        here = (k, slice(row, row + 4), slice(column, column + 10))
        image[here] = rng.uniform(140, 600, (4, 10))  # 40 voxels of at least 0.32 mm3: no speck
    lesions = np.zeros(image.shape, bool)
    for take, (k, row, column) in zip(chosen, spots, strict=True):
        lesions[k, row - 2 : row + 6, column - 3 : column + 13] |= take
    mask = lesions & (image >= 130)
    task, spacing = bm.TASKS["cac"], (dz, 0.8, 0.8)
    score = bm.agatston.score(image, mask, spacing, "dz3")
    assert task.measure(image, mask, spacing) == pytest.approx(score, rel=1e-5, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    mask=arrays(bool, (30, 30)),
    other=arrays(bool, (30, 30)),
    spacing=st.tuples(st.floats(0.3, 6), st.floats(0.3, 6)),
)
def test_measure_is_additive_over_disjoint_regions(mask, other, spacing):
    task, image = bm.TASKS["sfa"], block(-90.0)
    other = other & ~mask
    parts = task.measure(image, mask, spacing) + task.measure(image, other, spacing)
    assert task.measure(image, mask | other, spacing) == pytest.approx(parts, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("key", ["pma", "sfa"])
def test_the_number_goes_with_the_painted_area(key):
    """Window and skin leave out rims: a few per cent less, and nearly in proportion."""
    cohort = bm.phantoms.draw(key, 40, seed=111, size=96)
    areas = cohort.about["area_cm2"].to_numpy()
    assert np.corrcoef(areas, cohort.values)[0, 1] >= 0.998
    less = 1 - cohort.values.sum() / areas.sum()
    assert {"pma": 0, "sfa": 0.02}[key] < less < {"pma": 0.06, "sfa": 0.12}[key]


@pytest.mark.parametrize(
    ("image", "spacing", "words"),
    [
        (np.zeros((2, 3, 4)), (1, 1), "2-D"),
        (np.zeros((3, 4)), (1, 1, 1), "2 spacings"),
        (np.zeros((3, 4)), (0, 1), "above 0"),
        (np.zeros((3, 4)), (np.nan, 1), "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(image, spacing, words):
    with pytest.raises(ValueError, match=words):
        bm.TASKS["sfa"].weigh(image, spacing)


@pytest.mark.parametrize(
    ("image", "spacing", "words"),
    [(np.zeros((3, 4)), (1, 1), "3-D"), (np.full((2, 3, 4), -5.0), (1, 1), "3 spacings")],
)
def test_calcium_wants_a_volume(image, spacing, words):
    with pytest.raises(ValueError, match=words):
        bm.TASKS["cac"].weigh(image, spacing)


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        bm.TASKS["sfa"].measure(block(0.0), np.ones((3, 3), bool), (1, 1))


def test_a_task_of_ones_own():
    water = dataclasses.replace(
        bm.TASKS["sfa"], key="water", hu_window=(-10, 10), skin_mm=1.5, region=lambda image, spacing: image > -500
    )
    assert water.weigh(block(0.0), (1, 1)).sum() == pytest.approx(16**2 / 100)


def test_rules_of_ones_own():
    """Labels of parts are all inside, and what the worth says elsewhere does not matter."""
    image = block(50.0)
    labels = np.where(image > 0, 1, 0) + (np.arange(30) > 15) * (image > 0)
    whole = dataclasses.replace(bm.TASKS["pma"], skin_mm=0.0, region=lambda image, spacing: image > 0)
    for region in (labels, labels.astype(float)):
        own = dataclasses.replace(whole, region=lambda image, spacing, region=region: region)
        np.testing.assert_array_equal(own.weigh(image, (2, 2)), whole.weigh(image, (2, 2)))
    worth = np.where(image > 0, 2.0, np.nan)
    own = dataclasses.replace(whole, voxel_weight=lambda image, spacing: worth)
    assert own.weigh(image, (2, 2)).sum() == 2 * (image > 0).sum() and own.weigh(image, (2, 2)).dtype == np.float32


def test_a_region_is_told_the_spacing_in_the_order_of_the_axes():
    """Where pixels are not square, rows and columns must not be taken for one another."""

    def upper_left_cm(image_hu, spacing_mm):
        rows, columns = np.indices(image_hu.shape)
        return (rows * spacing_mm[0] < 10) & (columns * spacing_mm[1] < 10)

    own = dataclasses.replace(bm.TASKS["sfa"], region=upper_left_cm, skin_mm=0.0)
    weights = own.weigh(np.full((30, 30), -100.0), (1.0, 2.5))
    assert weights[:10, :4].all() and np.count_nonzero(weights) == 40


def test_what_no_rule_may_say():
    image, task = block(50.0), bm.TASKS["pma"]
    for worth in (np.nan, -1.0):
        with pytest.raises(ValueError, match="negative or no number"):
            dataclasses.replace(task, voxel_weight=lambda image, spacing, worth=worth: worth).weigh(image, (2, 2))
    with pytest.raises(ValueError, match=r"region of task 'pma' has shape \(29, 30\)"):
        dataclasses.replace(task, region=lambda image, spacing: image[1:] > 0).weigh(image, (2, 2))
    with pytest.raises(ValueError, match="give a voxel_weight"):
        dataclasses.replace(task, ndim=3)
    with pytest.raises(KeyError, match="no task is called 'fat'"):
        bm.TASKS["fat"]


def test_probabilities_are_no_mask():
    """A map given for a mask would count every candidate that it does not exclude entirely."""
    task, image = bm.TASKS["pma"], block(50.0)
    for what in (np.where(image > 0, 0.3, 0.0), np.where(image > 0, 1.0, np.nan), -(image > 0).astype(int)):
        with pytest.raises(ValueError, match="values in the mask are no whole numbers from 0"):
            task.measure(image, what, (5.0, 5.0))
    labels = (image > 0) * np.arange(30)[:, None]
    assert task.measure(image, labels, (5.0, 5.0)) == task.measure(image, labels > 0, (5.0, 5.0)) == 81.0


def test_no_number_has_no_risk_group():
    with pytest.raises(ValueError, match="no number has no risk group of coronary calcium score"):
        bm.TASKS["cac"].group([0, np.nan])


def test_the_skin_lies_below_the_surface_in_millimetres():
    """Also along the picture's edge, where air added would begin."""
    image, deep = np.full((40, 60), 45.0, np.float32), dataclasses.replace(bm.TASKS["pma"], skin_mm=4.0)
    image[:10] = -1000
    weights = deep.weigh(image, (1.0, 1.0))
    assert np.argmax(weights[:, 30] > 0) == 14 and np.argmax(weights[25] > 0) == 4
    padded = np.pad(image, 5, constant_values=-1000.0)
    np.testing.assert_array_equal(deep.weigh(padded, (1.0, 1.0)), np.pad(weights, 5))
    assert (deep.weigh(image, (0.5, 0.5)) > 0).sum() < (weights > 0).sum()


def test_smoothing_decides_who_is_a_candidate_and_nothing_else():
    rng = np.random.default_rng(0)
    image = block(60.0) + rng.normal(0, 60, (30, 30)).astype(np.float32) * (block(60.0) > 0)
    rough = dataclasses.replace(bm.TASKS["liver"], smooth_mm=0.0)
    smooth = dataclasses.replace(bm.TASKS["liver"], smooth_mm=3.0)
    counts = [np.count_nonzero(task.weigh(image, (2.0, 2.0))) for task in (rough, smooth)]
    assert counts[0] < 0.75 * 16**2 < counts[1] <= 18**2
    assert smooth.weigh(image, (2.0, 2.0)).max() == np.float32(0.04)
    assert len({task.rules() for task in (rough, smooth, bm.TASKS["liver"])}) == 3


@pytest.mark.parametrize("key", ["pma", "sfa", "liver", "cac"])
@pytest.mark.parametrize("change", [{"hu_window": (0.0, 1.0)}, {"skin_mm": 1.0}, {"smooth_mm": 0.7}])
def test_what_decides_the_candidates_is_of_the_rules(key, change):
    assert dataclasses.replace(bm.TASKS[key], **change).rules() != bm.TASKS[key].rules()


def outline(task, membership, weights, value):
    """Where each voxel is its own box."""
    return task.outline(membership, Boxes(weights.shape, (1,) * weights.ndim, weights.shape), weights, value)


@pytest.mark.parametrize("key", ["pma", "sfa", "liver"])
def test_the_outline_of_a_value_has_the_value_and_nothing_has_none(key):
    task, rng = bm.TASKS[key], np.random.default_rng(0)
    weights = np.where(rng.random((20, 30)) < 0.6, np.float32(0.01), 0)
    membership = rng.random((20, 30))
    for value in (max(0.01, task.negligible), 0.5, 2.0):
        assert weights[outline(task, membership, weights, value)].sum() == pytest.approx(value, abs=0.0051)
    for value in (0.0, -1.0, 0.99 * task.negligible):
        assert not outline(task, membership, weights, value).any()
    above = dataclasses.replace(task, negligible=1.0)
    assert not outline(above, membership, weights, 0.99).any() and outline(above, membership, weights, 1.0).any()


def test_lesions_are_outlined_whole_slice_by_slice():
    """Of two slices of one lesion the lower is left out; corners hang together; what weighs more counts more."""
    task, weights, membership = bm.TASKS["cac"], np.zeros((2, 6, 8), np.float32), np.zeros((2, 6, 8))
    weights[:, 1, 1], weights[:, 2, 2] = 1.0, 3.0
    weights[0, 4, 5:8] = 1.0
    membership[0, 2, 2] = 0.7  # .7 x 3 of 4: more than half
    membership[1, 2, 2] = 0.6  # .6 x 3 of 4: less than half
    membership[0, 4, 5] = 1.0  # a third
    membership[0, 0, 0] = 1.0  # no candidate
    found = outline(task, membership, weights, 10.0)
    assert np.argwhere(found).tolist() == [[0, 1, 1], [0, 2, 2]]
    assert not outline(task, membership, weights, 0.5).any()


def test_lesions_of_the_outline_are_those_of_the_scorer():
    """Whatever is chosen, whole components in slices are: their weights are their Agatston score."""
    rng = np.random.default_rng(2)
    image = rng.normal(45, 30, (3, 40, 40)).astype(np.float32)
    for _ in range(30):
        z, y, x = rng.integers(0, 3), *rng.integers(2, 36, 2)
        image[z, y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = rng.uniform(140, 600)
    task, spacing = bm.TASKS["cac"], (2.5, 0.9, 0.9)
    weights = task.weigh(image, spacing)
    for seed in range(4):
        membership = np.random.default_rng(seed).random(image.shape)
        mask = outline(task, membership, weights, 100.0)
        assert 0 < mask.sum() < (weights > 0).sum()
        score = bm.agatston.score(image, mask, spacing, "dz3")
        assert weights[mask].sum() == pytest.approx(score, rel=1e-5)


def test_moves_are_the_tasks():
    moves = bm.TASKS["sfa"].moves
    assert (moves.mirror, moves.shift, moves.turn_deg) == (True, 0.12, 15.0)
    assert not bm.TASKS["liver"].moves.mirror and bm.TASKS["cac"].moves.turn_deg == 0


def test_a_map_is_read_between_boxes_but_not_across_what_is_none():
    """Linearly, where boxes without a candidate count as 0; of lesions, smaller than a box, as it is."""
    boxes = Boxes((1, 3), (1, 4), (1, 12))
    weights = np.ones((1, 12), np.float32)
    weights[0, 8:] = 0
    found = np.array([[0.2, 0.8, 1.0]])
    assert bm.TASKS["sfa"].membership(found, boxes, weights)[0, [0, 4, 9]] == pytest.approx([0.2, 0.575, 0.1])
    np.testing.assert_allclose(bm.TASKS["cac"].membership(found, boxes, weights), np.repeat(found, 4, 1))
