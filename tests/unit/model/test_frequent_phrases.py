"""Phrases that become tokens."""

from __future__ import annotations

import tiny
from unireason.model.vocabulary import extend, frequent_phrases

TEXTS = ['"points_1": [12, 3], "points_2": [4, 5] on the left kidney'] * 30


def test_a_name_with_a_number_is_one_piece():
    found = frequent_phrases(TEXTS, 50, names=["left kidney"], least=3)
    assert {"points_1", "points_2", " left kidney"} <= set(found)
    assert "points" not in found
    assert not any(text.strip().isdigit() for text in found)


def test_such_a_name_becomes_one_token():
    network, tokenizer = tiny.make_network(tiny.make_tokenizer()), tiny.make_tokenizer()
    extend(network, tokenizer, frequent_phrases(TEXTS, 50, least=3))
    ids = tokenizer('"points_1": [1]', add_special_tokens=False)["input_ids"]
    assert "points_1" in [tokenizer.decode([i]) for i in ids]
    one = tokenizer("1", add_special_tokens=False)["input_ids"]
    assert sum(ids.count(i) for i in one) == 1
