"""Questions without options: built, checked, asked and rewarded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import datasets
from unireason.cli import main
from unireason.core.types import Frame, Trace
from unireason.data import names
from unireason.data.build_store import BuildConfig
from unireason.data.checks.run import check
from unireason.data.claims import answered_early
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.rationale.template import Annotation, Task
from unireason.data.rationale.verify import Rules, read, verify
from unireason.data.records import SampleRecord, sample_from_row, sample_row
from unireason.evaluate.scoring import judge_text
from unireason.evaluate.suites.base import open_suite
from unireason.grounding.trace import steps_from_text
from unireason.metrics.open_answers import right_answer
from unireason.rewards.compose import score
from unireason.train.rollout import truth


@pytest.fixture(scope="module")
def freely(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Every question that can be is asked without options."""
    folder = tmp_path_factory.mktemp("open") / "set"
    return datasets.built(folder, frame=rule("phantom"), patients=14, questions=6, open=1.0)


@pytest.fixture(scope="module")
def samples(freely: Dataset) -> list[SampleRecord]:
    return [s for s in freely.samples() if s.question.gold]


def test_a_set_that_asks_openly_passes_its_check(freely: Dataset, samples: list[SampleRecord]) -> None:
    report = check(freely, freely.source())
    assert [p.to_json() for p in report.problems if p.check != "shortcut"] == []
    assert report.masks
    assert report.answer_before_evidence["all"] == 0
    assert sum(freely.manifest["counts"]["open"].values()) == len(samples) > 30
    assert {s.question.ask for s in samples} > {"which_present", "how_large", "quadrant", "largest", "direction"}
    for sample in samples:
        question = sample.question
        assert (question.options, question.answer, question.letter) == ((), -1, "")
        reasoning, _, said = sample.response.partition("</think>")
        assert said == question.right
        assert reasoning.rstrip(".").endswith(question.right)
        assert sample.looks
    assert any(len(s.question.gold) > 1 for s in samples)  # sets of names
    assert any(s.question.tolerance for s in samples)


def test_answers_and_rewards_agree_with_the_records(freely: Dataset, samples: list[SampleRecord]) -> None:
    entries = {e.id: e for e in open_suite("built", freely.folder, split="train").entries()}
    own = [s for s in samples if s.split == "train"]
    assert own
    for sample, other in zip(own, [*own[1:], own[0]], strict=True):
        question, entry = sample.question, entries[sample.id]
        wrong = f"not {question.right}" if other.question.gold == question.gold else other.question.right
        said = [(question.right, True), (f"The answer is {question.right}.", True), (f"not {question.right}", False)]
        if question.ask == "how_large":
            number, unit = question.right.split()
            near, far = float(number) + 0.9 * question.tolerance, float(number) + 1.2 * question.tolerance
            said += [
                (f"about {near:.4f} {unit}", True),
                (f"about {far:.4f} {unit}", False),
                (f"{number} to {near:.4f} {unit}", False),
            ]
        for text, right in said:
            whole = f"<think>x</think>{text}"
            assert judge_text(entry, whole).right is right
            steps, problems = steps_from_text(whole, executions=[], choose=lambda answer: None)
            trace = Trace("q", (), steps, Frame(56, 56, 1, "image"), "end_of_turn", problems, raw_text=whole)
            assert score(trace, truth(sample)).right is right
        # Of two amounts one may be within the other's tolerance.
        assert not judge_text(entry, wrong).right or (question.tolerance and other.question.tolerance)
    several = next(s for s in own if len(s.question.gold) > 1)
    first, *rest = (texts[0] for texts in several.question.gold)
    assert judge_text(entries[several.id], ", ".join([*rest, first])).right
    assert not judge_text(entries[several.id], first).right


def test_default_builds_have_no_such_columns(tmp_path: Path, freely: Dataset) -> None:
    plain = datasets.built(tmp_path / "plain", patients=3)
    assert not {"gold", "tolerance"} & set(pq.read_schema(next((plain.folder / "samples").glob("*"))).names)
    assert {"gold", "tolerance"} <= set(pq.read_schema(next((freely.folder / "samples").glob("*"))).names)
    assert "open" not in BuildConfig("phantom").to_json()
    assert BuildConfig("phantom", open=0.5).identity() != BuildConfig("phantom").identity()


def test_a_share_is_asked_openly(tmp_path: Path, freely: Dataset) -> None:
    some = datasets.built(tmp_path / "some", frame=rule("phantom"), patients=14, questions=6, open=0.5)
    every = {s.question.ask for s in freely.samples() if s.question.gold}
    asked = [bool(s.question.gold) for s in some.samples() if s.question.ask in every]
    assert 0.3 < sum(asked) / len(asked) < 0.7


def test_rows_survive(samples: list[SampleRecord]) -> None:
    for sample in samples:
        assert sample_from_row(json.loads(json.dumps(sample_row(sample)))) == sample


def _with(sample: SampleRecord, **changes: object) -> SampleRecord:
    return replace(sample, question=replace(sample.question, **changes))


def _other_name(sample: SampleRecord) -> SampleRecord | None:
    question = sample.question
    others = [n for n in question.offered if names.display(n) != question.right]
    return _with(sample, gold=((names.display(others[0]),),)) if question.ask == "largest" and others else None


def _synonym(sample: SampleRecord) -> SampleRecord | None:
    question = sample.question
    others = [n for n in question.offered if names.display(n) != question.right]
    return _with(sample, gold=((question.right, names.display(others[0])),)) if question.ask == "largest" and others else None


def _part_of_set(sample: SampleRecord) -> SampleRecord | None:
    return _with(sample, gold=sample.question.gold[1:]) if len(sample.question.gold) > 1 else None


def _amount(sample: SampleRecord) -> SampleRecord | None:
    found = sample.question.gold[0][0].split(" ") if sample.question.ask == "how_large" else []
    return _with(sample, gold=((f"{float(found[0]) * 1.1:.0f} {found[1]}",),)) if found else None


def _tolerance(sample: SampleRecord) -> SampleRecord | None:
    return _with(sample, tolerance=1e4) if sample.question.ask == "how_large" else None


def _place(sample: SampleRecord) -> SampleRecord | None:
    found = sample.question.right
    return _with(sample, gold=((found, "left anterior" if found.startswith("right") else "right anterior"),)) if (
        sample.question.ask == "quadrant" and " " in found
    ) else None  # fmt: skip


def _no_gold(sample: SampleRecord) -> SampleRecord | None:
    return _with(sample, gold=()) if sample.question.gold else None


@pytest.mark.parametrize("edit", [_other_name, _synonym, _part_of_set, _amount, _tolerance, _place, _no_gold])
def test_a_wrong_answer_is_found(edit: Callable[[SampleRecord], SampleRecord | None], freely: Dataset, tmp_path: Path) -> None:
    done: list[str] = []

    def once(sample: SampleRecord) -> SampleRecord:
        changed = None if done or not sample.question.gold else edit(sample)
        done.extend([sample.id] if changed else [])
        return changed or sample

    edited = datasets.edited(freely, tmp_path / "edited", sample=once)
    assert [p.id for p in check(edited, None).problems if p.check == "answers"] == done
    assert len(done) == 1


def test_reasoning_of_others_is_verified(freely: Dataset, samples: list[SampleRecord]) -> None:
    scenes = {c.scene.case: c.scene for c in freely.cases()}
    for sample in samples:
        task = Task(sample.id, sample.question, scenes[sample.case])
        assert isinstance(verify(task, Annotation(sample.reasoning, "x")), Annotation)
        inner = sample.response.removeprefix("<think>").partition("</think>")[0]
        assert {f.code for f in read(task, f"{inner}</think>not {sample.question.right}", Rules()).faults} == {"wrong_answer"}
        assert not read(task, f"{inner}</think>{sample.question.right}", Rules()).faults
        cut = [p if not isinstance(p, str) else p.replace("answer", "thing") for p in sample.reasoning]
        early = [f"So the answer is {sample.question.right}. ", *cut]
        assert answered_early(scenes[sample.case], sample.question, early)


def test_the_built_in_checkpoint_is_asked_openly(freely: Dataset, samples: list[SampleRecord], tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["eval", "run", "--suite", "built", "--data", str(freely.folder), "--split", "train", "--option", "kind=image"]
    assert main([*command, "--option", "questions=6", "--out", str(out), "--no-pictures", "--json"]) == 0
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    asked = {s.id: s.question for s in samples}
    found = [row for row in rows if row["id"] in asked]
    assert found
    assert all((row["options"], row["letter"], row["answers"]) == ([], "", [asked[row["id"]].right]) for row in found)
    for row in found:
        assert row["right"] is right_answer(row["said"], asked[row["id"]].gold, asked[row["id"]].tolerance)
    assert "open question" in json.loads((out / "manifest.json").read_text())["rule"]


@pytest.mark.parametrize("kit", ["llamafactory", "verl", "vlmevalkit"])
def test_exports(kit: str, freely: Dataset, tmp_path: Path, samples: list[SampleRecord]) -> None:
    assert main(["data", "export", str(freely.folder), "--format", kit, "--out", str(tmp_path / kit)]) == 0
    if kit == "verl":
        rows = [r for path in (tmp_path / kit).glob("*.parquet") for r in pq.read_table(path).to_pylist()]
        told = {r["extra_info"]["id"]: r["reward_model"]["ground_truth"] for r in rows}
        assert all(json.loads(told[s.id])["tolerance"] == s.question.tolerance for s in samples)
