"""Asks an OpenAI-compatible chat endpoint, patiently: time-outs, retries with back-off, bounded replies.

It knows nothing of questions. The API key lives in the header of the requests alone; should a server echo it, it is blotted out before
anything else sees the text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unireason.core.errors import UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.data.claims import Fault

from . import prompt
from .prompt import Account, Bill, LlmSettings, Spent
from .template import Annotation, Dropped, Task
from .verify import TextReading, read

if TYPE_CHECKING:
    import httpx2

SCHEMA = "unireason.reply/1"
_MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class LlmReply:
    """What an endpoint answered."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = ""

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


def key_of(url: str, model: str, messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on, as hex digits."""
    whole = {"schema": SCHEMA, "url": url, "model": model, "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    return hashlib.sha256(json_text(whole, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


class ReplyCache:
    """A folder of replies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the reply of a key lies."""
        return self.folder / key[:2] / key[2:4] / f"{key}.json"

    def get(self, key: str) -> LlmReply | None:
        """The reply of a key; None if there is none, or none that can be read."""
        path = self.path(key)
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                return None
            values = json.loads(path.read_bytes())
            if values.pop("schema") != SCHEMA:
                return None
            reply = LlmReply(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        sound = isinstance(reply.text, str) and type(reply.prompt_tokens) is int and type(reply.completion_tokens) is int
        return reply if sound else None

    def put(self, key: str, reply: LlmReply) -> None:
        """Keep a reply."""
        values = {"schema": SCHEMA, **asdict(reply)}
        write_bytes(self.path(key), (json_text(values, ensure_ascii=True, sort_keys=True, indent=1) + "\n").encode())


# --- Asks an OpenAI-compatible chat endpoint, patiently: time-outs, retries with back-off, bounded replies.

_TOKEN_CHARS = 4  # for endpoints that report no usage: characters a token, roughly
_LATER = frozenset((408, 409, 425, 429))  # and what a server or a proxy says of itself, 500 and above
_NEVER = frozenset((501, 505, 511))

# What services say in codes and sentences of their own, whatever status they send: no status tells a spent account from a busy server.
_NO_QUOTA = re.compile(
    r"insufficient[ _-]?(?:quota|balance|funds|credits?)|billing[ _](?:hard[ _])?(?:limit|not[ _]active)|payment required"
    r"|(?:exceeded|exhausted|out of|used up|no (?:more|remaining)|not enough)[^.]{0,30}(?:quota|monthly|credits?|spending|balance)"
    r"|credit balance|account[^.]{0,30}(?:deactivated|suspended|overdue)",
    re.IGNORECASE,
)
_BUSY = re.compile(
    r"rate[ _-]?limit|resource[ _]exhausted|throttl|overloaded|per[ _](?:min|second|hour|day)|(?:try|retry)[^.]{0,20}(?:in|after|later)\b",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"(?:invalid|incorrect|missing|expired|revoked|wrong|unknown|no)[ _-](?:\w+[ _-]){0,2}"
    r"(?:api[ _-]?key|authentication|credentials?|access token)"
    r"|(?:api[ _-]?key|access token|credentials?)[^.]{0,30}(?:invalid|not valid|incorrect|expired|missing|required|revoked)"
    r"|unauthenticated|unauthorized|authentication[ _](?:error|failed|required)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|(?:maximum|max)[^.]{0,20}(?:context|prompt|input)[^.]{0,20}(?:length|tokens)"
    r"|too many (?:input )?tokens"
    r"|(?:string|request|payload|prompt|input|message)s?[ _](?:is |are |has )?(?:too[ _](?:long|large)|longer than)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model[ _]not[ _](?:found|exist)|model[^.]{0,80}(?:does not exist|not found|is not (?:available|supported|loaded))"
    r"|(?:no such|unknown|invalid) model",
    re.IGNORECASE,
)


class EndpointError(Exception):
    """One request got no usable reply."""

    def __init__(self, code: str, detail: str, *, passing: bool, wait_s: float = 0.0) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.passing, self.wait_s = code, detail, passing, wait_s


class ChatClient:
    """A connection to one endpoint, used inside one event loop."""

    def __init__(self, url: str, model: str, settings: LlmSettings) -> None:
        self._url, self._model, self._settings = url, model, settings
        self._key = settings.key()
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, messages: Sequence[Mapping[str, Any]], bill: Bill) -> LlmReply:
        """Send one request, again after failures that may pass, as long as the budget lasts."""
        body = {"model": self._model, "messages": list(messages), **self._settings.sampling()}
        for attempt in range(self._settings.retries + 1):
            if attempt:
                bill.retried()
            try:
                return await self._once(body, bill)
            except EndpointError as failure:
                if not failure.passing or attempt == self._settings.retries:
                    raise
                if bill.over:
                    raise EndpointError("budget", f"used up after {failure}", passing=False) from failure
                await asyncio.sleep(self._wait(attempt, failure.wait_s))
        raise AssertionError("unreachable")

    def _wait(self, attempt: int, asked_s: float) -> float:
        """Seconds before the next try: doubling with jitter, never less than the endpoint asked for, bounded."""
        settings = self._settings
        wait = settings.backoff_s * 2.0 ** min(attempt, 30) * random.uniform(0.5, 1.0)
        return min(max(wait, asked_s), settings.max_backoff_s)

    async def _once(self, body: Mapping[str, Any], bill: Bill) -> LlmReply:
        import httpx2

        asked = prompt.characters(body["messages"])
        try:
            status, headers, raw = await asyncio.wait_for(self._post(body), self._settings.timeout_s)
        except (asyncio.TimeoutError, httpx2.TimeoutException) as error:
            raise EndpointError("timeout", f"no reply within {self._settings.timeout_s:g} s", passing=True) from error
        except httpx2.DecodingError as error:
            raise EndpointError("bad_reply", "a body that cannot be decompressed", passing=True) from error
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            raise EndpointError("unreachable", type(error).__name__, passing=True) from error
        except httpx2.RequestError as error:
            raise EndpointError("connection", type(error).__name__, passing=True) from error
        text = self._blotted(raw[: self._settings.max_reply_bytes].decode("utf-8", "replace"))
        values = _object(text)
        content, refusal, finish = _said(values)
        usage = values.get("usage")
        if status == 200 or isinstance(usage, dict):  # a status of failure alone is not paid for
            usage = usage if isinstance(usage, dict) else {}
            prompt_tokens = _count(usage.get("prompt_tokens"), asked)
            completion_tokens = _count(usage.get("completion_tokens"), len(content or text) if status == 200 else 0)
            bill.paid(prompt_tokens, completion_tokens)
        if len(raw) > self._settings.max_reply_bytes:
            raise EndpointError("reply_too_large", f"more than {self._settings.max_reply_bytes} bytes", passing=False)
        if status != 200 or (content is None and values.get("error")):  # some services send their failures with the status 200
            raise self._refusal(_status(status, values), headers, _Complaint.of(values))
        if content is None and refusal is None:
            raise EndpointError("bad_reply", f"no chat completion: {text[:80]!r}", passing=True)
        if refusal:
            raise EndpointError(
                "refusal", f"the model declines: {' '.join(self._blotted(refusal).split())[:120]!r}", passing=False
            )
        if content is None:
            hint = "; it ran out of tokens before its text began, so allow more" if finish == "length" else ""
            raise EndpointError("no_text", f"a reply without text (finish {finish or 'not said'}{hint})", passing=False)
        # JSON may spell the same letters in another way, so the key is blotted out once more.
        return LlmReply(self._blotted(content), prompt_tokens, completion_tokens, finish)

    def _blotted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the body, read no further than allowed."""
        most = self._settings.max_reply_bytes
        received = bytearray()
        async with self._connection().stream("POST", self._url, json=body) as response:
            async for block in response.aiter_bytes():
                received += block
                if len(received) > most:  # it is paid for; what it says is not wanted
                    break
            return response.status_code, response.headers, bytes(received)

    def _connection(self) -> httpx2.AsyncClient:
        """Made when it is first needed: loading certificates takes longer than reading a kept reply."""
        if self._http is None:
            import httpx2

            settings = self._settings
            self._http = httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx2.Timeout(settings.timeout_s),
                limits=httpx2.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
                follow_redirects=False,
            )
        return self._http

    def _refusal(self, status: int, headers: Mapping[str, str], complaint: _Complaint) -> Exception:
        """The error for a failure that the endpoint reports; its own words come first, for they are the more exact."""
        said = self._blotted(complaint.said)
        told = f"status {status}{said}"
        if status == 402 or _NO_QUOTA.search(complaint.codes) or (complaint.says(_NO_QUOTA) and not complaint.says(_BUSY)):
            return UniReasonError(
                f"the account at the endpoint has no quota left ({told})",
                "an account that may ask",
                "raise its limit, or use another endpoint, then start again: replies got so far are kept",
            )
        if status == 413 or (complaint.says(_TOO_LONG) and status != 429):
            return EndpointError("context_length", told, passing=False)
        if status in (401, 403) or (400 <= status < 500 and status != 404 and complaint.says(_BAD_KEY)):
            return UniReasonError(
                f"the endpoint refuses the key ({told})",
                "a valid API key",
                f"check the variable {self._settings.key_env}"
                if self._settings.key_env
                else "name the variable that holds the key",
            )
        if status == 404 or (400 <= status < 500 and complaint.says(_NO_MODEL)):
            return UniReasonError(
                f"the endpoint knows no model {self._model!r} or no such address ({told})",
                "a model it serves",
                "ask its /v1/models for the names, and check the address",
            )
        if 300 <= status < 400:
            return UniReasonError(
                f"the endpoint sends requests elsewhere (status {status})", "the final address", "give that one"
            )
        if status in _LATER or (status >= 500 and status not in _NEVER):
            code = "rate_limited" if status == 429 else "server_error"
            return EndpointError(code, told, passing=True, wait_s=_retry_after(headers.get("retry-after", "")))
        return EndpointError("refused", told, passing=False)


@dataclass(frozen=True, slots=True)
class _Complaint:
    """What a server says is wrong: its codes, its sentence."""

    codes: str
    message: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> _Complaint:
        """Read from ``{"error": {"code", "type", "message"}}``, ``{"error": "text"}`` or ``{"message" or "detail": "text"}``."""
        error = values.get("error") or values
        table = error if isinstance(error, dict) else {"message": error}
        codes = [table.get(name) for name in ("code", "type", "status")]
        words = [table.get(name) for name in ("message", "detail")]
        return cls(" ".join(c for c in codes if isinstance(c, str)), " ".join(w for w in words if isinstance(w, str)))

    @property
    def said(self) -> str:
        """The sentence behind a colon, shortened; "" if there is none."""
        words = " ".join(self.message.split())[:120]
        return f": {words}" if words else ""

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether code or sentence match."""
        return pattern.search(f"{self.codes} {self.message}"[:2000]) is not None


def _object(text: str) -> dict[str, Any]:
    """A JSON object; empty for any other text."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _status(status: int, values: Mapping[str, Any]) -> int:
    """The status of a failure: some services send 200 and name the real one in the body."""
    error = values.get("error")
    named = error.get("code") if isinstance(error, dict) else None
    if status == 200:
        return named if type(named) is int and 400 <= named < 600 else 400
    return status


def _said(values: Mapping[str, Any]) -> tuple[str | None, str | None, str]:
    """Text, refusal and reason of the end of a chat completion."""
    try:
        choice = values["choices"][0]
        message = choice["message"]
        content, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None, None, ""
    finish = finish[:40] if isinstance(finish, str) else ""
    refusal = refusal if isinstance(refusal, str) else ""
    if isinstance(content, list):  # parts: texts are joined, thoughts and pictures left out
        parts = [part if isinstance(part, dict) else {"type": "text", "text": part} for part in content]
        texts = [part.get("text") for part in parts if part.get("type") in (None, "text", "output_text")]
        refused = [part.get("refusal") for part in parts if part.get("type") == "refusal"]
        refusal = refusal or " ".join(text for text in refused if isinstance(text, str))
        content = "".join(text for text in texts if isinstance(text, str)) or None
    if content is not None and not isinstance(content, str):
        return None, None, finish
    return (content, refusal if not content else "", finish)


def tokens_of(characters: int) -> int:
    """Tokens of a text, roughly."""
    return -(-characters // _TOKEN_CHARS)


def _count(reported: Any, characters: int) -> int:
    """Tokens as reported, or an estimate if the report is no sensible number."""
    return reported if type(reported) is int and 0 <= reported <= 10**9 else tokens_of(characters)


def _retry_after(value: str) -> float:
    """Seconds to wait by a Retry-After header: a number of seconds or a date; 0 for none or nonsense.

    Source: RFC 9110, section 10.2.3.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError):
            return 0.0
        when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        seconds = (when - datetime.now(timezone.utc)).total_seconds()
    return seconds if 0.0 <= seconds < float("inf") else 0.0


# --- Many tasks against one endpoint: bounded concurrency, kept replies, one repair, an end to budgets and to dead endpoints.

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one task, before the budget is settled."""

    result: Annotation | Dropped
    spent: Spent
    repaired: bool = False


class DispatchRun:
    """One pass over tasks."""

    def __init__(self, url: str, model: str, settings: LlmSettings, spent: Spent, failures: int) -> None:
        self._url, self._model, self._settings = url, model, settings
        self._cache = ReplyCache(settings.cache)
        self.asked = self.cached = 0
        self.failures = failures
        self.account = Account(settings, spent)

    async def outcomes(self, tasks: Sequence[Task], annotator: str) -> list[Outcome | None]:
        """One outcome a task, in order; None for tasks that were not begun because the budget was used up."""
        found: list[Outcome | None] = [None] * len(tasks)
        waiting = iter(enumerate(tasks))
        async with ChatClient(self._url, self._model, self._settings) as client:
            workers = [
                asyncio.ensure_future(self._work(client, waiting, found, annotator))
                for _ in range(min(self._settings.concurrency, len(tasks)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return found

    async def _work(
        self, client: ChatClient, waiting: Iterator[tuple[int, Task]], found: list[Outcome | None], annotator: str
    ) -> None:
        """Take the next task until none is left; all workers share ``waiting``, so tasks begin in their order."""
        for index, task in waiting:
            missing = [n for n in task.question.needs if n not in task.scene.structures]
            if missing or not task.question.needs:
                found[index] = Outcome(
                    Dropped(task.id, "no_structure", f"needs {', '.join(missing) or 'nothing'}"[:200]), Spent()
                )
                continue
            asked = prompt.messages(task, self._settings)
            async with self.account.room(tokens_of(prompt.characters(asked))) as bill:
                if bill is None:
                    return
                result, repaired = await self._one(client, task, asked, annotator, bill)
                found[index] = Outcome(result, bill.spent, repaired)

    async def _one(
        self, client: ChatClient, task: Task, asked: list[prompt.Message], annotator: str, bill: Bill
    ) -> tuple[Annotation | Dropped, bool]:
        """What comes of a task, and whether its second text was the valid one."""
        settings = self._settings
        try:
            reply = await self._reply(client, asked, bill)
            reading, repaired = _read(task, reply, settings), False
            if reading.faults and settings.repair and not bill.over and reading.faults[0].code != "disagrees":
                reply = await self._reply(client, prompt.repair(asked, reply.text, reading.faults), bill)
                reading = _read(task, reply, settings)
                repaired = not reading.faults
        except EndpointError as failure:
            if failure.code != "budget":
                self._failed(failure)
            return Dropped(task.id, failure.code, failure.detail[:200]), False
        if reading.faults:
            first = reading.faults[0]
            return Dropped(task.id, first.code, first.detail[:200]), False
        return Annotation(reading.reasoning, annotator), repaired

    async def _reply(self, client: ChatClient, messages: list[prompt.Message], bill: Bill) -> LlmReply:
        """A reply from disk, else from the endpoint, then kept."""
        key = key_of(self._url, self._model, messages, self._settings.sampling())
        kept = self._cache.get(key)
        if kept is not None:
            self.cached += 1
            bill.kept(kept.prompt_tokens, kept.completion_tokens)
            return kept
        reply = await client.ask(messages, bill)
        self.asked += 1
        self.failures = 0
        self._cache.put(key, reply)
        return reply

    def _failed(self, failure: EndpointError) -> None:
        """Count failures in a row; an endpoint that is down must end the run, not drop every task that is left."""
        self.failures += 1
        remedy = "check address and server, then start again: replies got so far are kept"
        if failure.code == "unreachable" and not self.asked:
            raise UniReasonError(
                f"the endpoint cannot be reached ({failure.detail})", "a server that listens", remedy
            ) from failure
        if self.failures >= self._settings.give_up_after:
            came = f"the endpoint gave no usable reply {self.failures} times in a row ({failure.code}: {failure.detail})"
            raise UniReasonError(came, "an endpoint that answers", remedy) from failure


def _read(task: Task, reply: LlmReply, settings: LlmSettings) -> TextReading:
    reading = read(task, reply.text, settings.rules)
    if settings.blind and any(fault.code == "wrong_answer" for fault in reading.faults):
        return TextReading(reading.reasoning, (Fault("disagrees", "Another answer was found."),))  # to ask again would tell it
    if reading.faults and reply.finish == "length":
        cut = Fault("cut_off", "The text was cut off because it was too long; write less.")
        return TextReading(reading.reasoning, (cut, *reading.faults))
    return reading


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own, also where the calling thread runs one already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
