"""Another model by a chat endpoint: asked in our words and pictures, read by our readers."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from unireason.cli import main
from unireason.core.errors import ModelError
from unireason.engine import chat
from unireason.engine.chat import ChatEngine, ChatReasoner
from unireason.engine.reasoner import Question
from unireason.evaluate.suites.base import open_suite


@pytest.fixture
def endpoint(monkeypatch):
    """(address, bodies that came, statuses to send first); answers every question with its second option."""
    bodies, faults = [], []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append((self.path, self.headers.get("Authorization"), body))
            status = faults.pop(0) if faults else 200
            text = "<think>It looks <|vision_start|> so. <|box_start|>[1,2,3,4]<|box_end|></think>B."
            said = (
                {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
                if status == 200
                else {"error": "key-of-tests is wrong"}
            )
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv(chat.KEY, "key-of-tests")
    monkeypatch.setattr(chat.random, "uniform", lambda a, b: 0.0)
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", bodies, faults
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def asked():
    suite = open_suite("phantom", None, options={"questions": "2", "frame": "published"})
    chosen = {}
    for entry in suite.entries():
        chosen.setdefault(suite.read(entry.case).kind, entry)
    return [(suite.read(e.case), Question(e.question, e.options)) for e in chosen.values()]


def test_pictures_and_words_are_ours(endpoint, asked):
    url, bodies, _ = endpoint
    reasoner = ChatReasoner(ChatEngine(url, "some-model"), "some-model")
    for case, question in asked:
        trace = reasoner.ask(case, question.text, options=question.options)
        assert trace.answer.choice == "B"
        assert [look.executed for look in trace.looks] == [False]
        assert trace.tokens is None
        assert trace.provenance["engine"] == f"some-model at {url}"
        path, key, body = bodies.pop()
        assert (path, key) == ("/v1/chat/completions", "Bearer key-of-tests")
        system, user = body["messages"]
        assert system["content"][0]["text"].startswith(chat.PROFILE.system_3d[:30])
        pictures = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
        assert len(pictures) == trace.frame.depth == (32 if case.kind == "volume" else 1)
        shown = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
        assert shown.size == (trace.frame.width, trace.frame.height)
        text = user["content"][-1]["text"]
        assert question.text in text
        assert all(option in text for option in question.options)
        assert body["temperature"] == 0
        assert "seed" not in body


def test_failures_that_pass_are_tried_again_and_others_told_without_the_key(endpoint, asked):
    url, bodies, faults = endpoint
    reasoner = ChatReasoner(ChatEngine(url, "m"), "m")
    (case, question), *_ = asked
    faults += [429, 503]
    assert reasoner.ask(case, question.text, options=question.options).answer.choice == "B"
    assert len(bodies) == 3
    for status, said in ((401, chat.KEY), (404, "Check name and address")):
        faults.append(status)
        with pytest.raises(ModelError, match=said) as error:
            reasoner.ask(case, question.text)
        assert "key-of-tests" not in str(error.value)
    faults += [500] * 20
    with pytest.raises(ModelError, match="no answer"):
        reasoner.ask(case, question.text)
    with pytest.raises(ModelError, match="eval run"):
        reasoner.ground(case, "where?")
    with pytest.raises(ModelError, match="--base-url"):
        ChatEngine("", "m")


def test_a_run_gives_a_table(endpoint, tmp_path, capsys):
    url, bodies, _ = endpoint
    command = [
        "eval",
        "run",
        "--suite",
        "phantom",
        "--questions",
        "4",
        "--engine",
        "api",
        "--base-url",
        url,
        "--model",
        "gpt-like",
    ]
    assert main([*command, "--out", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(bodies) == 4
    assert '"n": 4' in json.dumps(found)
    assert "gpt-like" in (tmp_path / "run" / "results.json").read_text()
    assert main([*command, "--out", str(tmp_path / "run"), "--json"]) == 0  # goes on where it stopped: nothing is left to ask
    assert len(bodies) == 4
