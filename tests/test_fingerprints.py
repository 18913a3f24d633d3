"""What computes the same has one fingerprint in any process; what differs has another."""

import os
import subprocess
import sys
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pytest

import biomark as bm
from biomark.machine.fingerprints import of_rule
from biomark.manifests import cache
from biomark.scans import Grid

LIMIT = 0


def made(source, limit=0, file="notebook"):
    """A function as a script or a notebook of that name would make it."""
    names = {"__name__": "__main__", "LIMIT": limit}
    exec(compile(source, file, "exec"), names)
    return names["above"]


ABOVE = "def above(image, spacing):\n    return image > LIMIT\n"


def test_where_code_stands_does_not_matter():
    first = of_rule(made(ABOVE))
    assert first == of_rule(made("# a comment\n\n" + ABOVE)) == of_rule(made(ABOVE, file="/tmp/ipykernel_77/1.py"))
    assert first == of_rule(made(ABOVE, limit=0)) != of_rule(made(ABOVE, limit=42))
    assert first != of_rule(made(ABOVE.replace(">", ">=")))


def above(image, spacing, t=0):
    return image > t


def closing(t):
    return lambda image, spacing: image > t


class Rule:
    def __init__(self, t):
        self.t = t

    def __call__(self, image, spacing):
        return image > self.t


@dataclass(frozen=True)
class Frozen:
    t: int

    def __call__(self, image, spacing):
        return image > self.t


class Slotted:
    """With what Python keeps for itself in a class: slots, an abstract base, a property that is kept, types."""

    __slots__ = ("t",)
    kinds: list[int] | None

    def __init__(self, t: int | None):
        self.t = t


class Abstract(ABC):
    limit: float | None = None

    def __init__(self, t):
        self.t = t

    @abstractmethod
    def __call__(self, image, spacing): ...


class Concrete(Abstract):
    def __call__(self, image, spacing):
        return image > self.t

    @cached_property
    def twice(self):
        return 2 * self.t


@pytest.mark.parametrize(
    "make",
    [
        closing,
        Rule,
        Frozen,
        Slotted,
        Concrete,
        lambda t: partial(above, t=t),
        lambda t: Rule(t).__call__,
        lambda t: lambda image, spacing, t=t: image > t,
        lambda t: lambda image, spacing: closing(t)(image, spacing),
        lambda t: {"a": [np.full(3, t)], "b": {t}},
        lambda t: replace(bm.TASKS["sfa"], region=closing(t)),
        lambda t: replace(bm.TASKS["sfa"], input_hu=(-1000, t)),
    ],
)
def test_what_a_rule_holds_is_told(make):
    assert of_rule(make(0)) == of_rule(make(0)) != of_rule(make(42))


def test_a_method_that_changes_changes_the_class():
    class Other(Rule):
        def __call__(self, image, spacing):
            return image >= self.t

    assert of_rule(Other(0)) != of_rule(Rule(0))


def test_functions_that_call_themselves_and_objects_that_hold_themselves():
    def down(n):
        return down(n - 1) if n else 0

    ring = []
    ring.append(ring)
    assert of_rule(down) == of_rule(down) and of_rule(ring) == of_rule(ring)


def test_what_cannot_be_looked_into_is_never_the_same():
    assert of_rule(object()) != of_rule(object()) and of_rule(iter([])) != of_rule(iter([]))


def test_another_process_says_the_same():
    program = "import biomark as bm; from biomark.machine.fingerprints import of_rule; print(of_rule(bm.TASKS['cac']))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert told == of_rule(bm.TASKS["cac"])


def test_prepared_scans_are_kept_apart_by_rules_of_ones_own():
    """Else a cohort would get the weights of another rule."""

    def kept(t):
        return cache.settings(replace(bm.TASKS["sfa"], region=closing(t)), Grid((8, 8), (5.0, 5.0)), True)

    assert kept(0) == kept(0) != kept(42)


def test_code_that_asks_for_one_of_several_texts_is_known_in_any_process():
    """Python puts a set of texts in another order in every process."""
    code = (
        "from biomark.machine.fingerprints import of_rule\n"
        "print(of_rule(lambda text: text in {'fat', 'muscle', 'bone', 'calcium', 'liver'}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(found) == 1
    assert of_rule(lambda text: text in {"a", "b"}) != of_rule(lambda text: text in {"a", "c"})


def test_what_stands_in_a_module_of_ones_own_is_told():
    """`rules.inner.rule(image)` is looked into as a function beside it is; what else stands there does not matter."""
    rules, inner = types.ModuleType("rules"), types.ModuleType("rules.inner")
    rules.__file__, inner.__file__, rules.inner, inner.rules = "/mine/rules.py", "/mine/inner.py", inner, rules
    names, found = {"rules": rules}, []
    exec("def above(image): return rules.inner.rule(image)", names)
    for limit, other in [(0, 1), (0, 2), (42, 1)]:
        inner.rule, inner.other = closing(limit), other
        found.append(of_rule(names["above"]))
    assert found[0] == found[1] != found[2]


def test_long_arrays_in_a_namespace_are_told():
    one, two = np.zeros(5000), np.zeros(5000)
    two[2000] = 1
    found = [of_rule(types.SimpleNamespace(of=array)) for array in (one, one.copy(), two)]
    assert found[0] == found[1] != found[2]
