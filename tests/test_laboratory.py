"""The models that ship with the library, the laboratory's among them: they load, locate, and stay small."""

import numpy as np
import pytest
from scipy import stats

import biomark as bm

HOME = bm.records.reference("laboratory")
PRETRAINED = sorted(path.parent for path in bm.records.reference("pretrained").glob("*/run.json"))


def test_what_ships_is_small():
    assert sum(file.stat().st_size for file in HOME.rglob("*")) < 1e6
    assert all((folder / "model-0.safetensors").stat().st_size <= 1.5e6 for folder in PRETRAINED)


def test_each_task_has_a_model_with_a_card():
    assert {folder.name for folder in PRETRAINED} == set(bm.TASKS)
    for folder in PRETRAINED:
        asked = bm.records.read(folder)["parameters"]
        assert f"n={asked['n_train']}, seed={asked['seed']}" in (folder / "card.md").read_text()


# Of hearts the ranks, not the values: among so few, one stent taken for calcium decides a correlation of scores.
@pytest.mark.parametrize(
    ("folder", "measure", "least", "dice_min"),
    [
        (HOME / "sfa", stats.pearsonr, 0.95, 0.87),
        (PRETRAINED[0].with_name("sfa"), stats.pearsonr, 0.99, 0.93),
        (PRETRAINED[0].with_name("pma"), stats.pearsonr, 0.95, 0.87),
        (PRETRAINED[0].with_name("liver"), stats.spearmanr, 0.7, 0.55),
        (PRETRAINED[0].with_name("cac"), stats.spearmanr, 0.65, 0.85),
    ],
)
def test_the_model_that_ships_loads_and_locates(folder, measure, least, dice_min):
    key, inspector, asked = folder.name, bm.Inspector.load(folder), bm.records.read(folder)["parameters"]
    unseen = bm.phantoms.draw(key, 20, seed=31, size=asked["size"])
    cases = [unseen.voxels(i) for i in range(len(unseen))]
    said = [inspector.inspect(case) for case in cases]
    assert measure(unseen.values, [one.value for one in said]).statistic > least
    all_of_it = np.stack([case.weights > 0 for case in cases])
    true = np.stack([case.mask for case in cases]) & all_of_it
    dice = np.nanmean(bm.metrics.dice(np.stack([one.mask for one in said]), true))
    assert dice > dice_min > np.nanmean(bm.metrics.dice(all_of_it, true)) + 0.05
    inside = [one.low <= known <= one.high for one, known in zip(said, unseen.values, strict=True)]
    assert np.mean(inside) > 0.6  # nine in ten are promised; twenty may fall short


def test_the_maps_of_its_training_end_where_the_model_is():
    folder = HOME / "sfa"
    with np.load(folder / "epochs.npz") as kept:
        maps = kept["maps"] / 255
        case = bm.phantoms.draw("sfa", int(kept["case"]) + 1, seed=int(kept["seed"]), size=int(kept["size"]))[-1]
    now = bm.Inspector.load(folder).model.locate(case).map
    assert np.abs(now - maps[-1]).mean() < 0.01
    assert len(maps) == bm.records.read(folder)["parameters"]["epochs"] + 1
