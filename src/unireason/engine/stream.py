"""Text of a growing row of token ids, piece by piece, never in the middle of a character."""

from __future__ import annotations

from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import decode

_UNFINISHED = "\ufffd"
_LONGEST = 8  # ids; a character of more pieces than this is broken and will not become whole


class TextStream:
    """Turns ids into text as they come."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Start with nothing."""
        self._checkpoint = checkpoint
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """Take one id.

        Returns:
            The text that it completes; "" while the bytes of a character are still incomplete.
        """
        self._waiting.append(token)
        text = decode(self._checkpoint, self._waiting)
        if text.endswith(_UNFINISHED) and len(self._waiting) < _LONGEST:
            return ""
        self._waiting = []
        return text
