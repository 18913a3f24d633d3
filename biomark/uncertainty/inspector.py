"""One answer for one case: the value, how far off it may be, where it comes from, and whether to believe that."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from biomark.cohort import Case, Cohort
from biomark.grids import Boxes
from biomark.localizer import Localization, refuse_other_task
from biomark.losses import SOFTENING
from biomark.machine.files import atomic_write, expand, read_object, sweep, whole_file
from biomark.machine.moves import AIR_HU
from biomark.records.trained import load, pretrained_folder
from biomark.tasks import Task
from biomark.uncertainty import conformal, ranges
from biomark.uncertainty.ensemble import Ensemble, usual_boxes
from biomark.version import __version__

STRATA = 3
"""Small, middling and large values have their intervals calibrated apart. Ours."""

_FILE = "inspector.json"
_SCHEMA = 3
_MODEL = r"model-\d+(-new)?\.safetensors"


@dataclass(frozen=True, eq=False)
class Inspection:
    """What an :class:`Inspector` says of one case; ``print`` it.

    Attributes:
        id: Of the case.
        name: The biomarker in words.
        unit: Of the value.
        value: The biomarker.
        low: Lower end of the interval.
        high: Upper end of the interval.
        coverage: Share of like cases whose true value lies within such intervals.
        map: Membership in [0, 1], of the case's shape.
        mask: The mask of the value (:meth:`biomark.Task.outline`), of the case's shape.
        spread: SD over the members of an ensemble; None for a single model.
        findings: What is known of the scan, as given to :meth:`Inspector.inspect`.
        traits: The numbers that were compared (:func:`biomark.uncertainty.ranges.traits`).
        unusual: A sentence for each trait outside its usual range; with any, the interval promises nothing.
    """

    id: str
    name: str
    unit: str
    value: float
    low: float
    high: float
    coverage: float
    map: NDArray[np.float32] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)
    spread: float | None
    findings: tuple[str, ...]
    traits: dict[str, float] = field(repr=False)
    unusual: tuple[str, ...]

    @property
    def unlike(self) -> bool:
        """Whether the case is unlike those that the model was calibrated on, and so unlike the training data."""
        return bool(self.unusual)

    def __str__(self) -> str:
        between = f"{self.coverage:.0%} interval {self.low:.4g} to {self.high:.4g}"
        lines = [f"{self.id}: {self.name} {self.value:.4g} {self.unit}  ({between})"]
        if self.spread is not None:
            lines += [f"  members of the ensemble differ by an SD of {self.spread:.2g} {self.unit}"]
        if self.unlike:
            lines += ["  UNLIKE the training data, so the interval promises nothing:"]
        else:
            lines += ["  like the training data in all that was looked at"]
        return "\n".join(lines + [f"  - {sentence}" for sentence in self.unusual + self.findings])


class Inspector:
    """A trained model with what is known of its errors, so that it can be passed on.

    The intervals are split conformal (:class:`~biomark.uncertainty.conformal.Conformal`), scaled by the square root of
    the value and calibrated apart for small, middling and large ones. A case is unlike the training data when one of
    its traits is outside its range (:class:`~biomark.uncertainty.ranges.RangeDetector`).

    Args:
        model: A trained localizer, a rival with a map, or an :class:`~biomark.Ensemble`.
        cohort: Cases with known values from where the training cases came from, which neither training nor the choice
            of the model has seen; 100 or more, better 300. Masks are not read.
        coverage: Share of like cases whose true value shall lie within the interval.
        alarm: Share of like cases that may be called unlike.

    Raises:
        ValueError: The cohort is of another task or too small, or the model has no map.
    """

    model: Any

    def __init__(self, model: nn.Module, cohort: Cohort, *, coverage: float = 0.9, alarm: float = 0.05) -> None:
        if not hasattr(model, "locate"):
            raise ValueError(
                f"a {type(model).__name__} has no map to inspect: give a localizer or an ensemble of some."
            )
        refuse_other_task(model, cohort)
        # Case by case, as new cases will be: in a batch the last digits differ.
        self.model = model
        found = [self.model.locate(case) for case in cohort]
        predicted = np.array([f.value for f in found])
        self.softening = SOFTENING * max(float(np.mean(cohort.values)), 1e-6)
        self.intervals = conformal.Conformal.calibrate(
            predicted, cohort.values, difficulty=self._difficulty(predicted), coverage=coverage, strata=STRATA
        )
        traits = [self._traits(case, f, None) for case, f in zip(cohort, found, strict=True)]
        self.detector = ranges.RangeDetector.fit(traits, alarm=alarm)

    def inspect(
        self,
        case: Case,
        *,
        boxes: Boxes | None = None,
        findings: Sequence[str] = (),
        window: Sequence[int] | None = None,
    ) -> Inspection:
        """Answer for one case.

        Args:
            case: Such as ``cohort[i]``, ``scan.case(task, slice)`` or ``heart_box(scan).case(task)``; its value and
                mask are not read.
            boxes: As for :meth:`biomark.Localizer.locate`.
            findings: What is known of the scan, such as ``scan.findings``: passed on with the answer.
            window: For images too large for the memory, as for :meth:`biomark.Localizer.locate`.
        """
        found = self.model.locate(case, boxes=boxes, window=window)
        low, high = self.intervals.interval(found.value, difficulty=self._difficulty(found.value))
        traits = self._traits(case, found, boxes)
        unusual = []
        for name, value in self.detector.outliers(traits).items():
            least, most = self.detector.ranges[name]
            unusual.append(f"{name} {value:.4g}: usual is {least:.4g} to {most:.4g}")
        return Inspection(
            id=case.id,
            name=self.model.task.name,
            unit=self.model.task.unit,
            value=found.value,
            low=float(low),
            high=float(high),
            coverage=self.intervals.coverage,
            map=found.map,
            mask=found.mask,
            spread=getattr(found, "value_spread", None),
            findings=tuple(findings),
            traits=traits,
            unusual=tuple(unusual),
        )

    def save(self, folder: str | os.PathLike) -> None:
        """Write the model's weights (safetensors) and ``inspector.json`` to a folder, made if missing; no code.

        What was saved there before is whole until all of the new is there.
        """
        folder = expand(folder)
        members = list(self.model.models) if isinstance(self.model, Ensemble) else [self.model]
        before: set[str] = set()
        with suppress(OSError, KeyError, TypeError, ValueError):
            before = set(read_object(folder / _FILE, "")["models"])
        # Under names that what was saved there before does not need.
        both = [(f"model-{i}.safetensors", f"model-{i}-new.safetensors") for i in range(len(members))]
        files = {b if a in before else a: model for (a, b), model in zip(both, members, strict=True)}
        for name, model in files.items():
            model.save(folder / name)
        about = {
            "schema": _SCHEMA,
            "biomark": __version__,
            "task": self.model.task.key,
            "models": {name: _digest(folder / name) for name in files},
            "softening": self.softening,
            "intervals": dataclasses.asdict(self.intervals),
            "detector": dataclasses.asdict(self.detector),
        }
        with atomic_write(folder / _FILE) as partial:
            partial.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for path in folder.glob("model-*.safetensors"):
            if path.name not in files and re.fullmatch(_MODEL, path.name):
                path.unlink(missing_ok=True)
        sweep(folder)

    @classmethod
    def load(
        cls, folder: str | os.PathLike, *, task: Task | None = None, backbone: nn.Module | None = None
    ) -> Inspector:
        """Read what :meth:`save` wrote; ``task`` and ``backbone`` as for :func:`biomark.load`.

        Raises:
            FileNotFoundError: There is no inspector.
            ValueError: It is damaged, of another version, or its models are not those it was calibrated for.
        """
        path = expand(folder) / _FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {_FILE}: give a folder that Inspector.save wrote.")
        about = read_object(path, "save the inspector again")
        with whole_file(path, "inspector"):
            return cls._built(path, about, task, backbone)

    @classmethod
    def pretrained(cls, key: str) -> Inspector:
        """The trained model of a task that comes with the library (``bm.pretrained``), with its intervals."""
        return cls.load(pretrained_folder(key))

    @classmethod
    def _built(cls, path: Path, about: dict[str, Any], task: Task | None, backbone: nn.Module | None) -> Inspector:
        """The inspector of a file's content."""
        if about.get("schema") != _SCHEMA:
            raise ValueError(f"{path} was made by another version of biomark ({about.get('biomark')}): make it again.")
        models = []
        for name, digest in about["models"].items():
            file = path.parent / Path(name).name
            if file.is_file() and _digest(file) != digest:
                raise ValueError(
                    f"{file} is not the model that {path} was calibrated for: copy the whole folder again."
                )
            # Each member its own: loading fills the module that it is given.
            models.append(load(file, task=task, backbone=copy.deepcopy(backbone)))
        inspector = cls.__new__(cls)
        inspector.model = Ensemble(models) if len(models) > 1 else models[0]
        inspector.softening = float(about["softening"])
        of = about["intervals"]
        listed = {key: tuple(map(float, of[key])) for key in ("bounds", "distances")}
        inspector.intervals = conformal.Conformal(**of | listed)
        limits = {name: (float(low), float(high)) for name, (low, high) in about["detector"]["ranges"].items()}
        inspector.detector = ranges.RangeDetector(**about["detector"] | {"ranges": limits})
        numbers = [inspector.softening, float(of["coverage"]), *listed["bounds"], *listed["distances"]]
        numbers += [end for ends in limits.values() for end in ends]
        if not np.isfinite(numbers).all() or len(listed["distances"]) != len(listed["bounds"]) + 1:
            raise ValueError("its intervals or ranges are damaged")
        return inspector

    def _traits(self, case: Case, found: Localization, boxes: Boxes | None) -> dict[str, float]:
        """The traits of what the network saw, so that cases in boxes and scans can be compared."""
        boxes = boxes or usual_boxes(self.model, case)
        image, weights = boxes.means(case.image, AIR_HU), boxes.sums(case.weights)
        seen = Case(case.id, image, weights, None, None, boxes.spacing_mm(case.spacing_mm))
        return ranges.traits(seen, Localization(found.value, boxes.means(np.asarray(found.map), 0)))

    def _difficulty(self, value: NDArray | float) -> NDArray[np.float64]:
        return conformal.by_size(value, self.softening)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
