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


@pytest.fixture(scope="session")
def quiz(tmp_path_factory: pytest.TempPathFactory, phantoms: Dataset) -> Dataset:
    """Four short training questions with two options each. Nobody may change it."""
    from training import make_lessons

    return make_lessons(tmp_path_factory.mktemp("quiz") / "data", phantoms, count=4)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory, start: Path, phantoms: Dataset) -> Path:
    """A tiny checkpoint that answers ``quiz`` in the right form and picks its options by chance. Nobody may change it."""
    from training import warmed_up

    return warmed_up(tmp_path_factory.mktemp("warm"), start, phantoms)
