from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tiny
from unireason.grounding.prompts import Profile
from unireason.model import tokens
from unireason.model.positions import chunk_positions
from unireason.train.collate import Coder, Row, pack, prompt, response
from unireason.types import Box2D, Box3D, Frame, Look, Sample

PROFILE = Profile(name="t", system_2d="see", system_3d="see all", slice_label="{index}", volume_shape=(3, 56, 56), chat="chatml")
VOLUME, IMAGE = Frame(56, 56, 3, "volume"), Frame(84, 56, 1, "image")


@pytest.fixture(scope="module")
def coder():
    return Coder(tiny.make_tokenizer(), PROFILE, 784, 56 * 84)


def sample(kind, box):
    parts = ("<think>at", Look("liver", box), " ok B.</think>B. x")
    return Sample("p", kind, "f", "Where?", ("y", "x"), 1, parts)


def test_labels_stand_on_what_the_assistant_wrote_token_by_token(coder):
    row = Row(next=10)
    response(coder, VOLUME, sample("volume", Box3D(10, 20, 1, 30, 40, 3)), row)
    text = "<think>at<|box_start|>[10,20,1,30,40,3]<|box_end|>"
    injected = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"] * 2
    written = coder.ids(text)
    tail = coder.ids(" ok B.</think>B. x<|im_end|>")
    assert row.ids == written + [coder.token(t) for t in injected] + tail
    assert row.labels == [True] * len(written) + [False] * 6 + [True] * len(tail)
    assert row.cuts == [(1, (10, 20, 30, 40)), (2, (10, 20, 30, 40))]


def test_positions_are_those_of_the_network(coder):
    network = tiny.checkpoint().network
    prefix, suffix = prompt(coder, VOLUME, "Where?", ("y", "x"))
    row = Row(next=prefix.next)
    row.text(suffix, label=False)
    response(coder, VOLUME, sample("volume", Box3D(2, 2, 0, 50, 50, 2)), row)
    grids = [(1, 2 * r, 2 * c) for r, c in [*prefix.grids, *row.grids]]
    expected, following = chunk_positions(network, [*prefix.ids, *row.ids], grids, 0)
    assert np.array_equal(np.array([*prefix.positions, *row.positions]).T, expected[:, 0].numpy())
    assert row.next == following


def test_prompt_is_the_one_that_serves(coder):
    serving = replace(tiny.checkpoint(), profile=PROFILE)
    served = tokens.prompt_ids(serving, PROFILE.parts("volume", "Where?", ("y", "x"), n_slices=3), [(1, 4, 4)] * 3)
    prefix, suffix = prompt(coder, VOLUME, "Where?", ("y", "x"))
    assert [*prefix.ids, *suffix] == list(served)


def test_pack_keeps_pictures_in_order_of_their_pads(coder):
    pictures = np.arange(56 * 84, dtype=np.uint32).reshape(1, 56, 84).astype(np.uint8)
    prefix, suffix = prompt(coder, IMAGE, "Where?", ("y", "x"))
    rows = []
    for box in (Box2D(0, 0, 28, 28), Box2D(28, 28, 84, 56)):
        row = Row(next=prefix.next)
        row.text(suffix, label=False)
        response(coder, IMAGE, sample("image", box), row)
        rows.append(row)
    packed = pack(prefix, rows, pictures)
    assert [p.shape for p in packed.pictures] == [(56, 84), (28, 28), (28, 56)]
    assert np.array_equal(packed.pictures[1], pictures[0, :28, :28])
    pads = int((packed.ids == coder.token("<|image_pad|>")).sum())
    assert pads == sum(p.size // 784 for p in packed.pictures)
    assert packed.prefix + sum(packed.lengths) == len(packed.ids) == packed.positions.shape[1]


def test_an_impossible_look_is_refused(coder):
    with pytest.raises(ValueError, match="cannot be executed"):
        response(coder, IMAGE, sample("image", Box3D(0, 0, 0, 4, 4, 1)), Row())
