"""Choosing questions so that the text does not tell the answer."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from unireason.core.types import Frame
from unireason.data.scene import FAMILIES, DataQuestion
from unireason.data.select import Balance, Selector, option_features

FRAME = Frame(112, 112, 1, "image")


def question(
    right: str, wrong: str, *, family: str = "size_comparison", first: bool = True, ask: str = "largest"
) -> DataQuestion:
    options = (right, wrong) if first else (wrong, right)
    return DataQuestion(family, ask, tuple(sorted(options)), "Which is larger?", options, 0 if first else 1, (), (right,))


def test_a_question_that_anatomy_answers_is_refused_until_the_contrary_comes() -> None:
    selector = Selector(("size_comparison",), each_case=1, most_two=1)
    taken = [bool(selector.choose([question("liver", "spleen", first=bool(i % 2))], FRAME)) for i in range(60)]
    assert 1 <= sum(taken) <= 8
    assert not any(taken[20:])
    assert any(selector.choose([question("spleen", "liver", first=bool(i % 2))], FRAME) for i in range(4))
    assert any(selector.choose([question("liver", "spleen", first=bool(i % 2))], FRAME) for i in range(4))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_chosen_looks_like_fair_tossing(seed: int) -> None:
    """Out of candidates of which one answer is right three times in four, and without being too even either."""
    selector = Selector(("size_comparison",), each_case=1, seed=seed, most_two=1)
    rng = np.random.default_rng(seed)
    names = "abcdefghijklmnopqrst"
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for _ in range(3000):
        offered = []
        for _ in range(3):
            low, high = sorted(rng.choice(20, 2, replace=False))
            winner = (names[low], names[high]) if rng.random() < 0.75 else (names[high], names[low])
            offered.append(question(*winner, first=bool(rng.integers(2))))
        for index in selector.choose(offered, FRAME):
            right[offered[index].right] += 1
            seen.update(offered[index].options)
    z = np.array([(right[n] - seen[n] / 2) / (0.5 * seen[n] ** 0.5) for n in names])
    assert sum(seen.values()) > 2 * 1500
    assert 0.3 < np.mean(z**2) < 2.0
    first, last = z[:5].mean(), z[-5:].mean()  # those that win and lose most among the candidates
    assert abs(first - last) < 1.8


def test_four_options_come_before_two() -> None:
    selector = Selector(("size_comparison",), each_case=1, most_two=1)
    two = question("a", "b")
    four = DataQuestion("size_comparison", "largest", (), "Which is the largest?", ("a", "b", "c", "d"), 2, (), ("c",))
    assert selector.choose([two, four], FRAME) == [1]
    assert selector.choose([two], FRAME) == [0]


def test_families_are_kept_in_equal_shares_where_there_is_supply() -> None:
    selector = Selector(FAMILIES, each_case=2, most_two=1)
    rng = np.random.default_rng(2)
    counts: Counter[str] = Counter()
    for case in range(300):
        families = [f for f in FAMILIES if f != "lesion_analysis" or case % 4 == 0]
        offered = [
            question(f"x{rng.integers(50)}", f"y{rng.integers(50)}", family=f, first=bool(rng.integers(2))) for f in families
        ]
        chosen = selector.choose(offered, FRAME)
        assert len({offered[i].family for i in chosen}) == len(chosen) <= 2
        counts.update(offered[i].family for i in chosen)
    others = [counts[f] for f in FAMILIES if f != "lesion_analysis"]
    assert max(others) - min(others) <= 20
    assert counts["lesion_analysis"] > 40


def test_most_bounds_a_case_and_none_chooses_nothing() -> None:
    selector = Selector(FAMILIES, each_case=3, most_two=1)
    offered = [question("a", "b", family=f) for f in FAMILIES]
    assert len(selector.choose(offered, FRAME, most=1)) == 1
    assert selector.choose(offered, FRAME, most=0) == []
    assert selector.choose([], FRAME) == []


def test_numbers_are_known_by_their_rank() -> None:
    asked = DataQuestion("lesion_analysis", "count", ("cyst",), "How many?", ("3", "1", "2"), 1, (), ("cyst",))
    features = option_features(asked, FRAME)
    assert [next(f[1] for f in own if f[1].startswith("rank") and len(f) == 2) for own in features] == [
        "rank 2",
        "rank 0",
        "rank 1",
    ]


def test_cost_is_infinite_only_in_the_direction_of_the_lean() -> None:
    balance = Balance()
    lean, back = question("liver", "spleen"), question("spleen", "liver", first=False)
    for _ in range(20):
        if balance.cost(lean, option_features(lean, FRAME)) < math.inf:
            balance.add(lean, option_features(lean, FRAME))
    assert balance.cost(lean, option_features(lean, FRAME)) == math.inf
    assert balance.cost(back, option_features(back, FRAME)) < 0


def test_a_box_in_the_question_is_known_by_its_place() -> None:
    asked = DataQuestion(
        "spatial_localisation", "which_at_box", ("<|box_start|>[0,90,20,110]<|box_end|>",), "?", ("a", "b"), 0, (), ("a",)
    )
    features = option_features(asked, FRAME)[0]
    assert ("which_at_box", "a", "x 0") in features
    assert ("which_at_box", "a", "y 5") in features
    assert ("which_at_box", "a", "x 0 y 5") in features


def test_numbers_are_known_by_what_they_say_roughly() -> None:
    def said(*options: str) -> set[str]:
        asked = DataQuestion("structure_localisation", "box", ("liver",), "?", options, 0, (), ("liver",))
        return {f[1] for f in option_features(asked, Frame(112, 112, 16, "volume"))[0] if f[-1] == "liver"}

    assert said("[0,90,0,20,110,4]", "[1,1,1,2,2,2]") == {"rank 0", "x 0", "y 5", "z 0", "x 0 y 5 z 0"}
    assert said("12 to 15", "1 to 3") == {"rank 1", "z 5"}
    assert said("90 to 130 ml", "20 to 30 ml") == {"rank 1", "about 14"}


def test_kinds_of_a_family_take_turns() -> None:
    selector = Selector(("size_comparison",), each_case=1, most_two=1)
    counts: Counter[str] = Counter()
    for i in range(60):
        pair = ("x", "y") if i // 3 % 2 else ("y", "x")
        offered = [question(*pair, ask=ask, first=bool(i // 6 % 2)) for ask in ("largest", "smallest", "how_large")]
        counts.update(offered[k].ask for k in selector.choose(offered, FRAME))
    assert max(counts.values()) - min(counts.values()) <= 4


def test_two_options_are_bounded_unless_they_are_yes_and_no_or_sides() -> None:
    def three(i: int) -> DataQuestion:
        names = ("x", "y", "z")
        return replace(question("x", "y"), options=names, answer=i % 3)

    selector = Selector(("size_comparison",), each_case=1)
    sizes: Counter[int] = Counter()
    for i in range(400):
        two = question("v", "w", first=bool(i % 2))
        offered = [two] if i % 2 else [three(i // 2)]
        sizes.update(len(offered[k].options) for k in selector.choose(offered, FRAME))
    assert 0 < sizes[2] <= 0.25 * sizes.total()
    sides = replace(question("left", "right"), options=("left", "right"))
    assert Selector(("size_comparison",), each_case=1).choose([sides], FRAME) == [0]


def test_yes_and_no_and_sides_are_bounded_where_others_can_be_had() -> None:
    def offered(i: int) -> list[DataQuestion]:
        sides = replace(question("left", "right"), options=("left", "right"), answer=i % 2)
        return [sides, replace(question("x", "y"), family="spatial_relation", options=("x", "y", "z"), answer=i % 3)]

    selector = Selector(("size_comparison", "spatial_relation"), each_case=2)
    sizes: Counter[int] = Counter()
    for i in range(200):
        questions = offered(i)
        sizes.update(len(questions[k].options) for k in selector.choose(questions, FRAME))
    assert 0.2 * sizes.total() < sizes[2] <= 0.3 * sizes.total()
    assert Selector(("size_comparison",), each_case=1).choose([question("v", "w")], FRAME) == []
