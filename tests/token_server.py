"""A small server with vLLM's token route that computes with the library's own network; faults can be planted."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from PIL import Image

from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import picture_ids

KEY = "a key of the tests"
_ONE_AT_A_TIME = threading.Lock()  # the library's network keeps its count of positions in itself


class TokenServer:
    """Greedy answers of a checkpoint; ``faults`` are used up one a request: a status, or "cut" to break a stream off, "expand" to read
    more pads than were sent, "garbage" for an answer that is no JSON."""

    def __init__(self, checkpoint: Checkpoint, *, context: int = 4096) -> None:
        self.checkpoint, self.context = checkpoint, context
        self.faults: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.hung_up = 0
        self._pictures: dict[str, Image.Image] = {}

    def forget(self) -> None:
        """Lose all pictures, as a cache that ran full."""
        self._pictures.clear()

    def read(self, body: dict[str, Any]) -> tuple[list[int], list[Image.Image]]:
        """Expanded ids and pictures; KeyError for a picture that is neither sent nor known."""
        shown = []
        for part in body["content_parts"]:
            if "url" in part:
                data = base64.b64decode(part["url"].partition(",")[2])
                self._pictures[part["uuid"]] = Image.open(io.BytesIO(data)).convert("RGB")
            shown.append(self._pictures[part["uuid"]])
        made, left = self.checkpoint, iter(shown)
        ids: list[int] = []
        for token in body["token_ids"]:
            if token != made.ids.image_pad:
                ids.append(token)
                continue
            rows, columns = (s // made.patch for s in next(left).size[::-1])
            ids += picture_ids(made.ids, (1, rows, columns), merge=made.merge)[1:-1]
        return ids, shown

    @torch.inference_mode()
    def tokens(
        self, ids: list[int], shown: list[Image.Image], how: dict[str, Any]
    ) -> Iterator[tuple[int, list[tuple[int, float]]]]:
        """(token, its and the asked ids' log-probabilities) one after the other."""
        fed = self.checkpoint.image_processor(images=shown, return_tensors="pt")
        row = torch.tensor([ids])
        more: dict[str, Any] = {
            "mm_token_type_ids": (row == self.checkpoint.ids.image_pad).int(),
            "pixel_values": fed["pixel_values"],
            "image_grid_thw": fed["image_grid_thw"],
        }
        cache = None
        for _ in range(how["max_tokens"]):
            out = self.checkpoint.network(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=1, **more)
            cache, more = out.past_key_values, {}
            logits = out.logits[0, -1].float()
            chances = logits.log_softmax(0)
            for token, bias in how["logit_bias"].items():
                logits[int(token)] += bias
            token = int(logits.argmax())
            yield token, [(one, float(chances[one])) for one in (token, *how["logprob_token_ids"][:-1])]
            if token in how["stop_token_ids"]:
                return
            row = torch.tensor([[token]])


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def say(self, status: int, values: Any) -> None:
            data = values if isinstance(values, bytes) else json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def allowed(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {KEY}":
                return True
            self.say(401, {"error": "Unauthorized"})
            return False

        def do_GET(self) -> None:
            if self.allowed():
                self.say(200, {"data": [{"id": "served", "max_model_len": server.context}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return
            server.bodies.append(body)
            with _ONE_AT_A_TIME:
                self.answer(body)

        def answer(self, body: dict[str, Any]) -> None:
            if server.faults and isinstance(server.faults[0], int):
                fault = server.faults.pop(0)
                self.say(fault, {"error": {"message": "planted", "code": fault}})
                return
            try:
                ids, shown = server.read(body)
            except KeyError:
                self.say(400, {"error": {"message": "Cache miss for image at index 0 but data is not provided.", "code": 400}})
                return
            fault = server.faults.pop(0) if server.faults else None
            if fault == "garbage":
                self.say(200, b"<html>")
                return
            told = [*ids, ids[-1]] if fault == "expand" else ids
            drawn = server.tokens(ids, shown, body["sampling_params"])
            if not body["stream"]:
                self.say(200, {"prompt_token_ids": told, "choices": [self.choice(list(drawn))]})
                return
            self.send_response(200)
            self.end_headers()
            try:
                for count, one in enumerate(drawn):
                    if fault == "cut" and count == 3:
                        break
                    event = {"choices": [self.choice([one])], **({} if count else {"prompt_token_ids": told})}
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                    self.wfile.flush()
                else:
                    self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                server.hung_up += 1
            self.close_connection = True

        @staticmethod
        def choice(drawn: list[Any]) -> dict[str, Any]:
            content = [
                {"logprob": chances[0][1], "top_logprobs": [{"token_id": t, "logprob": c} for t, c in chances]}
                for _, chances in drawn
            ]
            return {"token_ids": [token for token, _ in drawn], "logprobs": {"content": content}}

    return Handler


@contextmanager
def served(server: TokenServer) -> Iterator[str]:
    """The address of a running server."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
