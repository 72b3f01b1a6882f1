"""A tiny data set drawn by hand: a grey image, a colour image and a volume, with embedded pictures, written as the builder does."""

from __future__ import annotations

import json

import numpy as np

from unireason.core.types import Box2D, Box3D, Frame, Look
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.frames import FrameRule, png
from unireason.data.records import (
    SCHEMA,
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_row,
    case_schema,
    image_row,
    image_schema,
    sample_row,
    sample_schema,
)
from unireason.data.scene import IMPLICIT, DataQuestion, Scene

GREY, COLOUR, DEEP = Frame(84, 56, 1, "image"), Frame(56, 56, 1, "image"), Frame(28, 56, 4, "volume")
RULE = FrameRule(volume_shape=(4, 56, 28))
SCHEMAS = {"cases": case_schema, "samples": sample_schema, "images": image_schema}


def case(name, frame, split="train"):
    shape = (frame.height, frame.width) if frame.kind == "image" else (frame.depth, frame.height, frame.width)
    n = len(shape)
    scene = Scene(name, f"patient-{name}", frame.kind, "CT", frame, shape, (1.0,) * n, (50.0,) * n, "patient", "mm2", {})
    return CaseRecord(scene, "drawn", name, f"{name}.png", -1, "0" * 64, "", split, "auto")


def pixels(frame, seed, colour=False):
    """Noise, so that every crop differs."""
    size = (frame.depth, frame.height, frame.width, *((3,) if colour else ()))
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def mask():
    """The target of the implicit sample: columns 20 to 29 and rows 8 to 15."""
    drawn = np.zeros((56, 84), np.uint8)
    drawn[8:16, 20:30] = 255
    return drawn


def sample(case, number, reasoning, *, options=("left kidney", "liver", "spleen", "heart"), answer=1, split="train", **question):
    kind = case.scene.kind
    values = {"family": "size_comparison", "ask": "largest", "about": ("liver",), "facts": (), "needs": ("liver",)} | question
    asked = DataQuestion(text=f"Which is the largest, seen in {case.scene.case}?", options=options, answer=answer, **values)
    return SampleRecord(
        f"{case.scene.case}-{number}", case.scene.case, case.scene.patient, split, kind, asked, reasoning, "template/1"
    )


def implicit(case, number=9):
    asked = DataQuestion(IMPLICIT, "implicit", ("liver",), "What stores the bile's maker? Show it.", (), -1, (), ("liver",))
    return SampleRecord(
        f"{case.scene.case}-{number}", case.scene.case, case.scene.patient, case.split, "image", asked,
        ("It is the large one on the right.",), "template/1", Box2D(20, 8, 30, 16), ((22, 10), (27, 13)), "liver", "abdomen",
    )  # fmt: skip


def entries_of(split="train"):
    """(case, samples, image records) of a split."""
    grey, colour, deep = (
        case(f"grey:{split}", GREY, split),
        case(f"colour:{split}", COLOUR, split),
        case(f"deep:{split}", DEEP, split),
    )
    in_grey = (
        sample(grey, 0, ("The liver", Look("liver", Box2D(20, 8, 30, 16)), " is large. So liver B."), split=split),
        sample(grey, 1, ("One", Look("a", Box2D(0, 0, 10, 10)), ", two", Look("b", Box2D(40, 20, 41, 21)), "."), split=split),
        implicit(grey),
    )
    in_colour = (
        sample(colour, 0, ("See", Look("liver", Box2D(4, 4, 12, 12)), "."), options=("Yes", "No"), answer=0, split=split),
    )
    in_deep = (sample(deep, 0, ("The liver", Look("liver", Box3D(2, 4, 1, 10, 12, 3)), " is larger."), answer=3, split=split),)
    g, c, d = pixels(GREY, 1), pixels(COLOUR, 2, colour=True), pixels(DEEP, 3)
    return (
        (grey, in_grey, (ImageRecord(grey.scene.case, 0, png(g[0]), (png(mask()),), ("liver",)),)),
        (colour, in_colour, (ImageRecord(colour.scene.case, 0, png(c[0])),)),
        (deep, in_deep, tuple(ImageRecord(deep.scene.case, z, png(d[z])) for z in range(4))),
    )


def write_rows(folder, table, split, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[table]()), folder / table / f"{split}-00000.parquet")


def dataset(folder, splits=("train", "test")):
    """The data set on disk, opened."""
    for split in splits:
        drawn = entries_of(split)
        write_rows(folder, "cases", split, [case_row(c) for c, _, _ in drawn])
        write_rows(folder, "samples", split, [sample_row(s) for _, samples, _ in drawn for s in samples])
        write_rows(folder, "images", split, [image_row(i) for _, _, images in drawn for i in images])
    counts = {"cases_by_split": dict.fromkeys(splits, 3), "samples": 5 * len(splits), "cases": 3 * len(splits)}
    config = {"source": "drawn", "options": {}, "frame": RULE.to_json()}
    (folder / MANIFEST).write_text(json.dumps({"schema": SCHEMA, "config": config, "title": "Drawn", "counts": counts}))
    return Dataset.open(folder)
