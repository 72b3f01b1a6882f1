from collections import Counter

import numpy as np
import pytest
from ask_scenes import Masks, phantoms, right_options, scene, structure
from scipy import stats

from unireason.data import scene as names
from unireason.data.questions.families import ASKS, candidates
from unireason.data.questions.wording import KINDS, PHRASES, TERMS
from unireason.data.scene import FAMILIES
from unireason.grounding.profile import load_profile

KINDS_OF_QUESTION = {ask.__name__ for asks in ASKS.values() for ask in asks}


@pytest.fixture(scope="module")
def written():
    """Questions about phantom scenes with their masks."""
    found = []
    for number, (loaded, described) in enumerate(phantoms()):
        masks = Masks(loaded, described)
        found += [(q, masks) for seed in (0, 1) for q in candidates(described, np.random.default_rng([number, seed]), each=20)]
    return found


def test_families_in_order():
    assert tuple(ASKS) == FAMILIES


def test_every_kind_is_asked_about_phantoms(written):
    # A phantom's lesion is one piece: the number of its parts is asked about too, with 1 as the answer; no one lesion of several is.
    # There is but one bone, and no level to be told.
    assert {q.ask for q, _ in written} == KINDS_OF_QUESTION - {"count_side", "largest_place", "level"}


def test_both_spaces_and_kinds_occur(written):
    assert {(m.scene.space, m.scene.kind) for _, m in written} == {
        ("patient", "image"),
        ("patient", "volume"),
        ("picture", "image"),
    }
    turned = [m for _, m in written if m.labels.ndim == 3 and np.abs(m.steps - np.diag(np.diag(m.steps))).max() > 0.2]
    assert turned


def test_exactly_one_option_is_right_by_the_masks(written):
    wrong = [(q, right_options(q, m)) for q, m in written if right_options(q, m) != [q.answer]]
    assert not wrong, f"{len(wrong)} of {len(written)}: {wrong[0]}"


def test_options_facts_and_needs(written):
    for question, masks in written:
        assert len(question.options) in (2, 3, 4)
        assert len(set(question.options)) == len(question.options)
        assert all(o.strip() == o and o for o in question.options)
        assert len(question.facts) == len(question.options)
        assert all(question.facts)
        assert 1 <= len(question.needs) <= 5
        assert len(set(question.needs)) == len(question.needs)
        assert set(question.needs) <= set(masks.scene.structures)


def test_unclear_structures_are_never_named(written):
    assert any(m.scene.unclear for _, m in written)
    for question, masks in written:
        named = {*question.options, *question.about, *question.needs}
        assert named.isdisjoint(masks.scene.unclear)


def test_only_annotated_structures_are_called_absent(written):
    for question, masks in written:
        if question.ask in ("present", "which_present", "which_absent"):
            named = question.about or question.options
            assert set(named) <= {*masks.scene.structures, *masks.scene.absent}


def test_names_do_not_tell_left_or_right(written):
    for question, _ in written:
        if question.ask == "quadrant" and "x" in question.about[1]:
            assert not names.side_of(question.about[0])
        if question.ask == "which_in_quadrant" and {"left", "right"} & set(question.about[0].split()):
            assert len({names.side_of(o) for o in question.options}) == 1
        if question.ask == "direction":
            assert len({names.side_of(n) for n in question.about}) == 1
        if question.ask in ("nearest", "which_at_box"):
            assert len({names.side_of(o) for o in question.options}) == 1


@pytest.mark.parametrize("options", [2, 4])
def test_letters_are_uniform(written, options):
    counts = Counter(q.answer for q, _ in written if len(q.options) == options)
    assert sum(counts.values()) > 400
    assert stats.chisquare([counts[i] for i in range(options)]).pvalue > 0.001


def test_places_of_the_true_box_are_uniform(written):
    # Ranked by their numbers, the four boxes do not tell which is the right one.
    ranks = Counter()
    for question, _ in written:
        if question.ask in ("box", "slices"):
            numbers = [tuple(map(int, o.strip("[]").replace(" to ", ",").split(","))) for o in question.options]
            ranks[sorted(numbers).index(numbers[question.answer])] += 1
    # Boxes near the border of the picture have room on one side only, hence the low level.
    assert stats.chisquare([ranks[i] for i in range(4)]).pvalue > 1e-4


def test_same_draw_same_questions_and_no_two_equal():
    for _, described in phantoms()[:8]:
        first, again = (candidates(described, np.random.default_rng(5)) for _ in range(2))
        assert first == again
        assert len(set(first)) == len(first)
        assert max(Counter(q.family for q in first).values()) <= 6
    assert candidates(described, np.random.default_rng(6)) != first


def test_kinds_of_a_family_take_turns():
    described = next(s for _, s in phantoms() if s.kind == "volume" and len(s.structures) >= 8 and len(s.absent) >= 3)
    found = Counter((q.family, q.ask) for q in candidates(described, np.random.default_rng(0), each=6))
    for family in FAMILIES[:5]:
        asks = {ask: n for (f, ask), n in found.items() if f == family}
        assert len(asks) >= 2
        assert max(asks.values()) - min(asks.values()) <= 1, asks


def test_prompts_take_every_question(written):
    profile = load_profile("default")
    for question, masks in written[:400]:
        profile.parts(masks.scene.kind, question.text, question.options, n_slices=masks.scene.frame.depth)


def test_wordings_are_many_and_distinct():
    assert {p.split("/")[0] for p in PHRASES} == KINDS_OF_QUESTION
    for phrases in (*PHRASES.values(), *TERMS.values()):
        assert len(set(phrases)) == len(phrases)
    assert all(len(p) >= 5 for p in PHRASES.values())
    assert set(KINDS) == {"image", "volume"}


def test_empty_and_lonely_scenes():
    assert candidates(scene(absent=("liver",)), np.random.default_rng(0)) == []
    alone = candidates(scene(structure("liver", (20, 30, 60, 70))), np.random.default_rng(0))
    assert {q.ask for q in alone} <= {"quadrant", "box", "present", "how_large"}
    assert {"quadrant", "present"} <= {q.ask for q in alone}
