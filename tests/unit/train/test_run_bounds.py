"""What a run keeps to: its limit of tokens, its memory between phases, its own chance, its start as the reference."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import pytest
import torch

import training
from training import LORA, GrpoPhases, log_of
from unireason.core.errors import FormatError
from unireason.engine.local import LocalEngine
from unireason.model import checkpoint
from unireason.rewards.compose import Weights, score
from unireason.train import context as learners
from unireason.train import sft
from unireason.train.cases import Cases
from unireason.train.context import TrainContext
from unireason.train.grpo import backward, train
from unireason.train.log import TrainWatcher
from unireason.train.rollout import looks, truth
from unireason.train.validate import validate, validation_units

STEP = {"steps": 1, "save_every": 1, "eval_samples": 0}
DROPPING = replace(LORA, dropout=0.5)


def torn(monkeypatch) -> None:
    def refuse(self, case):
        raise FormatError("the file is torn", "a whole one")

    monkeypatch.setattr(Cases, "_read", refuse)


def test_a_step_of_policy_optimisation_without_a_readable_case_is_a_counted_skip(warm, quiz, tmp_path, monkeypatch):
    torn(monkeypatch)
    train(training.grpo(warm, quiz, data={"max_unreadable": 1.0}, run=STEP), tmp_path)
    [line] = log_of(tmp_path)
    assert line["responses"] == 0
    assert line["skipped"] > 0
    assert (tmp_path / "checkpoint").is_dir()
    assert not (tmp_path / "best").exists()


def test_responses_that_do_not_fit_go_in_several_trees_and_change_nothing(warm, quiz, tmp_path):
    settings = training.grpo(warm, quiz, run=STEP, policy={"beta": 0.0, "num_minibatches": 1}, rollout={"num_generations": 6})
    run = GrpoPhases(settings, tmp_path)
    groups = run.rollouts()
    run.score(groups)
    for group in groups:
        group.advantage = [1.0, -1.0, 0.5] * 2
    longest = max(len(g.rolled[0].session.prompt) + 2 * len(r.session.response) for g in groups for r in g.rolled)
    tight = copy(run)
    tight.settings = training.changed(settings, {"run": {"max_tokens_per_microbatch": longest}})
    found = []
    with run.context.training_mode():
        for phases in (run, tight):
            batches = phases.batches(groups)
            loss, measured = backward(run.context, settings, batches, 100.0, run.head)
            grads = {n: p.grad.clone() for n, p in run.context.trained.items()}
            run.context.policy.zero_grad()
            found.append((batches, loss, measured.tokens, grads))
    (whole, loss, tokens, grads), (parts, same, kept, again) = found
    assert max(b.packed.layout.length for b in whole) > longest
    assert max(b.packed.layout.length for b in parts) <= longest
    assert same == pytest.approx(loss, abs=1e-5)
    assert kept == tokens
    for name, grad in grads.items():
        torch.testing.assert_close(again[name], grad, atol=2e-5, rtol=1e-4)


def test_caches_of_prompts_do_not_outlive_their_rollouts(warm, quiz, tmp_path, monkeypatch):
    cases, generate = [], LocalEngine.generate

    def noted(self, requests, *args, **kwargs):
        assert all(case.prefix is None for case in cases)  # one case at a time
        cases.extend(r.case for r in requests)
        return generate(self, requests, *args, **kwargs)

    monkeypatch.setattr(LocalEngine, "generate", noted)
    run = GrpoPhases(training.grpo(warm, quiz, run=STEP, rollout={"prompts_per_step": 4}), tmp_path)
    groups = run.rollouts()
    assert len({id(case) for case in cases}) > 1
    assert all(case.prefix is None and case.features is None for case in cases)
    assert [len(group.rolled) for group in groups] == [4] * 4
    assert all(r.asked is group.rolled[0].asked for group in groups for r in group.rolled)


def test_the_reference_beside_adapters_and_a_learning_projector_is_the_start(warm, quiz, tmp_path):
    model = {"lora": LORA, "train_projector": True}
    settings = training.grpo(warm, quiz, model=model, run=STEP, policy={"beta": 0.1}, optim={"lr": 1e-2})
    run = GrpoPhases(settings, tmp_path)
    groups = run.rollouts()
    run.score(groups)
    for group in groups:
        group.advantage = [1.0, -1.0, 1.0, -1.0]
    with run.context.training_mode():
        [batch, *_] = run.batches(groups)
        with torch.no_grad():
            before = run.context.measure_reference(batch.packed, run.head)
        run.update(groups)
        with torch.no_grad():
            after = run.context.measure_reference(batch.packed, run.head)
            policy = run.context.measure(batch.packed, run.head)
    assert torch.equal(before, after)
    assert (policy - before).abs().max() > 1e-3


def test_what_learns_beside_adapters_over_half_weights_is_in_full_precision(warm, quiz, tmp_path, monkeypatch):
    monkeypatch.setattr(learners, "load", lambda *args, **how: checkpoint.load(*args, **{**how, "dtype": "bf16"}))
    model = {"lora": LORA, "train_projector": True, "precision": "bf16"}
    settings = training.sft(warm, quiz, model=model, run={"steps": 1, "eval_samples": 2})
    context = TrainContext(settings, tmp_path / "looked at", TrainWatcher())
    assert {p.dtype for p in context.trained.values()} == {torch.float32}
    assert context.checkpoint.dtype == torch.bfloat16
    sft.train(settings, tmp_path)
    assert "eval_accuracy" in log_of(tmp_path)[-1]


def test_dropout_follows_from_seed_and_step_and_spares_examinations(warm, quiz, tmp_path):
    run = {"steps": 2, "save_every": 1, "eval_samples": 4}
    long = training.sft(warm, quiz, model={"lora": DROPPING}, optim={"schedule": "constant"}, run=run)
    first = replace(long, run=replace(long.run, steps=1))
    sft.train(long, tmp_path / "long")
    sft.train(first, tmp_path / "parts")
    torch.manual_seed(99)  # another process has another state of chance
    sft.train(long, tmp_path / "parts")
    weights = [(tmp_path / name / "checkpoint" / "model.safetensors").read_bytes() for name in ("long", "parts")]
    assert weights[0] == weights[1]
    context = TrainContext(long, tmp_path / "long", TrainWatcher())
    how = context, validation_units(context), sft.loss_head(context, long.sigma)
    with context.training_mode():
        assert sft.evaluate(*how) == sft.evaluate(*how)
        assert context.policy.training
    with pytest.raises(FormatError, match=r"model\.lora\.dropout"):
        training.grpo(warm, quiz, model={"lora": DROPPING})


def test_a_question_answered_without_looking_is_not_examined_for_looks(warm, quiz, tmp_path, monkeypatch):
    run = GrpoPhases(training.grpo(warm, quiz, run={**STEP, "eval_samples": 4}), tmp_path)
    units = validation_units(run.context)
    told = validate(run.context, units)
    samples = [a.sample for unit in units for a in run.context.questions(unit)]
    assert all(looks(sample) for sample in samples)
    assert not looks(replace(samples[0], reasoning=("It is so.",)))
    seen = []
    monkeypatch.setattr("unireason.train.validate.looks", lambda sample: seen.append(sample.id) or False)
    again = validate(run.context, units)
    assert sorted(seen) == sorted(sample.id for sample in samples)
    assert again["eval_reward"] >= told["eval_reward"]
    [group, *_] = run.rollouts()
    trace, gold = group.rolled[0].trace, truth(group.rolled[0].asked.sample)
    assert score(trace, gold, Weights(), grounded=False).reward >= score(trace, gold, Weights()).reward


def test_sampler_and_policy_agree_at_every_temperature_and_differ_behind_a_nucleus(warm, quiz, tmp_path):
    """What the sampler records is of the distribution it drew from; importance weights are 1 there, and below 1 behind a nucleus."""
    for name, rollout in {"one": {}, "cold": {"temperature": 0.7}, "nucleus": {"top_p": 0.8}}.items():
        train(training.grpo(warm, quiz, run=STEP, rollout=rollout, policy={"importance_sampling_cap": 2.0}), tmp_path / name)
        [line] = log_of(tmp_path / name)
        assert ("sampler_gap" in line) == (name != "nucleus")
        if name == "nucleus":
            assert line["sampling_weight"] < 0.999
        else:
            assert line["sampler_gap"] < 2e-5
            assert line["sampling_weight"] == pytest.approx(1, abs=1e-4)
        assert line["sampling_capped"] == 0
    train(training.grpo(warm, quiz, run=STEP), tmp_path / "off")
    assert "sampling_weight" not in log_of(tmp_path / "off")[0]


@pytest.mark.parametrize("must_show", [True, False])
def test_validation_pays_looks_as_the_run_does(warm, quiz, tmp_path, monkeypatch, must_show):
    run = GrpoPhases(training.grpo(warm, quiz, run={**STEP, "eval_samples": 2}, reward={"must_show": must_show}), tmp_path)
    seen = []
    monkeypatch.setattr("unireason.train.validate.score", lambda *a, **k: seen.append(a[2]) or score(*a, **k))
    validate(run.context, validation_units(run.context))
    assert [weights.must_show for weights in seen] == [must_show] * 2
