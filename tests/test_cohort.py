"""Cohorts: indexing, splitting, and what does not belong together."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

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
    blind = cohort.without_masks()
    assert blind.truth is None and blind[0].mask is None and blind.voxels(0).mask is None
    assert blind.regions(0)[1] is None and cohort.regions(0)[1].any()
    assert "without truth" in repr(blind) and "with truth" in repr(cohort)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.ones(3)}, "do not belong together"),
        ({"truth": np.ones((10, 2, 2), bool)}, r"the truth has shape \(10, 2, 2\)"),
        ({"fine": []}, "what is said of the voxels of 10 cases has 0 rows"),
        ({"spacing_mm": np.ones((10, 3))}, "10 spacings"),
        ({"values": np.r_[np.ones(9), np.nan]}, "has the value nan"),
    ],
)
def test_what_does_not_belong_together_is_refused(cohort, change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(cohort, **change)


def test_columns_of_a_table_and_other_types_of_numbers(cohort):
    """A shuffled column is read by position; what torch cannot read is turned into what it can."""
    shuffled = pd.DataFrame({"value": cohort.values, "id": cohort.ids}).sample(frac=1, random_state=0)
    order = shuffled.index.to_numpy()
    made = dataclasses.replace(
        cohort,
        values=shuffled["value"],
        ids=shuffled["id"],
        images=cohort.images[order].astype(">f8")[:, ::-1],
        weights=cohort.weights[order][:, ::-1],
        truth=cohort.truth[order][:, ::-1].astype(float),
        fine=None,
    )
    assert [case.value for case in made] == list(cohort.values[order])
    assert [case.id for case in made] == [cohort.ids[i] for i in order]
    assert (
        made.images.dtype == np.dtype(np.float32) and made.images.flags.c_contiguous and made.truth.dtype == np.float32
    )
    torch.as_tensor(made.images), torch.as_tensor(made.weights)
    first, second = made.split(0.5)
    assert all(case.value == cohort.values[cohort.ids.index(case.id)] for case in (*first, *second))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: {"values": c.values[:, None]}, r"values have shape \(10, 1\)"),
        (lambda c: {"truth": (c.truth > 0).astype(np.uint8) * 255}, "values from 0 to 255 in the truth"),
        (
            lambda c: {"truth": (c.truth > 0).astype(float)},
            "the truth is more than the weights: give masks as booleans",
        ),
        (lambda c: {"truth": np.ma.array(c.truth, mask=c.truth > 0)}, "the masks are an array of which numpy masks"),
        (
            lambda c: {"images": np.ma.array(c.images, mask=c.truth > 0)},
            "images or weights are an array of which numpy",
        ),
        (lambda c: {"values": np.ma.array(c.values, mask=c.values > 0)}, "the values are an array of which numpy"),
        (lambda c: {"spacing_mm": c.spacing_mm * np.where(np.arange(10) == 3, np.nan, 1)[:, None]}, "case 'pma-1-3'"),
        (lambda c: {"spacing_mm": c.spacing_mm * np.where(np.arange(10) == 4, -1, 1)[:, None]}, "case 'pma-1-4'"),
    ],
)
def test_what_no_cohort_can_hold(cohort, change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(cohort, **change(cohort))


def assert_same(one, again):
    """All that training and evaluation read."""
    for part in ("images", "weights", "values", "truth", "spacing_mm"):
        mine, theirs = getattr(one, part), getattr(again, part)
        assert (mine is None and theirs is None) or np.array_equal(mine, theirs)
    assert (again.ids, again.task) == (one.ids, one.task) and (one.fine is None) == (again.fine is None)
    for i in range(len(one)):
        (weights, mask, boxes), (weights_2, mask_2, boxes_2) = one.regions(i), again.regions(i)
        np.testing.assert_array_equal(weights, weights_2)
        assert boxes == boxes_2 and weights.dtype == weights_2.dtype
        assert (mask is None and mask_2 is None) or (np.array_equal(mask, mask_2) and mask_2.dtype == bool)


@pytest.mark.parametrize("key", ["sfa", "cac"])
def test_a_saved_cohort_is_the_same_where_the_scans_are_not(tmp_path, key):
    cohort = bm.phantoms.draw(key, 5, seed=0, size=32)
    about = pd.DataFrame({"group": [f"00{i}" for i in range(5)], "findings": [("tilted",), (), (), (), ()]})
    for name, one in {
        "plain": cohort,
        "told": dataclasses.replace(cohort, about=about),
        "blind": cohort.without_masks(),
        "boxes": dataclasses.replace(cohort, fine=None),
        "blind boxes": dataclasses.replace(cohort, fine=None, truth=None),
        "rows": cohort[[4, 1]][::-1],
        "within": cohort.within([np.ones_like(cohort.regions(i)[0]) for i in range(5)]),
    }.items():
        bm.records.save_cohort(one, tmp_path / name)
        assert_same(one, bm.records.load_cohort(tmp_path / name))
    assert bm.records.load_cohort(tmp_path / "told").about.equals(about)
    with pytest.raises(ValueError, match=f"the voxels of case '{key}-0-0' are not kept with the cohort: draw or read"):
        bm.records.load_cohort(tmp_path / "plain").voxels(0)
    bm.records.save_cohort(bm.records.load_cohort(tmp_path / "rows"), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "rows").read_bytes()


def test_a_cohort_on_disk_is_saved_too(tmp_path):
    cohort = bm.phantoms.draw("sfa", 5, seed=0, size=32)
    np.save(tmp_path / "images.npy", cohort.images)
    kept = dataclasses.replace(cohort, images=np.load(tmp_path / "images.npy", mmap_mode="r"))[[3, 1]]
    bm.records.save_cohort(kept, tmp_path / "c")
    assert_same(cohort[[3, 1]], bm.records.load_cohort(tmp_path / "c"))


def test_a_cohort_of_ones_own_task_is_loaded_with_it(tmp_path):
    own = dataclasses.replace(bm.TASKS["sfa"], hu_window=(-150.0, -50.0))
    cohort = bm.phantoms.draw("sfa", 3, seed=0, size=32)
    bm.records.save_cohort(dataclasses.replace(cohort, task=own), tmp_path / "own")
    with pytest.raises(ValueError, match="'sfa' with rules that are not biomark.s: pass it as task="):
        bm.records.load_cohort(tmp_path / "own")
    assert bm.records.load_cohort(tmp_path / "own", task=own).task is own


def test_files_that_are_no_cohort(tmp_path):
    with pytest.raises(FileNotFoundError, match="no cohort at"):
        bm.records.load_cohort(tmp_path / "none")
    (tmp_path / "text").write_text("no")
    bm.Localizer("sfa", width=2).save(tmp_path / "model")
    for name in ("text", "model"):
        with pytest.raises(ValueError, match="is no cohort that biomark wrote"):
            bm.records.load_cohort(tmp_path / name)


def test_a_table_comes_back_as_it_was(tmp_path):
    """Dates, whole numbers with gaps, categories, and numbers to the last bit."""
    cohort = bm.phantoms.draw("sfa", 3, seed=0, size=32)
    about = pd.DataFrame(
        {
            "scanned": pd.to_datetime(["2020-01-02", None, "2021-05-06T07:08:09.25"], format="ISO8601"),
            "packs": pd.array([20, None, 3], dtype="Int64"),
            "sex": pd.Categorical(["f", "m", "f"]),
            "dose": [1 / 3, np.nan, 1e-13],
            "smoker": [True, False, True],
        }
    )
    bm.records.save_cohort(dataclasses.replace(cohort, about=about), tmp_path / "c")
    pd.testing.assert_frame_equal(bm.records.load_cohort(tmp_path / "c").about, about)


def test_a_file_is_not_read_as_another_task(tmp_path):
    bm.records.save_cohort(bm.phantoms.draw("sfa", 2, seed=0, size=32), tmp_path / "c")
    with pytest.raises(ValueError, match="is of task 'sfa', and the task given is 'pma'"):
        bm.records.load_cohort(tmp_path / "c", task=bm.TASKS["pma"])


def test_a_folder_of_ones_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    bm.records.save_cohort(bm.phantoms.draw("sfa", 2, seed=0, size=32), "~/kept/c")
    assert (tmp_path / "kept" / "c").is_file() and len(bm.records.load_cohort("~/kept/c")) == 2


def test_values_below_nothing_are_refused(cohort):
    with pytest.raises(ValueError, match="case 'pma-1-2' has the value -3"):
        dataclasses.replace(cohort, values=np.where(np.arange(10) == 2, -3.0, cohort.values))


def test_candidates_are_narrowed_on_the_measuring_grid(cohort):
    """Weights and truth of the boxes follow from the voxels that stay; values are the reader's and stay."""
    masks = [cohort.regions(i)[1] for i in range(len(cohort))]
    inside = cohort.within(masks)
    np.testing.assert_allclose(inside.weights, cohort.truth, rtol=1e-6)
    np.testing.assert_allclose(inside.truth, cohort.truth, rtol=1e-6)
    np.testing.assert_array_equal(inside.values, cohort.values)
    case = inside[[4]].voxels(0)
    np.testing.assert_array_equal(case.weights, np.where(masks[4], cohort.regions(4)[0], 0))
    np.testing.assert_array_equal(case.image, cohort.voxels(4).image)
    assert inside.without_masks().within(masks).truth is None
    boxes = dataclasses.replace(cohort, fine=None)
    halves = [np.arange(48)[:, None] < np.full(48, 24)] * 10
    np.testing.assert_array_equal(boxes.within(halves).weights[:, :24], cohort.weights[:, :24])
    assert not boxes.within(halves).weights[:, 24:].any() and not boxes.within(halves).truth[:, 24:].any()


def test_regions_may_be_labels_and_not_probabilities(cohort):
    masks = [cohort.regions(i)[1] for i in range(len(cohort))]
    labels = [3 * mask for mask in masks]
    np.testing.assert_array_equal(cohort.within(labels).weights, cohort.within(masks).weights)
    with pytest.raises(ValueError, match="values in the regions are no whole numbers"):
        cohort.within([0.4 * mask for mask in masks])
    with pytest.raises(ValueError, match="10 cases need a region each, and 3 are given"):
        cohort.within(masks[:3])
    with pytest.raises(ValueError, match=r"the region of case 'pma-1-0' has shape \(48, 48\), not \(144, 144\)"):
        cohort.within(list(cohort.truth > 0))


def test_groups_are_numbers(cohort):
    n = len(cohort)
    assert len(set(cohort.groups)) == n and (cohort.groups < 0).all()
    names = ["b", "a", None, "b", None, *(f"c{i}" for i in range(n))][:n]
    groups = dataclasses.replace(cohort, about=pd.DataFrame({"group": names})).groups
    assert groups[0] == groups[3] == 1 and groups[1] == 0 and groups[2] < 0 and groups[2] != groups[4]
    names = ["b ", "a", "", "b", " ", *(f"c{i}" for i in range(n))][:n]
    empty = dataclasses.replace(cohort, about=pd.DataFrame({"group": names})).groups
    assert empty.tolist() == groups.tolist(), "an empty cell names nobody"


def test_groups_come_as_near_to_a_share_as_they_can(cohort):
    groups = pd.DataFrame({"group": ["a"] * 5 + ["b"] * 5})
    first, second = dataclasses.replace(cohort, about=groups).split(0.9)
    assert (len(first), len(second)) == (5, 5)
    with pytest.raises(ValueError, match="in 1 groups at 0.5 leaves one side empty"):
        dataclasses.replace(cohort, about=groups.assign(group="a")).split(0.5)
    with pytest.raises(ValueError, match="case 'pma-1-3' has no group"):
        dataclasses.replace(cohort, about=groups.assign(group=[None if i == 3 else "a" for i in range(10)])).split(0.5)


def test_cases_and_cohorts_can_be_compared_and_counted(cohort):
    assert cohort == cohort and cohort[0] != cohort[1] and len({cohort[0], cohort[1]}) == 2


@pytest.mark.parametrize(("key", "size"), [("pma", 48), ("sfa", 48), ("liver", 48), ("cac", 32)])
def test_boxes_are_the_voxels_added_up(key, size):
    """And a map weighs in boxes what it weighs in voxels: of ones, all candidates of the scan."""
    cohort = bm.phantoms.draw(key, 3, seed=3, size=size)
    rng = np.random.default_rng(0)
    for i, case in enumerate(cohort):
        voxels, (weights, mask, boxes) = cohort.voxels(i), cohort.regions(i)
        np.testing.assert_array_equal(voxels.weights, weights)
        np.testing.assert_array_equal(voxels.mask, mask)
        np.testing.assert_array_equal(weights, cohort.task.weigh(voxels.image, voxels.spacing_mm))
        np.testing.assert_array_equal(case.weights, boxes.sums(weights))
        np.testing.assert_allclose(cohort.truth[i], boxes.sums(weights * mask), rtol=1e-6)
        np.testing.assert_allclose(case.image, boxes.means(voxels.image, 0), rtol=1e-6)
        assert case.spacing_mm == pytest.approx(boxes.spacing_mm(voxels.spacing_mm))
        assert voxels.value == case.value == cohort.task.measure(voxels.image, voxels.mask, voxels.spacing_mm)
        for maps in (rng.random(case.image.shape), np.ones(case.image.shape)):
            fine = (boxes.spread(maps) * weights).sum(dtype=float)
            assert (maps * case.weights).sum() == pytest.approx(fine, rel=1e-5)
        assert cohort.truth[i].sum(dtype=float) == pytest.approx(case.value, rel=1e-5, abs=1e-6)
        # By weight: a box is of the mask where more than half of what it weighs is.
        np.testing.assert_array_equal(case.mask, boxes.sums(weights * mask) > boxes.sums(weights) / 2)


def test_cases_given_in_voxels_are_their_own_boxes(cohort):
    voxels = [cohort.voxels(i) for i in range(4)]
    arrays = {n: np.stack([getattr(v, n) for v in voxels]) for n in ("image", "weights", "mask")}
    spacing, ids = [v.spacing_mm for v in voxels], [v.id for v in voxels]
    values = [v.value for v in voxels]
    made = bm.Cohort(cohort.task, arrays["image"], arrays["weights"], values, arrays["mask"], spacing, ids)
    np.testing.assert_array_equal(made.truth, arrays["weights"] * arrays["mask"])
    np.testing.assert_array_equal(made[1].mask, voxels[1].mask & (voxels[1].weights > 0))
    weights, mask, boxes = made.regions(1)
    assert made.voxels(1).value == made[1].value and set(boxes.voxels) == {1}
    np.testing.assert_array_equal(weights, voxels[1].weights)
    np.testing.assert_array_equal(mask, made[1].mask)


def test_negative_and_picked_rows_have_their_own_voxels(cohort):
    picked = cohort[[7, 2, 5]][[2, 0]]
    assert [picked.voxels(i).id for i in (0, 1, -1)] == ["pma-1-5", "pma-1-7", "pma-1-7"]
    np.testing.assert_array_equal(picked.voxels(-1).weights, cohort.regions(7)[0])
    assert len(picked.fine) == 2 and [v.spacing_mm for v in picked.fine] == [cohort.fine[i].spacing_mm for i in (5, 7)]
