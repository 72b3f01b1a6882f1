"""Reasoning without looks: the same words, no box."""

from __future__ import annotations

from dataclasses import replace

from training import opened
from unireason.core.types import Box2D, Look
from unireason.data.records import SampleRecord
from unireason.data.scene import DataQuestion
from unireason.train.cases import without_looks

LOOK = Look("liver", Box2D(1, 2, 30, 40))


def sample(*reasoning: str | Look) -> SampleRecord:
    question = DataQuestion("lesion_analysis", "side", (), "Side?", ("L", "R"), 1, (), ("x",))
    return SampleRecord("s1", "c1", "p1", "train", "image", question, reasoning, "template")


def plain(*reasoning: str | Look) -> str:
    found = without_looks(sample(*reasoning))
    assert found.question == sample().question
    [text] = found.reasoning
    assert isinstance(text, str)
    return text


def test_boxes_go_with_the_word_that_leads_to_them():
    assert plain("The liver lies at", LOOK, ". It is dark.") == "The liver lies. It is dark."
    assert plain("The liver lies at", LOOK, " size 22. The spleen:", LOOK, "ok.") == "The liver lies size 22. The spleen ok."
    assert plain("Seen at", LOOK, "; dark at", LOOK, ": yes.") == "Seen; dark: yes."


def test_words_that_only_end_like_one_stay():
    assert plain("Look at that", LOOK, ", then decide.") == "Look at that, then decide."


def test_a_reasoning_of_looks_alone_is_empty():
    assert without_looks(sample(LOOK, LOOK)).reasoning == ()
    assert without_looks(sample()).reasoning == ()


def test_the_response_holds_no_box():
    assert without_looks(sample("At", LOOK, " it is R.")).response == "<think>it is R.</think>B. R"


def test_a_run_can_leave_the_looks_out(start, phantoms):
    """The same cases and questions, in the same order, without a single box; implicit answers keep theirs."""
    with_boxes, without = opened(start, phantoms).cases("train"), opened(start, phantoms, grounded=False).cases("train")
    assert [[s.id for s in c.samples] for c in with_boxes] == [[s.id for s in c.samples] for c in without]
    own = [s for case in without for s in case.samples]
    assert any(isinstance(p, Look) for case in with_boxes for s in case.samples for p in s.reasoning)
    assert not any(isinstance(p, Look) for s in own for p in s.reasoning)
    assert all("box_start" not in s.response for s in own if s.task == "vqa")
    grounded = {s.id: s for case in with_boxes for s in case.samples}
    assert all(replace(grounded[s.id], reasoning=s.reasoning) == s for s in own)
