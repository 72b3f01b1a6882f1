"""Random networks and volumes of the training benchmarks."""

from __future__ import annotations

from benchmarks.engine import FULL, Size

SLICE = 18
"""Patches a side of a slice of 252 x 252 pixels: 81 visual tokens."""

PROMPT_TEXT = 315
"""Tokens of a prompt beside its pictures; with 32 slices it has 2,971."""

_SMALL = {"hidden_size": 384, "intermediate_size": 1344, "num_hidden_layers": 6, "num_attention_heads": 6}
_TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
_TINY_TOWER = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "fullatt_block_indexes": [1]}

SIZES = {
    "large": FULL,
    "small": Size(FULL.vision, _SMALL, depth=32, side=256, free=40),
    "tiny": Size(_TINY_TOWER, _TINY, depth=4, side=84, free=20),
}
"""``large`` has 110 million parameters and ``small`` 27 million, 12 million of them in the tower; ``tiny`` shows that everything runs."""
