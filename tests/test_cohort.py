"""Cohorts: indexing, splitting, and what does not belong together."""

import dataclasses

import numpy as np
import pytest

import biomark as bm


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("pma", 10, seed=1, size=48)


def test_a_case_is_a_row(cohort):
    case = cohort[3]
    np.testing.assert_array_equal(case.image, cohort.images[3])
    assert case.value == cohort.values[3] and case.id == cohort.ids[3]
    assert case.spacing_mm == tuple(cohort.spacing_mm[3])


def test_slices_and_lists_make_cohorts(cohort):
    assert [c.id for c in cohort[2:4]] == list(cohort.ids[2:4])
    assert cohort[[4, 1]].ids == (cohort.ids[4], cohort.ids[1])
    assert len(cohort[cohort.values > np.median(cohort.values)]) == 5


def test_split_keeps_every_case_once_and_repeats(cohort):
    a, b = cohort.split(0.7, seed=3)
    assert (len(a), len(b)) == (7, 3)
    assert sorted(a.ids + b.ids) == sorted(cohort.ids)
    assert cohort.split(0.7, seed=3)[0].ids == a.ids
    assert cohort.split(0.7, seed=4)[0].ids != a.ids


def test_an_empty_side_is_refused(cohort):
    with pytest.raises(ValueError, match="one side empty"):
        cohort.split(0.01)


def test_without_masks(cohort):
    assert cohort.without_masks().masks is None
    assert cohort.without_masks()[0].mask is None
    assert "without masks" in repr(cohort.without_masks())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.ones(3)}, "do not belong together"),
        ({"masks": np.ones((10, 2, 2), bool)}, "masks have shape"),
        ({"spacing_mm": np.ones((10, 3))}, "10 spacings"),
        ({"values": np.r_[np.ones(9), np.nan]}, "no finite value"),
    ],
)
def test_what_does_not_belong_together_is_refused(cohort, change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(cohort, **change)
