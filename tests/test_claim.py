"""The reporting table: every item of the checklist, and only what a record really says."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import biomark as bm


class FakeReport:
    def to_dict(self):
        numbers = {"task": "cac", "unit": "Agatston", "n": 300, "r": 0.97, "r_low": 0.96, "r_high": 0.98}
        return numbers | {"dice": float("nan"), "kappa": 0.92, "limit_low": -9.0, "limit_high": np.float64(8.5)}

    def to_frame(self):
        return pd.DataFrame({"id": ["a"]})


@pytest.fixture
def record(tmp_path):
    history = bm.History(loss=[0.5, 0.2], seconds=[1.0, 2.0], device="cpu", precision="32-true")
    parameters = {"n_train": 1500, "epochs": 2, "lr": 0.02, "backbone": "unet", "width": 24}
    parameters |= {"depth": 3, "fold": [2, 2], "seed": 0, "scan": ""}
    bm.records.write(
        tmp_path,
        parameters=parameters,
        report=FakeReport(),
        history=history,
        data=[SimpleNamespace(images=np.ones((2, 3)), values=np.ones(2))],
    )
    return bm.records.read(tmp_path)


def test_all_items_and_what_a_record_says(record):
    table = bm.records.claim.table(record)
    assert list(table.index) == list(range(1, 45)) and list(table.columns) == ["section", "asks", "answer", "source"]
    answer = table.answer
    assert answer[19] == "cases for training 1500, cases for testing 300; seed 0"
    assert answer[22] == "task cac, backbone unet, width 24, depth 3, fold [2, 2]"
    assert "torch" in answer[23] and table.source[23] == "record"
    assert answer[25].startswith("epochs 2, lr 0.02, device cpu") and "last loss 0.2, seconds 3" in answer[25]
    assert answer[28] == "r, kappa, limit_low, limit_high" and answer[29] == "95 % intervals of r"
    assert answer[37] == "r 0.97 (0.96 to 0.98), kappa 0.92, limit_low -9, limit_high 8.5"
    assert answer[38] == "kappa 0.92" and f"data digest {record['data_digest']}" in answer[43]
    for item in (1, 8, 13, 16, 27, 33, 39, 44):
        assert answer[item] == table.source[item] == bm.records.claim.AUTHORS


def test_an_empty_record_leaves_nearly_all_to_the_authors(tmp_path):
    bm.records.write(tmp_path, parameters={})
    table = bm.records.claim.table(bm.records.read(tmp_path))
    assert set(table.index[table.source != bm.records.claim.AUTHORS]) == {23, 43}
    assert not table.isna().any().any()


@pytest.mark.parametrize("name", ["parameters", "metrics", "training", "versions", "machine"])
def test_what_another_program_left_out_stays_open(record, name):
    assert len(bm.records.claim.table(record | {name: None})) == 44
    assert len(bm.records.claim.table(record | {"training": {"loss": [None]}})) == 44


def test_no_record():
    with pytest.raises(ValueError, match="not a run's record, it has no metrics, parameters"):
        bm.records.claim.table({"training": {}, "versions": {}})
