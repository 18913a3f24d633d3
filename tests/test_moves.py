"""Moves keep the number, keep image and weights in register, and depend on the case alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import biomark as bm
from biomark.machine.moves import AIR_HU, KEPT, Moves, moved

CPU = torch.device("cpu")


def asymmetric(shape, seed=0):
    """A smooth thing without any symmetry, in air, far enough from the rim to be moved."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    middle = [np.clip(1.6 - np.abs(np.linspace(-2.2, 2.2, n)), 0, 1) for n in shape[-2:]]
    field = field / field.std() * np.outer(*middle)
    return torch.as_tensor(np.where(np.outer(*middle) > 0, 40 + 60 * field, AIR_HU), dtype=torch.float32)


def of(mirror=0.0, turn=0.0, z=0.0, y=0.0, x=0.0):
    return torch.tensor([[mirror, turn, z, y, x]], dtype=torch.float32)


def weights_of(image):
    return torch.where(image > AIR_HU + 1, (image - AIR_HU) / 1000, 0.0)


@pytest.mark.parametrize("shape", [(40, 56), (56, 40), (5, 40, 56)])
@pytest.mark.parametrize("move", [of(1), of(y=0.1, x=-0.15), of(1, x=0.1), of(turn=0.2), of(1, -0.25, 0, 0.05, 0.1)])
def test_weights_and_image_stay_in_register(shape, move):
    image = asymmetric(shape)[None]
    weights = weights_of(image)
    image_2, weights_2 = moved(move, image, weights)
    assert not torch.equal(image_2, image)
    assert weights_2.sum().item() == pytest.approx(weights.sum().item(), rel=1e-5)
    factor = weights_2.sum() / weights_of(image_2).sum()
    torch.testing.assert_close(weights_2, factor * weights_of(image_2), atol=2e-3, rtol=1e-3)
    assert factor.item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(40, 56), (6, 40, 56)])
def test_moves_are_those_of_scipy(shape):
    """A mirror, then a turn about the middle in millimetres, then a shift: also in pictures that are not square."""
    image, turn, (y, x) = asymmetric(shape, 1), 0.22, (-0.08, 0.13)
    found = moved(of(1, turn, 0, y, x), image[None], weights_of(image)[None])[0][0].numpy()
    high, wide = shape[-2:]
    middle, (sin, cos) = np.array([high - 1, wide - 1]) / 2, (np.sin(turn), np.cos(turn))
    back = np.array([[cos, -sin], [-sin, -cos]])  # from a row and a column of the new picture to the old one
    offset = middle + (y * high / 2, x * wide / 2) - back @ middle
    planes = image.numpy().reshape(-1, high, wide)
    expected = [ndimage.affine_transform(p, back, offset, order=1, mode="nearest") for p in planes]
    np.testing.assert_allclose(found, np.reshape(expected, shape), atol=0.5)


def test_volumes_move_by_whole_slices():
    image = torch.stack([asymmetric((40, 40), seed) for seed in range(8)])
    image[:3] = image[5:] = AIR_HU
    weights = weights_of(image)
    for shift, slices in ((0.3, 1), (0.1, 0), (-0.45, -2), (0.6, 2)):
        found, weights_2 = moved(of(z=shift), image[None], weights[None])
        for i in range(2, 6):
            torch.testing.assert_close(found[0, i - slices], image[i], atol=0.05, rtol=1e-4)
            torch.testing.assert_close(weights_2[0, i - slices], weights[i], atol=1e-4, rtol=1e-4)
    # By four, its last slice would be lost: it goes by three, mirrored, in either direction.
    for shift, slices in ((-0.9, -3), (0.9, 3)):
        found, weights_2 = moved(of(1, z=shift), image[None], weights[None])
        torch.testing.assert_close(found[0], image.flip(-1).roll(-slices, 0), atol=0.05, rtol=1e-4)
        torch.testing.assert_close(weights_2[0], weights.flip(-1).roll(-slices, 0), atol=1e-4, rtol=1e-4)


def test_what_is_not_turned_moves_by_whole_voxels():
    """Interpolation would blur calcium, which is two boxes wide."""
    image = torch.full((1, 20, 20), AIR_HU)
    image[0, 9:11, 9] = 500.0
    found, weights = moved(of(x=-0.13, y=0.27), image, weights_of(image))
    assert (found - image.roll((-3, 1), (1, 2))).abs().max() < 0.1
    assert (weights - weights_of(image).roll((-3, 1), (1, 2))).abs().max() < 1e-3


def test_a_shift_goes_as_far_as_the_candidates_leave_room():
    """Two columns are free on the left and 15 on the right, 8 rows on either side; a pixel is a shift of .1."""
    image, weights = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 20, 20)
    weights[0, 8:12, 2:5] = 1.0
    for asked, by in ((0.1, 1), (0.2, 2), (0.5, 2), (-0.5, -5), (-2.0, -15)):
        assert_rolled(moved(of(x=asked), image, weights)[1], weights, (0, -by))
        # The limit is of the columns of the old picture, whichever way they go in a mirror image.
        assert_rolled(moved(of(1, x=asked), image, weights)[1], weights.flip(-1), (0, by))
    for asked, by in ((0.3, 3), (1.0, 8), (-1.0, -8)):
        assert_rolled(moved(of(y=asked), image, weights)[1], weights, (-by, 0))
    weights[0, 10, 0] = 1.0  # a candidate at the edge itself, of 13: there is no room at all
    found, weights_2 = moved(of(x=0.2), image, weights)
    torch.testing.assert_close(found, image, atol=1e-4, rtol=0)
    assert_rolled(weights_2, weights, (0, 0))
    nothing = moved(of(x=0.2), image, 0 * weights)
    assert torch.equal(nothing[0], image) and not nothing[1].any()


def assert_rolled(found, weights, by):
    torch.testing.assert_close(found, weights.roll(by, (1, 2)), atol=1e-4, rtol=0)
    assert found.sum().item() == pytest.approx(weights.sum().item(), rel=1e-6)


def test_around_a_slice_is_air_and_a_volume_goes_on():
    """A volume is cut out of a body: its last planes are repeated, and have no weight there."""
    image = torch.arange(20.0).expand(20, 20) + 40
    weights = torch.zeros(20, 20)
    weights[8:12, 2:5] = 1.0
    found, _ = moved(of(x=-0.2, y=0.1), image[None], weights[None])
    assert (found[0, :, :2] == AIR_HU).all() and (found[0, -1:] == AIR_HU).all()
    torch.testing.assert_close(found[0, :-1, 2:], image[1:, :-2], atol=1e-3, rtol=0)
    volume, around = torch.stack([image + 100 * k for k in range(6)]), torch.zeros(6, 20, 20)
    around[2:4] = weights
    found, weights_2 = moved(of(x=-0.2, z=-0.4), volume[None], around[None])  # a slice and two columns on
    assert not weights_2[0, 0].any() and not weights_2[0, :, :, :2].any()
    torch.testing.assert_close(found[0, 1:, :, 2:], volume[:-1, :, :-2], atol=1e-2, rtol=0)
    torch.testing.assert_close(found[0, 0], found[0, 1], atol=1e-2, rtol=0)
    torch.testing.assert_close(found[0, :, :, :2], found[0, :, :, 2:3].expand(-1, -1, 2), atol=1e-2, rtol=0)


def test_a_turn_that_loses_too_much_is_given_up():
    """No limit is set to turns: mirrored at most, and not shifted either."""
    image, weights = asymmetric((20, 20))[None], torch.zeros(1, 20, 20)
    weights[0, :4, :4] = 1.0  # a corner lies .7 sides from the middle, and no side of a turned picture that far
    for mirror in (0.0, 1.0):
        found = moved(of(mirror, np.pi / 4, x=-0.05), image, weights)
        plain = [a.flip(-1) if mirror else a for a in (image, weights)]
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
    weights = torch.zeros(1, 20, 20)
    weights[0, 6:10, 6:10] = 1.0
    found = moved(of(0, np.pi / 4, x=-0.05), image, weights)[1]
    assert not torch.allclose(found, weights, atol=0.1) and found.sum().item() == pytest.approx(16, rel=1e-6)


def test_the_share_that_may_leave_is_small():
    """Half a per cent along each axis of a slice, which together are the one per cent that moves may lose."""
    image, weights = torch.zeros(1, 20, 20), torch.zeros(1, 20, 20)
    weights[0, :, 10:] = 1.0
    half = 1 - (1 - KEPT) / 2
    weights[0, 10, 0] = 200 * (1 / half - 1) * 1.01  # just too much
    assert_rolled(moved(of(x=0.1), image, weights)[1], weights, (0, 0))
    weights[0, 10, 0] *= 0.97
    found = moved(of(x=0.1), image, weights)[1]
    weights[0, 10, 0] = 0.0
    torch.testing.assert_close(found / found.sum(), weights.roll(-1, 2) / 200, atol=1e-6, rtol=0)
    assert found.sum().item() == pytest.approx(200 / half, rel=1e-3), "what is left makes up for what is lost"


def test_truth_moves_with_the_weights():
    image = asymmetric((40, 56))[None]
    weights = weights_of(image)
    truth = weights * (torch.arange(56) > 28)
    for move in (of(1), of(1, 0.2, 0, 0.05, 0.1)):
        images, weights_2, truth_2 = moved(move, image, weights, truth)
        assert truth_2.sum().item() == pytest.approx(truth.sum().item(), rel=0.01)
        assert (truth_2 <= weights_2 + 1e-5).all()
        assert all(torch.equal(a, b) for a, b in zip(moved(move, image, weights), (images, weights_2), strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9), st.integers(0, 9))
def test_a_move_depends_on_seed_epoch_and_case_alone(few, many, seed, epoch):
    moves, few, many = Moves(True, 0.12, 15.0), *sorted((few, many))
    assert torch.equal(moves.draw(few, [seed, epoch, 1], CPU), moves.draw(many, [seed, epoch, 1], CPU)[:few])
    assert not torch.equal(moves.draw(many, [seed, epoch, 1], CPU), moves.draw(many, [seed, epoch + 1, 1], CPU))


def test_moves_are_as_large_as_they_may_be():
    drawn = Moves(True, 0.12, 15.0).draw(4000, [0], CPU)
    assert set(drawn[:, 0].tolist()) == {0, 1} and drawn[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert drawn[:, 1].abs().max() == pytest.approx(np.radians(15), rel=0.01)
    assert drawn[:, 2:].abs().amax(0).tolist() == pytest.approx([0.12] * 3, rel=0.01)
    np.testing.assert_allclose(drawn[:, 1:].mean(0), 0, atol=0.01)
    assert (
        not Moves().draw(50, [0], CPU).any() and not Moves() and Moves(turn_deg=1) and Moves(True) and Moves(shift=0.1)
    )
    assert not Moves(False, 0.1, 5).draw(50, [0], CPU)[:, 0].any()


@pytest.mark.parametrize("shape", [(30, 44), (4, 30, 44)])
def test_no_case_knows_of_the_others_in_its_batch(shape):
    images = torch.stack([asymmetric(shape, seed) for seed in range(5)])
    weights, moves = weights_of(images), Moves(True, 0.12, 15.0).draw(5, [3], CPU)
    together = moved(moves, images, weights)
    for rows in ([0], [4, 2], [1, 3, 0]):
        alone = moved(moves[rows], images[rows], weights[rows])
        assert all(torch.equal(a[rows], b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(("key", "size"), [("pma", 96), ("sfa", 96), ("liver", 64), ("cac", 80)])
def test_a_moved_phantom_has_its_number_and_looks_like_a_patient(key, size):
    cohort = bm.phantoms.draw(key, 6, seed=160, size=size, workers=1)
    moves = cohort.task.moves.draw(6, [1, 2, 1], CPU)
    images, weights, truth = (torch.as_tensor(a) for a in (cohort.images, cohort.weights, cohort.truth))
    images_2, weights_2, truth_2 = moved(moves, images, weights, truth)
    changed = [i for i in range(6) if not torch.equal(images[i], images_2[i])]
    assert len(changed) >= 2  # of a heart, bones often reach the edge of the box
    torch.testing.assert_close(weights_2.flatten(1).sum(1), weights.flatten(1).sum(1), rtol=1e-5, atol=1e-4)
    values = torch.as_tensor(cohort.values).float()
    np.testing.assert_allclose(truth_2.flatten(1).sum(1), values, rtol=0.03, atol=0.05)
    near = 0.01 if cohort.task.ndim == 3 else 0.12  # turned, candidates mix with what lies beside them
    for i in changed:
        if weights[i].count_nonzero() > 50:
            mean, mean_2 = ((a * w).sum() / w.sum() for a, w in ((images[i], weights[i]), (images_2[i], weights_2[i])))
            assert mean_2.item() == pytest.approx(mean.item(), abs=near * (mean.abs().item() + 100))
