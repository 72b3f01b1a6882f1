"""TRL's trainer and ours on the same tokens, log-probabilities and rewards: loss, gradient, measurements and advantages."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unireason.train.config import PolicySettings
from unireason.train.loss import SampledTokens, advantages, loss_denominator, policy_loss

ROWS, LENGTH, LIMIT = 6, 9, 12
AVERAGES = {"grpo": "grpo", "dr_grpo": "dr_grpo", "bnpo": "dapo", "dapo": "dapo"}
DEVICE = torch.device("cpu")


@cache
def trl_module() -> Any:
    """TRL imports the library ``datasets``, and a module of these tests has the same name: it steps aside meanwhile."""
    mine, path = sys.modules.pop("datasets", None), sys.path
    sys.path = [entry for entry in path if Path(entry).resolve() != Path(__file__).parents[2]]
    try:
        return pytest.importorskip("trl.trainer.grpo_trainer")
    finally:
        sys.path = path
        sys.modules.pop("datasets", None)
        if mine is not None:
            sys.modules["datasets"] = mine


def oracle(loss_type: str = "dapo", *, beta: float = 0.0, clip: tuple[float, float] = (0.2, 0.2), steps: int = 1) -> Any:
    """TRL's trainer without its set-up: the attributes that scoring and the loss read, on one process."""
    trainer: Any = object.__new__(trl_module().GRPOTrainer)
    trainer.loss_type, trainer.beta, trainer.max_completion_length = loss_type, beta, LIMIT
    trainer.epsilon_low, trainer.epsilon_high = clip
    trainer.args = SimpleNamespace(
        delta=None, use_bias_correction_kl=False, steps_per_generation=steps, per_device_train_batch_size=1,
        gradient_checkpointing_kwargs=None, gradient_accumulation_steps=1,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps, trainer.num_iterations = steps, 1
    trainer.importance_sampling_level, trainer.top_entropy_quantile = "token", 1.0
    trainer.aux_loss_enabled = trainer._entropy_bonus_enabled = trainer.use_vllm = False
    trainer.off_policy_mask_threshold = None
    trainer.model = SimpleNamespace(training=True)
    same: Any = lambda value, **_: value  # noqa: E731
    trainer.accelerator = SimpleNamespace(num_processes=1, process_index=0, device=DEVICE, gather=same, reduce=same)
    trainer._metrics = {"train": defaultdict(list)}
    return trainer


def trl_loss(trainer: Any, batch: dict[str, torch.Tensor], logps: torch.Tensor) -> torch.Tensor:
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logps, batch["entropies"], None)
    loss: torch.Tensor = trainer._compute_loss(None, batch)
    return loss


def make_batch(seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Padded rows as TRL keeps them, with injected tokens inside, and the present log-probabilities."""
    random = torch.Generator().manual_seed(seed)

    def noise(scale: float) -> torch.Tensor:
        return torch.randn(ROWS, LENGTH, generator=random, dtype=torch.float64) * scale

    lengths = torch.tensor([9, 4, 6, 9, 3, 7])
    tool_mask = torch.ones(ROWS, LENGTH, dtype=torch.long)
    tool_mask[0, 3:6] = tool_mask[2, 1:3] = tool_mask[5, 2:6] = 0
    logps = noise(1.0) - 2
    completion_mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    batch = {
        "prompt_ids": torch.zeros(ROWS, 2, dtype=torch.long),
        "prompt_mask": torch.ones(ROWS, 2, dtype=torch.long),
        "completion_ids": torch.zeros(ROWS, LENGTH, dtype=torch.long),
        "completion_mask": completion_mask,
        "tool_mask": tool_mask,
        "advantages": torch.tensor([1.2, -0.7, 0.0, -1.4, 0.4, 2.0], dtype=torch.float64),
        "old_per_token_logps": logps + noise(0.3),
        "ref_per_token_logps": logps + noise(0.5),
        "entropies": noise(1.0).abs(),
        "num_items_in_batch": (completion_mask * tool_mask).sum(),
    }
    return batch, logps.requires_grad_()


def flat(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, SampledTokens]:
    """The sampled tokens of a padded batch, and where they are."""
    chosen = (batch["completion_mask"] * batch["tool_mask"]).bool()
    response = torch.nonzero(chosen)[:, 0]
    sampled = SampledTokens(
        old_logp=batch["old_per_token_logps"][chosen],
        advantage=batch["advantages"][response],
        response=response,
        counts=chosen.sum(1),
        ref_logp=batch["ref_per_token_logps"][chosen],
        entropy=batch["entropies"][chosen],
    )
    return chosen, sampled


@pytest.mark.parametrize("clip", [(0.2, 0.2), (0.1, 0.28)])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", sorted(AVERAGES))
def test_loss_gradient_and_measurements_equal_trl(loss_type, beta, clip):
    batch, logps = make_batch()
    trainer = oracle(loss_type, beta=beta, clip=clip)
    theirs = trl_loss(trainer, batch, logps)
    (their_gradient,) = torch.autograd.grad(theirs, logps)

    chosen, sampled = flat(batch)
    policy = PolicySettings(clip_low=clip[0], clip_high=clip[1], beta=beta, loss_type=AVERAGES[loss_type])
    ours, measured = policy_loss(logps[chosen], sampled, policy, denominator=loss_denominator(sampled.counts, policy, LIMIT))
    (our_gradient,) = torch.autograd.grad(ours, logps)

    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-6, atol=1e-12)
    assert (their_gradient != 0).sum() > 10
    means, logged = measured.means(), trainer._metrics["train"]
    assert means["clip_ratio_low"] == pytest.approx(logged["clip_ratio/low_mean"][0], rel=1e-6)
    assert means["clip_ratio_high"] == pytest.approx(logged["clip_ratio/high_mean"][0], rel=1e-6)
    assert min(means["clip_ratio_low"], means["clip_ratio_high"]) > 0
    assert means["entropy"] == pytest.approx(logged["entropy"][0], rel=1e-6)
    if beta:
        assert means["kl"] == pytest.approx(logged["kl"][0], rel=1e-6)


def test_bounded_weighted_and_corrected_losses_equal_trl():
    """A bound on bad tokens' ratios, a divergence weighted by the ratio, and truncated importance weights, all at once."""
    batch, logps = make_batch()
    random = torch.Generator().manual_seed(3)
    gap = torch.randn(ROWS, LENGTH, generator=random, dtype=torch.float64)
    batch["importance_sampling_ratio"] = gap.exp().clamp(max=2.0)
    trainer = oracle("dapo", beta=0.04)
    trainer.args.delta, trainer.args.use_bias_correction_kl = 1.3, True
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
    theirs = trl_loss(trainer, batch, logps)
    (their_gradient,) = torch.autograd.grad(theirs, logps)

    chosen, sampled = flat(batch)
    sampled = replace(sampled, sampled_logp=sampled.old_logp - gap[chosen])
    policy = PolicySettings(beta=0.04, delta=1.3, use_bias_correction_kl=True, importance_sampling_cap=2.0)
    ours, measured = policy_loss(logps[chosen], sampled, policy, denominator=loss_denominator(sampled.counts, policy, LIMIT))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(ours, logps)[0], their_gradient, rtol=1e-6, atol=1e-12)
    assert measured.means()["kl"] == pytest.approx(trainer._metrics["train"]["kl"][0], rel=1e-6)
    assert measured.ratio_max > 1.3
    assert measured.sampling_capped > 0


def test_micro_batches_of_both_add_up_to_the_same_gradient():
    batch, logps = make_batch(1)
    _, whole = flat(batch)
    policy = PolicySettings(beta=0.04, loss_type="dapo")
    theirs = ours = torch.zeros((), dtype=torch.float64)
    for rows in (slice(0, 2), slice(2, 6)):
        part = {name: value if value.ndim == 0 else value[rows] for name, value in batch.items()}
        trainer = oracle("dapo", beta=0.04, steps=2)
        theirs = theirs + trl_loss(trainer, part, logps[rows])
        chosen, sampled = flat(part)
        ours = ours + policy_loss(logps[rows][chosen], sampled, policy, denominator=float(whole.counts.sum()))[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logps)[0] for loss in (ours, theirs)), rtol=1e-6, atol=1e-12)


def trl_scores(monkeypatch: pytest.MonkeyPatch, rewards: torch.Tensor, *, scale: str, cut: set[int]) -> dict[str, torch.Tensor]:
    """What TRL makes of rewards (prompts, samples); responses in ``cut`` have no end and are masked."""
    prompts, samples = rewards.shape
    count = prompts * samples
    trainer = oracle()
    trainer.environment_factories = trainer.environments = trainer.pad_to_multiple_of = None
    trainer.tools, trainer.num_generations, trainer.scale_rewards = [], samples, scale
    trainer._tokenizer, trainer.eos_token_ids = SimpleNamespace(pad_token_id=0), [1]
    trainer.mask_truncated_completions, trainer.multi_objective_aggregation = True, "sum_then_normalize"
    trainer.reward_funcs, trainer.reward_func_names, trainer.reward_weights = [None], ["reward"], torch.ones(1)
    trainer._pending_extra_logs, trainer._pending_metrics = {}, {}
    trainer._logs = {name: [] for name in ("prompt", "completion", "advantages")} | {"rewards": defaultdict(list)}
    ids = [[5, 6, 7] if i in cut else [5, 6, 1] for i in range(count)]
    trainer._generate = lambda _: ([[2, 3]] * count, ids, None, ["text"] * count, None, {}, None, None)
    trainer._calculate_rewards = lambda *_: rewards.reshape(-1, 1)
    monkeypatch.setattr(trl_module(), "disable_gradient_checkpointing", lambda *_: nullcontext())
    monkeypatch.setattr(trl_module(), "gather_object", lambda value: value)
    scored: dict[str, torch.Tensor] = trainer._generate_and_score_completions([{"prompt": "question"}] * count)
    return scored


REWARDS = torch.tensor([[1.0, 0.2, 0.2, 0.0], [0.8, 0.8, 0.8, 0.8], [0.0, 1.0, 0.9, 0.1], [0.3, 0.31, 0.3, 0.3]])


@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_equal_trl(monkeypatch, scale):
    theirs = trl_scores(monkeypatch, REWARDS, scale=scale, cut=set())["advantages"]
    torch.testing.assert_close(advantages(REWARDS, scale).reshape(-1), theirs, rtol=1e-5, atol=1e-6)


def test_responses_that_were_cut_off_count_in_the_group_as_in_trl(monkeypatch):
    scored = trl_scores(monkeypatch, REWARDS, scale="group", cut={1, 3, 8})
    torch.testing.assert_close(advantages(REWARDS).reshape(-1), scored["advantages"], rtol=1e-5, atol=1e-6)
    counts = scored["completion_mask"].sum(1)
    assert counts[[1, 3, 8]].tolist() == [0, 0, 0]
    # ... and their tokens are in no denominator over tokens
    assert loss_denominator(counts, PolicySettings(loss_type="dapo"), LIMIT) == float(scored["num_items_in_batch"]) == 3 * 13


@pytest.mark.parametrize("loss_type", sorted(AVERAGES))
def test_responses_left_out_leave_the_same_loss(loss_type):
    batch, logps = make_batch(2)
    batch["completion_mask"][[1, 3]] = 0
    batch["num_items_in_batch"] = (batch["completion_mask"] * batch["tool_mask"]).sum()
    theirs = trl_loss(oracle(loss_type), batch, logps)
    chosen, sampled = flat(batch)
    policy = PolicySettings(beta=0.0, loss_type=AVERAGES[loss_type])
    ours, _ = policy_loss(logps[chosen], sampled, policy, denominator=loss_denominator(sampled.counts, policy, LIMIT))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logps)[0] for loss in (ours, theirs)), rtol=1e-6, atol=1e-12)
