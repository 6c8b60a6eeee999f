"""The embedded default data: blood smears of imaginary hospitals, rendered from the seed."""

from fedtl.data.hospitals.cell_types import CELL_TYPES
from fedtl.data.hospitals.options import HospitalsOptions, SiteShift
from fedtl.data.hospitals.pictures import RENDERER_VERSION, HospitalImages, hospitals_dataset

__all__ = [
    "CELL_TYPES",
    "RENDERER_VERSION",
    "HospitalImages",
    "HospitalsOptions",
    "SiteShift",
    "hospitals_dataset",
]
