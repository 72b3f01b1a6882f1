"""What a language model is told: the rules of the text, then one question with its structures in the model frame.

The right answer is withheld, so that the model has to find it, unless the settings say otherwise; what each option comes to is never told.
With ``vision`` the picture goes along, boxes of structures drawn on it with the numbers that the list gives them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
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
from unireason.core.types import Box, Box2D, Box3D
from unireason.data.claims import Fault
from unireason.data.names import display, the
from unireason.data.records import box_of
from unireason.data.scene import HALVES, IMPLICIT, LETTERS, DataQuestion, Scene, Structure
from unireason.grounding.grammar import THINK_END, write

from . import seen
from .template import Task
from .verify import Rules
from .wording import listed, wordings

VERSION = "prompt/2"
"""The number grows whenever the same task is put in other words; replies are kept by the words themselves."""
MAX_STRUCTURES = 24
MAX_MARKS = 12
"""So many boxes are drawn on a picture."""
_MAX_QUOTED = 6000
_PICTURE_CHARS = 6000  # what a picture costs, in characters: about 1,500 tokens at the size of ``frames.marked``

Message = dict[str, Any]

_TEXTS = wordings("annotator")


def messages(task: Task, settings: LlmSettings) -> list[Message]:
    """The messages of the first request for a task."""
    question, scene, rules = task.question, task.scene, settings.rules
    implicit = question.family == IMPLICIT
    example = write(Box2D(40, 52, 71, 90) if scene.kind == "image" else Box3D(40, 52, 6, 71, 90, 14))
    recipes = _TEXTS["recipe"]
    recipe = recipes["open"] if question.gold else recipes.get(question.ask, recipes[question.family])
    sight = _TEXTS["blind" if settings.blind else "told"]
    system = _TEXTS["rules"].format(
        what="2D image" if scene.kind == "image" else "3D scan (a stack of slices)",
        sight=f"{_TEXTS['vision']} {sight}" if settings.vision else sight,
        looks=_TEXTS["no_looks"] if implicit else _TEXTS["looks"].format(most=rules.max_looks, example=example),
        scale=_TEXTS["scale" if scene.scale else "no_scale"],
        ending=_TEXTS["ending_implicit" if implicit else "ending_open" if question.gold else "ending"].format(close=THINK_END),
        recipe=" ".join(recipe.split()).format(intent=_drawn("intents", task)),
        style=_drawn("styles", task),
    )
    facts: Any = _facts(task, settings)
    if settings.vision:
        if not task.picture:
            raise FormatError("a task without its picture", "one that was drawn, as pipeline.build does", "or turn vision off")
        url = f"data:image/png;base64,{base64.b64encode(task.picture).decode()}"
        facts = [{"type": "text", "text": facts}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "system", "content": system}, {"role": "user", "content": facts}]


def repair(asked: Sequence[Message], reply: str, faults: Sequence[Fault]) -> list[Message]:
    """The messages that send a faulty text back."""
    details = "\n".join(f"- {fault.detail}" for fault in dict.fromkeys(faults))
    again = f"This text has faults:\n{details}\nWrite the whole text again without them, under the same rules."
    return [*asked, {"role": "assistant", "content": reply[:_MAX_QUOTED]}, {"role": "user", "content": again}]


def characters(asked: Sequence[Mapping[str, Any]]) -> int:
    """How long messages are; a picture counts as so much text."""
    contents = [m["content"] for m in asked]
    parts = [p for c in contents for p in ([{"text": c}] if isinstance(c, str) else c)]
    return sum(len(p["text"]) if "text" in p else _PICTURE_CHARS for p in parts)


def _drawn(texts: str, task: Task) -> str:
    """One of some texts, by the task alone."""
    digest = hashlib.sha256(f"{VERSION}:{texts}:{task.id}".encode()).digest()
    found: str = _TEXTS[texts][int.from_bytes(digest[:8], "big") % len(_TEXTS[texts])]
    return found


def _facts(task: Task, settings: LlmSettings) -> str:
    question, scene = task.question, task.scene
    numbers = {box: n for n, box in enumerate(marks(task), start=1)} if settings.vision else {}
    blocks = [f"Image: {_header(scene)}", "Structures:", *(_structure(s, scene, numbers) for s in _relevant(question, scene))]
    if scene.absent:
        blocks.append(f"Looked for and not there: {'; '.join(_missing(question, scene))}.")
    blocks.append(f"Question: {question.text}")
    blocks += [f"{letter}. {scene.said(option)}" for letter, option in zip(LETTERS, question.options, strict=False)]
    if not settings.blind and question.family == IMPLICIT:
        blocks.append(f"The target: {display(question.needs[0])}")
    elif not settings.blind:
        blocks.append(f"Needed for the answer: {', '.join(map(display, question.needs))}")
        blocks.append(f"Right answer: {f'{question.letter}. ' if question.options else ''}{scene.said(question.right)}")
    return "\n".join(blocks)


def _header(scene: Scene) -> str:
    frame, space = scene.frame, "patient" if scene.space == "patient" else "picture"
    parts = [scene.modality or "modality unknown"]
    if scene.kind == "image":
        parts.append(f"2D, frame {frame.width} x {frame.height} pixels, boxes are [x1,y1,x2,y2]")
    else:
        parts.append(f"3D, frame {frame.width} x {frame.height} pixels x {frame.depth} slices, boxes are [x1,y1,z1,x2,y2,z2]")
    parts.append(scene.scale.removeprefix("Scale: ").rstrip(".").replace("; ", ", ") or "no scale is told")
    words = scene.side_words
    if words is None:
        parts.append("no sides are told: speak of the structures' places to each other, not of left and right")
    elif seen.own_midline(scene):
        parts.append(f"the midline of the body is at x {int(scene.midline_model)}, found by the {scene.midline.found}")
    if words is not None:
        parts.append(f"smaller x is {words[0]}, larger x {words[1]}, in terms of the {space}")
    if scene.terms == "depth":
        parts.append(f"smaller y is {HALVES['depth'][1][0]}, larger y {HALVES['depth'][1][1]}")
    elif space == "patient":
        parts.append("smaller y is anterior, larger y posterior" + (", larger slices superior" if scene.kind == "volume" else ""))
    return "; ".join(parts)


def _relevant(question: DataQuestion, scene: Scene) -> list[Structure]:
    """What question and options name, in their order, then the rest in alphabetical order, bounded; it does not tell the answer."""
    there = scene.structures
    named = [n for n in dict.fromkeys((*question.about, *question.options)) if n in there]
    rest = [n for n in there if n not in named]
    needed = [n for n in rest if n in question.needs]
    kept = sorted((needed + [n for n in rest if n not in needed])[: max(0, MAX_STRUCTURES - len(named))])
    if question.family == IMPLICIT:  # its about is the answer
        kept, named = sorted({*named, *kept}), []
    return [there[n] for n in [*named, *kept]]


def marks(task: Task) -> list[Box]:
    """The boxes to draw on a task's picture, in the order of their numbers."""
    return [part.box_model for s in _relevant(task.question, task.scene) for part in s.shown][:MAX_MARKS]


def _missing(question: DataQuestion, scene: Scene) -> list[str]:
    """What is not there, what the question names first, with its place where that is known."""
    names = question.offered if question.ask in ("which_present", "which_absent") else question.about
    told = {n: seen.absence(fact) for n, fact in zip(names, question.facts, strict=False)}
    found = []
    for name in sorted(scene.absent, key=lambda n: (n not in (*question.about, *question.options), n))[:MAX_STRUCTURES]:
        place = told.get(name, seen.Absence())
        filled = f", where one sees {listed([the(n) for n in place.instead])}" if place.instead else ""
        where = f" (its place would be {write(box_of(place.box))}{filled})" if place.box else ""
        where = f" (its {place.outside} is not shown)" if place.outside else where
        found.append(f"{display(name)}{where}")
    return found


def _structure(structure: Structure, scene: Scene, numbers: Mapping[Box, int]) -> str:
    """One line about one structure: each of its boxes, then what can be seen of it."""
    shown = []
    for part in structure.shown:
        number = numbers.get(part.box_model)
        shown.append(write(part.box_model) + (f" (number {number})" if number else ""))
    axes = range(len(scene.extent))
    parts = [seen.said_size(structure, scene)]
    if structure.scattered:
        parts[0] += " in all"
        parts.append(f"{structure.part_count} parts, one after the other: {', '.join(shown)}")
    else:
        side = scene.side(structure.name)
        parts.append(f"middle at {seen.where(seen.middle_of(structure), axes)}" + (f" ({side})" if side else ""))
    if scene.kind == "volume":
        parts.append(f"slices {structure.slices[0]} to {structure.slices[1] - 1}")
    much = "clearly " if abs(structure.contrast) >= seen.CLEAR else ""
    bright = (
        "about as bright as"
        if abs(structure.contrast) < seen.FLAT
        else f"{much}{('darker', 'brighter')[structure.contrast > 0]} than"
    )
    parts.append(f"{bright} what lies around it")
    if structure.part_count > 1 and not structure.scattered:
        parts.append("with a few small parts beside it")
    if structure.neighbours:
        parts.append(f"next to {listed([the(n) for n in structure.neighbours[:4]])}")
    if structure.borders:
        parts.append(f"cut off at: {', '.join(structure.borders)}")
    return f"- {display(structure.name)}{'' if structure.scattered else ' ' + shown[0]}: {'; '.join(parts)}"


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
    blind: bool = True
    """Whether the right answer is withheld: only texts that find it are kept, others are dropped as "disagrees"."""
    vision: bool = False
    """Whether the picture is sent along, with the boxes of structures drawn on it."""
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
