"""The attention and the cache of the local back end against the plain formulas."""

from types import SimpleNamespace

import pytest
import torch

import tiny
from unireason.core.errors import ModelError
from unireason.engine.cache import GrowingCache, cached_attention, read_only_at, use_cached_attention


def plain(query, key, value, mask, scale):
    """softmax(q k / scale) v with repeated key heads."""
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(2, 3) * scale
    return (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("new", [1, 2, 32, 33, 60])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention_equals_the_formula(new, key_heads):
    random = torch.Generator().manual_seed(new)
    query = torch.randn(1, 4, new, 8, generator=random)
    key, value = (torch.randn(1, key_heads, 70, 8, generator=random) for _ in range(2))
    mask = torch.rand(1, 1, new, 70, generator=random) > 0.4
    mask[..., 0] = True
    out, _ = cached_attention(SimpleNamespace(), query, key, value, mask, scaling=0.3)
    assert torch.allclose(out, plain(query, key, value, mask, 0.3), atol=1e-5)


def test_without_mask_a_fresh_sequence_is_causal_and_one_token_sees_all():
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, h, 6, 8, generator=random) for h in (4, 2, 2))
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    out, _ = cached_attention(SimpleNamespace(), query, key, value, None, scaling=0.3)
    assert torch.allclose(out, plain(query, key, value, causal, 0.3), atol=1e-5)
    out, _ = cached_attention(SimpleNamespace(), query[:, :, :1], key, value, None, scaling=0.3)
    everything = torch.ones(1, 1, 1, 6, dtype=torch.bool)
    assert torch.allclose(out, plain(query[:, :, :1], key, value, everything, 0.3), atol=1e-5)


def test_forgotten_mask_is_an_error():
    query, key = torch.zeros(1, 4, 2, 8), torch.zeros(1, 2, 6, 8)
    with pytest.raises(ModelError, match="without a mask"):
        cached_attention(SimpleNamespace(), query, key, key, None)


def test_cache_grows_cuts_and_keeps():
    random = torch.Generator().manual_seed(0)
    cache, expected = GrowingCache(2), torch.empty(1, 2, 0, 4)
    for size in (3, 1, 300, 1, 700, 2):
        new = torch.randn(1, 2, size, 4, generator=random)
        expected = torch.cat([expected, new], dim=2)
        for layer in range(2):
            keys, values = cache.update(new + layer, -new, layer)
            assert torch.equal(keys, expected + layer)
            assert torch.equal(values, -expected)
    assert cache.get_seq_length() == 1007
    kept = torch.tensor([0, 2, 5, 900])
    cache.keep(100, kept)
    expected = torch.cat([expected[:, :, :100], expected[:, :, 100:][:, :, kept]], dim=2)
    assert torch.equal(cache.layers[1].keys, expected + 1)
    cache.cut(50)
    keys, values = cache.update(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4), 0)
    assert torch.equal(keys[:, :, :50], expected[:, :, :50])
    assert torch.equal(values[:, :, 50:], torch.ones(1, 2, 1, 4))


def test_reading_some_tokens_only_changes_neither_them_nor_the_cache():
    network = tiny.checkpoint().network
    language = network.model.language_model
    hidden = torch.randn(1, 9, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(9, 9, dtype=torch.bool).tril()[None, None]
    positions = torch.arange(9).view(1, 1, -1).expand(3, 1, -1)
    out, caches = [], []
    with torch.no_grad(), use_cached_attention(network):
        for wanted in (None, torch.tensor([3, 8]), torch.tensor([], dtype=torch.long)):
            caches.append(GrowingCache(2))
            feed = {"inputs_embeds": hidden, "position_ids": positions, "attention_mask": mask, "past_key_values": caches[-1]}
            if wanted is None:
                out.append(language(**feed).last_hidden_state)
                continue
            with read_only_at(network, wanted):
                out.append(language(**feed).last_hidden_state)
    assert torch.allclose(out[1][:, [3, 8]], out[0][:, [3, 8]], atol=1e-6)
    assert not torch.allclose(out[1], out[0], atol=1e-2)  # the rest is really left out
    for cache in caches[1:]:
        for layer, whole in zip(cache.layers, caches[0].layers, strict=True):
            assert torch.allclose(layer.keys, whole.keys, atol=1e-6)
            assert torch.allclose(layer.values, whole.values, atol=1e-6)
    assert "forward" not in vars(language.layers[-1].mlp)
    assert "_unireason_wanted" not in vars(language.layers[-1].self_attn)
