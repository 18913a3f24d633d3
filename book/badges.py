"""Write what must not be typed twice: badges and results in README.md, results on the front page, Colab cells.

The repository is named in `_config.yml`, the notebooks in `_toc.yml`, the version in `biomark/version.py`; the results
are those of the reference runs. Run it as `make badges`; `tests/test_book.py` fails when it should have been run.
"""

import json
import runpy
from pathlib import Path

import pandas as pd
import yaml

import biomark as bm

ROOT = Path(__file__).resolve().parent.parent


def notebooks() -> list[str]:
    """Return the chapters and the laboratory as `_toc.yml` lists them: `book/01-one-number`, ..."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [entry["file"] for part in parts for entry in part["chapters"]]
    return [file for file in files if (ROOT / f"{file}.ipynb").is_file()]


def title(chapter: str) -> str:
    """Return a chapter's H1."""
    notebook = json.loads((ROOT / f"{chapter}.ipynb").read_text())
    return (
        "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")
    )


def badges() -> str:
    """Return the badges, and the links to every chapter in two columns."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    converted = config["sphinx"]["config"]["colab_branch"]
    owner, name = url.removeprefix("https://github.com/").split("/")
    site = f"https://{owner}.github.io/{name}"
    colab, binder = (
        config["launch_buttons"]["colab_url"],
        config["launch_buttons"]["binderhub_url"],
    )
    lines = [
        f"[![tests]({url}/actions/workflows/tests.yml/badge.svg)]({url}/actions/workflows/tests.yml)",
        f"[![book]({url}/actions/workflows/book.yml/badge.svg)]({site})",
        f"[![Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{owner}/{name}/{branch}?urlpath=lab/tree/book)",
        "",
        "| Read | Run | Read | Run |",
        "|---|---|---|---|",
    ]
    cells = []
    for chapter in notebooks():
        notebook = f"{colab}/github/{owner}/{name}/blob/{converted}/{chapter}.ipynb"
        badge = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({notebook})"
        cells.append(f"| [{title(chapter)}]({site}/{chapter}.html) | {badge} ")
    half = (len(cells) + 1) // 2
    right = cells[half:] + ["| | "] * (2 * half - len(cells))
    return "\n".join(
        lines + [f"{a}{b}|" for a, b in zip(cells[:half], right, strict=True)]
    )


def results() -> str:
    """Return the reference runs in a line a task: means over seeds, the better of two in bold."""
    runs = pd.read_csv(ROOT / "book/reference/sweep/results.csv")
    runs = runs[runs.n_train == runs.groupby("task").n_train.transform("max")]
    columns = ["r", "mae", "dice", "dice_candidates"]
    of = runs.groupby(["task", "method"])[columns].mean()
    seeds = runs.groupby(["task", "method"]).seed.nunique()
    lines = [
        "| | trainings | r, numbers | r, masks | MAE, numbers | MAE, masks | "
        "Dice, numbers | Dice, masks | Dice, all candidates |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, task in bm.TASKS.items():
        ours, masks = (of.loc[key, method] for method in ("localizer", "segmenter"))
        cells = [f"{task.name} [{task.unit}]"]
        cells.append(str(min(seeds[key, "localizer"], seeds[key, "segmenter"])))
        for name, form, sign in (
            ("r", ".4f", 1),
            ("mae", ".2f", -1),
            ("dice", ".3f", 1),
        ):
            pair = [format(one[name], form) for one in (ours, masks)]
            best = max(pair, key=lambda text, sign=sign: sign * float(text))
            cells += [f"**{text}**" if text == best else text for text in pair]
        lines.append(
            "| " + " | ".join([*cells, f"{ours.dice_candidates:.2f}"]) + " |"
        )
    return "\n".join(lines)


BLOCKS = {
    "README.md": {"badges": badges, "results": results},
    "book/index.md": {"results": results},
}
"""What is written into which file, between `<!-- NAME:start -->` and `<!-- NAME:end -->`."""


def around(text: str, name: str) -> tuple[str, str, str]:
    """Return what stands before, between and after a block's markers; both must be there."""
    before, rest = text.split(f"<!-- {name}:start -->\n")
    between, after = rest.split(f"\n<!-- {name}:end -->")
    return before, between, after


def colab_cell() -> str:
    """Return the source of the cell that installs the library on Colab and does nothing elsewhere.

    Between two versions that is the library of `main`; `colab.py` puts in the very commit that it was given.
    """
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    version = runpy.run_path(str(ROOT / "biomark" / "version.py"))["__version__"]
    which = "main" if "dev" in version else f"v{version}"
    return f'import sys\n\nif "google.colab" in sys.modules:\n    %pip install -q "biomark @ git+{url}@{which}"'


def write_blocks() -> None:
    """Replace what stands between the markers."""
    for file, blocks in BLOCKS.items():
        text = (ROOT / file).read_text()
        for name, made in blocks.items():
            before, _, after = around(text, name)
            text = f"{before}<!-- {name}:start -->\n{made()}\n<!-- {name}:end -->{after}"
        (ROOT / file).write_text(text)


def write_colab_cells() -> None:
    """Rewrite the first code cell of every chapter, which is the Colab cell."""
    for chapter in notebooks():
        path = ROOT / f"{chapter}.ipynb"
        notebook = json.loads(path.read_text())
        cell = next(
            cell for cell in notebook["cells"] if cell["cell_type"] == "code"
        )
        if "google.colab" not in "".join(cell["source"]):
            raise ValueError(
                f"{chapter}: the first code cell is not the Colab cell"
            )
        cell["source"] = colab_cell().splitlines(keepends=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_colab_cells()
    write_blocks()
