"""Training on a GPU against training on the CPU: the same steps, to the precision of the device."""

from __future__ import annotations

import pytest
import torch

import training
from unireason.train import grpo, sft
from unireason.train.log import read

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")


def test_sft_takes_the_same_steps(start, phantoms, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        settings = training.sft(start, phantoms, run={"device": device, "steps": 3})
        sft.train(settings, tmp_path / device)
        losses[device] = [line["loss"] for line in read(tmp_path / device)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


@pytest.mark.parametrize("rank", [0, 4])
def test_bfloat16_steps_stay_finite(start, phantoms, tmp_path, rank):
    model = {"precision": "bf16", "gradient_checkpointing": True, "lora": {"rank": rank}}
    sft.train(training.sft(start, phantoms, model=model, run={"device": "cuda", "steps": 2}), tmp_path / "sft")
    grpo.train(training.grpo(start, phantoms, model=model, run={"device": "cuda", "steps": 2}), tmp_path / "grpo")
    for name in ("sft", "grpo"):
        assert all(line["loss"] == line["loss"] for line in read(tmp_path / name))


def test_sampler_and_update_agree_on_what_was_likely(start, phantoms, tmp_path):
    grpo.train(training.grpo(start, phantoms, run={"device": "cuda", "steps": 1}), tmp_path)
    assert read(tmp_path)[-1]["sampler_gap"] < 1e-2
