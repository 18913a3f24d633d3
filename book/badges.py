"""Write the badges in README.md and the Colab cell of every notebook, so that no address stands in two places.

The repository is named in `_config.yml`, the notebooks in `_toc.yml`, the version in `biomark/version.py`.
Run it as `make badges`; `tests/test_book.py` fails when it should have been run.
"""

import json
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- badges:start -->", "<!-- badges:end -->"


def notebooks() -> list[str]:
    """Return the chapters and the laboratory as `_toc.yml` lists them: `book/01-one-number`, ..."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [entry["file"] for part in parts for entry in part["chapters"]]
    return [file for file in files if (ROOT / f"{file}.ipynb").is_file()]


def title(chapter: str) -> str:
    """Return a chapter's H1."""
    notebook = json.loads((ROOT / f"{chapter}.ipynb").read_text())
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")


def readme_block() -> str:
    """Return what stands between the two markers in README.md."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    owner, name = url.removeprefix("https://github.com/").split("/")
    site = f"https://{owner}.github.io/{name}"
    colab, binder = config["launch_buttons"]["colab_url"], config["launch_buttons"]["binderhub_url"]
    lines = [
        f"[![tests]({url}/actions/workflows/tests.yml/badge.svg)]({url}/actions/workflows/tests.yml)",
        f"[![book]({url}/actions/workflows/book.yml/badge.svg)]({site})",
        f"[![Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{owner}/{name}/{branch}?urlpath=lab/tree/book)",
        "",
        "| Read | Run |",
        "|---|---|",
    ]
    for chapter in notebooks():
        notebook = f"{colab}/github/{owner}/{name}/blob/{branch}/{chapter}.ipynb"
        badge = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({notebook})"
        lines.append(f"| [{title(chapter)}]({site}/{chapter}.html) | {badge} |")
    return "\n".join(lines)


def colab_cell() -> str:
    """Return the source of the cell that installs the library on Colab and does nothing elsewhere."""
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    version = runpy.run_path(str(ROOT / "biomark" / "version.py"))["__version__"]
    return f'import sys\n\nif "google.colab" in sys.modules:\n    %pip install -q "biomark @ git+{url}@v{version}"'


def write_readme() -> None:
    """Replace the block between the markers; both markers must be there."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    readme.write_text(f"{before}{START}\n{readme_block()}\n{END}{after}")


def write_colab_cells() -> None:
    """Rewrite the first code cell of every chapter, which is the Colab cell."""
    for chapter in notebooks():
        path = ROOT / f"{chapter}.ipynb"
        notebook = json.loads(path.read_text())
        cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
        if "google.colab" not in "".join(cell["source"]):
            raise ValueError(f"{chapter}: the first code cell is not the Colab cell")
        cell["source"] = colab_cell().splitlines(keepends=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_colab_cells()
    write_readme()
