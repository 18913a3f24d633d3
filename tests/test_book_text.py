"""What the chapters' words promise: the time to read them, answered exercises, questions to check oneself."""

import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parent.parent / "book"
NUMBERED = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
MAX_MINUTES, WORDS_A_MINUTE = 15, 200

each_chapter = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def prose(path: Path) -> str:
    """Return the text of a chapter's markdown cells."""
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@each_chapter
def test_the_reading_time_is_that_of_the_words(path):
    text, without = re.subn(r"(?ms)^## Exercises$.*?(?=^## Summary$)", "", prose(path))
    assert without == 1, f"{path.name}: a section Exercises comes right before the Summary"
    minutes = len(re.findall(r"\S*\w\S*", text)) / WORDS_A_MINUTE
    stated = re.search(r"about (\d+) minutes to read without code and exercises", text)
    assert stated, f"{path.name}: the overview does not say 'about N minutes to read without code and exercises'"
    assert abs(int(stated[1]) - minutes) < 1.5, f"{path.name} takes {minutes:.1f} minutes to read, not {stated[1]}"
    assert minutes <= MAX_MINUTES, f"{path.name} takes {minutes:.1f} minutes to read, {MAX_MINUTES} at most"


@each_chapter
def test_exercises_have_folded_solutions(path):
    text = prose(path)
    asked = re.findall(r"(?m)^`{3,}\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)$", text)
    solved = re.findall(r"(?m)^`{3,}\{solution(?:-start)?\} (\S+)\n:class: dropdown$", text)
    assert 2 <= len(asked) <= 4, f"{path.name} has {len(asked)} exercises, and should have 2 to 4"
    assert sorted(asked) == sorted(solved), f"{path.name}: without a folded solution: {set(asked) ^ set(solved)}"
    gates = re.findall(r"(?m)^```\{(exercise|solution)-(start|end)\}", text)
    pairs = zip(gates[::2], gates[1::2], strict=False)
    assert len(gates) % 2 == 0 and all(a[0] == b[0] and (a[1], b[1]) == ("start", "end") for a, b in pairs), (
        f"{path.name}: a start of an exercise or solution and its end must follow each other"
    )


@each_chapter
def test_two_questions_to_check_oneself(path):
    """They unfold without a kernel, on a page and in Colab, and stand where no reading time is counted."""
    found = re.findall(r"(?ms)^## Check yourself$(.*?)^## (.*?)$", prose(path))
    assert [after for _, after in found] == ["Summary"], f"{path.name}: one section Check yourself before the Summary"
    questions = re.split(r"(?m)^\*\*\d\. (?=.*\?\*\*$)", found[0][0])[1:]
    assert len(questions) == 2, f"{path.name} has {len(questions)} questions, and should have 2"
    choice = r"<details>\n<summary>([A-C])\. [^<>`$]+</summary>\n\n(Right|No): .+?\n\n</details>"
    for question in questions:
        letters, verdicts = zip(*re.findall(choice, question), strict=True)
        assert letters == ("A", "B", "C") and verdicts.count("Right") == 1, f"{path.name}: {question}"
