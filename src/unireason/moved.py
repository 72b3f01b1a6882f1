"""Old names, read for one release."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "unireason."


class MovedModules(MetaPathFinder, Loader):
    """Finds modules by the names that they had before 0.2 and hands out what stands in their new homes."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, str]] | None = None

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        if not fullname.startswith(PREFIX):
            return None
        if self._tables is None:
            self._tables = json.loads((Path(__file__).parent / "assets" / "moved.json").read_text())
        old = fullname.removeprefix(PREFIX)
        known = self._tables["modules"]
        return (
            ModuleSpec(fullname, self, is_package=True) if old in known or any(m.startswith(f"{old}.") for m in known) else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """See ``Loader``."""
        old = module.__name__.removeprefix(PREFIX)
        tables = self._tables or {}
        new = tables["modules"].get(old)
        if new:
            warnings.warn(f"{module.__name__} has moved to {PREFIX}{new}", DeprecationWarning, stacklevel=2)

        def find(name: str) -> Any:
            home, _, there = tables["names"].get(f"{old}.{name}", f"{new}:{name}" if new else "").partition(":")
            if name.startswith("__") or not home:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(import_module(PREFIX + home), there)

        module.__getattr__ = find  # type: ignore[method-assign]


def install() -> None:
    """Let old names be imported."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
