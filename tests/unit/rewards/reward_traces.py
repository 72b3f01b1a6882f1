"""Traces for tests of rewards, written as text."""

import numpy as np

from unireason.core.types import Crop, Frame, Tokens, Trace
from unireason.grounding.grammar import parse
from unireason.grounding.trace import Execution, steps_from_text
from unireason.metrics.answers import answer_choice

SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
FRAMES = {"image": Frame(200, 100, 1, "image"), "volume": Frame(200, 100, 10, "volume")}


def make_trace(text, *, kind="image", options=("a", "b", "c", "d"), finish="end_of_turn", sampled=0):
    """A trace whose boxes with pictures behind them were executed; ``sampled`` tokens of its response were sampled."""
    executions = [_execution(found.box.coords) for found in parse(text).boxes if text.startswith(SHOWN, found.end)]
    letters = "ABCD"[: len(options)]
    steps, problems = steps_from_text(text, executions=executions, choose=lambda answer: answer_choice(answer, letters))
    tokens = Tokens((0,), (1,) * (sampled + 2), (True,) * sampled + (False,) * 2) if sampled else None
    return Trace("q", tuple(options), steps, FRAMES[kind], finish, problems, tokens=tokens, raw_text=text)


def _execution(coords):
    half = len(coords) // 2
    x1, y1, *first = map(int, coords[:half])
    x2, y2, *stop = map(int, coords[half:])
    pixels = np.zeros((y2 - y1, x2 - x1), np.uint8)
    slices = range(first[0], stop[0]) if first else range(1)
    return Execution(tuple(Crop((x1, y1, x2, y2), z, pixels) for z in slices))
