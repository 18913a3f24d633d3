"""Whatever a file of ours holds, reading it ends in what it should hold or in one sentence.

Cohort, model, inspector, record and checkpoint files are changed byte by byte, and within their headers value by value.
Set BIOMARK_FUZZ_SECONDS to look for longer: ``BIOMARK_FUZZ_SECONDS=600 pytest tests/test_fuzz_files.py -s``.
"""

import json
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import writers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import biomark as bm

SECONDS = float(os.environ.get("BIOMARK_FUZZ_SECONDS", "0"))
# Of a file that was changed nothing is expected but that it is said: warnings may say it too.
pytestmark = pytest.mark.filterwarnings("ignore")


def write_run(folder: Path) -> None:
    cohort = writers.cohort()
    bm.records.write(folder, parameters={"task": "sfa"}, report=bm.Report.of(cohort, cohort.values + 1))


FILES: dict[str, tuple[Callable, Callable, str]] = {
    "cohort": (
        lambda f: bm.records.save_cohort(writers.cohort()[:3], f / "x"),
        lambda f: bm.records.load_cohort(f / "x"),
        "x",
    ),
    "model": (lambda f: writers.model(0).save(f / "x"), lambda f: bm.load(f / "x"), "x"),
    "inspector": (lambda f: writers.inspector(0).save(f), bm.Inspector.load, "inspector.json"),
    "record": (write_run, bm.records.read, "run.json"),
    "report": (write_run, bm.Report.read, "run.json"),
    "predictions": (write_run, bm.Report.read, "predictions.csv"),
    "checkpoint": (lambda f: writers.checkpoint(f, 0).write(), lambda f: writers.checkpoint(f).resume(), "checkpoint"),
}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([2**31, 2**63, 10**400, 1e308, -1, 0.5, float("nan"), float("inf")]),
    st.text(max_size=4),
    st.sampled_from(["sfa", "unet", "DirectRegressor", "mapping", "tensor", "sequence"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-1, 3), max_size=2),
)


def places(value: object, at: tuple = ()) -> list[tuple]:
    """The way to each value within mappings and lists, not of all members of long ones."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [at, *(place for key, part in inside for place in places(part, (*at, key)))]


@st.composite
def with_another_value(draw, tree):
    """A tree of JSON in which a value is of another kind, missing or doubled."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(places(tree)[1:] or [(0,)]))
        part = tree
        for key in way:
            part = part[key]
        if draw(st.integers(0, 4)):
            part[last] = draw(VALUES)
        else:
            del part[last]
        if not isinstance(tree, (dict, list)) or not tree:
            break
    return tree


def with_header(content: bytes, change: Callable[[dict], dict]) -> bytes:
    """A safetensors file with another header."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.dumps(change(json.loads(content[8 : 8 + size]))).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    how = draw(st.sampled_from(["bytes", "value", "value", "value", "cut", "deep"]))
    if how == "cut":
        return content[: draw(st.integers(0, len(content) - 1))]
    if how == "deep" and content[:2] != b"id":
        return b"[" * 10**5 if content[:1] == b"{" else with_header(content, lambda h: h | {"__metadata__": deep(h)})
    if how in ("bytes", "deep") or content[:2] == b"id":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            end = len(content) if draw(st.booleans()) else min(len(content), 2000)
            changed[draw(st.integers(0, end - 1))] = draw(st.integers(0, 255))
        return bytes(changed)
    if content[:1] == b"{":
        return json.dumps(draw(with_another_value(json.loads(content)))).encode()
    if draw(st.integers(0, 3)) == 0:  # names, types and places of the arrays
        return with_header(content, lambda header: draw(with_another_value(header)))

    def inner(header: dict) -> dict:
        ((kind, text),) = header["__metadata__"].items()
        return header | {"__metadata__": {kind: json.dumps(draw(with_another_value(json.loads(text))))}}

    return with_header(content, inner)


def deep(header: dict) -> dict[str, str]:
    return dict.fromkeys(header["__metadata__"], '{"a":' * 10**5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with whole files of each kind."""
    made = {}
    for name, (write, read, _) in FILES.items():
        made[name] = tmp_path_factory.mktemp(name)
        write(made[name])
        read(made[name])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_any_file_of_ours_is_read_or_said_in_one_sentence(name, whole):
    _, read, file = FILES[name]
    content = (whole[name] / file).read_bytes()
    count, end = {"files": 0, "sentences": 0}, time.monotonic() + SECONDS / len(FILES)

    @settings(
        max_examples=5000 if SECONDS else 150,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(content))
    def look(changed):
        if SECONDS and time.monotonic() > end:
            return
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "x"
            shutil.copytree(whole[name], folder)
            (folder / file).write_bytes(changed)
            try:
                read(folder)
            except (ValueError, FileNotFoundError) as error:
                sentence = str(error)
                assert type(error) in (ValueError, FileNotFoundError), repr(error)
                assert sentence and "\n" not in sentence and str(folder) in sentence, sentence
                count["sentences"] += 1
        count["files"] += 1

    look()
    while time.monotonic() < end:
        look()
    print(f"\n{name}: {count['files']} files, {count['sentences']} ended in a sentence")
    assert count["files"] >= 20 and 0 < count["sentences"] <= count["files"]


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_said_in_one_sentence(name, whole, tmp_path):
    _, read, file = FILES[name]
    shutil.copytree(whole[name], tmp_path / "x")
    for content in (b"", b"\0" * 100, b"null", b"[]", b"{}", b'{"schema": 1}', b'{"schema": 2}'):
        (tmp_path / "x" / file).write_bytes(content)
        if (name, content) != ("record", b'{"schema": 1}'):
            with pytest.raises(ValueError, match=str(tmp_path)) as error:
                read(tmp_path / "x")
            assert "\n" not in str(error.value)
