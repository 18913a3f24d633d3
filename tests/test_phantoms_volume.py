"""The box on which hearts are painted: millimetres in, Hounsfield units out, and a scanner that is linear."""

import numpy as np
import pytest

from biomark.phantoms.volume import Bar, Cloud, Ellipsoid, Scanner, Tube, Volume, union


@pytest.mark.parametrize("turn", [0.0, 8.0])
def test_points_fill_their_volume(turn):
    volume = Volume((20, 40, 40), (3.0, 1.5, 1.5), turn)
    volume.hu[:] = 0
    ticks = np.arange(-8, 8, 0.5) + 0.25
    points = np.stack([g.ravel() for g in np.meshgrid(ticks, ticks, ticks)], 1)
    points = points[(points**2).sum(1) < 36] + (3, -5, 6)
    change = volume.sprinkle([Cloud(points, 0.125, 100.0)])
    np.testing.assert_array_equal(change, volume.hu)
    assert change.sum(dtype=float) * 3 * 1.5**2 / 100 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)
    centre = [(change * a).sum() / change.sum() for a in (volume.x, volume.y, volume.z)]
    np.testing.assert_allclose(centre, (3, -5, 6), atol=0.1)


def test_crowded_points_fill_a_voxel_once():
    volume = Volume((1, 1, 1), (1.0, 1.0, 1.0))
    volume.sprinkle([Cloud(np.zeros((4, 3)), 0.5, 100.0), Cloud(np.zeros((2, 3)), 1.0, 300.0)])
    assert volume.hu[0, 0, 0] == pytest.approx(200)


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid(np.array([5.0, -8, 3]), np.array([14.0, 6, 9]), np.linalg.qr(np.arange(9).reshape(3, 3) ** 2)[0]),
        Bar(np.array([-10.0, 0, -12]), np.array([14.0, 9, 10]), 4.0),
        Tube(np.array([(-12, 4, 4, -5), (-10, 4, 4, 6), (15, -9, 6, 8)], float)),
    ],
)
def test_a_shape_painted_near_it_is_the_shape_painted_everywhere(shape):
    near, everywhere = (Volume((24, 50, 50), (2.5, 1.2, 1.2), 7.0) for _ in range(2))
    near.fill(shape, 50.0, grow_mm=1.0)
    everywhere.paint(shape.distance(everywhere.x, everywhere.y, everywhere.z) - 1, 50.0)
    if isinstance(shape, Tube):  # it ends where its knots do
        everywhere.hu[everywhere.z[:, 0, 0] > 15] = near.hu[everywhere.z[:, 0, 0] > 15]
    np.testing.assert_array_equal(near.hu, everywhere.hu)


def test_ellipsoid_has_its_volume():
    volume = Volume((50, 60, 60), (1.0, 1.0, 1.0))
    volume.paint(Ellipsoid(np.zeros(3), np.array([20.0, 12, 15]), np.eye(3)).distance(volume.x, volume.y, volume.z), 0)
    assert (volume.hu + 1000).sum(dtype=float) / 1000 == pytest.approx(4 / 3 * np.pi * 20 * 12 * 15, rel=0.01)


def test_a_union_fills_the_crease():
    a, b = np.array([2.0, 1.0]), np.array([20.0, 1.0])
    found = union([a, b], 3.0)
    assert found[0] == pytest.approx(2, abs=0.01) and found[1] == pytest.approx(1 - 3 * np.log(2), abs=1e-5)


def test_the_image_of_a_sum_is_the_sum_of_the_images():
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 100, (2, 8, 20, 20)).astype(np.float32)
    scanner = Scanner((1.0, 0.8, 0.8), 0.1, 20.0, (0.3, 0.6, 0.6), 4.0)
    image = [scanner.resolve(a, (3.0, 1.8, 1.8)) for a in (one, other, one + other)]
    np.testing.assert_allclose(image[0] + image[1], image[2], atol=1e-3)
    noise = scanner.noise(rng, (16, 40, 40))
    assert noise.std() == pytest.approx(20, rel=0.1)
