from ask_scenes import asked, rights, scene, structure

# Centres (mm): liver (-60, -50), stomach (50, -45), spleen (60, 60), gallbladder (-20, -40).
LIVER = structure("liver", (20, 30, 60, 70))
STOMACH = structure("stomach", (130, 35, 170, 75))
SPLEEN = structure("spleen", (145, 145, 175, 175))
GALL = structure("gallbladder", (75, 55, 85, 65))


def test_direction_by_hand_in_patient_terms():
    found = rights(scene(LIVER, STOMACH, SPLEEN), "direction")
    # Liver to spleen is 120 by 110 mm: no axis dominates.
    assert found == {
        ("liver", "stomach"): {"right"},
        ("stomach", "liver"): {"left"},
        ("spleen", "stomach"): {"posterior"},
        ("stomach", "spleen"): {"anterior"},
    }
    questions = asked(scene(LIVER, STOMACH, SPLEEN), "direction")
    assert {frozenset(q.options) for q in questions} == {frozenset(("left", "right", "anterior", "posterior"))}
    assert all(q.needs == q.about for q in questions)


def test_direction_in_picture_terms():
    found = rights(scene(LIVER, STOMACH, SPLEEN, space="picture"), "direction")
    assert found[("liver", "stomach")] == {"left"}
    assert found[("spleen", "stomach")] == {"below"}


def test_direction_along_the_body():
    lung = structure("lung", (80, 80, 150, 120, 120, 190))
    bladder = structure("bladder", (90, 90, 10, 110, 110, 30))
    drawn = scene(lung, bladder, kind="volume")
    assert rights(drawn, "direction") == {("lung", "bladder"): {"superior"}, ("bladder", "lung"): {"inferior"}}
    for question in asked(drawn, "direction"):
        assert {"superior", "inferior"} <= set(question.options)
    assert {len(q.options) for q in asked(drawn, "direction")} == {4}
    assert asked(scene(lung, bladder, kind="volume", space="picture"), "direction") == []


def test_names_that_tell_sides_nested_and_union_structures_are_not_related():
    kidney = structure("left kidney", (130, 35, 170, 75))
    assert asked(scene(LIVER, kidney), "direction") == []
    inside = structure("cyst", (22, 55, 32, 68))
    assert asked(scene(LIVER, inside), "direction") == []
    assert asked(scene(LIVER, structure("union of lungs", (130, 35, 170, 75))), "direction") == []


def test_nearest_by_hand():
    drawn = scene(LIVER, STOMACH, SPLEEN, GALL)
    # From the liver: gallbladder 41, stomach 110, spleen 163 mm. From the spleen: stomach 105, gallbladder 128, liver 163 mm.
    found = [q for q in asked(drawn, "nearest") if q.about == ("liver",)]
    assert {(q.right, frozenset(q.options)) for q in found} == {
        ("gallbladder", frozenset(("gallbladder", "stomach", "spleen"))),
        ("stomach", frozenset(("stomach", "spleen"))),
    }
    from_spleen = {frozenset(q.options) for q in asked(drawn, "nearest") if q.about == ("spleen",)}
    assert from_spleen == {frozenset(("stomach", "liver")), frozenset(("gallbladder", "liver"))}
    assert all(q.needs[0] == q.about[0] for q in found)


def test_four_options_where_four_qualify():
    far = [structure(n, (x, 180, x + 6, 186)) for n, x in (("bladder", 20), ("colon", 60), ("rectum", 100))]
    sizes = {
        len(q.options) for q in asked(scene(LIVER, GALL, *far), "nearest") if q.about == ("liver",) and q.right == "gallbladder"
    }
    assert sizes == {4}


def test_which_direction_by_hand():
    found = rights(scene(LIVER, STOMACH, SPLEEN, GALL), "which_direction", seeds=60)
    assert found[("left", "gallbladder")] == {"stomach", "spleen"}
    assert found[("right", "gallbladder")] == {"liver"}
    # Only the spleen lies further back than the stomach by 5% of 200 mm, and nothing further to the front.
    assert ("posterior", "stomach") not in found
    for question in asked(scene(LIVER, STOMACH, SPLEEN, GALL), "which_direction"):
        assert question.about[1] not in question.options
        assert question.needs[0] == question.about[1]
