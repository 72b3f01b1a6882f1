"""Asks volumes and their slices; what was answered before is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from unireason.data.ask.place import words_of
from unireason.data.extract.slices import picture
from unireason.data.frames import FrameRule
from unireason.data.item import Loaded
from unireason.data.names import readable
from unireason.engine.reasoner import Question
from unireason.errors import UniReasonError
from unireason.evaluate.questions import by_case
from unireason.evaluate.settings import Settings
from unireason.evaluate.suites.suite import Entry
from unireason.evaluate.unread import Unread
from unireason.imaging.geometry import model_to_canonical
from unireason.rewards.outcome import looks_in_reasoning
from unireason.types import Case, Frame, Geometry, Trace

from .rows import Numbers, Row, RowFile
from .slices import Target, targets
from .volumes import structures

Progress = Callable[[int, int], None]
"""Takes how many pairs are at hand, and how many there will be."""


class Model(Protocol):
    """``engine.reasoner.Reasoner``."""

    def ask_many(self, case: Case, questions: Sequence[Question], **how: Any) -> list[list[Trace]]:
        """See ``Reasoner.ask_many``."""
        ...


class Masked(Protocol):
    """Where volumes come from: ``volumes.Volumes``."""

    @property
    def frame(self) -> FrameRule:
        """How images become model frames."""
        ...

    def load(self, cases: Sequence[str]) -> Iterator[tuple[str, Loaded | UniReasonError]]:
        """Volumes with masks, and in place of what cannot be read the reason."""
        ...


def ask(
    model: Model,
    volumes: Masked,
    entries: Sequence[Entry],
    *,
    file: RowFile,
    settings: Settings,
    progress: Progress | None = None,
) -> Unread:
    """Answer all that has not been answered yet.

    Questions whose volume cannot be read or fed are left out: there is nothing to hold against anything. They get their rows at the very
    end, so that a measurement that is started again tries them again.

    Args:
        model: It answers greedily.
        volumes: Where the cases of the questions come from.
        entries: Questions, those on one case together.
        file: Where rows go, all of a case at once.
        settings: How many questions may be left out, and the seed of wordings.
        progress: Called with the number of pairs at hand, and of all, at the start, after every case and at the end.

    Returns:
        Questions that were given up.

    Raises:
        FormatError: If a structure has no mask.
        UniReasonError: If too many questions cannot be asked, or a row cannot be written.
    """
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
    """Where an answer looks for a structure.

    Args:
        trace: The answer.
        structure: Its name.
        geometry: Of the image or volume asked about.

    Returns:
        The first executed look before ``</think>`` that is named like the structure, else by a name that holds all its words, as a
        canonical box; None if there is none. Of a model that is shown nothing for its boxes every box counts.
    """
    size = 6 if trace.frame.kind == "volume" else 4
    blind = trace.provenance.get("crop_source") == "none"
    looks = [look for look in looks_in_reasoning(trace) if (look.executed or blind) and len(look.box_model) == size]
    same = [look for look in looks if readable(look.label) == structure]
    wider = [look for look in looks if words_of(structure) <= words_of(readable(look.label))]
    first = next(iter(same + wider), None)
    return None if first is None else _canonical(first.box_model, trace.frame, geometry)


def _canonical(box: Numbers, frame: Frame, geometry: Geometry) -> Numbers:
    half = len(box) // 2
    return (*model_to_canonical(box[:half], frame, geometry), *model_to_canonical(box[half:], frame, geometry))


def _rows(model: Model, loaded: Loaded, entries: Sequence[Entry], aims: Mapping[str, Target]) -> Iterator[Row]:
    """All pairs of a case."""
    case = loaded.case
    height, width = case.geometry.shape[1:]
    said = model.ask_many(case, [Question(entry.question, entry.options) for entry in entries])
    seen = _slices(model, case, aims)
    for entry, (trace,) in zip(entries, said, strict=True):
        for name in structures(entry):
            aim, (rectangle, text) = aims[name], seen.get(name, (None, ""))
            yield Row(
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
                remarks=trace.scope.remarks,
            )


def _slices(model: Model, volume: Case, aims: Mapping[str, Target]) -> dict[str, tuple[Numbers | None, str]]:
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
