"""Results out: values, maps, DICOM objects and a page for every scan of a spreadsheet."""

from biomark.delivery.dicom_objects import write_parametric_map, write_segmentation
from biomark.delivery.sheet import FORMATS, deliver

__all__ = ["FORMATS", "deliver", "write_parametric_map", "write_segmentation"]
