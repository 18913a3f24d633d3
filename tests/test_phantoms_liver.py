"""The liver phantom: what is counted is tumour and nothing else, and what resembles it is there."""

import numpy as np
import pytest
from scipy import ndimage

from biomark.phantoms.body import PARTS
from biomark.phantoms.canvas import Canvas
from biomark.phantoms.liver import _draw_blob, _paint_mimics, _paint_tumours, draw_slice

N, SIZE = 100, 256


@pytest.fixture(scope="module")
def slices():
    """Image in HU, tumour, organ and pixel area in cm2 of each slice."""
    drawn = (draw_slice(np.random.default_rng([5, i]), SIZE) for i in range(N))
    return [(image, parts["liver"], parts["organ"], mm**2 / 100) for image, parts, mm in drawn]


@pytest.fixture(scope="module")
def areas_cm2(slices):
    return np.array([tumour.sum() * pixel_cm2 for _, tumour, _, pixel_cm2 in slices])


def test_a_pixel_is_tumour_or_not():
    """Without sub-pixels, the outline is that of the measuring grid, as a reader draws it."""
    image, parts, mm = draw_slice(np.random.default_rng([5, 1]))
    assert image.shape == (384, 384) and image.dtype == np.float32
    assert 280 / 384 <= mm <= 500 / 384
    assert all(part.shape == image.shape and part.dtype == bool for part in parts.values())


def test_a_slice_follows_from_its_generator():
    first, second = (draw_slice(np.random.default_rng([5, 1]), 96) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1]["liver"], second[1]["liver"])


def test_a_finer_grid_shows_the_same_patient():
    for i in range(4):
        areas = []
        for size in (192, 384):
            _, parts, mm = draw_slice(np.random.default_rng([5, i]), size)
            areas.append(parts["organ"].sum() * mm**2 / 100)
        assert areas[0] == pytest.approx(areas[1], rel=0.03)


def test_tumours_lie_in_the_liver(slices):
    assert not any((tumour & ~organ).any() for _, tumour, organ, _ in slices)
    assert 60 < np.median([organ.sum() * pixel_cm2 for _, _, organ, pixel_cm2 in slices]) < 220


def test_a_third_has_no_tumour_and_areas_are_skewed(areas_cm2):
    assert 0.2 < np.mean(areas_cm2 == 0) < 0.5
    some = areas_cm2[areas_cm2 > 0]
    assert 2 < np.median(some) < 12
    assert some.max() > 4 * np.median(some) and some.mean() > 1.2 * np.median(some)


def test_tumours_are_darker_than_the_liver_by_little_or_much(slices, areas_cm2):
    contrast = np.array(
        [
            np.median(image[organ & ~tumour]) - np.median(image[tumour])
            for (image, tumour, organ, _), area in zip(slices, areas_cm2, strict=True)
            if area > 3
        ]
    )
    assert contrast.min() > 0
    assert np.mean(contrast < 20) > 0.04
    assert 25 < np.median(contrast) < 50


def test_every_tumour_can_be_seen(slices):
    """Averaged over its own area a tumour stands out of the noise, else a network is asked for what is not there."""
    seen = []
    for image, tumour, organ, _ in slices:
        around = organ & ~ndimage.binary_dilation(tumour, iterations=3)
        labels, count = ndimage.label(tumour)
        for k in range(1, count + 1) if around.sum() > 500 else ():
            # Noise of the mean of a box of 3 x 3 pixels, the scale at which noise and texture hide a small thing.
            noise = ndimage.uniform_filter(image, 3)[around]
            noise = 1.48 * np.median(np.abs(noise - np.median(noise)))
            seen.append((np.median(image[around]) - image[labels == k].mean()) / noise)
    assert np.quantile(seen, 0.1) > 1 and np.median(seen) > 3


def test_cysts_and_bright_rims_do_not_count():
    """Whatever is drawn in the liver, only tumour pixels carry the part number, and all of them are tumour-coloured."""
    for i in range(25):
        rng = np.random.default_rng([9, i])
        canvas = Canvas(288, 400.0)
        inside = np.hypot(canvas.x, canvas.y) < 90
        canvas.paint(inside, 110.0)
        _paint_mimics(canvas, rng, inside, 110.0)
        assert not canvas.part.any()
        _paint_tumours(canvas, rng, inside, 110.0)
        counted = canvas.hu[canvas.part == PARTS["liver"]]
        assert counted.size == 0 or (counted.max() < 110 and counted.min() >= 18)


def test_a_blob_without_roughness_is_a_disc():
    canvas = Canvas(300, 200.0)
    window, depth = _draw_blob(canvas, np.random.default_rng(0), 10.0, -20.0, 30.0, 0.0)
    canvas.paint(depth > 0, 50.0, 1, window)
    assert (canvas.part == 1).sum() * canvas.step_mm**2 == pytest.approx(np.pi * 30**2, rel=5e-3)
