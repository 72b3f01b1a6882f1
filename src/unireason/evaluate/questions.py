"""Which questions of a suite are asked, and whether their true places are written in the frame that the model sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from unireason.errors import FormatError
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.types import Frame


def choose(suite: Suite, count: int | None, seed: int) -> list[Entry]:
    """Questions in the order of their suite.

    Cases are drawn by the seed one after the other, and each is asked all its questions until there are enough.

    Args:
        suite: The suite.
        count: Questions at most, at least 1; None takes all.
        seed: Of the order.

    Raises:
        FormatError: If the count is below 1, or the suite has no questions, two of one identifier, or text that is not Unicode.
    """
    if count is not None and count < 1:
        raise FormatError(f"{count} questions", "at least 1")
    entries = list(suite.entries())
    if len({entry.id for entry in entries}) != len(entries) or not entries:
        raise FormatError(f"the suite '{suite.name}' has {len(entries)} questions", "some, each with an identifier of its own")
    for entry in entries:
        _check_text(entry)
    if count is None:
        return entries
    order = sorted(entries, key=lambda e: shuffle_key(seed, e.case))
    drawn = {entry.id for entry in order[:count]}
    return [entry for entry in entries if entry.id in drawn]


def shuffle_key(seed: int, name: str) -> tuple[bytes, str]:
    """What to sort names by for an order that follows from the seed alone.

    Orders of two seeds have nothing in common; by a checksum, which is linear, they would.
    """
    return hashlib.sha256(f"{seed} {name}".encode()).digest(), name


def seed_of(seed: int, name: str) -> int:
    """Seed of what is drawn for one name, such as the first sample to a question; it depends on nothing else."""
    return int.from_bytes(shuffle_key(seed, name)[0][:7], "big")


def _check_text(entry: Entry) -> None:
    """Refuse half characters, which JSON may hold and no file, seed or tokenizer takes."""
    try:
        "".join((entry.id, entry.case, entry.patient, entry.question, *entry.options, *entry.answers)).encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"the text of question {entry.id!r} has a half character ({error.reason})", "whole characters", "repair its file"
        ) from error


def by_case(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Cases with their questions, in the order given; those on one case must stand together."""
    return ((name, list(together)) for name, together in groupby(entries, key=lambda entry: entry.case))


def check_frame(entry: Entry, frame: Frame) -> None:
    """Refuse true places that are written in another frame than the model's.

    Args:
        entry: A question; without the tag "frame" nothing is known of its places' frame.
        frame: What the model sees of its case.

    Raises:
        FormatError: If the frames differ.
    """
    seen = f"{frame.width}x{frame.height}x{frame.depth}"
    if entry.tags.get("frame", seen) != seen:
        raise FormatError(
            f"the true places of question {entry.id!r} are written in a frame of {entry.tags['frame']}, and the model sees {seen}",
            "one frame",
            "open the suite for the frame of the checkpoint",
        )
