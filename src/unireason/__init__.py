"""Grounded reasoning over 2D and 3D medical images. Research only, not a medical device.

``import unireason`` loads nothing heavy: names below are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .moved import install

if TYPE_CHECKING:
    from unireason.core.errors import UniReasonError
    from unireason.core.types import Case, Trace
    from unireason.engine.reasoner import Reasoner, load
    from unireason.imaging import read, serialize

install()

__version__ = "0.1.0"

_HOMES = {
    "Case": "core.types",
    "Reasoner": "engine.reasoner",
    "Trace": "core.types",
    "UniReasonError": "core.errors",
    "load": "engine.reasoner",
    "read": "imaging",
    "serialize": "imaging",
}

__all__ = ["Case", "Reasoner", "Trace", "UniReasonError", "__version__", "load", "read", "serialize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unireason' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
