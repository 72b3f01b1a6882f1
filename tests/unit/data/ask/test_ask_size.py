import itertools
import re
from collections import Counter
from dataclasses import replace

from ask_scenes import asked, rights, scene, structure

from unireason.data.scene import Midline

A = structure("stomach", (10, 10, 30, 30), measure=1000)
B = structure("liver", (50, 10, 80, 40), measure=1200)
C = structure("spleen", (100, 10, 140, 40), measure=1500)
D = structure("heart", (10, 100, 60, 150), measure=3000)
E = structure("bladder", (100, 100, 160, 160), measure=5000)


def test_largest_and_smallest_by_hand():
    drawn = scene(A, B, C, D, E)
    sizes = {s.name: s.measure for s in (A, B, C, D, E)}
    for ask, sign in (("largest", 1), ("smallest", -1)):
        questions = asked(drawn, ask)
        assert {len(q.options) for q in questions} == {2, 3, 4}
        for question in questions:
            ordered = sorted((sizes[o] for o in question.options), reverse=sign > 0)
            assert sizes[question.right] == ordered[0]
            ratio = max(ordered[0] / ordered[1], ordered[1] / ordered[0])
            assert 1.25 <= ratio <= 4.0
            assert set(question.needs) <= set(question.options)
            assert question.right in question.needs
    # 1,200 is 1.2 times 1,000 only, and 1,000 is the smallest of all: the stomach is never the larger one.
    assert rights(drawn, "largest") == {(): {"spleen", "heart", "bladder"}}
    assert rights(drawn, "smallest") == {(): {"stomach", "liver", "spleen", "heart"}}


def test_two_are_named_in_the_text():
    for question in asked(scene(A, D), "largest"):
        assert question.right == "heart"
        assert all(o in question.text for o in question.options)


def test_a_structure_is_compared_with_its_like():
    """Nobody asks whether a vertebra is larger than a heart."""
    assert asked(scene(structure("l2 vertebra", (10, 10, 30, 30), measure=1000), D), "largest") == []


def test_ties_cut_off_and_nested_structures_are_left_out():
    assert asked(scene(A, B), "largest") == []
    cut = structure("heart", (0, 100, 60, 150), measure=3000, borders=("right",))
    assert asked(scene(A, cut), "largest") == []
    assert asked(scene(cut), "how_large") == []
    nested = structure("cyst", (12, 102, 32, 122), measure=1000)
    assert asked(scene(nested, D), "smallest") == []
    assert asked(scene(structure("heart wall", (100, 10, 140, 40), measure=1500), D), "largest") == []


def test_ranges_join_and_hold_the_size_by_a_margin():
    ranks = Counter()
    for question in asked(scene(D), "how_large", seeds=80):
        ranges = [re.fullmatch(r"([\d.]+) to ([\d.]+) (mm2|cm2)", o).groups() for o in question.options]
        ordered = sorted((float(low), float(high)) for low, high, _ in ranges)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ordered))
        low, high, unit = ranges[question.answer]
        assert unit == "cm2"  # 3,000 mm2 are 30 cm2
        assert float(low) * 1.05 <= 30 <= float(high) / 1.05
        ranks[ordered.index((float(low), float(high)))] += 1
    assert set(ranks) == {0, 1, 2, 3}


def test_sizes_are_in_small_units_or_in_pixels_of_the_frame_where_no_scale_is_told():
    small = structure("papilla", (10, 10, 20, 20), measure=80)
    assert all(o.endswith(" mm2") for q in asked(scene(small), "how_large") for o in q.options)
    for bare in (scene(D, unit="pixels"), scene(D, scale="")):
        sizes = asked(bare, "how_large")
        assert sizes
        assert all(o.endswith(" pixels") for q in sizes for o in q.options)
    assert asked(scene(A, D, unit="pixels"), "largest")


def test_volumes_in_millilitres():
    liver = structure("liver", (20, 20, 20, 60, 60, 60))  # 64,000 mm3
    for question in asked(scene(liver, kind="volume"), "how_large"):
        low, high = map(float, question.right.removesuffix(" ml").split(" to "))
        assert low < 64 < high
        assert "volume" in question.text


def test_the_word_volume_means_one_thing():
    liver = structure("liver", (20, 30, 30, 60, 70, 70))
    texts = {q.text for q in asked(scene(liver, kind="volume"), "how_large", seeds=60)}
    assert len(texts) >= 4
    assert not any("this volume" in t for t in texts)


def test_the_brightest_leads_by_twenty_grey_levels():
    def one(name, x, level):
        return structure(name, (x, 20, x + 30, 60), grey=(level, 5.0, 0.0))

    drawn = scene(one("liver", 10, 150.0), one("spleen", 60, 130.0), one("heart", 110, 111.0), one("bladder", 160, 60.0))
    for ask, least in (("brightest", {"liver", "spleen", "heart"}), ("darkest", {"spleen", "heart", "bladder"})):
        questions = asked(drawn, ask, seeds=8)
        assert {q.right for q in questions} <= least
        assert {q.right for q in questions}
        for question in questions:
            levels = sorted((drawn.structures[n].grey[0] for n in question.options), reverse=ask == "brightest")
            assert drawn.structures[question.right].grey[0] == levels[0]
            assert abs(levels[0] - levels[1]) >= 20


def test_organs_of_a_pair_are_compared_where_they_lie_on_their_sides():
    def drawn(**changes):
        kidneys = structure("left kidney", (130, 60, 170, 100)), structure("right kidney", (30, 60, 70, 90))
        return replace(scene(*kidneys, **changes), midline=Midline("body", 0.0, 100.0))

    assert rights(drawn(), "pair") == {("left kidney", "right kidney"): {"left kidney"}}
    told = asked(drawn(), "pair_share", seeds=4)
    assert told
    for question in told:  # 1600 against 1200
        low, high = (float(v) for v in question.right.removesuffix(" %").split(" to "))
        assert low < 33.3 < high
    swapped = replace(drawn(), midline=Midline("body", 80.0, 180.0))  # both on one side
    none = replace(drawn(), midline=Midline(""))
    for other in (swapped, none):
        assert asked(other, "pair", seeds=2) == asked(other, "pair_share", seeds=2) == []
