"""What the console says beside results: heads, counts, copies, the next command, near names."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from unireason.cli import main
from unireason.cli.train import TrainTerminal
from unireason.core.errors import FormatError
from unireason.train.config import Grpo, Sft, read

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    main(["phantom", str(folder), "--patients", "1", "--seed", "7", "--format", "dicom"])
    return folder / "phantom-7-00000" / "dicom"


def test_one_patient_is_no_plural(tmp_path, capsys):
    main(["phantom", str(tmp_path / "a"), "--patients", "1"])
    main(["phantom", str(tmp_path / "b"), "--patients", "2", "--format", "png"])
    out = capsys.readouterr().out
    assert "1 patient in" in out
    assert "2 patients in" in out


def test_ask_names_model_device_and_samples_and_tells_copies(patient, capsys):
    asked = ["ask", str(patient), "-q", "Is the spleen present?", "-o", "yes", "-o", "no", "--device", "cpu"]
    assert main([*asked, "--samples", "3"]) == 0
    err = capsys.readouterr().err
    assert "phantom, 7.0M weights, float32 on cpu: 1 question, 3 samples each" in err
    assert "3 samples of a question are the same" in err
    main([*asked, "--samples", "2", "--temperature", "0.7"])
    assert "are the same" not in capsys.readouterr().err
    main([*asked, "--json"])
    assert "weights" not in capsys.readouterr().err


def test_segment_writes_dicom_beside_the_mask(patient, tmp_path, capsys):
    pytest.importorskip("highdicom")
    segment = ["segment", str(patient), "--box", "10,10,4,40,40,9", "--dicom"]
    assert main([*segment, "--out", str(tmp_path / "liver.nii.gz")]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["liver-measurements.dcm", "liver-segmentation.dcm", "liver.nii.gz"]
    assert "liver-segmentation.dcm" in capsys.readouterr().out
    assert main(segment) == 2
    assert "--out MASK" in capsys.readouterr().err


def test_an_evaluation_is_told_only_behind_the_step_that_was_evaluated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unireason.cli.train.EVERY", 0.0)
    with TrainTerminal(tmp_path) as watch:
        watch.begun("on cpu: phantom")
        watch.step("sft", 1, 3, {"loss": 2.0, "eval_accuracy": 0.5})
        watch.step("sft", 2, 3, {"loss": 1.0})
    head, first, second, *_ = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert head == "on cpu: phantom"
    assert "eval accuracy 0.500" in first
    assert "eval" not in second
    assert "loss 1.000" in second


@pytest.mark.parametrize(
    ("kind", "config", "name", "meant"),
    [
        (Sft, "phantom-sft", "lr=1e-4", "optim.lr"),
        (Sft, "phantom-sft", "learning_rate=1e-4", "optim.lr"),
        (Sft, "phantom-sft", "rate=1e-4", "optim.lr"),
        (Sft, "phantom-sft", "stesp=2", "run.steps"),
        (Sft, "phantom-sft", "bath_size=2", "batch_size"),
        (Sft, "phantom-sft", "weight-decay=0", "optim.weight_decay"),
        (Sft, "phantom-sft", "lora_rank=8", "model.lora.rank"),
        (Grpo, "phantom-grpo", "beta=0.1", "policy.beta"),
        (Grpo, "phantom-grpo", "num_generations=8", "rollout.num_generations"),
        (Grpo, "phantom-grpo", "policy.lr=1", "optim.lr"),
    ],
)
def test_a_setting_is_found_by_its_last_word(kind, config, name, meant):
    with pytest.raises(FormatError) as caught:
        read(ROOT / "configs" / f"{config}.toml", kind, [name])
    assert meant in str(caught.value).partition("one of: ")[2].rstrip(".").split(", ")


def test_the_demo_ends_with_a_command_that_works(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--questions", "1", "--out", "my demo"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("look at one yourself: ")]
    words = shlex.split(line.partition(": ")[2])
    assert words[0] == "unireason"
    assert main(words[1:]) == 0
    assert (tmp_path / "my demo" / "spleen.html").is_file()
