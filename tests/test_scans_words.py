"""Free text of a header: known words are repeated, of all else only its length, wherever it would go."""

from __future__ import annotations

import pytest
from dicom_files import body_hu, ct_slice, save, series
from hypothesis import given
from hypothesis import strategies as st

from biomark import scans
from biomark.scans import ScanError, words
from biomark.scans.header import short


@pytest.mark.parametrize(
    "kernel", ["STANDARD", "B30f", "Br38f/3", "Hr40d", "FC08", "FC51", "YC", "D", "BONEPLUS", "LUNG"]
)
def test_kernels_of_the_vendors_are_known(kernel):
    assert words.known(kernel, words.KERNEL) == kernel


@pytest.mark.parametrize(
    "text", ["OMNIPAQUE", "Omnipaque 300", "IV CONTRAST", "APPLIED", "Ultravist 370, 100 ml", "Oral & I.V."]
)
def test_agents_are_known(text):
    assert words.agent(text) == text


NAMES = (
    "GRAUBNER ILSE",
    "Omnipaque GRAUBNER",
    "B60f for GRAUBNER",
    "LUNG GRAUBNER",
    "GRAUBNER",
    "IV 19510214 GRAUBNER",
)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keyword", ["ContrastBolusAgent", "ConvolutionKernel"])
def test_what_somebody_typed_is_told_by_its_length(tmp_path, keyword, name):
    scan = scans.read(series(tmp_path / "s", **{keyword: name}))
    assert "GRAUBNER" not in " ".join(scan.findings)
    assert keyword == "ConvolutionKernel" or f"a text of {len(name)} characters" in " ".join(scan.findings)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    "changes",
    [
        {"Modality": "GRAUBNER"},
        {"RescaleType": "GRAUBNER"},
        {"PhotometricInterpretation": "GRAUBNER"},
        {"SeriesInstanceUID": ("1.2", "GRAUBNER", "1.2", "1.2")},
    ],
)
def test_errors_repeat_none_either(tmp_path, changes):
    with pytest.raises(ScanError) as caught:
        scans.read(series(tmp_path / "s", **changes))
    assert "GRAUBNER" not in str(caught.value) and "a text of 8 characters" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_number_that_is_a_name_is_not_repeated(tmp_path):
    path = save(ct_slice(body_hu(), (0, 0, 0)), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"7\\7 ", b"DOE "))
    with pytest.raises(ScanError, match=r"unusable \(a text of \d+ characters\) PixelSpacing") as caught:
        scans.read(path)
    assert "DOE" not in str(caught.value)


def test_what_other_libraries_quote_is_not_repeated():
    assert (
        short(ValueError("could not convert 'GRAUBNER' to a number."))
        == "could not convert a text of 8 characters to a number"
    )


@given(st.text(max_size=40))
def test_nothing_unknown_gets_through(text):
    told = words.known(text, words.KERNEL)
    assert told == text or told == f"a text of {len(text)} character{'s' * (len(text) != 1)}"
    assert len(words.agent("Xq" + text)) <= 24 and words.agent("Xq" + text).startswith("a text of ")
