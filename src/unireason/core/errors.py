"""What ends work early: every error that bad input can raise, and signals.

One root, few children, so that a caller may write ``except UniReasonError`` and be sure that nothing else
escapes. A message says three things: what came, what was expected, what to do about it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


class UniReasonError(Exception):
    """Root of every error raised for bad input, configuration or environment.

    Args:
        came: What was found, in plain words, with the offending value.
        expected: What would have been right; empty if the first sentence says it.
        remedy: What the user can do now; empty if there is nothing to do.
    """

    def __init__(self, came: str, expected: str = "", remedy: str = "") -> None:
        self.came, self.expected, self.remedy = came, expected, remedy
        parts = [came.rstrip(".")]
        if expected:
            parts.append(f"expected {expected.rstrip('.')}")
        if remedy:
            parts.append(remedy.rstrip("."))
        super().__init__(". ".join(p[0].upper() + p[1:] if i else p for i, p in enumerate(parts)) + ".")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between processes; children with other arguments must come back too.
        return _restored, (type(self), self.came, self.expected, self.remedy)


def _restored(kind: type[UniReasonError], came: str, expected: str, remedy: str) -> UniReasonError:
    error = kind.__new__(kind)
    UniReasonError.__init__(error, came, expected, remedy)
    return error


class ImageReadError(UniReasonError):
    """A file or folder could not be read as a medical image or volume."""


class GeometryError(UniReasonError):
    """Positions, spacing or orientation are missing, contradictory or out of range."""


class SizeLimitError(UniReasonError):
    """The input is larger than the configured bound."""


class FormatError(UniReasonError):
    """Structured text or data (a trace, a profile, a record, a configuration) has another shape."""


class ModelError(UniReasonError):
    """A checkpoint cannot be found, read or used."""


class MissingExtraError(UniReasonError):
    """An optional package, by its import name, is needed; the extra of this package installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the optional package '{package}' is not installed", remedy=f"install it with: pip install 'unireason[{extra}]'"
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM, by which SLURM, Kubernetes and others end work a moment before they kill it.

    ``kept`` says what is kept and how to go on; "" if there is nothing to say.
    """

    def __init__(self, number: int = signal.SIGINT, kept: str = "") -> None:
        self.number, self.kept = number, kept
        super().__init__(kept)


@contextmanager
def terminable() -> Iterator[None]:
    """Inside the block SIGTERM raises ``Interrupted``, as Ctrl-C raises ``KeyboardInterrupt``."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled(stop, signal.SIGTERM):
        yield


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """An interruption of the block tells what is kept, unless it does so already."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        raise Interrupted(number, getattr(error, "kept", "") or kept) from None


@dataclass(slots=True)
class Stop:
    """Whether an end was asked for: the signal, 0 without one, and when it came, by the monotonic clock."""

    number: int = 0
    since: float = 0.0


@contextmanager
def postponed(told: str) -> Iterator[Stop]:
    """Inside the block the first Ctrl-C or SIGTERM is noted only, so that work can go on to a place where it can be left.

    A second Ctrl-C raises at once. A block that has ended without looking at the note raises then.

    Args:
        told: What standard error says when the signal comes; "" says nothing.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if not stop.number:
            stop.number, stop.since = number, time.monotonic()
            os.write(2, f"\n{told}\n".encode() if told else b"")  # printing is not safe here
        elif number == signal.SIGINT and time.monotonic() - stop.since > _ONE_PRESS:
            raise Interrupted(number)

    with _handled(note, signal.SIGINT, signal.SIGTERM):
        yield stop
    if stop.number:
        raise Interrupted(stop.number)


_ONE_PRESS = 1.0  # seconds: a terminal and a launcher each pass on the same Ctrl-C


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """Inside the block these signals are handled so; outside of the main thread, which alone may say so, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
