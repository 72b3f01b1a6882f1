"""Replies kept on disk, so that a second run asks nothing again and gives the same data.

One JSON file a reply, named by its key in two levels of folders, written whole or not at all. No request and no key of an endpoint is
kept. A file that cannot be read counts as missing and is written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unireason.files import json_text, write_bytes

SCHEMA = "unireason.reply/1"
_MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered.

    Attributes:
        text: The message.
        prompt_tokens: Tokens of the request as the endpoint counts them, or an estimate.
        completion_tokens: Tokens of the reply.
        finish: Why it ended ("stop", "length", ...); "" if not said.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = ""

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


def key_of(url: str, model: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on, as hex digits.

    Args:
        url: Full address of the chat completions: servers call any model "default", so a name alone says little.
        model: Name of the model there.
        messages: Role and content of each message.
        sampling: Sampling settings as plain JSON values.
    """
    whole = {"schema": SCHEMA, "url": url, "model": model, "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    return hashlib.sha256(json_text(whole, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


class ReplyCache:
    """A folder of replies.

    Args:
        folder: Where they are kept; made when the first reply is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the reply of a key lies."""
        return self.folder / key[:2] / key[2:4] / f"{key}.json"

    def get(self, key: str) -> Reply | None:
        """The reply of a key; None if there is none, or none that can be read."""
        path = self.path(key)
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                return None
            values = json.loads(path.read_bytes())
            if values.pop("schema") != SCHEMA:
                return None
            reply = Reply(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        sound = isinstance(reply.text, str) and type(reply.prompt_tokens) is int and type(reply.completion_tokens) is int
        return reply if sound else None

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply.

        Raises:
            UniReasonError: If the folder cannot be written.
        """
        values = {"schema": SCHEMA, **asdict(reply)}
        write_bytes(self.path(key), (json_text(values, ensure_ascii=True, sort_keys=True, indent=1) + "\n").encode())
