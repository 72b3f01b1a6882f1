"""The card of a checkpoint made on phantoms: what it can do, measured on an examination, and how it was trained.

Beside the figures stands what a reader of the questions reaches who has no picture: a linear classifier on the words of every option,
asked about patients that it has not read of (``data.checks.shortcut``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.core.store import Scratch, json_text, write_bytes
from unireason.core.types import Kind
from unireason.data.checks.text import AuditTexts, audit
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.scene import FAMILIES
from unireason.engine.reasoner import Reasoner, load
from unireason.evaluate import evidence, pointing
from unireason.evaluate.examination import examine
from unireason.evaluate.heldout import EXAM, KINDS, make_exam, make_grounding_exam
from unireason.evaluate.results import EvidenceResults, ScoresFound
from unireason.evaluate.suites.built import BuiltSuite
from unireason.evaluate.suites.grounding import BuiltImplicitSuite
from unireason.model.files import CARD, PHANTOM_SCOPE, locate
from unireason.segment.expert import DEFAULT, make_expert

SEED = 20_260  # the card's patients
CURVES = "curves.png"
README = "README.md"
GROUNDED = ("iou", "pdice", "dice_points", "dice_box", "dice_both")
"""Scores of implicit questions that the card tells; see ``grounding.SCORES``."""
_MARKS = ("eval_accuracy_2d", "eval_accuracy_3d", "eval_box_iou", "eval_crop_rate")


@dataclass(frozen=True, slots=True)
class Training:
    """A run that led to the checkpoint.

    Attributes:
        name: What kind of run, such as "sft".
        settings: All its settings, as plain values.
        lines: Lines of its log: mappings with ``step`` and what was measured.
    """

    name: str
    settings: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Settings, steps, and what every evaluation found."""
        found = [{k: v for k, v in line.items() if k == "step" or k.startswith("eval_")} for line in self.lines]
        steps = max((int(line["step"]) for line in self.lines), default=0)
        return {"settings": dict(self.settings), "steps": steps, "evaluations": [marks for marks in found if len(marks) > 1]}


def measure(
    reasoner: Reasoner, dataset: Dataset, *, count: int, progress: Callable[[int], None] | None = None
) -> dict[str, dict[str, Any]]:
    """Scores of both kinds, with the accuracy of a reader without pictures beside each family."""
    reader, before = _reader(dataset), 0
    found: dict[str, dict[str, Any]] = {}

    def tell(done: int, total: int) -> None:
        if progress:
            progress(before + done)

    for key, kind in KINDS:
        with Scratch(EXAM) as folder:
            found[key] = examine(reasoner, dataset, folder / key, kind=kind, count=count, progress=tell).scores
        before += found[key]["n"]
        rows = found[key]["by_family"]
        for family, row in rows.items():
            row["text_only"] = reader.get((family, kind), row["chance"])  # a single patient teaches no other
        found[key]["text_only"] = float(
            np.average([r["text_only"] for r in rows.values()], weights=[r["n"] for r in rows.values()])
        )
    return found


def measure_reliance(reasoner: Reasoner, dataset: Dataset, *, kind: Kind, count: int) -> EvidenceResults:
    """Evidence reliance on the same questions: each is asked again with random regions shown."""
    suite = BuiltSuite(dataset, split=None, kind=kind, count=count)
    with Scratch(EXAM) as folder:
        asked = evidence.evaluate(reasoner, suite, folder / "evidence", conditions=("true", evidence.HEADLINE))
    return asked.results


def measure_grounding(
    reasoner: Reasoner, dataset: Dataset, *, count: int, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Scores of implicit questions, masks made by the expert without weights."""
    suite = BuiltImplicitSuite(dataset, split=None, count=count)
    with Scratch(EXAM) as folder:
        found = pointing.evaluate(reasoner, suite, make_expert(DEFAULT), folder / "grounding", progress=progress).results
    parts = {name: _grounded(part) for name, part in found.by_category.items()}
    return {**_grounded(found), "expert": DEFAULT, "by_category": parts}


def _grounded(part: ScoresFound) -> dict[str, Any]:
    means = {name: part.scores[name] for name in GROUNDED}
    return {"n": part.n, **{name: {"mean": own.mean, "ci95": own.ci95_patients} for name, own in means.items()}}


def write_card(
    checkpoint: str | Path,
    out: Path,
    *,
    questions: int,
    seed: int = SEED,
    training: Sequence[Training] = (),
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Measure a checkpoint on a fresh examination and write ``card.json`` and ``README.md``.

    Args:
        checkpoint: Its folder.
        out: Where to write; a picture of its curves there is shown in the page.
        questions: Held-out questions of each kind: about images, about volumes, and implicit ones.
        seed: Seed of the examination.
        training: The runs that led to it, in order.
        progress: Called with the number of questions done, of all three kinds.

    Returns:
        The path of the card.

    Raises:
        UniReasonError: If the checkpoint cannot be loaded or a file cannot be written.
    """
    reasoner = load(checkpoint)
    with Scratch(EXAM) as folder:
        frame = rule(str(locate(checkpoint)))
        exam = make_exam(seed, questions, folder / "exam", frame=frame)
        scores = measure(reasoner, exam, count=questions, progress=progress)
        for key, kind in KINDS:
            relied = measure_reliance(reasoner, exam, kind=kind, count=questions)
            scores[key]["reliance"] = relied.reliance.to_json()
            for name, own in relied.by_kind.items():
                scores[key]["by_kind"][name]["reliance"] = own.reliance.to_json()
        before = sum(scores[key]["n"] for key, _ in KINDS)
        implicit = make_grounding_exam(seed, questions, folder / "implicit", frame=frame)
        tell = None if progress is None else lambda done: progress(before + done)
        scores["grounding"] = measure_grounding(reasoner, implicit, count=questions, progress=tell)
        content = [made.manifest["content_sha256"] for made in (exam, implicit)]
    card = {
        "checkpoint_sha256": reasoner.checkpoint.sha256,
        "scope": (reasoner.checkpoint.scope or PHANTOM_SCOPE).to_json(),
        "seed": seed,
        "questions": questions,
        "exam_sha256": content,
        "scores": scores,
        "training": {run.name: run.to_json() for run in training},
    }
    target = write_bytes(out / CARD, (json_text(card, indent=1, sort_keys=True) + "\n").encode())
    write_bytes(out / README, _readme(card, curves=(out / CURVES).is_file()).encode())
    return target


def _reader(dataset: Dataset) -> dict[tuple[str, str], float]:
    """Accuracy of a reader without pictures by family and kind, over all questions of the data set."""
    texts = AuditTexts()
    for sample in dataset.samples():
        texts.add(sample)
    found = {family: audit(entries)["by_kind"] for family, entries in texts.families().items()}
    return {(family, kind): part["accuracy"] for family, kinds in found.items() for kind, part in kinds.items()}


def _readme(card: Mapping[str, Any], *, curves: bool) -> str:
    lines = [
        "# The built-in phantom checkpoint",
        "",
        "A Qwen2.5-VL of a few million parameters, trained from nothing on synthetic phantom patients alone, so that the whole of",
        "UniReason can be tried without a download. It knows eleven organs and a mass in phantom CT, in axial slices and in volumes.",
        "It knows nothing of real patients. **Research only, not a medical device.**",
        "",
        f"Measured on {card['questions']} held-out questions of each kind (examination {card['seed']}), built by `unireason data build`",
        "from patients that no training draws from; greedy generation with injected crops. *Text only* is a linear reader of the",
        "questions that sees no picture, asked about patients it has not read of. A missing look has IoU 0.",
        "*Own boxes* is what a reader gets right that has the question and the boxes that the model wrote, and no picture; *model* what",
        "the model gets right of the same questions; *follows* the answers that say what the own boxes say; *letter against text* the",
        "answers that contradict themselves; *reliance* is that on what looks show, *ceiling* that of an ideal model",
        "(docs/explanation/evidence.md).",
        "*Grounding* are implicit questions, answered by a box and two points; masks are made of them by a frozen expert.",
        "",
    ]
    for key, _ in KINDS:
        lines += _table(key, card["scores"][key]) + _kinds(key, card["scores"][key])
    lines += _grounding(card["scores"]["grounding"])
    lines += ["## How it was made", ""]
    for name, run in card["training"].items():
        lines += _training(name, run)
    lines += [f"![Learning curves]({CURVES})", ""] if curves else []
    lines += [
        "The road is told in docs/how-to/make-the-phantom-checkpoint.md; all settings are in `card.json`. Weights are bfloat16",
        "safetensors. `pytest tests/integration/test_builtin_checkpoint.py` holds the card against a fresh examination.",
        "",
    ]
    return "\n".join(lines)


def _table(key: str, part: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {key.upper()}",
        "",
        "| family | accuracy | 95% interval | text only | chance | box IoU | looked | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(f, part["by_family"][f]) for f in FAMILIES if f in part["by_family"]]
    for name, row in [*rows, ("**all**", part)]:
        low, high = row.get("accuracy_ci95_patients") or row["accuracy_ci95"]
        iou = "-" if row["mean_box_iou"] is None else f"{row['mean_box_iou']:.2f}"
        lines.append(
            f"| {name.replace('_', ' ')} | {row['accuracy']:.1%} | {low:.1%} to {high:.1%} | {row['text_only']:.0%} "
            f"| {row['chance']:.0%} | {iou} | {row['crop_rate']:.1%} | {row['n']} |"
        )
    return [*lines, ""]


def _kinds(key: str, part: Mapping[str, Any]) -> list[str]:
    """What the own boxes say, by kind of question."""
    lines = [
        f"### {key.upper()} by kind of question",
        "",
        "| kind | accuracy | own boxes | model | follows | decided | letter against text | reliance | ceiling | n |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in [*part["by_kind"].items(), ("**all**", part)]:
        own, shares = row["own_boxes"], [row.get(word) or {"value": None} for word in ("reliance", "ceiling")]
        told = [f"{own[word]:.0%}" for word in ("accuracy", "model_accuracy", "follows")] if own else ["-"] * 3
        told += [str(own["n"] if own else 0), "-" if row["mismatch_rate"] is None else f"{row['mismatch_rate']:.0%}"]
        told += ["-" if share["value"] is None else f"{share['value']:.2f}" for share in shares]
        cells = [f"{row['accuracy']:.0%}", *told, str(row["n"])]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return [*lines, ""]


def _grounding(part: Mapping[str, Any]) -> list[str]:
    heads = ("box IoU", "pDice", "Dice, points", "Dice, box", "Dice, both")
    lines = [f"## Grounding (expert: {part['expert']})", "", f"| structure | {' | '.join(heads)} | n |", "|---" * 7 + "|"]
    for name, row in [*sorted(part["by_category"].items()), ("**all**", part)]:
        ends = [row[key]["ci95"] or (0.0, 1.0) for key in GROUNDED]  # one patient tells nothing of others
        cells = [f"{row[key]['mean']:.2f} ({low:.2f} to {high:.2f})" for key, (low, high) in zip(GROUNDED, ends, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['n']} |")
    return [*lines, ""]


def _training(name: str, run: Mapping[str, Any]) -> list[str]:
    """One line on a run, and its first and last evaluation."""
    command = "python -m recipes.phantom base" if name == "phantom" else f"unireason train {name}"
    told = [f"* `{command}`, {run['steps']:,} steps."]
    marks = run["evaluations"]
    for word, own in (("first", marks[:1]), ("last", marks[-1:] if len(marks) > 1 else [])):
        for found in own:
            values = ", ".join(
                f"{k.removeprefix('eval_').replace('_', ' ')} {found[k]:.2f}" for k in _MARKS if found.get(k) is not None
            )
            told.append(f"  Validation, {word} (step {found['step']:,}): {values}.")
    return [*told, ""]
