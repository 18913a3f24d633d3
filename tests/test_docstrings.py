"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

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
    assert examples > 15
