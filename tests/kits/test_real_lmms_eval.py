"""The command line of lmms-eval: our model by its entry point, exported tasks, answers and counts as ``unireason eval run`` has them."""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from kit_runs import beside_python, run

pytestmark = [pytest.mark.kits, pytest.mark.timeout(1500)]


def test_lmms_eval_gets_and_counts_the_same_answers(phantoms, slake, tmp_path):
    if find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed here; `make kits` installs it (0.7.3) into an environment of its own")
    exams = {exam.name: exam for exam in (phantoms, slake)}
    for name, exam in exams.items():
        exam.export("lmms-eval", tmp_path / "tasks" / name)
    run(
        *(beside_python("lmms-eval"), "--model", "unireason", "--model_args", "model=phantom,device=cpu", "--batch_size", "1"),
        *("--include_path", tmp_path / "tasks", "--tasks", ",".join(exams), "--output_path", "out", "--log_samples"),
        folder=tmp_path,
    )
    (file,) = (tmp_path / "out").rglob("*_results.json")
    results = json.loads(file.read_text("utf-8"))
    for name, exam in exams.items():
        (file,) = (tmp_path / "out").rglob(f"*_samples_{name}.jsonl")
        samples = sorted(map(json.loads, file.read_text("utf-8").splitlines()), key=lambda sample: sample["doc_id"])
        # an open question is asked with "Answer in a few words." behind it: another prompt, so perhaps another answer
        pairs = [
            (s["filtered_resps"], a["text"]) for s, a, row in zip(samples, exam.answers, exam.rows, strict=True) if row["options"]
        ]
        assert [said for said, _ in pairs] == [ours for _, ours in pairs]
        assert all(sample["filtered_resps"] for sample in samples)
        assert [sample["accuracy"] for sample in samples] == [float(right) for right in exam.right]
        assert results["results"][name]["accuracy,none"] == pytest.approx(sum(exam.right) / len(exam.right))
        assert results["versions"][name] == 1.0
        said = (
            f"{sum(sample['accuracy'] for sample in samples):.0f} of {len(samples)} right, unireason eval run {sum(exam.right)}"
        )
        print(f"lmms-eval {version('lmms-eval')}, {name}: {said}")
