"""Reports: perfect, wrong in place, and empty truths."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import biomark as bm
from biomark.evaluation.statistics import vectorised
from biomark.machine.packed import Packed


class Told(nn.Module):
    """A model that is told its map."""

    def __init__(self, maps):
        super().__init__()
        self.maps = nn.Parameter(torch.tensor(np.array(maps), dtype=torch.float32))
        self.at = 0

    def forward(self, images, weights):
        found = self.maps[self.at : self.at + len(images)]
        self.at += len(images)
        return bm.Localization(bm.losses.aggregate(found, weights), found)


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 40, seed=6, size=48)


def share(cohort):
    """What of each box belongs: the best map of boxes that there is."""
    return cohort.truth / np.maximum(cohort.weights, 1e-9)


def test_the_truth_itself_scores_near_one(cohort):
    report = bm.evaluate(Told(share(cohort)), cohort)
    assert report.r.value > 0.9999 and report.dice > 0.9
    assert report.energy_in_mask > 0.9
    assert report.missed == 0


def voxel_maps(cohort, maps):
    """The map of its box for each voxel."""
    return [cohort.regions(i)[2].spread(maps[i]) for i in range(len(cohort))]


SIZES = {"sfa": {"size": 20}, "cac": {"size": 16, "slices": 8}}


@pytest.mark.parametrize("key", SIZES)
def test_value_and_energy_from_boxes_are_those_of_voxels(key):
    """In a slice and in a volume, with voxels that lie in no box, boxes that hold few, and sides of 2.6 voxels."""
    drawn = bm.phantoms.draw(key, 4, seed=6, **SIZES[key])
    voxels = [drawn.voxels(i) for i in range(4)]
    sides = voxels[0].image.shape
    whole = drawn.fine[0].boxes
    odd = bm.grids.Boxes((*sides[:-2], 18, 17), (1, 2.6, 2.6)[-len(sides) :], sides, (0, 3, -2)[-len(sides) :])
    rng = np.random.default_rng(0)
    for boxes in (whole, odd):
        maps = rng.random((4, *boxes.shape)).astype(np.float32)
        sums = {
            name: np.stack([boxes.sums(a) for a in arrays])
            for name, arrays in (
                ("weights", [v.weights for v in voxels]),
                ("truth", [v.weights * v.mask for v in voxels]),
            )
        }
        cohort = dataclasses.replace(drawn, **sums, images=maps, fine=[bm.cohort.Voxels.of(v, boxes) for v in voxels])
        values = bm.losses.aggregate(torch.tensor(maps), torch.tensor(cohort.weights)).numpy()
        report = bm.Report.of(cohort, values, maps)
        for i, (v, m) in enumerate(zip(voxels, voxel_maps(cohort, maps), strict=True)):
            total, inside = ((m * part).sum(dtype=float) for part in (v.weights, v.weights * v.mask))
            assert [values[i], report.cases.total[i]] == pytest.approx([total] * 2, rel=1e-5, abs=1e-6)
            assert report.cases.inside[i] == pytest.approx(inside, rel=1e-5, abs=1e-6)
        ones = bm.Report.of(cohort, values, np.ones_like(maps))
        if boxes is whole:  # a map of ones gives all candidates, whatever the boxes
            assert ones.cases.total.to_numpy() == pytest.approx([v.weights.sum() for v in voxels], rel=1e-5)
        on_voxels = bm.Report.of(cohort, values, voxel_maps(cohort, maps))
        assert on_voxels.energy_in_mask == pytest.approx(report.energy_in_mask, rel=1e-5)


def test_the_outline_is_judged_on_the_measuring_grid(cohort):
    """The mask of the value, voxel by voxel, as `locate` gives it."""
    torch.manual_seed(0)
    some, model = cohort[:6], bm.Localizer("sfa", width=2)
    model.prepare(some)
    report = bm.evaluate(model, some)
    for i in range(len(some)):
        case, boxes = some.voxels(i), some.regions(i)[2]
        found = model.locate(case, boxes=boxes)
        assert found.value == pytest.approx(report.cases.predicted[i], rel=1e-5)
        dice = bm.metrics.dice(found.mask[None], (case.mask & (case.weights > 0))[None])[0]
        assert report.cases.dice[i] == pytest.approx(dice, abs=1e-4)


def test_masks_of_another_program_are_judged_on_the_measuring_grid(cohort):
    """As they stand: no sum is asked for, and what is outside the candidates does not count."""
    voxels = [cohort.voxels(i) for i in range(len(cohort))]
    exact = bm.Report.of(cohort, cohort.values, [v.mask for v in voxels])
    assert exact.dice == 1 and exact.energy_in_mask == 1 and exact.missed == 0
    wide = bm.Report.of(cohort, cohort.values, [v.mask | (v.image < -900) for v in voxels])
    assert wide.dice == 1
    half = [v.mask * np.where(np.arange(v.mask.shape[1]) < 72, 0.6, 0.4) for v in voxels]
    left = [
        bm.metrics.dice((h > 0.5)[None] & (v.weights > 0), (v.mask & (v.weights > 0))[None])[0]
        for h, v in zip(half, voxels, strict=True)
    ]
    assert bm.Report.of(cohort, cohort.values, half).cases.dice.to_numpy() == pytest.approx(left)


def test_little_is_not_nothing(cohort):
    """Of one case nothing is found, of another a few voxels: one is missed."""
    masks = [v.mask & (v.weights > 0) for v in map(cohort.voxels, range(len(cohort)))]
    masks[0] = np.zeros_like(masks[0])
    masks[1] = masks[1] & (np.cumsum(masks[1]).reshape(masks[1].shape) <= 0.03 * masks[1].sum())
    report = bm.Report.of(cohort, cohort.values, masks)
    assert 0 < report.cases.dice[1] < 0.1 and report.cases.dice[0] == 0 and report.missed == 1


def test_the_candidates_score_their_own_floor(cohort):
    report = bm.evaluate(Told(np.ones_like(cohort.truth)), cohort)
    assert report.dice == pytest.approx(report.dice_candidates)
    assert report.energy_in_mask == pytest.approx(cohort.truth.sum() / cohort.weights.sum(), rel=1e-5)


def test_a_right_sum_in_the_wrong_place_is_seen(cohort):
    """A uniform map scaled to the right total: r is 1, nothing is localised."""
    ratio = cohort.values / cohort.weights.sum((1, 2))
    report = bm.evaluate(Told(np.broadcast_to(ratio[:, None, None], cohort.truth.shape)), cohort)
    assert report.r.value > 0.9999
    assert report.energy_in_mask < 0.8


def test_empty_truths_are_counted_apart(cohort):
    truth, empty = cohort.truth.copy(), Packed.of(np.zeros((144, 144), bool))
    truth[:3] = 0
    fine = [dataclasses.replace(v, mask=empty) if i < 3 else v for i, v in enumerate(cohort.fine)]
    report = bm.evaluate(Told(share(cohort)), dataclasses.replace(cohort, truth=truth, fine=fine))
    assert report.cases.dice.isna().sum() == 3
    assert report.false_value == pytest.approx(report.cases.predicted[:3].mean())


def test_without_masks_only_values_are_reported(cohort):
    report = bm.evaluate(Told(share(cohort)), cohort.without_masks())
    assert np.isnan(report.dice) and "Dice" not in str(report)
    assert report.r.value > 0.98


def test_report_is_plain_data(cohort):
    report = bm.evaluate(Told(share(cohort)), cohort)
    flat = report.to_dict()
    json.dumps(flat)
    assert flat["n"] == 40 and flat["r_low"] < flat["r"] < flat["r_high"]
    assert list(report.to_frame().columns) == ["id", "known", "predicted", "dice", "inside", "total"]
    assert "energy in mask" in str(report)


def test_the_numbers_of_a_results_table_have_intervals(cohort):
    rng = np.random.default_rng(0)
    report = bm.evaluate(Told(rng.random(cohort.truth.shape) * (0.4 + 0.6 * share(cohort))), cohort)
    flat = report.to_dict()
    for name in ("r", "ccc", "icc", "mae", "bias", "dice", "energy_in_mask"):
        assert flat[f"{name}_low"] < flat[name] == getattr(report, name) < flat[f"{name}_high"], name
    cases = report.cases
    assert report.mae == pytest.approx(np.abs(cases.predicted - cases.known).mean())
    assert report.icc == pytest.approx(bm.statistics.icc(cases.predicted, cases.known))
    assert report.energy_in_mask == pytest.approx(cases.inside.sum() / cases.total.sum())
    assert cases.total.to_numpy() == pytest.approx(cases.predicted.to_numpy(), rel=1e-5)
    drawn = cases.sample(len(cases), replace=True, random_state=1)
    assert report.energy_in_mask.low - 0.02 < drawn.inside.sum() / drawn.total.sum() < report.energy_in_mask.high + 0.02


def calcium(values_and_maps):
    """A cohort of volumes of three lesions of 200, 100 and 100, the first of two voxels and true, and the model that is
    told the maps of the four voxels."""
    n, task, at = len(values_and_maps), bm.TASKS["cac"], [0, 1, 3, 5]
    weights, masks, maps = np.zeros((3, n, 1, 1, 6), np.float32)
    values = np.array([v for v, _ in values_and_maps], float)
    masks[values > 0, ..., :2] = True
    weights[..., at], maps[..., at] = 100, np.array([m for _, m in values_and_maps])[:, None, None]
    cohort = bm.Cohort(task, weights, weights, values, masks > 0, np.ones((n, 3)), tuple(map(str, range(n))))
    return cohort, Told(maps)


def test_calcium_is_judged_by_groups_lesions_and_zeros():
    cohort, model = calcium(
        [
            (200, [1, 1, 0, 0]),  # right
            (200, [0, 0, 0, 1]),  # missed, and another in its place: one group too low
            (0, [0.004, 0, 0, 0]),  # 0.4: counts as 0
            (0, [0.1, 0, 0, 0]),  # 10: one group too high
        ]
    )
    report = bm.evaluate(model, cohort)
    assert (report.lesions_missed, report.lesions_false) == (1, 1)
    assert report.lesion_f1 == pytest.approx(2 / (2 + 1 + 1))
    assert report.zeros_kept == 0.5
    # Groups 3 3 0 0 and 3 2 0 1: their distance is 2/4 on average, and 24/16 over all pairs.
    assert report.kappa == pytest.approx(1 - (2 / 4) / (24 / 16))
    assert "kappa" in str(report) and "lesion F1" in str(report)
    assert np.isnan(bm.Report.of(cohort, [200, np.nan, 0, 0]).kappa), "no group is nan's"
    assert np.isnan(bm.Report.of(cohort, [200, 200, np.nan, 0]).zeros_kept), "what is unknown is not kept, nor lost"
    assert bm.Report.of(cohort, [200, np.nan, 9, 0]).zeros_kept == 0.5
    known, predicted = np.log1p(cohort.values), np.log1p(report.cases.predicted)
    assert report.r_log1p == pytest.approx(np.corrcoef(known, predicted)[0, 1])


def test_areas_have_no_groups_and_no_lesions(cohort):
    report = bm.evaluate(Told(share(cohort)), cohort)
    assert np.isnan(report.kappa) and np.isnan(report.lesion_f1)
    assert "kappa" not in str(report) and "lesion" not in str(report)


def test_a_report_is_read_back_as_it_was_written(cohort, tmp_path):
    for model in (Told(share(cohort)), bm.DirectRegressor("sfa", width=4)):
        report = bm.evaluate(model, cohort)
        bm.records.write(tmp_path, parameters={}, report=report, overwrite=True)
        again = bm.Report.read(tmp_path)
        assert str(again) == str(report) and again.r.low == report.r.low
        np.testing.assert_equal(again.to_dict(), report.to_dict())
        pd.testing.assert_frame_equal(again.cases, report.cases)


def test_names_that_look_like_nothing_are_names(cohort, tmp_path):
    named = dataclasses.replace(cohort, ids=("NA", "None", "nan", *cohort.ids[3:]))
    report = bm.evaluate(Told(share(cohort)), named)
    bm.records.write(tmp_path, parameters={}, report=report)
    assert list(bm.Report.read(tmp_path).cases.id[:3]) == ["NA", "None", "nan"]


def test_a_record_without_a_report_is_not_read_as_one(tmp_path):
    bm.records.write(tmp_path, parameters={})
    with pytest.raises(ValueError, match="has no task, unit.*evaluate that model again"):
        bm.Report.read(tmp_path)


def test_what_another_program_found_is_judged_as_a_model_s_is(cohort):
    """Values and maps from anywhere: another library's masks, a reader's numbers."""
    maps = (np.random.default_rng(0).random(cohort.truth.shape) < 0.7) & (share(cohort) > 0.5)
    values = (maps * cohort.weights).sum((1, 2), dtype=float)
    judged = bm.Report.of(cohort, values, maps.astype(np.uint8))
    expected = bm.evaluate(Told(maps), cohort)
    numbers = [{k: v for k, v in r.to_dict().items() if not isinstance(v, str)} for r in (judged, expected)]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True, rel=1e-5, abs=1e-6)
    alone = bm.Report.of(cohort, values)
    assert alone.r.value == judged.r.value and np.isnan(alone.dice.value)
    assert bm.compare(judged, alone).r.difference.value == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda c: (c.values[:-1],), "40 cases need a value each, and those given have shape"),
        (lambda c: (c.values, c.truth[:, 1:]), r"\(47, 48\) does not lie on boxes of \(48, 48\), nor on voxels"),
        (lambda c: (c.values, c.truth[1:]), "40 cases need a map each, and 39 are given"),
        (lambda c: (c.values, 3.0 * (c.truth > 0) - 1), "map values run from -1 to 2, not within 0 and 1"),
    ],
)
def test_what_cannot_be_judged(cohort, given, words):
    with pytest.raises(ValueError, match=words):
        bm.Report.of(cohort, *given(cohort))


def test_a_truth_larger_than_the_weights_is_refused(cohort, tmp_path):
    """Also of files, which are read a case at a time."""
    np.save(tmp_path / "truth.npy", cohort.weights + 1)
    wrong = dataclasses.replace(cohort, truth=np.load(tmp_path / "truth.npy", mmap_mode="r"))
    with pytest.raises(ValueError, match="the truth is more than the weights"):
        bm.Report.of(wrong, wrong.values, share(cohort))


class Half(nn.Module):
    """The simplest rival: half of all candidates. It has nothing to learn."""

    def forward(self, images, weights):
        half = torch.full(weights.shape, 0.5)
        return bm.Localization(bm.losses.aggregate(half, weights), half)


def test_a_rule_without_parameters_is_a_rival_too(cohort):
    assert bm.evaluate(Half(), cohort).mae.value > 0


def test_any_type_of_number_on_disk_is_judged(cohort, tmp_path):
    """float64, float16, the other order of bytes: as in memory."""
    expected = bm.evaluate(Half(), cohort)
    for kind in (np.float64, np.float16, ">f4"):
        np.save(tmp_path / "images.npy", cohort.images.astype(kind))
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
        report = bm.evaluate(Half(), dataclasses.replace(cohort, images=images))
        assert report.mae.value == expected.mae.value
        np.save(tmp_path / "truth.npy", cohort.truth.astype(kind if kind != np.float16 else np.float32))
        kept = dataclasses.replace(cohort, images=images, truth=np.load(tmp_path / "truth.npy", mmap_mode="r"))
        assert bm.evaluate(Half(), kept).energy_in_mask == pytest.approx(expected.energy_in_mask)


def test_scans_of_one_patient_are_no_strangers(cohort, tmp_path):
    """Copies of each case make no interval narrower, here and when the record is read back and compared."""
    copies = np.repeat(np.arange(len(cohort)), 4)
    about = pd.DataFrame({"group": [f"patient {i:02}" for i in copies]})
    many = dataclasses.replace(cohort[copies], about=about)
    predicted = cohort.values * 1.1 + np.arange(len(cohort))
    once, told = bm.Report.of(cohort, predicted, share(cohort)), bm.Report.of(many, predicted[copies], share(many))
    taken = bm.Report.of(cohort[copies], predicted[copies])
    for name in ("r", "ccc", "mae", "dice", "energy_in_mask"):
        a, b = getattr(once, name), getattr(told, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    assert taken.mae.high - taken.mae.low < 0.7 * (told.mae.high - told.mae.low)
    assert f"in {len(cohort)} groups" in str(told) and "groups" not in str(once) and "group" not in once.cases
    alone = dataclasses.replace(cohort, about=pd.DataFrame({"group": ["one"] * len(cohort)}))
    said = str(bm.Report.of(alone, predicted))
    assert "in 1 group, too few for an interval" in said and "nan" not in said
    bm.records.write(tmp_path, parameters={}, report=told)
    kept = bm.Report.read(tmp_path)
    other = bm.Report.of(many, many.values + 1 + np.arange(len(many)) % 3, share(many))
    both = bm.compare(kept, other)
    assert both.mae.a.low == pytest.approx(told.mae.low)


def test_what_is_negligible_is_the_task_s_to_say():
    """In millilitres, 0.3 is something; a score of 0.3 is not."""
    ml = dataclasses.replace(bm.TASKS["cac"], unit="ml", risk_groups=(0.0, 0.1, 0.5), negligible=0.01)
    assert ml.group([0, 0.005, 0.05, 0.3, 0.9]).tolist() == [0, 0, 1, 2, 3]
    assert bm.TASKS["cac"].group([0, 0.3, 1, 10, 11]).tolist() == [0, 0, 1, 1, 2]
    cohort, model = calcium([(0, [0.004, 0, 0, 0]), (200, [1, 1, 0, 0]), (0, [0, 0, 0, 0]), (100, [1, 0, 0, 0])])
    assert bm.evaluate(model, cohort).zeros_kept == 1
    model.at = 0
    assert bm.evaluate(model, dataclasses.replace(cohort, task=ml)).zeros_kept == 0.5


def test_what_was_not_looked_at_is_not_zero(cohort):
    """No map, no lesions: nothing can be missed, and nothing can be found in vain."""
    direct = bm.evaluate(bm.DirectRegressor("sfa", width=4), cohort)
    assert np.isnan([direct.missed, direct.lesions_missed, direct.lesions_false]).all()
    area = bm.evaluate(Told(np.zeros(cohort.truth.shape)), cohort)
    assert area.missed == len(cohort) and np.isnan([area.lesions_missed, area.lesions_false]).all()


def test_outside_the_candidates_a_map_does_not_matter(cohort):
    """Not even where another program has none there."""
    candidates = cohort.weights > 0
    maps = np.where(candidates, 0.7, np.nan)
    plain, holed = (bm.Report.of(cohort, cohort.values, m) for m in (np.where(candidates, 0.7, 0), maps))
    assert plain.to_dict() == pytest.approx(holed.to_dict(), nan_ok=True)
    maps[candidates] = np.nan
    with pytest.raises(ValueError, match="not within 0 and 1"):
        bm.Report.of(cohort, cohort.values, maps)


def test_intervals_of_r_hold_for_errors_that_grow():
    """Of scores from 0 to thousands, with errors to match: Fisher's interval would hold the true r half as often."""
    rng = np.random.default_rng(5)
    known = np.exp(rng.normal(3, 1.5, 20000))
    found = known * np.exp(rng.normal(0, 0.4, 20000))
    true, held, by_fisher = bm.statistics.pearson(found, known), 0, 0
    for _ in range(60):
        rows = rng.integers(20000, size=300)
        drawn = bm.statistics.bootstrap(vectorised.r, found[rows], known[rows], resamples=400)
        fisher = bm.statistics.pearson(found[rows], known[rows])
        held, by_fisher = held + (drawn.low < true < drawn.high), by_fisher + (fisher.low < true < fisher.high)
    assert held >= 42 and by_fisher < held - 10


def test_values_of_a_table_belong_to_their_rows(cohort):
    """A column that was sorted by value, or has the cases' names in another order, is not read by position."""
    named = pd.Series(cohort.values, index=cohort.ids)
    assert bm.Report.of(cohort, named).mae == 0
    assert bm.Report.of(cohort, named.reset_index(drop=True)).mae == 0
    for column in (named.sort_values(), named.reset_index(drop=True).sort_values()):
        with pytest.raises(ValueError, match="neither numbered from 0 nor named as the cases"):
            bm.Report.of(cohort, column)
    with pytest.raises(ValueError, match="the predicted values are an array of which numpy masks 1 elements"):
        bm.Report.of(cohort, np.ma.array(cohort.values, mask=np.arange(len(cohort)) == 2))


def test_a_record_with_a_number_that_is_none_is_said(tmp_path):
    """JSON knows whole numbers that no float can hold."""
    cohort = bm.phantoms.draw("sfa", 5, seed=0, size=32)
    path = bm.records.write(tmp_path, parameters={}, report=bm.Report.of(cohort, cohort.values))
    record = json.loads(path.read_text())
    record["metrics"]["mae"] = 10**400
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="is damaged .*: run it again"):
        bm.Report.read(tmp_path)
