"""Units on the cores of one machine: a process pool that keeps little in flight and never outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Protocol

from unireason.errors import UniReasonError

from .work import Unit

UnitFunction = Callable[[Unit], int]
"""Does one unit and returns the number of items done; picklable."""


class Engine(Protocol):
    """Runs a function on all units, in any order and on any machine that sees the same files."""

    def __call__(self, function: UnitFunction, units: Iterable[Unit]) -> Iterator[int]:
        """Yields what the function returned, as units finish.

        Raises:
            UniReasonError: If a unit raised one, or a worker died.
        """
        ...


class LocalPool:
    """``workers`` processes of one thread each; one worker means this very process."""

    def __init__(self, workers: int) -> None:
        """Set the number of processes.

        Raises:
            UniReasonError: If it is below 1.
        """
        if workers < 1:
            raise UniReasonError(f"{workers} workers were asked for", "at least 1")
        self.workers = workers

    def __call__(self, function: UnitFunction, units: Iterable[Unit]) -> Iterator[int]:
        """See ``Engine``."""
        if self.workers == 1:
            yield from map(function, units)
            return
        context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=start_worker) as pool:
            try:
                yield from self._flow(pool, function, iter(units))
            except BrokenProcessPool as error:
                raise UniReasonError(
                    "a worker process died", "", "it may have run out of memory: try fewer workers; what is done is kept"
                ) from error
            except (KeyboardInterrupt, GeneratorExit):  # nobody waits for units that are half done: they leave nothing behind
                for worker in set(multiprocessing.active_children()) - others:
                    worker.kill()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _flow(self, pool: ProcessPoolExecutor, function: UnitFunction, units: Iterator[Unit]) -> Iterator[int]:
        """Keeps two units a worker in flight, so that a list of millions costs no memory."""
        flying: set[Future[int]] = set()
        while True:
            while len(flying) < 2 * self.workers and (unit := next(units, None)) is not None:
                flying.add(pool.submit(function, unit))
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def start_worker() -> None:
    """Prepare a worker process: one thread for numerical libraries, and an end as soon as its parent is gone, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
