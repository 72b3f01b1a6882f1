"""A real vLLM server with the built-in checkpoint, and the questions that both sides are asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from unireason.engine.reasoner import Question, Reasoner, load
from unireason.evaluate.suites.base import open_suite
from unireason.model.files import locate

KEY = "a key of the tests"
SETTINGS = (
    "--dtype",
    "float32",
    "--max-model-len",
    "4096",
    "--limit-mm-per-prompt",
    '{"image": 64, "video": 0}',
    "--max-num-seqs",
    "16",
)
ON_CPU = ("--enforce-eager", "--block-size", "32")


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["VLLM_API_KEY"] = KEY
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
        str(locate("phantom")),
        "--served-model-name",
        "phantom",
    ]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--enable-scale-out",
        "--no-mm-device-do-normalize",
        *SETTINGS,
        *ON_CPU,
    ]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(address, server, log)
            yield address
        finally:
            server.terminate()
            server.wait(60)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers; its log where it does not."""
    until = time.monotonic() + 240
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx2.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx2.RequestError:
            time.sleep(1)
    pytest.fail("the server did not start:\n" + log.read_text(errors="replace")[-4000:])


@pytest.fixture(scope="session")
def local() -> Reasoner:
    """The weights in this process."""
    return load("phantom", dtype="fp32")


@pytest.fixture(scope="session")
def asked() -> list[tuple[Any, list[Question]]]:
    """Pictures and volumes, with one to three questions each."""
    suite = open_suite("phantom", None, options={"questions": "24", "frame": str(locate("phantom"))})
    by_case: dict[str, list[Question]] = {}
    for entry in suite.entries():
        by_case.setdefault(entry.case, []).append(Question(entry.question, entry.options))
    extra = (Question("Is there a lesion in the liver?", ("yes", "no")), Question("Which is larger?", ("liver", "spleen")))
    return [(suite.read(name), [*own, *extra[: n % 3]]) for n, (name, own) in enumerate(by_case.items())]
