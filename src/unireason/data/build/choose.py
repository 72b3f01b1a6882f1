"""The two passes in order: the survey of all scenes (splits, peers), and the choice of questions.

Both keep a bounded part of what passes by in memory: a few dozen bytes a picture, the peers, the excess of every feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from unireason.data.ask.peers import PeerChoice
from unireason.data.question import FAMILIES, IMPLICIT
from unireason.data.records import scene_from_row, scene_row
from unireason.data.select.balance import Selector
from unireason.data.select.duplicates import grouped, near_pairs, pack
from unireason.data.select.splits import assign
from unireason.types import Frame

from .config import BuildConfig
from .units import question_from_json
from .work import Unit, Work, read_json, write_json

LEAST_PATIENTS = 8
"""With fewer there are no peers: hardly an option would be left."""

Progress = Callable[[int], None]


def survey(config: BuildConfig, work: Work, units: Sequence[Unit], progress: Progress) -> None:
    """Look at all scenes: who belongs to which split, and whose scenes serve as peers; does nothing if that is done.

    Args:
        config: The build.
        work: Its work folder, with all drafts.
        units: All units, in order.
        progress: Called with the number of items of each unit done.
    """
    if work.splits.exists():
        return
    numbers: dict[str, int] = {}
    hashed: list[str] = []
    owners: list[int] = []
    peers = PeerChoice(config.seed)
    for unit in units:
        for row in read_json(work.draft(unit))["cases"]:
            number = numbers.setdefault(row["patient"], len(numbers))
            if row["phash"]:
                hashed.append(row["phash"])
                owners.append(number)
            peers.offer(scene_from_row(row))
        progress(unit.count)
    patients = list(numbers)
    write_json(work.peers, [scene_row(scene) for scene in peers.chosen()] if len(patients) >= LEAST_PATIENTS else [])
    owner = np.array(owners)
    pairs = near_pairs(pack(hashed), owner, near=config.near) if hashed else iter(())
    groups = grouped(patients, ((int(owner[a]), int(owner[b])) for a, b in pairs))
    write_json(work.splits, assign(patients, seed=config.seed, source=config.source, shares=config.shares, groups=groups))


def choose(config: BuildConfig, work: Work, units: Sequence[Unit], progress: Progress) -> None:
    """Choose the questions of all units; does nothing if that is done.

    Args:
        config: The build.
        work: Its work folder, with all candidate questions.
        units: All units, in order.
        progress: Called with the number of items of each unit done.
    """
    if work.selected.exists():
        return
    splits = read_json(work.splits)
    # One selector a kind: a balance over both would let one kind's lean hide the other's.
    selectors = {kind: Selector(FAMILIES, each_case=config.questions, seed=config.seed) for kind in ("image", "volume")}
    counts: Counter[str] = Counter()
    for unit in units:
        chosen, used = [], []
        for row, asked in zip(read_json(work.draft(unit))["cases"], read_json(work.asked(unit)), strict=True):
            kind = row["kind"]
            questions = [question_from_json(q) for q in asked]
            room = config.questions if config.most is None else min(config.questions, config.most - counts[kind])
            width, height, depth = row["frame"]
            picked = selectors[kind].choose(questions, Frame(width, height, depth, kind), most=room)
            counts[kind] += len(picked)
            wanted = config.implicit if picked or config.questions == 0 else 0
            picked += [i for i, q in enumerate(questions) if q.family == IMPLICIT][:wanted]
            chosen.append(picked)
            used.append(splits[row["patient"]])
        write_json(work.choice(unit), {"chosen": chosen, "splits": used})
        progress(unit.count)
    write_json(work.selected, dict(counts))
