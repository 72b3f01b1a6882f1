"""Tokens from a server: the same answers as from weights in this process, whatever the server forgets, refuses or breaks off."""

from __future__ import annotations

import importlib.util
import math

import pytest
from tests.token_server import KEY, TokenServer, served

from unireason.core.errors import MissingExtraError, ModelError
from unireason.engine import served as back_end
from unireason.engine.reasoner import Question, load
from unireason.evaluate.suites.base import open_suite
from unireason.model import checkpoint
from unireason.model.files import locate


@pytest.fixture(scope="module")
def local():
    return load("phantom")


@pytest.fixture(scope="module")
def asked():
    """Two cases with two questions each: a picture and a volume."""
    suite = open_suite("phantom", None, options={"questions": "2", "frame": str(locate("phantom"))})
    chosen = {}
    for entry in suite.entries():
        chosen.setdefault(suite.read(entry.case).kind, entry)
    again = "Is there a lesion in the liver?"
    return [(suite.read(e.case), [Question(e.question, e.options), Question(again, ("yes", "no"))]) for e in chosen.values()]


@pytest.fixture(scope="module")
def right(local, asked):
    return answers(local, asked)


@pytest.fixture
def server(local):
    return TokenServer(local.checkpoint)


@pytest.fixture
def connected():
    """Opens models behind servers, and closes their connections in the end."""
    opened = []

    def connect(*urls):
        opened.append(load("phantom", engine=urls))
        return opened[-1]

    yield connect
    for reasoner in opened:
        reasoner.engine.close()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(back_end.KEY, KEY)
    monkeypatch.setattr(back_end, "_REST", 0.05)


def answers(reasoner, asked, **how):
    found = reasoner.ask_cases([(case, reasoner.encode(case), questions) for case, questions in asked], **how)
    return [trace for case in found for samples in case for trace in samples]


def same(traces, others):
    assert [t.tokens.response for t in traces] == [t.tokens.response for t in others]
    for one, other in zip(traces, others, strict=True):
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=1e-4)
        assert repr(one.steps) == repr(other.steps)  # crops compare by identity


def test_answers_are_those_of_the_weights_here(connected, server, asked, right):
    assert sum(len([s for s in t.steps if s.type == "look"]) for t in right) >= 3
    with served(server) as url:
        reasoner = connected(url)
        traces = answers(reasoner, asked)
    same(traces, right)
    assert traces[0].provenance["engine"] == url
    assert "device" not in traces[0].provenance["checkpoint"]
    assert reasoner.checkpoint.device.type == "meta"
    pads = [body["token_ids"].count(reasoner.checkpoint.ids.image_pad) for body in server.bodies]
    assert pads == [len(body["content_parts"]) for body in server.bodies]
    assert all(body["sampling_params"]["max_tokens"] <= reasoner.checkpoint.profile.max_new_tokens for body in server.bodies)


def test_pictures_travel_once(connected, server, asked, right):
    with served(server) as url:
        reasoner = connected(url)
        same(answers(reasoner, asked), right)
        server.bodies.clear()
        same(answers(reasoner, asked), right)
        assert not any("url" in part for body in server.bodies for part in body["content_parts"])
        server.forget()
        same(answers(reasoner, asked), right)


def test_tokens_are_told_as_they_come(connected, server, asked, right):
    case, questions = asked[0]
    with served(server) as url:
        told = []
        trace = connected(url).ask(case, questions[0].text, options=questions[0].options, on_token=lambda *one: told.append(one))
    assert trace.tokens.response == right[0].tokens.response
    drawn = [i for i, flag in zip(trace.tokens.response, trace.tokens.sampled, strict=True) if flag]
    assert [token for _, token, _ in told] == drawn
    assert all(body["stream"] for body in server.bodies)


@pytest.mark.parametrize("faults", [[503, 429], ["garbage"], [500, 500, 500]])
def test_failures_that_pass_are_waited_out(connected, server, asked, right, faults):
    server.faults += faults
    with served(server) as url:
        same(answers(connected(url), asked[:1]), right[:2])
    assert not server.faults


def test_a_stream_that_breaks_off_goes_on_where_it_was(connected, server, asked, right):
    case, questions = asked[0]
    server.faults += ["cut", "cut"]
    with served(server) as url:
        told = []
        trace = connected(url).ask(case, questions[0].text, options=questions[0].options, on_token=lambda *one: told.append(one))
    assert trace.tokens.response == right[0].tokens.response
    assert len(told) == sum(trace.tokens.sampled)
    assert not server.faults


def test_work_of_a_dead_server_moves(connected, local, asked, right):
    living, dying = TokenServer(local.checkpoint), TokenServer(local.checkpoint)
    with served(living) as one:
        with served(dying) as other:
            reasoner = connected(one, other)
            same(answers(reasoner, asked), right)
        living.bodies.clear()
        same(answers(reasoner, asked), right)
        assert living.bodies


def test_questions_on_a_case_go_to_one_server(connected, local, asked, right):
    servers = TokenServer(local.checkpoint), TokenServer(local.checkpoint)
    with served(servers[0]) as one, served(servers[1]) as other:
        same(answers(connected(one, other), asked), right)
    first = [{body["content_parts"][0]["uuid"] for body in server.bodies} for server in servers]
    assert not first[0] & first[1]
    assert len(first[0] | first[1]) == 2


def test_ids_that_were_read_otherwise_are_an_error(connected, server, asked):
    server.faults += ["expand"]
    with served(server) as url, pytest.raises(ModelError, match="the server read"):
        answers(connected(url), asked[:1])


def test_one_bad_response_does_not_hurt_the_others(connected, server, asked, right, monkeypatch):
    """The failure is raised when all others are done."""
    kept = []
    real = back_end.start_session
    monkeypatch.setattr(back_end, "start_session", lambda *a: kept.append(real(*a)) or kept[-1])
    server.faults += ["expand"]
    with served(server) as url, pytest.raises(ModelError):
        answers(connected(url), asked)
    assert sorted(s.finish or "" for s in kept) == ["", *["end_of_turn"] * (len(right) - 1)]


def test_a_listener_that_fails_hangs_up(connected, server, asked):
    case, questions = asked[0]

    def listen(place, token, text):
        raise RuntimeError("the listener fails")

    with served(server) as url:
        reasoner = connected(url)
        with pytest.raises(RuntimeError, match="the listener fails"):
            reasoner.ask(case, questions[0].text, on_token=listen)


def test_refusals_say_what_to_do(connected, server, asked, monkeypatch):
    monkeypatch.setattr(back_end, "_PATIENCE", 0.2)
    with served(server) as url:
        server.faults += [404]
        with pytest.raises(ModelError, match="--enable-scale-out"):
            answers(connected(url), asked[:1])
        server.faults += [400]
        with pytest.raises(ModelError, match="status 400"):
            answers(connected(url), asked[:1])
        server.faults += [503] * 100
        with pytest.raises(ModelError, match="no server answers"):
            answers(connected(url), asked[:1])
        server.faults.clear()
        monkeypatch.setenv(back_end.KEY, "another")
        with pytest.raises(ModelError, match=back_end.KEY) as refused:
            connected(url)
        assert "another" not in str(refused.value)
    with pytest.raises(ModelError, match="no server answers"):
        connected(url)
    with pytest.raises(ModelError, match="local"):
        load("phantom", engine=["sglang"])


def test_a_server_with_little_context_is_told(connected, local, asked):
    with served(TokenServer(local.checkpoint, context=64)) as url, pytest.raises(ModelError, match="--max-model-len"):
        answers(connected(url), asked)


def test_what_may_not_be_drawn_is_taken_out_of_the_probabilities():
    call = back_end.Call("", [], [], (), {"logit_bias": {7: -100.0, 8: -100.0}}, False)
    scored = {3: math.log(0.5), 7: math.log(0.125), 8: math.log(0.125), 9: math.log(0.1)}
    assert back_end._chance(call, 3, scored) == pytest.approx(math.log(0.5 / 0.75))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_told():
    with pytest.raises(MissingExtraError, match="vllm"):
        load("phantom", engine=["vllm"])


def test_an_outline_has_what_sessions_ask_for(local):
    outline = checkpoint.load("phantom", weights=False)
    whole = local.checkpoint
    for name in ("patch", "merge", "pixel_limits", "repetition_penalty", "max_context", "ids", "sha256", "name"):
        assert getattr(outline, name) == getattr(whole, name)
