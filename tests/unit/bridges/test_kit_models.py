"""Model classes asked the way the runners of the kits ask; answers are those of the model asked directly."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import recorded_kits
from PIL import Image

from unireason.bridges.answering import Answerer
from unireason.bridges.export import export
from unireason.bridges.medevalkit import UniReason as MedEvalKitModel
from unireason.core.errors import FormatError, UniReasonError
from unireason.data.frames import rule
from unireason.engine.reasoner import Question
from unireason.evaluate.suites.base import open_suite


@pytest.fixture(scope="module")
def pair():
    """A question about a picture and one about a volume."""
    return open_suite("phantom", options={"questions": "1"})


@pytest.fixture(scope="module")
def task(tmp_path_factory, pair):
    """The exported questions: their folder and the documents."""
    folder = tmp_path_factory.mktemp("kits") / "task"
    export(pair, "lmms-eval", folder, frame=rule("phantom"))
    return folder, [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def direct(reasoner, pair):
    """The traces of the same questions, asked directly."""
    asked = [(pair.read(entry.case), entry) for entry in pair.entries()]
    return [reasoner.ask(case, entry.question, options=entry.options) for case, entry in asked]


def prompt(doc):
    """In the form that VLMEvalKit and MedEvalKit share."""
    lines = [f"Question: {doc['question']}", "Options:", *(f"{c}. {o}" for c, o in zip("ABCD", doc["options"], strict=False))]
    return "\n".join([*lines, "Please select the correct answer from the options above. \n"])


def test_vlmevalkit_answers_are_those_of_the_model(bridge, task, direct, reasoner):
    folder, docs = task
    model = bridge("vlmevalkit").UniReason(reasoner)
    messages = [
        [
            *({"type": "image", "value": str(folder / path)} for path in doc["pictures"]),
            {"type": "text", "value": prompt(doc)},
        ]
        for doc in docs
    ]
    said = recorded_kits.vlmevalkit_run(model, messages, "unireason_phantom")
    assert said == [trace.answer.choice for trace in direct]
    worded = bridge("vlmevalkit").UniReason(reasoner, letter=False)
    assert recorded_kits.vlmevalkit_run(worded, messages[:1], "unireason_phantom") == [direct[0].answer.text]
    assert {len(doc["pictures"]) for doc in docs} == {1, rule("phantom").volume_shape[0]}
    assert all(trace.answer.choice for trace in direct)


def test_lmms_eval_answers_and_scores(bridge, task, direct, reasoner):
    folder, docs = task
    module = bridge("lmms_eval")
    made = module.manifest()
    assert (made.model_id, made.simple_class_path) == ("unireason", "unireason.bridges.lmms_eval.UniReason")
    model = module.UniReason.create_from_arg_string(
        {"model": reasoner, "full": True}, {"batch_size": 1, "max_batch_size": None, "device": "cpu"}
    )
    from test_suite_export import functions

    replies, scores = recorded_kits.lmms_eval_run(model, "unireason_phantom", functions(folder), docs)
    assert replies == [trace.raw_text for trace in direct]
    right = [float(trace.answer.choice == doc["letter"]) for trace, doc in zip(direct, docs, strict=True)]
    assert [score["accuracy"] for score in scores] == right
    for refused in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(UniReasonError, match="generate_until"):
            refused([])


def test_medevalkit_takes_one_picture_and_several(task, direct, reasoner):
    folder, docs = task
    samples = []
    for doc in docs:
        pictures = [Image.open(folder / path).convert("RGB") for path in doc["pictures"]]
        shown = {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}
        samples.append({"messages": {"system": "You are somebody else.", "prompt": prompt(doc), **shown}})
    model = MedEvalKitModel(reasoner, args=None)
    assert recorded_kits.medevalkit_run(model, samples) == [trace.answer.choice for trace in direct]
    first = [doc["kind"] for doc in docs].index("image")
    worded = MedEvalKitModel(reasoner, letter=False)
    assert worded.generate_output(samples[first]["messages"]) == direct[first].answer.text


def test_packages_that_are_missing_are_named(monkeypatch):
    import importlib
    import sys

    for kit, name in (("vlmeval", "vlmevalkit"), ("lmms_eval", "lmms_eval")):
        monkeypatch.setitem(sys.modules, kit, None)
        monkeypatch.delitem(sys.modules, f"unireason.bridges.{name}", raising=False)
        with pytest.raises(UniReasonError, match="not installed"):
            importlib.import_module(f"unireason.bridges.{name}")


class Counting:
    """A reasoner in its outer form: notes what it is asked, and answers with the number of options."""

    def __init__(self):
        self.asked = []

    def ask_many(self, case, questions, **how):
        self.asked.append((case.kind, len(questions), how))
        if any("broken" in question.text for question in questions):
            raise FormatError("the question is broken")
        return [[_Said(str(len(question.options)))] for question in questions]


class _Said:
    def __init__(self, text):
        self.raw_text, self.answer = f"<think></think>{text}", self
        self.text = text


def counting(**options):
    answerer = Answerer.__new__(Answerer)
    answerer._reasoner, answerer._full, answerer._skip, answerer._how = Counting(), False, False, {}
    answerer._letter, answerer._case, answerer.skipped = False, None, 0
    for key, value in options.items():
        setattr(answerer, f"_{key}", value)
    return answerer


DARK, LIGHT = np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)


def test_questions_in_a_row_about_the_same_pictures_are_one_call():
    answerer = counting(how={"max_looks": 1})
    asked = [([DARK], "What?"), ([DARK.copy()], "Is it?\nA. yes\nB. no"), ([LIGHT], "What?"), ([DARK, LIGHT], "What?")]
    assert answerer.answers(asked) == ["0", "2", "0", "0"]
    assert answerer._reasoner.asked == [(kind, n, {"max_looks": 1}) for kind, n in (("image", 2), ("image", 1), ("volume", 1))]
    assert answerer.answers([]) == []


def test_a_question_that_cannot_be_asked_ends_the_run_or_is_counted(caplog):
    bad = [([], "What?"), ([DARK], "a broken one"), ([DARK], "What?"), ([DARK, DARK[:4]], "What?")]
    for one in (bad[0], bad[1], bad[3]):
        with pytest.raises(FormatError):
            counting().answers([bad[2], one])
    answerer = counting(skip=True)
    with caplog.at_level(logging.WARNING):
        assert answerer.answers(bad) == ["", "", "0", ""]
    assert (answerer.skipped, len(caplog.records)) == (3, 3)


def test_settings_are_checked_and_passed_on(reasoner):
    with pytest.raises(FormatError, match="samples"):
        Answerer(reasoner, samples=2)
    with pytest.raises(FormatError, match="unknown setting"):
        Answerer(reasoner, temperature=1)
    short = Answerer(reasoner, max_new_tokens=1)
    assert short.answers([([DARK], "What is it?")]) == [""]


def test_dialogues_have_no_picture():
    model = MedEvalKitModel.__new__(MedEvalKitModel)
    assert model.process_messages({"messages": [{"role": "user", "content": "Hello"}]}) == ([], "Hello")
    assert model.process_messages({"prompt": "What?"}) == ([], "What?")
    assert Question("What?").options == ()
