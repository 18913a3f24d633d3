"""Free text of a header is repeated nowhere, for somebody may have typed a name there."""

from __future__ import annotations

import pytest
from dicom_files import body_hu, ct_slice, save, series
from hypothesis import given
from hypothesis import strategies as st

from biomark import scans
from biomark.scans import ScanError
from biomark.scans.header import NUMBERS, known, short

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
def test_what_somebody_typed_is_not_repeated(tmp_path, keyword, name):
    scan = scans.read(series(tmp_path / "s", **{keyword: name}))
    assert scan.findings and "GRAUBNER" not in " ".join(scan.findings)


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
    assert "GRAUBNER" not in str(caught.value)


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
    told = known(text, NUMBERS)
    assert told in (text or "(none)", f"a text of {len(text)} character{'s' * (len(text) != 1)}")
    assert known(f"Xq{text}", NUMBERS).startswith("a text of ")
