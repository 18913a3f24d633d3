"""Arrays on disk behave as arrays, are read only where they are indexed, and train to the same bits."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.machine.disk_arrays import Batches, DiskArray, Rows, on_device, parts


class Counted:
    """Rows that count how often each was read."""

    def __init__(self, array):
        self.array, self.reads = array, np.zeros(len(array), int)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, i):
        self.reads[i] += 1
        return self.array[i]


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(9, 4, 5)).astype(np.float32)


INDICES = [3, -1, slice(2, 7, 2), [4, 0, 4], (slice(1, 3), None), (2, 1), (slice(0, 2), 3, 1)]
# What stands for all axes between, and numbers that go in pairs with numbers of rows.
INDICES += [..., (..., 2), (..., 1, 2), (..., 1, 2, 3), (2, ..., 1), ([4, 0], [1, 3]), ([4, 0], [1, 3], [2, 2])]
INDICES += [([4, 0], slice(None), 1), (np.arange(9) > 4, 1), (np.arange(9) > 6, [1, 2])]


@pytest.mark.parametrize("index", INDICES)
def test_indexing_gives_what_an_array_gives(array, index):
    found = DiskArray(array)[index]
    assert type(found) in (np.ndarray, np.float32)
    np.testing.assert_array_equal(found, array[index])


def test_other_uses_are_those_of_an_array(array):
    rows = DiskArray(array, np.array([5, 1, 1]))
    plain = array[[5, 1, 1]]
    assert (rows.shape, rows.ndim, rows.dtype, len(rows), rows.nbytes) == (plain.shape, 3, np.float32, 3, plain.nbytes)
    np.testing.assert_array_equal(np.asarray(rows), plain)
    np.testing.assert_array_equal(rows > 0, plain > 0)
    np.testing.assert_array_equal(2 * rows - rows, plain)
    np.testing.assert_array_equal(np.stack(list(rows)), plain)
    np.testing.assert_array_equal(np.concatenate(list(parts(rows))), plain)
    assert np.sum(plain, where=rows > 0) == np.sum(plain, where=plain > 0) == np.sum(rows, where=rows > 0)
    assert np.sum(plain, where=DiskArray(plain > 0)) == np.sum(plain, where=plain > 0)
    with pytest.raises(AttributeError):
        rows.mean()  # would read all of it without a word
    for twin in (copy.copy(rows), pickle.loads(pickle.dumps(rows))):
        np.testing.assert_array_equal(twin[:], plain)


def test_only_what_is_asked_for_is_read(array):
    source = Counted(array)
    rows = DiskArray(DiskArray(source), np.array([8, 2, 5]))
    source.reads[:] = 0  # one row is looked at for its shape
    assert rows.shape == (3, 4, 5) and "on disk" in repr(rows)
    assert source.reads.sum() == 0
    np.testing.assert_array_equal(rows[1:], array[[2, 5]])
    assert list(np.flatnonzero(source.reads)) == [2, 5]


@pytest.fixture
def on_disk(tmp_path):
    """A cohort in memory, and the same with its arrays in files."""
    cohort = bm.phantoms.draw("sfa", 10, seed=1, size=32)
    for name in ("images", "weights", "truth"):
        np.save(tmp_path / name, getattr(cohort, name))
    files = {n: np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("images", "weights", "truth")}
    return cohort, dataclasses.replace(cohort, **files)


def test_parts_of_a_cohort_on_disk_stay_there(on_disk):
    plain, cohort = on_disk
    for part, same in zip((*cohort.split(0.6), cohort[2:5]), (*plain.split(0.6), plain[2:5]), strict=True):
        assert (
            isinstance(part.images, DiskArray)
            and isinstance(part.weights, DiskArray)
            and isinstance(part.truth, DiskArray)
        )
        again = part[[1, 0]]
        assert isinstance(again.images, DiskArray) and again.ids == same.ids[1::-1]
        np.testing.assert_array_equal(again.images[:], same.images[[1, 0]])
        np.testing.assert_array_equal(part[1].mask, same[1].mask)
    assert cohort.without_masks().truth is None


def test_training_and_evaluation_from_disk_give_the_same_bits(on_disk):
    found = []
    for cohort in on_disk:
        torch.manual_seed(0)
        model, train = bm.Localizer("sfa", width=2), cohort[:8]
        history = bm.fit(model, train, epochs=2, batch_size=4, device="cpu", precision="32", progress=False)
        report = bm.evaluate(model, cohort[2:])
        found.append((history.loss, report.to_dict(), [p.detach().numpy() for p in model.parameters()]))
    (loss, report, weights), (loss_2, report_2, weights_2) = found
    assert loss == loss_2 and repr(report) == repr(report_2)  # nan and all
    for a, b in zip(weights, weights_2, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_segmenter_s_truth_comes_from_disk_as_well(on_disk):
    found = []
    for cohort in on_disk:
        torch.manual_seed(0)
        model = bm.Segmenter("sfa", width=2)
        bm.fit(model, cohort[:8], epochs=1, batch_size=4, device="cpu", precision="32", progress=False)
        found.append([p.detach().numpy() for p in model.parameters()])
    assert isinstance(on_device(on_disk[1].truth, torch.device("cpu")), Batches)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_on_disk_become_the_truth_of_boxes(on_disk, tmp_path):
    plain, cohort = on_disk
    np.save(tmp_path / "masks", plain.truth > 0)
    masks = np.load(tmp_path / "masks.npy", mmap_mode="r")
    expected = np.where(masks, plain.weights, 0)
    for truth in (masks, DiskArray(masks)):
        np.testing.assert_array_equal(dataclasses.replace(cohort, truth=truth).truth[:], expected)


def test_rows_of_a_sequence_are_taken_when_they_are_due():
    source = Counted(np.arange(9))
    some = Rows(Rows(source, np.array([8, 2, 5, 7])), np.array([3, 0, 1]))
    assert source.reads.sum() == 0
    assert (some[0], some[-1], len(some), list(some)) == (7, 2, 3, [7, 8, 2])
    with pytest.raises(IndexError):
        some[3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_takes_all_of_what_fits(on_disk):
    images = on_device(on_disk[1].images, torch.device("cuda"))
    np.testing.assert_array_equal(images.cpu().numpy(), on_disk[0].images)
