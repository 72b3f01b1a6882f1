"""Units of a build on a Ray cluster, through Ray Data.

Workers write unit files to the data set's folder, which must lie on storage that all machines share; only small numbers travel
back. The functions and the files are those of the local pool, so the result is the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from unireason.core.errors import MissingExtraError, UniReasonError
from unireason.data.build_store import BuildUnit
from unireason.data.pipeline import UnitFunction


class RayData:
    """Runs units as Ray Data tasks: on the cluster of ``RAY_ADDRESS``, or on a local Ray of ``workers`` processes."""

    def __init__(self, workers: int) -> None:
        """Set the number of units in flight."""
        if workers < 1:
            raise UniReasonError(f"{workers} workers were asked for", "at least 1")
        self.workers = workers
        _ray()

    def __call__(self, function: UnitFunction, units: Iterable[BuildUnit]) -> Iterator[int]:
        """See ``data.build.pool.Engine``."""
        ray = _ray()
        listed = [asdict(unit) for unit in units]
        if not listed:
            return
        _start(ray, self.workers)

        def one(row: dict[str, Any]) -> dict[str, int]:
            return {"items": function(BuildUnit(**row))}

        # A block a unit: the scheduler hands out units one by one, and a lost machine costs no more than what it held.
        planned = ray.data.from_items(listed, override_num_blocks=len(listed))
        results = planned.map(one, concurrency=min(self.workers, len(listed)), num_cpus=1)
        try:
            for row in results.iter_rows():
                yield int(row["items"])
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "cluster") from error
    return ray


def _start(ray: Any, workers: int) -> None:
    """Join the cluster, or start a local one that sends nothing anywhere."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(runtime_env=environment, logging_level="ERROR")
    else:
        ray.init(num_cpus=workers, include_dashboard=False, runtime_env=environment, logging_level="ERROR", log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False


def _cause(error: BaseException) -> UniReasonError:
    """The clear error inside Ray's wrapping, or one that says what Ray said."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, UniReasonError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return UniReasonError(
        f"a Ray task failed ({str(error).strip().splitlines()[-1]})", "", "see Ray's logs; what is done is kept"
    )
