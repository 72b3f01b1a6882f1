"""The local back end: cached continuation, shared prefixes and packed rows, exact.

Requests on one case and with one prompt prefix run together in one packed row; different cases run one after the other in the
order in which they first appear. A case keeps its features and the cache of its prefix, so that later questions start behind its
last picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch

from unireason.errors import ModelError
from unireason.model import vision
from unireason.model.checkpoint import Checkpoint
from unireason.types import Stack

from .attention import use_cached_attention
from .case import EncodedCase, Request, prepare_case, start_session
from .packed import Chunk, PackedRow, Prefix, compute_prefix
from .sampling import Picker, PickerFactory, Sampling, forbidden_ids, make_sampler
from .session import Finished, Inject, Session
from .stream import TextStream

OnToken = Callable[[int, int, str], None]


class LocalEngine:
    """Generates responses with the weights in this process."""

    def __init__(self, checkpoint: Checkpoint, *, picker: PickerFactory = make_sampler, max_rows: int = 16) -> None:
        """Prepare a checkpoint for generation.

        Args:
            checkpoint: The checkpoint; its weights are used in place and never changed.
            picker: Makes what chooses the tokens of a row.
            max_rows: Responses packed together at most.

        Raises:
            ModelError: If ``max_rows`` is below 1.
        """
        if max_rows < 1:
            raise ModelError(f"max_rows is {max_rows}", "at least 1")
        self.checkpoint = checkpoint
        self._picker, self._max_rows = picker, max_rows
        self._forbidden = forbidden_ids(checkpoint)
        # Caches of cases and the choice of attention belong to one generation at a time.
        self._lock = threading.Lock()

    def encode(self, stack: Stack) -> EncodedCase:
        """Run the vision tower over a stack, once for all questions.

        Raises:
            ModelError: If the stack cannot be fed.
        """
        case = prepare_case(self.checkpoint, stack)
        case.features = vision.encode(self.checkpoint, case.prepared)
        return case

    def generate(
        self, requests: Sequence[Request], sampling: Sampling | None = None, *, on_token: OnToken | None = None
    ) -> list[Session]:
        """Generate one response a request.

        Args:
            requests: Any number, on any cases; none gives none.
            sampling: How tokens are chosen; greedy by default. Its seed is not used: each request has its own.
            on_token: Called for every sampled token with (place of the request, token id, text it completes).

        Returns:
            Finished sessions in the order of the requests. They do not depend on what else was asked in the same call, up to
            rounding.

        Raises:
            ModelError: If a prompt does not fit its case or the context.
        """
        sessions = [start_session(self.checkpoint, request) for request in requests]
        cuts = [_prefix_length(self.checkpoint, request) for request in requests]
        with self._lock, torch.inference_mode(), use_cached_attention(self.checkpoint.network):
            for rows in _groups(requests, cuts, self._max_rows):
                job = _Job(self.checkpoint, [_Row(r, requests[r], sessions[r]) for r in rows])
                for row in job.rows:
                    row.picker = self._picker(row.place, sampling or Sampling(), row.request.seed, self._forbidden)
                job.run(self._prefix(requests[rows[0]], cuts[rows[0]]), on_token)
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
        self.node = 0
        self.logits = torch.empty(0)


class _Job:
    """Rows that share a case and a prefix, from their first token to their last."""

    def __init__(self, checkpoint: Checkpoint, rows: list[_Row]) -> None:
        self.rows, self._checkpoint = rows, checkpoint

    def run(self, prefix: Prefix, on_token: OnToken | None) -> None:
        packed = PackedRow(self._checkpoint.network, prefix)
        try:
            self._ask(packed, len(prefix.ids))
            streams = {row.place: TextStream(self._checkpoint) for row in self.rows} if on_token else {}
            live = self.rows
            while live:
                wanted = []
                for row in live:
                    token, logprob = row.picker.pick(row.logits)
                    decision = row.session.feed(token, logprob)
                    if on_token:
                        on_token(row.place, token, streams[row.place].push(token))
                    if not isinstance(decision, Finished):
                        wanted.append((row, token, decision if isinstance(decision, Inject) else None))
                ended, live = len(wanted) < len(live), [row for row, _, _ in wanted]
                if live and ended:
                    packed.drop([row.node for row in live])
                if live:
                    self._advance(packed, wanted)
        finally:
            packed.close()

    def _ask(self, packed: PackedRow, start: int) -> None:
        """Feed the distinct questions, one node each, and hang a node for every response below its own."""
        questions = {row.request.prompt: packed.add(0) for row in self.rows}
        logits = packed.step([Chunk(node, prompt[start:]) for prompt, node in questions.items()])
        by_prompt = dict(zip(questions, logits, strict=True))
        for row in self.rows:
            row.logits = by_prompt[row.request.prompt]
            row.node = packed.add(questions[row.request.prompt])

    def _advance(self, packed: PackedRow, wanted: Sequence[tuple[_Row, int, Inject | None]]) -> None:
        """Feed what every live row has just got: a token, or a token and the pictures of a look."""
        regions = [crop for _, _, look in wanted if look for crop in look.crops]
        features, grids = self._see([crop.pixels for crop in regions], [crop.grid_thw for crop in regions])
        chunks, used = [], 0
        for row, token, look in wanted:
            count = len(look.crops) if look else 0
            ids = [token, *look.token_ids] if look else [token]
            chunks.append(Chunk(row.node, ids, features[used : used + count], grids[used : used + count]))
            used += count
        for (row, _, _), logits in zip(wanted, packed.step(chunks), strict=True):
            row.logits = logits

    def _see(self, pixels: Sequence[Any], planned: Sequence[Any]) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
        if not pixels:
            return [], ()
        prepared = vision.prepare(self._checkpoint, pixels)
        if prepared.grid_thw != tuple(planned):
            raise ModelError(f"the crops have the grids {prepared.grid_thw}", f"the planned {tuple(planned)}")
        return vision.encode(self._checkpoint, prepared), prepared.grid_thw


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
