"""Run records: what was run, on what, by which code, and what came out."""

from biomark.machine.files import runs_folder
from biomark.records import card, claim
from biomark.records.cohorts import load_cohort, save_cohort
from biomark.records.provenance import code_digest, data_digest
from biomark.records.run import SCHEMA, parameters, predictions, read, reference, write

__all__ = [
    "SCHEMA",
    "card",
    "claim",
    "code_digest",
    "data_digest",
    "load_cohort",
    "parameters",
    "predictions",
    "read",
    "reference",
    "runs_folder",
    "save_cohort",
    "write",
]
