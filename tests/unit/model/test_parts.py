"""Which weights learn."""

from __future__ import annotations

import pytest
import torch

import tiny
from unireason.core.errors import ModelError
from unireason.model import adapters
from unireason.model import adapters as parts


@pytest.fixture
def network():
    return tiny.make_network(tiny.make_tokenizer())


def part(name):
    """The part of a weight by its first names."""
    if name.startswith("model.visual.merger."):
        return "projector"
    return "tower" if name.startswith("model.visual.") else "language"


@pytest.mark.parametrize("chosen", [{"tower"}, {"projector"}, {"language"}, {"tower", "projector", "language"}])
def test_exactly_the_chosen_parts_learn(network, chosen):
    parts.choose(network, tower="tower" in chosen, projector="projector" in chosen, language="language" in chosen)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        name for name, _ in network.named_parameters() if part(name) in chosen
    }


def test_parts_are_those_of_the_network(network):
    inside = {
        "projector": list(network.model.visual.merger.parameters()),
        "language": [*network.model.language_model.parameters(), network.lm_head.weight],
    }
    for name, expected in inside.items():
        parts.choose(network, tower=False, projector=name == "projector", language=name == "language")
        assert {id(p) for p in parts.trainable(network).values()} == {id(p) for p in expected}


def test_a_new_choice_replaces_the_old(network):
    parts.choose(network, tower=True, projector=True, language=True)
    parts.choose(network, tower=False, projector=True, language=False)
    assert all(n.startswith("model.visual.merger.") for n in parts.trainable(network))


def test_order_is_that_of_the_modules(network):
    parts.choose(network, tower=False, projector=False, language=True)
    names = list(parts.trainable(network))
    assert names == [n for n, _ in network.named_parameters() if part(n) == "language"]
    assert names[0] == "model.language_model.embed_tokens.weight"
    assert names[-1] == "lm_head.weight"


def test_tied_embeddings_are_one_weight_of_the_language_model():
    network = tiny.make_network(tiny.make_tokenizer(), tie=True)
    parts.choose(network, tower=False, projector=False, language=True)
    chosen = parts.trainable(network)
    assert "lm_head.weight" not in chosen
    assert chosen["model.language_model.embed_tokens.weight"] is network.lm_head.weight
    parts.choose(network, tower=True, projector=False, language=False)
    assert not network.lm_head.weight.requires_grad


@pytest.mark.parametrize("adapters_first", [True, False])
def test_with_adapters_the_language_model_means_its_adapters(network, adapters_first):
    def attach():
        adapters.attach(network, rank=2, alpha=4.0, dropout=0.0, targets=["q_proj"], seed=0)

    if adapters_first:
        attach()
    parts.choose(network, tower=False, projector=True, language=True)
    if not adapters_first:
        attach()
    chosen = parts.trainable(network)
    layers = [f"model.language_model.layers.{i}.self_attn.q_proj.lora_{m}.default.weight" for i in (0, 1) for m in "AB"]
    assert [n for n in chosen if not n.startswith("model.visual.merger.")] == layers
    assert any(n.startswith("model.visual.merger.") for n in chosen)
    parts.choose(network, tower=False, projector=True, language=False)
    assert not any("lora" in n for n in parts.trainable(network))


def test_nothing_trained_is_an_error(network):
    with pytest.raises(ModelError, match="nothing is trained"):
        parts.choose(network, tower=False, projector=False, language=False)


def test_another_network_is_an_error():
    with pytest.raises(ModelError, match="the weight weight"):
        parts.choose(torch.nn.Linear(2, 2), tower=True, projector=True, language=True)
