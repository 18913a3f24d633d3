"""A spreadsheet in: one row a scan, with its number."""

from biomark.manifests.cache import cache_folder
from biomark.manifests.manifest import ManifestError, check, read
from biomark.manifests.sheet import read_sheet

__all__ = ["ManifestError", "cache_folder", "check", "read", "read_sheet"]
