import re
from dataclasses import replace

from ask_scenes import asked, rights, scene, structure

from unireason.data.rationale.wording import wordings

LIVER = structure("liver", (20, 30, 80, 90))
STOMACH = structure("stomach", (130, 35, 170, 75))
SPLEEN = structure("spleen", (145, 145, 175, 175))
# Centre (-55, -45): inside the liver.
LESION = structure("lesion", (40, 50, 50, 60), neighbours=("liver",), contrast=-30.0)


def test_host():
    questions = asked(scene(LIVER, STOMACH, SPLEEN, LESION), "host")
    assert {q.right for q in questions} == {"liver"}
    assert {o for q in questions for o in q.options} == {"liver", "stomach", "spleen"}
    assert questions[0].needs == ("lesion", *questions[0].options)


def test_no_host_where_it_is_not_certain():
    beside = structure("lesion", (75, 50, 85, 60), neighbours=("liver",))
    assert asked(scene(LIVER, STOMACH, beside), "host") == []
    twice = structure("bowel", (30, 40, 100, 100))
    assert asked(scene(LIVER, twice, STOMACH, LESION), "host") == []
    far = structure("lesion", (40, 50, 50, 60))
    assert asked(scene(LIVER, STOMACH, far), "host") == []
    named = structure("liver tumor", (40, 50, 50, 60), neighbours=("liver",))
    assert asked(scene(LIVER, STOMACH, named), "host") == []
    assert asked(scene(LIVER, LESION), "host") == []


def test_brightness_needs_contrast():
    found = {}
    for contrast in (-60.0, -40.0, -12.0, -11.9, 4.9, 11.9, 12.0, 33.0, 35.0, 60.0):
        drawn = scene(structure("cyst", (40, 50, 50, 60), contrast=contrast))
        found[contrast] = rights(drawn, "brightness", seeds=3).get(("cyst",), set())
        assert {len(q.options) for q in asked(drawn, "brightness", seeds=3)} <= {4}
    assert found[-60.0] == {"clearly darker"}
    assert found[-12.0] == {"slightly darker"}
    assert found[4.9] == {"about as bright"}
    assert found[12.0] == found[33.0] == {"slightly brighter"}
    assert found[60.0] == {"clearly brighter"}
    assert not any(found[c] for c in (-40.0, -11.9, 11.9, 35.0))  # too near to the border between two words


def test_count_of_parts():
    cysts = structure("cysts", (40, 50, 90, 60), parts=[200, 200, 100])
    questions = asked(scene(cysts), "count", seeds=80)
    assert {q.right for q in questions} == {"3"}
    ranks = {sorted(q.options, key=int).index("3") for q in questions}
    assert ranks == {0, 1, 2}
    for question in questions:
        numbers = sorted(map(int, question.options))
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert numbers[0] >= 1


def test_parts_at_the_border_of_a_speck_are_not_counted():
    assert asked(scene(structure("cysts", (40, 50, 90, 60), parts=[490, 5])), "count") == []
    specks = structure("cysts", (40, 50, 90, 60), measure=10000, parts=[9980, 20], part_count=1)
    assert {q.right for q in asked(scene(specks), "count")} == {"1"}


def test_side_and_quadrant():
    assert rights(scene(LESION), "lesion_side") == {("lesion",): {"right"}}
    assert rights(scene(LESION, space="picture"), "lesion_side") == {("lesion",): {"left"}}
    assert rights(scene(LESION), "lesion_quadrant") == {("lesion", "xy"): {"right anterior"}}
    assert asked(scene(structure("left cyst", (40, 50, 50, 60))), "lesion_side") == []
    assert asked(scene(structure("cyst", (95, 50, 109, 60))), "lesion_side") == []


def test_extent():
    questions = asked(scene(structure("cyst", (40, 50, 60, 60))), "lesion_extent")  # 200 mm2
    assert questions
    for question in questions:
        low, high = map(float, question.right.removesuffix(" mm2").split(" to "))
        assert low * 1.05 <= 200 <= high / 1.05


def test_organs_are_no_lesions():
    assert not [
        q for seed in range(3) for ask in ("brightness", "count", "lesion_side") for q in asked(scene(LIVER), ask, seeds=seed)
    ]


def test_verbs_agree_with_lesions_in_the_plural():
    one, many = (
        {q.text for q in asked(scene(structure(name, (20, 30, 60, 70), contrast=30.0)), "brightness", seeds=60)}
        for name in ("cyst", "cysts")
    )
    assert "How bright is the cyst, seen against the tissue next to it?" in one
    assert "How bright are the cysts, seen against the tissue next to them?" in many
    assert not any(re.search(r"\b(does|is) the cysts\b", t, re.IGNORECASE) for t in many)


def test_nodules_are_graded_by_the_mean_of_both_diameters():
    nodule = structure("lung nodule", (40, 50, 50, 60), diameters=(9.0, 5.0))
    assert rights(scene(nodule), "grade") == {("lung nodule",): {"6 to 8 mm"}}
    assert asked(scene(structure("lung nodule", (40, 50, 50, 60), diameters=(9.0, 4.4))), "grade") == []  # 6.7, a pixel from 6
    assert asked(scene(nodule, unit="pixels"), "grade") == []


def test_a_spleen_is_graded_by_its_length_not_within_a_slice_of_the_border():
    def graded(height):
        return rights(scene(structure("spleen", (20, 30, 10, 60, 70, 10 + height)), kind="volume"), "grade")

    assert graded(120) == {("spleen",): {"not enlarged"}}
    assert graded(140) == {("spleen",): {"enlarged"}}
    assert graded(132) == {}


def test_every_threshold_names_a_publication_with_its_year():
    for row in wordings("thresholds")["chain"]:
        assert re.search(r"\b(?:19|20)\d\d\b", row["source"]), row["rule"]
        assert len(row["labels"]) == len(row["ends"]) + 1
        assert list(row["ends"]) == sorted(row["ends"])


def test_contact_and_distances_are_words_of_their_own():
    def told(**changes):
        lesion = structure("cyst", (40, 50, 50, 60), **changes)
        return rights(scene(lesion, structure("liver", (20, 30, 100, 110))), "contact", seeds=6).get(("cyst", "liver"), set())

    assert told(gaps={"liver": 1.0}, touching=("liver",)) == {"in contact"}
    assert told(gaps={"liver": 1.0}) == set()  # neither in contact nor clearly apart
    assert told(gaps={"liver": 6.0}) == {"up to 10 mm apart"}
    assert told(gaps={"liver": 9.5}) == set()
    assert told(gaps={"liver": 20.0}) == {"10 to 30 mm apart"}
    assert told(gaps={"liver": 45.0}) == {"more than 30 mm apart"}


def test_shapes_are_asked_about_far_from_their_borders():
    def told(*outline):
        return rights(scene(structure("cyst", (40, 50, 80, 90), outline=outline)), "shape", seeds=4).get(("cyst",), set())

    assert told(1.1, 0.97) == {"round"}
    assert told(1.6, 0.97) == {"oval"}
    assert told(2.6, 0.97) == {"elongated"}
    assert told(1.1, 0.7) == told(3.0, 0.7) == {"irregular"}
    assert not any((told(1.35, 0.97), told(2.0, 0.97), told(1.1, 0.84), told()))


def test_evenness_is_a_ratio_of_spreads():
    def told(one, other):
        lesion = structure("cyst", (40, 50, 80, 90), grey=(100.0, one, 0.0), neighbours=("liver",))
        drawn = scene(lesion, structure("liver", (20, 30, 100, 110), grey=(120.0, other, 0.0)))
        return rights(drawn, "evenness", seeds=4).get(("cyst", "liver"), set())

    assert told(20.0, 10.0) == {"less even"}
    assert told(5.0, 10.0) == {"more even"}
    assert told(10.0, 10.0) == {"about as even"}
    assert not any((told(13.0, 10.0), told(-1.0, 10.0)))


def test_attenuation_is_asked_with_its_window_alone():
    lesion = structure("cyst", (40, 50, 80, 90), grey=(127.5, 9.0, 0.0), neighbours=("liver",))
    liver = structure("liver", (20, 30, 100, 110), grey=(191.25, 9.0, 0.0))
    drawn = replace(scene(lesion, liver), hounsfield=(-160.0, 240.0))
    for ask, names in (("attenuation", {("cyst",): 40, ("liver",): 140}), ("attenuation_difference", {("cyst", "liver"): 100})):
        questions = asked(drawn, ask, seeds=6)
        assert {q.about for q in questions} == set(names)
        for question in questions:
            assert "black is -160 HU, white is 240 HU" in question.text
            low, high = map(int, re.findall(r"-?\d+", question.right))
            assert low + 5 <= names[question.about] <= high - 5
            assert len(question.options) == 4
            assert question.right.endswith("lower") == (ask == "attenuation_difference")
    assert asked(scene(lesion, liver), "attenuation", seeds=6) == []
    cut = structure("cyst", (40, 50, 80, 90), grey=(127.5, 9.0, 0.02))
    assert asked(replace(scene(cut), hounsfield=(-160.0, 240.0)), "attenuation", seeds=6) == []
