"""The examples in docstrings give what they say."""

import ast
import doctest
import importlib
import itertools
import pkgutil
import re
from pathlib import Path

import pytest

import biomark

# Drawing and widgets have no examples, and import what the library does not need.
MODULES = [name for _, name, _ in pkgutil.walk_packages(biomark.__path__, "biomark.") if name != "biomark.reference"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


def test_there_are_examples():
    finder, examples = doctest.DocTestFinder(exclude_empty=True), 0
    for name in MODULES:
        for test in finder.find(importlib.import_module(name)):
            examples += sum(doctest.SKIP not in example.options for example in test.examples)
    assert examples > 13


def first_lines():
    """Of what Sphinx would take for a type if a colon stood in it: words on a constant, and on what is returned."""
    for path in sorted(Path(biomark.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield from re.findall(r"^ *(?:Returns|Yields):\n +(.*)", ast.get_docstring(node) or "", re.MULTILINE)
            elif isinstance(node, (ast.Module, ast.ClassDef)):
                for named, said in itertools.pairwise(node.body):
                    if isinstance(named, (ast.Assign, ast.AnnAssign)) and isinstance(said, ast.Expr):
                        yield said.value.value.partition("\n")[0]


def test_no_colon_is_taken_for_a_type():
    lines = list(first_lines())
    assert len(lines) > 90
    assert [line for line in lines if re.search(r":(\s|$)", line)] == []
