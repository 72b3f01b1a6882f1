"""How much the local back end saves over recomputing everything in every round.

    python -m benchmarks.engine [--quick] --json

A random network of about 100 million parameters reads a volume of 32 x 256 x 256 on one thread in float32. Both back ends follow
the same scripted tokens, so that they do the same work; all times are process seconds of one run, and only their ratios matter.
``--quick`` takes a small network and a small volume: it shows that everything runs, its ratios mean little.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from recipes.phantom.network import make_tokenizer
from unireason.core.types import Box3D, Stack
from unireason.engine.case import EncodedCase, Request
from unireason.engine.local import LocalEngine
from unireason.engine.reference import ReferenceEngine
from unireason.engine.session import Budget
from unireason.grounding.grammar import write
from unireason.grounding.profile import BUILT_IN
from unireason.model import tokens
from unireason.model.checkpoint import Checkpoint, assemble
from unireason.model.files import make_processor

TARGETS = {
    "whole_answer_2_boxes": 2.0,
    "forward_work_2_boxes": 3.0,
    "questions_5_on_one_volume": 4.0,
    "samples_8_of_one_question": 5.0,
}
STUDY_BOXES = ((60, 70, 10, 150, 160, 16), (100, 40, 3, 190, 120, 7))  # of the study that set the targets, on 32 x 256 x 256
QUESTION = "Which organ of this scan shows the abnormal finding, and on which side of the body does it lie?"
OPTIONS = ("the left lung", "the right lung", "the liver", "the spleen")


@dataclass(frozen=True)
class Size:
    """A network and a volume."""

    vision: dict[str, Any]
    text: dict[str, Any]
    depth: int
    side: int
    free: int  # sampled tokens in front of each box and behind the last


FULL = Size(
    {"depth": 8, "hidden_size": 320, "intermediate_size": 856, "num_heads": 4, "fullatt_block_indexes": [1, 3, 5, 7]},
    {"hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 12, "num_attention_heads": 12},
    depth=32,
    side=256,
    free=40,
)
QUICK = Size(
    {"depth": 2, "hidden_size": 160, "intermediate_size": 428, "num_heads": 2, "fullatt_block_indexes": [1]},
    {"hidden_size": 384, "intermediate_size": 1344, "num_hidden_layers": 3, "num_attention_heads": 6},
    depth=16,
    side=140,
    free=20,
)


def make_checkpoint(size: Size) -> Checkpoint:
    """A random network with the tokenizer, the vocabulary size and the pixel limits of the study it repeats."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = make_tokenizer([])
    token = tokenizer.convert_tokens_to_ids
    width = size.text["hidden_size"]
    vision = {"window_size": 112, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": width}
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
    text = {"vocab_size": 4096, "num_key_value_heads": 2, "max_position_embeddings": 32768, "rope_parameters": rope}
    ends = {"bos_token_id": None, "eos_token_id": token("<|im_end|>")}
    config = Qwen2_5_VLConfig(
        vision_config={**vision, **size.vision},
        text_config={**text, **size.text, **ends, "initializer_range": 0.05},
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    torch.manual_seed(0)
    network = Qwen2_5_VLForConditionalGeneration(config).float()
    processor = make_processor({"min_pixels": 3136, "max_pixels": 12845056})
    return assemble(network, tokenizer, processor, profile=BUILT_IN["default"], name="random")


def make_stack(size: Size, depth: int | None = None) -> Stack:
    """A smooth random volume with some noise; only its sizes matter."""
    random = np.random.default_rng(0)
    shape = (depth or size.depth, size.side, size.side)
    coarse = torch.from_numpy(random.random((1, 1, 8, 16, 16), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0].numpy()
    pixels = (200 * smooth + 40 * random.random(shape, dtype=np.float32)).astype(np.uint8)
    return Stack(pixels, "volume", "as made", tuple((z, z + 1) for z in range(shape[0])), pixels)


class Scripted:
    """Follows a plan; keeps the logits it saw and when it saw them."""

    def __init__(self, plan: Sequence[int]) -> None:
        self.plan = plan
        self.seen: list[torch.Tensor] = []
        self.at: list[float] = []

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """The next token of the plan."""
        self.at.append(time.process_time())
        self.seen.append(logits.float().clone())
        return self.plan[len(self.seen) - 1], 0.0


class Bench:
    """Runs scripted responses on one network."""

    def __init__(self, size: Size) -> None:
        self.size, self.checkpoint = size, make_checkpoint(size)
        self.ids = self.checkpoint.ids
        self.parameters = sum(p.numel() for p in self.checkpoint.network.parameters())

    def plan(self, boxes: int, *, row: int = 0, slices: int | None = None) -> list[int]:
        """Token ids: free tokens and a box for each look, free tokens and the end of the turn.

        Boxes have a quarter to half of the side and four to seven slices; with ``slices``, a third of the side and so many.
        """
        random = np.random.default_rng(row)
        side, depth = self.size.side, self.size.depth
        chosen = []
        for _ in range(boxes):
            x, y = random.integers(0, side // 2, 2)
            count = slices or int(random.integers(4, 8))
            z = 1 if slices else int(random.integers(0, depth - count))
            wide, high = (side // 3, side // 3) if slices else random.integers(side // 4, side // 2, 2)
            chosen.append(Box3D(x, y, z, x + wide, y + high, z + count))
        return self.script(chosen, row=row)

    def script(self, boxes: Sequence[Box3D], *, row: int = 0) -> list[int]:
        """Token ids for these boxes."""
        random = np.random.default_rng(1000 + row)
        out: list[int] = []
        for box in boxes:
            out += random.integers(0, 256, self.size.free).tolist()
            out += tokens.encode_text(self.checkpoint, write(box))
        return [*out, *random.integers(0, 256, self.size.free).tolist(), self.ids.im_end]

    def run(self, kind: Callable[..., Any], stack: Stack, plans: Sequence[list[int]], **how: Any) -> Run:
        """Encode a stack and generate all responses; ``questions=True`` asks a different question in each."""
        pickers = [Scripted(plan) for plan in plans]
        questions = how.pop("questions", False)
        engine = kind(self.checkpoint, picker=lambda row, *rest: pickers[row], **how)
        with self._watched() as forward:
            begun = time.process_time()
            case = engine.encode(stack)
            requests = [
                self._request(case, f"Question {i + 1}. {QUESTION}" if questions else QUESTION) for i in range(len(plans))
            ]
            sessions = engine.generate(requests)
            seconds = time.process_time() - begun
        return Run(seconds, sum(forward), pickers, [s.response for s in sessions], len(requests[0].prompt))

    def _request(self, case: EncodedCase, question: str) -> Request:
        messages = self.checkpoint.profile.parts("volume", question, OPTIONS, n_slices=len(case.stack.slices))
        prompt = tokens.prompt_ids(self.checkpoint, messages, case.prepared.grid_thw)
        return Request(case, prompt, Budget(max_new_tokens=4096, max_round_tokens=1024))

    @contextmanager
    def _watched(self) -> Iterator[list[float]]:
        """Collect the process seconds of the vision tower, and of the language model for more than one token."""
        spent: list[float] = []
        starts: list[float] = []
        model = self.checkpoint.network.model

        def before(module: Any, args: Any, kwargs: Any) -> None:
            starts.append(time.process_time())

        def after(module: Any, args: Any, kwargs: Any, out: Any) -> None:
            took = time.process_time() - starts.pop()
            if module is model.visual or kwargs["inputs_embeds"].shape[1] > 1:
                spent.append(took)

        hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in (model.visual, model.language_model)]
        hooks += [m.register_forward_hook(after, with_kwargs=True) for m in (model.visual, model.language_model)]
        try:
            yield spent
        finally:
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True)
class Run:
    """What one run gave: process seconds in all and of forward work, the pickers, the responses, the prompt's length."""

    seconds: float
    forward: float
    pickers: list[Scripted]
    responses: list[list[int]]
    prompt: int

    def rounds(self, box_end: int) -> list[float]:
        """Process seconds from the end of each box to the end of the next."""
        one = self.pickers[0]
        ends = [t for t, token in zip(one.at, one.plan, strict=True) if token == box_end]
        return [b - a for a, b in pairwise(ends)]


def difference(a: Run, b: Run) -> float:
    """Largest difference between logits; the responses must be equal."""
    if a.responses != b.responses:
        raise SystemExit("the back ends do not agree: no figures")
    pairs = zip(a.pickers, b.pickers, strict=True)
    return max(float((torch.stack(p.seen) - torch.stack(q.seen)).abs().max()) for p, q in pairs)


def measure(size: Size, log: Callable[[str], None]) -> dict[str, Any]:
    """All figures of one run."""
    bench, stack, ratios, seconds = Bench(size), make_stack(size), {}, {}
    bench.run(LocalEngine, make_stack(size, 2), [bench.plan(1, slices=1)])  # warm up

    def compare(name: str, plans: list[list[int]], **how: Any) -> tuple[Run, Run]:
        local = bench.run(LocalEngine, stack, plans, **how)
        log(f"{name}: local {local.seconds:.1f} s")
        reference = bench.run(ReferenceEngine, stack, plans, **how)
        log(f"{name}: reference {reference.seconds:.1f} s")
        ratios[name] = reference.seconds / local.seconds
        seconds[name] = {"local": local.seconds, "reference": reference.seconds}
        differences.append(difference(local, reference))
        return local, reference

    differences: list[float] = []
    scale, deep = size.side / 256, size.depth / 32
    boxes = [Box3D(*(int(v * s) for v, s in zip(box, (scale, scale, deep) * 2, strict=True))) for box in STUDY_BOXES]
    local, reference = compare("whole_answer_2_boxes", [bench.script(boxes)])
    ratios["forward_work_2_boxes"] = reference.forward / local.forward
    seconds["forward_work_2_boxes"] = {"local": local.forward, "reference": reference.forward}
    prompt = local.prompt

    few, many = size.depth // 4, size.depth
    for name, kind, looks in (("local", LocalEngine, 5), ("reference", ReferenceEngine, 3)):
        costs = {
            depth: float(
                np.median(bench.run(kind, make_stack(size, depth), [bench.plan(looks, slices=1)]).rounds(bench.ids.box_end))
            )
            for depth in (few, many)
        }
        ratios[f"round_{many}_slices_to_{few}_{name}"] = costs[many] / costs[few]
        seconds[f"round_{name}"] = {str(depth): cost for depth, cost in costs.items()}
        log(f"one more round, {name}: {costs}")

    plans = [bench.plan(1, row=row) for row in range(5)]
    compare("questions_5_on_one_volume", plans, questions=True)
    plans = [bench.plan(row % 3, row=row) for row in range(8)]
    local, _ = compare("samples_8_of_one_question", plans)
    single = bench.run(LocalEngine, stack, plans, max_rows=1)
    differences.append(difference(local, single))
    ratios["samples_8_packed_to_one_by_one_cached"] = single.seconds / local.seconds
    seconds["samples_8_one_by_one_cached"] = {"local": single.seconds}
    return {
        "parameters": bench.parameters,
        "prompt_tokens": prompt,
        "volume": [size.depth, size.side, size.side],
        "largest_logit_difference": max(differences),
        "ratios": {k: round(v, 2) for k, v in ratios.items()},
        "seconds": {k: {n: round(s, 3) for n, s in v.items()} for k, v in seconds.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a small network and volume, under a minute")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(1)
    out = measure(QUICK if chosen.quick else FULL, lambda line: None if chosen.json else print(line, file=sys.stderr, flush=True))
    print(
        json.dumps(
            {
                "benchmark": "engine",
                "quick": chosen.quick,
                "targets": TARGETS,
                **out,
                "machine": describe("numpy", "torch", "transformers"),
            },
            indent=2,
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
