"""Reasoning without its looks, for the comparison with grounded reasoning: the same sentences, no box and no crop."""

from __future__ import annotations

import re
from dataclasses import replace

from unireason.data.records import SampleRecord
from unireason.types import Look

# What leads to a box and says nothing without it.
_LEAD = re.compile(r"\s*(?:\b(?:at|in|within|here)\b)?[\s:]*$", re.IGNORECASE)
_BLANKS = re.compile(r"\s+(?=[.,;:]|\s|$)")


def without_looks(sample: SampleRecord) -> SampleRecord:
    """Take the looks out of a reasoning.

    Args:
        sample: A sample.

    Returns:
        The sample with its reasoning as one text: every box is gone, and with it a preposition right before it ("The liver lies at [box].
        It is large." becomes "The liver lies. It is large."). The answer and its place, for implicit questions, stay.
    """
    text = ""
    for part in sample.reasoning:
        text = _LEAD.sub("", text) + " " if isinstance(part, Look) else text + part
    text = _BLANKS.sub("", text).lstrip()
    return replace(sample, reasoning=(text,) if text else ())
