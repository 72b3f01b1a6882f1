"""Estimates of ``unireason plan`` against measured training steps on a CPU.

    python -m benchmarks.planning [--quick] --json

Random Qwen2.5-VL networks make training steps (vision tower, forward and backward pass over packed trees, AdamW) on one thread in
float32, each shape in a process of its own. One shape tells the machine's effective rate of operations; times of the others follow from
their operations alone, peak memory from the formulas. Process seconds, the quicker of two steps; memory is the peak of the process above
what it held before the network was made. An allocator may keep what a program gave back: memory is measured once with glibc told to give
back all tensors at once, which the estimate is held against, and once as glibc does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.machine import describe
from unireason.train import cost
from unireason.train.config import Model, Optim
from unireason.train.cost import CostShape, Pictures, WorkloadTree, of_config

TARGET = 0.25
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536"}
LARGE = {"width": 768, "layers": 12, "heads": 12, "kv_heads": 2, "mlp": 2688}
SMALL = {"width": 512, "layers": 8, "heads": 8, "kv_heads": 2, "mlp": 1536}
VOCABULARY = 4096


@dataclass(frozen=True)
class Case:
    """One shape of step.

    Attributes:
        network: Sizes of the language model.
        slices: Pictures of 252 x 252 in the prefix.
        text: Tokens of the prefix beside them.
        rows: Rows behind the prefix.
        row: Tokens of a row.
        written: Labelled tokens of a row.
        tower: Width of the vision tower.
        checkpointing: True recomputes activations.
    """

    network: dict[str, int]
    slices: int
    text: int
    rows: int
    row: int
    written: int
    tower: int = 320
    checkpointing: bool = False

    @property
    def tree(self) -> WorkloadTree:
        """The step in numbers."""
        case = Pictures(self.slices, 18 * 18, 81)
        return WorkloadTree(1, case.placed + self.text, self.rows, self.row, self.written, case, Pictures(0, 4, 1))


CALIBRATION = "small, 900 tokens"
CASES = {
    CALIBRATION: Case(SMALL, 8, 108, 1, 128, 100),
    "small, 3,000 tokens": Case(SMALL, 32, 200, 1, 128, 100),
    "small, group of 8": Case(SMALL, 32, 200, 8, 125, 125),
    "small, text of 400": Case(SMALL, 0, 16, 1, 384, 300),
    "large, 900 tokens": Case(LARGE, 8, 108, 1, 128, 100),
    "large, 1,600 tokens": Case(LARGE, 16, 132, 1, 140, 100),
    "large, group of 8": Case(LARGE, 8, 108, 8, 125, 125),
    "large, checkpointing": Case(LARGE, 16, 132, 1, 140, 100, checkpointing=True),
}
QUICK = {name: CASES[name] for name in (CALIBRATION, "small, text of 400")}


def make_network(case: Case) -> Any:
    """A random network of a case's sizes, vision tower frozen."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    from recipes.phantom import network as scratch
    from unireason.model import adapters
    from unireason.train.policy import recompute

    sizes = scratch.NetworkShape(**case.network, vision_width=case.tower, vision_layers=8, vision_heads=4)
    config = scratch.make_config(sizes, scratch.make_tokenizer([]))
    config.text_config.vocab_size = VOCABULARY
    config.vision_config.fullatt_block_indexes = [1, 3, 5, 7]
    network = Qwen2_5_VLForConditionalGeneration(config).float()
    adapters.choose(network, tower=False, projector=False, language=True)
    if case.checkpointing:
        recompute(network)
    return network


def make_pack(case: Case, image: int) -> Any:
    """Tokens of a case; what they say does not matter."""
    from unireason.train import packing

    prefix, tree = packing.TokenRun(), case.tree
    prefix.text([7] * int(tree.prefix), label=False)
    for start in range(case.slices):
        prefix.ids[start * 83 + 1 : start * 83 + 82] = [image] * 81
    rows = []
    for _ in range(case.rows):
        row = packing.TokenRun(next=prefix.next)
        row.text([7] * (case.row - case.written), label=False)
        row.text([9] * case.written, label=True)
        rows.append(row)
    return packing.pack([packing.PrefixTree(prefix, tuple(rows))])


def measure(case: Case) -> dict[str, Any]:
    """Seconds and bytes of a step of a case, in this process."""
    import torch
    from torch.nn import functional
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl  # noqa: F401 (imported ahead, so that its memory does not count)

    from recipes.phantom.network import make_tokenizer
    from unireason.train import optim
    from unireason.train.packing import packed_attention
    from unireason.train.policy import Policy

    torch.set_num_threads(1)
    (torch.ones(256, 256, requires_grad=True) @ torch.ones(256, 256)).sum().backward()
    make_tokenizer([])
    before = _status("VmRSS")
    network = make_network(case)
    policy = Policy(network, autocast=False).train()
    optimizers = optim.make_optimizers({n: p for n, p in network.named_parameters() if p.requires_grad}, Optim())
    packed = make_pack(case, network.config.image_token_id)
    patches, seconds = torch.randn(case.slices * 324, 1176), []
    grid = torch.tensor([[1, 18, 18]] * case.slices)
    for _ in range(2):
        begun = time.process_time()
        with torch.no_grad():
            seen = network.model.visual(patches, grid_thw=grid).pooler_output if case.slices else None
        with packed_attention(network):
            losses = policy(packed, seen, lambda logits, targets: functional.cross_entropy(logits, targets, reduction="none"))
            losses.mean().backward()
        optim.advance(optimizers, rate=1.0, clip=1.0)
        seconds.append(time.process_time() - begun)
    return {"seconds": min(seconds), "bytes": _status("VmHWM") - before, "shape": _shape(network)}


def _shape(network: Any) -> dict[str, Any]:
    return asdict(of_config(network.config.to_dict(), "random"))


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def predicted(case: Case, shape: CostShape) -> tuple[float, float]:
    """(operations, bytes) of a step, by the formulas of ``unireason plan``."""
    model = Model("random", precision="fp32", gradient_checkpointing=case.checkpointing)
    kept = cost.storage(model, processes=1, sharding="none", gpu=False)
    counted = cost.trained(shape, model, case.tree) + cost.looked(shape.vision, case.tree.case)
    rest = cost.resting(shape, model, Optim(), kept, reference=False)
    update = cost.activations(shape.language, [case.tree], kept, checkpointing=case.checkpointing)
    return counted, sum(rest.values()) + update + cost.passing(shape.language, [case.tree], kept)


def _run(name: str, environment: dict[str, str]) -> dict[str, Any]:
    """What a process of its own measures of a case."""
    command = [sys.executable, "-m", "benchmarks.planning", "--case", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(cases: dict[str, Case], log: Callable[[str], None]) -> dict[str, Any]:
    """Estimates beside measurements, each case in a process of its own."""
    from unireason.train.cost import Language, Vision

    rows, rate = {}, 0.0
    for name, case in cases.items():
        plain, returning = (_run(name, environment) for environment in ({}, RETURNING))
        shape = CostShape("random", Language(**plain["shape"]["language"]), Vision(**plain["shape"]["vision"]))
        counted, size = predicted(case, shape)
        rate = rate or counted / plain["seconds"]
        rows[name] = {
            "parameters": shape.parameters,
            "tokens": int(case.tree.tokens),
            "operations": counted,
            "seconds": {"estimated": round(counted / rate, 2), "measured": round(plain["seconds"], 2)},
            "megabytes": {"estimated": round(size / 1e6), "measured": round(returning["bytes"] / 1e6)},
            "megabytes_as_glibc_does": round(plain["bytes"] / 1e6),
        }
        log(f"{name}: {rows[name]}")
    ratios = {
        f"{name}, {what}": round(row[what]["estimated"] / row[what]["measured"], 3)
        for name, row in rows.items()
        for what in ("seconds", "megabytes")
        if (name, what) != (CALIBRATION, "seconds")
    }
    worst = max(abs(ratio - 1) for ratio in ratios.values())
    return {"operations_a_second": rate, "cases": rows, "ratios": ratios, "worst": round(worst, 3)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two small shapes, half a minute")
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.case:
        print(json.dumps(measure(CASES[chosen.case])))
        return 0
    out = compare(
        QUICK if chosen.quick else CASES, lambda line: None if chosen.json else print(line, file=sys.stderr, flush=True)
    )
    described = describe("torch", "transformers")
    print(json.dumps({"benchmark": "planning", "quick": chosen.quick, "target": TARGET, **out, "machine": described}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
