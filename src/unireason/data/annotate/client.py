"""Asks an OpenAI-compatible chat endpoint, patiently: time-outs, retries with back-off, bounded replies.

It knows nothing of questions. The API key lives in the header of the requests alone; should a server echo it, it is blotted out before
anything else sees the text.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from unireason.errors import UniReasonError

from .cache import Reply
from .settings import LlmSettings

if TYPE_CHECKING:
    import httpx2

PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
_TOKEN_CHARS = 4  # for endpoints that report no usage: characters a token, roughly


class EndpointError(Exception):
    """One request got no usable reply.

    Attributes:
        code: "rate_limited", "server_error", "timeout", "unreachable", "connection", "bad_reply", "reply_too_large", "refused" or
            "no_text".
        detail: What came.
        passing: True if another try may help.
        wait_s: Seconds the endpoint asked to wait; 0 if it said nothing.
    """

    def __init__(self, code: str, detail: str, *, passing: bool, wait_s: float = 0.0) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.passing, self.wait_s = code, detail, passing, wait_s


@dataclass(slots=True)
class Traffic:
    """What went over the wire: requests sent, and how many of them were retries."""

    sent: int = 0
    retried: int = 0


class ChatClient:
    """A connection to one endpoint, used inside one event loop.

    Args:
        url: Full address of the chat completions.
        model: Name of the model there.
        settings: Limits and sampling.
        traffic: Counts what is sent.
    """

    def __init__(self, url: str, model: str, settings: LlmSettings, traffic: Traffic) -> None:
        self._url, self._model, self._settings, self._traffic = url, model, settings, traffic
        self._key = settings.key()
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """Send one request, again after failures that may pass.

        Args:
            messages: Role and content of each.

        Returns:
            The reply.

        Raises:
            EndpointError: If no usable reply came.
            UniReasonError: If the endpoint refuses the key or does not know the model: no request can succeed.
        """
        body = {"model": self._model, "messages": list(messages), **self._settings.sampling()}
        for attempt in range(self._settings.retries + 1):
            self._traffic.sent += 1
            self._traffic.retried += attempt > 0
            try:
                return await self._once(body)
            except EndpointError as failure:
                if not failure.passing or attempt == self._settings.retries:
                    raise
                await asyncio.sleep(self._wait(attempt, failure.wait_s))
        raise AssertionError("unreachable")

    def _wait(self, attempt: int, asked_s: float) -> float:
        """Seconds before the next try: doubling with jitter, never less than the endpoint asked for, bounded."""
        settings = self._settings
        wait = settings.backoff_s * 2.0 ** min(attempt, 30) * random.uniform(0.5, 1.0)
        return min(max(wait, asked_s), settings.max_backoff_s)

    async def _once(self, body: Mapping[str, Any]) -> Reply:
        import httpx2

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
        text = self._blotted(raw.decode("utf-8", "replace"))
        if status != 200:
            raise self._refusal(status, headers, text)
        reply = _reply(text, body)
        return replace(reply, text=self._blotted(reply.text))  # JSON may spell the same letters in another way

    def _blotted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the body, read no further than allowed."""
        most = self._settings.max_reply_bytes
        received = bytearray()
        async with self._connection().stream("POST", self._url, json=body) as response:
            async for block in response.aiter_bytes():
                received += block
                if len(received) > most:
                    raise EndpointError("reply_too_large", f"more than {most} bytes", passing=False)
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

    def _refusal(self, status: int, headers: Mapping[str, str], text: str) -> Exception:
        """The error for a status other than 200."""
        said = self._blotted(_error_text(text))
        if status in (401, 403):
            return UniReasonError(
                f"the endpoint refuses the key (status {status}{said})",
                "a valid API key",
                f"check the variable {self._settings.key_env}"
                if self._settings.key_env
                else "name the variable that holds the key",
            )
        if status == 404:
            return UniReasonError(
                f"the endpoint knows no model {self._model!r} or no such address (status 404{said})",
                "a model it serves",
                "ask its /v1/models for the names, and check the address",
            )
        if 300 <= status < 400:
            return UniReasonError(
                f"the endpoint sends requests elsewhere (status {status})", "the final address", "give that one"
            )
        if status in PASSING:
            code = "rate_limited" if status == 429 else "server_error"
            return EndpointError(
                code, f"status {status}{said}", passing=True, wait_s=_retry_after(headers.get("retry-after", ""))
            )
        return EndpointError("refused", f"status {status}{said}", passing=False)


def _reply(text: str, body: Mapping[str, Any]) -> Reply:
    """Read a chat completion; whatever has another shape is a failed reply."""
    try:
        values = json.loads(text)
        choice = values["choices"][0]
        content = choice["message"]["content"]
        finish = choice.get("finish_reason") or ""
        usage = values.get("usage") or {}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise EndpointError("bad_reply", f"no chat completion: {text[:80]!r}", passing=True) from error
    if content is None:
        raise EndpointError("no_text", f"a reply without text (finish {finish!s:.40})", passing=False)
    if not isinstance(content, str) or not isinstance(finish, str) or not isinstance(usage, dict):
        raise EndpointError("bad_reply", f"no chat completion: {text[:80]!r}", passing=True)
    asked = sum(len(m["content"]) for m in body["messages"])
    return Reply(
        text=content,
        prompt_tokens=_count(usage.get("prompt_tokens"), asked),
        completion_tokens=_count(usage.get("completion_tokens"), len(content)),
        finish=finish[:40],
    )


def _count(reported: Any, characters: int) -> int:
    """Tokens as reported, or an estimate if the report is no sensible number."""
    return reported if type(reported) is int and 0 <= reported <= 10**9 else -(-characters // _TOKEN_CHARS)


def _error_text(text: str) -> str:
    """What the server says is wrong, shortened; "" if it says nothing readable."""
    try:
        said = json.loads(text)["error"]
        said = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {' '.join(said.split())[:120]}" if isinstance(said, str) else ""


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
