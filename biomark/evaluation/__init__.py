"""How good is it, does it look in the right place, and is it better than another."""

from biomark.evaluation.calibration import Reliability, reliability
from biomark.evaluation.comparison import Comparison, compare
from biomark.evaluation.report import Report, evaluate

__all__ = ["Comparison", "Reliability", "Report", "compare", "evaluate", "reliability"]
