"""Boxes of voxels: every voxel in one box, sums and means by a plain loop, and the mask of a value to one voxel."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biomark.grids import NEAR, Boxes, highest

EXAMPLES = settings(max_examples=150, deadline=None)


@st.composite
def boxes(draw, most=3):
    """Boxes of any size that begin anywhere, over, beside or far from an image, also one smaller than a box."""
    ndim = draw(st.integers(1, most))
    shape = draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim))
    voxels = draw(st.lists(st.one_of(st.integers(1, 4), st.floats(1, 4.5)), min_size=ndim, max_size=ndim))
    image_shape = draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim))
    starts = draw(st.lists(st.integers(-7, 9), min_size=ndim, max_size=ndim))
    return Boxes(shape, voxels, image_shape, starts)


def members(one):
    """By a plain loop: the voxels of each box, those whose centre it holds."""
    found = {place: [] for place in np.ndindex(*one.shape)}
    for voxel in np.ndindex(*one.image_shape):
        place = tuple(
            int(np.floor((i + 0.5 - start) / side + 1e-9))
            for i, start, side in zip(voxel, one.starts, one.voxels, strict=True)
        )
        if place in found:
            found[place].append(voxel)
    return found


def numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@EXAMPLES
@given(boxes())
def test_sums_and_means_are_those_of_a_loop(one):
    image = numbers(one.image_shape)
    sums, means, spread = (
        one.sums(image),
        one.means(image, -7),
        one.spread(np.arange(np.prod(one.shape)).reshape(one.shape) + 1),
    )
    assert sums.shape == means.shape == one.shape and sums.dtype == means.dtype == np.float32
    count = np.zeros(one.image_shape, int)
    for number, (place, voxels) in enumerate(members(one).items(), start=1):
        inside = [float(image[voxel]) for voxel in voxels]
        assert sums[place] == pytest.approx(sum(inside), rel=1e-5, abs=1e-5)
        assert means[place] == (pytest.approx(np.mean(inside), rel=1e-5, abs=1e-5) if inside else -7)
        for voxel in voxels:
            count[voxel] += 1
            assert spread[voxel] == number
    assert count.max() <= 1
    assert (spread[count == 0] == 0).all()


@EXAMPLES
@given(boxes())
def test_a_map_weighs_as_much_in_boxes_as_in_voxels(one):
    """``spread`` is the transpose of ``sums``: the value is the same on both grids."""
    maps, weights = np.abs(numbers(one.shape, 1)), np.abs(numbers(one.image_shape, 2))
    in_voxels = (one.spread(maps).astype(float) * weights).sum()
    assert (maps.astype(float) * one.sums(weights)).sum() == pytest.approx(in_voxels, rel=1e-5, abs=1e-6)


@EXAMPLES
@given(boxes(), st.floats(-1000, 1000, width=32))
def test_a_constant_image_is_constant_in_boxes(one, hu):
    means = one.means(np.full(one.image_shape, hu, np.float32), outside=hu)
    np.testing.assert_allclose(means, hu, rtol=1e-6)
    np.testing.assert_allclose(one.interpolate(np.full(one.shape, hu, np.float32)), hu, rtol=1e-5)


@EXAMPLES
@given(boxes(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_interpolation_is_exact_for_ramps_and_constant_at_the_rim(one, slopes):
    at = np.meshgrid(*(np.arange(n) + 0.5 for n in one.shape), indexing="ij")
    ramp = sum(slope * x for slope, x in zip(slopes, at, strict=False))
    # Beyond the centres of the outermost boxes nothing is known, and nothing more is said.
    places = [
        np.clip((np.arange(n) + 0.5 - start) / side, 0.5, boxes - 0.5)
        for n, start, side, boxes in zip(one.image_shape, one.starts, one.voxels, one.shape, strict=True)
    ]
    expected = sum(slope * x for slope, x in zip(slopes, np.meshgrid(*places, indexing="ij"), strict=False))
    np.testing.assert_allclose(one.interpolate(ramp), expected, atol=1e-4)


SIDES = st.floats(0.2, 6)


@EXAMPLES
@given(st.lists(st.tuples(st.integers(1, 60), SIDES, SIDES), min_size=1, max_size=3))
def test_boxes_over_an_image_hold_every_voxel_and_none_is_empty(axes):
    shape, spacing, asked = zip(*axes, strict=True)
    one = Boxes.over(shape, spacing, asked)
    assert one.sums(np.ones(shape)).sum() == np.prod(shape)
    assert one.sums(np.ones(shape)).min() >= 1
    for own, side, voxels in zip(spacing, asked, one.voxels, strict=True):
        assert voxels >= 1, "never thinner than a voxel"
        wanted = max(side / own, 1)
        assert 1 / NEAR <= voxels / wanted <= NEAR and (voxels == round(voxels) or voxels == pytest.approx(wanted))
    np.testing.assert_allclose(one.spacing_mm(spacing), np.multiply(one.voxels, spacing))


def test_thick_slices_are_boxes_of_one_slice():
    assert Boxes.over((30, 512, 512), (5.0, 0.7, 0.7), (2.5, 1.0, 1.8)).voxels == (1.0, 1.0 / 0.7, 3.0)
    assert Boxes.over((90, 512, 512), (1.25, 0.7, 0.7), (2.5, 2.1, 2.1)).voxels == (2.0, 3.0, 3.0)


def test_boxes_of_one_voxel_are_the_image():
    image = numbers((5, 7))
    one = Boxes.over(image.shape, (3.0, 3.0), (3.0, 3.0))
    for array in (one.means(image, 0), one.sums(image), one.spread(image), one.interpolate(image)):
        np.testing.assert_allclose(array, image, rtol=1e-6)


@pytest.mark.parametrize("given_", [((3,), (0.9,), (9,)), ((3, 3), (1,), (9, 9)), ((3,), (1,), (9,), (0, 0))])
def test_what_are_no_boxes(given_):
    with pytest.raises(ValueError, match="boxes hold one voxel or more along each axis"):
        Boxes(*given_)


@st.composite
def memberships(draw):
    shape = draw(st.sampled_from([(4, 5), (3, 3, 4), (7,)]))
    n = int(np.prod(shape))
    levels = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.5, 1.0]))
    membership = np.array(draw(st.lists(levels, min_size=n, max_size=n)), np.float32).reshape(shape)
    weights = np.array(draw(st.lists(st.sampled_from([0, 0, 0.25, 1, 3]), min_size=n, max_size=n)), np.float32)
    return membership, weights.reshape(shape)


@EXAMPLES
@given(memberships(), st.lists(st.floats(0, 40), min_size=2, max_size=4))
def test_the_mask_of_a_value_has_the_value_to_one_voxel_and_grows_with_it(case, values):
    membership, weights = case
    before = np.zeros(weights.shape, bool)
    for value in sorted(values):
        mask = highest(membership, weights, value)
        assert not mask[weights == 0].any()
        assert not (before & ~mask).any(), "nested"
        off = abs(float(weights[mask].sum()) - value)
        assert off <= weights.max() / 2 + 1e-5 or (value > weights.sum() and (mask == (weights > 0)).all())
        left = (weights > 0) & ~mask
        if mask.any() and left.any():
            assert membership[mask].min() >= membership[left].max()
        before = mask


def test_the_mask_by_hand():
    membership, weights = np.array([0.9, 0.1, 0.8, 0.7, 1.0]), np.array([2.0, 2.0, 2.0, 2.0, 0.0])
    sums = [(0.0, 0), (0.9, 0), (1.1, 1), (2.9, 1), (3.1, 2), (100.0, 4)]
    for value, count in sums:
        order = [0, 2, 3, 1][:count]
        assert np.flatnonzero(highest(membership, weights, value)).tolist() == sorted(order)


def test_every_order_of_voxels_in_memory_is_the_same_mask():
    membership, weights = np.abs(numbers((6, 7), 3)), np.abs(numbers((6, 7), 4))
    plain = highest(membership, weights, 5.0)
    for a, b in itertools.product((np.asarray, np.asfortranarray), repeat=2):
        np.testing.assert_array_equal(highest(a(membership), b(weights), 5.0), plain)
