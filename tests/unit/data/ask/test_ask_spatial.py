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


def test_a_slice_passes_well_through_one_structure_alone():
    high = structure("stomach", (20, 30, 100, 60, 70, 140))
    low = structure("bladder", (20, 30, 20, 60, 70, 60))
    touching = structure("liver", (80, 30, 141, 120, 70, 160))
    questions = asked(scene(high, low, touching, kind="volume"), "which_on_slice", seeds=8)
    assert questions
    for question in questions:
        k = int(question.about[0].split()[1])
        assert f"slice {k}" in question.text
        first, end = {"stomach": (100, 140), "bladder": (20, 60), "liver": (141, 160)}[question.right]
        assert first < k < end - 1
        for name in set(question.options) - {question.right}:
            a, b = {"stomach": (100, 140), "bladder": (20, 60), "liver": (141, 160)}[name]
            assert k < a - 2 or k >= b + 2
    assert asked(scene(structure("liver", (20, 30, 60, 70)), structure("bladder", (90, 90, 120, 120))), "which_on_slice") == []


def test_levels_are_those_of_the_nearest_vertebra():
    bones = [structure(f"vertebrae l{n}", (95, 140, z, 105, 160, z + 16)) for n, z in ((1, 120), (2, 100), (3, 80), (4, 60))]
    kidney = structure("left kidney", (130, 130, 92, 150, 150, 122))  # middle on slice 107: l2 has 108
    between = structure("left kidney", (130, 130, 103, 150, 150, 133))  # 118: ten from either
    assert rights(scene(kidney, *bones, kind="volume"), "level")[("left kidney",)] == {"vertebrae l2"}
    assert ("left kidney",) not in rights(scene(between, *bones, kind="volume"), "level")
    assert asked(scene(kidney, *bones, kind="volume", space="picture"), "level") == []
