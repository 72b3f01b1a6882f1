"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest

from unireason.train import context
from unireason.train.context import give_back


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_lies_between_living_pieces_is_returned():
    pieces = [ctypes.create_string_buffer(b"x" * 60_000, 60_000) for _ in range(2000)]
    kept = pieces[::50]
    full = resident()
    del pieces
    give_back()
    assert resident() < full - 60_000_000
    assert len(kept) == 40


def test_a_library_that_cannot_do_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(context.ctypes, "CDLL", lambda name: object())
    assert give_back() is False
