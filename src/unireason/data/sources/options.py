"""Options of a source as they come from a command line or a manifest: text, checked, never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from unireason.errors import FormatError


def check(source: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Refuse options that a source does not know.

    Raises:
        FormatError: Naming the known ones.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise FormatError(
            f"the source '{source}' has no option '{unknown[0]}'", f"one of {', '.join(known)}" if known else "no options"
        )


def number(options: Mapping[str, str], key: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
    """A whole number.

    Raises:
        FormatError: If it is none or out of range.
    """
    text = str(options.get(key, default)).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise FormatError(f"the option {key} is {text!r}", f"a whole number from {least} to {most}")
    return int(text)


def lengths(options: Mapping[str, str], key: str) -> tuple[float, ...] | None:
    """Two or three positive numbers with commas between; None if the option was not given.

    Raises:
        FormatError: If it is anything else.
    """
    if key not in options:
        return None
    try:
        values = tuple(float(part) for part in options[key].split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3) or not all(0 < v < 1e6 for v in values):
        raise FormatError(f"the option {key} is {options[key]!r}", "two or three positive numbers such as 0.8,0.8,3")
    return values


def yes(options: Mapping[str, str], key: str) -> bool:
    """True for an option that says yes, False where it says no or was not given.

    Raises:
        FormatError: If it says anything else.
    """
    text = options.get(key, "no").strip().lower()
    if text not in ("yes", "no"):
        raise FormatError(f"the option {key} is {text!r}", "yes or no")
    return text == "yes"


def folder(source: str, root: Path | None, what: str) -> Path:
    """The folder of a source that needs one.

    Args:
        source: Name of the source, for the message.
        root: As given.
        what: What the folder holds.

    Raises:
        FormatError: If none was given.
    """
    if root is None:
        raise FormatError(f"the source '{source}' was given no folder", what)
    return root


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Options from texts such as "channel=1"; of equal keys the last one holds.

    Raises:
        FormatError: If a text is no KEY=VALUE.
    """
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise FormatError(f"the option {text!r}", "KEY=VALUE")
        found[key.strip()] = value
    return found
