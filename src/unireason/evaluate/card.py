"""The card of the built-in checkpoint: what it was made of and what it can do, measured.

The figures are those of ``evaluate.heldout`` on seeds that nothing else uses; beside them stands what a guesser reaches who knows the
wording of every question and the most frequent answer to it, but has no picture.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unireason.data.question import FAMILIES
from unireason.engine.reasoner import Reasoner, load
from unireason.model.files import CARD
from unireason.types import Frame, Kind, Sample

from .heldout import evaluate, held_out, summary

SEED = 20_260  # the card's patients
GUESSER_SEED = 77_000  # the guesser's reading
CHECK = 90  # questions of each kind that a quick check repeats


def guesser(seen: Sequence[Sample], asked: Sequence[Sample]) -> dict[str, float]:
    """Accuracy of the most frequent answer to each question text among the options.

    Args:
        seen: Samples that the guesser has read.
        asked: Samples that it must answer; a text or option never seen counts as a guess among the options.

    Returns:
        Accuracy by family and under "all".
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in seen:
        counts[sample.question][sample.options[sample.answer]] += 1
    marks: defaultdict[str, list[float]] = defaultdict(list)
    for sample in asked:
        best = max(counts[sample.question][o] for o in sample.options)
        ties = [o for o in sample.options if counts[sample.question][o] == best]
        mark = (sample.options[sample.answer] in ties) / len(ties)
        marks[sample.family].append(mark)
        marks["all"].append(mark)
    return {k: sum(v) / len(v) for k, v in marks.items()}


def _samples(seed: int, count: int, kind: Kind, frame: Frame) -> list[Sample]:
    return [s for _, samples in held_out(seed, count, kind, lambda _: frame) for s in samples]


def measure(reasoner: Reasoner, *, seed: int, count: int, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Scores of both kinds, with the guesser's accuracy beside each family.

    Args:
        reasoner: The model.
        seed: Cohort seed.
        count: Questions of each kind.
        progress: Called with the number of questions done.
    """
    found: dict[str, Any] = {}
    kinds: tuple[tuple[str, Kind], ...] = (("2d", "image"), ("3d", "volume"))
    for key, kind in kinds:
        asked = evaluate(reasoner, seed=seed, count=count, kind=kind, progress=progress)
        found[key] = summary(asked)
        frame = reasoner.encode(asked[0].case).frame
        guess = guesser(_samples(GUESSER_SEED, 3000, kind, frame), [a.sample for a in asked])
        found[key]["text_only"] = guess["all"]
        for family in found[key]["by_family"]:
            found[key]["by_family"][family]["text_only"] = guess[family]
    return found


def write_card(checkpoint: Path, run: Path, *, questions: int) -> Path:
    """Measures a checkpoint and writes ``card.json`` and ``README.md`` into its folder.

    Args:
        checkpoint: The checkpoint folder.
        run: The run folder that made it; its ``recipe.json`` goes into the card.
        questions: Held-out questions of each kind.

    Returns:
        The path of the card.
    """
    reasoner = load(checkpoint)
    card = {
        "checkpoint_sha256": reasoner.checkpoint.sha256,
        "recipe": json.loads((run / "recipe.json").read_text()),
        "seed": SEED,
        "questions": questions,
        "scores": measure(reasoner, seed=SEED, count=questions),
        "check": {"questions": CHECK, "scores": measure(reasoner, seed=SEED + 1, count=CHECK)},
    }
    (checkpoint / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    (checkpoint / "README.md").write_text(_readme(card))
    return checkpoint / CARD


def _readme(card: dict[str, Any]) -> str:
    lines = [
        "# The built-in phantom checkpoint",
        "",
        "A Qwen2.5-VL of a few million parameters, trained from nothing on synthetic phantom patients alone, so that the whole of",
        "UniReason can be tried without a download. It knows eleven organs and a mass in phantom CT, in axial slices and in volumes.",
        "It knows nothing of real patients. **Research only, not a medical device.**",
        "",
        f"Measured on {card['questions']} held-out questions of each kind (cohort seed {card['seed']}), greedy generation with injected",
        "crops. *Text only* is a guesser that knows every question's most frequent answer and sees no picture. A missing look has IoU 0.",
        "",
    ]
    for key in ("2d", "3d"):
        part = card["scores"][key]
        lines += [
            f"## {key.upper()}",
            "",
            "| family | accuracy | 95% interval | text only | chance | box IoU | n |",
            "|---|---|---|---|---|---|---|",
        ]
        rows = [(f, part["by_family"][f]) for f in FAMILIES if f in part["by_family"]]
        for name, row in [*rows, ("**all**", part)]:
            low, high = row["accuracy_ci95"]
            iou = "-" if row["mean_box_iou"] is None else f"{row['mean_box_iou']:.2f}"
            lines.append(
                f"| {name.replace('_', ' ')} | {row['accuracy']:.1%} | {low:.1%} to {high:.1%} | {row['text_only']:.0%} "
                f"| {row['chance']:.0%} | {iou} | {row['n']} |"
            )
        lines += ["", f"Answers with at least one executed look: {part['crop_rate']:.1%}.", ""]
    lines += [
        "## How it was made",
        "",
        "`unireason train phantom --config configs/phantom-builtin.toml --out runs/phantom`, one CPU core; the resolved recipe is in",
        "`card.json`. Weights are bfloat16 safetensors. `pytest tests/integration/test_builtin_checkpoint.py` measures it again.",
        "",
    ]
    return "\n".join(lines)
