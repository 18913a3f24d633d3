"""Fingerprints: what computes the same is recognized in any process, what differs is told apart."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import threading
import types
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from biomark.machine.disk_arrays import DiskArray, parts

PACKAGE = Path(__file__).parents[1]

VERSION = "3"
"""Of what :func:`of_rule` looks at. It leads every such fingerprint, so that one of an older kind is known as such."""

METHOD = (
    *("agatston", "machine", "backbones.py", "baselines.py", "candidates.py", "cohort.py", "grids.py"),
    *("localizer.py", "losses.py", "tasks.py", "training.py"),
)
"""What decides, beside data and settings, what a training gives."""

_LIBRARIES = (str(PACKAGE), *{sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")})
_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, type(...), np.generic, np.dtype, Path),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))  # all alike
# Of a class: documentation and Python's bookkeeping.
_DULL = {"__doc__", "__module__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__", "_abc_impl"}
_DULL |= {"__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__", "__slots__"}


@cache
def of_code(*places: str) -> str:
    """A fingerprint of what this library's code does: comments, docstrings and the way lines are broken do not matter.

    Args:
        *places: Files and folders of the package; all of it by default.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for place in places or (".",):
        root = PACKAGE / place
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            tree: Any = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list):  # a text that stands alone is a docstring
                    body[:] = [part for part in body if not _is_text(part)] or [ast.Pass()]
            digest.update((path.relative_to(PACKAGE).as_posix() + ast.unparse(tree)).encode())
    return digest.hexdigest()[:16]


def of_arrays(arrays: Iterable[NDArray | DiskArray], *settings: object) -> str:
    """A fingerprint of data and settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        for part in parts(array):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def of_weights(model: nn.Module) -> str:
    """A fingerprint of a model's weights."""
    digest = hashlib.sha256()
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def of_model(model: nn.Module) -> str:
    """A fingerprint of what a model is beside its weights: its classes, plain attributes such as the task, and shapes.

    An attribute that cannot be looked into, such as an open file, is left out.
    """
    lines = [repr([(name, tuple(values.shape)) for name, values in model.state_dict().items()])]
    for name, part in model.named_modules():
        for key, value in [("", type(part)), *sorted(vars(part).items())]:
            if not key.startswith("_") and key != "training" and (found := of_rule(value)) == of_rule(value):
                lines.append(f"{name}.{key} {found}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plain_attributes(parts: Iterable[tuple[str, object]], skipped: Iterable[str] = ()) -> dict[str, str]:
    """Numbers, texts and lists of them that objects hold, as text, by the object's name and the attribute's."""
    plain = (bool, int, float, str, tuple, list, type(None))
    found = ((name + key, value) for name, part in parts for key, value in vars(part).items() if key not in skipped)
    names = {name: repr(value) for name, value in found if isinstance(value, plain)}
    return {name: text for name, text in names.items() if not name.rpartition(".")[2].startswith("_")}


def of_rule(value: Any) -> str:
    """A text that is the same for values that do the same, in every process and wherever their code stands.

    Of a function it holds the code, the defaults, what it closes over and the globals that it names, also those of
    modules of yours; of an object its class and attributes; of a class its methods. What is installed, and this
    library, goes by its name. What cannot be looked into, such as an open file, gets another text every time.
    """
    return VERSION + ":" + hashlib.sha256(repr(_described(value, {})).encode()).hexdigest()


def _described(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """What a value is and does, in tuples of texts."""
    if isinstance(value, types.SimpleNamespace):  # whose text leaves out most of a long array
        value = vars(value)
    if isinstance(value, _PLAIN) or type(value).__module__ in ("typing", "types"):
        return type(value).__name__, repr(value)
    if id(value) in seen:  # a function that calls itself, an object that holds itself
        return "again", seen[id(value)][0]
    seen[id(value)] = len(seen), value  # kept alive: Python gives the id of what is gone to the next
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return "array", value.shape, value.dtype.str, hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
    if isinstance(value, Mapping):
        return "mapping", sorted(repr((_described(k, dict(seen)), _described(v, dict(seen)))) for k, v in value.items())
    if isinstance(value, (set, frozenset)):
        return "set", sorted(repr(_described(v, dict(seen))) for v in value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *(_described(v, seen) for v in value)
    if isinstance(value, types.FunctionType):
        return _of_function(value, seen)
    if isinstance(value, type):
        return _of_class(value, seen)
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if isinstance(value, _LOCKS):
        return ("lock",)
    try:
        # As pickle takes objects apart: into the names of what makes them, and what they hold.
        parts = None if type(value) is object or isinstance(value, Iterator) else value.__reduce_ex__(2)
    except TypeError:
        parts = None
    return ("object", _described(parts, seen)) if parts else ("unknown", uuid.uuid4().hex)


def _of_function(function: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> Any:
    held = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not yet filled
            held.append(None)
    if _is_installed(function.__code__.co_filename):
        return "named", function.__module__, function.__qualname__, _described(held, seen)
    parts, names = _of_code(function.__code__)
    reached = _reached(names, function.__globals__)
    return "function", parts, _described((function.__defaults__, function.__kwdefaults__, reached, held), seen)


def _reached(names: set[str], globals_: Mapping[str, Any]) -> dict[str, Any]:
    """What code reaches by its names: globals, and what stands in modules that are not installed."""
    found: dict[str, Any] = {}
    places, known = [("", globals_)], set()
    while places:
        prefix, place = places.pop()
        for name in names & place.keys():
            found[prefix + name] = value = place[name]
            if not isinstance(value, types.ModuleType) or value.__name__ in known:
                continue
            known.add(value.__name__)
            if not _is_installed(getattr(value, "__file__", None) or "<frozen"):
                places.append((f"{prefix}{name}.", vars(value)))
    return found


def _of_code(code: types.CodeType) -> tuple[Any, set[str]]:
    """Its instructions without places in files, and the names that they may look up among globals."""
    kinds = ("code", "names", "varnames", "freevars", "argcount", "flags")
    parts: list[Any] = [getattr(code, f"co_{kind}") for kind in kinds]
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, frozenset):  # of `name in {"a", "b"}`; its order is another in every process
            constant = sorted(map(repr, constant))
        inner, below = _of_code(constant) if isinstance(constant, types.CodeType) else (repr(constant), set())
        parts.append(inner)
        names |= below
    return parts, names


def _of_class(cls: type, seen: dict[int, tuple[int, Any]]) -> Any:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__ == "builtins" or (file and _is_installed(file)):
        return "class", cls.__module__, cls.__qualname__
    own = {}
    for name, member in vars(cls).items():
        if isinstance(member, property):
            member = member.fget, member.fset
        elif isinstance(member, (staticmethod, classmethod)):
            member = type(member).__name__, member.__func__
        elif not isinstance(member, types.MemberDescriptorType) and name not in _DULL:
            member = getattr(member, "func", member)  # of a property that is kept
        else:
            continue
        own[name] = member
    return "class", cls.__qualname__, _described((cls.__bases__, own), seen)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_installed(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<frozen"))
