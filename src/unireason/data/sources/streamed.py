"""A JSON object of any length, entry by entry: indexes of millions of images do not fit into memory at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from unireason.errors import FormatError

_CHUNK = 1 << 20
MAX_ENTRY = 4 << 20
"""Longest entry, in characters."""


def pairs(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of the object that a JSON file holds, in the file's order.

    Args:
        path: The file. Its length is not bounded, that of one entry is.

    Raises:
        FormatError: If it is missing, no JSON object, broken off, or an entry is too long; entries before that are given.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from _Reader(stream, path.name).entries()
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read ({error.strerror})", "the index of the data set", "check the path") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"'{path.name}' is no UTF-8 text ({error.reason})", "a JSON file") from error


class _Reader:
    """A window that slides over the text."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def entries(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise FormatError(f"'{self._name}' has the key {str(key)[:50]!r}", "text")
            self._expect(":")
            yield key, self._value()
            if self._peek() == "}":
                return
            self._expect(",")

    def _more(self) -> bool:
        chunk = "" if self._ended else self._stream.read(_CHUNK)
        self._ended = not chunk
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def _peek(self) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise FormatError(f"'{self._name}' breaks off", "a whole JSON object", "copy or download it again")

    def _expect(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise FormatError(f"'{self._name}' is no JSON object ({found!r} in place of {mark!r})", "the file as published")
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_ENTRY or isinstance(error, RecursionError):
                    raise FormatError(f"'{self._name}' holds an entry that is too long or too deep", "a list of names") from error
                if not self._more():
                    raise FormatError(f"'{self._name}' is no JSON ({error})", "the file as published") from error
                continue
            if end == len(self._text) and self._more():
                continue  # a number may go on in the next chunk
            self._at = end
            return value
