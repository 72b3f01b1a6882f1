"""Records: what a data set holds, field by field, and how rows travel between Parquet and the package.

A data set is a folder::

    manifest.json              schema version, configuration, counts, and the SHA-256 of every file below
    README.md                  the data-set card
    cases/train-00000.parquet  one row an image or volume: CASE
    samples/train-00000.parquet one row a question: SAMPLE
    images/train-00000.parquet only if embedded: IMAGE
    skipped.jsonl              items that could not be used, with the reason

Field by field: docs/reference/records.md, which a test holds against the schemas.
"""

from .cases import case_from_row, case_row, scene_from_row, scene_row
from .record import READABLE, SCHEMA, SPLITS, STAGES, CaseRecord, ImageRecord, SampleRecord
from .samples import box_of, image_from_row, image_row, sample_from_row, sample_row
from .schemas import case_schema, image_schema, sample_schema

__all__ = [
    "READABLE",
    "SCHEMA",
    "SPLITS",
    "STAGES",
    "CaseRecord",
    "ImageRecord",
    "SampleRecord",
    "box_of",
    "case_from_row",
    "case_row",
    "case_schema",
    "image_from_row",
    "image_row",
    "image_schema",
    "sample_from_row",
    "sample_row",
    "sample_schema",
    "scene_from_row",
    "scene_row",
]
