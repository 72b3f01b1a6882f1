from __future__ import annotations

import asyncio
import base64
import io
import json
import pickle
import random
import re
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import annotators
import numpy as np
import pytest
from annotate_samples import (
    IMPLICIT_SPLEEN,
    LARGEST,
    NEAREST,
    QUADRANT,
    image_scene,
    phantom_tasks,
    scene,
    structure,
    task,
    volume_scene,
)
from fake_endpoint import Act, FakeEndpoint, completion
from PIL import Image

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import sha256
from unireason.data.build_store import BuildConfig
from unireason.data.frames import marked, rule
from unireason.data.pipeline import build
from unireason.data.rationale import prompt
from unireason.data.rationale.llm import LlmAnnotator
from unireason.data.rationale.prompt import LlmSettings
from unireason.data.rationale.template import Annotation, Dropped, TemplateAnnotator
from unireason.data.scene import FAMILIES, IMPLICIT, DataQuestion, Midline

BOX = "<|box_start|>[80,60,100,90]<|box_end|>"
SEEN = f"I look at the spleen {BOX}. It lies behind the middle, on the left side."
GOOD = f"{SEEN} So the answer is left posterior B.</think>B. left posterior"
WRONG_BOX = GOOD.replace("80,60,100,90", "1,2,30,40")
WRONG_ANSWER = GOOD.replace("</think>B. left posterior", "</think>A. left anterior")
KEY = "sk-very-secret-0123456789"
BLIND = LlmSettings()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def settings(tmp_path):
    """The answer is told, so that every fault can be sent back."""
    short = {"retries": 2, "backoff_s": 0.01, "max_backoff_s": 0.3, "timeout_s": 2.0}
    return LlmSettings(cache=tmp_path / "replies", concurrency=4, blind=False, **short)


def tasks(count, question=QUADRANT):
    """Tasks that differ in their question, so that no reply serves two of them."""
    return [task(replace(question, text=f"{question.text} ({n})"), image_scene(), n) for n in range(count)]


def _lines(one):
    return prompt.messages(one, BLIND)[1]["content"].splitlines()


def number_of(request):
    return int(re.search(r"\((\d+)\)", request["messages"][1]["content"])[1])


def run(act, settings, count=1, port=0, **changes):
    """Annotate against a server that acts so; gives results, statistics and the server."""
    with FakeEndpoint(act, port).running() as server:
        annotator = LlmAnnotator(server.url, "some-model", settings=replace(settings, **changes))
        return annotator.annotate(tasks(count)), annotator.stats, server


def scripted(*acts):
    """One act a request, the last one for all that follow."""
    return lambda _, number: acts[min(number, len(acts) - 1)]


def test_a_good_reply_becomes_an_annotation(settings):
    (found,), stats, server = run(scripted(Act(completion(GOOD))), settings)
    assert isinstance(found, Annotation)
    assert found.annotator == "llm/some-model"
    assert [p if isinstance(p, str) else p.label for p in found.reasoning][:2] == ["I look at the spleen ", "spleen"]
    assert server.paths == ["/v1/chat/completions"]
    assert stats.to_json() == {
        "asked": 1,
        "cached": 0,
        "retried": 0,
        "repaired": 0,
        "annotated": 1,
        "dropped": {},
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cost": 0.0,
    }


def test_the_request_holds_what_a_writer_needs(settings):
    _, _, server = run(scripted(Act(completion(GOOD))), settings, extra={"skip_special_tokens": False})
    (request,) = server.requests
    system, user = (m["content"] for m in request["messages"])
    assert request["model"] == "some-model"
    assert request["temperature"] == 0.7
    assert request["skip_special_tokens"] is False
    assert "</think>" in system
    for piece in (
        "spleen <|box_start|>[80,60,100,90]<|box_end|>: 410 pixels",
        "CT; 2D, frame 112 x 112 pixels",
        "B. left posterior",
        "Right answer: B",
        "Looked for and not there: stomach.",
        "Needed for the answer: spleen",
    ):
        assert piece in user


def test_no_pixels_and_no_identifiers_leave_the_machine(settings):
    _, _, server = run(scripted(Act(completion(GOOD))), settings)
    sent = json.dumps(server.requests)
    assert not any(word in sent for word in ("case-1", "patient-1", "sample-0", "base64", "image_url"))


def test_good_texts_are_kept_and_careless_or_rationalised_ones_are_not(settings):
    """On tasks of all families, each annotator asked over HTTP with the answer withheld, faulty texts sent back once."""
    asked = phantom_tasks()[::3]
    assert {t.question.family for t in asked} == {*FAMILIES, IMPLICIT}
    by_user = {_user(prompt.messages(one, BLIND)): one for one in asked}
    kept, reasons = {}, {}
    for play in (annotators.good, annotators.careless, annotators.rationalising):

        def act(request, _, play=play):
            one = by_user[_user(request["messages"])]
            body = play(one) if play is annotators.good else play(one, random.Random(one.id))
            return Act(completion(annotators.reply(one, body)))

        with FakeEndpoint(act).running() as server:
            annotator = LlmAnnotator(server.url, "m", settings=replace(settings, blind=True))
            found = annotator.annotate(asked)
        kept[play.__name__] = sum(isinstance(f, Annotation) for f in found) / len(asked)
        reasons[play.__name__] = annotator.stats.dropped
    assert kept["good"] >= 0.95
    assert max(kept["careless"], kept["rationalising"]) <= 0.05
    assert {"not_there", "answer_before_evidence", "unseen_number", "wrong_number", "wrong_side"} <= set(reasons["careless"])
    assert {"box_of_another", "wrong_brightness", "wrong_comparison", "wrong_number"} <= set(reasons["rationalising"])


def _user(messages):
    return messages[1]["content"]


def test_an_answer_that_is_withheld_has_to_be_found(settings):
    """Who finds another one is not asked again: that would tell it."""
    (found,), stats, server = run(scripted(Act(completion(WRONG_ANSWER))), settings, blind=True)
    assert (found.reason, stats.dropped, len(server.requests)) == ("disagrees", {"disagrees": 1}, 1)
    (found,), stats, server = run(scripted(Act(completion(WRONG_BOX)), Act(completion(GOOD))), settings, blind=True)
    assert isinstance(found, Annotation)
    (found,), _, server = run(scripted(Act(completion("B")), Act(completion(WRONG_ANSWER))), settings, blind=True)
    assert found.reason == "disagrees"
    told = server.requests[1]["messages"][3]["content"]
    assert "left posterior" not in told
    assert not re.search(r"\bB\b", told)


def test_a_withheld_answer_cannot_be_read_off_the_request():
    """Whichever option were right: the request would be the same, word for word."""
    for one in phantom_tasks()[::5]:
        question, scene = one.question, one.scene
        others = [replace(question, answer=n, needs=tuple(scene.structures)) for n in range(len(question.options))]
        if question.family == IMPLICIT:
            others = [replace(question, about=(n,), needs=(n,)) for n in scene.structures]
        for other in others:
            assert prompt.messages(replace(one, question=other), BLIND) == prompt.messages(one, BLIND)


def test_no_fact_about_an_option_is_told():
    for one in phantom_tasks()[::5]:
        for settings in (BLIND, replace(BLIND, blind=False)):
            text = json.dumps(prompt.messages(one, settings))
            assert not [f for f in one.question.facts if len(f) > 20 and f in text and f not in one.question.text]


def test_the_prompt_tells_the_midline_the_scale_and_the_parts():
    (kidneys,) = [line for line in _lines(task(LARGEST, image_scene())) if line.startswith("- kidneys")]
    assert "<|box_start|>[30,82,44,104]<|box_end|>" in kidneys
    assert "<|box_start|>[72,80,90,104]<|box_end|>" in kidneys
    assert "[30,80,90,104]" not in kidneys  # the box of both holds the spine
    found = replace(image_scene(), midline=Midline("spine", 0.0, 50.0))
    assert "midline of the body is at x 56, found by the spine" in _lines(task(QUADRANT, found))[0]
    assert "left" not in _lines(task(QUADRANT, replace(image_scene(), midline=Midline(""))))[0].replace(
        "not of left and right", ""
    )
    metric, plain = (
        json.dumps(prompt.messages(task(QUADRANT, image_scene(scale=s)), BLIND)) for s in ("Scale: a pixel measures 2 mm.", "")
    )
    assert "cm2 or ml may be stated" in metric
    assert "never write mm" in plain
    assert not re.search(r"\d mm", plain)


def test_what_is_asked_about_comes_first_among_what_is_not_there():
    question = DataQuestion("existence_verification", "present", ("stomach",), "?", ("yes", "no"), 1, ("", ""), ("spleen",))
    drawn = replace(image_scene(), absent=("bladder", "gallbladder", "stomach"))
    assert "Looked for and not there: stomach; bladder; gallbladder." in _lines(task(question, drawn))


def test_names_are_those_that_a_radiologist_says_and_are_read_back(settings):
    drawn = scene(structure("left iliac vena", (80, 60, 100, 90), (50, 40), 1300.0))
    question = replace(QUADRANT, about=("left iliac vena", "xy"), needs=("left iliac vena",))
    reply = GOOD.replace("the spleen", "the left common iliac vein")
    with FakeEndpoint(scripted(Act(completion(reply)))).running() as server:
        (found,) = LlmAnnotator(server.url, "m", settings=settings).annotate([task(question, drawn)])
    assert "iliac vena" not in json.dumps(server.requests)
    assert found.reasoning[1].label == "left iliac vena"


def test_each_family_has_its_recipe_and_tasks_differ_in_style():
    systems = {}
    for one in phantom_tasks()[::2]:
        systems.setdefault(one.question.family, set()).add(prompt.messages(one, BLIND)[0]["content"])
    recipes = {
        f: {s.partition("How to go about it: ")[2].partition("Manner: ")[0] for s in found} for f, found in systems.items()
    }
    assert len(set.union(*recipes.values())) >= len(FAMILIES) + 1
    styles = {s.partition("Manner: ")[2] for found in systems.values() for s in found}
    assert 6 <= len(styles) <= 10


def test_a_model_that_sees_gets_the_picture_with_the_boxes_drawn(settings):
    boxes = prompt.marks(task(QUADRANT, image_scene()))
    picture = marked([np.zeros((112, 112), np.uint8)], boxes)
    seen = replace(task(QUADRANT, image_scene()), picture=picture)
    with FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=replace(settings, vision=True))
        assert isinstance(annotator.annotate([seen])[0], Annotation)
        with pytest.raises(FormatError):
            annotator.annotate([task(QUADRANT, image_scene())])
    text, image = server.requests[0]["messages"][1]["content"]
    assert "spleen <|box_start|>[80,60,100,90]<|box_end|> (number 1)" in text["text"]
    data = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
    drawn = np.asarray(Image.open(io.BytesIO(data)))
    assert drawn.shape == (448, 448, 3)
    assert drawn[4 * 60 : 4 * 90, 4 * 80].any(axis=1).all()  # the left edge of the spleen's box
    assert not drawn[4 * 20 - 40 : 4 * 20 - 8].any()  # and nothing above the uppermost box


def test_a_build_draws_the_pictures_and_tells_drops_by_reason(settings, tmp_path):
    config = BuildConfig("phantom", None, {"patients": "2", "seed": "4"}, rule("phantom"), slices=1, unit_items=1)
    asked = []

    class Recorder(TemplateAnnotator):
        def annotate(self, tasks):
            asked.extend(tasks)
            return super().annotate(tasks)

    build(config, tmp_path / "plain", annotator=Recorder())
    seeing = replace(settings, blind=True, vision=True)
    by_text = {_user(prompt.messages(replace(one, picture=b"x"), seeing))[0]["text"]: n for n, one in enumerate(asked)}
    sizes = set()

    def act(request, _):
        text, image = _user(request["messages"])
        n = by_text[text["text"]]
        picture = base64.b64decode(image["image_url"]["url"].partition(",")[2])
        sizes.add((asked[n].scene.kind, Image.open(io.BytesIO(picture)).size))
        body = annotators.good(asked[n]) if n % 2 else annotators.careless(asked[n], random.Random(n))
        return Act(completion(annotators.reply(asked[n], body)))

    with FakeEndpoint(act).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=seeing)
        manifest = build(replace(config, annotator="llm", annotation={"vision": True}), tmp_path / "seen", annotator=annotator)
    assert manifest["counts"]["samples"] == len(asked) // 2
    assert manifest["counts"]["dropped"] == dict(sorted(annotator.stats.dropped.items()))
    assert sum(manifest["counts"]["dropped"].values()) == len(asked) - len(asked) // 2
    assert {kind for kind, _ in sizes} == {"image", "volume"}
    assert all(max(size) <= 3 * 448 for _, size in sizes)


def test_a_volume_is_shown_by_few_slices_of_bounded_size():
    shade = [np.full((1000, 500), 8 * z, np.uint8) for z in range(16)]
    picture = np.asarray(Image.open(io.BytesIO(marked(shade, prompt.marks(task(NEAREST, volume_scene()))))))
    assert max(picture.shape) <= 3 * 448
    middles = {6, 4, 10}  # of the two kidneys and the liver
    assert {int(v) // 8 for v in np.unique(picture[::7, ::7, 0]) if (picture[..., 0] == v).mean() > 0.1} == middles


def test_no_tasks_no_request(settings):
    found, stats, server = run(scripted(Act(completion(GOOD))), settings, count=0)
    assert (found, stats.asked, server.requests) == ([], 0, [])


@pytest.mark.parametrize(
    "bad",
    [
        Act(b"slow down", status=429),
        Act(b"oh no", status=500),
        Act(b"", status=502),
        Act(b"", status=503),
        Act(b"", status=504),
        Act(b"this is no json"),
        Act(b'{"choices": []}'),
        Act(b"[1, 2]"),
        Act(b"null"),
        Act(b'{"choices": [{"message": "text"}]}'),
        Act(b'{"choices": [{"message": {"content": 7}}]}'),
        Act(b"[" * 100_000),
        Act(completion(GOOD), cut=40),
        Act(completion(GOOD), wait_s=1.0),
    ],
    ids=["429", "500", "502", "503", "504", "garbage", "empty", "list", "null", "shape", "number", "deep", "cut", "slow"],
)
def test_a_failure_that_passes_is_retried(settings, bad):
    (found,), stats, server = run(scripted(bad, Act(completion(GOOD))), settings, timeout_s=0.4)
    assert isinstance(found, Annotation)
    assert (len(server.requests), stats.retried, stats.asked) == (2, 1, 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Act(b"", status=429), "rate_limited"),
        (Act(b"", status=503), "server_error"),
        (Act(b"no json"), "bad_reply"),
        (Act(completion(GOOD), cut=40), "connection"),
        (Act(completion(GOOD), wait_s=2.0), "timeout"),
    ],
)
def test_a_failure_that_stays_drops_the_task(settings, bad, reason):
    (found,), stats, server = run(scripted(bad), settings, timeout_s=0.8)
    assert isinstance(found, Dropped)
    assert found.reason == reason
    assert stats.dropped == {reason: 1}
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Act(b'{"error": {"message": "max_tokens is too large"}}', status=400), "refused"),
        (Act(completion("x" * 20_000)), "reply_too_large"),
        (Act(b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}'), "no_text"),
    ],
)
def test_what_no_retry_can_mend_is_dropped_at_once(settings, bad, reason):
    (found,), _, server = run(scripted(bad), settings, max_reply_bytes=10_000)
    assert found.reason == reason
    assert len(server.requests) == 1


def test_a_server_that_drips_for_ever_is_cut_off(settings):
    """Each byte comes in time, the whole does not."""
    with FakeEndpoint(scripted(Act(b"x", length=1000))).running() as server:
        begun = time.monotonic()
        (found,) = LlmAnnotator(server.url, "m", settings=replace(settings, timeout_s=0.2, retries=0)).annotate(tasks(1))
    assert found.reason == "timeout"
    assert time.monotonic() - begun < 1.5


def test_retry_after_is_honoured_in_seconds_and_as_a_date(settings):
    for value in ("0.25", format_datetime(datetime.now(timezone.utc) + timedelta(hours=1))):
        begun = time.monotonic()
        run(scripted(Act(status=429, headers={"Retry-After": value}), Act(completion(GOOD))), settings, seed=len(value))
        assert 0.24 < time.monotonic() - begun < 2.0  # an hour is cut to max_backoff_s


def test_nonsense_in_retry_after_does_no_harm(settings):
    for seed, value in enumerate(("soon", "-5", "nan", "inf", "")):
        begun = time.monotonic()
        acts = scripted(Act(status=429, headers={"Retry-After": value}), Act(completion(GOOD)))
        (found,), stats, _ = run(acts, settings, seed=seed, max_backoff_s=30.0)
        assert isinstance(found, Annotation)
        assert stats.retried == 1
        assert time.monotonic() - begun < 2.0


def test_a_faulty_text_is_sent_back_once_with_its_faults(settings):
    (found,), stats, server = run(scripted(Act(completion(WRONG_BOX)), Act(completion(GOOD))), settings)
    assert isinstance(found, Annotation)
    assert (stats.repaired, stats.asked) == (1, 2)
    last = server.requests[1]["messages"]
    assert [m["role"] for m in last] == ["system", "user", "assistant", "user"]
    assert last[2]["content"] == WRONG_BOX
    assert "matches no structure" in last[3]["content"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(WRONG_BOX, "box_without_structure"), (WRONG_ANSWER, "wrong_answer"), ("", "no_answer"), ("B", "no_answer")],
)
def test_what_is_faulty_twice_is_dropped_with_its_reason(settings, text, reason):
    (found,), stats, server = run(scripted(Act(completion(text))), settings)
    assert isinstance(found, Dropped)
    assert (found.reason, stats.dropped, stats.repaired) == (reason, {reason: 1}, 0)
    assert len(server.requests) == 2


def test_without_repair_there_is_one_request(settings):
    (found,), _, server = run(scripted(Act(completion(WRONG_BOX))), settings, repair=False)
    assert (found.reason, len(server.requests)) == ("box_without_structure", 1)


def test_a_text_cut_off_by_its_length_says_so(settings):
    (found,), _, server = run(scripted(Act(completion(GOOD[:60], finish="length"))), settings)
    assert found.reason == "cut_off"
    assert "write less" in server.requests[1]["messages"][3]["content"]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses the key"), (403, "refuses the key"), (404, "no model 'some-model'"), (307, "elsewhere")]
)
def test_what_no_task_can_survive_ends_the_run(settings, monkeypatch, status, words):
    monkeypatch.setenv("SOME_KEY", KEY)
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    with FakeEndpoint(scripted(Act(body, status=status, headers={"Location": "http://127.0.0.1:9/"}))).running() as server:
        annotator = LlmAnnotator(server.url, "some-model", settings=replace(settings, key_env="SOME_KEY"))
        with pytest.raises(UniReasonError, match=words) as caught:
            annotator.annotate(tasks(30))
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 8


def test_an_endpoint_that_is_not_there_ends_the_run(settings):
    with FakeEndpoint(scripted(Act())).running() as server:
        url = server.url
    with pytest.raises(UniReasonError, match="cannot be reached"):
        LlmAnnotator(url, "m", settings=settings).annotate(tasks(5))


def test_an_endpoint_that_goes_down_ends_the_run_instead_of_dropping_all(settings):
    def act(request, _):
        return Act(completion(GOOD)) if number_of(request) < 6 else Act(status=500)

    with FakeEndpoint(act).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=replace(settings, give_up_after=5, retries=0))
        with pytest.raises(UniReasonError, match="5 times in a row"):
            annotator.annotate(tasks(200))
        assert len(server.requests) < 30
        assert 1 <= annotator.stats.asked <= 6


def test_the_number_of_requests_at_once_is_bounded(settings):
    found, _, server = run(scripted(Act(completion(GOOD), wait_s=0.03)), settings, count=24, concurrency=3)
    assert all(isinstance(f, Annotation) for f in found)
    assert server.most_at_once == 3


def test_results_keep_the_order_of_the_tasks(settings):
    def act(request, _):
        n = number_of(request)
        return Act(completion(GOOD.replace("I look", f"Number {n}: I look")), wait_s=0.05 if n % 3 == 0 else 0.0)

    found, _, _ = run(act, settings, count=12)
    assert [f.reasoning[0].split(":")[0] for f in found] == [f"Number {n}" for n in range(12)]


def test_a_second_run_asks_nothing_and_gives_the_same(settings):
    def act(request, _):
        n = number_of(request)
        return Act(completion(WRONG_BOX if n % 3 == 1 and len(request["messages"]) == 2 else GOOD if n % 3 else WRONG_ANSWER))

    first, stats, server = run(act, settings, count=9)
    files = {p: sha256(p) for p in settings.cache.rglob("*.json")}
    second, again, server = run(lambda *_: Act(status=500), settings, count=9, port=server.port)
    assert second == first
    assert (server.requests, again.asked, again.cached) == ([], 0, stats.asked)
    assert (again.repaired, again.dropped) == (stats.repaired, stats.dropped) == (3, {"wrong_answer": 3})
    assert {p: sha256(p) for p in settings.cache.rglob("*.json")} == files
    assert all(
        re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{64}\.json", p.relative_to(settings.cache).as_posix()) for p in files
    )


def test_a_run_ended_half_way_goes_on_with_the_rest(settings):
    def act(request, _):
        return Act(status=401) if number_of(request) == 6 else Act(completion(GOOD))

    with FakeEndpoint(act).running() as server, pytest.raises(UniReasonError):
        LlmAnnotator(server.url, "some-model", settings=replace(settings, concurrency=1)).annotate(tasks(10))
    assert len(server.requests) == 7
    found, stats, server = run(scripted(Act(completion(GOOD))), settings, count=10, port=server.port)
    assert sorted(number_of(r) for r in server.requests) == [6, 7, 8, 9]
    assert (stats.cached, len(found)) == (6, 10)
    assert all(isinstance(f, Annotation) for f in found)


@pytest.mark.parametrize(
    "useless",
    [
        Act(completion(None, prompt_tokens=900, completion_tokens=100)),
        Act(completion(7, prompt_tokens=900, completion_tokens=100)),
        Act(completion([{"type": "image", "url": "x"}], prompt_tokens=900, completion_tokens=100)),
        Act(completion(WRONG_ANSWER, prompt_tokens=900, completion_tokens=100)),
        Act(completion(None, prompt_tokens=900, completion_tokens=100, refusal="I can't view images.")),
        Act(b'{"usage": {"prompt_tokens": 900, "completion_tokens": 100}}'),
        Act(b'{"usage": {"prompt_tokens": 900, "completion_tokens": 100}, "error": {"message": "overloaded"}}', status=503),
    ],
    ids=["null", "number", "parts", "faulty", "refusal", "shape", "status"],
)
def test_replies_of_no_use_are_paid_from_the_budget(settings, useless):
    """Every reply costs 1,000 tokens and none can be used: 5,000 are spent, whatever is asked and however often."""
    found, stats, server = run(
        scripted(useless), settings, count=40, budget_tokens=5000, retries=5, concurrency=8, price_prompt=1.0, give_up_after=99
    )
    assert len(server.requests) == 5
    assert (stats.prompt_tokens, stats.completion_tokens, stats.cost) == (4500, 500, pytest.approx(4.5e-3))
    assert found[-1].reason == "budget"


def test_requests_under_way_are_counted_before_they_answer(settings):
    """Sixteen workers and a budget of three replies: a reply that is under way is as good as spent."""
    _, stats, server = run(scripted(Act(completion(GOOD), wait_s=0.05)), settings, count=40, budget_requests=3, concurrency=16)
    assert (len(server.requests), stats.annotated) == (3, 3)
    _, _, server = run(scripted(Act(completion(GOOD), wait_s=0.3)), settings, count=40, budget_tokens=100_000, concurrency=16)
    assert server.most_at_once > 6


def test_what_was_paid_stays_paid_after_a_run_that_failed(settings):
    with FakeEndpoint(scripted(Act(completion(GOOD)), Act(status=401))).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=replace(settings, budget_requests=1, concurrency=1))
        annotator.annotate(tasks(1))
        annotator.annotate(tasks(9))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"code": "insufficient_quota", "type": "insufficient_quota", "message": "You exceeded your current quota"}),
        (429, {"code": None, "type": "insufficient_quota", "message": "Please check your plan"}),
        (429, {"message": "You exceeded your current quota, please check your plan and billing details."}),
        (402, {"message": "Insufficient Balance"}),
        (402, {}),
        (403, {"code": "billing_not_active", "message": "Your account is not active"}),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        (200, {"code": 402, "message": "This request requires more credits"}),
    ],
)
def test_a_spent_account_ends_the_run_at_once(settings, status, error):
    with FakeEndpoint(scripted(Act(json.dumps({"error": error}).encode(), status=status))).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=replace(settings, retries=5, concurrency=1))
        with pytest.raises(UniReasonError, match="quota"):
            annotator.annotate(tasks(10))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        {
            "code": "rate_limit_exceeded",
            "message": "Rate limit reached for requests per minute. Add credits to raise your limit.",
        },
        {"status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota. Retry in 12 s."},
        {"message": "Too many tokens, please wait before trying again."},
    ],
)
def test_a_busy_endpoint_is_asked_again_whatever_its_words(settings, error):
    busy = Act(json.dumps({"error": error}).encode(), status=429)
    (found,), stats, _ = run(scripted(busy, Act(completion(GOOD))), settings)
    assert isinstance(found, Annotation)
    assert stats.retried == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            400,
            {"error": {"code": "context_length_exceeded", "message": "maximum context length is 4096 tokens"}},
            "context_length",
        ),
        (
            400,
            {"message": "This model's maximum context length is 512 tokens. However, you requested 900 tokens"},
            "context_length",
        ),
        (500, {"error": {"message": "the request exceeds the available context size"}}, "context_length"),
        (413, {}, "context_length"),
        (422, {"detail": "temperature out of range"}, "refused"),
        (501, {}, "refused"),
    ],
)
def test_a_request_that_will_never_do_is_sent_once(settings, status, body, reason):
    (found,), _, server = run(scripted(Act(json.dumps(body).encode(), status=status)), settings, retries=5)
    assert (found.reason, len(server.requests)) == (reason, 1)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, {"code": "invalid_api_key", "message": "bad"}, "refuses the key"),
        (400, {"message": "API key not valid. Please pass a valid API key."}, "refuses the key"),
        (200, {"code": 401, "message": "No auth credentials found"}, "refuses the key"),
        (400, {"code": "model_not_found", "message": "The model 'x' does not exist"}, "no model"),
    ],
)
def test_key_and_model_are_told_by_their_codes(settings, status, error, words):
    refused = scripted(Act(json.dumps({"error": error}).encode(), status=status))
    with FakeEndpoint(refused).running() as server, pytest.raises(UniReasonError, match=words):
        LlmAnnotator(server.url, "m", settings=replace(settings, concurrency=1)).annotate(tasks(5))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": GOOD}],
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": GOOD[:30]}, {"type": "output_text", "text": GOOD[30:]}],
        [GOOD[:50], GOOD[50:]],
    ],
)
def test_a_text_in_parts_is_joined(settings, parts):
    (found,), stats, _ = run(scripted(Act(completion(parts))), settings)
    assert isinstance(found, Annotation)
    assert stats.asked == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "assistant"}, "no_text"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "no_text"),
        ({"role": "assistant", "content": [], "reasoning_content": "hm"}, "no_text"),
        ({"role": "assistant", "content": None, "refusal": "I cannot see pictures."}, "refusal"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot see pictures."}]}, "refusal"),
    ],
)
def test_a_message_without_a_text_is_sent_once(settings, message, reason):
    (found,), _, server = run(scripted(Act(json.dumps({"choices": [{"message": message}]}).encode())), settings, retries=5)
    assert (found.reason, len(server.requests)) == (reason, 1)


def test_replies_of_another_endpoint_are_not_taken(settings):
    """Servers call any model "default"; the same address in other letters is the same endpoint."""
    _, _, first = run(scripted(Act(completion(GOOD))), settings)
    _, stats, other = run(scripted(Act(completion(GOOD))), settings)
    assert (stats.asked, len(other.requests)) == (1, 1)
    with FakeEndpoint(scripted(Act(status=500)), first.port).running():
        for address in (f"HTTP://127.0.0.1:{first.port}/v1/", f" http://127.0.0.1:{first.port}/v1/chat/completions"):
            annotator = LlmAnnotator(address, "some-model", settings=settings)
            assert isinstance(annotator.annotate(tasks(1))[0], Annotation)
            assert annotator.stats.cached == 1


def test_other_sampling_or_model_asks_again(settings):
    port = 0
    for changes in ({}, {"temperature": 0.1}, {"seed": 5}, {"extra": {"top_k": 3}}, {"max_tokens": 2048}):
        _, stats, server = run(scripted(Act(completion(GOOD))), settings, port=port, **changes)
        assert stats.asked == 1
        port = server.port
    _, stats, _ = run(scripted(Act(status=500)), settings, port=port)
    assert (stats.asked, stats.cached) == (0, 1)


def test_damaged_cache_files_are_asked_again(settings):
    for damage in (b"", b"{", b"[]", b"{}", b'{"schema": "other"}', b'{"schema": "unireason.reply/1", "text": 1}', b"\xff"):
        _, _, server = run(scripted(Act(completion(GOOD))), settings)
        (kept,) = settings.cache.rglob("*.json")
        kept.write_bytes(damage)
        (found,), stats, _ = run(scripted(Act(completion(GOOD))), settings, port=server.port)
        kept.unlink()
        assert isinstance(found, Annotation)
        assert stats.asked == 1


def test_a_cache_that_cannot_be_written_ends_the_run(settings, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with (
        FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server,
        pytest.raises(UniReasonError, match="cannot be written"),
    ):
        LlmAnnotator(server.url, "m", settings=replace(settings, cache=blocked / "x")).annotate(tasks(1))


def test_the_key_is_sent_and_kept_nowhere(settings, monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    echo = completion(GOOD.replace("It lies", f"{KEY} it lies"))
    spelled = echo.replace(KEY.encode(), b"\\u0073" + KEY[1:].encode())
    found, stats, server = run(lambda _, n: Act(spelled if n else echo), settings, key_env="SOME_KEY", count=2)
    assert all("[key] it lies" in f.reasoning[2] for f in found)
    assert len(list(settings.cache.rglob("*.json"))) == 2
    assert server.keys[0] == f"Bearer {KEY}"
    assert all(KEY.encode() not in p.read_bytes() for p in settings.cache.rglob("*") if p.is_file())
    assert KEY not in repr((found, stats, settings))
    _, _, server = run(scripted(Act(completion(GOOD))), settings, seed=1, port=server.port)
    assert server.keys == [""]


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_used_is_refused_without_being_shown(settings, monkeypatch, value):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(UniReasonError, match="SOME_KEY") as caught:
        LlmAnnotator("http://127.0.0.1:9/v1", "m", settings=replace(settings, key_env="SOME_KEY")).annotate(tasks(1))
    assert not value or not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"budget_requests": 4}, {"budget_tokens": 480}, {"budget_money": 4e-4, "price_prompt": 1.0}],
    ids=["requests", "tokens", "money"],
)
def test_the_budget_ends_with_the_same_task_every_time(settings, changes):
    """A reply costs 120 tokens, or 1e-4 of money, so four of them are the budget."""
    found, stats, server = run(scripted(Act(completion(GOOD), wait_s=0.01)), settings, count=20, **changes)
    assert [isinstance(f, Annotation) for f in found] == [True] * 4 + [False] * 16
    assert {f.reason for f in found[4:]} == {"budget"}
    assert stats.dropped == {"budget": 16}
    assert len(server.requests) == 4
    again, stats, server = run(scripted(Act(status=500)), settings, count=20, port=server.port, **changes)
    assert again == found
    assert server.requests == []


def test_the_budget_spans_several_calls(settings):
    with FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=replace(settings, budget_requests=3))
        found = [annotator.annotate([one])[0] for one in tasks(5)]
    assert [isinstance(f, Annotation) for f in found] == [True, True, True, False, False]
    assert len(server.requests) == 3


def test_tokens_are_estimated_where_none_are_reported(settings):
    body = json.dumps({"choices": [{"message": {"content": GOOD}}], "usage": {"prompt_tokens": "many"}}).encode()
    _, stats, _ = run(scripted(Act(body)), settings, price_prompt=2.0, price_completion=4.0)
    assert stats.completion_tokens == -(-len(GOOD) // 4)
    assert stats.prompt_tokens > 200
    assert stats.cost == pytest.approx((2 * stats.prompt_tokens + 4 * stats.completion_tokens) / 1e6)


def test_it_works_in_worker_threads_and_inside_a_running_loop(settings):
    results = {}
    with FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server:
        annotator = LlmAnnotator(server.url, "m", settings=settings)

        async def inside():
            return annotator.annotate(tasks(2))

        threads = [threading.Thread(target=lambda n=n: results.update({n: annotator.annotate(tasks(3))})) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A thread of its own, because another test may have left a loop running in this one.
        loop = threading.Thread(target=lambda: results.update({"loop": asyncio.run(inside())}))
        loop.start()
        loop.join()
    assert [len(results[n]) for n in (0, 1, 2, "loop")] == [3, 3, 3, 2]
    assert (annotator.stats.asked, annotator.stats.cached) == (3, 8)


def test_a_copy_starts_afresh(settings):
    annotator = LlmAnnotator("http://127.0.0.1:9/v1", "m", settings=settings)
    annotator.stats.asked = 7
    copy = pickle.loads(pickle.dumps(annotator))
    assert (copy.name, copy.settings, copy.stats.asked) == ("llm/m", settings, 0)


def test_implicit_tasks_get_text_without_looks(settings):
    text = "The description speaks of something dark on the left side, behind the middle. Only the spleen matches this."
    with FakeEndpoint(scripted(Act(completion(f"{text}</think>spleen")))).running() as server:
        (found,) = LlmAnnotator(server.url, "m", settings=settings).annotate([task(IMPLICIT_SPLEEN, image_scene())])
        system = server.requests[0]["messages"][0]["content"]
    assert found == Annotation((text,), "llm/m")
    assert "Write no box" in system
    assert "<|box_start|>" not in system


def test_a_task_without_its_structures_is_dropped_without_a_request(settings):
    asked = DataQuestion("x", "y", (), "?", ("yes", "no"), 0, (), ("tail",))
    with FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server:
        (found,) = LlmAnnotator(server.url, "m", settings=settings).annotate([task(asked, image_scene())])
    assert found == Dropped("sample-0", "no_structure", "needs tail")
    assert server.requests == []


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/x?a=1", "/v1/x/chat/completions?a=1"),
    ],
)
def test_the_address_may_be_given_in_several_ways(settings, endpoint, path):
    with FakeEndpoint(scripted(Act(completion(GOOD)))).running() as server:
        LlmAnnotator(server.url + endpoint, "m", settings=settings).annotate(tasks(1))
    assert server.paths == [path]


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:8000", "file:///etc/passwd", "ftp://host/v1", "http://", "http://me:word@host/v1", "http://[::1"]
)
def test_other_addresses_are_refused(endpoint):
    with pytest.raises(FormatError) as caught:
        LlmAnnotator(endpoint, "m")
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 0},
        {"retries": -1},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"budget_tokens": -1},
        {"budget_money": 1.0},
        {"extra": {"model": "x"}},
        {"max_tokens": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(FormatError):
        LlmSettings(**changes)


def test_a_model_without_a_name_is_refused():
    with pytest.raises(FormatError):
        LlmAnnotator("http://127.0.0.1:9/v1", " ")
