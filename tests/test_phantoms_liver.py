"""The liver phantom: what is counted is tumour and nothing else, and what resembles it is there."""

import numpy as np
import pytest

import biomark as bm
from biomark.phantoms import PARTS, Canvas, liver

N = 120


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("liver", N, seed=5)


@pytest.fixture(scope="module")
def livers():
    return bm.phantoms.liver_masks(N, seed=5)


def test_tumours_lie_in_the_liver(cohort, livers):
    assert not (cohort.masks & ~livers).any()
    share = livers.sum((1, 2)) * np.prod(cohort.spacing_mm, axis=1) / 100
    assert 60 < np.median(share) < 220  # cm2 of liver in a slice


def test_a_third_has_no_tumour_and_areas_are_skewed(cohort):
    assert 0.2 < np.mean(cohort.values == 0) < 0.5
    some = cohort.values[cohort.values > 0]
    assert 2 < np.median(some) < 12 and some.max() > 4 * np.median(some) and some.mean() > 1.2 * np.median(some)
    assert not cohort.masks[cohort.values == 0].any()


def test_the_mask_has_the_area(cohort):
    areas = cohort.masks.sum((1, 2)) * np.prod(cohort.spacing_mm, axis=1) / 100
    np.testing.assert_allclose(areas.sum(), cohort.values.sum(), rtol=0.03)


def test_tumours_are_darker_than_the_liver_by_little_or_much(cohort, livers):
    contrast = [
        np.median(c.image[inside & ~c.mask]) - np.median(c.image[c.mask])
        for c, inside in zip(cohort, livers, strict=True)
        if c.value > 3
    ]
    assert min(contrast) > 0
    assert np.mean(np.array(contrast) < 20) > 0.04
    assert 25 < np.median(contrast) < 50


def test_candidates_hold_the_tumours_and_thirty_times_more(cohort, livers):
    held = np.sum(cohort.weights, where=cohort.masks) / cohort.values.sum()
    assert held > 0.93
    assert cohort.weights.sum() > 15 * cohort.values.sum()
    narrowed = cohort.within(livers)
    assert np.sum(narrowed.weights, where=cohort.masks) == pytest.approx(np.sum(cohort.weights, where=cohort.masks))
    assert narrowed.weights.sum() < 0.5 * cohort.weights.sum()


def test_cysts_and_bright_rims_do_not_count():
    """Whatever is drawn in the liver, only tumour pixels carry the part number, and all of them are tumour-coloured."""
    for i in range(25):
        rng = np.random.default_rng([9, i])
        canvas = Canvas(96, 400.0)
        inside = np.hypot(canvas.x, canvas.y) < 90
        canvas.paint(inside, 110.0)
        liver._paint_mimics(canvas, rng, inside, 110.0)
        assert not canvas.part.any()
        liver._paint_tumours(canvas, rng, inside, 110.0)
        counted = canvas.hu[canvas.part == PARTS["liver"]]
        assert counted.size == 0 or (counted.max() < 110 and counted.min() >= 18)


def test_a_blob_without_roughness_is_a_disc():
    canvas = Canvas(100, 200.0)
    window, depth = liver._draw_blob(canvas, np.random.default_rng(0), 10.0, -20.0, 30.0, 0.0)
    canvas.paint(depth > 0, 50.0, 1, window)
    assert canvas.coverage(1).sum() * 4 == pytest.approx(np.pi * 30**2, rel=5e-3)
