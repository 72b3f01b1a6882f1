import re

from ask_scenes import asked, rights, scene, structure

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
