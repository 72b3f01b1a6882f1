"""How well are implicit questions grounded? Checkpoints asked the same held-out questions about images, masks by a frozen expert.

``ask`` puts one checkpoint through an examination, greedily or as a policy samples, and keeps its answers with their scores; ``compare``
sets several against a common start, with intervals over patients, and prints the table of results by super-category and category. Split in
two so that checkpoints can be asked side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.paired import gains, read
from unireason.core.store import write_bytes
from unireason.evaluate.comparison import table, table_by
from unireason.evaluate.heldout import make_grounding_exam
from unireason.evaluate.pointing import SCORES, TOLERANCE_MM, ask_implicit, implicit_summary

SEED = 20261205


def ask(args: argparse.Namespace) -> None:
    """Ask held-out implicit questions and write one row each; of several samples a question the row holds the means.

    ``--exam`` is a folder in which an examination is made, or lies already.
    """
    from unireason.engine.reasoner import load
    from unireason.engine.sampling import Sampling
    from unireason.segment.expert import make_expert

    dataset = make_grounding_exam(SEED, args.questions, args.exam)
    expert = make_expert(args.expert, weights=args.weights)
    how = {"samples": args.drawn, "sampling": Sampling(temperature=1.0, seed=SEED)} if args.drawn else {}
    done = ask_implicit(load(args.checkpoint, threads=1), dataset, expert, count=args.questions, **how)
    rows = [one.row() for one in done]
    several = [rows[i : i + max(1, args.drawn)] for i in range(0, len(rows), max(1, args.drawn))]
    means = [own[0] | {name: float(np.mean([row[name] for row in own])) for name in SCORES} for own in several]
    write_bytes(args.out, (json.dumps(means) + "\n").encode())


def compare(start: Path, runs: Sequence[Path]) -> dict[str, Any]:
    """All scores of every checkpoint, named by its file, and what each run and all runs together gained."""
    base, answers = read(start, runs)
    names = [path.stem for path in (start, *runs)]
    if len(set(names)) < len(names):
        raise SystemExit("two files of answers have the same name")
    models = {name: implicit_summary(rows) for name, rows in zip(names, (base, *answers), strict=True)}
    return {
        "questions": len(base),
        "tolerance_mm": TOLERANCE_MM,
        "models": models,
        "gain": {key: gains(base, answers, key) for key in SCORES} if answers else {},
        "tables": {"all": table(models)} | {key: table_by(models, key) for key in ("supercategory", "category")},
        "machine": describe("torch", "transformers", "scipy"),
    }


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    asking = steps.add_parser("ask")
    asking.add_argument("checkpoint")
    asking.add_argument("--exam", type=Path, required=True, help="folder of the examination; made if missing")
    asking.add_argument("--questions", type=int, default=300)
    asking.add_argument("--drawn", type=int, default=0, metavar="N", help="N answers at temperature 1 in place of a greedy one")
    asking.add_argument("--expert", default="classical", help="frozen expert that makes the masks")
    asking.add_argument("--weights", help="of the expert: a folder or a hub id")
    asking.add_argument("--out", type=Path, required=True)
    comparing = steps.add_parser("compare")
    comparing.add_argument("start", type=Path)
    comparing.add_argument("runs", type=Path, nargs="*")
    comparing.add_argument("--markdown", action="store_true", help="print the tables alone")
    args = parser.parse_args()
    if args.step == "ask":
        ask(args)
        return
    found = compare(args.start, args.runs)
    print("\n".join(found["tables"].values()) if args.markdown else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
