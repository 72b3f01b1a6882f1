"""What a language model is told: the rules of the text, then one question with its structures in the model frame."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, model_validator

from unireason.core.config import settings
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Box3D
from unireason.data.claims import Fault
from unireason.data.scene import IMPLICIT, LETTERS, DataQuestion, Scene, Structure
from unireason.grounding.grammar import THINK_END, write

from . import seen
from .template import Task, notable, offsets
from .verify import Rules
from .wording import wordings

MAX_STRUCTURES = 24
_MAX_QUOTED = 6000

Message = dict[str, str]

_TEXTS = wordings("annotator")


def messages(task: Task, rules: Rules) -> list[Message]:
    """The messages of the first request for a task."""
    implicit = task.question.family == IMPLICIT
    example = write(Box2D(40, 52, 71, 90) if task.scene.kind == "image" else Box3D(40, 52, 6, 71, 90, 14))
    system = _TEXTS["rules"].format(
        what="2D image" if task.scene.kind == "image" else "3D scan (a stack of slices)",
        kind=task.scene.kind,
        looks=_TEXTS["no_looks"] if implicit else _TEXTS["looks"].format(most=rules.max_looks, example=example),
        ending=(_TEXTS["ending_implicit"] if implicit else _TEXTS["ending"]).format(close=THINK_END),
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": _facts(task)}]


def repair(asked: Sequence[Message], reply: str, faults: Sequence[Fault]) -> list[Message]:
    """The messages that send a faulty text back."""
    listed = "\n".join(f"- {fault.detail}" for fault in dict.fromkeys(faults))
    again = f"This text has faults:\n{listed}\nWrite the whole text again without them, under the same rules."
    return [*asked, {"role": "assistant", "content": reply[:_MAX_QUOTED]}, {"role": "user", "content": again}]


def _facts(task: Task) -> str:
    question, scene = task.question, task.scene
    blocks = [f"Image: {_header(scene)}", "Structures:", *(_structure(s, scene) for s in _relevant(question, scene))]
    if scene.absent:
        blocks.append(f"Looked for and not there: {', '.join(scene.absent[:MAX_STRUCTURES])}.")
    blocks.append(f"Question: {question.text}")
    if question.family == IMPLICIT:
        blocks += [f"True of the target: {'; '.join(question.facts)}.", f"The target: {question.needs[0]}"]
        return "\n".join(blocks)
    facts = question.facts if len(question.facts) == len(question.options) else ("",) * len(question.options)
    for letter, option, fact in zip(LETTERS, question.options, facts, strict=False):
        blocks.append(f"{letter}. {scene.said(option)}" + (f" ({fact})" if fact else ""))
    blocks += [
        f"Needed for the answer: {', '.join(question.needs)}",
        f"Right answer: {question.letter}. {scene.said(question.right)}",
    ]
    return "\n".join(blocks)


def _header(scene: Scene) -> str:
    frame = scene.frame
    parts = [scene.modality or "modality unknown"]
    if scene.kind == "image":
        parts.append(f"2D, frame {frame.width} x {frame.height} pixels, boxes are [x1,y1,x2,y2]")
    else:
        parts.append(f"3D, frame {frame.width} x {frame.height} pixels x {frame.depth} slices, boxes are [x1,y1,z1,x2,y2,z2]")
    if scene.spacing_mm is not None:
        parts.append(f"voxel size {' x '.join(f'{v:.3g}' for v in scene.spacing_mm)} mm")
    parts.append("left and right are the patient's" if scene.space == "patient" else "left and right are those of the picture")
    return "; ".join(parts)


def _relevant(question: DataQuestion, scene: Scene) -> list[Structure]:
    """What the question needs first, then the rest in alphabetical order, bounded."""
    first = [n for n in dict.fromkeys(question.needs) if n in scene.structures]
    return [scene.structures[n] for n in [*first, *(n for n in scene.structures if n not in first)]][:MAX_STRUCTURES]


def _structure(structure: Structure, scene: Scene) -> str:
    """One line about one structure."""
    axes = notable(structure.centre, scene)
    place = f"centre {offsets(structure.centre, axes, scene)} from the middle" if axes else "centre in the middle"
    parts = [seen.said_size(structure, scene), place]
    if scene.kind == "volume":
        parts.append(f"slices {structure.slices[0]} to {structure.slices[1] - 1}")
    parts.append(f"{abs(structure.contrast):.0f} grey levels {'brighter' if structure.contrast > 0 else 'darker'} than around it")
    if structure.part_count > 1:
        parts.append(f"{structure.part_count} parts")
    if structure.neighbours:
        parts.append(f"next to {', '.join(structure.neighbours[:4])}")
    if structure.borders:
        parts.append(f"cut off at: {', '.join(structure.borders)}")
    return f"- {structure.name} {write(structure.box_model)}: {'; '.join(parts)}"


# --- Settings of the annotator that asks a language model.

_RESERVED = frozenset(("model", "messages", "stream", "n"))


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "unireason" / "replies"


Least1 = Annotated[int, Field(ge=1)]
From0 = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]


@settings
class LlmSettings:
    """How to ask an endpoint."""

    key_env: str = ""
    """Name of the environment variable that holds the API key; "" to send none."""
    cache: Path = Field(default_factory=_user_cache)
    """Folder of kept replies."""
    concurrency: Least1 = 8
    """Requests under way at once."""
    timeout_s: Above0 = 120.0
    """Seconds for one request, from connecting to the last byte."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again after a failure that may pass (429, 500, 502, 503, 504, a lost connection, a time-out, a reply
    that is no chat completion)."""
    backoff_s: From0 = 1.0
    """Wait before the first retry; it doubles each time, with jitter. An endpoint's Retry-After is honoured."""
    max_backoff_s: Above0 = 60.0
    """Longest wait, also for Retry-After."""
    give_up_after: Least1 = 20
    """Failures in a row (retries spent) after which the whole run ends, because the endpoint is down."""
    temperature: float = 0.7
    """Sampling temperature."""
    top_p: float = 1.0
    """Nucleus sampling."""
    max_tokens: Least1 = 1024
    """Tokens of a reply at most."""
    seed: int | None = 0
    """Sampling seed sent along; None sends none."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Further fields of the request, e.g. {"skip_special_tokens": False} for vLLM with Qwen models."""
    budget_requests: Annotated[int, Field(ge=0)] | None = None
    """Replies at most; None for no limit. Budgets count kept replies too, so that a resumed run stops where an uninterrupted one does, and
    replies that were of no use. Requests under way are counted beforehand, so that a budget is exceeded by one reply at most."""
    budget_tokens: Annotated[int, Field(ge=0)] | None = None
    """Prompt and reply tokens at most."""
    budget_money: From0 | None = None
    """Money at most, in the unit of the prices."""
    price_prompt: From0 = 0.0
    """Price of a million prompt tokens."""
    price_completion: From0 = 0.0
    """Price of a million reply tokens."""
    max_reply_bytes: Least1 = 1 << 20
    """Longest body that is read."""
    repair: bool = True
    """Whether a faulty text is sent back once with the list of its faults."""
    rules: Rules = Field(default_factory=Rules)
    """What reasoning has to keep to."""

    @model_validator(mode="after")
    def _fits(self) -> LlmSettings:
        if self.budget_money is not None and not self.price_prompt + self.price_completion:
            raise FormatError("a budget of money without prices", "price_prompt and price_completion, a million tokens")
        if taken := sorted(_RESERVED & set(self.extra)):
            raise FormatError(f"extra sets {', '.join(taken)}", "other fields of the request")
        return self

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


# --- What an endpoint may be paid, and what it was: every reply counts, whatever became of it, and requests under way count
# beforehand.


@dataclass(frozen=True, slots=True)
class Spent:
    """What replies used up, kept ones included."""

    replies: int = 0
    tokens: int = 0
    money: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.replies + other.replies, self.tokens + other.tokens, self.money + other.money)

    def over(self, settings: LlmSettings) -> bool:
        """True once one of the budgets is used up."""
        return any(have >= limit for have, limit in self._limited(settings))

    def within(self, settings: LlmSettings) -> bool:
        """True unless a budget is exceeded."""
        return all(have <= limit for have, limit in self._limited(settings))

    def _limited(self, settings: LlmSettings) -> list[tuple[float, float]]:
        limits = (settings.budget_requests, settings.budget_tokens, settings.budget_money)
        return [(h, m) for h, m in zip((self.replies, self.tokens, self.money), limits, strict=True) if m is not None]


class Account:
    """The account of one pass over tasks, shared by all that ask at the same time."""

    def __init__(self, settings: LlmSettings, spent: Spent) -> None:
        self._settings, self.spent = settings, spent
        self.prompt_tokens = self.completion_tokens = self.retried = 0
        self._under_way: list[Spent] = []
        self._dearest = Spent()
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @property
    def over(self) -> bool:
        """True once a budget is used up."""
        return self.spent.over(self._settings)

    @asynccontextmanager
    async def room(self, prompt_tokens: int) -> AsyncIterator[Bill | None]:
        """Wait until the budget has room for a task beside those under way, first come first served."""
        settings = self._settings
        first = self._most(prompt_tokens)
        most = first.plus(self._most(prompt_tokens + settings.max_tokens)) if settings.repair else first
        async with self._turn:
            while self._under_way and not self._with(most).within(settings):
                self._freed.clear()
                await self._freed.wait()
            begins = not self.over
            if begins:
                self._under_way.append(most)
        try:
            yield Bill(self) if begins else None
        finally:
            if begins:
                self._under_way.remove(most)
                self._freed.set()

    def add(self, cost: Spent) -> None:
        """Count a reply."""
        self.spent = self.spent.plus(cost)
        self._dearest = Spent(1, max(cost.tokens, self._dearest.tokens), max(cost.money, self._dearest.money))

    def _with(self, more: Spent) -> Spent:
        for promised in (*self._under_way, self.spent):
            more = more.plus(promised)
        return more

    def _most(self, prompt_tokens: int) -> Spent:
        """What a reply costs at most: by its limits, or as much as the dearest so far."""
        cost, dear = self.cost(prompt_tokens, self._settings.max_tokens), self._dearest
        return Spent(1, max(cost.tokens, dear.tokens), max(cost.money, dear.money))

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Spent:
        """The cost of one reply."""
        return Spent(1, prompt_tokens + completion_tokens, self._settings.price(prompt_tokens, completion_tokens))


class Bill:
    """What one task used up."""

    def __init__(self, account: Account) -> None:
        self._account, self.spent = account, Spent()

    @property
    def over(self) -> bool:
        """True once a budget is used up, by whatever task."""
        return self._account.over

    def kept(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply that was found on disk."""
        cost = self._account.cost(prompt_tokens, completion_tokens)
        self.spent = self.spent.plus(cost)
        self._account.add(cost)

    def paid(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply that the endpoint sent, usable or not."""
        self._account.prompt_tokens += prompt_tokens
        self._account.completion_tokens += completion_tokens
        self.kept(prompt_tokens, completion_tokens)

    def retried(self) -> None:
        """Count a request that is sent again."""
        self._account.retried += 1
