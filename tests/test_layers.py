"""The order of the library: a module imports only what stands below it, so that each can be read knowing only that."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "biomark"
GROUND = 1700  # lines of the method, one evening
LONGEST = 60  # lines of a function, its docstring not counted

# From the bottom up. A folder counts as one module.
ORDER = [
    *("version", "machine", "agatston", "candidates", "grids", "losses", "backbones", "tasks", "cohort", "localizer"),
    *("baselines", "training", "phantoms", "scans", "manifests", "datasets", "records", "evaluation", "uncertainty"),
    *("viz", "delivery", "cli", "__main__"),
]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
BY_NAME = {"ids": lambda path: str(path.relative_to(PACKAGE))}


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything that a file imports from biomark, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}, line {node.lineno}: write `from biomark.x import y`"
            inside = node.module if (PACKAGE.parent / (node.module or "").replace(".", "/")).is_dir() else ""
            found += [(node.lineno, f"{node.module}.{alias.name}" if inside else node.module) for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == "biomark"]


@pytest.mark.parametrize("path", FILES, **BY_NAME)
def test_imports_come_from_below(path):
    ours = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert ours in ORDER, f"{ours} is not in ORDER: decide where it belongs"
    for line, name in imports(path):
        theirs = name.partition(".")[2].partition(".")[0]
        if ours == "cli" and not theirs:  # it comes in by the front door, as users do
            continue
        where = f"biomark/{path.relative_to(PACKAGE)}, line {line}: {ours} imports {theirs}"
        assert theirs in ORDER, f"{where}, which is not in ORDER"
        assert ORDER.index(theirs) <= ORDER.index(ours), f"{where}, which stands above it"
        assert (ours, theirs) != ("phantoms", "candidates"), f"{where}: the truth may not know the heuristic"


def test_no_two_files_import_each_other():
    """Within a folder neither, not even for types."""
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES}
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    known = {name: set() for name in names.values()}
    for path, name in names.items():
        for _, other in imports(path):
            # Either a module, or something in one.
            theirs = other if other in known else other.rpartition(".")[0]
            if theirs in known and not name.startswith(theirs + ".") and theirs != name:
                known[name].add(theirs)
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(known[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in known:
        visit(name, ())


def test_the_method_is_read_in_one_evening():
    method = [path for path in PACKAGE.glob("*.py") if path.stem not in ("cli", "__main__")]  # the door, no part of it
    ground = sum(len(path.read_text().splitlines()) for path in method)
    assert ground <= GROUND, f"the ground floor has {ground} lines, {GROUND} at most"


@pytest.mark.parametrize("path", FILES, **BY_NAME)
def test_a_function_is_seen_in_one_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            said = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
            lines = node.end_lineno - said
            assert lines <= LONGEST, f"{path.name}, {node.name}: {lines} lines, {LONGEST} at most"


@pytest.mark.parametrize(
    ("what", "allowed"),
    [
        ("biomark", set()),
        ("biomark.cli", set()),
        ("biomark.training", {"agatston", "machine"}),
        ("biomark.evaluation", {"agatston", "machine", "evaluation", "records"}),
    ],
)
def test_importing_loads_no_more_than_was_asked_for(what, allowed):
    heavy = "('captum', 'IPython', 'ipywidgets', 'lightning_fabric', 'matplotlib', 'pandas', 'pydicom', 'sklearn')"
    code = f"import sys, {what}; print([m for m in sys.modules if m in {heavy} or m.startswith('biomark.')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    loaded = ast.literal_eval(result.stdout)
    wings = {name.split(".")[1] for name in loaded if name.startswith("biomark.")}
    assert {wing for wing in wings if (PACKAGE / wing).is_dir()} <= allowed
    rest = {name for name in loaded if not name.startswith("biomark.")}
    assert rest <= ({"pandas"} if what == "biomark.evaluation" else set())


def test_the_tour_shows_every_module():
    tour = (PACKAGE.parent / "book" / "tour.md").read_text()
    rows = [line for line in tour.partition("## From top to bottom")[2].splitlines() if line.startswith("| ")]
    shown = re.findall(r"`(\w+)`", "".join(rows))
    assert sorted(shown) == sorted(set(ORDER) - {"version", "__main__"})


def test_the_example_of_the_tour_runs():
    code = (PACKAGE.parent / "book" / "tour.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace("epochs=1)", "epochs=1, progress=False)"), {})
