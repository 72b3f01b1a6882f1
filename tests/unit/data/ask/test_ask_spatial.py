from ask_scenes import asked, rights, scene, structure

# Centres (mm): liver (-60, -50), stomach (50, -50), spleen (65, 60), spine (0, 70), pancreas (-70, 62).
LIVER = structure("liver", (20, 30, 60, 70))
STOMACH = structure("stomach", (130, 30, 170, 70))
SPLEEN = structure("spleen", (150, 150, 180, 170))
SPINE = structure("spine", (90, 160, 110, 180))
PANCREAS = structure("pancreas", (20, 154, 40, 170))
ALL = (LIVER, STOMACH, SPLEEN, SPINE, PANCREAS)


def test_which_in_quadrant():
    assert rights(scene(*ALL), "which_in_quadrant", seeds=60) == {
        ("right anterior",): {"liver"},
        ("left anterior",): {"stomach"},
        ("left posterior",): {"spleen"},
        ("right posterior",): {"pancreas"},
    }
    # The spine is certainly not anterior, but it might be taken for left or right.
    wrong = {q.about[0]: set() for q in asked(scene(*ALL), "which_in_quadrant")}
    for question in asked(scene(*ALL), "which_in_quadrant", seeds=60):
        assert len(question.options) == 4 or question.about[0].endswith("posterior")
        wrong[question.about[0]] |= set(question.options) - {question.right}
    assert "spine" in wrong["left anterior"]
    assert "spine" not in wrong["left posterior"] | wrong["right posterior"]


def test_which_in_quadrant_in_picture_terms():
    found = rights(scene(*ALL, space="picture"), "which_in_quadrant")
    assert found[("upper left",)] == {"liver"}
    assert found[("lower right",)] == {"spleen"}


def test_sides_in_names_are_shared_by_all_options():
    sided = [structure("left kidney", (130, 30, 170, 70)), structure("left adrenal", (150, 150, 180, 170))]
    questions = asked(scene(*sided, LIVER, SPLEEN), "which_in_quadrant")
    assert questions
    for question in questions:
        assert len({o.startswith("left ") for o in question.options}) == 1


def test_which_at_box():
    found = rights(scene(*ALL), "which_at_box")
    assert found[("<|box_start|>[20,30,60,70]<|box_end|>",)] == {"liver"}
    question = next(q for q in asked(scene(*ALL), "which_at_box") if q.right == "liver")
    assert "[20,30,60,70]" in question.text
    assert "<|" not in question.text
    assert "liver" in question.needs


def test_boxes_that_overlap_are_no_options_of_each_other():
    other = structure("colon", (22, 30, 62, 70))
    for question in asked(scene(LIVER, other, STOMACH), "which_at_box"):
        assert question.right == "stomach" or not {"liver", "colon"} <= set(question.options)


def test_parts_of_each_other_are_no_options_of_each_other():
    lobe = structure("liver caudate lobe", (100, 100, 120, 120))
    for ask in ("which_at_box", "which_in_quadrant"):
        for question in asked(scene(LIVER, lobe, STOMACH, SPLEEN), ask):
            assert not {"liver", "liver caudate lobe"} <= set(question.options) or question.right not in {"liver", lobe.name}
