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
    assert cohort.without_masks().masks is None
    assert cohort.without_masks()[0].mask is None
    assert "without masks" in repr(cohort.without_masks())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.ones(3)}, "do not belong together"),
        ({"masks": np.ones((10, 2, 2), bool)}, "masks have shape"),
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
        masks=cohort.masks[order].astype(np.uint8),
    )
    assert [case.value for case in made] == list(cohort.values[order])
    assert [case.id for case in made] == [cohort.ids[i] for i in order]
    assert made.images.dtype == np.dtype(np.float32) and made.images.flags.c_contiguous and made.masks.dtype == bool
    torch.as_tensor(made.images), torch.as_tensor(made.weights)
    first, second = made.split(0.5)
    assert all(case.value == cohort.values[cohort.ids.index(case.id)] for case in (*first, *second))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: {"values": c.values[:, None]}, r"values have shape \(10, 1\)"),
        (lambda c: {"masks": c.masks.astype(np.uint8) * 255}, "values from 0 to 255 in the masks"),
        (lambda c: {"masks": np.ma.array(c.masks, mask=c.masks)}, "the masks are an array of which numpy masks"),
        (lambda c: {"images": np.ma.array(c.images, mask=c.masks)}, "images or weights are an array of which numpy"),
        (lambda c: {"values": np.ma.array(c.values, mask=c.values > 0)}, "the values are an array of which numpy"),
        (lambda c: {"spacing_mm": c.spacing_mm * np.where(np.arange(10) == 3, np.nan, 1)[:, None]}, "case 'pma-1-3'"),
        (lambda c: {"spacing_mm": c.spacing_mm * np.where(np.arange(10) == 4, -1, 1)[:, None]}, "case 'pma-1-4'"),
    ],
)
def test_what_no_cohort_can_hold(cohort, change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(cohort, **change(cohort))


def test_a_saved_cohort_is_the_same_where_the_scans_are_not(tmp_path):
    cohort = bm.phantoms.draw("sfa", 5, seed=0, size=32)
    about = pd.DataFrame({"group": [f"00{i}" for i in range(5)], "findings": [("tilted",), (), (), (), ()]})
    for name, one in {
        "plain": cohort,
        "told": dataclasses.replace(cohort, about=about),
        "blind": cohort.without_masks(),
    }.items():
        one.save(tmp_path / name)
        again = bm.Cohort.load(tmp_path / name)
        for part in ("images", "weights", "values", "masks", "spacing_mm"):
            mine, theirs = getattr(one, part), getattr(again, part)
            assert (mine is None and theirs is None) or (np.array_equal(mine, theirs) and mine.dtype == theirs.dtype)
        assert (again.ids, again.task) == (one.ids, one.task)
    assert bm.Cohort.load(tmp_path / "told").about.equals(about)


def test_a_cohort_on_disk_is_saved_too(tmp_path):
    cohort = bm.phantoms.draw("sfa", 5, seed=0, size=32)
    np.save(tmp_path / "images.npy", cohort.images)
    kept = dataclasses.replace(cohort, images=np.load(tmp_path / "images.npy", mmap_mode="r"))[[3, 1]]
    kept.save(tmp_path / "c")
    np.testing.assert_array_equal(bm.Cohort.load(tmp_path / "c").images, cohort.images[[3, 1]])


def test_a_cohort_of_ones_own_task_is_loaded_with_it(tmp_path):
    own = dataclasses.replace(bm.TASKS["sfa"], hu_window=(-150.0, -50.0))
    cohort = bm.phantoms.draw("sfa", 3, seed=0, size=32)
    dataclasses.replace(cohort, task=own).save(tmp_path / "own")
    with pytest.raises(ValueError, match="'sfa' with rules that are not biomark.s: pass it as task="):
        bm.Cohort.load(tmp_path / "own")
    assert bm.Cohort.load(tmp_path / "own", task=own).task is own


def test_files_that_are_no_cohort(tmp_path):
    with pytest.raises(FileNotFoundError, match="no cohort at"):
        bm.Cohort.load(tmp_path / "none")
    (tmp_path / "text").write_text("no")
    bm.Localizer("sfa", width=2).save(tmp_path / "model")
    for name in ("text", "model"):
        with pytest.raises(ValueError, match="is no cohort that biomark wrote"):
            bm.Cohort.load(tmp_path / name)


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
    dataclasses.replace(cohort, about=about).save(tmp_path / "c")
    pd.testing.assert_frame_equal(bm.Cohort.load(tmp_path / "c").about, about)


def test_a_file_is_not_read_as_another_task(tmp_path):
    bm.phantoms.draw("sfa", 2, seed=0, size=32).save(tmp_path / "c")
    with pytest.raises(ValueError, match="is of task 'sfa', and the task given is 'pma'"):
        bm.Cohort.load(tmp_path / "c", task=bm.TASKS["pma"])


def test_a_folder_of_ones_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    bm.phantoms.draw("sfa", 2, seed=0, size=32).save("~/kept/c")
    assert (tmp_path / "kept" / "c").is_file() and len(bm.Cohort.load("~/kept/c")) == 2


def test_values_below_nothing_are_refused(cohort):
    with pytest.raises(ValueError, match="case 'pma-1-2' has the value -3"):
        dataclasses.replace(cohort, values=np.where(np.arange(10) == 2, -3.0, cohort.values))


def test_regions_may_be_labels_and_not_probabilities(cohort):
    labels = cohort.masks * 3
    np.testing.assert_array_equal(cohort.within(labels).weights, cohort.within(cohort.masks).weights)
    with pytest.raises(ValueError, match="values in the regions are no whole numbers"):
        cohort.within(cohort.masks * 0.4)


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
