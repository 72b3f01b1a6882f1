from ask_scenes import asked, rights, scene, structure

LIVER = structure("liver", (20, 30, 60, 70))
KIDNEY = structure("left kidney", (140, 140, 160, 160))
SPLEEN = structure("spleen", (150, 60, 180, 90))


def test_present_and_absent():
    found = rights(scene(LIVER, KIDNEY, absent=("spleen", "right kidney"), unclear=("pancreas",)), "present")
    assert found == {("liver",): {"yes"}, ("left kidney",): {"yes"}, ("spleen",): {"no"}, ("right kidney",): {"no"}}


def test_yes_and_no_take_turns():
    questions = asked(scene(LIVER, KIDNEY, absent=("spleen", "right kidney")), "present", seeds=1)
    assert [q.right for q in questions][:2] in (["yes", "no"], ["no", "yes"])
    assert sorted(q.right for q in questions) == ["no", "no", "yes", "yes"]


def test_the_counterpart_is_looked_at_first():
    questions = asked(scene(LIVER, KIDNEY, absent=("right kidney",)), "present")
    assert {q.needs[0] for q in questions if q.about == ("right kidney",)} == {"left kidney"}


def test_nothing_is_called_absent_that_might_be_meant_by_another_name():
    drawn = scene(LIVER, KIDNEY, absent=("kidney", "right liver", "kidneys", "spleen", "adrenal"), unclear=("left adrenal",))
    # "kidney" and "kidneys" are there as the left one, "right liver" may be part of "liver", "adrenal" is there but unclear.
    assert {q.about for q in asked(drawn, "present") if q.right == "no"} == {("spleen",)}


def test_a_lesion_of_an_organ_may_be_absent():
    questions = asked(scene(LIVER, absent=("liver tumor",)), "present")
    asked_for = next(q for q in questions if q.about == ("liver tumor",))
    assert asked_for.right == "no"
    assert "a liver tumor" in asked_for.text


def test_which_present_and_which_absent():
    drawn = scene(LIVER, KIDNEY, SPLEEN, absent=("heart", "stomach", "bladder"))
    assert rights(drawn, "which_present") == {(): {"liver", "left kidney", "spleen"}}
    assert rights(drawn, "which_absent") == {(): {"heart", "stomach", "bladder"}}
    for question in asked(drawn, "which_present"):
        assert set(question.options) - {question.right} == {"heart", "stomach", "bladder"}
        assert question.needs == (question.right,)
    for question in asked(drawn, "which_absent"):
        assert set(question.needs) == {"liver", "left kidney", "spleen"} == set(question.options) - {question.right}


def test_too_few_names_for_four_options():
    assert asked(scene(LIVER, absent=("heart", "stomach")), "which_present") == []
    assert asked(scene(LIVER, KIDNEY, absent=("heart",)), "which_absent") == []
