"""The command `biomark`: measure scans, check a spreadsheet, train on its numbers. It only calls the library.

What needs PyTorch is imported when there is something to do, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biomark.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    import biomark as bm

TASKS = {
    "pma": "pectoralis muscle area",
    "sfa": "subcutaneous fat area",
    "liver": "liver tumour area",
    "cac": "coronary calcium score",
}
_SHEETS = (".csv", ".xlsx", ".xlsm", ".xls")
_MOST_LINES = 20  # of results; a longer table is read in values.csv
_HELD_OUT = 0.25  # of the patients, for the report

_CODES = "exit status: 0 all is done; 1 some scans failed, or the sheet has problems; 2 nothing could be done."
_MEASURE = f"""examples:
  biomark measure --sample chest --task pma        a real chest, downloaded once
  biomark measure chest.nii.gz --task cac          the heart is found by a rule
  biomark measure dicom/0012 --task sfa --slice 46
  biomark measure scans.csv --task pma --out found the columns id, image and perhaps slice and value

For each scan there is a folder with a page, the map, and a DICOM segmentation where the scan is DICOM; values.csv has
all. Folders have the names of the scans' files; a sheet gives names of your own. The same command again goes on where
it stopped. Models that come with biomark saw phantoms and no patient: for research, no medical device.

{_CODES}"""
_CHECK = f"""examples:
  biomark check scans.csv --task sfa
  biomark check scans.csv --task sfa --candidates   reads the scans too, and says which rule the numbers follow

{_CODES}"""
_TRAIN = f"""examples:
  biomark train scans.csv --task sfa --from pretrained --out fat
  biomark measure new.csv --model fat

The sheet has the columns id, image and value, and perhaps slice, mask (to judge, never to train), group (the patient:
all scans of one stay on one side) and split (train or test; else a quarter of the patients is held out). The folder
gets the model, its intervals where enough patients were held out, run.json, predictions.csv and card.md. The same
command again goes on where it stopped.

{_CODES}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line, such as ``["check", "scans.csv", "--task", "sfa"]``; its exit status."""
    parser = _parser()
    asked = parser.parse_args(argv)
    try:
        return asked.run(asked, parser)
    except KeyboardInterrupt:
        print("biomark: stopped; the same command again goes on from here.", file=sys.stderr)
        return 130
    # What the library refuses, in one sentence; anything else is a fault of its own, and shows where.
    except (ValueError, OSError, ImportError, KeyError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error
        print(f"biomark: {text}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("biomark", description="Learn where a biomarker comes from, and measure it in CT.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    tasks = ", ".join(f"{key} ({name})" for key, name in TASKS.items())

    def command(name: str, does: str, examples: str, run: Any) -> argparse.ArgumentParser:
        about = f"{does[0].upper()}{does[1:]}."
        layout = argparse.RawDescriptionHelpFormatter
        one = commands.add_parser(name, help=does, description=about, epilog=examples, formatter_class=layout)
        one.add_argument("--task", choices=[*TASKS], metavar="TASK", help=tasks, required=name != "measure")
        one.add_argument("--quiet", action="store_true", help="show no progress bars")
        one.set_defaults(run=run)
        return one

    one = command("measure", "measure scans, or all of a sheet", _MEASURE, _measure)
    one.add_argument("scans", nargs="*", metavar="SCAN|SHEET", help="DICOM (a folder or file) or NIfTI; CSV or Excel")
    one.add_argument("--sample", metavar="NAME", help="a real CT, downloaded once: chest, contrast-chest")
    one.add_argument("--slice", type=int, metavar="N", help="from 0 at the feet; else found, where there is a rule")
    one.add_argument("--out", type=Path, metavar="DIR", help="biomark-TASK by default")
    one.add_argument("--model", type=Path, metavar="FILE", help="a model's file, or a folder that `train` wrote")

    one = command("check", "name all problems of a sheet before a pixel is read", _CHECK, _check)
    one.add_argument("sheet", metavar="SHEET")
    one.add_argument("--candidates", action="store_true", help="hold the numbers against the images (slower)")

    one = command("train", "train on the numbers of a sheet", _TRAIN, _train)
    one.add_argument("sheet", metavar="SHEET")
    one.add_argument("--from", dest="start", metavar="pretrained|FILE", help="go on from a trained model")
    one.add_argument("--out", type=Path, metavar="DIR", help="biomark-TASK-model by default")
    one.add_argument("--leave-out", action="store_true", help="leave out rows with a problem instead of stopping")
    one.add_argument("--epochs", type=int, metavar="N", help="passes; enough for 1000 steps by default")
    one.add_argument("--width", type=int, metavar="N", help="channels of a new network; the task's own by default")
    one.add_argument("--workers", type=int, default=1, metavar="N", help="processes that read scans")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="of split, network and order; 0 by default")
    return parser


def _measure(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    paths = [Path(path) for path in asked.scans]
    sheets = [path for path in paths if path.suffix.lower() in _SHEETS]
    if asked.sample is None and not paths:
        parser.error("name scans, a sheet, or --sample chest")
    if sheets and (len(paths) > 1 or asked.sample):
        parser.error(f"give one sheet alone, or scans: {sheets[0]} is a sheet")
    if sheets and asked.slice is not None:
        parser.error("--slice is of scans: a sheet has a column slice")
    if asked.task is None and asked.model is None:
        parser.error("say what to measure: --task " + "|".join(TASKS))
    import biomark as bm
    from biomark.scans.reader import missing
    from biomark.scans.samples import SAMPLES

    if asked.model is None:
        model = bm.Inspector.pretrained(asked.task)
    elif (asked.model / "inspector.json").is_file():
        model = bm.Inspector.load(asked.model)
    else:
        model = bm.load(_weights(asked.model))
    if len(paths) == 1 and not paths[0].expanduser().exists():
        raise FileNotFoundError(missing(paths[0]))
    task = getattr(model, "model", model).task
    if asked.task not in (None, task.key):
        raise ValueError(f"{asked.model} measures {task.key!r} and not {asked.task!r}: leave out --task.")
    out = asked.out or Path(f"biomark-{task.key}")
    sample = [(asked.sample, bm.scans.sample(asked.sample))] if asked.sample else []
    sheet = sheets[0] if sheets else _sheet_of(sample + [(_name(path), path) for path in paths], asked.slice, out)
    how = {"write": _formats(sheet), "allow_outside": not sheets, "progress": not asked.quiet}
    status = _tell(bm.delivery.deliver(model, sheet, out, **how), task, out)
    if asked.sample:
        print(SAMPLES[asked.sample].about, SAMPLES[asked.sample].citation, sep="\n")
    return status


def _weights(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _name(path: Path) -> str:
    """A scan's name, as far as it can be an id."""
    name = path.resolve().name
    for end in (".gz", ".nii", ".dcm"):
        name = name.removesuffix(end)
    return "".join(sign if sign.isalnum() or sign in "-_. " else "-" for sign in name).strip(".-_ ") or "scan"


def _sheet_of(scans: Sequence[tuple[str, Path]], index: int | None, out: Path) -> Path:
    """A sheet of the named scans, in the folder of the results."""
    import pandas as pd

    from biomark.machine.files import atomic_write

    rows, seen = [], Counter[str]()
    for name, path in scans:
        seen[name.casefold()] += 1
        number = f"-{seen[name.casefold()]}" * (seen[name.casefold()] > 1)
        rows.append({"id": name + number, "image": Path(path).absolute(), "slice": index})
    with atomic_write(out / "scans.csv") as partial:
        pd.DataFrame(rows).astype({"slice": "Int64"}).to_csv(partial, index=False)
    return out / "scans.csv"


def _formats(sheet: Path) -> list[str]:
    """Maps and pages, and DICOM objects where they can be written and a scan may be DICOM."""
    import biomark as bm

    images = bm.manifests.read_sheet(sheet, ("id", "image"))[0].get("image", [])
    dicom = not all(image.endswith((".nii", ".nii.gz")) for image in images)
    if dicom and importlib.util.find_spec("highdicom"):
        return ["nifti", "page", "dicom"]
    if dicom:
        print('biomark: no DICOM segmentation is written; for that, pip install "biomark[dicom]".', file=sys.stderr)
    return ["nifti", "page"]


def _tell(values: pd.DataFrame, task: bm.Task, out: Path) -> int:
    """Print what was found and what was not; the exit status."""
    failed = values["problem"].notna()
    for row in values[~failed].head(_MOST_LINES).astype(object).where(values.notna(), None).itertuples(index=False):
        between = "" if row.low is None else f" ({row.coverage:.0%} interval {row.low:.4g} to {row.high:.4g})"
        where = "" if row.slice is None else f", slice {row.slice:.0f}"
        known = "" if row.known is None else f", in the sheet {row.known:.4g}"
        print(f"{row.id}: {task.name} {row.value:.4g} {row.unit}{between}{where}{known}")
        if row.unlike:
            print("  UNLIKE the training data, so the interval promises nothing")
        if row.findings:
            print(textwrap.fill(row.findings, 80, initial_indent="  ", subsequent_indent="  "))
        if (out / row.id / "page.html").is_file():
            print(f"  {out / row.id / 'page.html'}")
    for row in values[failed].itertuples(index=False):
        print(f"{row.id}: {row.problem}", file=sys.stderr)
    print(f"{(~failed).sum()} of {len(values)} scans measured; all values in {out / 'values.csv'}")
    return int(failed.any())


def _check(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import biomark as bm

    problems = bm.manifests.check(asked.sheet, asked.task, candidates=asked.candidates, progress=not asked.quiet)
    if rule := problems.attrs.get("rule"):
        print(rule)
    if problems.empty:
        print(f"{asked.sheet}: nothing is wrong.")
        return 0
    print(bm.manifests.ManifestError(f"{asked.sheet}, problems: {len(problems)}", problems))
    return 1


def _train(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import torch

    import biomark as bm
    from biomark.records.trained import settings_for

    progress, out = not asked.quiet, asked.out or Path(f"biomark-{asked.task}-model")
    torch.manual_seed(asked.seed)
    if asked.start:
        model = bm.pretrained(asked.task) if asked.start == "pretrained" else bm.load(_weights(Path(asked.start)))
    else:
        model = bm.Localizer(asked.task, width=asked.width)
    read = {"strict": not asked.leave_out, "workers": asked.workers, "progress": progress}
    cohort = bm.manifests.read(asked.sheet, asked.task, **read)
    aside = 0 if cohort.set_aside is None else len(cohort.set_aside)
    if aside:
        said = f"{aside} row{'s were' if aside > 1 else ' was'} set aside:"
        print(bm.manifests.ManifestError(said, cohort.set_aside), file=sys.stderr)
    train, test = _held_out(cohort, asked.seed)
    how = settings_for(model, len(train)) | ({"epochs": asked.epochs} if asked.epochs else {})
    history = bm.fit_once(model, train.without_masks(), folder=out, seed=asked.seed, progress=progress, **how)
    report = bm.evaluate(model.to("cpu"), test)
    print(report)
    model.save(out / "model.safetensors")
    about = {
        "data": f"{len(train)} scans of a spreadsheet, one number each, from {asked.start or 'nothing'}; rows "
        f"that were set aside: {aside}.",
        "tested": "patients that it had not seen",
        "not_for": bm.records.card.NOT_FOR,
    }
    try:
        bm.Inspector(model, test).save(out)
        about["calibrated"] = f"the {len(test)} scans of those patients"
    except ValueError as error:
        (out / "inspector.json").unlink(missing_ok=True)  # of an earlier model
        print(f"biomark: no intervals, for {error}", file=sys.stderr)
    parameters = {"n_train": len(train), "n_test": len(test), "seed": asked.seed, "from": asked.start or "nothing"}
    parameters |= {"epochs": how["epochs"], **vars(how["optimizer"]), "backbone": model.backbone_name}
    result = {"report": report, "history": history, "data": (train, test), "extra": {"about": about}}
    bm.records.write(out, parameters=parameters, **result, overwrite=True)
    bm.records.card.write_card(out)
    print(f"{out} holds the model and its card; biomark measure SCAN --model {out}")
    return int(aside > 0)


def _held_out(cohort: bm.Cohort, seed: int) -> tuple[bm.Cohort, bm.Cohort]:
    """Cases to learn from and cases to judge by: as the sheet's column split says, or a part of the patients."""
    if "split" not in cohort.about:
        return cohort.split(1 - _HELD_OUT, seed=seed)
    tested = (cohort.about["split"].str.casefold() == "test").to_numpy()
    if not 0 < tested.sum() < len(cohort):
        raise ValueError("the column split says test in no row, or in all: name both, train and test.")
    return cohort[~tested], cohort[tested]
