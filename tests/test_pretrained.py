"""The models that come with the library: made by one command, small, with inspector and card."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import biomark as bm
from biomark.records import card, trained

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--n-train", 8, "--n-test", 6, "--n-calibrate", 40, "--epochs", 1, "--width", 2, "--size", 32, "--seed", 3]


def make(monkeypatch, *arguments):
    """Run workflow/pretrain.py in this process."""
    monkeypatch.setattr(sys, "argv", ["pretrain.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "workflow" / "pretrain.py"), run_name="__main__")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder as `book/reference`, with the smallest model of one task."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOMARK_RUNS", str(folder / "runs"))
        make(patch, "pma", *SMALL, "--into", folder / "pretrained", "--watch", 1)
    return folder


@pytest.fixture
def shipped(home, monkeypatch):
    """That folder in place of what ships."""
    monkeypatch.setattr(trained, "reference", lambda name: home / name)
    return home / "pretrained" / "pma"


def test_the_model_and_its_inspector_are_had_by_the_key_of_the_task(shipped):
    model, inspector = bm.pretrained("pma"), bm.Inspector.pretrained("pma")
    assert isinstance(model, bm.Localizer) and model.task is bm.TASKS["pma"] and not model.training
    assert next(model.parameters()).dtype == torch.float32
    case = bm.phantoms.draw("pma", 1, seed=5, size=32).voxels(0)
    said = inspector.inspect(case)
    assert model.locate(case).value == said.value
    assert said.low <= said.value <= said.high


def test_the_card_says_what_it_saw_how_it_did_and_what_it_is_not_for(shipped):
    text, record = (shipped / "card.md").read_text(), bm.records.read(shipped)
    for part in ("n=8, seed=3, size=32", "phantoms of seed 1003", "40 phantoms of seed 2003", "no medical device"):
        assert part in text
    assert f"| mean absolute error [cm2] | {record['metrics']['mae']:.3g} |" in text
    assert "None was measured." in text
    (shipped / card.PATIENTS).write_text("scan,outline by,Dice\nthe chest,the authors,0.91\n")
    assert "| the chest | the authors | 0.91 |" in card.write_card(shipped).read_text()
    (shipped / card.PATIENTS).unlink()


def test_the_record_is_of_the_weights_that_are_stored(shipped):
    record, model = bm.records.read(shipped), bm.pretrained("pma")
    test = bm.phantoms.draw("pma", 6, seed=1003, size=32)
    assert bm.evaluate(model, test).mae.value == pytest.approx(record["metrics"]["mae"], rel=1e-5)
    assert record["extra"]["change_by_rounding"] < 1e-3
    with np.load(shipped / "epochs.npz") as kept:
        assert len(kept["maps"]) == 2
        assert np.abs(kept["maps"][-1] / 255 - model.locate(test[1]).map).max() < 0.003


def test_a_model_that_was_trained_already_is_not_trained_again(tmp_path, monkeypatch):
    """As a run of the sweep leaves it: its record beside it says on what."""
    torch.manual_seed(1)
    model, cohort = bm.Localizer("sfa", width=2), bm.phantoms.draw("sfa", 8, seed=4, size=32)
    history = bm.fit(model, cohort, epochs=1, progress=False)
    model.save(tmp_path / "run" / "model.safetensors")
    asked = {"seed": 4, "n_train": 8, "epochs": 1}
    bm.records.write(tmp_path / "run", parameters=asked, history=history)
    monkeypatch.setattr(bm.training, "fit", None)
    few = ["--n-test", 6, "--n-calibrate", 40, "--size", 32, "--into", tmp_path]
    make(monkeypatch, "sfa", "--model", tmp_path / "run" / "model.safetensors", *few)
    stored, record = bm.load(tmp_path / "sfa" / "model-0.safetensors"), bm.records.read(tmp_path / "sfa")
    for name, weights in model.state_dict().items():
        assert torch.equal(stored.state_dict()[name], weights.half().to(weights.dtype)), name
    assert record["parameters"] | asked == record["parameters"] and record["training"]["loss"] == history.loss
    with pytest.raises(SystemExit, match="of 'sfa', not of 'pma'"):
        make(monkeypatch, "pma", "--model", tmp_path / "run" / "model.safetensors", *few)


def test_a_model_that_does_not_come_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "reference", lambda name: (_ for _ in ()).throw(FileNotFoundError(name)))
    with pytest.raises(FileNotFoundError, match="comes without a trained model for 'cac'"):
        bm.pretrained("cac")
    with pytest.raises(KeyError, match="no task is called 'heart'"):
        bm.pretrained("heart")


@pytest.mark.parametrize("key", bm.TASKS)
def test_the_tasks_own_networks_fit_into_the_wheel(key, tmp_path):
    bm.Localizer(key).half().save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_size < 1.5e6


@pytest.mark.parametrize("key", bm.TASKS)
def test_what_ships_is_whole(key):
    """Once they are made."""
    try:
        folder = trained.pretrained_folder(key)
    except FileNotFoundError:
        pytest.skip("not made yet")
    inspector, metrics = bm.Inspector.load(folder), bm.records.read(folder)["metrics"]
    assert inspector.model.task.key == key and metrics["n"] >= 300
    assert (folder / "model-0.safetensors").stat().st_size < 1.5e6
    assert "phantoms" in (folder / "card.md").read_text()
    assert json.loads((folder / "run.json").read_text())["parameters"]["stored"] == "float16"


def test_few_numbers_get_steps_enough_and_a_trained_model_gentle_ones():
    fresh, old = bm.Localizer("pma", width=2), bm.Localizer("pma", width=2)
    old.trained_spacing_mm.fill_(3.0)
    assert trained.settings_for(fresh, 32) == {"epochs": 250, "optimizer": bm.Muon(0.02, 0.003)}
    assert trained.settings_for(fresh, 4000)["epochs"] == 10
    assert [trained.settings_for(old, n)["epochs"] for n in (32, 300, 4000)] == [75, 8, 1]
    gentle = trained.settings_for(old, 32)["optimizer"]
    assert (gentle.lr, gentle.rest) == pytest.approx((0.002, 0.0003))
