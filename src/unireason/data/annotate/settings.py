"""Settings of the annotator that asks a language model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from unireason.errors import FormatError, UniReasonError

from .verify import Rules

_RESERVED = frozenset(("model", "messages", "stream", "n"))


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "unireason" / "replies"


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """How to ask an endpoint.

    Attributes:
        key_env: Name of the environment variable that holds the API key; "" to send none.
        cache: Folder of kept replies.
        concurrency: Requests under way at once.
        timeout_s: Seconds for one request, from connecting to the last byte.
        retries: How often a request is sent again after a failure that may pass (429, 500, 502, 503, 504, a lost connection, a time-out,
            a reply that is no chat completion).
        backoff_s: Wait before the first retry; it doubles each time, with jitter. An endpoint's Retry-After is honoured.
        max_backoff_s: Longest wait, also for Retry-After.
        give_up_after: Failures in a row (retries spent) after which the whole run ends, because the endpoint is down.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        max_tokens: Tokens of a reply at most.
        seed: Sampling seed sent along; None sends none.
        extra: Further fields of the request, e.g. {"skip_special_tokens": False} for vLLM with Qwen models.
        budget_requests: Replies at most; None for no limit. Budgets count kept replies too, so that a resumed run stops where an
            uninterrupted one does, and replies that were of no use. Requests under way are counted beforehand, so that a budget is
            exceeded by one reply at most.
        budget_tokens: Prompt and reply tokens at most.
        budget_money: Money at most, in the unit of the prices.
        price_prompt: Price of a million prompt tokens.
        price_completion: Price of a million reply tokens.
        max_reply_bytes: Longest body that is read.
        repair: Whether a faulty text is sent back once with the list of its faults.
        rules: What reasoning has to keep to.
    """

    key_env: str = ""
    cache: Path = field(default_factory=_user_cache)
    concurrency: int = 8
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    give_up_after: int = 20
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    budget_requests: int | None = None
    budget_tokens: int | None = None
    budget_money: float | None = None
    price_prompt: float = 0.0
    price_completion: float = 0.0
    max_reply_bytes: int = 1 << 20
    repair: bool = True
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FormatError: If a value makes no sense, or ``extra`` sets what the annotator sets itself.
        """
        for name, least in (("concurrency", 1), ("give_up_after", 1), ("max_tokens", 1), ("max_reply_bytes", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise FormatError(f"{name} is {getattr(self, name)}", f"at least {least}")
        for name in ("timeout_s", "max_backoff_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise FormatError(f"{name} is {getattr(self, name)}", "seconds, more than 0")
        for name in ("backoff_s", "price_prompt", "price_completion", "budget_requests", "budget_tokens", "budget_money"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise FormatError(f"{name} is {value}", "a number from 0 on")
        if self.budget_money is not None and not self.price_prompt + self.price_completion:
            raise FormatError("a budget of money without prices", "price_prompt and price_completion, a million tokens")
        taken = sorted(_RESERVED & set(self.extra))
        if taken:
            raise FormatError(f"extra sets {', '.join(taken)}", "other fields of the request")

    def sampling(self) -> dict[str, Any]:
        """The fields of a request that shape its reply, without model and messages."""
        values: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {**values, **({} if self.seed is None else {"seed": self.seed}), **self.extra}

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a reply costs, in the unit of the prices."""
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6

    def key(self) -> str:
        """The API key; "" if none is to be sent.

        Raises:
            UniReasonError: If the variable is not set, or holds something that no header can carry.
        """
        if not self.key_env:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise UniReasonError(
                f"the environment variable {self.key_env} is not set", "the API key of the endpoint", f"export {self.key_env}=..."
            )
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            raise UniReasonError(
                f"the value of {self.key_env} holds characters that no key has", "printable ASCII without blanks"
            )
        return key


def chat_url(endpoint: str) -> str:
    """The address to which chat requests go.

    Args:
        endpoint: Base address ("http://localhost:8000/v1") or the full one, ending in /chat/completions.

    Raises:
        FormatError: If it is no http or https address, or holds a user name or password.
    """
    try:
        parts = urlsplit(endpoint.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FormatError("the endpoint's address cannot be read", "such as http://localhost:8000/v1") from error
    if parts.scheme not in ("http", "https") or not host:
        raise FormatError(
            f"an endpoint with the scheme {parts.scheme!r}", "an address such as http://localhost:8000/v1", "use http or https"
        )
    if "@" in parts.netloc:
        raise FormatError(
            "the endpoint's address holds a user name or password", "none", "put the key into an environment variable"
        )
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    named = f"[{host}]" if ":" in host else host  # in small letters already; one server has one address
    return urlunsplit((parts.scheme, f"{named}{port}", path, parts.query, ""))
