"""Facts that stand in two files because two tools read them, held together here."""

import re
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_citation_names_this_version_and_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert citation["version"] == runpy.run_path(str(ROOT / "biomark" / "version.py"))["__version__"]
    assert citation["repository-code"] == config["repository"]["url"]
    assert f"## {citation['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_conda_installs_the_same_torch_as_make():
    make = re.search(r"^TORCH \?= (torch==\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert make.group(1) in packages[-1]["pip"]


def test_no_file_names_another_repository():
    """The address stands in `_config.yml`; what repeats it (badges, the README's install line) must agree."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    home = config["repository"]["url"].removeprefix("https://")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *ROOT.glob("book/*.md"), *ROOT.glob("book/*.ipynb")]:
        for found in re.findall(r"github\.com/[\w.-]+/biomark\b", path.read_text()):
            assert found == home, f"{path.name} names {found}, _config.yml {home}"


def test_torch_is_not_constrained():
    names = re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements" / "constraints.txt").read_text())
    assert names and not {"torch", "pip", "setuptools", "biomark"} & {name.lower() for name in names}
