"""64 questions on 16 volumes, local weights against a vLLM server: ``python -m benchmarks.served URL --json``.

Both sides get the same questions in one call. The server runs beside on the same machine; its processor seconds are those of its processes,
ours those of this one. Prefix-cache figures are the server's own.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any

import httpx2
import psutil

from benchmarks.machine import describe
from unireason.engine.reasoner import Question, Reasoner, load
from unireason.evaluate.suites.base import open_suite
from unireason.model.files import locate

VOLUMES, EACH = 16, 4
_COUNTED = ("prefix_cache_queries_total", "prefix_cache_hits_total", "mm_cache_queries_total", "mm_cache_hits_total")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="address of a server of the built-in checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is asked (default 3)")
    args = parser.parse_args()
    cases = asked()
    sides = {"local": load("phantom", dtype="fp32"), "vllm": load("phantom", engine=[args.url])}
    server = server_of(args.url)
    runs: dict[str, list[dict[str, float]]] = {"local": [], "vllm": []}
    answers: dict[str, Any] = {}
    for _ in range(args.rounds):
        for name, reasoner in sides.items():
            before, wall, own, theirs = counts(args.url), time.perf_counter(), time.process_time(), spent(server)
            answers[name] = run(reasoner, cases)
            told = {key: value - before[key] for key, value in counts(args.url).items()} if name == "vllm" else {}
            runs[name].append(
                {
                    "seconds": time.perf_counter() - wall,
                    "own_cpu": time.process_time() - own,
                    "server_cpu": spent(server) - theirs,
                    **told,
                }
            )
    sides["vllm"].engine.close()
    best = {name: min(runs[name], key=lambda one: one["seconds"]) for name in runs}
    found = {
        "questions": sum(len(questions) for _, questions in cases),
        "tokens": sum(len(ids) for ids in answers["local"]),
        "same_ids": sum(a == b for a, b in zip(answers["local"], answers["vllm"], strict=True)),
        "runs": runs,
        "ratios": {"answers_a_second_vllm_to_local": best["local"]["seconds"] / best["vllm"]["seconds"]},
        "machine": describe("torch", "transformers"),
    }
    print(json.dumps(found, indent=1, allow_nan=False) if args.json else found["ratios"])


def asked() -> list[tuple[Any, list[Question]]]:
    """Volumes of held-out phantoms, each with its own question and those of its neighbours."""
    suite = open_suite("phantom", None, options={"questions": "120", "frame": str(locate("phantom")), "kind": "volume"})
    entries = list(suite.entries())
    names = list(dict.fromkeys(entry.case for entry in entries))[:VOLUMES]
    texts = [Question(entry.question, entry.options) for entry in entries]
    return [(suite.read(name), [texts[(EACH * n + k) % len(texts)] for k in range(EACH)]) for n, name in enumerate(names)]


def run(reasoner: Reasoner, cases: list[tuple[Any, list[Question]]]) -> list[tuple[int, ...]]:
    """Ids of all responses."""
    found = reasoner.ask_cases([(case, reasoner.encode(case), questions) for case, questions in cases])
    return [trace.tokens.response for own in found for (trace,) in own]


def counts(url: str) -> dict[str, float]:
    """The server's counters."""
    text = httpx2.get(f"{url}/metrics", timeout=30).text
    return {name: sum(float(v) for v in re.findall(rf"^vllm:{name}{{.*}} (\S+)$", text, re.MULTILINE)) for name in _COUNTED}


def server_of(url: str) -> list[psutil.Process]:
    """The processes of the server that listens there."""
    port = int(url.rsplit(":", 1)[1])
    first = next(
        psutil.Process(c.pid) for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port and c.pid
    )
    return [first, *first.children(recursive=True)]


def spent(processes: list[psutil.Process]) -> float:
    """Processor seconds."""
    return sum(t.user + t.system for t in (p.cpu_times() for p in processes))


if __name__ == "__main__":
    main()
