"""Facts that stand in two files because two tools read them, held together here, and what is handed out."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_citation_names_this_version_and_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    version = runpy.run_path(str(ROOT / "biomark" / "version.py"))["__version__"]
    assert citation["version"] == version.partition(".dev")[0], "a version that is on its way is cited by its number"
    assert citation["repository-code"] == config["repository"]["url"]
    assert f"## {citation['version']}" in (ROOT / "CHANGELOG.md").read_text()


def variable(name):
    return re.search(rf"^{name} [?:]= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)


def test_conda_installs_the_same_as_make():
    pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert {variable("TORCH"), variable("CPU_WHEELS")} <= set(pip), "the same torch, and without CUDA"
    extras = [set(re.findall(r"\w+", re.search(r"\[(.+)\]", line).group(1))) for line in pip if line.startswith("-e")]
    asked = re.findall(r"-e '\.\[(.+?)\]'", (ROOT / "Makefile").read_text().replace("$(comma)", ","))
    assert extras == [{*asked[0].split(","), "lab"}], "what `make lab` installs"


def test_nothing_takes_gigabytes_of_cuda_where_there_is_no_gpu():
    assert "CPU=1" in json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["postCreateCommand"]
    for path in WORKFLOWS:
        flow = yaml.safe_load(path.read_text())
        for name, job in flow["jobs"].items():
            runs = [step["run"] for step in job["steps"] if "run" in step]
            if any("make setup" in run for run in runs):
                assert (flow.get("env", {}) | job.get("env", {})).get("CPU") == 1, f"{path.name}, {name}"
            installs = [run for run in runs if re.search(r"pip install (?!-q build)", run)]
            assert not installs or variable("CPU_WHEELS") in installs[0], f"{path.name}, {name}"


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """The project's files, what setuptools says of them, and the names in the sdist and in the wheel."""
    pytest.importorskip("setuptools", "77")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, and git does not say which files are the project's")
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    build = "import setuptools.build_meta as m; m.build_sdist('dist'); m.build_wheel('dist')"
    ran = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    (sdist,), (wheel,) = folder.glob("dist/*.tar.gz"), folder.glob("dist/*.whl")
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    return files, ran.stdout + ran.stderr, source, set(zipfile.ZipFile(wheel).namelist())


def test_the_sdist_holds_all_that_its_tests_read(handed_out):
    files, _, source, _ = handed_out
    assert not files - source, f"MANIFEST.in leaves out {sorted(files - source)[:5]}"


def test_the_wheel_holds_the_library_its_types_and_its_records(handed_out):
    files, said, _, wheel = handed_out
    assert {name for name in files if name.startswith("biomark/")} <= wheel and "biomark/py.typed" in wheel
    assert "biomark/reference/laboratory/sfa/run.json" in wheel
    assert not {name for name in wheel if name.startswith(("tests", "book", "workflow"))}
    assert "!!" not in said and "deprecat" not in said.lower(), said


def test_the_library_says_which_extra_shows_sliders():
    code = "import sys; sys.modules['IPython'] = None; from biomark import viz; from biomark.viz import sliders"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "IPython is not installed: pip install 'biomark[book]'" in ran.stderr.splitlines()[-1]


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
