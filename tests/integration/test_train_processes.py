"""Two processes take the steps of one: the same curves, whole weights or sharded, with adapters or without, from the start or from a state
that another number of processes saved."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import training
from training import LORA, log_of
from unireason.core.config import to_toml
from unireason.engine import reasoner
from unireason.train import grpo, sft
from unireason.train.config import Grpo, Sft, read
from unireason.train.log import TrainWatcher

TWO = ["--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
DRIVER = (
    "import json, sys\nfrom unireason.cli import main\nfor args in json.load(open(sys.argv[1])):\n    assert main(args) == 0\n"
)


@pytest.fixture(scope="module")
def lessons(phantoms, tmp_path_factory):
    return training.make_lessons(tmp_path_factory.mktemp("lessons") / "data", phantoms)


@pytest.fixture(scope="module")
def runs(start, warm, lessons, quiz, tmp_path_factory):
    """Run files by name, each with the log of one process."""
    folder = tmp_path_factory.mktemp("runs")
    short = {"steps": 4, "save_every": 2, "eval_every": 2, "max_tokens_per_microbatch": 400}
    steady = {"schedule": "constant"}
    evidence = {"evidence": 0.3}
    rollout = {"prompts_per_step": 4, "num_generations": 4, "max_new_tokens": 40}
    redraws = {"redraws": 2, "max_success": 0.9, "skips_at_most": 1}
    brief = {"steps": 3, "save_every": 1, "eval_every": 2}
    tower = {"train_vision": True, "train_projector": True}
    settings = {
        "sft": training.sft(start, lessons, run=short, optim=steady, batch_size=8),
        "lora": training.sft(start, lessons, run=short, optim={"lr": 1e-2}, batch_size=8, model={"lora": LORA}),
        "tower": training.sft(
            start, lessons, run=short | {"steps": 2}, batch_size=8, model=tower | {"gradient_checkpointing": True}
        ),
        "grpo": training.grpo(warm, quiz, run=brief, rollout=rollout | redraws, reward=evidence),
        "grpo-lora": training.grpo(warm, quiz, run=brief | {"steps": 2}, rollout=rollout, model={"lora": LORA}),
    }
    for name, values in settings.items():
        (folder / f"{name}.toml").write_text(to_toml(values))
        (grpo if name.startswith("grpo") else sft).train(values, folder / name)
    return folder


def job(runs: Path, name: str, out: str, *overrides: str) -> list[str]:
    kind = "grpo" if name.startswith("grpo") else "sft"
    given = [word for value in overrides for word in ("--set", value)]
    return ["train", kind, "--config", str(runs / f"{name}.toml"), "--out", str(runs / out), "--quiet", *given]


class Resumed(TrainWatcher):
    """Remembers with what remark a run went on."""

    remark = ""

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        self.remark = remark


def go_on_alone(runs: Path, name: str, out: str, *overrides: str) -> str:
    kind, trainer, told = *((Grpo, grpo) if name.startswith("grpo") else (Sft, sft)), Resumed()
    trainer.train(read(runs / f"{name}.toml", kind, overrides), runs / out, told)
    return told.remark


def launched(*words: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", *(port if word == "PORT" else word for word in words)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def together(runs: Path, jobs: list[list[str]]) -> None:
    """Commands one after the other, by the same two processes."""
    (runs / "jobs.json").write_text(json.dumps(jobs))
    (runs / "driver.py").write_text(DRIVER)
    launched("torch.distributed.run", *TWO, "--master_port", "PORT", str(runs / "driver.py"), str(runs / "jobs.json"))


def assert_same_curve(runs: Path, name: str, out: str, *, begun: int = 2, ended: int = 2) -> None:
    alone, both = log_of(runs / name), log_of(runs / out)
    assert json.loads((runs / out / "run.json").read_text())["processes"] == begun
    [state] = (runs / out / "state").iterdir()
    assert json.loads((state / "meta.json").read_text())["world"] == ended
    assert [line["step"] for line in both] == [line["step"] for line in alone]
    for one, two in zip(alone, both, strict=True):
        assert one.keys() == two.keys()
        for key in one.keys() - {"padding", "sampler_gap", "grad_norm"}:
            assert two[key] == pytest.approx(one[key], abs=1e-4), key
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
    served = reasoner.load(runs / out / "checkpoint", device="cpu", dtype="fp32")
    assert served.checkpoint.profile.name == "phantom"


@pytest.mark.slow
def test_fine_tuning_under_torchrun(runs):
    launched(
        "torch.distributed.run", *TWO, "--master_port", "PORT", "-m", "unireason", *job(runs, "sft", "none", "run.sharding=none")
    )
    assert_same_curve(runs, "sft", "none")


@pytest.mark.slow
def test_fine_tuning_under_accelerate(runs):
    """Its launcher starts several CPU processes under this flag only; weights are sharded, as they are by default."""
    how = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launched("accelerate.commands.launch", *how, "--main_process_port", "PORT", "-m", "unireason", *job(runs, "sft", "auto"))
    assert_same_curve(runs, "sft", "auto")


@pytest.mark.slow
def test_every_kind_of_run_takes_the_same_steps(runs):
    """One pair of processes for several runs, since starting them takes longest."""
    jobs = [
        job(runs, "sft", "fsdp", "run.steps=2", "run.sharding=fsdp"),
        job(runs, "sft", "fsdp", "run.sharding=fsdp"),  # goes on from its shards
        job(runs, "lora", "lora-2"),
        job(runs, "tower", "tower-fsdp", "run.sharding=fsdp"),
        job(runs, "tower", "tower-none", "run.sharding=none"),
        job(runs, "grpo", "grpo-none", "run.sharding=none"),
        job(runs, "grpo", "grpo-fsdp", "run.sharding=fsdp"),
        job(runs, "grpo-lora", "grpo-lora-2"),
    ]
    together(runs, jobs)
    pairs = [("sft", "fsdp"), ("lora", "lora-2"), ("tower", "tower-fsdp"), ("tower", "tower-none")]
    pairs += [("grpo", "grpo-none"), ("grpo", "grpo-fsdp"), ("grpo-lora", "grpo-lora-2")]
    for name, out in pairs:
        assert_same_curve(runs, name, out)
    assert (runs / "lora-2" / "checkpoint-adapter" / "adapter_model.safetensors").is_file()
    files = sorted(p.name for p in (runs / "fsdp" / "state" / "step-0000004").glob("*.safetensors"))
    assert files == ["rank-00000-of-00002.safetensors", "rank-00001-of-00002.safetensors"]


@pytest.mark.slow
def test_another_number_of_processes_goes_on(runs):
    """Two with what one has begun, one with what two have begun: the same samples, the same steps."""
    for name, out in (("sft", "sft-to-two"), ("grpo", "grpo-to-two")):
        go_on_alone(runs, name, out, "run.steps=2")
    jobs = [job(runs, "sft", "sft-to-two"), job(runs, "grpo", "grpo-to-two")]
    jobs += [job(runs, name, f"{name}-to-one", "run.steps=2") for name in ("sft", "grpo")]
    together(runs, jobs)
    for name in ("sft", "grpo"):
        assert_same_curve(runs, name, f"{name}-to-two", begun=1)
        assert "of 2 processes and 1" in go_on_alone(runs, name, f"{name}-to-one")
        assert_same_curve(runs, name, f"{name}-to-one", ended=1)
