"""The voxel weight: one definition, additive, in the biomarker's own unit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import biomark as bm


def block(hu):
    image = np.full((30, 30), -1000.0, np.float32)
    image[5:25, 5:25] = hu
    return image


def test_area_by_hand():
    """20 x 20 pixels of 2 mm x 3 mm are 2400 mm2, 24 cm2."""
    image = block(-100.0)
    task = bm.TASKS["sfa"]
    assert task.measure(image, np.ones_like(image, bool), (2.0, 3.0)) == pytest.approx(24.0)
    assert task.weigh(image, (2.0, 3.0)).max() == pytest.approx(0.06)
    assert task.weigh(image, (2.0, 3.0)).dtype == np.float32


def test_fat_is_no_candidate_for_muscle():
    assert bm.TASKS["pma"].weigh(block(-100.0), (2, 2)).sum() == 0
    assert bm.TASKS["pma"].weigh(block(45.0), (2, 2)).sum() == pytest.approx(16)


def test_windows_are_those_of_the_book():
    assert bm.TASKS["pma"].hu_window == (-50, 90)
    assert bm.TASKS["sfa"].hu_window == (-200, 0)


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


@pytest.mark.parametrize("key", sorted(bm.TASKS))
def test_measured_truth_is_the_painted_area_within_partial_volume(key):
    """At 4 mm a rim pixel is in or out as a whole, and thin muscles are mostly rim; finer pixels come closer."""
    bounds = {"pma": (0.10, 0.05), "sfa": (0.06, 0.03)}[key]
    for size, bound in zip((96, 192), bounds, strict=True):
        cohort = bm.phantoms.draw(key, 12, seed=11, size=size)
        measured = np.array([cohort.task.measure(c.image, c.mask, c.spacing_mm) for c in cohort])
        assert np.mean(np.abs(measured - cohort.values)) < bound * cohort.values.mean()


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


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        bm.TASKS["sfa"].measure(block(0.0), np.ones((3, 3), bool), (1, 1))


def test_a_task_of_ones_own():
    water = dataclasses.replace(
        bm.TASKS["sfa"], key="water", hu_window=(-10, 10), region=lambda image, spacing: image > -500
    )
    assert water.weigh(block(0.0), (1, 1)).sum() == pytest.approx(4)
