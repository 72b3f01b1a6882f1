"""MedEvalKit with the lines that the page on bridges puts into its registry, up to its own judge of options."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from kit_runs import TESTED, copied, documented, run

pytestmark = [pytest.mark.kits, pytest.mark.timeout(1500)]


@pytest.fixture
def kit(tmp_path):
    """A copy of the kit that knows our model."""
    (tmp_path / "kit").mkdir()
    folder = copied("MEDEVALKIT", tmp_path / "kit", ("utils", "LLMs.py", "benchmarks.py", "eval.py"))
    front, end = (folder / "LLMs.py").read_text("utf-8").split("def init_llm")
    (folder / "LLMs.py").write_text(f"{front}{documented('medevalkit')}\n\ndef init_llm{end}", "utf-8")
    return folder


def test_medevalkit_gets_and_counts_the_same_answers(kit, phantoms, tmp_path):
    task, out = phantoms.export("lmms-eval", tmp_path / "task"), tmp_path / "out"
    out.mkdir()
    run(sys.executable, Path(__file__).with_name("phantoms_in_medevalkit.py"), task, out, folder=kit)
    samples = json.loads((out / "results.json").read_text("utf-8"))
    assert [sample["response"] for sample in samples] == [answer["choice"] for answer in phantoms.answers]
    assert [sample["correct"] for sample in samples] == phantoms.right
    counted = json.loads((out / "metrics.json").read_text("utf-8"))["total metrics"]
    said = f"{counted['right']} of {counted['total']} right, unireason eval run {sum(phantoms.right)}"
    print(f"MedEvalKit (tested: {TESTED['MEDEVALKIT'][1]}), {phantoms.name}: {said}")


def test_its_command_line_reads_pictures_of_omnimedvqa(kit, phantoms, tmp_path):
    """The questions about images, in a layout that the kit reads itself."""
    task, data = phantoms.export("lmms-eval", tmp_path / "task"), tmp_path / "data" / "OmniMedVQA"
    docs = [json.loads(line) for line in (task / "questions.jsonl").read_text("utf-8").splitlines()]
    rows = [
        {
            "image_path": str(task / doc["pictures"][0]),
            "question": doc["question"],
            "gt_answer": doc["answers"][0],
            "question_type": doc["category"],
            "modality_type": "CT",
            **{f"option_{letter}": text for letter, text in zip("ABCD", doc["options"], strict=False)},
        }
        for doc in docs
        if doc["kind"] == "image"
    ]
    (data / "QA_information" / "Open-access").mkdir(parents=True)
    (data / "QA_information" / "Open-access" / "phantoms.json").write_text(json.dumps(rows), "utf-8")
    run(
        *(sys.executable, "eval.py", "--eval_datasets", "OmniMedVQA", "--datasets_path", data.parent, "--use_vllm", "False"),
        *("--model_name", "UniReason", "--model_path", "phantom", "--output_path", tmp_path / "out"),
        folder=kit,
    )
    samples = json.loads((tmp_path / "out" / "OmniMedVQA" / "results.json").read_text("utf-8"))
    assert [sample["correct"] for sample in samples] == [
        right for right, doc in zip(phantoms.right, docs, strict=True) if doc["kind"] == "image"
    ]
    print(f"MedEvalKit, OmniMedVQA layout: {sum(sample['correct'] for sample in samples)} of {len(samples)} right")
