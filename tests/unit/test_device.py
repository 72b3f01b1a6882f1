"""Every road on a GPU, without one: what would mix devices there fails here."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import training
from pretended import CPU, CUDA, device_of, pretended_cuda
from segment_networks import MODELS, image_case, saved, volume_case
from training import log_of
from unireason.core.types import Box2D, Box3D
from unireason.data.sources.phantom import generate
from unireason.engine.case import Request
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Question, Reasoner, load
from unireason.engine.sampling import Sampling
from unireason.model import tokens
from unireason.segment.expert import Prompt, make_expert
from unireason.train import grpo, sft


@pytest.fixture
def cuda():
    with pretended_cuda():
        yield


# --- The pretended device itself.


def test_marks_follow_what_is_computed(cuda):
    a = torch.ones(2, 3, device="cuda")
    assert (a.device, a.is_cuda, a[0].device, (a @ a.T).device, a.cpu().device) == (CUDA, True, CUDA, CUDA, CPU)
    assert torch.zeros_like(a).device == a.new_zeros(2).device == torch.tensor([1.0]).to(a).device == CUDA
    assert torch.arange(3, device=a.device).device == CUDA
    layer = torch.nn.Linear(3, 4).to("cuda")
    loss = layer(a).square().sum()
    loss.backward()
    assert layer.weight.grad.device == loss.device == CUDA
    assert (a.sum().item(), a.tolist()) == (6.0, [[1.0] * 3] * 2)
    assert a.to("cpu").numpy().shape == (2, 3)
    assert (a * torch.tensor(2.0)).device == CUDA  # a number may come from the CPU
    assert a[torch.tensor([0])].device == CUDA  # and an index
    a[torch.tensor([0])] = 0.0
    a.copy_(torch.ones(2, 3))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda a: a + torch.ones(2, 3),
        lambda a: a.index_select(0, torch.tensor([0])),
        lambda a: a.masked_fill(torch.ones(2, 3, dtype=torch.bool), 0),
        lambda a: torch.ones(2, 3)[torch.zeros(2, dtype=torch.long, device="cuda")],
        lambda a: torch.nn.functional.embedding(torch.tensor([0]), a),
        lambda a: torch.cat([a, torch.ones(1, 3)]),
        lambda a: torch.nn.functional.scaled_dot_product_attention(a[None], a[None], a[None], attn_mask=torch.zeros(2, 2)),
        lambda a: a.gather(1, torch.zeros(2, 1, dtype=torch.long)),
        lambda a: torch.nn.Linear(3, 4)(a),
        lambda a: a.numpy(),
        lambda a: a.normal_(generator=torch.Generator()),
    ],
)
def test_what_cuda_refuses_is_refused(cuda, mixed):
    with pytest.raises((RuntimeError, TypeError), match=r"device|numpy|indices"):
        mixed(torch.ones(2, 3, device="cuda"))


# --- Roads of the engine.

LIVER = Question("Where does the liver lie?", ("left anterior", "right anterior", "left posterior", "right posterior"))
BOXES = {"volume": [(4, 4, 0, 40, 50, 2), (10, 20, 1, 30, 56, 4)], "image": [(4, 4, 40, 50), (10, 20, 30, 56)]}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_built_in_checkpoint_is_loaded_and_asked(cuda, dtype):
    model = load("phantom", device="cuda", dtype=dtype)
    assert {device_of(p) for p in model.checkpoint.network.parameters()} == {CUDA}
    assert model.checkpoint.device == CUDA
    volume = generate(1, 0).case()
    assert model.ask(volume, LIVER.text, options=LIVER.options).looks
    drawn = model.ask_many(volume, [LIVER] * 2, samples=4, sampling=Sampling(temperature=1.0, top_p=0.9, top_k=20))
    assert [len(samples) for samples in drawn] == [4, 4]


def test_the_same_tokens_as_without_a_gpu():
    volume = generate(1, 0).case()
    found = [load("phantom", device="cpu", dtype="fp32").ask(volume, LIVER.text, options=LIVER.options)]
    with pretended_cuda():
        found.append(load("phantom", device="cuda", dtype="fp32").ask(volume, LIVER.text, options=LIVER.options))
    assert found[0].tokens.response == found[1].tokens.response


def moved_tiny():
    """The tiny checkpoint on the pretended device, of a copy of its weights."""
    made = tiny.checkpoint()
    network = tiny.make_network(made.tokenizer)
    return replace(made, network=network.to("cuda").eval())


@pytest.mark.parametrize("crops", ["model", "native", "published", "none"])
@pytest.mark.parametrize("kinds", [("image",), ("volume",), ("volume",) * 2 + ("image",) * 2])
def test_looks_are_injected(cuda, kinds, crops):
    """Rows of one case and of several at once, with two looks each, and one without a look."""
    made, stacks = moved_tiny(), [tiny.stack(kind, seed=n) for n, kind in enumerate(kinds)]
    plans = [tiny.plan(BOXES[kind] if row else []) for kind in kinds for row in range(2)]
    engine = LocalEngine(made, picker=tiny.Script(*plans))
    requests = []
    for kind, stack in zip(kinds, stacks, strict=True):
        case = engine.encode(stack)
        asked = made.profile.parts(kind, "what?", ["yes", "no"], n_slices=len(stack.slices))
        requests += [Request(case, tokens.prompt_ids(made, asked, case.prepared.grid_thw), crop_source=crops)] * 2
    sessions = engine.generate(requests)
    assert [len(s.looks) for s in sessions] == [0, 0 if crops == "none" else 2] * len(kinds)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(1.0), Sampling(0.7, top_k=5, top_p=0.9, repetition_penalty=1.2, logprobs="processed")]
)
@pytest.mark.parametrize("rows", [1, 8])
def test_tokens_are_drawn(cuda, rows, sampling):
    model = Reasoner(moved_tiny())
    volume = generate(1, 0).case()
    found = model.ask_many(volume, ["what?"], samples=rows, sampling=sampling, max_new_tokens=6)
    assert len(found[0]) == rows


# --- Roads of experts.


@pytest.mark.parametrize("name", list(MODELS))
def test_experts_outline_and_follow(tmp_path, name):
    """The masks of a GPU are those of the CPU, of pictures and through a volume."""
    random = np.random.default_rng(0)
    picture, volume = (
        image_case(random.integers(0, 256, (40, 90), dtype=np.uint8)),
        volume_case(random.normal(40, 100, (5, 30, 50))),
    )
    prompts = [
        Prompt(Box2D(10, 12, 50, 30)),
        Prompt(Box2D(10, 12, 50, 30), ((20.0, 20.0), (30.0, 24.5))),
        Prompt(None, ((20.0, 20.0),)),
    ]
    folder, found = saved(name, tmp_path), []
    for device in ("cpu", "cuda"):
        with pretended_cuda() if device == "cuda" else nullcontext():
            expert = make_expert(name, weights=folder, device=device)
            assert {device_of(p).type for p in expert.network.model.parameters()} == {device}
            masks = [*expert.segment(picture, prompts), *expert.segment(volume, [Prompt(Box3D(5, 5, 1, 30, 25, 4))])]
            found.append([s.mask.tobytes() for s in masks])
    assert found[0] == found[1]


# --- Roads of training.


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"model": {"precision": "bf16"}, "sigma": 1.0},
        {"model": {"train_vision": True, "train_projector": True, "gradient_checkpointing": True}},
        {"model": {"lora": training.LORA, "precision": "bf16"}},
        {"optim": {"optimizer": "muon"}, "cache": {"folder": "off"}},
    ],
)
def test_fine_tuning(cuda, start, phantoms, tmp_path, tables):
    settings = training.changed(
        training.sft(start, phantoms, run={"device": "cuda", "steps": 2, "save_every": 1, "eval_samples": 0}), tables
    )
    sft.train(training.changed(settings, {"run": {"steps": 1}}), tmp_path)
    sft.train(settings, tmp_path)  # goes on from a state
    assert [line["loss"] > 0 for line in log_of(tmp_path)] == [True, True]


@pytest.mark.parametrize(
    "tables",
    [
        {"policy": {"beta": 0.05}},
        {
            "policy": {"beta": 0.05, "importance_sampling_cap": 2.0, "delta": 4.0},
            "model": {"lora": training.LORA, "precision": "bf16"},
        },
        {"policy": {"beta": 0.0}, "model": {"train_vision": True, "train_projector": True, "gradient_checkpointing": True}},
        {"reward": {"evidence": 0.5}, "rollout": {"redraws": 1, "max_success": 0.9, "top_p": 0.9}},
        {"reward": {"mask": 0.5}, "data": {"tasks": ("umrg",)}},
    ],
)
def test_policy_optimisation(cuda, warm, phantoms, tmp_path, tables):
    settings = training.changed(training.grpo(warm, phantoms, run={"device": "cuda", "steps": 1, "eval_samples": 0}), tables)
    grpo.train(settings, tmp_path)
    assert log_of(tmp_path)[0]["responses"] >= 8


def test_training_takes_the_same_steps_as_without_a_gpu(warm, quiz, tmp_path):
    settings = training.sft(warm, quiz, run={"steps": 2, "eval_samples": 2})
    sft.train(settings, tmp_path / "cpu")
    with pretended_cuda():
        sft.train(training.changed(settings, {"run": {"device": "cuda"}}), tmp_path / "cuda")
    logs = [log_of(tmp_path / name) for name in ("cpu", "cuda")]
    assert [line["loss"] for line in logs[0]] == pytest.approx([line["loss"] for line in logs[1]], rel=1e-5)
    assert logs[0][-1]["eval_reward"] == logs[1][-1]["eval_reward"]
