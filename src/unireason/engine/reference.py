"""The reference back end: every round recomputes everything, by the library's own road. The oracle of tests and benchmarks.

Each response runs alone. Each round takes all pictures, those of the case and all crops so far, through image processor, vision
tower and language model again, and leaves positions and masks to the library. It shares with the local back end only the session
and the choice of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unireason.core.types import Stack
from unireason.model import vision
from unireason.model.checkpoint import Checkpoint

from .case import EncodedCase, Request, prepare_case, start_session
from .local import OnToken, TextStream
from .sampling import Picker, PickerFactory, Repetition, Sampling, forbidden_ids, make_sampler
from .session import Finished, Inject, Session


class ReferenceEngine:
    """Generates responses the slow and simple way."""

    def __init__(self, checkpoint: Checkpoint, *, picker: PickerFactory = make_sampler) -> None:
        """Use a checkpoint."""
        self.checkpoint, self._picker = checkpoint, picker
        self._forbidden = forbidden_ids(checkpoint)

    def encode(self, stack: Stack) -> EncodedCase:
        """Prepare the pictures of a stack; the vision tower runs anew in every round."""
        return prepare_case(self.checkpoint, stack)

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], sampling: Sampling | None = None, *, on_token: OnToken | None = None
    ) -> list[Session]:
        """Generate one response a request, one after the other. Arguments, result and errors as in ``LocalEngine.generate``."""
        sessions = [start_session(self.checkpoint, request) for request in requests]
        for place, (request, session) in enumerate(zip(requests, sessions, strict=True)):
            picker = self._picker(place, sampling or Sampling(), request.seed, self._forbidden)
            repetition = Repetition(sampling or Sampling(), request.prompt, self._forbidden)
            stream = TextStream(self.checkpoint)
            while session.finish is None:
                self._round(
                    request, session, picker, repetition, lambda t, p=place, s=stream: on_token and on_token(p, t, s.push(t))
                )
        return sessions

    def _round(self, request: Request, session: Session, picker: Picker, repetition: Repetition, told: Any) -> None:
        """One round: everything from the start, then token by token until a look or the end."""
        network, device = self.checkpoint.network, self.checkpoint.device
        pictures = [*request.case.stack.slices, *(crop.pixels for crop in session.crops)]
        prepared = vision.prepare(self.checkpoint, pictures)
        row = torch.tensor([[*session.prompt, *session.response]], device=device)
        out = network(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            mm_token_type_ids=(row == self.checkpoint.ids.image_pad).int(),
            pixel_values=prepared.pixel_values.to(device, self.checkpoint.dtype),
            image_grid_thw=torch.tensor(prepared.grid_thw, device=device),
            use_cache=True,
            logits_to_keep=1,
        )
        while True:
            token, logprob = picker.pick(repetition.apply(out.logits[0, -1]))
            decision = session.feed(token, logprob)
            if isinstance(decision, Inject) and decision.anew:
                repetition.restart([*session.prompt, *session.response])
            else:
                repetition.saw([token, *decision.token_ids] if isinstance(decision, Inject) else [token])
            told(token)
            if isinstance(decision, Finished | Inject):
                return
            # One token sees all that came before, so there is no mask; its position follows from the library's own count.
            out = network(
                input_ids=torch.tensor([[token]], device=device),
                past_key_values=out.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )
