"""Write the chapters as notebooks for Colab, which shows MyST as it is typed.

Roles become links to the pages of the site, equations and figures carry the numbers that they have there, boxes become
quotations, solutions unfold, and the code of a folded cell is folded as a form of Colab's. Code itself stays as it is.
Run it as `make colab`; the publishing workflow pushes the result to the branch that the Colab buttons open. To Sphinx
this file is an extension, which makes the button at the top of a page open that branch.
"""

import argparse
import json
import re
from functools import cache
from pathlib import Path

import yaml
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY = CONFIG["repository"]["url"]
BRANCH = CONFIG["sphinx"]["config"]["colab_branch"]
OWNER, NAME = REPOSITORY.removeprefix("https://github.com/").split("/")
SITE = f"https://{OWNER}.github.io/{NAME}"

FENCE = re.compile(
    r"(?ms)^(?P<fence>`{3,}|:{3,})\{(?P<kind>[\w-]+)\} *(?P<about>[^\n]*)(?:\n|\Z)"
    r"(?P<body>.*?)(?:^(?P=fence) *$\n?|\Z)"
)
"""A directive; one that is not closed ends with its cell."""
PLAIN_FENCE = re.compile(r"(?ms)^(`{3,}).*?^\1 *$")
ROLE = re.compile(r"\{([a-z]+(?::[a-z]+)?)\}`([^`]+)`")
OPTION = re.compile(r"(?m)\A:(\w+): *(.*)\n")
EQUATION = re.compile(r"(?s)\$\$((?:(?!\$\$).)*?)\s*\$\$ *\((eq-[\w-]+)\)")
PAGE_LINK = re.compile(r"\]\(([\w-]+)\.(?:ipynb|md)(#[^)]*)?\)")
BOXES = {"note", "tip", "hint", "important", "warning"}


def cells(page: str) -> list[dict]:
    """Return the cells of a chapter with their sources as one string each."""
    read = json.loads((BOOK / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in read]


@cache
def pages() -> list[str]:
    """Return the names of all pages in the order of `_toc.yml`, the front page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in toc["parts"] for entry in part["chapters"]]
    return [
        Path(file).name for file in [toc["root"], *(e["file"] for e in entries)]
    ]


@cache
def chapters() -> list[str]:
    """Return the names of the pages that are notebooks."""
    return [page for page in pages() if (BOOK / f"{page}.ipynb").is_file()]


def labels(page: str) -> tuple[list[str], list[str], list[str]]:
    """Return the labels of a page's figures, equations and exercises in their order."""
    if page in chapters():
        all_cells = cells(page)
        text = "\n".join(
            c["source"] for c in all_cells if c["cell_type"] == "markdown"
        )
        drawn = [c["metadata"].get("mystnb", {}).get("figure") for c in all_cells]
        figures = [figure["name"] for figure in drawn if figure]
    else:
        text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
        figures = re.findall(r"(?m)^:name: (fig-\S+)", text)
    exercises = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)", text)
    return figures, [label for _, label in EQUATION.findall(text)], exercises


@cache
def numbers() -> dict[str, tuple[int, str]]:
    """Return the number and the page of every figure, equation and exercise, counted as Sphinx counts them."""
    counts, found = [0, 0, 0], {}
    for page in pages():
        for kind, of_kind in enumerate(labels(page)):
            for label in of_kind:
                counts[kind] += 1
                found[label] = counts[kind], page
    return found


def glossary() -> dict[str, str]:
    """Return where each term, in small letters, stands on the page of the glossary."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    parts = re.findall(r"(?ms)^```\{glossary\}\n(.*?)^```", text)
    terms = re.findall(r"(?m)^(?!:)(\S.*)$", "\n".join(parts))
    return {t.lower(): "term-" + re.sub(r"[^a-zA-Z0-9._]+", "-", t) for t in terms}


def citations() -> dict[str, tuple[str, str]]:
    """Return the authors and the year of every work."""
    works = {}
    for key, entry in parse_file(BOOK / "references.bib").entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [" ".join(p.prelast_names + p.last_names) for p in people]
        names = names or [entry.fields["title"]]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        works[key] = who.replace("{", "").replace("}", ""), entry.fields["year"]
    return works


class Converter:
    """Turns one chapter's text into plain Markdown.

    Args:
        page: The chapter's name, such as `06-pectoralis`.
    """

    numbers, terms, works = numbers(), glossary(), citations()

    def __init__(self, page: str):
        self.page = page
        self.solving: str | None = None
        """The exercise whose solution has begun in an earlier cell and not ended."""

    def address(self, page: str, place: str = "") -> str:
        """Return the address of a page on the site; `place` begins with `#`."""
        if page not in pages():
            raise ValueError(
                f"{self.page}: links to {page}, which is no page of the book"
            )
        return f"{SITE}/book/{page}.html{place}"

    def numbered(self, label: str, form: str, place: str) -> str:
        """Return a number, with a link where it stands in another chapter."""
        if label not in self.numbers:
            raise ValueError(f"{self.page}: refers to {label}, which no page has")
        number, page = self.numbers[label]
        text = form.format(number)
        return (
            text if page == self.page else f"[{text}]({self.address(page, place)})"
        )

    def role(self, match: re.Match) -> str:
        """Return what a role says, as Markdown."""
        role, content = match[1], " ".join(match[2].split())
        text, _, target = content.removesuffix(">").rpartition(" <")
        if role == "math":
            return f"${content}$"
        if role == "eq":
            return self.numbered(content, "Eq. {}", f"#equation-{content}")
        if role == "numref":
            return self.numbered(content, "Fig. {}", f"#{content}")
        if role == "doc":
            return f"[{text or title(target)}]({self.address(target)})"
        if role == "term":
            place = self.terms[target.lower()]
            return f"[{text or target}]({self.address('glossary', '#' + place)})"
        if role.startswith("py:"):
            name = target.removeprefix("~")
            text = text or (name.split(".")[-1] if target != name else name)
            return f"[`{text}`]({self.address('api', '#' + name)})"
        if role in ("cite:p", "cite:t"):
            return self.cite(content.split(","), inside=role == "cite:p")
        raise ValueError(f"{self.page}: colab.py does not know the role {role}")

    def cite(self, keys: list[str], inside: bool) -> str:
        """Return authors and years as links: all of it `inside` brackets, or only the year."""
        works = [self.works[key.strip()] for key in keys]
        address = self.address("bibliography")
        if inside:
            return "(" + "; ".join(f"[{w}, {y}]({address})" for w, y in works) + ")"
        return " and ".join(f"[{who} ({year})]({address})" for who, year in works)

    def prose(self, text: str) -> str:
        """Return text without directives as plain Markdown; listings stay as they are."""
        made, end = [], 0
        for listing in [*PLAIN_FENCE.finditer(text), None]:
            part = text[end : listing.start() if listing else None]
            part = EQUATION.sub(
                lambda m: f"$${m[1]} \\tag{{{self.numbers[m[2]][0]}}} $$", part
            )
            part = ROLE.sub(self.role, part)
            made.append(
                PAGE_LINK.sub(
                    lambda m: f"]({self.address(m[1], m[2] or '')})", part
                )
            )
            if listing:
                made.append(listing.group())
                end = listing.end()
        return "".join(made)

    def exercise(self, label: str) -> str:
        """Return the name of an exercise."""
        return f"Exercise {self.numbers[label][0]}"

    def directive(self, match: re.Match) -> str:
        """Return a box, an exercise or a solution as Markdown."""
        kind, about, body, options = (
            match["kind"],
            match["about"],
            match["body"],
            {},
        )
        while option := OPTION.match(body):
            options[option[1]] = option[2]
            body = body[option.end() :]
        if kind == "solution-start":
            self.solving = about
            return ""
        if kind == "solution-end":
            self.solving = None
            return ""
        if kind == "exercise-end":
            return ""
        inner = self.prose(body.strip("\n"))
        if kind in ("exercise", "exercise-start"):
            name = self.exercise(options["label"]) + (
                f" ({about})" if about else ""
            )
            return f"**{name}**\n\n{inner}\n"
        if kind == "solution":
            return fold(f"Solution to {self.exercise(about)}", inner)
        if kind == "admonition" or kind in BOXES:
            quoted = f"**{self.prose(about) or kind.capitalize()}.** {inner}"
            return "".join(
                f"> {line}".rstrip() + "\n" for line in quoted.split("\n")
            )
        raise ValueError(
            f"{self.page}: colab.py does not know the directive {kind}"
        )

    def markdown(self, text: str) -> str:
        """Return a Markdown cell as Colab can show it; empty where nothing is left."""
        made, end = [], 0
        for match in [*FENCE.finditer(text), None]:
            part = self.prose(text[end : match.start() if match else None])
            if self.solving and part.strip():
                part = fold(
                    f"Solution to {self.exercise(self.solving)}", part.strip("\n")
                )
            made.append(part)
            if match:
                made.append(self.directive(match))
                end = match.end()
        return re.sub(r"\n{3,}", "\n\n", "".join(made)).strip("\n")

    def form(self, cell: dict) -> str | None:
        """Return the title under which Colab folds a cell's code; None where it stays open."""
        tags, shown = (
            cell["metadata"].get("tags", []),
            cell["metadata"].get("mystnb", {}),
        )
        if "check" in tags:
            return "Check that what this chapter says holds"
        if "remove-cell" in tags:
            return "Install the library"
        if self.solving:
            return f"Solution to {self.exercise(self.solving)}: the code"
        if "hide-input" not in tags:
            return None
        if "figure" in shown:
            return f"The code of Fig. {self.numbers[shown['figure']['name']][0]}"
        return (
            shown.get("code_prompt_show", "Code")
            .removeprefix("Show the ")
            .capitalize()
        )

    def code(self, cell: dict, commit: str) -> list[dict]:
        """Return a code cell, folded where the page folds it, and the caption of its figure."""
        source, metadata = cell["source"], dict(cell["metadata"])
        name = self.form(cell)
        if name == "Install the library" and commit:
            source = re.sub(r"@[^@\"]+(?=\"$)", f"@{commit}", source)
        if name:
            source, metadata["cellView"] = f"#@title {name}\n{source}", "form"
        made = [cell | {"source": source, "metadata": metadata}]
        if figure := metadata.get("mystnb", {}).get("figure"):
            number = self.numbers[figure["name"]][0]
            caption = f"**Fig. {number}.** {self.prose(figure['caption'])}"
            made.append(text_cell(f"{cell['id']}-caption", caption))
        return made


def fold(name: str, text: str) -> str:
    """Return text that unfolds under its name; the blank lines make Markdown of what is inside."""
    return f"<details>\n<summary>{name}</summary>\n\n{text}\n\n</details>\n"


def text_cell(name: str, text: str) -> dict:
    """Return a Markdown cell."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def title(page: str) -> str:
    """Return the title of a page."""
    if page in chapters():
        text = cells(page)[0]["source"]
    else:
        text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    return re.search(r"(?m)^# (.*)$", text)[1]


def convert(page: str, commit: str = "") -> dict:
    """Return a chapter as a notebook for Colab.

    Args:
        page: The chapter's name, such as `06-pectoralis`.
        commit: The commit whose library the notebook installs; the one that the chapter names where empty.

    Raises:
        ValueError: If a role, a directive or a reference is not known.
    """
    notebook = json.loads((BOOK / f"{page}.ipynb").read_text(encoding="utf-8"))
    converter, made = Converter(page), []
    for cell in cells(page):
        if cell["cell_type"] == "code":
            made += converter.code(cell, commit)
        elif text := converter.markdown(cell["source"]):
            made.append(cell | {"source": text})
    made[0]["source"] += (
        f"\n\n*Made for Colab from [the page of this chapter]({converter.address(page)}), which shows its results. "
        "Run the cells from the top (Runtime, Run all). Where code is folded, a double click shows it.*"
    )
    for cell in made:
        cell["source"] = cell["source"].splitlines(keepends=True)
    metadata = notebook["metadata"] | {"colab": {"name": page, "provenance": []}}
    return notebook | {"cells": made, "metadata": metadata}


def open_branch(app, pagename, templatename, context, doctree) -> None:
    """Let the Colab button of a page open the branch of converted chapters."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                main = f"/blob/{CONFIG['repository']['branch']}/"
                button["url"] = button["url"].replace(main, f"/blob/{BRANCH}/")


def setup(app) -> dict:
    """Connect to Sphinx, after the theme has made its buttons (501)."""
    app.add_config_value("colab_branch", "colab", "html")
    app.connect("html-page-context", open_branch, priority=502)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def main() -> None:
    """Write all chapters, and a line that says where they come from."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT / "_build" / "colab")
    parser.add_argument(
        "--commit", default="", help="whose library the notebooks install"
    )
    asked = parser.parse_args()
    (asked.into / "book").mkdir(parents=True, exist_ok=True)
    for page in chapters():
        made = json.dumps(convert(page, asked.commit), indent=1, ensure_ascii=False)
        (asked.into / "book" / f"{page}.ipynb").write_text(
            made + "\n", encoding="utf-8"
        )
    about = f"Made by `book/colab.py` of {REPOSITORY}: edit the chapters there, not here.\n"
    (asked.into / "README.md").write_text(about, encoding="utf-8")
    print(f"{len(chapters())} notebooks for Colab are in {asked.into}")


if __name__ == "__main__":
    main()
