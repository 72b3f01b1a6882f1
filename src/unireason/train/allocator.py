"""Memory that was freed goes back to the system: the C library keeps pieces between the tensors of a step, and a long run grows by them."""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Ask the C library to return what it holds and nobody uses.

    Returns:
        True if something was returned; False where there was nothing or the library cannot do it (any but glibc).
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False
