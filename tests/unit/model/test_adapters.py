"""Adapters change nothing at first, learn alone, can be switched off, kept, and merged."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from unireason.core.errors import ModelError
from unireason.model import adapters

TARGETS = ("q_proj", "v_proj", "gate_proj", "down_proj")
OLD_NAME = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's own call
IDS = torch.tensor([[65, 66, 67, 68, 69, 70]])


@pytest.fixture
def network():
    return tiny.make_network(tiny.make_tokenizer())


def attach(network, *, rank=2, alpha=8.0, dropout=0.0, targets=TARGETS, seed=5):
    adapters.attach(network, rank=rank, alpha=alpha, dropout=dropout, targets=targets, seed=seed)


def train(network, seed=1):
    """Random values in place of a training: both matrices of every adapter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


@torch.no_grad()
def logits(network):
    return network(IDS).logits


def test_at_first_nothing_changes_and_the_object_stays(network):
    before, layer = logits(network), network.model.language_model
    attach(network)
    assert torch.equal(logits(network), before)
    assert network.model.language_model is layer
    train(network)
    assert (logits(network) - before).abs().max() > 0.1


def test_only_the_language_model_gets_them(network):
    attach(network, targets=("gate_proj",))  # the vision tower has layers of that name
    names = {n for n, _ in network.named_parameters() if "lora_" in n}
    assert names == {f"model.language_model.layers.{i}.mlp.gate_proj.lora_{m}.default.weight" for i in (0, 1) for m in ("A", "B")}
    shapes = {n[-16]: tuple(p.shape) for n, p in network.named_parameters() if "lora_" in n}
    assert shapes == {"A": (2, 64), "B": (128, 2)}


def test_tower_and_projector_learn_or_not_as_before(network):
    network.model.visual.requires_grad_(False)
    network.model.visual.merger.requires_grad_(True)
    attach(network)
    learning = {n for n, p in network.named_parameters() if p.requires_grad and "lora_" not in n}
    assert learning == {n for n, _ in network.named_parameters() if n.startswith("model.visual.merger.")}


def test_gradients_reach_adapters_alone(network):
    attach(network)
    train(network)
    network(IDS).logits.square().sum().backward()
    with_gradient = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == {n for n, _ in network.named_parameters() if "lora_" in n}
    assert len(with_gradient) == 2 * len(TARGETS) * 2


def test_the_update_is_alpha_over_rank_times_both_matrices(network):
    weight = network.model.language_model.layers[0].self_attn.q_proj.weight.clone()
    attach(network, rank=2, alpha=8.0)
    train(network)
    layer = network.model.language_model.layers[0].self_attn.q_proj
    expected = weight + 8.0 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merged = adapters.merged_state(network)["model.language_model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(merged, expected, atol=1e-6, rtol=0)


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone():
    drawn = []
    for noise, seed in ((0, 5), (1, 5), (0, 6)):
        network = tiny.make_network(tiny.make_tokenizer())
        torch.manual_seed(noise)
        expected = torch.rand(3)
        torch.manual_seed(noise)
        attach(network, seed=seed)
        assert torch.equal(torch.rand(3), expected)
        drawn.append(network.model.language_model.layers[1].mlp.down_proj.lora_A["default"].weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_adapters_of_a_bfloat16_network_are_float32(network):
    attach(network.to(torch.bfloat16))
    assert {p.dtype for n, p in network.named_parameters() if "lora_" in n} == {torch.float32}
    assert {p.dtype for n, p in network.named_parameters() if "lora_" not in n} == {torch.bfloat16}
    assert logits(network).dtype == torch.bfloat16


def test_switched_off_they_leave_the_start(network):
    before = logits(network)
    attach(network)
    train(network)
    adapted = logits(network)
    flags = {n: p.requires_grad for n, p in network.named_parameters()}
    with adapters.reference(network):
        assert torch.equal(logits(network), before)
        with adapters.reference(network):
            pass
        assert torch.equal(logits(network), before)  # an inner block does not switch them on again
    assert torch.equal(logits(network), adapted)
    assert {n: p.requires_grad for n, p in network.named_parameters()} == flags
    with pytest.raises(KeyError), adapters.reference(network):
        raise KeyError
    assert torch.equal(logits(network), adapted)


def test_frozen_adapters_stay_frozen_behind_the_reference(network):
    attach(network)
    network.requires_grad_(False)
    with adapters.reference(network):
        pass
    assert not any(p.requires_grad for p in network.parameters())


def test_saved_and_loaded_they_compute_the_same(network, tmp_path):
    attach(network)
    train(network)
    folder = adapters.save_adapter(network, tmp_path / "adapter", start="owner/name")
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    fresh = tiny.make_network(tiny.make_tokenizer())
    adapters.load_adapter(fresh, folder)
    assert torch.equal(logits(fresh), logits(network))
    train(fresh, seed=2)
    adapters.load_adapter(fresh, folder)  # into adapters that are there
    assert torch.equal(logits(fresh), logits(network))
    language = {n: p.requires_grad for n, p in fresh.named_parameters() if not n.startswith("model.visual.")}
    assert all(learns == ("lora_" in n) for n, learns in language.items())


@OLD_NAME
def test_peft_reads_what_was_saved(network, tmp_path):
    from peft import PeftModel

    attach(network)
    train(network)
    adapters.save_adapter(network, tmp_path / "adapter", start="owner/name")
    read = PeftModel.from_pretrained(tiny.make_network(tiny.make_tokenizer()), tmp_path / "adapter")
    assert torch.equal(logits(read), logits(network))
    assert read.peft_config["default"].base_model_name_or_path == "owner/name"


@OLD_NAME
def test_what_peft_saved_is_read(tmp_path):
    from peft import LoraConfig, get_peft_model

    network = tiny.make_network(tiny.make_tokenizer())
    wrapped = get_peft_model(network, LoraConfig(r=3, lora_alpha=6, target_modules=["o_proj", "k_proj"]))
    train(network)
    wrapped.save_pretrained(tmp_path)
    fresh = tiny.make_network(tiny.make_tokenizer())
    adapters.load_adapter(fresh, tmp_path)
    assert torch.equal(logits(fresh), logits(network))


def test_merged_weights_are_those_of_the_adapted_network(network):
    plain = network.state_dict().keys()
    attach(network)
    train(network)
    adapted = logits(network)
    state = adapters.merged_state(network)
    assert state.keys() == plain
    fresh = tiny.make_network(tiny.make_tokenizer(), seed=3)
    fresh.load_state_dict(state)
    torch.testing.assert_close(logits(fresh), adapted, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(network), adapted)
    assert not any(value.requires_grad for value in state.values())
    assert adapters.merged_state(network, keep=False) == {}


def test_merged_state_of_a_plain_network_is_its_own(network):
    state = adapters.merged_state(network)
    assert state.keys() == network.state_dict().keys()
    assert all(state[k].data_ptr() == v.data_ptr() for k, v in network.state_dict().items())


def test_merging_a_bfloat16_network_rounds_once(network):
    attach(network.to(torch.bfloat16))
    train(network)
    name = "model.language_model.layers.1.self_attn.v_proj"
    layer = network.get_submodule(name)
    exact = layer.base_layer.weight.float() + 4.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert torch.equal(adapters.merged_state(network)[f"{name}.weight"], exact.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"targets": ("q_proj", "qkv")}, r"no linear layer named qkv.*down_proj.*q_proj.*targets"),  # qkv is of the vision tower
        ({"targets": ("lm_head",)}, "no linear layer named lm_head"),
        ({"targets": ("norm", "q_pr.j")}, r"named norm, q_pr\.j"),
        ({"targets": ()}, "no layer was named"),
        ({"rank": 0}, "rank >= 1"),
        ({"alpha": 0.0}, "alpha > 0"),
        ({"alpha": float("nan")}, "alpha > 0"),
        ({"dropout": 1.0}, "dropout in"),
    ],
)
def test_wrong_choices_are_refused_and_change_nothing(network, wrong, said):
    with pytest.raises(ModelError, match=said):
        attach(network, **wrong)
    assert not adapters.attached(network)


def test_two_sets_are_refused(network):
    attach(network)
    with pytest.raises(ModelError, match="adapters already"):
        attach(network)


def test_a_network_without_adapters_has_none_to_switch_or_save(network, tmp_path):
    with pytest.raises(ModelError, match="no adapters"), adapters.reference(network):
        pass
    with pytest.raises(ModelError, match="no adapters"):
        adapters.save_adapter(network, tmp_path / "a", start="x")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def saved(network, tmp_path):
    attach(network)
    train(network)
    return adapters.save_adapter(network, tmp_path / "adapter", start="x")


def change(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"use_dora": True}, "sets use_dora"),
        ({"bias": "all", "modules_to_save": ["lm_head"]}, "sets bias, modules_to_save"),
        ({"peft_type": "IA3"}, "sets peft_type"),
        ({"rank_pattern": {"q_proj": 8}}, "sets rank_pattern"),
        ({"init_lora_weights": "pissa"}, "sets init_lora_weights"),
        ({"r": 4}, "weights differ"),
        ({"r": 0}, "cannot be used|does not fit"),
        ({"target_modules": ["q_proj"]}, "weights differ"),
        ({"target_modules": ["nothing"]}, "does not fit"),
    ],
)
def test_other_adapters_are_refused(saved, values, said):
    change(saved, **values)
    with pytest.raises(ModelError, match=said):
        adapters.load_adapter(tiny.make_network(tiny.make_tokenizer()), saved)


def test_another_scale_than_the_adapters_have_is_refused(network, saved):
    change(saved, lora_alpha=9.0)
    with pytest.raises(ModelError, match=r"scaled by 4\.5.*4\.0 as in the network"):
        adapters.load_adapter(network, saved)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_broken_folders(saved, name, content):
    (saved / name).unlink()
    if content is not None:
        (saved / name).write_bytes(content)
    with pytest.raises(ModelError):
        adapters.load_adapter(tiny.make_network(tiny.make_tokenizer()), saved)


def test_weights_that_are_missing_or_too_many(saved):
    path = saved / "adapter_model.safetensors"
    state = load_file(path)
    first = sorted(state)[0]
    for wrong in ({k: v for k, v in state.items() if k != first}, {**state, "other": state[first].clone()}):
        save_file(wrong, path)
        with pytest.raises(ModelError, match="1 weights differ"):
            adapters.load_adapter(tiny.make_network(tiny.make_tokenizer()), saved)
