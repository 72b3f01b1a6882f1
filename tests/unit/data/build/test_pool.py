"""The local pool."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unireason.core.errors import FormatError, MissingExtraError, UniReasonError
from unireason.data.build_store import BuildUnit
from unireason.data.pipeline import LocalPool

UNITS = [BuildUnit(n, 10 * n, n + 1) for n in range(9)]


def count(unit: BuildUnit) -> int:
    return unit.count


def refuse(unit: BuildUnit) -> int:
    if unit.number == 4:
        raise FormatError("unit four", "another")
    return 1


def refuse_with_another_error(unit: BuildUnit) -> int:
    raise MissingExtraError("ray", "cluster")


def die(unit: BuildUnit) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize("workers", [1, 2])
def test_every_unit_is_done_once(workers: int) -> None:
    assert sorted(LocalPool(workers)(count, UNITS)) == list(range(1, 10))
    assert list(LocalPool(workers)(count, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_through_as_they_are(workers: int) -> None:
    with pytest.raises(FormatError, match=r"^unit four\. Expected another\.$"):
        list(LocalPool(workers)(refuse, UNITS))
    with pytest.raises(MissingExtraError, match="pip install"):
        list(LocalPool(workers)(refuse_with_another_error, UNITS))


def test_a_dead_worker_is_a_clear_error() -> None:
    with pytest.raises(UniReasonError, match="a worker process died"):
        list(LocalPool(2)(die, UNITS))


def test_no_workers_are_refused() -> None:
    with pytest.raises(UniReasonError, match="0 workers"):
        LocalPool(0)


SLEEPER = """
import os, sys, time
from unireason.data.pipeline import LocalPool
from unireason.data.build_store import BuildUnit
def wait(unit):
    open(os.path.join(sys.argv[1], f"{os.getpid()}.pid"), "w").close()
    time.sleep(60)
    return 1
if __name__ == "__main__":
    list(LocalPool(2)(wait, [BuildUnit(0, 0, 1), BuildUnit(1, 0, 1)]))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(pids := list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(pids) == 2
    process.kill()
    process.wait()
    while any(_runs(int(p.stem)) for p in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_runs(int(p.stem)) for p in pids)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
