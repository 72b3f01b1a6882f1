"""Settings and fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from unireason.data.dataset import Dataset

# A busy machine must not turn a slow example into a failure; pytest's own timeout stops what hangs.
settings.register_profile("unireason", deadline=None)
settings.load_profile("unireason")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A small data set in the frame of the built-in checkpoint. Nobody may change it."""
    from training import make_phantoms

    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "data")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, phantoms: Dataset) -> Path:
    """A tiny random checkpoint that fits ``phantoms``. Nobody may change it."""
    from training import make_start

    return make_start(tmp_path_factory.mktemp("start") / "tiny", phantoms)
