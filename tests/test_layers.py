"""A module imports only from lower rows, so that each can be read knowing only what lies below it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "biomark"
MAX_LINES = 260

# From the bottom up. A folder counts as one module. Only the version, a constant, lies below row 0.
ROWS = [
    {"version", "masks", "files", "provenance"},
    {
        "candidates",
        "agatston",
        "normalisation",
        "losses",
        "metrics",
        "statistics",
        "records",
        "devices",
        "calibration",
        "claim",
        "fingerprints",
        "rows",
        "windows",
    },
    {"tasks", "conformal", "backbones", "order", "checkpoints"},
    {"cohort"},
    {"phantoms", "scans", "model", "stress"},
    {"localizer", "novelty"},
    {"baselines", "ensemble"},
    {"training", "evaluation", "attribution", "inspection"},
    {"comparison"},
    {"viz", "widgets"},
    {"page"},
    {"delivery"},
]
ROW_OF = {module: row for row, modules in enumerate(ROWS) for module in modules}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    """Return the name in ROWS that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> list[tuple[int, str]]:
    """Return line and module for everything a file imports from biomark, also inside functions."""
    package = ["biomark", *path.relative_to(PACKAGE).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "biomark" else [base]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "biomark":
                found.append((node.lineno, parts[1] if len(parts) > 1 else "biomark"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_come_from_lower_rows(path):
    ours = module_of(path)
    assert ours in ROW_OF, f"{path.name} is in no row of tests/test_layers.py: decide where it belongs"
    for line, theirs in imported(path):
        if theirs == ours:
            continue
        where = f"biomark/{path.relative_to(PACKAGE)}, line {line}: {ours} imports {theirs}"
        assert theirs in ROW_OF, f"{where}, which is in no row"
        assert ROW_OF[theirs] < ROW_OF[ours], f"{where}, which is not in a lower row"
        assert (ours, theirs) != ("phantoms", "candidates"), f"{where}: the truth may not know the heuristic"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines, {MAX_LINES} at most"


def test_importing_the_library_loads_no_plotting():
    code = "import sys, biomark; print([m for m in ('matplotlib', 'ipywidgets') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_the_tour_shows_every_module():
    tour = (PACKAGE.parent / "book" / "tour.md").read_text()
    rows = [line for line in tour.splitlines() if line.startswith("| ")]
    shown = re.findall(r"`(\w+)`", "".join(rows))
    assert sorted(shown) == sorted(set(ROW_OF) - {"version"})


def test_the_example_of_the_tour_runs():
    code = (PACKAGE.parent / "book" / "tour.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace("epochs=1)", "epochs=1, progress=False)"), {})
