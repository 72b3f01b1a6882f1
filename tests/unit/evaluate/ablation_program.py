"""A stand-in for the program that an ablation runs: it writes the files of a run in no time, right answers by a fixed pattern.

Run as a script it takes the arguments of ``unireason train`` and ``unireason eval run``. ``STAND_IN`` holds JSON: ``slow`` seconds a job
takes, ``fail`` a job's path that ends with code 3, ``count`` a file that gets a line for every job that begins.
"""

import json
import os
import sys
import time
from pathlib import Path

RIGHT = {
    ("plain", 0): [1, 0, 0, 1, 0, 0],
    ("plain", 1): [1, 0, 1, 0, 0, 0],
    ("better", 0): [1, 1, 1, 1, 1, 0],
    ("better", 1): [1, 1, 1, 1, 1, 1],
    ("last", 0): [1, 0, 0, 1, 0, 0],
    ("last", 1): [1, 0, 1, 0, 0, 0],
}
"""Arm and seed -> right answers to six questions: four about volumes, two about images; of three patients."""

CONFIG = """
kind = "ablation"
seeds = [0, 1]
reference = "plain"
[train]
file = "sft.toml"
set = ["data.images=0.25"]
[evaluate]
suite = "built"
data = "exam"
options = { kind = "both", questions = 500 }
questions = 6
seed = 1
[[arms]]
name = "last"
title = "Then GRPO"
after = "plain"
file = "grpo.toml"
start = "best"
[[arms]]
name = "plain"
[[arms]]
name = "better"
title = "A | better one"
set = ["batch_size=4", "optim.lr=2e-5"]
arguments = ["--vote", "3"]
[[claims]]
text = "Better is better."
better = "better"
than = "plain"
on = "volume"
[[claims]]
text = "Then GRPO helps"
better = "last"
than = "plain"
"""
SFT = 'kind = "sft"\nbatch_size = 8\n[model]\ninit_from = "phantom"\n[data]\nfolders = ["made"]\n[run]\nsteps = 5\n'
GRPO = 'kind = "grpo"\n[model]\ninit_from = "phantom"\n[data]\nfolders = ["made"]\n[rollout]\nprompts_per_step = 2\n[run]\nsteps = 3\n'


def write_config(folder, text=CONFIG):
    """The files of an ablation of three arms; returns that of the ablation."""
    folder.mkdir(exist_ok=True)
    (folder / "sft.toml").write_text(SFT)
    (folder / "grpo.toml").write_text(GRPO)
    path = folder / "ablation.toml"
    path.write_text(text)
    return path


def train(out, kind):
    (out / "checkpoint").mkdir(parents=True, exist_ok=True)
    steps, samples = (5, {"samples": 8.0}) if kind == "sft" else (3, {})
    lines = [{"stage": kind, "step": n, "time": 0.0, **samples} for n in range(1, steps + 1)]
    (out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def row(number, right):
    """A row of ``unireason eval run``: questions about volumes have two true looks, of which a wrong answer made none."""
    volume = number < 4
    sample = {"said": "A", "right": bool(right), "looks": 2 * right if volume else 0, "trace": {"problems": []}}
    sample |= {"published": {}, "overlap": None, "probability": None}
    return {
        **{"id": f"q{number}", "patient": f"p{number // 2}", "kind": "volume" if volume else "image", "tags": {}},
        **{"case": f"c{number}", "question": "?", "letter": "A", "answers": ["a"], "tied": False, "picture": ""},
        **{"options": ["a", "b", "c", "d"], "said": "A", "right": bool(right), "published": {}, "problem": ""},
        **{"overlap": None, "probability": None, "agreement": None, "ious": [0.75 * right, 0.25 * right] if volume else []},
        **{"sample": 0, "samples": [sample], "seconds": 0.1},
    }


def answer(out, right):
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.jsonl").write_text("".join(json.dumps(row(n, r)) + "\n" for n, r in enumerate(right)))
    manifest = {"rule": "by letter", "questions_sha256": "abc", "checkpoint": {"sha256": "f00"}, "profile": {"name": "unimed"}}
    (out / "results.json").write_text(json.dumps({"kind": "run", "manifest": {**manifest, "versions": {"torch": "2"}}}))


def main():
    told = json.loads(os.environ.get("STAND_IN", "{}"))
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    name = "/".join(out.parts[-3:])
    if "count" in told:
        with open(told["count"], "a") as stream:
            stream.write(f"{name} {os.environ['OMP_NUM_THREADS']}\n")
    print(f"at work on {name}", flush=True)
    time.sleep(told.get("slow", 0))
    if told.get("fail") == name:
        print("no room on the disk", file=sys.stderr)
        sys.exit(3)
    if sys.argv[1] == "train":
        train(out, sys.argv[2])
    else:
        assert (out.parent / "train" / "checkpoint").is_dir()
        answer(out, RIGHT[out.parts[-3], int(out.parts[-2].removeprefix("seed-"))])


if __name__ == "__main__":
    main()
