"""Ten prompts on one picture: features of the picture made once, against ten calls that each make them anew.

    python -m benchmarks.embedding [--quick] --json

A SAM network of base size with random weights (speed does not depend on their values), one thread, processor seconds; one run, because a
single look at a picture takes many seconds. ``--quick`` takes pictures of 512 pixels a side instead of 1024. The masks of both ways are
compared.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from transformers import SamConfig, SamModel

from benchmarks.machine import describe
from unireason.core.types import Box2D, Case, Geometry, Source
from unireason.segment.expert import Prompt, Segmentation
from unireason.segment.networks import NetworkExpert, Recipe
from unireason.segment.sam import SamNetwork

PROMPTS = 10
SHAPE = (480, 640)


def network(size: int) -> SamNetwork:
    """SAM base with random weights."""
    torch.manual_seed(0)
    config = SamConfig(vision_config={"image_size": size}, prompt_encoder_config={"image_size": size}, mask_decoder_config={})
    return SamNetwork(SamModel(config))


def picture() -> Case:
    """A picture of noise."""
    height, width = SHAPE
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    return Case(pixels, "image", Geometry(SHAPE, (width, height), (0, 1), (False, False)), "", Source("noise", "array", ""))


def prompts() -> list[Prompt]:
    """Ten boxes with two points each."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(PROMPTS):
        x, y, w, h = (float(v) for v in rng.uniform((0, 0, 60, 60), (400, 300, 200, 150)))
        made.append(Prompt(Box2D(x, y, x + w, y + h), ((x + w / 3, y + h / 2), (x + w / 2, y + h / 3))))
    return made


def timed(expert: NetworkExpert, case: Case, asked: list[Prompt]) -> tuple[float, list[Segmentation]]:
    """Processor seconds of one call and its masks."""
    begun = time.process_time()
    found = expert.segment(case, asked)
    return time.process_time() - begun, found


def measure(size: int) -> dict[str, float]:
    """Seconds of both ways and how many pixels differ between their masks."""
    recipe = Recipe("pad", "bilinear", "imagenet", "point")
    net, case, asked = network(size), picture(), prompts()
    expert = NetworkExpert("sam", net, recipe)
    together, masks = timed(expert, case, asked)
    again, _ = timed(expert, case, asked)
    apart = [timed(NetworkExpert("sam", net, recipe), case, [prompt]) for prompt in asked]
    differ = sum(int(np.count_nonzero(one.mask != other.mask)) for one, (_, (other,)) in zip(masks, apart, strict=True))
    return {
        "together": together,
        "together, features at hand": again,
        "apart": sum(seconds for seconds, _ in apart),
        "share of pixels that differ": differ / (PROMPTS * SHAPE[0] * SHAPE[1]),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    size = 512 if parser.parse_args().quick else 1024
    torch.set_num_threads(1)
    found = measure(size)
    differ = found.pop("share of pixels that differ")
    result = {
        "size": size,
        "prompts": PROMPTS,
        "seconds": {k: round(v, 2) for k, v in found.items()},
        "share_of_pixels_that_differ": differ,
        "ratios": {
            "apart : together": round(found["apart"] / found["together"], 2),
            "apart : together, features at hand": round(found["apart"] / found["together, features at hand"], 2),
        },
        "targets": {"apart : together": 5},
        "machine": describe("unireason", "torch", "transformers"),
        "command": "python -m benchmarks.embedding --json" if size == 1024 else "python -m benchmarks.embedding --quick --json",
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
