"""Does policy optimisation teach anything? Its start and its runs, asked the same held-out questions about volumes.

``ask`` puts one checkpoint through an examination and keeps its answers; ``compare`` sets the answers of several runs against those of
their common start, with intervals over patients; ``draw`` shows what the runs logged. Split so that checkpoints can be asked side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.paired import gains, read
from unireason.core.types import Trace
from unireason.data.records import SampleRecord
from unireason.metrics.statistics import bootstrap_mean
from unireason.rewards.outcome import looks_iou

SEED, DRAWN = 20261122, 4


def ask(checkpoint: str, exam: Path, questions: int, out: Path, *, lessons: bool = False) -> None:
    """Ask held-out questions about volumes, greedily and ``DRAWN`` times as the policy samples; write one row each.

    ``exam`` is a folder in which an examination of built questions is made, or lies already; with ``lessons`` its patients are asked in
    the short words of the base.
    """
    from recipes.phantom.rehearsal import rehearse
    from unireason.data.reader import DatasetReader
    from unireason.engine.reasoner import Question, load
    from unireason.engine.sampling import Sampling
    from unireason.evaluate.heldout import held_out, make_exam

    reasoner, dataset = load(checkpoint, threads=1), make_exam(SEED, questions, exam)
    if lessons:
        dataset = rehearse(dataset, exam.with_name(f"{exam.name}-lessons"))
    by_case = {case: list(group) for case, group in groupby(held_out(dataset, "volume", questions), key=lambda s: s.case)}
    rows: list[dict[str, Any]] = []
    reader = DatasetReader(dataset)
    for name, samples in by_case.items():
        case = reader.load(name).case
        asked = [Question(s.question.text, s.question.options) for s in samples]
        greedy = reasoner.ask_many(case, asked)
        drawn = reasoner.ask_many(case, asked, samples=DRAWN, sampling=Sampling(temperature=1.0, seed=SEED))
        rows += [_row(s, one[0], several) for s, one, several in zip(samples, greedy, drawn, strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows) + "\n")


def _row(sample: SampleRecord, greedy: Trace, drawn: Sequence[Trace]) -> dict[str, Any]:
    letter = sample.question.letter
    return {
        "id": sample.id,
        "patient": sample.patient,
        "family": sample.question.family,
        "right": float(greedy.answer.choice == letter),
        "right_sampled": float(np.mean([trace.answer.choice == letter for trace in drawn])),
        "looked": float(np.mean([any(look.executed for look in trace.looks) for trace in drawn])),
        "crops": float(np.mean([sum(len(look.crops) for look in trace.looks) for trace in drawn])),
        "ious": looks_iou(greedy, sample.looks),
    }


def compare(start: Path, runs: Sequence[Path]) -> dict[str, Any]:
    """Accuracy and crop rate of every checkpoint, and what each run and all runs together gained."""
    base, answers = read(start, runs)
    return {
        "questions": len(base),
        "start": _scores(base),
        "runs": [_scores(rows) for rows in answers],
        "gain": {key: gains(base, answers, key) for key in ("right", "right_sampled", "looked")},
        "machine": describe("torch", "transformers"),
    }


def _scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    right, patients = [row["right"] for row in rows], [row["patient"] for row in rows]
    families = sorted({row["family"] for row in rows})
    return {
        "accuracy": float(np.mean(right)),
        "ci95": list(bootstrap_mean(right, seed=0, clusters=patients)),
        "accuracy_sampled": float(np.mean([row["right_sampled"] for row in rows])),
        "crop_rate": float(np.mean([row["looked"] for row in rows])),
        "crops_a_sample": float(np.mean([row["crops"] for row in rows])),
        "box_iou": float(np.mean([iou for row in rows for iou in row["ious"]])),
        "by_family": {f: float(np.mean([row["right"] for row in rows if row["family"] == f])) for f in families},
    }


def draw(runs: Sequence[Path], out: Path) -> None:
    """Draw what policy optimisation logged in several run folders: accuracy and crop rate of its rollouts, running means of six steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True)
    for number, run in enumerate(runs, start=1):
        lines = [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line.get("stage") == "grpo"]
        for axes, name in zip(panels, ("accuracy_3d", "crop_rate"), strict=True):
            values = np.array([line[name] for line in lines])
            window = min(6, len(values))
            axes.plot(range(1, len(values) + 1), values, "o", ms=2.5, alpha=0.35, color=f"C{number - 1}")
            mean = np.convolve(values, np.ones(window) / window, "valid")
            axes.plot(np.arange(len(mean)) + (window + 1) / 2, mean, color=f"C{number - 1}", label=f"seed {number}")
    for axes, title in zip(panels, ("3D accuracy of rollouts", "Rollouts with a crop"), strict=True):
        axes.set(title=title, xlabel="step", ylim=(0, 1.05))
        axes.grid(alpha=0.25)
    panels[0].legend(frameon=False, loc="upper left")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    asking = steps.add_parser("ask")
    asking.add_argument("checkpoint")
    asking.add_argument("--exam", type=Path, required=True, help="folder of the examination; made if missing")
    asking.add_argument("--questions", type=int, default=600)
    asking.add_argument("--out", type=Path, required=True)
    asking.add_argument("--lessons", action="store_true", help="ask the examination's patients in the short words of the base")
    comparing = steps.add_parser("compare")
    comparing.add_argument("start", type=Path)
    comparing.add_argument("runs", type=Path, nargs="+")
    drawing = steps.add_parser("draw")
    drawing.add_argument("runs", type=Path, nargs="+")
    drawing.add_argument("--out", type=Path, required=True, help="PNG file")
    args = parser.parse_args()
    if args.step == "draw":
        draw(args.runs, args.out)
    elif args.step == "ask":
        ask(args.checkpoint, args.exam, args.questions, args.out, lessons=args.lessons)
    else:
        print(json.dumps(compare(args.start, args.runs), indent=2))


if __name__ == "__main__":
    main()
