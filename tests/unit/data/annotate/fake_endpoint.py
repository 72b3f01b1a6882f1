"""A chat endpoint on this machine that misbehaves as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, *, prompt_tokens=100, completion_tokens=20, finish="stop", **more):
    """Body of a chat completion; the text may be any JSON value, and the message may hold more."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    message = {"role": "assistant", "content": text, **more}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}).encode()


class Act:
    """What the server does with one request."""

    def __init__(self, body=b"", *, status=200, headers=(), wait_s=0.0, cut=0, length=None):
        self.body, self.status, self.headers = body, status, dict(headers)
        self.wait_s, self.cut, self.length = wait_s, cut, length


class FakeEndpoint:
    """A running server.

    Attributes:
        requests: Bodies of the requests that came, in order.
        paths: Their paths.
        keys: Their Authorization headers.
        port: Where it listens; kept replies are those of one address.
        most_at_once: Requests that were under way at the same time, at most.
    """

    def __init__(self, act: Callable[[dict, int], Act], port: int = 0) -> None:
        self.act, self.requests, self.paths, self.keys = act, [], [], []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    number = len(fake.requests)
                    fake.requests.append(body)
                    fake.paths.append(self.path)
                    fake.keys.append(self.headers.get("Authorization", ""))
                    fake._now += 1
                    fake.most_at_once = max(fake.most_at_once, fake._now)
                try:
                    self._answer(fake.act(body, number))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with fake._lock:
                        fake._now -= 1

            def _answer(self, act):
                time.sleep(act.wait_s)
                body = act.body[: len(act.body) - act.cut]
                self.send_response(act.status)
                self.send_header("Content-Length", str(act.length or len(act.body)))
                for name, value in act.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                if act.cut:
                    self.wfile.flush()
                    self.close_connection = True

            def log_message(self, *_):
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
