"""The questions that all kits are given, and what ``unireason eval run`` makes of them."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.trees import write_json, write_picture

from unireason.cli import main

QUESTIONS = 12


@dataclass(frozen=True)
class Exam:
    """A suite as options of the command line, its name in the kits, and the rows of ``unireason eval run``."""

    options: list[str]
    name: str
    rows: list[dict[str, Any]]

    def export(self, kit: str, out: Path) -> Path:
        """The questions, written for a kit."""
        _command("eval", "export", *self.options, "--to", kit, "--out", str(out), "--json")
        return out

    @property
    def right(self) -> list[bool]:
        """Whether the answers are right, in the order of the questions."""
        return [row["right"] for row in self.rows]

    @property
    def answers(self) -> list[dict[str, str]]:
        """What the model answers: "choice" and "text"."""
        return [row["samples"][0]["trace"]["answer"] for row in self.rows]


def _command(*arguments: str) -> None:
    """Run a command of ours; what it prints stays out of the tests' output, which holds the counts."""
    with redirect_stdout(io.StringIO()):
        assert main(arguments) == 0


def _asked(options: list[str], name: str, out: Path) -> Exam:
    _command("eval", "run", *options, "--model", "phantom", "--device", "cpu", "--out", str(out), "--json")
    return Exam(options, name, [json.loads(line) for line in (out / "rows.jsonl").read_text("utf-8").splitlines()])


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Exam:
    """Questions with options about images and volumes."""
    return _asked(
        ["--suite", "phantom", "--questions", str(QUESTIONS)], "unireason_phantom", tmp_path_factory.mktemp("direct") / "run"
    )


@pytest.fixture(scope="session")
def slake(tmp_path_factory) -> Exam:
    """An open question and one with options about a picture, in the layout of SLAKE."""
    folder = tmp_path_factory.mktemp("slake")
    write_picture(folder / "data" / "imgs" / "a" / "source.jpg", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    common = {"img_name": "a/source.jpg", "q_lang": "en", "modality": "CT", "location": "Chest"}
    rows = [
        {"qid": 1, "question": "Which organ?", "answer": "Lung", "answer_type": "OPEN", "content_type": "Organ"},
        {"qid": 2, "question": "Is it big?", "answer": "No", "answer_type": "CLOSED", "content_type": "Size"},
    ]
    write_json(folder / "data" / "test.json", [common | row for row in rows])
    return _asked(["--suite", "slake", "--data", str(folder / "data")], "unireason_slake_test", folder / "run")
