"""The built-in checkpoint and a small phantom examination, shared by the tests of the bridges."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
import recorded_kits

from unireason.engine.reasoner import load
from unireason.evaluate.suites.base import open_suite


@pytest.fixture(scope="session")
def reasoner():
    return load("phantom", device="cpu")


@pytest.fixture(scope="session")
def phantoms():
    """Three questions about images and three about volumes."""
    return open_suite("phantom", options={"questions": "3"})


@pytest.fixture
def bridge(monkeypatch):
    """A bridge by its name, over the recorded kits."""
    recorded_kits.install(monkeypatch)

    def found(name):
        monkeypatch.delitem(sys.modules, f"unireason.bridges.{name}", raising=False)
        return import_module(f"unireason.bridges.{name}")

    yield found
    for name in ("lmms_eval", "vlmevalkit"):
        sys.modules.pop(f"unireason.bridges.{name}", None)
