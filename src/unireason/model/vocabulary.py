"""Tokens of a small model: whole numbers are one token each, and so are frequent phrases of its training texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

NUMBERS = 256  # 0..255 are one token each
# "points_1" is a name and no number: apart, its 1 would count as nearly a 2 wherever numbers may be a little off.
_ONE = r" ?[A-Za-z][a-z'-]*(?:_[0-9]+)?"
_WORD = re.compile(_ONE)
_LONGEST = 7
_RUN = re.compile(rf"(?:{_ONE})+")


def number_ids(tokenizer: Any) -> list[int]:
    """Token ids of the numbers 0..255, in order."""
    return [int(tokenizer.convert_tokens_to_ids(str(n))) for n in range(NUMBERS)]


def frequent_phrases(texts: Iterable[str], count: int, *, names: Iterable[str] = (), least: int = 20) -> list[str]:
    """The phrases whose being one token saves most tokens.

    Names come first, then all words that occur often enough, then runs of up to seven words. All but those at the beginning of a
    sentence carry the blank in front of them.

    Args:
        texts: Training texts.
        count: Phrases at most.
        names: What answers are made of (structures, sides, options). Each is one token, and no longer phrase swallows it.
        least: Occurrences that a phrase must have.

    Returns:
        Phrases in falling order of what they save; fewer than asked for if there are no more.
    """
    kept = sorted({name for name in names if _RUN.fullmatch(name)}, key=lambda name: (-len(name), name))
    between = re.compile("|".join(rf" ?\b{re.escape(name)}\b" for name in kept) or r"(?!)")
    runs = Counter(run for text in texts for part in between.split(text) for run in _RUN.findall(part))
    words = Counter[str]()
    for run, times in runs.items():
        for word in _WORD.findall(run):
            words[word] += times
    known = [f" {name}" for name in kept] + [w for w, times in words.most_common() if times >= least and len(w.strip()) > 1]
    grams = Counter[tuple[str, ...]]()
    for run, times in runs.items():
        parts = _WORD.findall(run)
        for size in range(2, _LONGEST + 1):
            for start in range(len(parts) - size + 1):
                grams[tuple(parts[start : start + size])] += times
    phrases = [("".join(gram), times * (len(gram) - 1)) for gram, times in grams.items() if times >= least]
    phrases.sort(key=lambda item: (-item[1], item[0]))
    return list(dict.fromkeys([*known, *(p for p, _ in phrases)]))[:count]


def extend(network: Any, tokenizer: Any, phrases: Iterable[str], *, seed: int = 0) -> int:
    """Give phrases a token each, in place.

    A new token starts as the mean of the tokens that it replaces, in the input and in the output layer, with a little noise so that no two
    are alike.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.
        tokenizer: Its fast tokenizer.
        phrases: Pieces of text, with their leading blank where they have one; known ones are left out.
        seed: Seed of the noise.

    Returns:
        How many tokens were added.
    """
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    new = [p for p in dict.fromkeys(phrases) if p not in known]
    spelled = [tokenizer(p, add_special_tokens=False)["input_ids"] for p in new]
    first = len(tokenizer)
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p in new])
    rows = 8 * math.ceil(len(tokenizer) / 8)
    old = network.get_input_embeddings().weight.shape[0]
    if rows > old:
        network.resize_token_embeddings(rows, mean_resizing=False)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in (network.get_input_embeddings().weight, network.get_output_embeddings().weight):
            spread = float(table[:first].std())
            for place, ids in enumerate(spelled):
                noise = torch.randn(table.shape[1], generator=random) * 0.1 * spread
                table[first + place] = table[ids].mean(dim=0) + noise.to(table)
    return len(new)
