"""Runs a program of VLMEvalKit with empty stand-ins for packages that it imports at its start and that are missing.

    python stand_ins.py run.py --data ...

This is the one place where anything of a kit is replaced. A stand-in is made only for a package of ``MAY_BE_MISSING`` that is not
installed. Importing it and taking names from it works; nothing that a name stands for can be used.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

MAY_BE_MISSING = {
    "torchvision": "of other models in VLMEvalKit; this project is kept free of it",
    "qwen_vl_utils": "of other models in VLMEvalKit; needs torchvision",
}
"""Packages of which a stand-in may be made, and what they are for."""


class _Name(type):
    """What a stand-in gives for any name: a class without content, so that it can be a base class or an annotation."""

    def __getattr__(cls, name: str) -> Any:
        return _named(name)


def _named(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Name(name, (), {})


class _StandIn(ModuleType):
    """A package with every name in it."""

    def __getattr__(self, name: str) -> Any:
        return _named(name)


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins; asked last, so that what is installed comes first."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A stand-in for a package of the list, or for a module in one that is a stand-in."""
        top = name.partition(".")[0]
        missing = top in MAY_BE_MISSING and (name == top or isinstance(sys.modules.get(top), _StandIn))
        return ModuleSpec(name, self, is_package=True) if missing and PathFinder.find_spec(top) is None else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty package."""
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def main(program: str, arguments: Sequence[str]) -> None:
    """Run the program as if it had been started by itself.

    Args:
        program: Path of a Python file.
        arguments: What follows it on the command line.
    """
    from transformers.utils.import_utils import is_torchvision_available

    is_torchvision_available()  # transformers keeps the answer: it must not take a stand-in for the package
    sys.meta_path.append(_Finder())
    sys.path[0] = str(Path(program).resolve().parent)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
