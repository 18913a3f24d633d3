"""The laboratory's model, which ships with the library: it loads, locates, and stays small."""

import numpy as np

import biomark as bm


def test_the_model_that_ships_loads_and_locates():
    folder = bm.records.reference("laboratory") / "sfa"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1e6
    inspector, asked = bm.Inspector.load(folder), bm.records.read(folder)["parameters"]
    unseen = bm.phantoms.draw("sfa", 20, seed=31, size=asked["size"])
    said = [inspector.inspect(case) for case in unseen]
    assert np.corrcoef(unseen.values, [one.value for one in said])[0, 1] > 0.95
    maps = np.stack([one.map for one in said])
    dice = np.mean(bm.metrics.dice((maps > 0.5) & (unseen.weights > 0), unseen.masks))
    assert dice > 0.75 > np.mean(bm.metrics.dice(unseen.weights > 0, unseen.masks))
    inside = [one.low <= known <= one.high for one, known in zip(said, unseen.values, strict=True)]
    assert np.mean(inside) > 0.6  # nine in ten are promised; twenty may fall short


def test_the_maps_of_its_training_end_where_the_model_is():
    folder = bm.records.reference("laboratory") / "sfa"
    with np.load(folder / "epochs.npz") as kept:
        maps = kept["maps"] / 255
        case = bm.phantoms.draw("sfa", int(kept["case"]) + 1, seed=int(kept["seed"]), size=int(kept["size"]))[-1]
    now = bm.Inspector.load(folder).model.locate(case).map
    assert np.abs(now - maps[-1]).mean() < 0.01
    assert len(maps) == bm.records.read(folder)["parameters"]["epochs"] + 1
