"""A run file of ours as a run of verl: its configuration, the command that starts it, and the weights it leaves. Needs no verl.

What verl does in another way than our own loop, and what it cannot do, is told in ``docs/how-to/cluster.md``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from unireason.core.config import KIND, build, resolved
from unireason.core.errors import FormatError, ModelError
from unireason.core.store import json_text, read_json, write_bytes
from unireason.model.checkpoint import load
from unireason.model.files import locate
from unireason.model.save import save
from unireason.train.config import Grpo
from unireason.train.context import as_asked

CONFIG, LOOPS = "verl.yaml", "agent_loops.yaml"
_MODULE = "unireason.cluster.verl"
_AVERAGES = {"dapo": "token-mean", "grpo": "seq-mean-token-mean", "dr_grpo": "seq-mean-token-sum-norm"}


def command(out: Path, settings: Grpo) -> list[str]:
    """What starts the run that ``write`` wrote."""
    start = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-path", str(out.resolve()), "--config-name", CONFIG]
    return [*start, *settings.verl.overrides]


def write(settings: Grpo, out: Path) -> dict[str, Any]:
    """Write verl's configuration of a run into its folder; returns it. FormatError for what verl cannot do."""
    made = configuration(settings, out)
    write_bytes(
        out / LOOPS, (json_text([{"name": "unireason", "_target_": f"{_MODULE}.GroundedLoop"}], indent=1) + "\n").encode()
    )
    write_bytes(out / CONFIG, (json_text(made, indent=1) + "\n").encode())  # JSON is YAML
    return made


def configuration(settings: Grpo, out: Path) -> dict[str, Any]:
    """verl's configuration of a run; what it leaves out takes verl's defaults, which ``hydra`` finds in verl itself."""
    _check(settings)
    model, optim, run, rollout, policy, verl = (
        settings.model,
        settings.optim,
        settings.run,
        settings.rollout,
        settings.policy,
        settings.verl,
    )
    made = load(model.init_from, weights=False)
    looks = made.profile.max_looks
    depth = made.profile.volume_shape[0]
    world = verl.nodes * verl.gpus
    steps = {"total_training_steps": run.steps} if run.steps else {"total_epochs": max(1, round(run.epochs))}
    actor = {
        "optim": {
            "lr": optim.lr,
            "betas": list(optim.betas),
            "weight_decay": optim.weight_decay,
            "clip_grad": optim.max_grad_norm or 1e9,
            "lr_warmup_steps_ratio": optim.warmup,
            "lr_scheduler_type": optim.schedule,
            "min_lr_ratio": optim.min_lr_ratio,
        },
        "ppo_mini_batch_size": rollout.prompts_per_step // policy.num_minibatches,
        "ppo_epochs": policy.num_iterations,
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": max(run.max_tokens_per_microbatch, verl.prompt_length + verl.response_length),
        "clip_ratio": policy.clip_high,
        "clip_ratio_low": policy.clip_low,
        "clip_ratio_high": policy.clip_high,
        "use_kl_loss": policy.beta > 0,
        "kl_loss_coef": policy.beta,
        "kl_loss_type": "low_var_kl",
        "loss_agg_mode": _AVERAGES[policy.loss_type],
        "entropy_coeff": 0,
        "freeze_vision_tower": not model.train_vision,
        "checkpoint": {"save_contents": ["model", "optimizer", "extra", "hf_model"]},
    }
    asking = {
        "name": "vllm",
        "n": rollout.num_generations,
        "temperature": rollout.temperature,
        "top_p": rollout.top_p,
        "prompt_length": verl.prompt_length,
        "response_length": verl.response_length,
        "max_model_len": verl.prompt_length + verl.response_length,
        "tensor_model_parallel_size": verl.tensor_parallel,
        "gpu_memory_utilization": verl.gpu_memory,
        "limit_images": depth + min(looks * depth, verl.response_length // 3),
        "calculate_log_probs": True,
        "log_prob_use_dynamic_bsz": True,
        "engine_kwargs": {"vllm": {"mm_device_do_normalize": False}},
        "agent": {"default_agent_loop": "unireason", "agent_loop_config_path": str((out / LOOPS).resolve())},
        "val_kwargs": {"temperature": 0, "do_sample": False, "n": 1},
    }
    return {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
        "data": {
            "train_files": [settings.data.split],
            "val_files": [settings.data.validation],
            "val_max_samples": run.eval_samples or 1,
            "train_batch_size": rollout.prompts_per_step,
            "max_prompt_length": verl.prompt_length,
            "max_response_length": verl.response_length,
            "seed": run.seed,
            "custom_cls": {"path": f"pkg://{_MODULE}", "name": "VerlQuestions"},
            "unireason": {"settings": json_text(resolved(settings), sort_keys=True), "out": str(out.resolve())},
        },
        "actor_rollout_ref": {
            "model": {
                "path": str(locate(model.init_from)),
                "enable_gradient_checkpointing": model.gradient_checkpointing,
                "lora_rank": model.lora.rank,
                "lora_alpha": model.lora.alpha,
                "target_modules": list(model.lora.targets),
                "exclude_modules": ".*visual.*",
            },
            "actor": actor,
            "rollout": asking,
            "ref": {"log_prob_use_dynamic_bsz": True},
        },
        "algorithm": {
            "adv_estimator": "grpo",
            "norm_adv_by_std_in_grpo": policy.scale_rewards == "group",
            "use_kl_in_reward": False,
            "rollout_correction": {
                "rollout_is": "token" if policy.importance_sampling_cap else None,
                "rollout_is_threshold": policy.importance_sampling_cap or 2.0,
            },
        },
        "trainer": {
            "nnodes": verl.nodes,
            "n_gpus_per_node": verl.gpus,
            **steps,
            "save_freq": run.save_every,
            "test_freq": run.eval_every or -1,
            "val_before_train": False,
            "default_local_dir": str((out / "verl").resolve()),
            "rollout_data_dir": str((out / "rollouts").resolve()),
            "project_name": "unireason",
            "experiment_name": out.resolve().name,
            "logger": ["console", "tensorboard"],
            "critic_warmup": 0,
            "balance_batch": world > 1,
        },
    }


def merge(run: Path, out: Path, *, step: int = 0) -> dict[str, Any]:
    """The weights that verl saved as a checkpoint folder of ours, with the profiles of the checkpoint that the run started from.

    Args:
        run: Run folder of ``--engine verl``.
        out: Folder to write.
        step: Which saved step; 0 takes the last.

    Returns:
        Step and folder.

    Raises:
        ModelError: If no step has whole weights.
        FormatError: If the folder is no such run.
    """
    try:
        table = json.loads(read_json(run / CONFIG)["data"]["unireason"]["settings"])
        settings = build(Grpo, {key: value for key, value in table.items() if key != KIND})
    except (ModelError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"'{run.name}' is no run of verl", f"a folder with the {CONFIG} that this package wrote") from error
    saved = {int(path.name.rpartition("_")[2]): path / "actor" for path in (run / "verl").glob("global_step_*") if path.is_dir()}
    whole = {number: path / "huggingface" for number, path in saved.items() if any((path / "huggingface").glob("*.safetensors"))}
    if not whole or (step and step not in whole):
        raise ModelError(
            f"step {step} has no whole weights" if step else "no step has whole weights",
            f"one of {sorted(whole)}" if whole else "verl/global_step_N/actor/huggingface with safetensors files",
            "gather shards with verl's own tool: python -m verl.model_merger merge --backend fsdp --local_dir .../actor "
            "--target_dir .../actor/huggingface",
        )
    chosen = step or max(whole)
    start = load(settings.model.init_from, weights=False)
    made = load(whole[chosen], device="cpu", profile=as_asked(start, settings.model).profile)
    save(out, replace(made, grounding=as_asked(start, settings.model).grounding, scope=start.scope))
    return {"step": chosen, "folder": str(out)}


def _check(settings: Grpo) -> None:
    model, reward, policy = settings.model, settings.reward, settings.policy
    refused = {
        "model.extra_tokens": bool(model.extra_tokens),
        "optim.optimizer": settings.optim.optimizer != "adamw",
        "reward.evidence": reward.evidence > 0,
        "policy.mask_truncated_completions": policy.mask_truncated_completions,
        "policy.delta": policy.delta > 0,
        "policy.use_bias_correction_kl": policy.use_bias_correction_kl,
        "rollout.redraws": settings.rollout.redraws > 0,
        "rollout.min_success": settings.rollout.min_success > 0,
        "rollout.max_success": settings.rollout.max_success < 1,
    }
    wrong = [name for name, there in refused.items() if there]
    if wrong:
        raise FormatError(f"{wrong[0]} is set", "its default, where verl trains", "train without --engine verl")
    if settings.rollout.prompts_per_step % policy.num_minibatches:
        came = f"{settings.rollout.prompts_per_step} prompts a step in {policy.num_minibatches} mini-batches"
        raise FormatError(came, "a number that divides them", "verl makes mini-batches of one size")
    if not model.train_llm or model.train_projector:
        raise FormatError(
            "model.train_llm is false or model.train_projector true", "the language model, with or without the tower"
        )
