"""The sweep: settings that the notebook knows, a plan that Snakemake accepts, tables that say what the runs said."""

import importlib.util
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from test_book import BOOK, TYPES, code, declared, tagged

import biomark as bm
from biomark.evaluation import protocol

WORKFLOW = Path(__file__).resolve().parent.parent / "workflow"
NOTEBOOK = WORKFLOW / "experiment.ipynb"
SWEEP = yaml.safe_load((WORKFLOW / "sweep.yml").read_text())
GATHER = runpy.run_path(str(WORKFLOW / "gather.py"))


@cache
def planned(*arguments):
    """What Snakemake would run, and with which values, by folder."""
    if importlib.util.find_spec("snakemake") is None:
        pytest.skip("Snakemake is not installed; `make sweep ARGS=-n` installs it")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--printshellcmds", "--nolock", *arguments]
    result = subprocess.run(command, cwd=WORKFLOW.parent, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr + result.stdout
    shown = re.findall(r"-y '(\{.*?\})' -r out (\S+)", result.stderr + result.stdout)
    # A quote within the quoted values is written '"'"' for the shell.
    return {out: yaml.safe_load(values.replace("'\"'\"'", "'")) for values, out in shown}


def test_every_setting_is_a_parameter_of_the_notebook():
    known = declared(NOTEBOOK)
    groups = [*SWEEP["settings"].values(), *(own for task in SWEEP["own"].values() for own in task.values())]
    groups += [values for depth in SWEEP["depths"].values() for values in depth["settings"].values()]
    for name, value in [item for group in groups for item in group.items()]:
        assert name in known, f"experiment.ipynb has no parameter {name}"
        assert isinstance(value, TYPES[type(known[name]).__name__]), f"{name}: {value!r}"


def test_the_parameters_say_what_they_are():
    (cell,) = tagged(NOTEBOOK, "parameters")
    tokens = tokenize.generate_tokens(io.StringIO(cell.source + "\n").readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    assert len(comments) == len(cell.source.splitlines()) == len(declared(NOTEBOOK))


def usual(task):
    """How the task says that its models are trained, under the names of parameters."""
    settings = bm.TASKS[task].settings
    named = {"value_scale": settings.loss.scale, "fold": [*settings.fold]}
    return vars(settings) | vars(settings.optimizer) | named


@pytest.mark.parametrize("task", bm.TASKS)
def test_the_sweep_trains_as_the_task_says(task):
    names = "epochs batch_size lr rest value_scale backbone width depth fold".split()
    asked = dict(SWEEP["settings"][task])
    assert asked.pop("n_train") >= 1000
    assert asked == {name: usual(task)[name] for name in names}
    whole, tried = SWEEP["depths"]["full"]["settings"], SWEEP["depths"]["full"]["seeds"]
    assert not {name for group in whole.values() for name in group} & set(asked), "a full run has no other settings"
    assert tried == [10, 11, 12, 13, 14], "settings are chosen on others"


@pytest.mark.parametrize(("task", "chapter"), [("pma", "06-*"), ("sfa", "07-*"), ("cac", "08-*"), ("liver", "09-*")])
def test_a_chapter_trains_as_the_task_says_but_for_less_time(task, chapter):
    (path,) = BOOK.glob(f"{chapter}.ipynb")
    said = declared(path)
    shared = {name: value for name, value in said.items() if name in usual(task)}
    shorter = shared.pop("epochs"), said["n_train"]
    full = SWEEP["settings"][task]
    assert shorter[0] * shorter[1] <= full["epochs"] * full["n_train"]
    assert shared == {name: usual(task)[name] for name in shared}
    assert {"batch_size", "lr", "rest", "backbone", "width"} <= set(shared)
    direct = SWEEP["own"][task]["direct"]
    assert said.get("direct_lr", direct["lr"]) == direct["lr"], "nor is its rival"


@pytest.mark.parametrize("depth", SWEEP["depths"])
def test_the_plan_holds_what_there_is(depth):
    runs = planned("--config", f"depth={depth}")
    known, seeds = declared(NOTEBOOK), SWEEP["depths"][depth]["seeds"]
    assert {run["seed"] for run in runs.values()} == set(seeds)
    assert {run["task"] for run in runs.values()} == set(bm.TASKS)
    for out, run in runs.items():
        assert set(run) <= set(known) and run["task"] in out
        assert run["backbone"] in bm.backbones.BACKBONES
        assert not run.get("attribution") or (run["method"] == "direct" and bm.TASKS[run["task"]].ndim == 2)
        assert run["method"] != "size_constrained" or run["task"] != "cac", "a score is no size"


def test_fewer_labels_are_shown_as_often():
    runs = planned("--config", "depth=quick")
    curve = [run for run in runs.values() if (run["task"], run["method"], run["seed"]) == ("sfa", "segmenter", 0)]
    assert sorted(run["n_train"] for run in curve) == [8, 16]
    steps = [run["epochs"] * np.ceil(run["n_train"] / run["batch_size"]) for run in curve]
    assert max(steps) < 1.05 * min(steps)


def test_what_a_grid_does_not_name_is_the_task_s_own():
    runs = planned("--config", "depth=full")
    assert len(runs) == 40
    for task, settings in SWEEP["settings"].items():
        own = [run for run in runs.values() if run["task"] == task]
        assert {(run["backbone"], run["n_train"]) for run in own} == {(settings["backbone"], settings["n_train"])}


def test_every_stress_is_planned_once_and_known_to_its_notebook():
    runs, known = planned("stress"), declared(WORKFLOW / "stress.ipynb")
    assert len(runs) == len(SWEEP["stress"]["runs"])
    for run in runs.values():
        assert set(run) <= set(known)
        assert all(isinstance(value, type(known[name])) for name, value in run.items())
    (cell,) = [c for c in code(WORKFLOW / "stress.ipynb") if "SETTINGS = {" in c.source]
    settings = [name for run in runs.values() for name in run["settings"]]
    assert all(f'"{name}": ' in cell.source for name in settings) and len(settings) == len(set(settings))


def test_thickness_is_tried_on_a_calcium_localizer_of_the_sweep():
    runs = planned("thickness")
    assert [(run["task"], run["method"], run["backbone"]) for run in runs.values()] == [("cac", "localizer", "unet")]


def test_a_depth_that_there_is_not():
    with pytest.raises(AssertionError, match="no depth 'ful': choose one of full, quick, gpu"):
        planned("--config", "depth=ful")


GRID = {"tasks": ["sfa"], "methods": ["localizer"], "backbones": ["unet"]}


@pytest.mark.parametrize(
    ("misspelt", "says"),
    [
        ({"depht": "quick"}, "a sweep knows no 'depht': write depth"),
        ({"settings": {"pma": {"epohcs": 2}}}, "write epochs"),
        ({"own": {"pmaa": {"direct": {}}}}, "`own` knows no 'pmaa': write pma"),
        ({"device": "cude"}, "`device` knows no 'cude': write cuda"),
        ({"depths": {"full": {"settings": {"sfaa": {}}}}}, "knows no 'sfaa': write sfa"),
        ({"depths": {"full": {"sedes": [1]}}}, "depth 'full' knows no 'sedes': write seeds"),
        ({"depths": {"full": {"runs": [GRID | {"n_trian": [8]}]}}}, "`runs` knows no 'n_trian': write n_train"),
        ({"depths": {"full": {"runs": [GRID | {"methods": ["locolizer"]}]}}}, "`methods` of sfa knows no 'locolizer'"),
        ({"depths": {"full": {"runs": [{"tasks": ["sfa"]}]}}}, "an entry of `runs` needs 'methods'"),
    ],
)
def test_what_is_misspelt_starts_nothing(misspelt, says, tmp_path):
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(misspelt))
    with pytest.raises(AssertionError, match=says):
        planned("--configfile", "workflow/sweep.yml", str(tmp_path / "mine.yml"))


def test_a_sweep_in_which_runs_failed_goes_on(tmp_path):
    """Its table was written all the same, and must not make it look finished."""
    (tmp_path / "quick").mkdir()
    for name in ("results.json", "results.csv", "comparisons.csv", "post_hoc.csv"):
        (tmp_path / "quick" / name).write_text("")
    everything = planned("--config", "depth=quick", f"results={tmp_path}")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--nolock"]
    result = subprocess.run(
        [*command, "--config", "depth=quick", f"results={tmp_path}"],
        cwd=WORKFLOW.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0 and len(everything) > 10
    assert all(out in result.stdout + result.stderr for out in everything)


def test_without_a_common_disk_a_run_writes_into_its_own_copy_of_the_storage(tmp_path):
    if importlib.util.find_spec("snakemake_storage_plugin_fs") is None:
        pytest.skip("the plugin of Snakemake that stands in for a bucket is not installed: snakemake-storage-plugin-fs")
    storage = ["--default-storage-provider", "fs", "--default-storage-prefix", str(tmp_path)]
    plain, stored = planned("--config", "depth=quick"), planned("--config", "depth=quick", *storage)
    copies = {f".snakemake/storage/fs{tmp_path}/{out}": values for out, values in plain.items()}
    assert stored == copies
    with pytest.raises(AssertionError, match="stress leaves files under names that Snakemake does not know"):
        planned("stress", *storage)


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_a_cluster_repeats_and_keeps_what_one_machine_does(profile):
    ours, usual = (
        yaml.safe_load((WORKFLOW / "profiles" / name / "config.yaml").read_text()) for name in (profile, "default")
    )
    for name in ("keep-going", "rerun-incomplete", "rerun-triggers", "quiet"):
        assert ours[name] == usual[name]
    rules = re.findall(r"(?m)^rule (\w+):", (WORKFLOW / "Snakefile").read_text())
    assert set(ours["set-resources"]) <= set(rules) and ours["set-resources"]["run"] == {"gpu": 1}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two real runs on the same test phantoms, side by side, and their tables."""
    root, started = tmp_path_factory.mktemp("sweep"), []
    small = {"task": "pma", "n_train": 16, "n_test": 12, "size": 48, "width": 4, "epochs": 2, "attribution_cases": 5}
    for method in ("localizer", "direct"):
        out = root / method
        out.mkdir()
        values = small | {"method": method, "attribution": method == "direct", "out": str(out)}
        command = ["papermill", NOTEBOOK, out / "run.ipynb", "--no-progress-bar", "-y", yaml.safe_dump(values)]
        with open(out / "run.log", "w") as log:
            one_core = os.environ | {"OMP_NUM_THREADS": "1"}
            started.append(
                subprocess.Popen([sys.executable, "-m", *map(str, command)], env=one_core, stdout=log, stderr=log)
            )
    for process in started:
        assert process.wait(300) == 0, "".join(log.read_text() for log in root.glob("*/run.log"))
    GATHER["gather"](root)
    return root


@pytest.mark.slow
def test_a_run_leaves_what_is_needed_and_no_more(swept):
    for method, kind in {"localizer": bm.Localizer, "direct": bm.DirectRegressor}.items():
        files = {path.name for path in (swept / method).iterdir()}
        assert files == {"run.json", "predictions.csv", "model.safetensors", "run.ipynb", "run.log"}
        test = bm.phantoms.draw("pma", 12, seed=1000, size=48)
        model = bm.load(swept / method / "model.safetensors")
        assert type(model) is kind
        report = bm.evaluate(model, test)
        assert report.r == pytest.approx(bm.Report.read(swept / method).r, abs=1e-3)


@pytest.mark.slow
def test_a_method_of_ones_own_is_trained_and_recorded_like_any(tmp_path):
    own = "import biomark as bm\n\n\nclass Mine(bm.Segmenter):\n    pass\n"
    (tmp_path / "mymodule.py").write_text(own)
    small = {"task": "pma", "n_train": 8, "n_test": 8, "size": 48, "width": 4, "epochs": 1}
    values = small | {"method": "mine2", "learner": "mymodule:Mine", "out": str(tmp_path / "run")}
    command = ["papermill", NOTEBOOK, tmp_path / "run.ipynb", "--no-progress-bar", "-y", yaml.safe_dump(values)]
    found = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tmp_path}{os.pathsep}{WORKFLOW.parent}"}
    result = subprocess.run([sys.executable, "-m", *map(str, command)], env=found, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert bm.Report.read(tmp_path / "run").n == 8
    assert bm.records.read(tmp_path / "run")["parameters"]["method"] == "mine2"


@pytest.mark.slow
def test_the_table_says_what_the_runs_said(swept):
    table = pd.read_csv(swept / "results.csv").set_index("method")
    assert list(table.index) == ["localizer", "direct"]
    for method, row in table.iterrows():
        record = bm.records.read(swept / method)
        for name in ("r", "r_low", "r_high", "mae", "mae_low", "energy_in_mask"):
            assert row[name] == pytest.approx(record["metrics"][name] or np.nan, nan_ok=True), name
        assert row.seconds == pytest.approx(sum(record["extra"]["seconds"].values())) and row.training_s > 0
        assert row.code_digest == bm.records.code_digest() and row.data_digest == table.data_digest.iloc[0]


@pytest.mark.slow
def test_every_question_has_one_row(swept):
    table = pd.read_csv(swept / "comparisons.csv").set_index("measure")
    assert list(table.index) == ["r", "mae", "dice"] and set(table.rival) == {"direct"} and set(table.seeds) == {1}
    maps = pd.read_csv(swept / "post_hoc.csv")
    assert table.other.dice == pytest.approx(maps.dice.max()) and (table.verdict == "too few seeds (1)").all()


@pytest.mark.slow
def test_post_hoc_maps_stand_beside_the_localizer(swept):
    table = pd.read_csv(swept / "post_hoc.csv").set_index("method")
    assert set(table.index) == set(bm.post_hoc.METHODS) and (table.n == 5).all()
    ours = pd.read_csv(swept / "localizer" / "predictions.csv").dice[:5].mean()
    np.testing.assert_allclose(table.localizer_dice, ours)
    np.testing.assert_allclose(table.difference, ours - table.dice)


@pytest.mark.slow
def test_one_file_holds_all_tables(swept):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    tables = json.loads((swept / "results.json").read_text(), parse_constant=refuse)
    assert {name: len(rows) for name, rows in tables.items()} == {"results": 2, "comparisons": 3, "post_hoc": 3}


def test_the_table_of_answers_is_that_of_the_protocol(tmp_path):
    """Predictions made by hand: three methods, three seeds."""
    rng = np.random.default_rng(0)
    for seed in (0, 1, 2):
        known = rng.gamma(4, 5, 60)
        for at, method in enumerate(("localizer", "direct", "segmenter")):
            write_run(tmp_path / f"{method}-{seed}", method, seed, known, known + rng.normal(0, 1 + at, 60))
    GATHER["gather"](tmp_path)
    table = pd.read_csv(tmp_path / "comparisons.csv")
    expected = protocol.answers(*protocol.read(tmp_path))
    assert len(table) == 4 and table.verdict.tolist() == expected.verdict.tolist()
    np.testing.assert_allclose(table.pvalue_holm, expected.pvalue_holm)


def test_methods_of_ones_own_stand_in_the_table_and_what_cannot_be_compared_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    known = rng.gamma(4, 5, 60)
    write_run(tmp_path / "a", "localizer", 0, known, known + rng.normal(0, 1, 60))
    write_run(tmp_path / "b", "cam2", 0, known, known + rng.normal(0, 3, 60))
    write_run(tmp_path / "c", "other", 0, known + 1, known, extra={})  # on other phantoms, and by no notebook of ours
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run.json").touch()  # cut off by a full disk
    for folder in ("e", "f"):
        write_run(tmp_path / folder, "direct", 0, known, known)
    (tmp_path / "e" / "predictions.csv").unlink()
    (tmp_path / "f" / "predictions.csv").write_text("of another run")
    bm.records.write(tmp_path / "g", parameters={"setting": "plain"})  # of something else
    for folder, part, value in (("h", "parameters", {"seed": "x"}), ("i", "parameters", {"task": ["pma"]})):
        write_run(tmp_path / folder, "direct", 0, known, known)
        record = json.loads((tmp_path / folder / "run.json").read_text())
        record[part] |= value
        (tmp_path / folder / "run.json").write_text(json.dumps(record))
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "run.json").write_text('{"schema": 1, "parameters": null}')
    GATHER["keep"](tmp_path, tmp_path.with_name("kept"))
    GATHER["gather"](tmp_path)
    assert pd.read_csv(tmp_path / "results.csv").method.tolist() == ["localizer", "cam2", "other"]
    assert pd.read_csv(tmp_path / "comparisons.csv")[["rival", "measure"]].to_numpy().tolist() == [
        ["cam2", "r"],
        ["cam2", "mae"],
    ]
    said = capsys.readouterr().out
    assert said.count("left out of the comparisons") == 1 and "is not readable JSON" in said
    assert all(f"left out: {folder} " in said for folder in "defghij")


def write_run(folder, method, seed, known, predicted, extra=None):
    """A record as a run leaves it, of a model without a map."""
    task, n = bm.TASKS["pma"], len(known)
    empty = np.zeros((n, 1, 1), np.float32)
    cohort = bm.Cohort(task, empty, empty, known, None, np.ones((n, 2)), tuple(f"{seed}-{i}" for i in range(n)))
    asked = {"task": "pma", "method": method, "backbone": "unet", "n_train": 8, "seed": seed, "n_test": n, "size": 0}
    extra = {"seconds": {"training": 1.0}, "post_hoc": {}} if extra is None else extra
    history = bm.History([1.0], [1.0], "cpu", "32-true")
    report = bm.evaluate(Told(predicted), cohort)
    bm.records.write(folder, parameters=asked, report=report, history=history, extra=extra, data=[cohort])


class Told(bm.Localizer):
    """A model that is told its values."""

    def __init__(self, values):
        super().__init__("pma", width=4)
        self.values = values

    def forward(self, images_hu, weights):
        told, self.values = self.values[: len(weights)], self.values[len(weights) :]
        return bm.Localization(torch.as_tensor(told), None)


def test_a_folder_without_runs(tmp_path, capsys):
    GATHER["gather"](tmp_path)
    assert "no finished run" in capsys.readouterr().out and not list(tmp_path.iterdir())
