"""Learn where a biomarker comes from when only its number is known.

Nothing is loaded here: each part of the method and each wing (`biomark.scans`, `biomark.evaluation` ...) comes when it
is first named, so that the command line answers at once.
"""

from importlib import import_module
from typing import Any

from biomark.version import __version__

# Public name: its module, and there the name that is meant, unless it is the module itself.
_LAZY = {
    "TASKS": "tasks:TASKS",
    "Case": "cohort:Case",
    "Cohort": "cohort:Cohort",
    "Comparison": "evaluation.comparison:Comparison",
    "Consensus": "uncertainty.ensemble:Consensus",
    "DirectRegressor": "baselines:DirectRegressor",
    "Ensemble": "uncertainty.ensemble:Ensemble",
    "History": "training:History",
    "Inspection": "uncertainty.inspector:Inspection",
    "Inspector": "uncertainty.inspector:Inspector",
    "Localization": "localizer:Localization",
    "Localizer": "localizer:Localizer",
    "Muon": "machine.optimizers:Muon",
    "Reliability": "evaluation.calibration:Reliability",
    "Report": "evaluation.report:Report",
    "Segmenter": "baselines:Segmenter",
    "SizeConstrained": "baselines:SizeConstrained",
    "SumLoss": "losses:SumLoss",
    "Task": "tasks:Task",
    "compare": "evaluation.comparison:compare",
    "conformal": "uncertainty.conformal",
    "evaluate": "evaluation.report:evaluate",
    "fit": "training:fit",
    "fit_once": "records.trained:fit_once",
    "load": "records.trained:load",
    "metrics": "evaluation.metrics",
    "networks": "evaluation.networks",
    "perturbations": "evaluation.perturbations",
    "post_hoc": "evaluation.post_hoc",
    "predict": "evaluation.prediction:predict",
    "pretrained": "records.trained:pretrained",
    "reliability": "evaluation.calibration:reliability",
    "statistics": "evaluation.statistics",
}
_PARTS = ("agatston", "backbones", "candidates", "grids", "losses")
_WINGS = ("datasets", "delivery", "evaluation", "manifests", "phantoms", "records", "scans", "uncertainty", "viz")
_LAZY |= {name: name for name in (*_PARTS, *_WINGS)}

__all__ = [*_LAZY, "__version__"]

# Not what a user starts from, but there: `bm.tasks.Settings`.
_LAZY |= {name: name for name in ("baselines", "cohort", "localizer", "machine", "tasks", "training")}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'biomark' has no attribute {name!r}")
    module, _, member = _LAZY[name].partition(":")
    found = import_module(f"biomark.{module}")
    return getattr(found, member) if member else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
