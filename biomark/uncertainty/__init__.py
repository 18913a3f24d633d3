"""How far off a value may be, and whether a case is like those that the model measures well."""

from biomark.uncertainty.ensemble import Consensus, Ensemble
from biomark.uncertainty.inspector import Inspection, Inspector

__all__ = ["Consensus", "Ensemble", "Inspection", "Inspector"]
