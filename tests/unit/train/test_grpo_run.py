"""Whole optimisation runs of a tiny model: the reward rises, every term means what it says, and a run can be stopped."""

from __future__ import annotations

import json
import math
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
import training
from training import LORA, GrpoPhases, log_of
from unireason.core.errors import FormatError, ModelError, UniReasonError
from unireason.data.frames import structure_mask
from unireason.engine import reasoner
from unireason.engine.sampling import forbidden_ids
from unireason.grounding import answer as umrg
from unireason.metrics.boxes import box_iou
from unireason.model import vision
from unireason.rewards.compose import score
from unireason.segment import expert as catalogue
from unireason.segment.expert import Segmentation
from unireason.train import grpo, run_state
from unireason.train.cases import Cases, PictureShelf
from unireason.train.groups import RolloutGroup, rollout_values
from unireason.train.grpo import train
from unireason.train.log import TrainWatcher
from unireason.train.policy import Encoder
from unireason.train.rollout import Roller, seeds, truth
from unireason.train.sampler import DifficultyWindow

STEP = {"steps": 1, "save_every": 1, "eval_samples": 0}


class Told(TrainWatcher):
    """Remembers what it was told, and may stop the run behind a step."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.steps, self.shown, self.skips = stop, list[int](), {}, list[str]()

    def step(self, stage, step, total, values):
        self.steps.append(step)
        if step == self.stop:
            raise KeyboardInterrupt

    def skipped(self, case, reason):
        self.skips.append(case)

    def traces(self, step, scored):
        self.shown[step] = scored


def raw(run: Path, name: str = "checkpoint") -> bytes:
    return (run / name / "model.safetensors").read_bytes()


def rolled(run: GrpoPhases) -> list[RolloutGroup]:
    return run.score(run.rollouts())


def present(run: GrpoPhases) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.context.checkpoint.network.named_parameters()}


def moved(run: GrpoPhases, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(p, before[name]) for name, p in run.context.checkpoint.network.named_parameters())


def test_the_reward_of_a_few_questions_gets_near_one(warm, quiz, tmp_path):
    """Forty steps on four questions: from chance to a mean reward above 0.9, still looking."""
    settings = training.grpo(
        warm,
        quiz,
        optim={"lr": 7e-4, "betas": (0.9, 0.95)},
        policy={"beta": 0.0},
        rollout={"prompts_per_step": 4, "num_generations": 8, "max_new_tokens": 40},
        run={"steps": 40, "save_every": 100, "eval_every": 20, "eval_samples": 4},
        traces_every=20,
    )
    told = Told()
    assert train(settings, tmp_path, told) == tmp_path / "checkpoint"
    lines = log_of(tmp_path)
    rewards = [line["reward"] for line in lines]
    assert sum(rewards[:3]) / 3 < 0.75
    assert sum(rewards[-5:]) / 5 > 0.9
    assert min(line["crop_rate"] for line in lines) > 0.8
    assert all(line["responses"] == 32 and line["padding"] < 0.1 and line["sampler_gap"] < 0.01 for line in lines)
    logged = {
        "accuracy_2d",
        "accuracy_3d",
        "crops_a_sample",
        "invalid_boxes",
        "box_area",
        "clipped_ratio",
        "frac_reward_zero_std",
    }
    logged |= {"reward_answer", "reward_format", "response_tokens", "entropy", "kl", "clip_ratio_low", "ratio_max"}
    assert logged <= lines[0].keys()
    assert [line["step"] for line in lines if "eval_reward" in line] == [20, 40]
    assert {"eval_accuracy", "eval_crop_rate", "eval_box_iou"} <= lines[-1].keys()
    assert json.loads((tmp_path / "best.json").read_text())["score"] == max(line.get("eval_reward", 0) for line in lines)
    assert sorted(told.shown) == [1, 20, 40]
    assert len(told.shown[1]) == 16  # two groups
    assert {(s.pictures.ndim, len(s.pictures)) for s in told.shown[1]} <= {(3, 1), (3, 16)}
    assert [s.reward for s in told.shown[1]] == pytest.approx([sum(s.parts.values()) for s in told.shown[1]])
    for name in ("checkpoint", "best"):
        model = reasoner.load(tmp_path / name, device="cpu", dtype="fp32")
        assert model.checkpoint.profile.name == "phantom"


@pytest.mark.parametrize(
    "tables",
    [
        {"policy": {"beta": 0.05}},
        {"model": {"lora": LORA}, "policy": {"beta": 0.05}},
        {
            "model": {"train_vision": True, "train_projector": True, "gradient_checkpointing": True},
            "policy": {"beta": 0.0, "scale_rewards": "none"},
        },
        {"policy": {"loss_type": "grpo", "num_iterations": 2, "num_minibatches": 1}},
        {
            "policy": {"importance_sampling_cap": 2.0, "delta": 4.0, "use_bias_correction_kl": True, "beta": 0.05},
            "rollout": {"temperature": 0.8, "top_p": 0.95},
        },
        {
            "rollout": {"redraws": 2, "min_success": 0.1, "max_success": 0.6, "skips_at_most": 1},
            "data": {"tasks": ("umrg", "choice")},
        },
        {"policy": {"loss_type": "dr_grpo"}, "data": {"tasks": ("umrg", "choice")}, "run": {"eval_samples": 0}},
        {"model": {"precision": "bf16"}},
    ],
)
def test_a_stopped_run_goes_on_to_the_same_weights(warm, phantoms, tmp_path, tables):
    settings = training.changed(training.grpo(warm, phantoms, run={"steps": 3, "save_every": 1, "eval_every": 2}), tables)
    train(settings, tmp_path / "whole")
    for stop in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "stopped", Told(stop))
    train(settings, tmp_path / "stopped")
    assert raw(tmp_path / "whole") == raw(tmp_path / "stopped")
    assert raw(tmp_path / "whole", "best") == raw(tmp_path / "stopped", "best")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "stopped")
    before, after = load_file(warm / "model.safetensors"), load_file(tmp_path / "whole" / "checkpoint" / "model.safetensors")
    learned = {name for name in before if not torch.equal(before[name], after[name])}
    model = settings.model
    assert any(name.startswith("visual.") for name in learned) == model.train_vision
    assert (tmp_path / "whole" / "checkpoint-adapter").is_dir() == bool(model.lora.rank)
    if model.lora.rank:
        assert {name.split(".")[-2] for name in learned} <= set(LORA.targets)


def test_changed_settings_are_named(warm, quiz, tmp_path):
    settings = training.grpo(warm, quiz, run=STEP)
    train(settings, tmp_path)
    with pytest.raises(FormatError, match=r"other settings \(policy\.beta\)"):
        train(training.changed(settings, {"policy": {"beta": 0.02}}), tmp_path)
    train(training.changed(settings, {"run": {"save_every": 7}, "traces_every": 3}), tmp_path)


def test_another_wording_of_implicit_questions_is_another_run(warm, phantoms, tmp_path):
    words = tmp_path / "grounding.toml"
    words.write_text('name = "mine"\nsystem_2d = "Mark it."\nmax_rounds = 0\n')
    settings = training.grpo(warm, phantoms, run=STEP, model={"grounding": str(words)}, data={"tasks": ("umrg",)})
    train(settings, tmp_path / "run")
    words.write_text('name = "mine"\nsystem_2d = "Mark the place."\nmax_rounds = 0\n')
    with pytest.raises(UniReasonError, match="grounding"):
        train(settings, tmp_path / "run")


def test_log_probabilities_of_the_sampler_are_those_of_the_update(warm, quiz, tmp_path):
    """Every sampled token, by one plain forward pass of the library for each response, and the loss from them by hand."""
    policy = {"beta": 0.0, "num_minibatches": 1}
    settings = training.grpo(
        warm, quiz, model={"train_vision": True}, run=STEP, policy=policy, rollout={"prompts_per_step": 4, "max_new_tokens": 40}
    )
    run = GrpoPhases(settings, tmp_path)
    groups, checkpoint = rolled(run), run.context.checkpoint
    for group, values in zip(groups, ((1.0, 1.0, 0.5, -0.5), (0.0,) * 4, (2.0, 0.0, 1.0, -1.0), (0.0,) * 4), strict=True):
        group.advantage = list(values)
    forbidden, total, tokens = forbidden_ids(checkpoint), 0.0, 0
    with torch.no_grad():
        for one, advantage in ((r, a) for g in groups for r, a in zip(g.rolled, g.advantage, strict=True)):
            session = one.session
            ids = torch.tensor([[*session.prompt, *session.response]])
            prepared = vision.prepare(checkpoint, [*one.asked.pictures, *(c.pixels for c in session.crops)])
            logits = checkpoint.network(
                input_ids=ids,
                pixel_values=prepared.pixel_values,
                image_grid_thw=torch.tensor(prepared.grid_thw),
                mm_token_type_ids=(ids == checkpoint.ids.image_pad).int(),
            ).logits[0]
            table = torch.log_softmax(logits.masked_fill(forbidden, -math.inf), -1)
            for place, (token, sampled, logp) in enumerate(zip(session.response, session.sampled, session.logprobs, strict=True)):
                if sampled:
                    found = float(table[len(session.prompt) + place - 1, token])
                    assert found == pytest.approx(logp, abs=2e-4)
                    total, tokens = total + advantage, tokens + 1
    told = run.update(groups)
    assert told["sampler_gap"] < 2e-5
    # Before the step every ratio is 1, so the loss is the mean advantage over all sampled tokens, those of idle groups included.
    assert told["loss"] == pytest.approx(-total / tokens, abs=1e-5)
    assert told["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert told["tokens"] > 0


def test_groups_without_advantage_do_not_move_the_policy(warm, quiz, tmp_path):
    run = GrpoPhases(training.grpo(warm, quiz, run=STEP, policy={"beta": 0.0}, optim={"weight_decay": 0.1}), tmp_path)
    groups = rolled(run)
    for group in groups:
        group.advantage = [0.0] * 4
    before = present(run)
    told = run.update(groups)
    assert (told["loss"], told["tokens"], told["padding"]) == (0.0, 0.0, 0.0)
    assert "grad_norm" not in told
    assert not moved(run, before)


def test_with_a_divergence_idle_groups_still_count(warm, quiz, tmp_path):
    run = GrpoPhases(training.grpo(warm, quiz, run=STEP, policy={"beta": 0.5, "num_minibatches": 1}), tmp_path)
    assert run.context.reference is not None
    groups = rolled(run)
    for group in groups:
        group.advantage = [0.0] * 4
    told = run.update(groups)
    assert told["kl"] == pytest.approx(0.0, abs=1e-7)
    table = run.context.checkpoint.network.lm_head.weight
    with torch.no_grad():
        table.add_(0.3 * torch.randn(table.shape, generator=torch.Generator().manual_seed(0)))
    before = present(run)
    told = run.update(groups)
    assert told["kl"] > 1e-3
    assert told["loss"] == pytest.approx(0.5 * told["kl"], rel=1e-4)
    assert moved(run, before)


@pytest.mark.parametrize("lora", [False, True])
def test_the_reference_is_the_start(warm, quiz, tmp_path, lora):
    """Whatever the policy learns: log-probabilities of the reference stay what they were; without divergence there is none."""
    model = {"lora": LORA} if lora else {}
    settings = training.grpo(warm, quiz, model=model, run=STEP, policy={"beta": 0.1}, optim={"lr": 1e-2})
    run = GrpoPhases(settings, tmp_path / "with")
    assert (run.context.reference is None) == lora
    groups = rolled(run)
    for group in groups:
        group.advantage = [1.0, -1.0, 1.0, -1.0]
    with run.context.training_mode():
        [batch, *_] = run.batches(groups)
        measure = run.context.measure, run.context.measure_reference
        with torch.no_grad():
            policy, reference = (m(batch.packed, run.head)[:, 0] for m in measure)
        torch.testing.assert_close(policy, reference, atol=1e-5, rtol=0)
        run.update(groups)
        with torch.no_grad():
            after, same = (m(batch.packed, run.head)[:, 0] for m in measure)
    assert (after - policy).abs().max() > 1e-3
    assert torch.equal(same, reference)
    without = GrpoPhases(replace(settings, policy=replace(settings.policy, beta=0.0)), tmp_path / "without")
    assert without.context.reference is None
    assert all(b.ref_logp is None for b in without.batches(groups))


def test_responses_that_were_cut_off_can_be_left_out(warm, quiz, tmp_path):
    rollout = {"prompts_per_step": 4, "num_generations": 8, "max_new_tokens": 60}
    settings = training.grpo(warm, quiz, run=STEP, policy={"beta": 0.0, "num_minibatches": 1}, rollout=rollout)
    longest = max(sum(r.session.sampled) for g in rolled(GrpoPhases(settings, tmp_path / "whole")) for r in g.rolled)
    settings = training.changed(settings, {"rollout": {"max_new_tokens": longest - 1}})
    run = GrpoPhases(settings, tmp_path / "score")
    masking = copy(run)
    masking.settings = training.changed(settings, {"policy": {"mask_truncated_completions": True}})
    groups = rolled(run)
    for group in groups:
        group.advantage = [1.0, -1.0] * 4
    cut = [r.session.finish in ("token_budget", "context") for g in groups for r in g.rolled]
    assert 0 < sum(cut) < len(cut)
    sampled = [sum(r.session.sampled) for g in groups for r in g.rolled]
    whole, masked = (u.batches(groups) for u in (run, masking))
    assert sorted(int(n) for b in whole for n in b.counts) == sorted(sampled)
    left = [0 if lost else n for lost, n in zip(cut, sampled, strict=True)]
    assert sorted(int(n) for b in masked for n in b.counts) == sorted(left)
    assert sum(len(b.packed.targets) for b in masked) == sum(left) == sum(len(b.sampled_logp) for b in masked)
    told = masking.update(groups)
    assert math.isfinite(told["loss"])


def test_nothing_is_learned_when_all_responses_are_cut_off_and_left_out(warm, quiz, tmp_path):
    settings = training.grpo(warm, quiz, run=STEP, policy={"mask_truncated_completions": True}, rollout={"max_new_tokens": 3})
    run = GrpoPhases(settings, tmp_path)
    groups, before = rolled(run), present(run)
    for group in groups:
        group.advantage = [1.0, -1.0, 1.0, -1.0]
    told = run.update(groups)
    assert told["loss"] == 0.0
    assert not moved(run, before)


def test_the_evidence_term_raises_right_answers_that_fail_elsewhere(warm, quiz, tmp_path, monkeypatch):
    weights = {"evidence": 0.5}
    run = GrpoPhases(
        training.grpo(
            warm, quiz, run=STEP, reward=weights, rollout={"prompts_per_step": 4, "num_generations": 8, "max_new_tokens": 40}
        ),
        tmp_path,
    )
    groups = run.rollouts()
    plain = [[score(r.trace, truth(r.asked.sample)).reward for r in g.rolled] for g in groups]
    again, pairs = Roller.again, []

    def watched(self, chosen, regions):
        others = again(self, chosen, regions)
        for number, (one, other) in enumerate(zip(chosen, others, strict=True)):
            # Half of the repeated questions are made to fail.
            wrong = replace(other.trace, steps=()) if number % 2 else one.trace
            others[number] = replace(other, trace=wrong)
            pairs.append((one, other))
        return others

    monkeypatch.setattr(Roller, "again", watched)
    run.score(groups)
    expected = {id(one): 0.5 * (number % 2) for number, (one, _) in enumerate(pairs)}
    for group, rewards in zip(groups, plain, strict=True):
        for one, scores, reward in zip(group.rolled, group.scores, rewards, strict=True):
            chosen = scores.right and scores.measures.looked
            assert chosen == (id(one) in expected)
            assert scores.reward == pytest.approx(reward + expected.get(id(one), 0.0))
    assert len(pairs) > 3
    for one, other in pairs:
        first = one.session.sampled.index(False)
        assert other.session.prompt == one.session.prompt
        assert other.session.response[:first] == one.session.response[:first]
        assert other.session.looks[0].box == one.session.looks[0].box
        seen, shown = (r.session.looks[0].crops for r in (one, other))
        assert [c.pixels.shape for c in seen] == [c.pixels.shape for c in shown]
        assert [c.box_model for c in seen] != [c.box_model for c in shown] or seen[0].slice_index != shown[0].slice_index


class Filler:
    """An expert that takes the whole box; it remembers the cases it was shown."""

    name = "filler"

    def __init__(self) -> None:
        self.cases = set()

    def segment(self, case, prompts):
        self.cases.add(id(case))
        made = []
        for prompt in prompts:
            x1, y1, x2, y2 = (round(v) for v in prompt.box.coords)
            mask = np.zeros(case.geometry.shape, bool)
            mask[y1:y2, x1:x2] = True
            made.append(Segmentation(mask, 1.0))
        return made


def test_the_mask_of_a_frozen_expert_is_a_reward(warm, phantoms, tmp_path, monkeypatch):
    expert = Filler()
    monkeypatch.setattr(catalogue, "make_expert", lambda name, *, weights: {("filler", "w"): expert}[name, weights])
    outline = {"expert": "filler", "weights": "w"}
    settings = training.grpo(warm, phantoms, run=STEP, reward={"mask": 1.0}, mask_expert=outline, data={"tasks": ("umrg",)})
    run = GrpoPhases(settings, tmp_path)
    [group, other] = run.rollouts()
    sample, loaded = group.rolled[0].asked.sample, run.context.cases.loaded(group.rolled[0].asked.case)
    true = structure_mask(loaded, sample.category)
    ys, xs = np.nonzero(true)
    wide, high = (f / n for f, n in zip((112, 112), reversed(true.shape), strict=True))
    tight = (xs.min() * wide, ys.min() * high, (xs.max() + 1) * wide, (ys.max() + 1) * high)
    answer = '<think>x</think><answer>{"bbox": [%s], "points_1": [1, 1], "points_2": [2, 2]}</answer>'
    texts = [answer % ", ".join(map(str, tight)), answer % "0, 0, 112, 112", answer % "5, 5, 5, 9", "<think>x</think>"]
    rolled = [replace(r, trace=replace(r.trace, raw_text=text)) for r, text in zip(group.rolled, texts, strict=True)]
    run.score([RolloutGroup(rolled), other])
    filled = true.sum()
    half = 2 * filled / (filled + (xs.max() + 1 - xs.min()) * (ys.max() + 1 - ys.min()))
    scored = RolloutGroup(rolled)
    run.score([scored])
    assert scored.rewards == pytest.approx([half, 2 * filled / (filled + true.size), 0, 0])
    assert [s.terms["mask"] for s in scored.scores] == scored.rewards
    assert rollout_values([scored], run.context.crew)["answer_iou"] == pytest.approx(
        np.mean([box_iou(umrg.read(t).box, sample.box) if n < 2 else 0 for n, t in enumerate(texts)])
    )
    assert len(expert.cases) <= 2


def test_mini_batches_do_not_depend_on_the_number_of_processes(warm, quiz, tmp_path, monkeypatch):
    """Two processes together ask the questions of one, and put each into the same mini-batch."""
    run = GrpoPhases(
        training.grpo(warm, quiz, run=STEP, rollout={"prompts_per_step": 4, "max_new_tokens": 4}, policy={"num_minibatches": 2}),
        tmp_path,
    )
    found = {}
    for world in (1, 2, 3):
        run.context.crew.world = world
        found[world] = []
        for rank in range(world):
            run.context.crew.rank = rank
            found[world] += [
                (g.part, g.rolled[0].asked.sample.id, [r.session.response for r in g.rolled]) for g in run.rollouts()
            ]
    assert sorted(found[1]) == sorted(found[2]) == sorted(found[3])
    assert [part for part, *_ in found[1]] == [0, 1, 0, 1]


def test_an_unreadable_case_is_left_out_and_counted(warm, quiz, tmp_path, monkeypatch):
    names, read = sorted({s.case for s in quiz.samples("train")}), Cases._read

    def torn(self, case):
        if case.id == names[0]:
            raise FormatError("the file is torn", "a whole one")
        return read(self, case)

    monkeypatch.setattr(Cases, "_read", torn)
    told = Told()
    settings = training.grpo(warm, quiz, data={"max_unreadable": 0.9}, run=STEP, rollout={"prompts_per_step": 4})
    train(settings, tmp_path, told)
    lost = sum(s.case == names[0] for s in quiz.samples("train"))
    assert told.skips == [names[0]]
    assert [(line["skipped"], line["responses"]) for line in log_of(tmp_path)] == [(1, 4 * (4 - lost))]


def test_no_group_of_a_step_repeats_another(warm, quiz, tmp_path):
    """A step that holds every question twice; two processes draw what one draws."""
    settings = training.grpo(warm, quiz, run=STEP, rollout={"prompts_per_step": 8, "num_generations": 2, "max_new_tokens": 4})
    run = GrpoPhases(settings, tmp_path)
    found = {}
    for world in (1, 2):
        run.context.crew.world, found[world] = world, []
        for rank in range(world):
            run.context.crew.rank = rank
            found[world] += [(g.rolled[0].asked.sample.id, *(r.seed for r in g.rolled)) for g in run.rollouts()]
    assert sorted(found[1]) == sorted(found[2])
    assert len({name for name, *_ in found[1]}) == 4
    assert len({seed for _, *own in found[1] for seed in own}) == 16


def test_seeds_of_a_step():
    drawn = seeds(0, 1, ["a", "b", "a", "a"], 16)
    assert len({seed for group in drawn for seed in group}) == 64
    assert seeds(0, 1, ["a", "a", "b", "a"], 16) == [drawn[0], drawn[2], drawn[1], drawn[3]]
    assert seeds(0, 1, ["a"], 16) == drawn[:1]
    assert not {*seeds(0, 2, ["a"], 16)[0]} & {*drawn[0]}
    assert len({group[0] for group in seeds(0, 1, ["a", "a\x01", "a", "a\x01"], 1)}) == 4
    assert len({seeds(0, 1, ["a"], 1, draw)[0][0] for draw in range(4)}) == 4
    assert seeds(0, 1, ["a"], 1, 0) == seeds(0, 1, ["a"], 1)


@pytest.mark.parametrize(
    "fault", [FormatError("the file is torn", "a whole one"), OSError("input/output"), EOFError("cut short")]
)
def test_a_mask_that_cannot_be_read_is_left_out_and_counted(warm, phantoms, tmp_path, monkeypatch, fault):
    """Pictures of all cases can be read; ``data.max_unreadable`` allows for what cannot."""
    monkeypatch.setattr(catalogue, "make_expert", lambda name, *, weights: Filler())
    settings = training.grpo(
        warm,
        phantoms,
        run=STEP,
        reward={"mask": 1.0},
        rollout={"prompts_per_step": 4},
        data={"tasks": ("umrg",), "max_unreadable": 0.9},
    )
    names = {g.rolled[0].asked.case.id for g in GrpoPhases(settings, tmp_path / "all").rollouts(1)}
    lost, load = min(names), PictureShelf.loaded

    def torn(self, place):
        if place.case == lost:
            raise fault
        return load(self, place)

    monkeypatch.setattr(PictureShelf, "loaded", torn)
    told = Told()
    train(settings, tmp_path / "run", told)
    [line] = log_of(tmp_path / "run")
    assert told.skips == [lost]
    assert line["skipped"] == 1
    assert 0 < line["responses"] < 16
    with pytest.raises(UniReasonError, match=r"unreadable cases: 1.*data\.max_unreadable"):
        train(training.changed(settings, {"data": {"max_unreadable": 0.0}}), tmp_path / "strict")


def test_a_mask_that_lost_what_is_asked_about_is_no_truth(warm, phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "make_expert", lambda name, *, weights: Filler())
    load = PictureShelf.loaded

    def emptied(self, place):
        found = load(self, place)
        return replace(found, layers=tuple(replace(layer, labels=layer.labels * 0) for layer in found.layers))

    monkeypatch.setattr(PictureShelf, "loaded", emptied)
    told = Told()
    settings = training.grpo(warm, phantoms, run=STEP, reward={"mask": 0.5}, data={"tasks": ("umrg",), "max_unreadable": 1.0})
    train(settings, tmp_path, told)
    assert told.skips
    assert [line["responses"] for line in log_of(tmp_path)] == [0]


def test_logits_that_are_not_finite_end_the_rollouts(warm, quiz, tmp_path):
    run = GrpoPhases(training.grpo(warm, quiz, run=STEP), tmp_path)
    with torch.no_grad():
        run.context.checkpoint.network.lm_head.weight[5, 5] = math.nan
    with pytest.raises(ModelError, match="finite"):
        run.rollouts()


def test_a_number_that_is_not_finite_ends_the_run_and_spares_the_last_state(warm, quiz, tmp_path, monkeypatch):
    settings = training.grpo(warm, quiz, run={"steps": 3, "save_every": 1, "eval_samples": 0})
    train(settings, tmp_path / "whole")
    sample_groups = grpo.sample_groups

    def poisoned(context, settings, units, step, draw):
        groups = sample_groups(context, settings, units, step, draw)
        if step == 2:
            with torch.no_grad():
                context.checkpoint.network.lm_head.weight[5, 5] = math.nan
        return groups

    with monkeypatch.context() as patch:
        patch.setattr(grpo, "sample_groups", poisoned)
        with pytest.raises(UniReasonError, match="a finite number"):
            train(settings, tmp_path / "hurt")
    last = run_state.latest(tmp_path / "hurt" / "state")
    assert last is not None
    assert last.name == "step-0000001"
    assert not (tmp_path / "hurt" / "checkpoint").exists()
    train(settings, tmp_path / "hurt")
    assert raw(tmp_path / "hurt") == raw(tmp_path / "whole")


def with_rewards(monkeypatch, rewards):
    """Scores that follow a table in place of the responses: question -> what its responses earn in turn."""
    score_groups = grpo.score_groups

    def scored(*args):
        groups = score_groups(*args)
        for group in groups:
            values = rewards(group.rolled[0].asked.sample.id)
            parts = [{"answer": value} for value in values]
            group.scores = [replace(s, terms={"answer": v["answer"]}, parts=v) for s, v in zip(group.scores, parts, strict=True)]
        return groups

    monkeypatch.setattr(grpo, "score_groups", scored)


def test_groups_that_teach_nothing_are_drawn_again_in_bounded_draws(warm, phantoms, tmp_path, monkeypatch):
    """Half of the questions are solved; what is drawn in their place takes over their mini-batch."""
    settings = training.grpo(warm, phantoms, run=STEP, rollout={"prompts_per_step": 8, "num_generations": 2, "max_new_tokens": 4})
    solved = lambda name: sum(name.encode()) % 2  # noqa: E731
    with_rewards(monkeypatch, lambda name: (1.0, 1.0) if solved(name) else (1.0, 0.0))
    for most, left in ((0, None), (1, None), (6, 0)):
        run = GrpoPhases(training.changed(settings, {"rollout": {"redraws": most}}), tmp_path / str(most))
        window = DifficultyWindow(run.settings.rollout, {})
        groups, values = grpo.draw_groups(run.context, run.settings, run.plan, window, 1)
        idle = [group.idle for group in groups]
        first = [name for unit in run.plan.step(0) for name in unit.samples]
        assert len(groups) == 8
        assert sorted(group.part for group in groups) == [0] * 4 + [1] * 4
        assert 0 < sum(map(solved, first)) < 8
        assert sum(idle) == (sum(map(solved, first)) if most == 0 else left if left is not None else sum(idle))
        if most:
            assert values["questions_used"] == 8 - sum(idle)
            assert values["questions_drawn"] * 2 == values["responses"]  # what is logged is of all that were drawn
            assert 1 < values["draws"] <= 1 + most
            kept = [g.rolled[0].asked.sample.id for g in groups if not g.idle]
            assert set(first) - set(filter(solved, first)) <= set(kept)
            assert sum(idle) < sum(map(solved, first))
        else:
            assert "draws" not in values


def test_questions_outside_the_window_are_skipped_and_the_state_remembers(warm, quiz, tmp_path, monkeypatch):
    """Four questions, one of them always solved and one never: after the first step two are left, twice; then all are asked again."""
    names = sorted(s.id for s in quiz.samples("train"))
    rates = dict(zip(names, ((1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), strict=True))
    with_rewards(monkeypatch, rates.__getitem__)
    rollout = {
        "prompts_per_step": 4,
        "num_generations": 2,
        "max_new_tokens": 4,
        "min_success": 0.1,
        "max_success": 0.9,
        "skips_at_most": 2,
    }
    settings = training.grpo(warm, quiz, run={"steps": 4, "save_every": 1, "eval_samples": 0}, rollout=rollout)
    train(settings, tmp_path / "whole")
    assert [line["responses"] for line in log_of(tmp_path / "whole")] == [8, 4, 4, 8]
    assert [line["questions_skipped"] for line in log_of(tmp_path / "whole")] == [0, 2, 2, 0]
    for stop in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "stopped", Told(stop))
    train(settings, tmp_path / "stopped")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "stopped")
    assert raw(tmp_path / "whole") == raw(tmp_path / "stopped")
    state = json.loads((tmp_path / "whole" / "state" / "step-0000004" / "meta.json").read_text())
    assert state["questions"] == {name: [sum(pair) / 2, 0] for name, pair in rates.items()}


def test_what_is_learned_are_the_ids_that_were_sampled():
    """A profile that reads text anew asks so at inference alone."""
    made = replace(tiny.checkpoint(), profile=replace(tiny.PROFILE, reread=True, rounds="generations", end_of_text=False))
    roller = Roller(made, Encoder(made), None, rows=1)
    asked = SimpleNamespace(sample=SimpleNamespace(task="vqa"), case=SimpleNamespace(kind="image"))
    profile = roller.profile(asked)
    assert (profile.reread, profile.end_of_text) == (False, False)
    assert roller.budget(asked).max_looks == tiny.PROFILE.max_rounds - 1
