"""Every error that bad input can raise.

One root, few children, so that a caller may write ``except UniReasonError`` and be sure that nothing else
escapes. A message says three things: what came, what was expected, what to do about it.
"""

from __future__ import annotations

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
    """An optional package is needed.

    Args:
        package: The import name that is missing.
        extra: The extra of this package that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the optional package '{package}' is not installed",
            remedy=f"install it with: pip install 'unireason[{extra}]'",
        )
