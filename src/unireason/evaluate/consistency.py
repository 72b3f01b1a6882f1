"""The whole measurement: choose, ask, sum up, write."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Box3D, Case, Geometry, Trace, is_mismatch
from unireason.data.frames import FrameRule
from unireason.data.item import Loaded
from unireason.data.measure import describe
from unireason.data.questions.distractors import Dice, Places, words_of
from unireason.data.questions.families import present
from unireason.data.regions import axial, find, picture
from unireason.data.scene import Scene, readable
from unireason.engine.reasoner import Question, Reasoner
from unireason.evaluate.suites.base import Entry, Suite
from unireason.evaluate.suites.built import BuiltSuite
from unireason.grounding.crop import extent
from unireason.imaging.geometry import model_to_canonical
from unireason.metrics.boxes import Consistency, box_iou, projection, slice_volume
from unireason.metrics.statistics import flip_interval, over_patients, too_few
from unireason.model import files
from unireason.rewards.outcome import looks_in_reasoning

from .results import ConsistencyResults, evenly
from .runner import Unread
from .store import AskSettings, KeyedRows, by_case, choose, held, make_manifest, shuffle_key, write_results

Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ConsistencyRow:
    """One pair; all boxes are canonical and half-open."""

    id: str
    structure: str
    case: str
    patient: str
    question: str
    slice_question: str
    slice: int
    size: tuple[int, int]
    true_rectangle: Numbers
    true_cuboid: Numbers
    rectangle: Numbers | None
    cuboid: Numbers | None
    said: str
    slice_said: str
    mismatch: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Question and structure."""
        return self.id, self.structure

    @property
    def asked(self) -> bool:
        """True if the slice was shown."""
        return bool(self.slice_question)

    @property
    def both(self) -> bool:
        """True if both looks are there."""
        return self.rectangle is not None and self.cuboid is not None

    def measured(self) -> Consistency:
        """The pair measured."""
        return slice_volume(
            None if self.rectangle is None else Box2D(*self.rectangle),
            None if self.cuboid is None else Box3D(*self.cuboid),
            slice_index=self.slice,
            true_rectangle=Box2D(*self.true_rectangle),
            true_cuboid=Box3D(*self.true_cuboid),
        )

    def shadow(self) -> Box2D | None:
        """The cuboid's x-y projection."""
        return None if self.cuboid is None else projection(Box3D(*self.cuboid))


class ConsistencyRows(KeyedRows[ConsistencyRow]):
    """The rows of a measurement, in memory and on disk."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, again: bool = False) -> None:
        """Open or begin; see ``keyed.KeyedRows``."""
        super().__init__(folder, manifest, _row, again=again)


def _row(table: Any) -> ConsistencyRow:
    lists = ("size", "true_rectangle", "true_cuboid", "rectangle", "cuboid", *(("remarks",) if "remarks" in table else ()))
    return ConsistencyRow(**{**table, **{name: None if table[name] is None else tuple(table[name]) for name in lists}})


# --- What the rows say: agreement, distance to truth, and what looks at another patient would have given, with intervals over
# patients.


OTHERS = 8
"""Other patients, at most, to whom a look is compared."""
FIGURES = ("agreement", "slice_to_truth", "volume_to_truth", "cuboid_to_truth", "other_patient", "ceiling")


@dataclass(frozen=True, slots=True)
class Pair:
    """A row with its IoUs.

    Attributes:
        row: The row.
        agreement: Of both looks.
        slice_to_truth: Of the look at the slice and the true box there.
        volume_to_truth: Of the projections of the cuboid and the true one.
        cuboid_to_truth: Of the cuboids.
        other_patient: Mean over other patients; None if none has a cuboid for the structure.
        ceiling: Of the true box on the slice and the projection of the true cuboid.
        crossed: True if the cuboid reaches the slice.
    """

    row: ConsistencyRow
    agreement: float
    slice_to_truth: float
    volume_to_truth: float
    cuboid_to_truth: float
    other_patient: float | None
    ceiling: float
    crossed: bool


def pairs(rows: Iterable[ConsistencyRow], *, seed: int) -> list[Pair]:
    """Measure the rows whose slice was shown."""
    asked = [row for row in rows if row.asked]
    peers: dict[str, dict[str, ConsistencyRow]] = {}
    for row in sorted(asked, key=lambda row: shuffle_key(seed, row.patient)):
        if row.cuboid is not None:
            peers.setdefault(row.structure, {}).setdefault(row.patient, row)
    made = []
    for row in asked:
        found = row.measured()
        # Those who come next in the circle of patients.
        own = peers.get(row.structure, {})
        order = list(own)
        begin = order.index(row.patient) + 1 if row.patient in own else 0
        others = [own[name] for name in order[begin:] + order[:begin] if name != row.patient][:OTHERS]
        made.append(
            Pair(
                row=row,
                agreement=found.agreement,
                slice_to_truth=found.slice_iou,
                volume_to_truth=found.projection_iou,
                cuboid_to_truth=found.volume_iou,
                other_patient=_of_others(row, others),
                ceiling=found.ceiling,
                crossed=found.crossed,
            )
        )
    return made


def summary(rows: Iterable[ConsistencyRow], *, seed: int) -> dict[str, Any]:
    """The results as plain JSON values (docs/reference/results.md); figures over no pairs are None, intervals over one patient too."""
    every = list(rows)
    measured = pairs(every, seed=seed)
    whole = [pair for pair in measured if pair.row.both]
    by_structure = {
        name: [p for p in measured if p.row.structure == name] for name in sorted({p.row.structure for p in measured})
    }
    return {
        "kind": "consistency",
        **_figures(measured, seed),
        "conditional": _figures(whole, seed),
        "looked": _looked(measured),
        "crossed": _share([pair.crossed for pair in measured if pair.row.cuboid is not None]),
        "left_out": len(every) - len(measured),
        "mismatch_rate": _share([row.mismatch for row in {row.id: row for row in every}.values()]),
        "by_structure": {
            structure: {
                "n": len(own),
                "patients": len({pair.row.patient for pair in own}),
                "looked": _looked(own),
                **{name: _figure(own, name, seed) for name in FIGURES},
            }
            for structure, own in by_structure.items()
        },
    }


def _figures(measured: Sequence[Pair], seed: int) -> dict[str, Any]:
    made: dict[str, Any] = {"n": len(measured), "patients": (patients := len({pair.row.patient for pair in measured}))}
    made["too_few_patients"] = too_few(patients)
    made |= {name: _figure(measured, name, seed) for name in FIGURES}
    compared = [pair for pair in measured if pair.other_patient is not None]
    own, others = [pair.agreement for pair in compared], [pair.other_patient or 0.0 for pair in compared]
    ahead = [a - b for a, b in zip(own, others, strict=True)]
    clusters = [pair.row.patient for pair in compared]
    made["above_other_patient"] = {
        "difference": fmean(own) - fmean(others) if compared else None,
        "ci95_patients": list(flip_interval(ahead, seed=seed, clusters=clusters)) if len(set(clusters)) > 1 else None,
        "n": len(compared),
    }
    return made


def _figure(measured: Sequence[Pair], name: str, seed: int) -> dict[str, Any]:
    known = [(value, pair.row.patient) for pair in measured if (value := getattr(pair, name)) is not None]
    values, clusters = [value for value, _ in known], [patient for _, patient in known]
    return {
        "mean_iou": fmean(values) if values else None,
        "ci95_patients": over_patients(values, clusters, seed=seed),
        "at_50": _share([value >= 0.5 for value in values]),
        "n": len(values),
    }


def _looked(measured: Sequence[Pair]) -> dict[str, float | None]:
    return {
        "slice": _share([pair.row.rectangle is not None for pair in measured]),
        "volume": _share([pair.row.cuboid is not None for pair in measured]),
        "both": _share([pair.row.both for pair in measured]),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _of_others(row: ConsistencyRow, others: Sequence[ConsistencyRow]) -> float | None:
    """Mean IoU of the look at the slice and the projections of others, brought to the picture of this one; 0 without both looks."""
    if not others:
        return None
    if row.rectangle is None or row.cuboid is None:
        return 0.0
    mine, found = Box2D(*row.rectangle), []
    for other in others:
        if shadow := other.shadow():
            x, y = row.size[0] / other.size[0], row.size[1] / other.size[1]  # the same place as shares of another picture
            found.append(box_iou(mine, Box2D(shadow.x1 * x, shadow.y1 * y, shadow.x2 * x, shadow.y2 * y)))
    return fmean(found)


# --- The slice that is shown of a structure, the truth about both, and the question asked of the slice.


@dataclass(frozen=True, slots=True)
class SliceTarget:
    """One structure of one volume; boxes are canonical."""

    structure: str
    slice: int
    rectangle: Box2D
    cuboid: Box3D
    question: Question | None


def targets(loaded: Loaded, names: Iterable[str], rule: FrameRule, *, case: str, seed: int) -> dict[str, SliceTarget]:
    """The slice, the truth and the question of every structure, by name."""
    found = {structure.name: structure for structure in find(loaded.layers)}
    missing = sorted(set(names) - set(found))
    if missing:
        raise FormatError(f"the case {case!r} has no mask of {', '.join(missing)}", "the masks that the data set was built from")
    scenes: dict[int, Scene] = {}
    made = {}
    for name in names:
        # The slice with most voxels, the lowest of equals, and the tight box there.
        mask = found[name].mask()
        z, y, x = (part.start for part in found[name].block)
        k = int(np.argmax(np.count_nonzero(mask, axis=(1, 2))))
        rows, columns = (np.flatnonzero(mask[k].any(axis=axis)) for axis in (1, 0))
        rectangle = Box2D(*(int(v) for v in (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)))
        k += z
        if k not in scenes:
            scenes[k] = describe(axial(loaded, k), rule, case=f"{case}/{k}")
        # Whether the structure can be seen, in the words of the questions about images.
        dice = Dice(np.random.default_rng(zlib.crc32(f"{seed} {case} {name}".encode())))
        asked = next((question for question in present(Places(scenes[k]), dice) if question.about == (name,)), None)
        low, high = found[name].corners
        question = None if asked is None else Question(asked.text, asked.options)
        made[name] = SliceTarget(name, k, rectangle, Box3D(*low, *high), question)
    return made


# --- Which questions about volumes are asked, and the volumes with their masks.


_BOX = re.compile(r"\d(\s*,\s*\d+){3}")
"""Four numbers in a row."""


class Volumes:
    """The questions of a suite about volumes whose looks can be compared; a suite itself."""

    def __init__(self, suite: Suite) -> None:
        """Take a suite."""
        if not isinstance(suite, BuiltSuite):
            raise FormatError(
                f"the suite '{suite.name}' has no masks",
                "phantom or built",
                "make a data set of masks with unireason data build, and take --suite built",
            )
        self._suite = suite

    @property
    def name(self) -> str:
        """See ``Suite.name``."""
        return self._suite.name

    @property
    def rule(self) -> str:
        """See ``Suite.rule``."""
        return self._suite.rule

    @property
    def frame(self) -> FrameRule:
        """How the data set's pictures become model frames: it decides what is large enough to be asked about."""
        return FrameRule.from_json(self._suite.dataset.manifest.get("config", {}).get("frame"))

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; only those with a structure to compare."""
        return (entry for entry in self._suite.entries() if structures(entry))

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        return self._suite.read(case)

    def load(self, cases: Sequence[str]) -> Iterator[tuple[str, Loaded | UniReasonError]]:
        """Volumes with their masks; in place of one that cannot be read the reason."""
        for name in cases:
            try:
                yield name, self._suite.cases.load(name)
            except UniReasonError as error:
                yield name, error


def structures(entry: Entry) -> tuple[str, ...]:
    """The structures of a question that are compared, in the order of its true looks."""
    texts = [text.lower() for text in (entry.question, *entry.options)]
    if any(_BOX.search(text) for text in texts):
        return ()
    looked = dict.fromkeys(look.label for look in entry.looks if look.seen and isinstance(look.box, Box3D))
    return tuple(name for name in looked if any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts))


# --- Asks volumes and their slices; what was answered before is not asked again.


Progress = Callable[[int, int], None]
"""Takes how many pairs are at hand, and how many there will be."""


def ask(
    model: Reasoner,
    volumes: Volumes,
    entries: Sequence[Entry],
    *,
    file: ConsistencyRows,
    settings: AskSettings,
    progress: Progress | None = None,
) -> Unread:
    """Answer all that has not been answered yet."""
    tell, total = progress or (lambda done, total: None), sum(len(structures(entry)) for entry in entries)
    tell(len(file.rows), total)
    unread = Unread(len(entries), settings.skip, file.unread)
    todo: dict[str, list[Entry]] = {}
    for name, together in by_case(unread.kept(entries)):
        left = [entry for entry in together if any((entry.id, s) not in file.rows for s in structures(entry))]
        if left:
            todo[name] = left
    rule = volumes.frame
    for name, loaded in volumes.load(list(todo)):
        if isinstance(loaded, UniReasonError):
            unread.give_up(todo[name], loaded)
            continue
        wanted = dict.fromkeys(s for entry in todo[name] for s in structures(entry))
        aims = targets(loaded, wanted, rule, case=name, seed=settings.seed)
        try:
            made = list(_rows(model, loaded, todo[name], aims))
        except UniReasonError as error:
            unread.give_up(todo[name], error)
            continue
        file.add([row for row in made if row.key not in file.rows])
        tell(len(file.rows), total)
    file.give_up(entries, unread.problems)
    tell(total, total)
    return unread


def place(trace: Trace, structure: str, geometry: Geometry) -> Numbers | None:
    """Where an answer looks for a structure."""
    size = 6 if trace.frame.kind == "volume" else 4
    blind = trace.provenance.get("crop_source") == "none"
    looks = [look for look in looks_in_reasoning(trace) if (look.executed or blind) and len(look.box_model) == size]
    same = [look for look in looks if readable(look.label) == structure]
    wider = [look for look in looks if words_of(structure) <= words_of(readable(look.label))]
    first = next(iter(same + wider), None)
    if first is None:
        return None
    box = extent(first.crops, trace.frame.kind).coords if first.crops else first.box_model
    half = len(box) // 2
    return (*model_to_canonical(box[:half], trace.frame, geometry), *model_to_canonical(box[half:], trace.frame, geometry))


def _rows(model: Reasoner, loaded: Loaded, entries: Sequence[Entry], aims: Mapping[str, SliceTarget]) -> Iterator[ConsistencyRow]:
    """All pairs of a case."""
    case = loaded.case
    height, width = case.geometry.shape[1:]
    said = model.ask_many(case, [Question(entry.question, entry.options) for entry in entries])
    seen = _slices(model, case, aims)
    for entry, (trace,) in zip(entries, said, strict=True):
        for name in structures(entry):
            aim, (rectangle, text) = aims[name], seen.get(name, (None, ""))
            yield ConsistencyRow(
                id=entry.id,
                structure=name,
                case=entry.case,
                patient=entry.patient,
                question=entry.question,
                slice_question=aim.question.text if aim.question else "",
                slice=aim.slice,
                size=(width, height),
                true_rectangle=aim.rectangle.coords,
                true_cuboid=aim.cuboid.coords,
                rectangle=rectangle,
                cuboid=place(trace, name, case.geometry),
                said=trace.raw_text,
                slice_said=text,
                mismatch=is_mismatch(trace),
                remarks=trace.scope.remarks,
            )


def _slices(model: Reasoner, volume: Case, aims: Mapping[str, SliceTarget]) -> dict[str, tuple[Numbers | None, str]]:
    """What is looked at on the slices, with the text; structures on one slice are asked about together."""
    by_slice: dict[int, list[tuple[str, Question]]] = {}
    for name, aim in aims.items():
        if aim.question:
            by_slice.setdefault(aim.slice, []).append((name, aim.question))
    found: dict[str, tuple[Numbers | None, str]] = {}
    for k, asked in by_slice.items():
        shown = picture(volume, k)
        traces = model.ask_many(shown, [question for _, question in asked])
        for (name, _), (trace,) in zip(asked, traces, strict=True):
            found[name] = place(trace, name, shown.geometry), trace.raw_text
    return found


# --- The whole measurement: choose, ask, sum up, write.


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyFound:
    """What a measurement found."""

    pairs: tuple[Pair, ...]
    results: ConsistencyResults


def evaluate(
    reasoner: Reasoner,
    volumes: Volumes,
    folder: Path,
    *,
    settings: AskSettings | None = None,
    progress: Progress | None = None,
) -> ConsistencyFound:
    """Ask about volumes and their slices and say how far the looks agree.

    Args:
        reasoner: The model; it answers greedily.
        volumes: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished measurement of the same is
            gone on with.
        settings: Which questions; all by default. The seed is also that of wordings and other patients.
        progress: Called with the number of pairs at hand, and of all, at the start and after every case.

    Returns:
        Pairs and results (docs/reference/results.md).

    Raises:
        FormatError: If no question can be asked, or the folder holds something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, or a file cannot be written.
    """
    chosen = settings or AskSettings()
    entries = choose(volumes, chosen.count, chosen.seed)
    made = make_manifest("consistency", reasoner, volumes, entries, seed=chosen.seed)
    with held(folder):
        file = ConsistencyRows(folder, made, again=chosen.again)
        unread = ask(reasoner, volumes, entries, file=file, settings=chosen, progress=progress)
        rows = [file.rows[entry.id, name] for entry in unread.kept(entries) for name in structures(entry)]
        by_question = {row.id: row.remarks for row in rows}
        results = ConsistencyResults.of(
            {
                **summary(rows, seed=chosen.seed),
                "scope": files.told(reasoner.checkpoint.scope, list(by_question.values())),
                "unreadable": unread.told(entries),
                "manifest": made,
            }
        )
        write_results(folder, results.to_json())
    return ConsistencyFound(tuple(pairs(rows, seed=chosen.seed)), results)


# --- Examples: slices with both looks.


EXAMPLES = 24
"""Slices at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A pair with the slice that was shown.

    Attributes:
        pair: The pair.
        picture: uint8 (H, W) or (H, W, 3), what the model saw of the slice.
        millimetres: Size of a voxel along x and y.
    """

    pair: Pair
    picture: NDArray[np.uint8]
    millimetres: tuple[float, float]


def examples(found: ConsistencyFound, volumes: Volumes, reasoner: Reasoner) -> list[Example]:
    """Evenly over the pairs, from the least agreement to the most; a case with its structure comes once."""
    single = {(pair.row.case, pair.row.structure): pair for pair in found.pairs}
    picked = evenly(sorted(single.values(), key=lambda pair: pair.agreement), EXAMPLES)
    made: dict[tuple[str, int], tuple[NDArray[np.uint8], tuple[float, float]]] = {}
    wanted = {pair.row.case for pair in picked}
    for name, loaded in volumes.load([case for case in dict.fromkeys(pair.row.case for pair in found.pairs) if case in wanted]):
        if isinstance(loaded, UniReasonError):  # it could be read when it was asked
            continue
        spacing = loaded.case.geometry.spacing_mm or (1.0, 1.0)
        for k in {pair.row.slice for pair in picked if pair.row.case == name}:
            made[name, k] = reasoner.stack(picture(loaded.case, k)).slices[0], (spacing[0], spacing[1])
    known = ((pair, made.get((pair.row.case, pair.row.slice))) for pair in picked)
    return [Example(pair, *shown) for pair, shown in known if shown is not None]
