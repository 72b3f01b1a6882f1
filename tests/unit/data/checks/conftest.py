"""One small sound data set for all tests of checks."""

from __future__ import annotations

from pathlib import Path

import pytest

import datasets
from unireason.data.dataset import Dataset


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.built(tmp_path_factory.mktemp("sound") / "set")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.built(tmp_path_factory.mktemp("embedded") / "set", patients=3, embed=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where an edited copy goes."""
    return tmp_path / "edited"
