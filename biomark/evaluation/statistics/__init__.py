"""How well predicted values agree with known ones, whether one model is better than another, and how sure that is.

An :class:`Estimate` is a float with the ends of its interval, ``low`` and ``high``. What is undefined, such as the
correlation of a constant, is nan, and so is what depends on a value that is nan. Intervals from formulas (all but those
of :func:`bootstrap` and :func:`mean`) hold for errors that are normal and of one size in all cases; those of scores
from 0 to thousands are not, and there they are far too narrow (chapter 11 of the book measures it).

>>> from biomark import statistics
>>> statistics.williams(predicted, by_another_model, known).pvalue  # doctest: +SKIP
0.0021
"""

from biomark.evaluation.statistics import vectorised
from biomark.evaluation.statistics.agreement import Agreement, bland_altman, concordance, icc, kappa
from biomark.evaluation.statistics.correlation import pearson, spearman, williams, zou
from biomark.evaluation.statistics.resampling import bootstrap, holm, mean, permutation
from biomark.evaluation.statistics.results import Estimate, Significance

__all__ = [
    "Agreement",
    "Estimate",
    "Significance",
    "vectorised",
    "bland_altman",
    "bootstrap",
    "concordance",
    "holm",
    "icc",
    "kappa",
    "mean",
    "pearson",
    "permutation",
    "spearman",
    "williams",
    "zou",
]
