"""Fingerprints of rules and objects: what computes the same is recognized in any process, what differs told apart."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import threading
import types
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

_LIBRARIES = (str(Path(__file__).parent), *{sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")})
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), np.generic, np.dtype, Path)
_PLAIN += (torch.dtype, torch.device, torch.layout, torch.memory_format, types.GenericAlias, types.UnionType)
# Known by their names, or all alike.
_NAMED = (types.ModuleType, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
_NAMED += (types.MemberDescriptorType, types.GetSetDescriptorType, types.MethodWrapperType, np.ufunc)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
# Of a class: documentation and Python's bookkeeping.
_DULL = {"__doc__", "__module__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__", "_abc_impl"}
_DULL |= {"__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"}


def rule(value: Any) -> str:
    """A text that is the same for values that do the same, in every process and wherever their code stands.

    Of a function it holds the code without names of files and numbers of lines, the defaults, what it closes over and
    the globals that it names; of an object its class and attributes; of a class its methods. What comes with Python,
    with an installed package or with this library goes by its name.

    A value that cannot be looked into, such as an open file, gets another text every time: never taken for the same.
    """
    return hashlib.sha256("\n".join(_told(value, {})).encode()).hexdigest()


def _told(value: Any, seen: dict[int, tuple[int, Any]]) -> list[str]:
    if isinstance(value, _PLAIN) or type(value).__module__ == "typing":
        return [f"{type(value).__name__} {value!r}"]
    if id(value) in seen:  # a function that calls itself, an object that holds itself
        return [f"again {seen[id(value)][0]}"]
    seen[id(value)] = len(seen), value  # kept alive: Python gives the id of what is gone to the next
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [f"array {value.shape} {value.dtype.str} {hashlib.sha256(np.ascontiguousarray(value)).hexdigest()}"]
    if isinstance(value, Mapping):
        items = sorted((repr(_told(k, dict(seen))), v) for k, v in value.items())
        return ["mapping", *(line for key, v in items for line in (key, *_told(v, seen)))]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted(repr(_told(v, dict(seen))) for v in value)]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *(line for v in value for line in (*_told(v, seen), ","))]
    if isinstance(value, types.CodeType):
        return _of_code(value, seen)
    if isinstance(value, partial):
        return ["partial", *_told((value.func, value.args, value.keywords), seen)]
    if isinstance(value, types.MethodType):
        return ["method", *_told((value.__self__, value.__func__), seen)]
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, *_told(value.__func__, seen)]
    if isinstance(value, property):
        return ["property", *_told((value.fget, value.fset), seen)]
    if isinstance(value, _NAMED):
        return [f"named {getattr(value, '__module__', None)} {getattr(value, '__qualname__', value.__name__)}"]
    if isinstance(value, _LOCKS):
        return ["lock"]
    if isinstance(value, types.FunctionType):
        return _of_function(value, seen)
    if isinstance(value, type):
        return _of_class(value, seen)
    if held := _attributes(value):
        return ["object", *_told(held, seen)]
    return [f"{type(value).__qualname__} {uuid.uuid4()}"]


def _attributes(value: Any) -> dict[str, Any] | None:
    """What an object holds; None of one that Python does not let look into."""
    slots = [np.atleast_1d(cls.__dict__["__slots__"]) for cls in type(value).__mro__ if "__slots__" in cls.__dict__]
    if not slots and not hasattr(value, "__dict__"):
        return None
    held = {str(name): getattr(value, name) for names in slots for name in names if hasattr(value, name)}
    return {"": type(value)} | held | getattr(value, "__dict__", {})


def _of_function(function: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> list[str]:
    if _installed(function.__code__.co_filename):
        return [f"named {function.__module__} {function.__qualname__}", *_closed(function, seen)]
    code = function.__code__
    named = {name: function.__globals__[name] for name in sorted(_names(code)) if name in function.__globals__}
    given = (function.__defaults__, function.__kwdefaults__, named)
    return ["function", *_of_code(code, seen), *_told(given, seen), *_closed(function, seen)]


def _closed(function: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> list[str]:
    """What a function took along from where it was made."""
    kept = []
    for cell in function.__closure__ or ():
        try:
            kept.append(cell.cell_contents)
        except ValueError:  # not yet filled
            kept.append(None)
    return _told(kept, seen) if kept else []


def _of_code(code: types.CodeType, seen: dict[int, tuple[int, Any]]) -> list[str]:
    parts = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags)
    return ["code", repr(parts), *(line for constant in code.co_consts for line in _told(constant, seen))]


def _names(code: types.CodeType) -> set[str]:
    """Names that a function, or one inside it, may look up among its globals."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _of_class(cls: type, seen: dict[int, tuple[int, Any]]) -> list[str]:
    name = f"{cls.__module__}.{cls.__qualname__}"
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__ == "builtins" or (file and _installed(file)):
        return [f"class {name}"]
    own = {key: value for key, value in vars(cls).items() if key not in _DULL}
    return [f"class {cls.__qualname__}", *_told(cls.__bases__, seen), *_told(own, seen)]


def _installed(file: str) -> bool:
    return file.startswith(_LIBRARIES) or file.startswith("<frozen")
