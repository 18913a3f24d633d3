"""The rules every chapter keeps, checked without running one. A message names the notebook and the cell."""

import ast
import io
import json
import re
import runpy
import tokenize
from pathlib import Path

import pandas as pd
import pytest
import yaml

from biomark.records.run import PLACES, SCANS, check_inputs

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
NOTEBOOKS = [*sorted(BOOK.glob("*.ipynb")), *sorted((ROOT / "workflow").glob("*.ipynb"))]
NUMBERED = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
CHAPTERS = [*NUMBERED, BOOK / "laboratory.ipynb"]
TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list}
MAX_CELLS = 45
WIDEST = 84  # characters of a line of code that a page shows
FIRST_WORDS = 150  # of prose before the first figure, so that it stands within one screen of the title
KNOWN_PLACES = (*PLACES, *SCANS, "out")
PUBLIC = {"import biomark as bm", "from biomark import viz", "from biomark.viz import sliders"}
PUBLIC |= {"from biomark.machine.batches import epoch_batches"}  # what chapter 16 is about

BADGES = runpy.run_path(str(BOOK / "badges.py"))

PATH_START = re.compile(r"(\.{1,2}|~)?/\w|[A-Za-z]:\\")
PATH_WITHIN = re.compile(r"\.\./|^[\w.-]+(/[\w.-]+)+\.\w+$")
PATH_IN_PROSE = re.compile(r"\]\((\.\.?)?/|src=.(\.\.?)?/|(?<![\w./:])/(home|Users|root|tmp|mnt|opt)/")


class Cell:
    """One cell with what the rules ask about it."""

    def __init__(self, path: Path, index: int, cell: dict):
        self.path, self.index, self.kind = path, index, cell["cell_type"]
        self.source = "".join(cell["source"])
        self.metadata = cell["metadata"]
        self.tags = set(cell["metadata"].get("tags", []))
        self.outputs, self.count = cell.get("outputs", []), cell.get("execution_count")

    def __str__(self) -> str:
        first = self.source.strip().splitlines()[0][:60] if self.source.strip() else "(empty)"
        return f"{self.path.relative_to(ROOT)}, cell {self.index + 1} ({first})"

    def tree(self) -> ast.Module:
        """Return the cell's code as a tree; a line that is a magic counts as `pass`."""
        return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", self.source))


def read(path: Path) -> list[Cell]:
    return [Cell(path, i, cell) for i, cell in enumerate(json.loads(path.read_text())["cells"])]


def code(path: Path) -> list[Cell]:
    return [cell for cell in read(path) if cell.kind == "code"]


def tagged(path: Path, tag: str) -> list[Cell]:
    return [cell for cell in read(path) if tag in cell.tags]


def declared(path: Path) -> dict[str, object]:
    """Return the names and values of a chapter's parameters cell."""
    statements = tagged(path, "parameters")[0].tree().body
    return {s.target.id: ast.literal_eval(s.value) for s in statements if isinstance(s, ast.AnnAssign)}


def headings(cell: Cell) -> list[str]:
    """Return the markdown headings of a cell, fenced blocks left out."""
    prose = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1\s*$", "", cell.source)
    return re.findall(r"(?m)^#{1,6} .*$", prose) if cell.kind == "markdown" else []


each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_toc_lists_exactly_the_pages_there_are():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])]
    pages = {f"book/{path.stem}" for path in BOOK.iterdir() if path.suffix in (".ipynb", ".md")}
    assert len(listed) == len(set(listed)), "_toc.yml lists a page twice"
    assert set(listed) == pages, f"only in _toc.yml: {set(listed) - pages}; only in book: {pages - set(listed)}"
    chapters = [entry["file"] for entry in toc["parts"][0]["chapters"]]
    assert chapters == [f"book/{path.stem}" for path in NUMBERED], "_toc.yml must list the chapters in order"


@each_notebook
def test_one_title_and_it_comes_first(path):
    cells = read(path)
    titles = [(cell, line) for cell in cells for line in headings(cell) if line.startswith("# ")]
    assert len(titles) == 1, f"{path.name} has {len(titles)} H1: {[line for _, line in titles]}"
    assert titles[0][0].index == 0 and cells[0].source.startswith("# "), f"{cells[0]}: must begin with the H1"
    if path in NUMBERED:
        number = f"# {int(path.name[:2])} · "
        assert titles[0][1].startswith(number), f"{cells[0]}: the file's number asks for '{number}...'"


@each_notebook
def test_no_outputs_are_stored(path):
    for cell in code(path):
        if "keep_output" in cell.tags:
            assert cell.outputs and cell.count, f"{cell}: keep_output without an output and a count compares nothing"
        else:
            assert not cell.outputs and cell.count is None, f"{cell}: holds outputs or a count; run `make tidy`"


@each_notebook
def test_no_paths(path):
    for cell in read(path):
        if cell.kind == "markdown":
            found = PATH_IN_PROSE.search(cell.source)
            assert not found, f"{cell}: path {found and found.group()!r} in the text; link to a page by its name"
            continue
        tree = cell.tree()
        pieces = {id(piece) for f in ast.walk(tree) if isinstance(f, ast.JoinedStr) for piece in f.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
                bad = PATH_START.match(node.value) or PATH_WITHIN.search(node.value)
                assert not bad, f"{cell}: path {node.value!r}; each runner starts in another folder"


@each_notebook
def test_figures_have_alternative_text(path):
    for cell in code(path):
        figure = cell.metadata.get("mystnb", {}).get("figure")
        image = cell.metadata.get("mystnb", {}).get("image", {})
        if figure is not None:
            assert figure.get("name", "").startswith("fig-"), f"{cell}: a figure's name begins with fig-"
            assert figure.get("caption"), f"{cell}: the figure has no caption"
        draws = re.search(r"\bviz\.(?!use_style)\w+\(|\bplt\.(show|figure|subplots|imshow)\(", cell.source)
        hidden = cell.tags & {"widget", "remove-cell", "remove-output"}
        if figure is not None or (draws and not hidden and not re.search(r"(?m)^def ", cell.source)):
            assert image.get("alt"), f"{cell}: draws, but metadata.mystnb.image.alt does not say what is seen"


@each_notebook
def test_labels_are_unique(path):
    labels = [label for cell in read(path) for label in re.findall(r"(?m)^:label: *(\S+)", cell.source)]
    everywhere = "".join(other.read_text() for other in NOTEBOOKS if other != path)
    for label in labels:
        assert labels.count(label) == 1, f"{path.name}: label {label} stands twice"
        assert not re.search(rf":label: *{re.escape(label)}\b(?!-)", everywhere), f"{path.name}: {label} is taken"


@each_chapter
def test_a_chapter_can_be_read_in_one_sitting(path):
    assert len(read(path)) <= MAX_CELLS, f"{path.name} has {len(read(path))} cells, {MAX_CELLS} at most"


@each_chapter
def test_colab_cell_comes_first_and_is_up_to_date(path):
    cell = code(path)[0]
    assert {"remove-cell", "nbval-skip"} <= cell.tags, f"{cell}: the Colab cell has tags remove-cell, nbval-skip"
    assert cell.source == BADGES["colab_cell"](), f"{cell}: is not the Colab cell; run `make badges`"


@each_chapter
def test_parameters_are_annotated_commented_literals(path):
    cells = tagged(path, "parameters")
    assert len(cells) == 1, f"{path.name} has {len(cells)} cells tagged parameters"
    cell = cells[0]
    assert cell.index == code(path)[1].index, f"{cell}: the parameters come right after the Colab cell"
    tokens = tokenize.generate_tokens(io.StringIO(cell.source + "\n").readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and token.string.strip("# ")}
    for statement in cell.tree().body:
        text = ast.unparse(statement)
        assert isinstance(statement, ast.AnnAssign) and statement.value, (
            f"{cell}: write `name: type = literal`, not {text}"
        )
        kind = ast.unparse(statement.annotation)
        assert kind in TYPES, f"{cell}: {text} is none of {', '.join(TYPES)}"
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:
            pytest.fail(f"{cell}: {text} is no literal")
        fits = isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
        assert fits, f"{cell}: {text} has a value of another type"
        assert statement.end_lineno in commented, f"{cell}: {text} has no comment to say what it is"


@each_chapter
def test_imports_stand_in_one_cell(path):
    colab, _, imports = code(path)[:3]
    guard = "bm.records.parameters(globals())"
    assert guard in imports.source, f"{imports}: the import cell ends with `parameters = {guard}`"
    for cell in code(path):
        found = [node for node in ast.walk(cell.tree()) if isinstance(node, ast.Import | ast.ImportFrom)]
        if cell.index in (colab.index, imports.index):
            assert found, f"{cell}: this is where the imports stand"
        else:
            assert not found, f"{cell}: `{found and ast.unparse(found[0])}` belongs into the import cell"


@each_chapter
def test_a_chapter_imports_what_is_public(path):
    for cell in code(path):
        for node in ast.walk(cell.tree()):
            if isinstance(node, ast.Import | ast.ImportFrom) and "biomark" in ast.unparse(node):
                assert ast.unparse(node) in PUBLIC, f"{cell}: `{ast.unparse(node)}`; take it from bm"


@each_chapter
def test_the_first_figure_comes_first(path):
    """Parameters and imports are folded, and so is what draws it; there is little to read before."""
    cells, words = read(path), 0
    for cell in cells:
        if cell.kind == "markdown":
            words += len(cell.source.split())
        elif "remove-cell" not in cell.tags:
            assert "hide-input" in cell.tags, f"{cell}: is shown before the first figure; fold it (hide-input)"
            if cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
                break
    else:
        pytest.fail(f"{path.name} has no figure")
    assert words <= FIRST_WORDS, f"{path.name}: {words} words stand before the first figure, {FIRST_WORDS} at most"


@each_notebook
def test_a_styled_table_shows_text_as_text(path):
    """What a sheet calls a case must not become HTML on a page; a plain table escapes by itself, a styled one not."""
    for cell in code(path):
        for node in ast.walk(cell.tree()):
            if isinstance(node, ast.Attribute) and node.attr == "style" and path.name.startswith("14-"):
                assert 'escape="html"' in cell.source, f"{cell}: a styled table without .format(escape=...)"
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("to_html"):
                assert not any(k.arg == "escape" for k in node.keywords), f"{cell}: escape=False shows ids as HTML"


@each_chapter
def test_no_line_of_code_scrolls_sideways(path):
    for cell in code(path):
        for line in cell.source.split("\n"):
            assert len(line) <= WIDEST or "remove-cell" in cell.tags, f"{cell}: {len(line)} characters in {line!r}"


@each_chapter
def test_a_check_fails_when_the_claim_does(path):
    cells = tagged(path, "check")
    assert cells, f"{path.name} has no cell tagged check"
    for cell in cells:
        assert "remove-cell" in cell.tags, f"{cell}: a check is also tagged remove-cell"
        asserts = [node for node in ast.walk(cell.tree()) if isinstance(node, ast.Assert)]
        assert asserts, f"{cell}: a check without an assert"


@each_notebook
def test_what_a_chapter_is_given_is_looked_at_before_it_trains(path):
    """A path that the library does not know by its name would be missed after minutes."""
    own = declared(path)
    unknown = {name for name, value in own.items() if value == ""} - {*KNOWN_PLACES, "learner"}
    assert not unknown, f"{path.name}: {unknown} are not among what biomark.records.run looks at"
    check_inputs({name: value for name, value in own.items() if name not in ("run",)})


@each_chapter
def test_smoke_values_exist(path):
    assert (BOOK / "params" / "smoke" / f"{path.stem}.yml").is_file(), f"book/params/smoke/{path.stem}.yml is missing"


@pytest.mark.parametrize(
    "values", sorted(BOOK.glob("params/*/*.yml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_values_belong_to_a_chapter_and_to_its_parameters(values):
    path = BOOK / f"{values.stem}.ipynb"
    assert path in CHAPTERS, f"{values.relative_to(ROOT)} names no chapter"
    own = declared(path)
    for name, value in (yaml.safe_load(values.read_text()) or {}).items():
        assert name in own, f"{values.relative_to(ROOT)}: {path.name} has no parameter {name}"
        kind = type(own[name])
        fits = isinstance(value, TYPES[kind.__name__]) and (kind is bool) == isinstance(value, bool)
        assert fits, f"{values.relative_to(ROOT)}: {name} must be of type {kind.__name__}, but is {value!r}"
        assert value != own[name], f"{values.relative_to(ROOT)}: {name} is {value!r} by default; leave it out"


@each_chapter
def test_a_chapter_that_can_use_a_gpu_has_values_for_one(path):
    there = (BOOK / "params" / "gpu" / f"{path.stem}.yml").is_file()
    assert there == ("device" in declared(path)), f"book/params/gpu/{path.stem}.yml must be there for a device alone"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100, "README.md has more than 100 lines"


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, blocks in BADGES["BLOCKS"].items() for name in blocks]
)
def test_what_is_written_from_elsewhere_is_up_to_date(file, name):
    _, block, _ = BADGES["around"]((ROOT / file).read_text(), name)
    assert block == BADGES["BLOCKS"][file][name](), f"{name} in {file} is out of date; run `make badges`"


def test_records_name_no_place_of_the_machine_that_made_them():
    for path in (BOOK / "reference").rglob("run.json"):
        found = re.findall(r'"(?:/(?:tmp|home|work|Users|mnt)/|[A-Z]:\\\\)[^"]*"', path.read_text())
        assert not found, f"{path}: {found}"


def test_the_front_page_compares_like_with_like():
    """Numbers and masks with the same seeds, none of which a setting was chosen on, by one state of the code."""
    runs = pd.read_csv(BOOK / "reference/sweep/results.csv")
    assert runs.code_digest.nunique() == 1 and set(runs.seed) <= {10, 11, 12, 13, 14}
    for task, of_task in runs.groupby("task"):
        seeds = of_task.groupby("method").seed.agg(sorted)
        assert seeds["localizer"] == seeds["segmenter"], task
