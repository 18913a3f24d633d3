"""The inspector: one answer that holds together, and the same answer after it was saved and read."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import biomark as bm


@pytest.fixture(scope="module")
def cohort():
    return bm.phantoms.draw("sfa", 120, seed=3, size=48)


def prepared(cohort, seed=0, kind=bm.Localizer, **settings):
    torch.manual_seed(seed)
    model = kind("sfa", width=2, **settings).eval()
    model.prepare(cohort)
    return model


@pytest.fixture(scope="module")
def trained(cohort):
    model = prepared(cohort)
    bm.fit(model, cohort[:50].without_masks(), epochs=3, batch_size=5, progress=False, device="cpu")
    return model


@pytest.fixture(scope="module")
def inspector(trained, cohort):
    return bm.Inspector(trained, cohort[50:110].without_masks())


def test_an_answer_holds_together(inspector, trained, cohort):
    case = cohort[115]
    answer, found = inspector.inspect(case, findings=("The kernel is sharp.",)), trained.locate(case)
    assert answer.value == found.value and np.array_equal(answer.map, found.map)
    assert 0 <= answer.low <= answer.value <= answer.high and answer.coverage == 0.9
    assert answer.findings == ("The kernel is sharp.",) and answer.spread is None
    lines = str(answer).splitlines()
    assert "sfa-3-115: subcutaneous fat area" in lines[0] and "90 % interval" in lines[0].replace("%", " %")
    assert lines[-1] == "  - The kernel is sharp."


def test_the_intervals_hold_what_they_were_calibrated_on(inspector, cohort):
    answers = [inspector.inspect(case) for case in cohort[50:110]]
    inside = [a.low <= v <= a.high for a, v in zip(answers, cohort.values[50:110], strict=True)]
    assert np.mean(inside) >= 0.9 and np.mean([a.unlike for a in answers]) <= 0.07


def test_a_case_unlike_the_others_is_called_so_and_why(inspector, cohort):
    case = cohort[115]
    noisy = case.image + np.random.default_rng(0).normal(0, 90, case.image.shape).astype(np.float32)
    noisy = dataclasses.replace(case, image=noisy, weights=inspector.model.task.weigh(noisy, case.spacing_mm))
    answer = inspector.inspect(noisy)
    assert answer.unlike and any(sentence.startswith("noise [HU]") for sentence in answer.unusual)
    assert "UNLIKE the training data" in str(answer) and "usual is" in str(answer)


def test_the_known_value_and_the_mask_are_not_read(inspector, cohort):
    case = cohort[115]
    blind = dataclasses.replace(case, value=None, mask=None)
    assert str(inspector.inspect(blind)) == str(inspector.inspect(case))


def same(a, b):
    np.testing.assert_array_equal(a.map, b.map)
    assert (a.value, a.low, a.high) == (b.value, b.low, b.high)
    assert a.traits == pytest.approx(b.traits, rel=1e-5) and a.unusual == b.unusual and str(a) == str(b)


def test_saved_and_loaded_gives_the_same_answer(inspector, cohort, tmp_path):
    inspector.save(tmp_path / "handed on")
    again = bm.Inspector.load(tmp_path / "handed on")
    for case in cohort[110:114]:
        same(again.inspect(case), inspector.inspect(case))
    files = sorted(path.name for path in (tmp_path / "handed on").iterdir())
    assert files == ["inspector.json", "model-0.safetensors"]


def test_an_ensemble_is_inspected_and_handed_on(cohort, tmp_path):
    whole = bm.Ensemble([prepared(cohort, seed) for seed in range(2)])
    inspector = bm.Inspector(whole, cohort[50:110])
    inspector.save(tmp_path)
    answer = inspector.inspect(cohort[0])
    assert answer.spread > 0 and "members of the ensemble" in str(answer)
    same(bm.Inspector.load(tmp_path).inspect(cohort[0]), answer)


def test_rivals_and_tasks_of_ones_own(cohort, tmp_path):
    task = dataclasses.replace(bm.TASKS["sfa"], key="mine")
    model = bm.Segmenter(task, width=2)
    model.prepare(cohort)
    bm.Inspector(model.eval(), dataclasses.replace(cohort[:60], task=task)).save(tmp_path)
    with pytest.raises(ValueError, match="pass it as task="):
        bm.Inspector.load(tmp_path)
    assert isinstance(bm.Inspector.load(tmp_path, task=task).model, bm.Segmenter)


def test_members_with_a_backbone_of_ones_own_stay_apart(cohort, tmp_path):
    made = []
    for bias in (-1.0, 1.0):
        made.append(bm.Localizer("sfa", backbone=torch.nn.Conv2d(1, 1, 1)).eval())
        torch.nn.init.constant_(made[-1].backbone.bias, bias)
    inspector = bm.Inspector(bm.Ensemble(made), cohort[50:110])
    inspector.save(tmp_path)
    again = bm.Inspector.load(tmp_path, backbone=torch.nn.Conv2d(1, 1, 1))
    same(again.inspect(cohort[0]), inspector.inspect(cohort[0]))


def test_files_that_do_not_belong_together(inspector, cohort, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no inspector\.json"):
        bm.Inspector.load(tmp_path)
    inspector.save(tmp_path)
    prepared(cohort, 7).save(tmp_path / "model-0.safetensors")
    with pytest.raises(ValueError, match="not the model that .* was calibrated for"):
        bm.Inspector.load(tmp_path)
    about = json.loads((tmp_path / "inspector.json").read_text())
    (tmp_path / "inspector.json").write_text(json.dumps(about | {"schema": 1}))
    with pytest.raises(ValueError, match=r"was made by another version of biomark \(.*\): make it again"):
        bm.Inspector.load(tmp_path)
    (tmp_path / "inspector.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        bm.Inspector.load(tmp_path)


def test_what_cannot_be_inspected(trained, cohort):
    with pytest.raises(ValueError, match="DirectRegressor has no map"):
        bm.Inspector(bm.DirectRegressor("sfa", width=2), cohort)
    with pytest.raises(ValueError, match="'sfa' and the cohort 'pma'"):
        bm.Inspector(trained, dataclasses.replace(cohort, task=bm.TASKS["pma"]))
    with pytest.raises(ValueError, match="8 cases cannot calibrate"):
        bm.Inspector(trained, cohort[:24])
    with pytest.raises(ValueError, match="at least 49"):
        bm.Inspector(trained, cohort[:48], alarm=0.02)


class Rival(bm.Localizer):
    """A class of one's own."""


def test_a_model_of_ones_own_class_comes_back(cohort, tmp_path, monkeypatch):
    bm.Inspector(prepared(cohort, kind=Rival), cohort[50:110]).save(tmp_path)
    assert type(bm.Inspector.load(tmp_path).model) is Rival
    monkeypatch.delitem(bm.Localizer.kinds, "Rival")
    with pytest.raises(ValueError, match="of class 'Rival', which is not defined here"):
        bm.Inspector.load(tmp_path)
