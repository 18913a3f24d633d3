"""One answer to each question: which pairs, on which backbone, with which p, and what is said."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from test_book import BOOK, NOTEBOOKS, code, declared, tagged

import biomark as bm
from biomark.evaluation import protocol


def runs(task="sfa", seeds=5, better=0.3, backbones=("unet",), rivals=("direct", "segmenter"), spread=0.05):
    """A sweep's table: the localizer is `better` on Fisher's scale than each rival, give or take `spread`."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(10, 10 + seeds):
        level = 2 + rng.normal(0, 0.3)  # each seed has phantoms of its own
        methods = [("localizer", b, better) for b in backbones] + [(m, "unet", 0) for m in rivals]
        for method, backbone, gain in methods:
            z = level + gain + rng.normal(0, spread)
            row = {"task": task, "method": method, "backbone": backbone, "n_train": 100, "seed": seed, "n_test": 300}
            has_map = method != "direct"
            rows.append(row | {"r": np.tanh(z), "mae": np.exp(-z), "dice": z / 5 if has_map else np.nan})
    return pd.DataFrame(rows)


def test_a_question_is_answered_over_its_seeds():
    table = runs()
    answer = protocol.answers(table).set_index(["rival", "measure"]).loc[("direct", "r")]
    ours, theirs = (table[table.method == m].r.to_numpy() for m in ("localizer", "direct"))
    expected = stats.ttest_1samp(np.arctanh(ours) - np.arctanh(theirs), 0)
    assert answer.pvalue == pytest.approx(expected.pvalue) and answer.seeds == 5 and answer.verdict == "holds"
    assert (answer.localizer, answer.other) == pytest.approx((ours.mean(), theirs.mean()))
    assert 0 < answer.low < answer.difference < answer.high < 1 and answer.not_worse


def test_rivals_of_a_task_are_one_family_and_other_backbones_another():
    table = protocol.answers(runs(backbones=("unet", "fcn", "resunet")))
    own = table[(table.measure == "r") & (table.backbone == "unet")]
    others = table[(table.measure == "r") & (table.backbone != "unet")]
    assert set(own.rival) == {"direct", "segmenter"} and set(others.rival) == {"direct"}
    for family in (own, others):
        np.testing.assert_allclose(family.pvalue_holm, bm.statistics.holm(family.pvalue))
    assert not table.duplicated(["task", "backbone", "rival", "measure"]).any()


@pytest.mark.parametrize(
    ("seeds", "difference", "p", "word"),
    [
        (5, 0.1, 0.01, "holds"),
        (5, 0.1, 0.2, "not settled"),
        (5, -0.1, 0.01, "the other way round"),
        (5, -0.1, 0.2, "leans the other way"),
        (2, 0.1, 0.01, "too few seeds (2)"),
        (3, 0.1, np.nan, "not settled"),
        (0, np.nan, np.nan, "not run"),
    ],
)
def test_the_verdict_is_what_its_page_says(seeds, difference, p, word):
    assert protocol.verdict(seeds, difference, p) == word


def test_a_rival_that_is_better_is_said_to_be():
    table = protocol.answers(runs(better=-0.3))
    assert set(table.verdict) == {"the other way round"}
    assert (table.high < 0).all() and not table.not_worse[table.measure == "mae"].any()


def test_the_backbone_is_the_task_s_own_and_no_choice_by_outcome():
    table = runs("pma", backbones=("unet", "resunet"))
    assert protocol.primary(table) == {"pma": "unet"}, "rivals of older records"
    table.loc[table.method == "segmenter", "backbone"] = "resunet"
    assert protocol.primary(table) == {"pma": "resunet"}
    assert protocol.primary(runs(rivals=())) == {"sfa": "unet"}


def test_what_was_not_run_is_no_row_and_one_seed_is_no_test():
    table = protocol.answers(runs(seeds=1, rivals=("segmenter",)))
    assert table.pvalue.isna().all() and set(table.verdict) == {"too few seeds (1)"}
    assert protocol.verdicts(table, "r", "segmenter")["sfa"] == "too few seeds (1)"
    assert set(protocol.verdicts(table, "r", "direct").values()) == {"not run"}
    assert len(protocol.answers(runs(rivals=()))) == 0


def test_fewer_labels_and_other_phantoms_are_not_mixed_in():
    table = runs()
    few = table.assign(n_train=10, r=0.1)
    pd.testing.assert_frame_equal(protocol.answers(pd.concat([table, few])), protocol.answers(table))
    table.loc[(table.seed == 10) & (table.method == "direct"), "n_test"] = 50
    assert protocol.answers(table).query("rival == 'direct'").seeds.unique().tolist() == [4]
    with pytest.raises(ValueError, match="more than once: give one design"):
        protocol.answers(pd.concat([runs(), runs()]))


def test_direct_regression_is_located_by_its_best_post_hoc_map():
    table, rows = runs(), []
    for seed in range(10, 15):
        for method, dice in (("grad_cam", 0.2), ("occlusion", 0.3)):
            row = {"task": "sfa", "n_train": 100, "seed": seed, "method": method, "dice": dice + seed / 1e4}
            rows.append(row | {"localizer": "unet", "localizer_dice": 0.5})
    answer = protocol.answers(table, pd.DataFrame(rows)).set_index(["rival", "measure"]).loc[("direct", "dice")]
    assert (answer.localizer, answer.other) == pytest.approx((0.5, 0.3012)) and answer.verdict == "holds"


def test_a_folder_without_tables_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results.csv"):
        protocol.read(tmp_path)


RESERVED = {base + seed for seed in protocol.REPORTED for base in (0, 1000, 2000)}
REFERENCE = BOOK / "reference"


def seeds(asked):
    """Every seed that a mapping of parameters names: of a run, or a list of them."""
    named = [value for name, value in asked.items() if "seed" in name]
    return {int(s) for value in named for s in (value if isinstance(value, list) else [value])}


def test_what_is_reported_has_the_seeds_for_it():
    assert set(protocol.read(REFERENCE / "sweep")[0].seed) <= set(protocol.REPORTED)
    depths = yaml.safe_load((BOOK.parent / "workflow" / "sweep.yml").read_text())["depths"]
    assert all(tuple(depths[name]["seeds"]) == protocol.REPORTED for name in ("full", "gpu"))


def test_no_other_record_has_seen_the_reported_phantoms():
    """Try-outs, the first design, demonstrations: what was looked at while settings were chosen."""
    for path in REFERENCE.rglob("run.json"):
        if path.relative_to(REFERENCE).parts[0] not in ("sweep", "pretrained"):
            found = seeds(json.loads(path.read_text())["parameters"]) & RESERVED
            assert not found, f"{path.relative_to(REFERENCE)}: seed {found} is kept for what is reported"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_chapter_draws_the_reported_phantoms(path):
    given = [declared(path)] if tagged(path, "parameters") else []
    given += [yaml.safe_load(file.read_text()) or {} for file in BOOK.glob(f"params/*/{path.stem}.yml")]
    for asked in given:
        assert not seeds(asked) & RESERVED, f"{path.stem}: {asked} has a seed that is kept for what is reported"
    for cell in code(path):
        found = {int(s) for s in re.findall(r"\bseed\s*=\s*(\d+)\b", cell.source)} & RESERVED
        assert not found, f"{cell}: seed {found} is kept for what is reported"
