from __future__ import annotations

import pytest
import torch

import tiny
from unireason.train.shared_prefix import hidden_states, make_layout, register, unregister


@pytest.fixture
def network():
    made = tiny.make_network(tiny.make_tokenizer())
    register(made)
    return made


def projected(states):
    """A loss whose gradient is not lost in the final norm."""
    weights = torch.randn(states.shape[-1], generator=torch.Generator().manual_seed(5))
    return (states @ weights).tanh().sum()


def packed_inputs(network, prefix, lengths):
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(prefix + sum(lengths), network.config.text_config.hidden_size, generator=generator)
    positions = torch.cat([torch.arange(prefix), *(prefix + torch.arange(n) for n in lengths)])
    return embeddings, positions[None].expand(3, -1)


def test_rows_equal_separate_sequences(network):
    prefix, lengths = 7, [3, 9, 1, 5]
    embeddings, positions = packed_inputs(network, prefix, lengths)
    together = hidden_states(network, embeddings, positions, make_layout(prefix, lengths))
    unregister(network)
    start = prefix
    for n in lengths:
        alone = torch.cat([embeddings[:prefix], embeddings[start : start + n]])[None]
        order = torch.arange(prefix + n)[None, None].expand(3, 1, -1)
        expected = network.model.language_model(inputs_embeds=alone, position_ids=order, use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(together[start : start + n], expected[prefix:], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(together[:prefix], expected[:prefix], atol=2e-5, rtol=1e-4)
        start += n


def test_gradients_equal_separate_sequences(network):
    prefix, lengths = 6, [4, 7]
    embeddings, positions = packed_inputs(network, prefix, lengths)
    projected(hidden_states(network, embeddings, positions, make_layout(prefix, lengths))[prefix:]).backward()
    packed = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    unregister(network)
    start = prefix
    for n in lengths:
        alone = torch.cat([embeddings[:prefix], embeddings[start : start + n]])[None]
        order = torch.arange(prefix + n)[None, None].expand(3, 1, -1)
        states = network.model.language_model(inputs_embeds=alone, position_ids=order, use_cache=False).last_hidden_state[0]
        projected(states[prefix:]).backward()
        start += n
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.abs().max()
            assert (packed[name] - parameter.grad).abs().max() <= 1e-5 * scale + 1e-7, name


def test_a_row_does_not_see_another(network):
    prefix, lengths = 5, [4, 4]
    embeddings, positions = packed_inputs(network, prefix, lengths)
    before = hidden_states(network, embeddings, positions, make_layout(prefix, lengths))
    changed = embeddings.clone()
    changed[prefix : prefix + 4] += 1.0
    after = hidden_states(network, changed, positions, make_layout(prefix, lengths))
    assert torch.equal(before[prefix + 4 :], after[prefix + 4 :])
    assert not torch.allclose(before[prefix : prefix + 4], after[prefix : prefix + 4])
