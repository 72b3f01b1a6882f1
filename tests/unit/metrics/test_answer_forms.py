"""Answers in the styles in which models write them, with the option that each names; None where it names none, or several."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.metrics.answers import answer_choice, contradicts
from unireason.metrics.open_answers import same_text

OPTIONS = ("left kidney", "spleen", "liver", "right kidney")
FORMS = [
    # GPT style
    ("The correct answer is **B. spleen**.", "B"),
    ("The correct answer is **B) spleen**.", "B"),
    ("**Answer: B**", "B"),
    ("**Answer:** **B**", "B"),
    ("**Final Answer:** (B) spleen", "B"),
    ("### Final Answer\n\nB", "B"),
    ("### Answer\n**B. spleen**\n\n### Explanation\nThe organ lies on the left.", "B"),
    ("Answer: B\n\nExplanation: The liver lies on the other side.", "B"),
    ("Based on the image, the most likely answer is B.", "B"),
    ("Based on the image, the answer is most likely B.", "B"),
    ("My final answer is therefore: D", "D"),
    ("I'd go with C.", "C"),
    ("I would choose option (D).", "D"),
    ("I'll pick B, the spleen.", "B"),
    ("Option (C)", "C"),
    ("Option C", "C"),
    ("option c", "C"),
    ("Option C: liver", "C"),
    ("(C)", "C"),
    ("c)", "C"),
    ("c. liver", "C"),
    ("B.spleen", "B"),
    ("B.liver", "B"),  # a letter goes before a text
    ("The answer is B.liver", "B"),
    ("\uff22\uff0eliver", "B"),
    ("A.M. scan", None),
    ("B.5", None),
    ("C!", "C"),
    ("B;", "B"),
    ('["B"]', "B"),
    ("['B']", "B"),
    ("['A', 'B']", None),
    ("[B]", "B"),
    ("{B}", "B"),
    ("'B'", "B"),
    ('"B"', "B"),
    ("“B”", "B"),
    ("`B`", "B"),
    ("*B*", "B"),
    ("__B__", "B"),
    ("<b>B</b>", "B"),
    ("B spleen", "B"),
    ("B - spleen", "B"),
    ("B – spleen", "B"),
    ("B: spleen", "B"),
    ("(B): spleen", "B"),
    ("B, spleen", "B"),
    ("- B. spleen", "B"),
    ("* B", "B"),
    ("> B", "B"),
    ("1. B", "B"),
    ("The answer is (B).", "B"),
    ("The answer is [B].", "B"),
    ("The answer is 'B'.", "B"),
    ("The answer is: B", "B"),
    ("Answer - B", "B"),
    ("answer=B", "B"),
    ("ANSWER: B", "B"),
    ("Answer choice: (B)", "B"),
    ("Answer choice B", "B"),
    ("The answer choice is B.", "B"),
    ("Correct option: B", "B"),
    ("Choice: B", "B"),
    ("Selected: B", "B"),
    ("The letter is B.", "B"),
    # text
    ("Answer: spleen", "B"),
    ("Answer: The spleen.", "B"),
    ("The answer is spleen.", "B"),
    ("The answer is the left kidney.", "A"),
    ("The answer is the left kidney", "A"),
    ("spleen", "B"),
    ("Spleen.", "B"),
    ("SPLEEN", "B"),
    ("The spleen.", "B"),
    ("**spleen**", "B"),
    ('"spleen"', "B"),
    ("It is the spleen.", "B"),
    ("This is the spleen.", "B"),
    ("The structure is most likely the spleen.", "B"),
    ("The highlighted organ is the right kidney.", "D"),
    ("Spleen, because it lies on the left.", "B"),
    ("Spleen. It lies on the left.", "B"),
    ("the final answer is: liver", "C"),
    ("Final answer: liver (C)", "C"),
    ("The answer is liver (C).", "C"),
    ("I think it is the liver.", "C"),
    ("So the answer is liver.", "C"),
    ("Therefore, the spleen.", "B"),
    ("It's the spleen, not the liver.", "B"),
    # LaTeX
    ("\\boxed{B}", "B"),
    ("$\\boxed{B}$", "B"),
    ("\\[\\boxed{\\text{B. spleen}}\\]", "B"),
    ("\\boxed{spleen}", "B"),
    ("\\boxed{\\text{spleen}}", "B"),
    ("Therefore \\boxed{\\mathbf{C}}.", "C"),
    ("The answer is $\\text{B}$.", "B"),
    ("\\(B\\)", "B"),
    ("**\\boxed{B}**", "B"),
    # tags, JSON
    ("<answer>B</answer>", "B"),
    ("<answer>spleen</answer>", "B"),
    ("<answer> (B) spleen </answer>", "B"),
    ("<ANSWER>B</ANSWER>", "B"),
    ("<answer>The answer is B</answer>", "B"),
    ('{"answer": "B"}', "B"),
    ('{"answer": "B. spleen"}', "B"),
    ('{"answer": "spleen"}', "B"),
    ("{'answer': 'B'}", "B"),
    ('```json\n{"answer": "B"}\n```', "B"),
    ('{"choice": "B", "explanation": "A is too far left. The answer is not C."}', "B"),
    ('{"explanation": "Option A is the best at first sight", "final_answer": "D"}', "D"),
    ('{"answer": ["B"]}', "B"),
    ('{"answer": ["A", "C"]}', None),
    ('{"Answer": "B"}', "B"),
    ('{"answer": {"letter": "B", "text": "spleen"}}', "B"),
    ("answer: B\nreason: the organ lies on the left", "B"),
    # full width, Chinese and others
    ("Ｂ", "B"),
    ("（Ｂ）", "B"),
    ("Ｂ．spleen", "B"),
    ("答案：B", "B"),
    ("答案是B。", "B"),
    ("答案为 B", "B"),
    ("正确答案是B，因为它在左边。", "B"),
    ("选B", "B"),
    ("选择B", "B"),
    ("故选B。", "B"),
    ("因此选择（B）。", "B"),
    ("选项B是正确的", "B"),
    ("B选项正确", "B"),
    ("B是正确的", "B"),
    ("应选Ｂ", "B"),
    ("最终答案：Ｂ．", "B"),
    ("【答案】B", "B"),
    ("【B】", "B"),
    ("答案不是A，是B。", None),
    ("答案是A和C", None),
    ("不选B", None),
    ("A、C", None),
    ("答案是AC", None),
    ("La respuesta es B.", "B"),
    ("Respuesta: B", "B"),
    ("La réponse est B.", "B"),
    ("Réponse : B", "B"),
    ("Die Antwort ist B.", "B"),
    ("Antwort: B", "B"),
    ("A resposta é B.", "B"),
    ("Ответ: B", "B"),
    ("正解はBです。", "B"),
    ("정답은 B입니다.", "B"),
    ("정답: B", "B"),
    # Gemini, DeepSeek, Qwen
    ("Here's my reasoning: the organ lies left.\n\nTherefore, the correct option is **B**.", "B"),
    ("The best answer is B.", "B"),
    ("The best choice would be B because of its place.", "B"),
    ("A and B are wrong, so C. Liver", "C"),
    ("A is wrong. B is wrong. C is correct.", "C"),
    ("Not A, not B, so D.", "D"),
    ("It is not A. It is B.", "B"),
    ("A is incorrect because it is left. Thus, C.", "C"),
    ("Option A can be excluded. Option B fits best.", "B"),
    ("The answer is not A but B.", None),
    ("The answer is B, not A.", "B"),
    ("B, not A", "B"),
    ("B rather than A", "B"),
    ("B because A is too far left", "B"),
    ("B, since it is large", "B"),
    ("I am confident that it is B.", "B"),
    ("It must be C.", "C"),
    ("=> B", "B"),
    ("Thus → B", "B"),
    ("So, B.", "B"),
    ("Hence (B) is correct.", "B"),
    ("(B) is the correct answer.", "B"),
    ("B is the best answer.", "B"),
    ("Option B is the most likely.", "B"),
    ("B is correct because the organ is left of the stomach.", "B"),
    ("I believe B is the right answer", "B"),
    ("</think>\n\nB", "B"),
    ("<THINK>A</THINK>B", "B"),
    ("<Think>the answer is A</Think>\nThe answer is B", "B"),
    ("<think>A</think>\n\n**B**", "B"),
    ("B.\n", "B"),
    ("b", "B"),
    ("B<|im_end|>", "B"),
    ("Answer:B", "B"),
    ("answer is B", "B"),
    ("Ans: B", "B"),
    ("Ans. B", "B"),
    # negations, several, distractors, articles
    ("Hepatitis B is likely", None),
    ("Hepatitis B is likely.", None),
    ("It is hepatitis B.", None),
    ("Vitamin C is deficient", None),
    ("This is a type B dissection.", None),
    ("Stage C", None),
    ("The answer is hepatitis B", None),
    ("B and C", None),
    ("B or C", None),
    ("B/C", None),
    ("B, C", None),
    ("B & C", None),
    ("Both B and C are correct", None),
    ("The answers are B and C.", None),
    ("Answer: B, C", None),
    ("Answer: B and C", None),
    ("\\boxed{B, C}", None),
    ("<answer>A, B</answer>", None),
    ("(A) and (C)", None),
    ("BC", None),
    ("A C", None),
    ("Either B or C.", None),
    ("B. spleen or C. liver", None),
    ("spleen or liver", None),
    ("spleen and liver", None),
    ("The answer is spleen or liver.", None),
    ("Neither A nor B.", None),
    ("None of the above", None),
    ("All of them", None),
    ("I don't know.", None),
    ("I cannot tell; A, B, C and D are possible.", None),
    ("The answer is not B.", None),
    ("B is not correct.", None),
    ("B is wrong.", None),
    ("Option B is wrong.", None),
    ("option B can be excluded", None),
    ("Option B is unlikely.", None),
    ("I would not choose B.", None),
    ("don't choose B", None),
    ("It isn't B.", None),
    ("The wrong answer is B.", None),
    ("Is it B?", None),
    ("B?", None),
    ("If the answer is B, the organ would be left.", None),
    ("Some would say the answer is B.", None),
    ("One might think B.", None),
    ("It could be the spleen.", None),
    ("It is not the spleen.", None),
    ("There is no spleen.", None),
    ("It lies next to the spleen.", None),
    ("Unlike the spleen.", None),
    ("whether it is the spleen", None),
    ("A mass lies there.", None),
    ("A large mass", None),
    ("a mass", None),
    ("I see a mass", None),
    ("The answer is a cyst.", None),
    ("kidney", None),
    ("T2 image", None),
    ("E. none", None),
    ("The answer is E", None),
    ("e.g. a cyst", None),
    ("i.e. a cyst", None),
    ("", None),
    ("...", None),
    ("A: B", None),
    ("Options: A. left kidney, B. spleen, C. liver", None),
    ("A. left kidney\nB. spleen\nC. liver\nD. right kidney", None),
    ("A. left kidney\nB. spleen\nC. liver\nD. right kidney\n\nAnswer: C", "C"),
    ("A and B are wrong.", None),
    ("C reactive protein is high.", None),
    ("B cells are seen.", None),
    ("D-dimer", None),
    ("A-line artefacts", None),
]


@pytest.mark.parametrize(("response", "choice"), FORMS)
@pytest.mark.parametrize("thought", ["", "<think>A. left kidney? The answer is D.</think>", "Surely D.</THINK>\n\n"])
def test_forms(response, choice, thought):
    if "<think>" in response.lower() and thought:
        return
    assert answer_choice(thought + response, "ABCD", OPTIONS) == choice


@pytest.mark.parametrize(("response", "choice"), FORMS)
def test_without_the_texts_no_other_letter_is_read(response, choice):
    assert answer_choice(response, "ABCD") in (choice, None)


YES = ("yes", "no")
HEPATITIS = ("hepatitis A", "hepatitis B", "hepatitis C")
GERMS = ("S. aureus", "E. coli", "C. difficile", "K. pneumoniae", "A. baumannii")
CELLS = ("T cell lymphoma", "B cell lymphoma", "NK cell lymphoma", "Hodgkin")
SIDES = ("left", "right")
BOXES = ("[50,78,62,90]", "[50,71,62,85]")


@pytest.mark.parametrize(
    ("options", "response", "choice"),
    [
        (YES, "The answer is yes.", "A"),
        (YES, "Yes", "A"),
        (YES, "Yes, there is no midline shift.", "A"),
        (YES, "No, there is no effusion.", "B"),
        (YES, "No evidence of effusion.", None),
        (YES, "There is no effusion.", None),
        (YES, "yes and no", None),
        (YES, "A. no", "A"),
        (YES, '{"answer": "yes"}', "A"),
        (HEPATITIS, "Hepatitis B is likely", "B"),
        (HEPATITIS, "It is hepatitis B.", "B"),
        (HEPATITIS, "The answer is hepatitis C.", "C"),
        (HEPATITIS, "Hepatitis A or hepatitis B", None),
        (GERMS, "E. coli", "B"),
        (GERMS, "The answer is E. coli.", "B"),
        (GERMS, "C. difficile", "C"),
        (GERMS, "A. baumannii", "E"),
        (GERMS, "B. E. coli", "B"),
        (GERMS, "E. A. baumannii", "E"),
        (CELLS, "The answer is B cell lymphoma.", "B"),
        (CELLS, "D. B cell lymphoma", "D"),
        (SIDES, "It is on the left.", "A"),
        (SIDES, "That is right.", None),
        (("True", "False"), "B. False", "B"),
        (("True", "False"), "The statement is false.", "B"),
        (("1", "2", "3", "4"), "The answer is 3.", "C"),
        (("3.5 cm", "35 cm"), "35 cm", "B"),
        (("kidney", "left kidney", "kidney stone"), "left kidney", "B"),
        (("kidney", "left kidney", "kidney stone"), "The answer is kidney stone.", "C"),
        (("kidney", "left kidney", "kidney stone"), "The answer is kidney stones.", None),
        (("cyst", "cyst"), "cyst", None),
    ],
)
def test_letters_and_texts_together(options, response, choice):
    assert answer_choice(response, "ABCDE"[: len(options)], options) == choice


# Sentences that name nothing, however many letters and texts they hold.
DISTRACTORS = [
    "Option {L} is wrong.", "option {L} can be ruled out.", "{L} is not correct.", "It is not {L}.", "The answer is not {L}.",
    "I would not choose {L}.", "Hepatitis {L} is likely.", "Vitamin {L} is low.", "A mass lies near the {T}.", "It is next to the {T}.",
    "{L} and {M} are wrong.", "Neither {L} nor {M} fits.", "Grade {L} disease.", "The {T} looks normal.", "Some would answer {L}.",
    "If {L} were right, the {T} would be larger.", "{L} is unlikely.", "Option {L} ({T}) is excluded.", "{L}. {T} is incorrect.",
    "({L}) {T}: wrong, too small.", "- {L}: {T}, no.", "Compared with option {L}, it is larger.", "The {T} may be involved.",
    "I considered {L} and {M}.", "Is it {L}?", "{L} cells are seen.", "The wrong answer is {L}.", "The least likely answer is {L}.",
    "An incorrect choice: {L}", "{L} cannot be right.", "Do not pick {L}.", "Answer {L} is wrong.", "It cannot be {L}.", "{L} is false.",
    "This rules out {L}.", "The answer is {L} or {M}.", "Both {L} and {M} are possible.", "Perhaps the {T}.", "{L}?", "It is not the {T}.",
    "The answer {L} is what a novice would say.", "The answer is {L}, but that is wrong.",
]  # fmt: skip
NAMING = [
    "The answer is {L}.",
    "Answer: {L}",
    "So the answer is ({L}).",
    "**{L}. {T}**",
    "\\boxed{{{L}}}",
    "{L} is correct.",
    "Final answer: {T}",
]


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(DISTRACTORS), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=5),
    st.none() | st.tuples(st.sampled_from(NAMING), st.booleans()),
    st.sampled_from([" ", "\n", "\n\n"]),
    st.booleans(),
)
def test_distractors_never_give_a_wrong_letter(right, others, naming, gap, texts):
    def filled(form, first, second):
        return form.format(L="ABCD"[first], M="ABCD"[second], T=OPTIONS[first])

    said = [filled(form, (right + a) % 4, (right + (a + b - 1) % 3 + 1) % 4) for form, a, b in others]
    if naming:
        said.insert(0 if naming[1] else len(said), filled(naming[0], right, right))
    assert answer_choice(gap.join(said), "ABCD", OPTIONS if texts else ()) in (None, "ABCD"[right])


@pytest.mark.parametrize("naming", NAMING)
def test_a_naming_alone_is_read(naming):
    assert answer_choice(naming.format(L="B", T="spleen"), "ABCD", OPTIONS) == "B"


@pytest.mark.parametrize(
    ("response", "options", "against"),
    [
        ("A. liver", SIDES, True),
        ("A: A. liver", SIDES, False),  # names nothing for sure
        ("A. right", SIDES, True),
        ("The answer is B. left", SIDES, True),
        ("**A. liver**", SIDES, True),
        ("\\boxed{A. liver}", SIDES, True),
        ("right (A)", SIDES, True),
        ("A. no", YES, True),
        ("A. spleen", ("liver", "spleen"), True),
        ("A. left", SIDES, False),
        ("A. Left side", SIDES, False),
        ("A. The left one because it is big", SIDES, False),
        ("A, because the organ is big", SIDES, False),
        ("A. The mass is large.", SIDES, False),
        ("B. It is enlarged", SIDES, False),
        ("A", SIDES, False),
        ("left (A)", SIDES, False),
        ("B. kidney", ("spleen", "left kidney"), False),
        ("A. left<|im_end|>", SIDES, False),
        ("A. [50,78,62,90]", BOXES, False),
        ("The right option is A. [50, 78, 62, 90].", BOXES, False),
        ("A. [50,71,62,85]", BOXES, True),
        ("A. right, lower", ("left, upper", "right, lower"), True),
        ("A. left, upper", ("left, upper", "right, lower"), False),
        ("spleen", ("spleen", "liver"), False),
        ("", SIDES, False),
        ("A.liver", SIDES, True),
        ("The answer is A.right", SIDES, True),
        ('{"answer": "A", "answer_text": "right"}', SIDES, True),
        ("It is the right one, so the answer is A", SIDES, False),
        ("\u9009\u62e9A\u9009\u9879", SIDES, False),
        ("A. Most likely", SIDES, False),
        ("A, definitely", SIDES, False),
        ("Answer: A. Confidence: high", SIDES, False),
        ("A\nThe right one is not visible.", SIDES, False),
        ("A. not visible", ("visible", "not visible"), True),
        ("Looking at the right one, the answer is A", SIDES, False),
    ],
)
def test_letter_and_text_contradict_each_other(response, options, against):
    assert contradicts(response, "AB", options) is against


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u092e\u0942\u0924\u094d\u0930", "\u092e\u093f\u0924\u094d\u0930"),  # Hindi: urine, friend
        ("\u0995\u09be\u09a8", "\u0995\u09bf\u09a8"),  # Bengali vowel signs
        ("\u0b95\u0bb2\u0bcd", "\u0b95\u0bbe\u0bb2\u0bcd"),  # Tamil: stone, leg
        ("\u0643\u064e\u0628\u0650\u062f", "\u0643\u064f\u0628\u0651\u062f"),  # Arabic vowel signs
        ("\u0e01\u0e32", "\u0e01\u0e35"),  # Thai
        ("\u05d1\u05bc\u05b7\u05ea", "\u05d1\u05bc\u05b5\u05ea"),  # Hebrew points
        ("\u0c95\u0cbe\u0cb2\u0cc1", "\u0c95\u0cb2\u0ccd\u0cb2\u0cc1"),  # Kannada: leg, stone
    ],
)
def test_combining_marks_make_words(one, other):
    assert not same_text(one, other)
    assert same_text(one, unicodedata.normalize("NFD", one))
    assert same_text(f"{one}.", f"\u200e{one}")
    assert answer_choice(other, "AB", (one, other)) == "B"
