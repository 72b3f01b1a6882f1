import numpy as np
import pytest
from ask_scenes import scene, structure
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.data.questions.distractors import Dice, Places, compact, held, kin, one_side, part_text, parts


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("kidney", "left kidney", True),
        ("lungs", "left lung", True),
        ("left kidney", "right kidney", False),
        ("left kidney", "left kidney cyst", True),
        ("liver", "liver", True),
        ("liver", "spleen", False),
    ],
)
def test_kin(a, b, same):
    assert kin(a, b) is same
    assert kin(b, a) is same


def test_held_by_hand():
    assert held((0, 0, 10, 10), (5, 0, 20, 20)) == 0.5
    assert held((5, 0, 20, 20), (0, 0, 10, 10)) == pytest.approx(50 / 300)
    assert held((0, 0, 0, 2, 2, 2), (1, 1, 1, 9, 9, 9)) == 1 / 8
    assert held((0, 0, 1, 1), (1, 0, 2, 1)) == 0


def test_parts_and_their_words():
    assert [p for p, _ in parts("patient", "xz")] == ["right inferior", "right superior", "left inferior", "left superior"]
    assert [p for p, _ in parts("picture", "xy")] == ["upper left", "lower left", "upper right", "lower right"]
    assert part_text("patient", ((1, -1),)) == "anterior"
    assert part_text("picture", ((1, 1),)) == "lower"


def test_directions_need_dominance_and_distance():
    centre = structure("spine", (96, 96, 104, 104))
    by = {"a": (0, 40), "b": (18, 40), "c": (25, 40), "d": (0, 9), "e": (-40, 20)}
    others = [structure(n, (96 + x, 96 + y, 104 + x, 104 + y)) for n, (x, y) in by.items()]
    places = Places(scene(centre, *others))
    assert [places.direction(n, "spine") for n in "abcde"] == ["posterior", "posterior", "", "", "right"]


def test_compact():
    assert compact(structure("a", (0, 0, 10, 10)))
    assert compact(structure("a", (0, 0, 10, 10), parts=[80, 20]))
    assert not compact(structure("a", (0, 0, 10, 10), parts=[79, 21]))


def test_one_side():
    assert one_side(("left lung", "left kidney"))
    assert one_side(("liver", "spleen"))
    assert not one_side(("liver", "left kidney"))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.lists(st.integers(), max_size=12))
def test_shuffling_keeps_the_items(seed, items):
    assert sorted(Dice(np.random.default_rng(seed)).shuffled(items)) == sorted(items)


def test_draws_are_uniform_and_reproducible():
    dice = Dice(np.random.default_rng(4))
    counts = np.bincount([dice.below(5) for _ in range(5000)], minlength=5)
    assert abs(counts - 1000).max() < 120
    orders = {tuple(dice.shuffled("abc")) for _ in range(200)}
    assert len(orders) == 6
    assert [Dice(np.random.default_rng(4)).below(1000) for _ in range(2)] == [Dice(np.random.default_rng(4)).below(1000)] * 2
    assert all(2 <= dice.uniform(2, 3) < 3 for _ in range(100))
