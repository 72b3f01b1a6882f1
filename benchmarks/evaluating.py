"""How fast a run over a suite is against asking one question after the other with everything computed anew.

    python -m benchmarks.evaluating [--quick] [--reference N] --json

500 questions about 100 phantom volumes, the built-in checkpoint, one thread, processor seconds. `evaluate.benchmark.run` answers all of
them; after every block of volumes that it asks together the reference back end answers N of the five questions on each volume (1 if
not said), drawn at random, each on a fresh encoding. So both are measured in turns in one process, and the answers are compared.
Volumes are read before the clock starts, which favours the reference: it would have to read them once a question.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from unireason.core.types import Case
from unireason.data.build_store import BuildConfig
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.engine.reasoner import Reasoner, load
from unireason.engine.reference import ReferenceEngine
from unireason.evaluate.benchmark import rows_of, run
from unireason.evaluate.store import by_case
from unireason.evaluate.suites.base import Entry
from unireason.evaluate.suites.built import BuiltSuite

EACH = 5  # questions a volume
TARGET = 5.0


class Volumes:
    """So many volumes with five questions each, in memory."""

    name = "volumes"

    def __init__(self, count: int, folder: Path) -> None:
        options = {"patients": str(4 * count + 20), "seed": "0"}
        config = BuildConfig("phantom", options=options, frame=rule("phantom"), questions=EACH, implicit=0)
        build(config, folder, annotator=TemplateAnnotator())
        suite = BuiltSuite(Dataset.open(folder), split=None, kind="volume")
        self.rule = suite.rule
        together = [own for _, own in by_case(list(suite.entries())) if len(own) == EACH][:count]
        if len(together) < count:
            raise SystemExit(f"only {len(together)} volumes have {EACH} questions")
        self._entries = [entry for own in together for entry in own]
        self._cases = {own[0].case: suite.read(own[0].case) for own in together}

    def entries(self) -> Iterator[Entry]:
        """The questions."""
        return iter(self._entries)

    def read(self, case: str) -> Case:
        """A volume."""
        return self._cases[case]


class Turns:
    """Times the run block by block and lets the reference answer in between."""

    def __init__(self, suite: Volumes, reasoner: Reasoner, count: int) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []  # seconds for all questions of a block, from those that were drawn
        self.answers: dict[str, str] = {}
        self._cases = [own for _, own in by_case(list(suite.entries()))]
        self._suite, self._checkpoint, self._count = suite, reasoner.checkpoint, count
        self._random = random.Random(0)
        self._done, self._since = 0, 0.0

    def start(self) -> None:
        """The run begins."""
        self._since = time.process_time()

    def progress(self, done: int, _: int) -> None:
        """So many questions are answered, of so many."""
        spent, volumes = time.process_time() - self._since, self._cases[self._done // EACH : done // EACH]
        if volumes:
            alone = [self._alone(entry) for own in volumes for entry in self._random.sample(own, self._count)]
            self.ours.append(spent)
            self.theirs.append(float(np.mean(alone)) * (done - self._done))
            told = f"{done} questions, {sum(self.ours):.1f} s against {sum(self.theirs):.1f} s"
            print(told, file=sys.stderr, flush=True)
        self._done, self._since = done, time.process_time()

    def _alone(self, entry: Entry) -> float:
        """Seconds of one question on a fresh encoding."""
        begun = time.process_time()
        reasoner = Reasoner(self._checkpoint, engine=ReferenceEngine(self._checkpoint))
        trace = reasoner.ask(self._suite.read(entry.case), entry.question, options=entry.options)
        seconds = time.process_time() - begun
        self.answers[entry.id] = trace.raw_text
        return seconds


def measure(volumes: int, count: int, folder: Path) -> dict[str, Any]:
    """All figures."""
    suite = Volumes(volumes, folder / "data")
    reasoner = load("phantom", threads=1)
    warm = suite.read(next(suite.entries()).case)
    for engine in (None, ReferenceEngine(reasoner.checkpoint)):
        Reasoner(reasoner.checkpoint, engine=engine).ask(warm, "Is there a liver?", options=("yes", "no"))
    turns = Turns(suite, reasoner, count)
    turns.start()
    results = run(reasoner, suite, folder / "run", progress=turns.progress)
    said = {row.id: row.samples[0].trace["raw_text"] for row in rows_of(folder / "run")}
    ours, theirs = np.array(turns.ours), np.array(turns.theirs)
    draws = np.random.default_rng(0).integers(0, len(ours), (2000, len(ours)))
    drawn = theirs[draws].sum(axis=1) / ours[draws].sum(axis=1)
    return {
        "questions": results.n,
        "volumes": volumes,
        "asked_by_reference": len(turns.answers),
        "equal_answers": sum(said[name] == text for name, text in turns.answers.items()),
        "accuracy": results.scores.all.accuracy,
        "seconds_a_question": {"run": float(ours.sum()) / results.n, "reference": float(theirs.sum()) / results.n},
        "ratios": {"throughput": float(theirs.sum() / ours.sum())},
        "blocks": len(ours),
        "ci95_blocks": [float(v) for v in np.quantile(drawn, [0.025, 0.975])],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="8 volumes, under a minute")
    parser.add_argument(
        "--reference", metavar="N", type=int, default=1, help="questions of every volume that the reference answers"
    )
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(8 if chosen.quick else 100, chosen.reference, Path(folder))
    machine = describe("numpy", "torch", "transformers")
    out = {"benchmark": "evaluating", "quick": chosen.quick, "targets": {"throughput": TARGET}, **found, "machine": machine}
    print(json.dumps(out, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
