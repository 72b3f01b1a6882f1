"""Arrow schemas of the three tables; a test holds docs/reference/records.md against them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .record import SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa


def case_schema() -> pa.Schema:
    """Arrow schema of ``cases``."""
    import pyarrow as pa

    ints, reals, texts = pa.list_(pa.int32()), pa.list_(pa.float64()), pa.list_(pa.string())
    part = pa.struct({"box_canonical": ints, "box_model": ints, "measure": pa.float64(), "voxels": pa.int64()})
    structure = pa.struct(
        {
            "name": pa.string(),
            "box_canonical": ints,
            "box_voxel": ints,
            "box_model": ints,
            "voxels": pa.int64(),
            "measure": pa.float64(),
            "centre": reals,
            "side": pa.string(),
            "parts": pa.list_(part),
            "part_count": pa.int32(),
            "neighbours": texts,
            "slices": ints,
            "borders": texts,
            "contrast": pa.float64(),
            "elongation": pa.float64(),
            "points": pa.list_(ints),
        }
    )
    text = dict.fromkeys(("id", "patient", "split", "kind", "source", "item", "image"), pa.string())
    rest = {
        "slice": pa.int32(),
        "sha256": pa.string(),
        "phash": pa.string(),
        "modality": pa.string(),
        "window": pa.string(),
        "frame": ints,
        "shape": ints,
        "spacing_mm": reals,
        "extent": reals,
        "space": pa.string(),
        "unit": pa.string(),
        "structures": pa.list_(structure),
        "absent": texts,
        "unclear": texts,
    }
    return pa.schema({**text, **rest}, metadata={"schema": SCHEMA})


def sample_schema() -> pa.Schema:
    """Arrow schema of ``samples``."""
    import pyarrow as pa

    ints, texts = pa.list_(pa.int32()), pa.list_(pa.string())
    step = pa.struct({"text": pa.string(), "label": pa.string(), "box": ints, "seen": pa.bool_()})
    text = dict.fromkeys(("id", "case", "patient", "split", "kind", "task", "family", "ask"), pa.string())
    rest = {
        "about": texts,
        "question": pa.string(),
        "options": texts,
        "answer": pa.int32(),
        "letter": pa.string(),
        "facts": texts,
        "needs": texts,
        "reasoning": pa.list_(step),
        "response": pa.string(),
        "annotator": pa.string(),
        "box": ints,
        "points": pa.list_(ints),
        "category": pa.string(),
        "supercategory": pa.string(),
        "stages": texts,
        "origin": pa.string(),
    }
    return pa.schema({**text, **rest}, metadata={"schema": SCHEMA})


def image_schema() -> pa.Schema:
    """Arrow schema of ``images``: pictures as the network's processor gets them, and masks on the same grid."""
    import pyarrow as pa

    return pa.schema(
        {
            "case": pa.string(),
            "slice": pa.int32(),
            "png": pa.binary(),
            "masks": pa.list_(pa.binary()),
            "mask_names": pa.list_(pa.string()),
        },
        metadata={"schema": SCHEMA},
    )
