"""The local back end: cached continuation, shared prefixes and packed rows, exact.

Requests on one case and with one prompt prefix run together in one packed row, and the packed rows of several cases go through the
network together; what does not fit at once runs in the order in which cases first appear. A case keeps its features and the cache of
its prefix, so that later questions start behind its last picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch

from unireason.core.errors import ModelError
from unireason.core.types import Stack
from unireason.model import vision
from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import decode

from .cache import Chunk, PackedRow, Prefix, compute_prefix, step, use_cached_attention
from .case import EncodedCase, Request, prepare_case, start_session
from .sampling import Picker, PickerFactory, Repetition, Sampling, forbidden_ids, make_sampler
from .session import Finished, Inject, Session

_UNFINISHED = "\ufffd"
_LONGEST = 8  # ids; a character of more pieces than this is broken and will not become whole


class TextStream:
    """Turns ids into text as they come."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Start with nothing."""
        self._checkpoint = checkpoint
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """Take one id."""
        self._waiting.append(token)
        text = decode(self._checkpoint, self._waiting)
        if text.endswith(_UNFINISHED) and len(self._waiting) < _LONGEST:
            return ""
        self._waiting = []
        return text


# --- The local back end: cached continuation, shared prefixes and packed rows, exact.


OnToken = Callable[[int, int, str], None]

_JOINED_TOKENS = 32_768  # prompt prefixes whose caches are held at once


class LocalEngine:
    """Generates responses with the weights in this process."""

    def __init__(
        self, checkpoint: Checkpoint, *, picker: PickerFactory = make_sampler, max_rows: int = 16, max_joined: int = 48
    ) -> None:
        """Prepare a checkpoint for generation."""
        for name, value in (("max_rows", max_rows), ("max_joined", max_joined)):
            if value < 1:
                raise ModelError(f"{name} is {value}", "at least 1")
        self.checkpoint, self.max_joined = checkpoint, max_joined
        self._picker, self._max_rows = picker, max_rows
        self._forbidden = forbidden_ids(checkpoint)
        # Caches of cases and the choice of attention belong to one generation at a time.
        self._lock = threading.Lock()

    def encode(self, stack: Stack) -> EncodedCase:
        """Run the vision tower over a stack, once for all questions."""
        case = prepare_case(self.checkpoint, stack)
        case.features = vision.encode(self.checkpoint, case.prepared)
        return case

    def generate(
        self, requests: Sequence[Request], sampling: Sampling | None = None, *, on_token: OnToken | None = None
    ) -> list[Session]:
        """Generate one response a request, on any cases: finished sessions in the order of the requests.

        They do not depend on what else was asked in the same call, up to rounding. Sampling is greedy by default; its seed is
        not used: each request has its own. ``on_token`` is called for every sampled token with (place of the request, token id,
        text it completes). A prompt that does not fit its case or the context is a ModelError.
        """
        sessions = [start_session(self.checkpoint, request) for request in requests]
        cuts = [_prefix_length(self.checkpoint, request) for request in requests]
        with self._lock, torch.inference_mode(), use_cached_attention(self.checkpoint.network):
            groups = _groups(requests, cuts, self._max_rows)
            for together in _joined([(id(requests[g[0]].case), cuts[g[0]], len(g)) for g in groups], self.max_joined):
                job = _Job(self.checkpoint)
                for rows in (groups[n] for n in together):
                    own = [_Row(r, requests[r], sessions[r]) for r in rows]
                    for row in own:
                        row.picker = self._picker(row.place, sampling or Sampling(), row.request.seed, self._forbidden)
                        row.repetition = Repetition(sampling or Sampling(), row.request.prompt, self._forbidden)
                    job.add(self._prefix(requests[rows[0]], cuts[rows[0]]), own)
                job.run(on_token)
        return sessions

    def _prefix(self, request: Request, length: int) -> Prefix:
        case, ids = request.case, request.prompt[:length]
        if case.features is None:
            case.features = vision.encode(self.checkpoint, case.prepared)
        if not isinstance(case.prefix, Prefix) or case.prefix.ids != ids:
            case.prefix = None  # free the old one before the new one is made
            case.prefix = compute_prefix(self.checkpoint.network, ids, case.features, case.prepared.grid_thw)
        return case.prefix


class _Row:
    """One response in the making."""

    def __init__(self, place: int, request: Request, session: Session) -> None:
        self.place, self.request, self.session = place, request, session
        self.picker: Picker
        self.repetition: Repetition
        self.packed: PackedRow
        self.start = self.node = self.asked = 0
        self.logits = torch.empty(0)


class _Job:
    """Rows that run together, from their first token to their last; those on one case and prefix stand together."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._rows: list[_Row] = []
        self._packed: list[PackedRow] = []

    def add(self, prefix: Prefix, rows: Sequence[_Row]) -> None:
        """Rows on one case and prefix."""
        packed = PackedRow(self._checkpoint.network, prefix)
        self._packed.append(packed)
        for row in rows:
            row.packed, row.start = packed, len(prefix.ids)
        self._rows += rows

    def run(self, on_token: OnToken | None) -> None:
        try:
            self._ask()
            streams = {row.place: TextStream(self._checkpoint) for row in self._rows} if on_token else {}
            live = self._rows
            while live:
                wanted = []
                for row in live:
                    token, logprob = row.picker.pick(row.repetition.apply(row.logits))
                    decision = row.session.feed(token, logprob)
                    if isinstance(decision, Inject) and decision.anew:
                        row.repetition.restart([*row.request.prompt, *row.session.response])
                    else:
                        row.repetition.saw([token, *decision.token_ids] if isinstance(decision, Inject) else [token])
                    if on_token:
                        on_token(row.place, token, streams[row.place].push(token))
                    if not isinstance(decision, Finished):
                        wanted.append((row, token, decision if isinstance(decision, Inject) else None))
                ended, live = len(wanted) < len(live), [row for row, _, _ in wanted]
                if live and ended:
                    for packed in self._packed:
                        packed.drop([row.node for row in live if row.packed is packed])
                if live:
                    self._advance(wanted)
        finally:
            for packed in self._packed:
                packed.close()

    def _ask(self) -> None:
        """Feed the distinct questions, one node each, and hang a node for every response below its own."""
        asked: dict[tuple[PackedRow, tuple[int, ...]], Chunk] = {}
        for row in self._rows:
            key = (row.packed, row.request.prompt)
            if key not in asked:
                asked[key] = Chunk(row.packed.add(0), row.request.prompt[row.start :])
        logits = step(self._checkpoint.network, [(packed, chunk) for (packed, _), chunk in asked.items()])
        by_question = dict(zip(asked, logits, strict=True))
        for row in self._rows:
            key = (row.packed, row.request.prompt)
            row.logits = by_question[key]
            row.asked = asked[key].node
            row.node = row.packed.add(row.asked)

    def _advance(self, wanted: Sequence[tuple[_Row, int, Inject | None]]) -> None:
        """Feed what every live row has just got: a token, or a token and the pictures of a look."""
        shown = [(row.session.crops if look.anew else look.crops) if look else () for row, _, look in wanted]
        regions = [crop for crops in shown for crop in crops]
        features: list[torch.Tensor] = []
        grids: tuple[Any, ...] = ()
        if regions:
            prepared = vision.prepare(self._checkpoint, [crop.pixels for crop in regions])
            grids, planned = prepared.grid_thw, tuple(crop.grid_thw for crop in regions)
            if grids != planned:
                raise ModelError(f"the crops have the grids {grids}", f"the planned {planned}")
            features = vision.encode(self._checkpoint, prepared)
        fed, used = [], 0
        for (row, token, look), crops in zip(wanted, shown, strict=True):
            count, ids = len(crops), [token, *look.token_ids] if look else [token]
            if look and look.anew:  # other ids than those in the cache: the response hangs below its question once more
                row.node, ids = row.packed.add(row.asked), row.session.response
            fed.append((row.packed, Chunk(row.node, ids, features[used : used + count], grids[used : used + count])))
            used += count
        for (row, _, _), logits in zip(wanted, step(self._checkpoint.network, fed), strict=True):
            row.logits = logits


def _prefix_length(checkpoint: Checkpoint, request: Request) -> int:
    """Ids up to and including the last picture of a prompt."""
    ids, prompt = checkpoint.ids, request.prompt
    pictures = sum(token == ids.vision_end for token in prompt)
    if pictures != len(request.case.prepared.grid_thw):
        raise ModelError(f"the prompt shows {pictures} pictures", f"the {len(request.case.prepared.grid_thw)} of its case")
    length = len(prompt) - prompt[::-1].index(ids.vision_end)
    if length == len(prompt):
        raise ModelError("the prompt ends with a picture", "text behind the last picture")
    return length


def _groups(requests: Sequence[Request], cuts: Sequence[int], most: int) -> list[list[int]]:
    """Places of requests that can run together: same case, same prefix, at most so many; in order of first appearance."""
    first: dict[tuple[int, tuple[int, ...]], int] = {}
    keys = [first.setdefault((id(r.case), r.prompt[:c]), i) for i, (r, c) in enumerate(zip(requests, cuts, strict=True))]
    together = [list(rows) for _, rows in groupby(sorted(range(len(requests)), key=keys.__getitem__), key=keys.__getitem__)]
    return [rows[i : i + most] for rows in together for i in range(0, len(rows), most)]


def _joined(groups: Sequence[tuple[int, int, int]], most: int) -> list[list[int]]:
    """Numbers of groups, each (case, prefix length, rows), that run at once: neighbours on different cases, few enough rows and ids."""
    out: list[list[int]] = []
    rows = ids = 0
    cases: set[int] = set()
    for number, (case, length, count) in enumerate(groups):
        if not out or case in cases or rows + count > most or ids + length > _JOINED_TOKENS:
            out.append([])
            rows = ids = 0
            cases = set()
        out[-1].append(number)
        rows, ids = rows + count, ids + length
        cases.add(case)
    return out
