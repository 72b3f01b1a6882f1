"""How varied template reasoning is: how often each form of a sentence comes in texts about phantoms.

    python -m benchmarks.sentence_forms [--patients N] --json

A form is a sentence with its numbers, boxes, names of structures, and words for sides and directions left out. Told are the number of
forms, the share of the commonest ones among all sentences, and that of the commonest conclusion among conclusions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter

import numpy as np

from unireason.core.types import Look
from unireason.data.frames import rule
from unireason.data.measure import describe
from unireason.data.names import display, plural
from unireason.data.questions.distractors import PeerChoice, Peers
from unireason.data.questions.families import candidates
from unireason.data.rationale.template import Annotation, Task, TemplateAnnotator
from unireason.data.regions import axial, busy
from unireason.data.scene import Scene
from unireason.data.sources.base import open_source

EACH = 4
"""Questions a family and case."""
_SIDES = re.compile(
    r"\b(?:to the (?:left|right|front|back)|towards the (?:head|feet)|left|right|anterior|posterior|superior|inferior|upper|lower|up|down|"
    r"first|last|early|late|brighter|darker|lighter|image|volume|area|half|part)\b"
)


def scenes(patients: int) -> list[Scene]:
    """Phantom patients, each as a volume and three slices."""
    source, rng, found = open_source("phantom", options={"patients": str(patients), "seed": "11"}), np.random.default_rng(11), []
    for item in source.items():
        loaded = source.load(item)
        views = [(item.id, loaded), *((f"{item.id}-{k}", axial(loaded, k)) for k in busy(loaded, 3, rng))]
        found += [describe(view, rule("published"), case=name, patient=item.patient) for name, view in views]
    return found


def forms(reasoning: tuple[str | Look, ...], scene: Scene, names: re.Pattern[str]) -> list[str]:
    """The sentences of a text, as forms."""
    text = "".join(p if isinstance(p, str) else " [box]" for p in reasoning)
    plain = re.sub(r"\d[\d.,]*(?: (?:mm2?|mm3|cm2|ml|pixels?|voxels?|slices?))?", "#", names.sub("N", text))
    return [_SIDES.sub("S", s) for s in re.split(r"(?<=[.!?])\s+", plain) if s]


def measure(patients: int) -> dict[str, object]:
    """Counts of forms over all texts."""
    drawn = scenes(patients)
    choice = PeerChoice(11)
    for scene in drawn:
        choice.offer(scene)
    peers, rng = Peers(choice.chosen()), np.random.default_rng(11)
    counts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    texts = 0
    for scene in drawn:
        known = sorted({w for n in (*scene.structures, *scene.absent) for w in (display(n), plural(n))}, key=len, reverse=True)
        names = re.compile(rf"\b(?:the )?(?:{'|'.join(map(re.escape, known))})\b", re.IGNORECASE)
        tasks = [Task(f"{scene.case}/{i}", q, scene) for i, q in enumerate(candidates(scene, rng, each=EACH, peers=peers))]
        for task, found in zip(tasks, TemplateAnnotator().annotate(tasks), strict=True):
            if isinstance(found, Annotation):
                mine = forms(found.reasoning, scene, names)
                counts.update(mine[:-1])
                ends[re.sub(rf"(?:\bN\b|\bS\b|#|{re.escape(task.question.right)}).*$", "R", mine[-1])] += 1
                texts += 1
    total = counts.total() + ends.total()
    return {
        "command": f"python -m benchmarks.sentence_forms --patients {patients} --json",
        "texts": texts,
        "sentences": total,
        "forms": len(counts) + len(ends),
        "commonest": [[form, round(n / total, 4)] for form, n in counts.most_common(12)],
        "conclusions": [[form, round(n / ends.total(), 4)] for form, n in ends.most_common(3)],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    print(json.dumps(measure(parser.parse_args().patients), indent=1))


if __name__ == "__main__":
    main()
