"""Overlap, energy and distances on pictures of a few pixels, and against another library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biomark.evaluation import metrics


def test_dice_by_hand():
    found = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 1]], [[1, 0], [0, 0]]], bool)
    truth = np.array([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]], bool)
    result = metrics.dice(found, truth)
    assert result[0] == pytest.approx(2 / 3)  # one in common, two and one marked
    assert result[1] == 0  # missed
    assert np.isnan(result[2])  # no truth to overlap with


MEASURES = {
    "dice": lambda found, truth: metrics.dice(found, truth),
    "precision": lambda found, truth: metrics.precision(found, truth, np.ones(truth.shape)),
    "recall": lambda found, truth: metrics.recall(found, truth, np.ones(truth.shape)),
    "hd95": lambda found, truth: metrics.hd95(found, truth, (1, 1)),
    "surface_dice": lambda found, truth: metrics.surface_dice(found, truth, (1, 1), tolerance_mm=1),
    "lesions": lambda found, truth: metrics.lesions(found[0], truth[0], np.ones(truth[0].shape)).shares,
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_masks_of_any_type_measure_alike_and_labels_are_refused(measure):
    """As other programs write them; on the bits of numbers, ~ and & would give other results without a word."""
    found, truth = np.random.default_rng(0).random((2, 3, 9, 9)) < 0.4
    expected = measure(found, truth)
    for kind in (np.uint8, np.int64, np.float32):
        np.testing.assert_array_equal(measure(found.astype(kind), truth.astype(kind)), expected)
    with pytest.raises(ValueError, match="values from 0 to 2 in what was found are not true or false"):
        measure(2 * found.astype(np.uint8), truth)


def test_precision_and_recall_count_weight():
    """Found 2 and 4, true 2 and 1: of 6 found 2 are true, of 3 true 2 are found."""
    found = np.array([[[1, 0, 1]], [[0, 0, 0]], [[1, 0, 0]]], bool)
    truth = np.array([[[1, 1, 0]], [[0, 1, 0]], [[0, 0, 0]]], bool)
    weights = np.tile([2.0, 1, 4], (3, 1, 1))
    assert metrics.precision(found, truth, weights) == pytest.approx([1 / 3, 0, np.nan], nan_ok=True)
    assert metrics.recall(found, truth, weights) == pytest.approx([2 / 3, 0, np.nan], nan_ok=True)


def line(*pixels, of=12):
    """One row of pixels."""
    row = np.zeros((1, 1, of), bool)
    row[..., list(pixels)] = True
    return row


def test_hd95_by_hand():
    """In a row every pixel is surface: above and below it the image ends. Distances 0 0 and, back, 0 0 1 2 pixels of
    1.5 mm: the 95th percentile of the four lies 85 % of the way from the third to the last."""
    found, truth = line(3, 4), line(3, 4, 5, 6)
    assert metrics.hd95(found, truth, (9, 1.5)) == pytest.approx([1.5 * (1 + 0.85)])
    assert metrics.hd95(truth, found, (9, 1.5)) == pytest.approx([1.5 * (1 + 0.85)])


def test_only_surfaces_count():
    """A hole of one pixel in a square of seven: 24 + 4 surface voxels against 24, those around the hole 2 inside."""
    whole = np.zeros((1, 9, 9), bool)
    whole[:, 1:8, 1:8] = True
    holed = whole.copy()
    holed[:, 4, 4] = False
    assert metrics.hd95(holed, whole, (1, 1)) == pytest.approx([2])
    assert metrics.surface_dice(holed, whole, (1, 1), tolerance_mm=1) == pytest.approx([48 / 52])
    assert metrics.surface_dice(holed, whole, (1, 1), tolerance_mm=2) == pytest.approx([1])


def test_surface_dice_by_hand():
    """Six surface pixels, of which one lies 2 mm away and one 4 mm."""
    found, truth = line(3, 4), line(3, 4, 5, 6)
    for tolerance, share in ((0, 4 / 6), (2, 5 / 6), (3.9, 5 / 6), (4, 1)):
        assert metrics.surface_dice(found, truth, (1, 2), tolerance_mm=tolerance) == pytest.approx([share])


def test_a_missed_case_keeps_the_worst_value_and_an_empty_one_has_none():
    found = np.concatenate([line(), line(2), line()])
    truth = np.concatenate([line(0), line(), line()])
    expected = {"dice": 0, "hd95": 11 * 2, "surface_dice": 0, "precision": 0, "recall": 0}
    got = {
        "dice": metrics.dice(found, truth),
        "hd95": metrics.hd95(found, truth, (1, 2)),
        "surface_dice": metrics.surface_dice(found, truth, (1, 2), tolerance_mm=99),
        "precision": metrics.precision(found, truth, np.ones(truth.shape)),
        "recall": metrics.recall(found, truth, np.ones(truth.shape)),
    }
    for name, values in got.items():
        assert values == pytest.approx([expected[name], np.nan, np.nan], nan_ok=True), name


def test_each_case_has_its_spacing():
    found, truth = line(3).repeat(2, 0), line(5).repeat(2, 0)
    assert metrics.hd95(found, truth, [[1, 1], [1, 3]]).tolist() == [2, 6]
    with pytest.raises(ValueError, match="2 spacings"):
        metrics.hd95(found, truth, (1, 1, 1))


pairs = st.sampled_from([(6, 7), (4, 5, 3)]).flatmap(lambda shape: hnp.arrays(bool, (2, 1, *shape)))


@settings(deadline=None, max_examples=60)
@given(pairs)
def test_distances_are_symmetric_in_range_and_grow_with_the_spacing(masks):
    found, truth = masks
    if not (found.any() and truth.any()):
        return
    spacing = np.linspace(0.5, 2, truth.ndim - 1)
    distance, share = metrics.hd95(found, truth, spacing), metrics.surface_dice(found, truth, spacing, tolerance_mm=1)
    assert metrics.hd95(truth, found, spacing) == distance
    assert metrics.hd95(found, truth, 2 * spacing) == pytest.approx(2 * distance)
    assert 0 <= distance[0] <= np.linalg.norm(spacing * (np.array(truth.shape[1:]) - 1))
    assert 0 <= share[0] <= 1
    assert metrics.surface_dice(found, truth, 2 * spacing, tolerance_mm=2) == share
    assert (metrics.hd95(truth, truth, spacing), metrics.surface_dice(truth, truth, spacing, tolerance_mm=0)) == (0, 1)
    around = np.pad(masks, [(0, 0), (0, 0), *[(2, 2)] * (truth.ndim - 1)])
    assert metrics.hd95(*around, spacing) == pytest.approx(distance)


@pytest.mark.filterwarnings("default")  # a peer's warnings are its own
@pytest.mark.parametrize("shape", [(24, 30), (10, 12, 14)], ids=["slice", "volume"])
def test_overlap_and_distances_against_monai(shape):
    """They agree wherever both masks hold something; what is missed is nan there, and dropped from the mean."""
    monai = pytest.importorskip("monai.metrics")
    import torch
    from scipy import ndimage

    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.normal(size=(2, 20, *shape)), (0, 0, *[1.5] * len(shape)))
    found, truth = blobs > 0.05
    truth |= found & (rng.random(truth.shape) < 0.3)
    assert found.any(tuple(range(1, found.ndim))).all()
    spacing = np.linspace(0.7, 2.5, len(shape))
    theirs = [torch.as_tensor(m[:, None].astype(np.float32)) for m in (found, truth)]
    sides = {"include_background": True, "spacing": spacing.tolist()}
    distance = monai.compute_hausdorff_distance(*theirs, percentile=95, **sides)[:, 0]
    share = monai.compute_surface_dice(*theirs, class_thresholds=[1.5], **sides)[:, 0]
    overlap = monai.compute_dice(*theirs, include_background=True)[:, 0]
    assert metrics.hd95(found, truth, spacing) == pytest.approx(distance.numpy(), abs=1e-5)
    assert metrics.surface_dice(found, truth, spacing, tolerance_mm=1.5) == pytest.approx(share.numpy(), abs=1e-6)
    assert metrics.dice(found, truth) == pytest.approx(overlap.numpy(), abs=1e-6)


def test_energy_by_hand():
    """Of masks, and of boxes of which a part is true."""
    maps, weights = np.array([[[1.0, 0.5]], [[0.0, 1.0]]]), np.array([[[3.0, 2.0]], [[5.0, 4.0]]])
    truth = np.array([[[True, False]], [[True, True]]])
    assert metrics.energy_in_mask(maps, truth, weights) == pytest.approx(7 / 8)
    assert metrics.energy_in_mask(maps, truth.astype(np.uint8), weights) == pytest.approx(7 / 8)
    assert np.isnan(metrics.energy_in_mask(maps * 0, truth, weights))
    inside, total = metrics.energy(maps, np.array([[[1.5, 1.0]], [[5.0, 3.0]]]), weights)
    assert inside.tolist() == [2, 3] and total.tolist() == [4, 4]
    for wrong in (weights + 1, -weights, weights * np.nan):
        with pytest.raises(ValueError, match="the truth is more than the weights"):
            metrics.energy_in_mask(maps, wrong, weights)


def test_lesions_by_hand():
    """Three true lesions: one found, one of which the lighter half is found, one missed; and one found in error."""
    truth = np.array([[1, 1, 0, 1, 1, 0, 1, 0, 0]], bool)
    found = np.array([[1, 1, 0, 1, 0, 0, 0, 0, 1]], bool)
    weights = np.array([[2.0, 2, 1, 1, 4, 1, 3, 1, 6]])
    result = metrics.lesions(found, truth, weights)
    assert result.values.tolist() == [4, 5, 3]
    assert result.shares.tolist() == pytest.approx([1, 0.2, 0])
    assert result.false_values.tolist() == [6]
    assert result.missed == 2
    assert result.f1 == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))


def test_a_lesion_that_is_found_too_large_is_false():
    """Three voxels of weight 1 of which one is true: the lesion is found, and what was found is mostly something
    else."""
    truth, found = np.array([[0, 1, 0]], bool), np.array([[1, 1, 1]], bool)
    result = metrics.lesions(found, truth, np.ones((1, 3)))
    assert result.missed == 0 and result.false_values.tolist() == [3]


@pytest.mark.parametrize(("tenths", "half"), [(4, 0), (5, 1), (6, 1)])
def test_half_of_a_lesion_is_enough_and_less_is_not(tenths, half):
    """Ten voxels of which so many are found, and of ten that are found so many are true."""
    ten, some = np.ones((1, 10), bool), np.arange(10)[None] < tenths
    result = metrics.lesions(some, ten, np.ones((1, 10)))
    assert result.missed == 1 - half and result.f1 == pytest.approx(half)
    assert len(metrics.lesions(ten, some, np.ones((1, 10))).false_values) == 1 - half


def test_lesions_touch_by_corners_in_every_direction():
    truth = np.zeros((3, 3, 3), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[2, 2, 2] = True
    assert len(metrics.lesions(truth, truth, np.ones(truth.shape)).values) == 1


def test_lesions_of_many_cases():
    one = metrics.lesions(np.array([[1, 0, 1]], bool), np.array([[1, 0, 0]], bool), np.ones((1, 3)))
    none = metrics.lesions(np.zeros((1, 3), bool), np.zeros((1, 3), bool), np.ones((1, 3)))
    assert metrics.together([one, none, one]).f1 == pytest.approx(2 / 3)
    assert np.isnan(none.f1) and np.isnan(metrics.together([]).f1)


def test_voxels_without_weight_are_no_lesion():
    mask = np.array([[1, 0, 1]], bool)
    assert metrics.lesions(mask, mask, np.array([[1.0, 0, 0]])).values.tolist() == [1]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        metrics.dice(np.ones((1, 2, 2), bool), np.ones((1, 2, 3), bool))


def test_one_mask_is_not_taken_for_as_many_cases_as_it_has_rows():
    mask = np.eye(6, dtype=bool)
    measures = [f for name, f in MEASURES.items() if name != "lesions"]
    for measure in [*measures, lambda maps, mask: metrics.energy(maps, mask, np.ones(mask.shape))]:
        with pytest.raises(ValueError, match=r"shape \(6, 6\) are not those of cases.* give one case as mask\[None\]"):
            measure(mask, mask)
        assert np.size(measure(mask[None], mask[None])) <= 2


@pytest.mark.parametrize("tolerance", [-1, np.nan])
def test_a_tolerance_is_a_distance(tolerance):
    with pytest.raises(ValueError, match="mm is no distance: give 0 or more"):
        metrics.surface_dice(line(1), line(1), (1, 1), tolerance_mm=tolerance)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_masks_of_which_numpy_hides_a_part_are_refused(measure):
    truth = np.random.default_rng(0).random((2, 5, 5)) < 0.4
    hidden = np.ma.array(truth, mask=truth)
    for pair in ((hidden, truth), (truth, hidden)):
        with pytest.raises(ValueError, match="numpy masks .* elements: leave those out"):
            measure(*pair)
