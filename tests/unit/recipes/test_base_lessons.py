"""Lessons as token sequences: what is asked is what is served, and labels stand on what the model is to write."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.phantom import network as scratch
from recipes.phantom.cohort import VOLUME, views
from recipes.phantom.lessons import NAMES, drill_tree, phrases, shuffled, view_tree
from recipes.phantom.recipe import MAX_PIXELS, MIN_PIXELS, PROFILE
from unireason.data.scene import DataQuestion
from unireason.model.checkpoint import assemble
from unireason.model.files import make_processor
from unireason.model.tokens import decode, encode_text
from unireason.train.policy import Encoder

SHAPE = scratch.NetworkShape(width=64, layers=1, heads=4, kv_heads=2, mlp=64, vision_width=32, vision_layers=1, vision_heads=2)


@pytest.fixture(scope="module")
def cohort():
    return list(views(7, range(2)))


@pytest.fixture(scope="module")
def encoder(cohort):
    tokenizer = scratch.make_tokenizer(phrases(cohort))
    processor = make_processor({"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS})
    return Encoder.of(assemble(scratch.make_network(SHAPE, tokenizer, seed=0), tokenizer, processor, profile=PROFILE))


def written(encoder, row):
    """The labelled text of a row, one text a run of labels."""
    pieces, before = [], False
    for token, label in zip(row.ids, row.labels, strict=True):
        if label and not before:
            pieces.append([])
        if label:
            pieces[-1].append(token)
        before = label
    return [decode(encoder.checkpoint, piece) for piece in pieces]


def test_a_view_gives_a_survey_and_questions_behind_the_same_pictures(encoder, cohort):
    view = cohort[0]
    tree = view_tree(encoder, view, np.random.default_rng(0), most=3)
    assert view.frame == VOLUME
    assert len(tree.prefix.pictures) == VOLUME.depth
    assert all((shown == picture).all() for shown, picture in zip(tree.prefix.pictures, view.pictures, strict=True))
    assert not any(tree.prefix.labels)
    assert tree.tags[0] == "survey"
    assert len(tree.rows) == len(tree.tags) == 4
    assert all(row.positions[0][0] == tree.prefix.next for row in tree.rows)


def test_a_survey_lists_every_structure_with_its_box_and_injects_nothing(encoder, cohort):
    view = cohort[0]
    survey = view_tree(encoder, view, np.random.default_rng(0), most=0).rows[0]
    (listed,) = written(encoder, survey)
    assert survey.pictures == []
    for region in view.scene.regions.values():
        box = ",".join(str(int(c)) for c in region.box.coords)
        assert listed.count(f" {region.name} [{box}]") == 1
    assert listed.startswith("<think>Listed ")


def test_a_question_is_asked_as_served_and_its_labels_are_its_response(encoder, cohort):
    view = cohort[1]  # an image
    tree = view_tree(encoder, view, np.random.default_rng(3), most=2)
    for row in tree.rows[1:]:
        text = decode(encoder.checkpoint, [*tree.prefix.ids, *row.ids])
        assert text.startswith("<|im_start|>system\nYou read a medical image.<|im_end|>\n<|im_start|>user\n")
        pieces = written(encoder, row)
        assert pieces[0].startswith("<think>")
        assert pieces[-1].endswith("<|im_end|>")
        assert len(pieces) == 1 + len(row.pictures)
        assert all(piece.endswith("<|box_end|>") for piece in pieces[:-1])


def test_a_drill_is_learned_on_letters_alone_and_they_are_right(encoder):
    tree = drill_tree(encoder, np.random.default_rng(1), rows=6)
    assert not tree.prefix.pictures
    assert len(tree.rows) == 6
    for number, row in enumerate(tree.rows):
        text = decode(encoder.checkpoint, row.ids)
        options = dict(line.split(". ", 1) for line in text.split("<|im_end|>")[0].splitlines() if line[1:3] == ". ")
        pieces = written(encoder, row)
        assert len(pieces) == (5 if number % 3 == 2 else 10)
        for piece in pieces:
            letter = piece.split()[-1]
            if number % 3 == 2:
                assert piece == f" {options[letter]} {letter}"
            else:
                assert f" So {options[letter]} {letter}." in text


def test_comparisons_name_the_larger_structure(encoder):
    row = drill_tree(encoder, np.random.default_rng(5), rows=3).rows[2]
    sentences = decode(encoder.checkpoint, row.ids).split("assistant\n", 1)[1].split(". ")
    for first, second, verdict in zip(sentences[::3], sentences[1::3], sentences[2::3], strict=False):
        sizes = {s.split(" size ")[0].removeprefix("The "): int(s.split(" size ")[1]) for s in (first.strip(), second.strip())}
        assert max(sizes, key=sizes.get) in verdict


def test_words_of_the_lessons_are_single_tokens(encoder, cohort):
    for text in (*(f" {n}" for n in NAMES), " right anterior", " A", "\nB.", " lesion", "<think>", "List"):
        assert len(encode_text(encoder.checkpoint, text)) == 1, text


def test_shuffling_moves_facts_and_looks_along():
    asked = DataQuestion("size_comparison", "largest", (), "Which?", ("a", "b", "c"), 1, ("1", "3", "2"), ("a", "b", "c"))
    for seed in range(6):
        turned = shuffled(asked, np.random.default_rng(seed))
        assert turned.right == "b"
        assert turned.needs == turned.options
        assert dict(zip(turned.options, turned.facts, strict=True)) == {"a": "1", "b": "3", "c": "2"}
    fixed = DataQuestion("spatial_relation", "direction", (), "Where?", ("left", "right"), 0, ("left",), ("heart", "liver"))
    assert shuffled(fixed, np.random.default_rng(1)).needs == ("heart", "liver")
