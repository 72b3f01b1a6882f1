"""The frame in which scenes are written is the frame of the tensors that the network is fed, for many sizes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from drawn_cases import loaded

from unireason.data.frames import rule
from unireason.data.measure import describe
from unireason.engine.reasoner import Reasoner, load
from unireason.model.vision import model_size


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    return load("phantom", threads=1)


@pytest.mark.parametrize("shape", [(30, 40, 50), (3, 200, 90), (64, 64), (33, 470), (400, 211)])
def test_of_the_built_in_checkpoint(reasoner: Reasoner, shape: tuple[int, ...]):
    item = loaded((np.ones(shape, np.uint8), {1: "a"}), spacing=(1.0,) * len(shape))
    scene = describe(item, rule("phantom"), case="c")
    assert scene.frame == reasoner.encode(item.case).frame
    sizes = (scene.frame.width, scene.frame.height, scene.frame.depth)[: len(shape)]
    assert scene.structures["a"].box_model.coords == (*(0,) * len(shape), *sizes)


@pytest.mark.parametrize("shape", [(512, 512), (97, 1301), (4000, 5000), (30, 30), (10, 20), (200, 512, 512), (9, 30, 40)])
def test_of_the_published_checkpoint(shape: tuple[int, ...]):
    """Patches of 14 pixels merged by 2, and the limits of Qwen2.5-VL: what a network of that kind is fed."""
    plan = SimpleNamespace(patch=14, merge=2, pixel_limits=(3136, 12845056))
    frame = rule("published").frame(shape)
    assert (frame.height, frame.width) == model_size(plan, *(shape if len(shape) == 2 else (256, 256)))
    assert (frame.depth, frame.kind) == ((32, "volume") if len(shape) == 3 else (1, "image"))
