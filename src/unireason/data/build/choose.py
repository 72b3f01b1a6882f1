"""The pass in the middle: all drafts in order, to splits and chosen questions. It keeps a few dozen bytes a case in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unireason.data.question import FAMILIES, IMPLICIT
from unireason.data.select.balance import Selector
from unireason.data.select.duplicates import grouped, near_pairs, pack
from unireason.data.select.splits import assign

from .config import BuildConfig
from .units import question_from_json
from .work import Unit, Work, read_json, write_json

Progress = Callable[[int], None]


def choose(config: BuildConfig, work: Work, units: Sequence[Unit], progress: Progress) -> None:
    """Decide splits and questions of all units; does nothing if that is done.

    Args:
        config: The build.
        work: Its work folder, with all drafts.
        units: All units, in order.
        progress: Called with the number of items of each unit done.
    """
    if work.selected.exists():
        return
    splits, groups = _splits(config, work, units)
    # One selector a kind: a balance over both would let one kind's lean hide the other's.
    selectors = {kind: Selector(FAMILIES, each_case=config.questions) for kind in ("image", "volume")}
    counts: Counter[str] = Counter()
    for unit in units:
        chosen, used = [], []
        for draft in read_json(work.draft(unit))["cases"]:
            kind, patient = draft["case"]["kind"], draft["case"]["patient"]
            questions = [question_from_json(q) for q in draft["questions"]]
            room = config.questions if config.most is None else min(config.questions, config.most - counts[kind])
            picked = selectors[kind].choose(questions, most=room)
            counts[kind] += len(picked)
            picked += [i for i, q in enumerate(questions) if q.family == IMPLICIT][: config.implicit if picked else 0]
            chosen.append(picked)
            used.append(splits[patient])
        write_json(work.choice(unit), {"chosen": chosen, "splits": used})
        progress(unit.count)
    write_json(work.selected, {"groups": groups})


def _splits(config: BuildConfig, work: Work, units: Sequence[Unit]) -> tuple[dict[str, str], dict[str, str]]:
    """Patient to split, and patient to group of near-duplicates."""
    patients: list[str] = []
    hashed: list[str] = []
    owners: list[int] = []
    numbers: dict[str, int] = {}
    for unit in units:
        for draft in read_json(work.draft(unit))["cases"]:
            case: dict[str, Any] = draft["case"]
            number = numbers.setdefault(case["patient"], len(numbers))
            if case["phash"]:
                hashed.append(case["phash"])
                owners.append(number)
    patients = list(numbers)
    groups: dict[str, str] = {}
    if hashed:
        owner = np.array(owners)
        pairs = near_pairs(pack(hashed), owner, near=config.near)
        groups = grouped(patients, ((int(owner[a]), int(owner[b])) for a, b in pairs))
    return assign(patients, seed=config.seed, source=config.source, shares=config.shares, groups=groups), groups
