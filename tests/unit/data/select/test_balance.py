"""Choosing questions so that the text does not tell the answer."""

import math
from collections import Counter

import numpy as np

from unireason.data.question import FAMILIES, Question
from unireason.data.select.balance import Balance, Selector, option_features


def question(right: str, wrong: str, *, family: str = "size_comparison", first: bool = True, ask: str = "largest") -> Question:
    options = (right, wrong) if first else (wrong, right)
    return Question(family, ask, tuple(sorted(options)), "Which is larger?", options, 0 if first else 1, (), (right,))


def test_a_question_that_anatomy_answers_is_refused_until_the_contrary_comes() -> None:
    selector = Selector(("size_comparison",), each_case=1)
    offered = [[question("liver", "spleen", first=bool(i % 2))] for i in range(40)]
    taken = [bool(selector.choose(o)) for o in offered]
    assert sum(taken) <= 4
    assert not any(taken[10:])
    assert selector.choose([question("spleen", "liver")]) == [0]
    assert selector.choose([question("liver", "spleen", first=False)]) == [0]


def test_among_candidates_the_rarer_answer_is_taken() -> None:
    selector = Selector(("size_comparison",), each_case=1)
    counts: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(200):
        both = [question(*p, first=bool(rng.integers(2))) for p in (("a", "b"), ("b", "a"), ("a", "b"))]
        for index in selector.choose(both):
            counts[both[index].right] += 1
    assert sum(counts.values()) > 190
    assert abs(counts["a"] - counts["b"]) <= 2


def test_letters_are_balanced() -> None:
    selector = Selector(("size_comparison",), each_case=1)
    rng = np.random.default_rng(1)
    places: Counter[int] = Counter()
    for _ in range(300):
        names = [str(n) for n in rng.permutation([f"organ{i}" for i in range(30)])[:2]]
        offered = [question(*names, first=rng.random() < 0.8) for _ in range(4)]
        for index in selector.choose(offered):
            places[offered[index].answer] += 1
    assert min(places.values()) > 0.4 * sum(places.values())


def test_families_are_kept_in_equal_shares_where_there_is_supply() -> None:
    selector = Selector(FAMILIES, each_case=2)
    rng = np.random.default_rng(2)
    counts: Counter[str] = Counter()
    for case in range(300):
        families = [f for f in FAMILIES if f != "lesion_analysis" or case % 4 == 0]
        offered = [
            question(f"x{rng.integers(50)}", f"y{rng.integers(50)}", family=f, first=bool(rng.integers(2))) for f in families
        ]
        chosen = selector.choose(offered)
        assert len({offered[i].family for i in chosen}) == len(chosen) <= 2
        counts.update(offered[i].family for i in chosen)
    others = [counts[f] for f in FAMILIES if f != "lesion_analysis"]
    assert max(others) - min(others) <= 3
    assert counts["lesion_analysis"] > 40


def test_most_bounds_a_case_and_none_chooses_nothing() -> None:
    selector = Selector(FAMILIES, each_case=3)
    offered = [question("a", "b", family=f) for f in FAMILIES]
    assert len(selector.choose(offered, most=1)) == 1
    assert selector.choose(offered, most=0) == []
    assert selector.choose([]) == []


def test_numbers_are_known_by_their_rank() -> None:
    asked = Question("lesion_analysis", "count", ("cyst",), "How many?", ("3", "1", "2"), 1, (), ("cyst",))
    ranks = [next(f[2] for f in features if f[1] == "rank" and len(f) == 3) for features in option_features(asked)]
    assert ranks == ["2", "0", "1"]


def test_cost_is_infinite_only_in_the_direction_of_the_lean() -> None:
    balance = Balance()
    lean, back = question("liver", "spleen"), question("spleen", "liver", first=False)
    while balance.cost(lean) < math.inf:
        balance.add(lean)
    assert balance.cost(back) < 0
