"""The text-only audit finds planted leaks, names what tells, and stays quiet where nothing does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unireason.data.checks.facts import CheckFindings
from unireason.data.checks.text import AuditEntry, AuditTexts, _interval, audit, check_shortcut, clues, describe
from unireason.data.dataset import Dataset
from unireason.metrics.statistics import wilson

ORGANS = ("liver", "left kidney", "right kidney", "spleen", "heart", "bladder", "left lung", "right lung", "pancreas", "stomach")
WORDINGS = ("Which of these is the largest?", "Which structure takes up most room?", "Of these, what has the biggest extent?")


def questions(count: int, seed: int, leak: str = "") -> list[AuditEntry]:
    """Random questions, three a patient; with a leak the right option is given away by it."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        options = tuple(ORGANS[i] for i in rng.permutation(len(ORGANS))[:4])
        answer = int(rng.integers(4))
        if leak == "letter":
            answer = 0
        elif leak == "longest":
            answer = max(range(4), key=lambda i: len(options[i]))
        elif leak == "word":
            answer = next((i for i, o in enumerate(options) if o.startswith("left")), answer)
        text = f"{WORDINGS[int(rng.integers(3))]} Compare with the {ORGANS[int(rng.integers(10))]}."
        made.append(AuditEntry(f"p{n // 3}", "image" if n % 2 else "volume", text, options, answer))
    return made


@pytest.mark.parametrize("count", [60, 300])
@pytest.mark.parametrize(("leak", "word"), [("letter", "letter A of 4"), ("longest", "the longest option"), ("word", "'left'")])
def test_a_planted_leak_is_found_and_named(leak: str, word: str, count: int) -> None:
    for seed in range(3):
        result = audit(questions(count, seed, leak))
        assert not result["ok"]
        assert result["accuracy"] > 0.55
        assert any(word in t["clue"] for t in result["telltale"])


def test_random_answers_pass_over_many_seeds() -> None:
    results = [audit(questions(150, seed)) for seed in range(25)]
    assert all(r["ok"] for r in results)
    assert np.mean([r["accuracy"] for r in results]) == pytest.approx(0.25, abs=0.03)


def test_a_pairing_of_question_and_option_is_found() -> None:
    # "lung" is right if the question says "most room", "heart" if it says "biggest": neither word alone tells
    rng = np.random.default_rng(1)
    made = []
    for n in range(240):
        side = int(rng.integers(2))
        options = ("lung", "heart") if rng.random() < 0.5 else ("heart", "lung")
        made.append(
            AuditEntry(
                f"p{n}",
                "image",
                ("Which takes most room?", "Which is biggest?")[side],
                options,
                options.index(("lung", "heart")[side]),
            )
        )
    result = audit(made)
    assert not result["ok"]
    assert result["longest"] == pytest.approx(0.5, abs=0.1)


def test_the_largest_number_is_found() -> None:
    rng = np.random.default_rng(2)
    made = []
    for n in range(120):
        low = rng.permutation(np.arange(5, 900))[:4]
        options = tuple(f"{v} to {v + 7} ml" for v in low)
        made.append(AuditEntry(f"p{n}", "volume", "How large is it?", options, int(low.argmax())))
    result = audit(made)
    assert result["accuracy"] > 0.9
    assert any("the largest number" in t["clue"] for t in result["telltale"])


def test_too_few_questions_are_not_judged() -> None:
    apart = [replace(entry, patient=f"p{n}") for n, entry in enumerate(questions(30, 0, "letter"))]
    result = audit(apart[:29])
    assert (result["few"], result["too_few"], result["ok"]) == ("questions", True, True)
    assert result["accuracy"] > 0.9
    assert audit(apart)["ok"] is False


def test_few_patients_are_not_judged() -> None:
    result = audit(questions(57, 0, "letter"))
    assert (result["patients"], result["few"], result["too_few"], result["ok"]) == (19, "patients", True, True)
    assert audit(questions(60, 0, "letter"))["ok"] is False


@pytest.mark.parametrize("patients", [25, 60])
def test_answers_that_patients_share_raise_no_alarm(patients: int) -> None:
    """Eight questions a patient with one answer, drawn by patient: as questions each alone a third of these sets were blamed."""
    for seed in range(12):
        drawn = np.random.default_rng([seed, patients]).integers(0, 2, patients)
        asked = [
            AuditEntry(f"p{n}", "image", "Is there a lesion?", ("yes", "no"), int(a))
            for n, a in enumerate(drawn)
            for _ in range(8)
        ]
        result = audit(asked)
        assert result["ok"], seed
        low, high = result["ci95"]
        assert high - low > 1.5 / patients**0.5, "as wide as patients make it"


def test_an_interval_of_questions_alone_stays_what_it_is() -> None:
    hits = np.arange(400) % 4 == 0
    low, high = _interval(hits, np.arange(400))
    assert (low, high) == pytest.approx(wilson(100, 400), abs=0.002)
    assert _interval(np.ones(90, bool), np.arange(90) // 3)[0] == pytest.approx(wilson(30, 30)[0])


def test_one_patient_cannot_be_held_out() -> None:
    result = audit([replace(e, patient="one") for e in questions(60, 0, "letter")])
    assert (result["folds"], result["too_few"], result["ci95"]) == (0, True, [0.0, 1.0])


def test_baselines_and_kinds() -> None:
    result = audit(questions(300, 0, "longest"))
    assert result["longest"] == 1.0
    assert sum(k["questions"] for k in result["by_kind"].values()) == 300
    assert result["chance"] == 0.25


def test_the_same_questions_give_the_same_result() -> None:
    assert audit(questions(90, 4)) == audit(questions(90, 4))


def test_a_family_is_cut_down_by_identifiers_alone(sound: Dataset) -> None:
    samples = [s for s in sound.samples() if s.task == "vqa"]
    kept = []
    for order in (samples, samples[::-1]):
        texts = AuditTexts(cap=4)
        for sample in order:
            texts.add(sample)
        kept.append(texts.families())
    assert kept[0] == kept[1]
    assert all(len(entries) <= 4 for entries in kept[0].values())
    assert check_shortcut(texts, CheckFindings())[next(iter(kept[0]))]["cap"] == 4


def test_a_leak_in_records_is_a_problem_that_names_family_and_words(sound: Dataset) -> None:
    base = next(s for s in sound.samples() if s.task == "vqa")
    texts, found = AuditTexts(), CheckFindings()
    for n, entry in enumerate(questions(90, 0, "letter")):
        question = replace(base.question, text=entry.question, options=entry.options, answer=entry.answer)
        texts.add(replace(base, id=str(n), patient=entry.patient, question=question))
    result = check_shortcut(texts, found)[base.question.family]
    assert found.kept[0].id == base.question.family
    assert "letter A of 4" in found.kept[0].detail
    assert result["questions"] == result["used"] == 90


def test_clues_by_hand() -> None:
    first, second = clues("Is the box [1,2] it?", ["left lung", "[3,4,9,10]"])
    assert {"place|0|2", "word|left", "word|lung", "pair|left|lung", "cross|box|left", "cross|#|lung"} <= set(first)
    assert "rank|length|most" in second
    ranked = clues("How large?", ["10 to 20 ml", "20 to 40 ml"])
    assert "rank|number 1|least" in ranked[0]
    assert "rank|number 2|most" in ranked[1]
    boxes = clues("Where?", ["[0,0,4,4]", "[0,0,2,9]", "[1,1,2,2]"])
    assert "rank|size|most" in boxes[1]
    assert "rank|size|least" in boxes[2]


def test_every_clue_can_be_put_into_words() -> None:
    for own in clues("Which box is larger, 5 or 7?", ["[0,0,4,4]", "the left lung", "7 ml"]):
        assert all(describe(clue) for clue in own)


def test_names_that_stand_beside_each_other_are_clues_and_numbers_are_not():
    heart, kidney = clues("Which is missing?", ["heart", "left kidney"])
    assert "beside|heart|left kidney" in heart
    assert "beside|left kidney|heart" in kidney
    assert describe("beside|heart|left kidney") == "'heart' beside 'left kidney'"
    assert not any(c.startswith("beside") for c in clues("Which?", ["1 to 2", "3 to 4"])[0])
