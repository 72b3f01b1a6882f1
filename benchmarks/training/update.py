"""The policy update on one group of responses: the prompt once, against a padded batch and against one sequence after the other.

All variants get the same visual features, ask for logits of the responses alone, and minimise the same loss with the same fixed
reference; their log-probabilities and gradients are compared. The padded batch and the single sequences go through the network by the
library's own road: its positions, its masks, its attention.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.engine import make_checkpoint
from benchmarks.training.plain import response_logits
from benchmarks.training.process import Log, available_mb, child, measured
from benchmarks.training.sizes import PROMPT_TEXT, SIZES, SLICE
from unireason.engine.sampling import forbidden_ids
from unireason.model import adapters
from unireason.train import config as settings
from unireason.train.loss import SampledTokens, log_probs, loss_denominator, policy_loss
from unireason.train.packing import PrefixTree, TokenRun, pack, packed_attention
from unireason.train.policy import Policy

TARGETS = {
    "small, 8: padded : shared, seconds": 7.0,
    "small, 8: padded : shared, memory": 5.0,
    "large, 8: one at a time : shared, seconds": 4.0,
}
EQUAL = 1e-5
_RECOMPUTED = ", checkpointing"
_PADDED_MB = 1200
"""A padded batch of the small network takes at most so much a response."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One group and the network that is updated.

    Attributes:
        network: Random, its tower frozen.
        tree: Prompt and responses.
        features: Visual tokens of the prompt, then of every response: (tokens, width) each.
        forbidden: bool (vocabulary,), tokens that are never sampled.
    """

    network: Any
    tree: PrefixTree
    features: list[torch.Tensor]
    forbidden: torch.Tensor

    def loss(self, logp: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """What the responses ``first`` to ``last`` - 1 add to the loss of the group; of (n,) log-probabilities of their sampled tokens."""
        counts = torch.tensor([sum(row.labels) for row in self.tree.rows])
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        here = (first <= owner) & (owner < last)
        random = torch.Generator().manual_seed(0)
        advantage = torch.randn(len(counts), generator=random)
        reference = -8.3 + 0.3 * torch.randn(len(owner), generator=random)
        sampled = SampledTokens(logp.detach(), advantage[owner[here]], owner[here], counts, ref_logp=reference[here])
        policy = settings.PolicySettings()
        return policy_loss(logp, sampled, policy, denominator=loss_denominator(counts, policy, 0))[0]

    def measure(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (m,)."""
        return log_probs(logits, targets, 1.0, self.forbidden)[0]


def make_work(size: str, group: int) -> Work:
    """A prompt with a whole volume, and responses of about 125 tokens, each with one injected region of 84 x 84 pixels."""
    chosen = SIZES[size]
    checkpoint = make_checkpoint(chosen)
    random, ids = np.random.default_rng(0), checkpoint.ids
    side = min(SLICE, chosen.side // 14)

    def text(run: TokenRun, count: int, *, label: bool) -> None:
        run.text(random.integers(0, 256, count).tolist(), label=label)

    def picture(run: TokenRun, patches: int) -> None:
        run.picture(np.zeros((14 * patches, 14 * patches), np.uint8), (1, patches, patches), ids)

    prefix = TokenRun()
    text(prefix, 20, label=False)
    for _ in range(chosen.depth):
        picture(prefix, side)
    text(prefix, PROMPT_TEXT - 20, label=False)
    rows = []
    for _ in range(group):
        rows.append(TokenRun(next=prefix.next))
        free = int(random.integers(52, 62))
        text(rows[-1], free, label=True)
        picture(rows[-1], 6)
        text(rows[-1], free, label=True)
    adapters.choose(checkpoint.network, tower=False, projector=False, language=True)
    generator = torch.Generator().manual_seed(0)
    counts = [run.ids.count(ids.image_pad) for run in (prefix, *rows)]
    features = [0.05 * torch.randn(count, chosen.text["hidden_size"], generator=generator) for count in counts]
    return Work(checkpoint.network, PrefixTree(prefix, tuple(rows)), features, forbidden_ids(checkpoint))


def shared(work: Work) -> tuple[torch.Tensor, float]:
    """Our update: log-probabilities and loss; gradients are left in the network."""
    with packed_attention(work.network):
        policy = Policy(work.network, autocast=False)
        logp = policy(pack([work.tree]), torch.cat(work.features), work.measure)
        loss = work.loss(logp, 0, len(work.tree.rows))
        torch.autograd.backward(loss)
    return logp.detach(), loss.item()


def padded(work: Work, first: int = 0, last: int | None = None) -> tuple[torch.Tensor, float]:
    """The same by whole sequences side by side, the shorter ones padded."""
    prefix, rows = work.tree.prefix, work.tree.rows[first:last]
    grids = [(1, p.shape[0] // 14, p.shape[1] // 14) for row in rows for p in prefix.pictures + row.pictures]
    visual = torch.cat([f for i in range(len(rows)) for f in (work.features[0], work.features[1 + first + i])])
    ids, kept = [row.ids for row in rows], [row.labels for row in rows]
    logp = work.measure(*response_logits(work.network, prefix.ids, ids, kept, grids, features=visual))
    loss = work.loss(logp, first, first + len(rows))
    torch.autograd.backward(loss)
    return logp.detach(), loss.item()


def one_at_a_time(work: Work) -> tuple[torch.Tensor, float]:
    """The same, one whole sequence after the other, gradients added up."""
    done = [padded(work, i, i + 1) for i in range(len(work.tree.rows))]
    return torch.cat([logp for logp, _ in done]), sum(loss for _, loss in done)


VARIANTS: dict[str, Callable[[Work], tuple[torch.Tensor, float]]] = {
    "shared": shared,
    "padded": padded,
    "one at a time": one_at_a_time,
}


def run_variant(name: str, size: str, group: int, out: Path | None) -> dict[str, Any]:
    """One update in this process; writes log-probabilities and gradients if asked."""
    torch.set_num_threads(1)
    VARIANTS["shared"](make_work("tiny", 2))  # wakes the libraries
    work = make_work(size, group)
    network = work.network.train()
    kind = name.removesuffix(_RECOMPUTED)
    if kind != name:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with measured() as found:
        logp, loss = VARIANTS[kind](work)
    if out:
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        save_file({"logp": logp, **gradients}, out)
    lengths = [len(row.ids) for row in work.tree.rows]
    parameters = sum(p.numel() for p in network.parameters())
    return {**found, "loss": loss, "prompt": len(work.tree.prefix.ids), "responses": lengths, "parameters": parameters}


def differences(ours: Path, other: Path) -> dict[str, float]:
    """How far two updates lie from each other."""
    a, b = load_file(ours), load_file(other)
    if a.keys() != b.keys():
        raise SystemExit("the variants trained different weights: no figures")
    logp = float((a.pop("logp") - b.pop("logp")).abs().max())
    apart = [float((a[n] - b[n]).double().norm() ** 2) for n in a]
    return {
        "log_probs_absolute": logp,
        "gradient_relative": (sum(apart) / sum(float(b[n].double().norm() ** 2) for n in b)) ** 0.5,
        "worst_weight_relative": max(float((a[n] - b[n]).abs().max() / b[n].abs().max()) for n in a),
    }


PLANS = {
    "small, 8": ("shared", "shared, checkpointing", "padded", "padded, checkpointing", "one at a time"),
    "small, 16": ("shared", "shared, checkpointing", "padded", "one at a time"),
    "large, 8": ("shared", "shared, checkpointing", "one at a time"),
    "large, 16": ("shared", "one at a time"),
}
"""Variants of each size and group. A padded batch of the large network needs more memory than most machines have to spare."""
QUICK = {"tiny, 4": PLANS["small, 8"]}


def measure(*, quick: bool, runs: int, log: Log) -> dict[str, Any]:
    """All sizes and groups; the variants take turns, each time in a fresh process."""
    cases = {name: compare(name, variants, runs=runs, log=log) for name, variants in (QUICK if quick else PLANS).items()}
    ratios = {f"{name}: {what}": ratio for name, case in cases.items() for what, ratio in case.pop("ratios").items()}
    return {"targets": TARGETS, "equal_within": EQUAL, "ratios": ratios, "cases": cases}


def compare(case: str, variants: tuple[str, ...], *, runs: int, log: Log) -> dict[str, Any]:
    """One size and group."""
    size, group = case.split(", ")
    left_out = {}
    if size == "small" and int(group) * _PADDED_MB > available_mb():
        left_out = {"padded": f"{int(group) * _PADDED_MB} MB were not free"}
        variants = tuple(v for v in variants if v not in left_out)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    apart = {}
    with tempfile.TemporaryDirectory() as place:
        kept = {name: Path(place) / f"{i}.safetensors" for i, name in enumerate(variants)}
        for number in range(runs):
            for name in variants:
                where = ["--out", str(kept[name])] if number == 0 else []
                found[name].append(child("update", name, "--size", size, "--group", group, *where))
                log(f"{case}, {name}: {found[name][-1]['seconds']:.1f} s, {found[name][-1]['above_mb']:.0f} MB")
        for name in variants[1:]:
            apart[name] = differences(kept["shared"], kept[name])
    best = {name: _middle(runs_of) for name, runs_of in found.items()}
    ratios = {
        f"{name} : shared, {word}": best[name][key] / best["shared"][key] for name in variants[1:] for word, key in _KEYS.items()
    }
    first = found["shared"][0]
    return {
        **{key: first[key] for key in ("parameters", "prompt", "responses")},
        "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "variants": best,
        "left_out": left_out,
        "differences_from_shared": apart,
        "equal": all(d["gradient_relative"] < EQUAL for d in apart.values()),
    }


_KEYS = {"seconds": "seconds", "memory": "above_mb", "whole memory": "peak_mb"}


def _middle(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over runs."""
    middle = {key: statistics.median(r[key] for r in runs) for key in _KEYS.values()}
    return {key: round(value, 2) for key, value in middle.items()} | {"loss": runs[0]["loss"]}


def main() -> None:
    """One variant in this process; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("--size", required=True)
    parser.add_argument("--group", type=int, required=True)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    print(json.dumps(run_variant(chosen.variant, chosen.size, chosen.group, chosen.out)))


if __name__ == "__main__":
    main()
