"""How many threads torch uses.

A small network spends its time handing out work: with more threads each tiny matrix product waits for the slowest of them. On a
CPU that other processes share, two threads made an answer of a network of a few million parameters several times slower. Large
networks gain from threads, and on a GPU they do not matter, so that nothing is changed there.
"""

from __future__ import annotations

import torch

from unireason.errors import ModelError
from unireason.model.checkpoint import Checkpoint

_TINY = 30_000_000  # parameters


def set_threads(checkpoint: Checkpoint, threads: int | None = None) -> int:
    """Set the threads of this process.

    Args:
        checkpoint: What will run.
        threads: How many; None takes one for a network below 30 million parameters on a CPU and leaves torch alone else.

    Returns:
        The threads that torch uses now.

    Raises:
        ModelError: If ``threads`` is below 1.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"{threads} threads", "at least 1")
    tiny = checkpoint.device.type == "cpu" and sum(p.numel() for p in checkpoint.network.parameters()) < _TINY
    if threads is not None or tiny:
        torch.set_num_threads(threads or 1)
    return torch.get_num_threads()
