import pytest

from unireason.core.errors import FormatError
from unireason.evaluate.scoring import Vote, vote


def test_the_majority_wins():
    assert vote(["A", "B", "B", "", "B"]) == Vote(1, "B", 3 / 5, (), (("A", 1), ("B", 3)))


def test_ties_go_to_the_first_said_and_are_stated():
    assert vote(["C", "A", "A", "D", "C"]) == Vote(0, "C", 2 / 5, ("A",), (("C", 2), ("A", 2), ("D", 1)))
    assert vote(["D", "A", "B"]).tied == ("A", "B")
    assert vote(["", "B", "A", "A", "B"]).said == "B"


def test_unreadable_samples_lower_the_agreement_and_never_win():
    assert vote(["", "", "A"]) == Vote(2, "A", 1 / 3, (), (("A", 1),))
    assert vote(["", ""]) == Vote(0, "", 0.0, (), ())


def test_open_answers_are_one_if_their_words_are():
    found = vote(["right kidney", "The left kidney.", "left Kidney", "kidney"])
    assert found == Vote(1, "The left kidney.", 0.5, (), (("right kidney", 1), ("The left kidney.", 2), ("kidney", 1)))


def test_the_letter_a_is_no_article():
    assert vote(["A", "a", "B"]).agreement == pytest.approx(2 / 3)


def test_no_samples_are_refused():
    with pytest.raises(FormatError):
        vote([])
