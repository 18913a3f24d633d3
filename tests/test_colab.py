"""What a chapter is in Colab: plain Markdown, the same code, folded where the page folds it."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))
import colab  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LISTING = re.compile(r"(?ms)^(`{3,}).*?^\1 *$|`[^`\n]+`")

each_chapter = pytest.mark.parametrize("page", colab.chapters())


def text(notebook: dict) -> str:
    """Return the prose of a notebook."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join(cells)


@each_chapter
def test_no_myst_is_left(page):
    made = text(colab.convert(page))
    assert not re.search(r"(?m)^(`{3,}|:{3,})\{", made), "a directive is left"
    assert not re.search(r"\{[\w:-]+\}`", made), "a role is left"
    plain = LISTING.sub("", made)
    assert not re.search(r"\$\$ *\([\w-]+\)|\]\([^)]*\.(ipynb|md)[)#]|(?m:^\([\w-]+\)=$|^:\w+: )", plain)
    assert made.count("<details>") == made.count("</details>") == len(re.findall(r"(?m)^<details>$", made))


@each_chapter
def test_links_lead_to_pages_of_the_book(page):
    for name, place in re.findall(
        rf"{re.escape(colab.SITE)}/book/([\w-]+)\.html#?([^)\s]*)", text(colab.convert(page))
    ):
        there = [BOOK / f"{name}.ipynb", BOOK / f"{name}.md"]
        assert any(file.is_file() for file in there), f"{page} links to {name}"
        if name == "glossary":
            assert place in colab.glossary().values()
        elif place.startswith(("fig-", "equation-")):
            assert colab.numbers()[place.removeprefix("equation-")][1] == name


@each_chapter
def test_code_is_the_chapters_but_for_the_title_of_a_form(page):
    def code(cells):
        return [cell for cell in cells if cell["cell_type"] == "code"]

    before = code(json.loads((BOOK / f"{page}.ipynb").read_text())["cells"])
    notebook = colab.convert(page, COMMIT)
    nbformat.validate(nbformat.from_dict(notebook))
    after = code(notebook["cells"])
    assert [cell["id"] for cell in after] == [cell["id"] for cell in before]
    for old, new in zip(before, after, strict=True):
        source, tags = "".join(new["source"]), set(old["metadata"].get("tags", []))
        folded = new["metadata"].get("cellView") == "form"
        assert folded or not tags & {"hide-input", "remove-cell"}
        assert set(new["metadata"].get("tags", [])) == tags
        if folded:
            first, source = source.split("\n", 1)
            assert first.startswith("#@title ")
        if old is before[0]:
            assert source.endswith(f'@{COMMIT}"') and source.count("\n") == "".join(old["source"]).count("\n")
        else:
            assert source == "".join(old["source"])


def test_a_solution_stays_folded_over_several_cells():
    parts = colab.Converter("06-pectoralis")
    label = next(label for label, (_, page) in parts.numbers.items() if page == "06-pectoralis" and "ex-" in label)
    first = parts.markdown(f"Before.\n\n```{{solution-start}} {label}\n:class: dropdown\n```\nIt is so.")
    assert re.fullmatch(r"Before\.\n\n<details>\n<summary>Solution to .*?</summary>\n\nIt is so\.\n\n</details>", first)
    assert parts.form({"metadata": {}}).startswith("Solution to Exercise ")
    assert parts.markdown("```{solution-end}\n```\n\nAfter.") == "After."
    assert parts.form({"metadata": {}}) is None


def test_text_becomes_plain_markdown():
    parts, site = colab.Converter("01-one-number"), f"{colab.SITE}/book"
    assert parts.prose("a {term}`Hounsfield units <Hounsfield unit>`") == (
        f"a [Hounsfield units]({site}/glossary.html#term-Hounsfield-unit)"
    )
    assert parts.prose("{doc}`chapter 3 <03-candidates>`") == f"[chapter 3]({site}/03-candidates.html)"
    assert parts.prose("{cite:t}`canoespinosa2020`") == f"[Cano-Espinosa et al. (2020)]({site}/bibliography.html)"
    assert parts.prose("$$ x $$ (eq-one-number)") == "$$ x \\tag{1} $$"
    assert parts.prose("{eq}`eq-one-number`, {eq}`eq-hu`") == (
        f"Eq. 1, [Eq. 2]({site}/02-ct-and-phantoms.html#equation-eq-hu)"
    )
    box = "```{admonition} Predict first\n:class: tip\n\nWhat is\n\n$$ x $$\n```"
    assert parts.markdown(box) == "> **Predict first.** What is\n>\n> $$ x $$"
    listing = "```python\nf'{doc}`x`'\n```"
    assert parts.markdown(listing) == listing


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("{abbr}`CT`", "abbr"),
        ("{eq}`eq-none`", "eq-none"),
        ("{doc}`x <nowhere>`", "nowhere"),
        ("```{margin}\n```", "margin"),
    ],
)
def test_what_has_no_form_in_colab_is_named(written, named):
    with pytest.raises(ValueError, match=f"01-one-number.*{named}"):
        colab.Converter("01-one-number").markdown(written)


def test_the_button_of_a_page_opens_what_is_converted():
    page = f"{colab.OWNER}/{colab.NAME}/blob/main/book/01-one-number.ipynb"
    buttons = [{"text": "Binder", "url": f"b/{page}"}, {"text": "Colab", "url": f"c/{page}"}]
    context = {"header_buttons": [{"type": "link"}, {"buttons": buttons}]}
    colab.open_branch(None, "", "", context, None)
    assert buttons[0]["url"] == f"b/{page}"
    assert buttons[1]["url"] == f"c/{page}".replace("/main/", f"/{colab.BRANCH}/")
