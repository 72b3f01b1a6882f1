"""Back ends whose weights live in a vLLM engine: in this process, or behind servers on the network.

The session stays here and decides with token ids; an engine gets the ids so far with one pad a picture, the pictures, and how to draw,
and gives ids back until a box closes, the turn ends or the round is full. Which ids it really read comes back with the answer and is
compared: pads that were expanded twice would not be noticed otherwise.

Source: vLLM, arXiv 2309.06180; its token route ``/inference/v1/generate``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import io
import json
import math
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.core.errors import MissingExtraError, ModelError
from unireason.core.types import Stack
from unireason.model import vision
from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import collapse_pads

from .case import EncodedCase, Request, prepare_case, start_session
from .local import OnToken, TextStream
from .sampling import Sampling
from .session import Finished, Inject, Session

if TYPE_CHECKING:
    import httpx2

KEY = "VLLM_API_KEY"
"""Variable with the servers' key, the one from which ``vllm serve`` takes it."""

IN_FLIGHT = 64
"""Responses that wait for one server at once; it decides itself how many run."""

_ROUTE = "/inference/v1/generate"
_BIAS = -100.0
_MOST_BIASED = 1024  # ids that no token belongs to; more of them would make every request heavy
_MOST_SCORED = 127  # ids whose log-probabilities come along with those of the token drawn
_PATIENCE = 120.0  # seconds for which servers that are all away are waited for
_REST = 5.0  # seconds for which a server that failed is left alone
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as an engine gets it.

    Attributes:
        name: Hash of its pixels: equal pictures are known by it, whatever case they belong to.
        pixels: uint8 (H, W, 3), of the size at which the network sees it.
    """

    name: str
    pixels: NDArray[np.uint8]

    @classmethod
    def of(cls, checkpoint: Checkpoint, picture: NDArray[np.uint8]) -> Shown:
        """A picture, uint8 (H, W) or (H, W, 3), at the size at which the network sees it."""
        sized = vision.resized(checkpoint, picture)
        colour = np.ascontiguousarray(sized if sized.ndim == 3 else np.repeat(sized[..., None], 3, axis=2))
        return cls(hashlib.sha256(repr(colour.shape).encode() + colour.tobytes()).hexdigest(), colour)

    def url(self) -> str:
        """The picture as the address of its own content, PNG."""
        out = io.BytesIO()
        Image.fromarray(self.pixels).save(out, "PNG", compress_level=1)
        return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@dataclass(frozen=True, slots=True)
class Call:
    """What an engine is asked for one round.

    Attributes:
        case: Hash of the case's pictures; questions on one case go to one server, which has its prefix.
        ids: All ids so far, one pad a picture.
        read: All ids so far as the network reads them.
        pictures: The pictures of the case and of all looks so far, in order.
        sampling: vLLM's names.
        piecewise: Whether tokens are wanted as they come, or all at once.
    """

    case: str
    ids: list[int]
    read: list[int]
    pictures: tuple[Shown, ...]
    sampling: Mapping[str, Any]
    piecewise: bool


class TokenEngine(Protocol):
    """Gives tokens for token ids and pictures."""

    place: str
    in_flight: int

    async def begin(self) -> int:
        """Start, or say hello; tokens that fit into its context."""

    def tokens(self, call: Call) -> AsyncIterator[tuple[int, float]]:
        """(token, natural log-probability) one after the other; closing it early cancels the rest. ModelError where it refuses."""

    async def end(self) -> None:
        """Leave."""


class Responder:
    """Drives sessions by a ``TokenEngine``, any number at once, inside an event loop."""

    def __init__(self, checkpoint: Checkpoint, engine: TokenEngine, max_context: int) -> None:
        """Take tokenizer, image processor and configuration of a checkpoint, who gives tokens, and how many fit into its context."""
        self.checkpoint, self._engine, self._max_context = checkpoint, engine, max_context
        ids = [*checkpoint.ids.forbidden, *range(len(checkpoint.tokenizer), _rows(checkpoint))]
        self._bias = dict.fromkeys(ids[:_MOST_BIASED], _BIAS)
        # The route cuts the list by one, so an id that may be drawn stands behind those that may not.
        self._scored = [*ids[:_MOST_SCORED], checkpoint.ids.box_end]

    async def respond(
        self, request: Request, session: Session, sampling: Sampling, *, on_token: Callable[[int, str], None] | None = None
    ) -> None:
        """Finish a session, round by round; a round that breaks off is asked anew from where it broke off. ModelError where it cannot."""
        name, pictures = self._pictures(request.case)
        stream = TextStream(self.checkpoint) if on_token else None
        rounds = 0
        while session.finish is None:
            read = [*session.prompt, *session.response]
            room = min(session.allowance, self._max_context - len(read))
            if room < 1:
                raise ModelError(
                    f"the response reached the {self._max_context} tokens that the server was started with",
                    remedy="start it with a larger --max-model-len",
                )
            looks = pictures + tuple(Shown.of(self.checkpoint, crop.pixels) for crop in session.crops)
            how = self._how(sampling, request, rounds, room)
            call = Call(name, collapse_pads(read, self.checkpoint.ids.image_pad), read, looks, how, on_token is not None)
            before = len(session.response)
            async with aclosing(self._engine.tokens(call)) as tokens:  # type: ignore[type-var]  # an async generator
                async for token, logprob in tokens:
                    decision = session.feed(token, logprob)
                    if on_token and stream:
                        on_token(token, stream.push(token))
                    if isinstance(decision, Finished | Inject):
                        break
            if len(session.response) == before:
                raise ModelError("the server gave no token", "at least one", "look into its log")
            rounds += 1

    def _pictures(self, case: EncodedCase) -> tuple[str, tuple[Shown, ...]]:
        if case.prefix is None:
            pictures = tuple(Shown.of(self.checkpoint, picture) for picture in case.prepared.pictures)
            case.prefix = hashlib.sha256("".join(p.name for p in pictures).encode()).hexdigest(), pictures
        found: tuple[str, tuple[Shown, ...]] = case.prefix
        return found

    def _how(self, sampling: Sampling, request: Request, rounds: int, room: int) -> dict[str, Any]:
        ids, stop = self.checkpoint.ids, request.stop(self.checkpoint)
        how: dict[str, Any] = {
            "temperature": sampling.temperature,
            "max_tokens": room,
            "stop_token_ids": sorted({ids.box_end, *stop}),
            "logprobs": len(self._scored),
            "logprob_token_ids": self._scored,
            "skip_special_tokens": False,
            "detokenize": False,
            "logit_bias": self._bias,
        }
        if stop != ids.stop:
            how["ignore_eos"] = True  # the server's own list of ends holds the one that is left out
        if sampling.temperature > 0:
            drawn = hashlib.sha256(f"{request.seed} {rounds}".encode()).digest()
            how |= {"top_p": sampling.top_p, "top_k": sampling.top_k or -1, "seed": int.from_bytes(drawn[:8], "big") >> 2}
        if sampling.repetition_penalty not in (None, 1):
            how["repetition_penalty"] = sampling.repetition_penalty
        return how


class ServedEngine:
    """Generates responses by a ``TokenEngine``; as many at once as it takes, whatever cases they are on."""

    def __init__(self, checkpoint: Checkpoint, engine: TokenEngine) -> None:
        """Connect; of the checkpoint only tokenizer, image processor and configuration are used (``load(..., weights=False)``)."""
        self.checkpoint, self._engine = checkpoint, engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served-engine", daemon=True)
        self._thread.start()
        fits = self._wait(engine.begin())
        self.max_context = min(fits, checkpoint.max_context)
        self._responder = Responder(checkpoint, engine, self.max_context)

    @property
    def place(self) -> str:
        """Where the weights are, in words."""
        return self._engine.place

    @property
    def in_flight(self) -> int:
        """Responses that run at once at most."""
        return self._engine.in_flight

    def close(self) -> None:
        """Leave the engine; what runs in this process is stopped."""
        self._wait(self._engine.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def encode(self, stack: Stack) -> EncodedCase:
        """Prepare the pictures of a stack; the engine sees them with the first question, and keeps what it makes of them."""
        return prepare_case(self.checkpoint, stack, patches=False)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling | None = None, *, on_token: OnToken | None = None
    ) -> list[Session]:
        """Generate one response a request, on any cases: finished sessions in the order of the requests.

        Greedy responses equal those of the local back end up to rounding; drawn ones come from the same distribution by other random
        numbers. Arguments as in ``LocalEngine.generate``. What fails ends its own response alone: the others are finished first,
        then the first failure is raised, a ModelError.
        """
        sessions = [start_session(self.checkpoint, request) for request in requests]
        for request in requests:
            if len(request.prompt) >= self.max_context:
                raise ModelError(
                    f"the prompt has {len(request.prompt)} tokens",
                    f"fewer than the {self.max_context} that the server was started with",
                    "start it with a larger --max-model-len, or use fewer slices",
                )
        self._wait(self._all(requests, sessions, sampling or Sampling(), on_token))
        return sessions

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work in the loop; who interrupts the wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _all(
        self, requests: Sequence[Request], sessions: Sequence[Session], sampling: Sampling, on_token: OnToken | None
    ) -> None:
        room = asyncio.Semaphore(self._engine.in_flight)

        async def one(place: int) -> None:
            async with room:
                told = partial(on_token, place) if on_token else None
                await self._responder.respond(requests[place], sessions[place], sampling, on_token=told)

        made = await asyncio.gather(*(one(place) for place in range(len(requests))), return_exceptions=True)
        for failure in made:
            if isinstance(failure, BaseException):
                raise failure


def connect(checkpoint: Checkpoint, folder: str, engine: Sequence[str], *, dtype: str | None = None) -> ServedEngine:
    """The back end of "vllm", or of addresses of servers; ``folder`` holds the weights, ``dtype`` is "bf16", "fp32" or None.

    ModelError for another name, MissingExtraError without vLLM.
    """
    if list(engine) == ["vllm"]:
        names = {"bf16": "bfloat16", "fp32": "float32", None: None}
        return ServedEngine(checkpoint, InProcess(folder, dtype=names[dtype]))
    wrong = [name for name in engine if not name.startswith(("http://", "https://"))]
    if wrong:
        raise ModelError(f"the engine {wrong[0]!r}", '"local", "vllm" or addresses of vLLM servers such as http://127.0.0.1:8000')
    return ServedEngine(checkpoint, HttpServers(engine))


def _rows(checkpoint: Checkpoint) -> int:
    return int(checkpoint.network.config.get_text_config().vocab_size)


def _check_read(call: Call, read: Sequence[int]) -> None:
    """The engine must have read what the session thinks it did."""
    if list(read) != call.read:
        raise ModelError(
            f"the server read {len(read)} tokens",
            f"the {len(call.read)} of prompt, response and pictures",
            "serve the same checkpoint that is named here, with its own preprocessor_config.json",
        )


def _chance(call: Call, token: int, scored: Mapping[int, float]) -> float:
    """The log-probability of a token among those that may be drawn: what the others had, which came along, is taken away."""
    never = math.fsum(math.exp(scored[one]) for one in call.sampling["logit_bias"] if one in scored)
    return scored[token] - math.log1p(-min(never, 1 - 1e-9))


# --- Servers on the network.


class _AwayError(Exception):
    """A server cannot be reached, or is not itself; another may be."""


class HttpServers:
    """One or several vLLM servers of the same weights, started with ``vllm serve ... --enable-scale-out``.

    Questions on one case go to the same server while it lives. One that cannot be reached or fails is left alone for a while, and its
    work moves to the next; when all are away, they are waited for.
    """

    def __init__(self, urls: Sequence[str], *, model: str | None = None, in_flight: int = IN_FLIGHT) -> None:
        """Take addresses such as http://127.0.0.1:8000, the name under which they serve the model (None takes the only one)."""
        if not urls:
            raise ModelError("no server is named", "an address such as http://127.0.0.1:8000")
        self._urls = [url.rstrip("/").removesuffix("/v1") for url in urls]
        self._model, self.in_flight = model, in_flight * len(urls)
        self._key = os.environ.get(KEY, "")
        self._rests: dict[str, float] = {}
        self._http: httpx2.AsyncClient
        self.place = " and ".join(self._urls)

    async def begin(self) -> int:
        """Ask every server what it serves; the least tokens of context among them."""
        import httpx2

        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(_TIMEOUT, connect=10.0),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self.in_flight),
        )
        fits, said = [], ""
        for url in self._urls:
            try:
                answer = await self._http.get(f"{url}/v1/models")
            except httpx2.RequestError as error:
                said = f"{url}: {type(error).__name__}"
                self._rests[url] = time.monotonic() + _REST
                continue
            fits.append(self._chosen(url, answer))
        if not fits:
            raise ModelError(f"no server answers ({said})", "a running server", "start one: vllm serve MODEL --enable-scale-out")
        return min(fits)

    def _chosen(self, url: str, answer: Any) -> int:
        """Context of the model that is asked; its name is kept."""
        if answer.status_code in (401, 403):
            raise ModelError(f"{url} refuses the key", "the key of the server", f"put it into the variable {KEY}")
        try:
            served = {str(row["id"]): int(row["max_model_len"]) for row in answer.json()["data"]}
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{url} does not list its models as vLLM does", "a vLLM server", "check the address") from error
        if self._model is None and len(served) == 1:
            self._model = next(iter(served))
        if self._model not in served:
            raise ModelError(
                f"{url} serves {', '.join(sorted(served))}", f"{self._model or 'one model'}", "name one that it serves"
            )
        return served[self._model]

    async def end(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def tokens(self, call: Call) -> AsyncIterator[tuple[int, float]]:
        """See ``TokenEngine``; a server that fails in the middle hands over to the next."""
        order = sorted(self._urls, key=lambda url: hashlib.sha256(f"{url} {call.case}".encode()).digest())
        until = time.monotonic() + _PATIENCE
        given = 0
        while True:
            now = time.monotonic()
            ready = [url for url in order if self._rests.get(url, 0.0) <= now] or order
            try:
                async with aclosing(self._ask(ready[0], call)) as tokens:  # type: ignore[type-var]
                    async for pair in tokens:
                        given += 1
                        yield pair
                self._rests.pop(ready[0], None)
                return
            except _AwayError as away:
                self._rests[ready[0]] = time.monotonic() + _REST
                if time.monotonic() > until:
                    raise ModelError(f"no server answers ({away})", "a running server", "start it again") from away
                if given:
                    return  # the session has these tokens: the next round goes on behind them
                if len(ready) == 1:
                    await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _ask(self, url: str, call: Call) -> AsyncIterator[tuple[int, float]]:
        """Without the pictures first, which the server may know; with them where it does not."""
        import httpx2

        body: dict[str, Any] = {
            "model": self._model,
            "token_ids": call.ids,
            "sampling_params": {k: v for k, v in call.sampling.items() if k != "logit_bias"}
            | {"logit_bias": {str(k): v for k, v in call.sampling["logit_bias"].items()}},
            "return_token_ids": True,
            "stream": call.piecewise,
        }
        begun = False
        try:
            for whole in (False, True):
                body["content_parts"] = [
                    {"type": "image_url", "uuid": p.name, **({"url": p.url()} if whole else {})} for p in call.pictures
                ]
                async with self._http.stream("POST", url + _ROUTE, json=body) as answer:
                    if answer.status_code != 200:
                        said = (await answer.aread()).decode("utf-8", "replace")[:300]
                        if not whole and answer.status_code == 400 and "Cache miss" in said:
                            continue
                        raise self._refusal(url, answer.status_code, said)
                    async for values in _objects(answer, call.piecewise):
                        if not begun:
                            _check_read(call, values["prompt_token_ids"])
                        begun = True
                        for choice in values["choices"]:
                            chances = (choice.get("logprobs") or {}).get("content") or []
                            for token, chance in zip(choice["token_ids"], chances, strict=True):
                                scored = {int(one["token_id"]): float(one["logprob"]) for one in chance["top_logprobs"]}
                                yield int(token), _chance(call, int(token), scored)
                    return
        except (httpx2.RequestError, json.JSONDecodeError) as error:
            raise _AwayError(f"{url}: {type(error).__name__}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{url} answers in another form ({error!r})", "what vLLM's token route gives") from error

    def _refusal(self, url: str, status: int, said: str) -> Exception:
        said = said.replace(self._key, "[key]") if self._key else said
        if status in (408, 425, 429) or status >= 500:
            return _AwayError(f"{url}: status {status}")
        if status in (401, 403):
            return ModelError(f"{url} refuses the key", "the key of the server", f"put it into the variable {KEY}")
        if status == 404:
            return ModelError(f"{url} has no {_ROUTE} or no model of that name", remedy="start it with --enable-scale-out")
        return ModelError(f"{url} refuses the request (status {status}: {said})")


async def _objects(answer: Any, piecewise: bool) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an answer: one, or one an event."""
    if not piecewise:
        yield json.loads(await answer.aread())
        return
    async for line in answer.aiter_lines():
        if line.startswith("data:") and (text := line.removeprefix("data:").strip()) != "[DONE]":
            values = json.loads(text)
            if "error" in values:
                raise _AwayError("an error in the stream")
            yield values


# --- vLLM in this process.


class InProcess:
    """A vLLM engine of this process (in truth a child of it), with the weights of a folder or hub id."""

    def __init__(self, folder: str, *, dtype: str | None = None, max_context: int | None = None, in_flight: int = 256) -> None:
        """Remember what to start; MissingExtraError without vLLM."""
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtraError("vllm", "vllm")
        self._folder, self._dtype, self._most = folder, dtype or "auto", max_context
        self.in_flight = in_flight
        self._engine: Any = None
        self._count = 0
        self.place = "vLLM in this process"

    async def begin(self) -> int:
        """Load the weights."""
        import torch
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        cpu = not torch.cuda.is_available()
        settings = AsyncEngineArgs(
            model=self._folder,
            dtype=self._dtype,
            max_model_len=self._most,
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": 256, "video": 0},
            mm_device_do_normalize=False,
            enable_log_requests=False,
            disable_log_stats=True,
            **({"enforce_eager": True, "block_size": 32} if cpu else {}),
        )
        self._engine = AsyncLLM.from_engine_args(settings)
        return int(self._engine.model_config.max_model_len)

    async def end(self) -> None:
        """Stop the child."""
        if self._engine is not None:
            self._engine.shutdown()

    async def tokens(self, call: Call) -> AsyncIterator[tuple[int, float]]:
        """See ``TokenEngine``."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind.DELTA if call.piecewise else RequestOutputKind.FINAL_ONLY
        prompt = {
            "prompt_token_ids": call.ids,
            "multi_modal_data": {"image": [Image.fromarray(p.pixels) for p in call.pictures]},
            "multi_modal_uuids": {"image": [p.name for p in call.pictures]},
        }
        self._count += 1
        begun = False
        async for out in self._engine.generate(prompt, SamplingParams(**call.sampling, output_kind=kind), f"row-{self._count}"):
            if not begun:
                _check_read(call, out.prompt_token_ids)
            begun = True
            for token, chances in zip(out.outputs[0].token_ids, out.outputs[0].logprobs, strict=True):
                scored = {one: float(chance.logprob) for one, chance in chances.items()}
                yield int(token), _chance(call, int(token), scored)
