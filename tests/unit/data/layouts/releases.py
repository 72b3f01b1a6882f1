"""Tiny releases of UniMed-CoT, row by row."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from layout_dataset import RULE
from PIL import Image

from unireason.data.formats.importer import Wanted
from unireason.data.frames import FrameRule

PUBLISHED = Wanted(FrameRule())
DRAWN = Wanted(replace(RULE, min_pixels=784))


def picture(width, height, value=0):
    """A PNG file of noise."""
    drawn = np.random.default_rng(value).integers(0, 256, (height, width), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "PNG")
    return stream.getvalue()


def asked(question="Where?", options="A. left\nB. right", pictures=1):
    return [{"role": "user", "content": "<image>" * pictures + f"{question}\n{options}"}]


def sft(said, ids, **how):
    return {"messages": [*asked(**how), {"role": "assistant", "content": said}], "image_ids": ids}


def rl(ids, *, truth="B", how=None, **extra):
    info = {"reward_model": json.dumps({"ground_truth": truth}), "extra_info": json.dumps(extra)}
    return {
        "prompt": asked(**(how or {})), "image_ids": ids, "data_source": "x", "agent_name": "a", "ability": "m", **info
    }  # fmt: skip


def image(name, data):
    return {"image_id": name, "path": f"there/{name}.png", "bytes": data}


def release(folder, **tables):
    """Tables by name; "sft/test" is a second file of a table."""
    for name, rows in tables.items():
        table, _, file = name.partition("__")
        (folder / table).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / table / f"{file or 'train'}-0.parquet")
    return folder


LOOKED = "<think>The liver is at <|box_start|>[1, 2,30,40]<|box_end|><image> and big.</think>B. right"


def reasons(folder):
    return [json.loads(line)["reason"] for line in (folder / "skipped.jsonl").read_text().splitlines()]
