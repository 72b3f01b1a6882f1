"""A run file becomes a configuration of verl; what verl cannot do is refused; its weights come back as a checkpoint."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from training import grpo
from unireason.cli import main
from unireason.cluster import verl_run
from unireason.core.errors import FormatError, ModelError
from unireason.model.checkpoint import load
from unireason.model.save import save


@pytest.fixture
def settings(start, phantoms):
    return grpo(
        start,
        phantoms,
        policy={"num_minibatches": 1},
        verl={"nodes": 8, "gpus": 8, "prompt_length": 1024, "response_length": 600},
    )


def test_settings_are_said_in_verls_words(settings, tmp_path):
    made = verl_run.configuration(settings, tmp_path / "run")
    actor, rollout = made["actor_rollout_ref"]["actor"], made["actor_rollout_ref"]["rollout"]
    assert (actor["ppo_mini_batch_size"], actor["clip_ratio_low"], actor["kl_loss_coef"]) == (2, 0.2, 0.01)
    assert actor["loss_agg_mode"] == "token-mean"
    assert (rollout["n"], rollout["max_model_len"]) == (4, 1624)
    assert rollout["limit_images"] == 16 + min(16 * load(settings.model.init_from, weights=False).profile.max_rounds, 200)
    assert made["trainer"]["nnodes"] * made["trainer"]["n_gpus_per_node"] == 64
    assert made["trainer"]["total_training_steps"] == 2
    assert made["data"]["train_files"] == ["train"]
    assert json.loads(made["data"]["unireason"]["settings"])["rollout"]["num_generations"] == 4


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"reward": {"evidence": 0.1}}, "reward.evidence"),
        ({"policy": {"delta": 5.0}}, "policy.delta"),
        ({"rollout": {"redraws": 2}}, "rollout.redraws"),
        ({"optim": {"optimizer": "muon"}}, "optim.optimizer"),
        ({"rollout": {"prompts_per_step": 3}, "policy": {"num_minibatches": 2}}, "mini-batches"),
    ],
)
def test_what_verl_cannot_do_is_refused(start, phantoms, tmp_path, tables, said):
    with pytest.raises(FormatError, match=said):
        verl_run.configuration(grpo(start, phantoms, **tables), tmp_path)


def test_dry_run_prints_the_configuration(start, phantoms, tmp_path, capsys):
    command = ["train", "grpo", "--engine", "verl", "--dry-run", "--out", str(tmp_path / "run")]
    command += ["--set", f"model.init_from={start}", "--set", f'data.folders=["{phantoms.folder}"]', "--set", "verl.nodes=2"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["trainer"]["nnodes"] == 2
    assert not (tmp_path / "run").exists()


def test_weights_come_back(settings, start, tmp_path, capsys):
    run = tmp_path / "run"
    verl_run.write(settings, run)
    with pytest.raises(ModelError, match="model_merger"):
        verl_run.merge(run, tmp_path / "none")
    trained = load(start, dtype="fp32")
    with torch.no_grad():
        next(trained.network.parameters()).add_(1)
    for step in (9, 10):
        left = save(tmp_path / "left", trained, dtype="fp32")
        (left / "profile.toml").unlink()
        (left / "grounding.toml").unlink()
        shutil.copytree(left, run / "verl" / f"global_step_{step}" / "actor" / "huggingface")
    assert main(["weights", "merge", str(run), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 10
    back, before = load(tmp_path / "out", dtype="fp32"), load(start, weights=False)
    for name, tensor in back.network.state_dict().items():
        assert torch.allclose(tensor, trained.network.state_dict()[name], atol=0.02), name  # written as bfloat16
    assert back.profile == before.profile
    assert back.grounding == before.grounding
    with pytest.raises(FormatError, match=verl_run.CONFIG):
        verl_run.merge(tmp_path / "out", tmp_path / "again")
