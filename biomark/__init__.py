"""Learn where a biomarker comes from when only its number is known.

Nothing is loaded here: each part of the method and each wing (`biomark.scans`, `biomark.evaluation` ...) comes when it
is first named, so that the command line answers at once.
"""

from importlib import import_module
from typing import Any

from biomark.version import __version__

# Public names by the module that they come from ...
_MEMBERS = {
    "baselines": ("DirectRegressor", "Segmenter", "SizeConstrained"),
    "cohort": ("Case", "Cohort"),
    "evaluation.calibration": ("Reliability", "reliability"),
    "evaluation.comparison": ("Comparison", "compare"),
    "evaluation.prediction": ("predict",),
    "evaluation.report": ("Report", "evaluate"),
    "localizer": ("Localization", "Localizer"),
    "losses": ("SumLoss",),
    "machine.optimizers": ("Muon",),
    "records.trained": ("fit_once", "load", "pretrained"),
    "tasks": ("TASKS", "Task"),
    "training": ("History", "fit"),
    "uncertainty.ensemble": ("Consensus", "Ensemble"),
    "uncertainty.inspector": ("Inspection", "Inspector"),
}
_LAZY = {name: (module, name) for module, names in _MEMBERS.items() for name in names}
# ... and modules.
_MODULES = [*("agatston", "backbones", "candidates", "datasets", "delivery", "evaluation", "grids", "losses")]
_MODULES += ["manifests", "phantoms", "records", "scans", "uncertainty", "viz"]
_INNER = ("metrics", "networks", "perturbations", "post_hoc", "protocol", "statistics")
_LAZY |= {name: (name, "") for name in _MODULES} | {name: (f"evaluation.{name}", "") for name in _INNER}
_LAZY["conformal"] = "uncertainty.conformal", ""

__all__ = [*_LAZY, "__version__"]

# Not what a user starts from, but there: `bm.tasks.Settings`.
_LAZY |= {name: (name, "") for name in ("baselines", "cohort", "localizer", "machine", "tasks", "training")}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'biomark' has no attribute {name!r}")
    module, member = _LAZY[name]
    found = import_module(f"biomark.{module}")
    return getattr(found, member) if member else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
