"""What a run over a suite says, once: figures, answers to look at with the wrong ones first, readings, predictors, settings.

Questions, their pictures and their responses look the same where several runs are put side by side (``comparison``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes
from unireason.core.types import Step, TextStep, Trace
from unireason.evaluate.results import Accuracy, EvidenceResults, GroupScores, KindFound, OwnBoxes, RunResults, RunRow
from unireason.grounding.trace import from_json

from . import trace as sections
from .document import (
    DASH,
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Document,
    Headline,
    Plot,
    Prose,
    Remark,
    Table,
    Value,
    View,
    as_markdown,
    asked_of,
    provenance,
    unread,
    write_html,
)
from .html import addresses, escape, fit, number, of_results, plural
from .pictures import spread
from .plots import write_reliability
from .rollouts import bare_scene

# --- A question with what was answered.


TAGS = {
    "kind": "2D or 3D",
    "family": "Family",
    "ask": "Kind of question",
    "modality": "Modality",
    "structure": "Structure",
    "supercategory": "Super-category",
}
"""Tags in the order in which they are shown, and how they are headed; any other follows under its own name."""

KINDS = {"image": "2D", "volume": "3D"}
_SIDES = (256, 192, 144)  # pixels of a picture's longer side; the smaller ones where many pictures share a page
_BYTES = 2_000_000  # pictures of a page
_NAME = re.compile(r"pictures/[\w.-]+\.png")
_MOST_TEXT = 4000  # characters of one question or one reasoning


def pick(rows: Sequence[tuple[str, str]], most: int) -> set[str]:
    """Of (identifier, family) at most so many identifiers: as many of every family as there is room for, spread evenly over each."""
    families: dict[str, list[str]] = {}
    for name, family in rows:
        families.setdefault(family, []).append(name)
    chosen: set[str] = set()
    for others, own in zip(range(len(families), 0, -1), sorted(families.values(), key=len), strict=True):
        room = min(len(own), (most - len(chosen)) // others)
        chosen |= {own[n] for n in spread(len(own), room)}
    return chosen


def family_of(tags: Mapping[str, str]) -> str:
    """The family of a question; a dash for none."""
    return tags.get("family") or DASH


def pictures(folder: Path, rows: Iterable[RunRow], *, budget: int = _BYTES) -> dict[str, View]:
    """The pictures of rows by name, so small that all together keep to the budget."""
    names = list(dict.fromkeys(row.picture for row in rows if row.picture))
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise FormatError(f"a row names the picture {wrong[0]!r}", "a PNG file in 'pictures'")
    read = {name: _pixels(folder / name) for name in names if (folder / name).is_file()}
    links: list[str] = []
    for side in _SIDES:
        links = addresses([fit(pixels, side) for pixels in read.values()], budget=budget)
        if 3 * sum(map(len, links)) <= 4 * budget:
            break
    sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in read.values()]
    return {
        name: View(link, (w, h), w / h, alt="picture of the question")
        for name, link, (w, h) in zip(read, links, sizes, strict=True)
    }


def _pixels(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if max(picture.size) > 4096:
                raise FormatError(f"the picture '{path.name}' has {picture.size} pixels", "at most 4096 a side")
            return np.asarray(picture.convert("L" if picture.mode == "L" else "RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(
            f"the picture '{path.name}' cannot be read ({error})", "a PNG file", "run the evaluation anew"
        ) from error


def short(text: str, most: int = _MOST_TEXT) -> str:
    """A text cut where it becomes very long."""
    return text if len(text) <= most else f"{text[:most]}\u2026 ({len(text) - most:,} more characters)"


def about(row: RunRow) -> str:
    """Kind, case and tags of a question, in a line."""
    told = [KINDS.get(row.kind, DASH), row.case]
    return " · ".join([*told, *(row.tags[name].replace("_", " ") for name in TAGS if row.tags.get(name) and name != "kind")])


def options(row: RunRow, said: str = "") -> list[tuple[str, str, str]]:
    """The options with the right one marked, and what was said if anything."""
    made = []
    for place, text in enumerate(row.options):
        letter = chr(ord("A") + place)
        right = letter == row.letter
        state = f"chosen {'right' if right else 'wrong'}" if letter == said else "expected" if right else ""
        made.append((letter, short(text), state))
    return made


def truth(row: RunRow) -> list[tuple[str, str]]:
    """The right texts of an open question."""
    return [] if row.options else [("truth", short(" / ".join(row.answers)))]


def blank(row: RunRow) -> str:
    """Why there is no picture."""
    return "not asked" if row.problem else "no picture" if row.looked else "no look"


def response(row: RunRow) -> Markup:
    """Reasoning with its boxes, the answer as written, and what is known of it, as HTML."""
    own = row.standing
    if own is None:
        return Markup(f'<p class="flaw">{escape(row.problem)}</p>')
    trace = from_json({"tokens": None, **own.trace})
    remark = sections.finish(trace)
    flaws = [escape(remark)] if remark else []
    flaws += [
        f"<code>{escape(p.code)}</code>{f' {escape(p.text[:200])}' if p.text else ''}"
        for p in trace.problems
        if p.code != trace.finish
    ]
    answer = escape(trace.answer.text.strip()[:_MOST_TEXT]) or '<span class="none">no answer</span>'
    words = [plural(own.looks, "look")]
    words += [f"box overlap {row.overlap:.2f}"] if row.overlap is not None else []
    words += [f"probability {row.probability:.2f}"] if row.probability is not None else []
    words += [f"{100 * row.agreement:.0f}% agreement{', tied' if row.tied else ''}"] if row.agreement is not None else []
    words += [f"own boxes say {row.own_boxes}"] if row.own_boxes else []
    apart = [name for name, verdict in row.published.items() if verdict is not None and verdict != row.right]
    words += [f"{'wrong' if row.right else 'right'} by {', '.join(apart)}"] if apart else []
    thought = sections.reasoning(_cut(trace), bare_scene(trace))
    return Markup(
        f'<p class="thought">{thought}</p><p class="reply">{answer}{sections.badge(trace)}</p>'
        f'{"".join(f"<p class=flaw>{flaw}</p>" for flaw in flaws)}<p class="more">{escape(" · ".join(words))}</p>'
    )


def _cut(trace: Trace) -> Trace:
    """The trace with its reasoning cut where it becomes very long; looks stay."""
    room, steps, lost = _MOST_TEXT, list[Step](), 0
    for step in trace.steps:
        if isinstance(step, TextStep):
            lost += max(len(step.text) - room, 0)
            steps += [TextStep(step.text[:room])] if room else []
            room = max(room - len(step.text), 0)
        else:
            steps.append(step)
    return replace(trace, steps=(*steps, TextStep(f"\u2026 ({lost:,} more characters)"))) if lost else trace


def card(row: RunRow, views: Mapping[str, View]) -> Card:
    """One question with its answer."""
    verdict = "right" if row.right else "wrong"
    word = "not asked" if row.problem else verdict if row.said else f"{verdict}, unread"
    return Card(
        short(row.question),
        kind=about(row),
        verdict=Remark(word, tone="good" if row.right else "bad"),
        views=[views[row.picture]] if row.picture in views else [],
        blank=blank(row),
        options=options(row, row.said),
        lines=truth(row),
        body=response(row),
        facets={
            "verdict": verdict,
            "family": family_of(row.tags),
            "kind": row.kind,
            "reading": "read" if row.said else "unread",
            "looked": "yes" if row.looked else "no",
            "boxes": "" if not row.own_boxes else "right" if row.own_boxes == row.letter else "wrong",
        },
    )


def filters(cards: Sequence[Card], facets: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, tuple[str, dict[str, str]]]:
    """What cards are filtered by: of each facet the values that occur, of families every one."""
    found = {}
    for name, (title, words) in facets.items():
        present = {one.facets.get(name, "") for one in cards}
        known = words or {value: value.replace("_", " ") for value in sorted(present)}
        found[name] = (title, {value: word for value, word in known.items() if value in present})
    return found


def counted(shown: int, every: int, noun: str) -> str:
    """How many of how many are shown."""
    if shown == every:
        return f"All {every:,} {noun}s" if every > 1 else f"The only {noun}"
    return f"{shown} of {every:,} {noun}s, spread evenly over the families; all are in rows.jsonl"


# --- The report.


PAGE, TEXT, PLOT = "report.html", "report.md", "reliability.png"
"""Files that are written."""

WRONG, RIGHT = 72, 24
"""Wrong and right answers shown at most."""

ENOUGH = 100
"""Answers below which no reliability is drawn."""

VALUES = 100
"""Values of a tag that a table shows at most."""

LEGEND = (
    ("whisker", "95% interval, questions taken as independent (Wilson)"),
    ("strip", "95% interval over patients"),
    ("dash", "chance"),
)
ACCURACY = Column("Accuracy", "Wilson 95%", "Patients 95%", drawn="dot", ticks=("0", "50", "100%"))
_PREDICTORS = {"overlap": "Box overlap", "agreement": "Agreement among samples", "probability": "Answer probability"}
_REST = "Questions that a reading does not count are left out of its share."
DEFECTS = f"Published readings are kept with their defects, to compare with published figures and for nothing else. {_REST}"


@dataclass(frozen=True, slots=True, eq=False)
class RunExamples:
    """What a report takes of the rows of a run.

    Attributes:
        shown: Wrong and right answers to look at.
        every: How many there are of each.
        apart: By published reading, answers right for us alone and for it alone.
        lost: Questions that could not be asked, and why; the first few.
    """

    shown: Mapping[str, list[RunRow]]
    every: Mapping[str, int]
    apart: Mapping[str, tuple[int, int]]
    lost: Mapping[str, str]


def choose(rows: Callable[[], Iterable[RunRow]]) -> RunExamples:
    """Count the rows of a run and choose those to look at; never more of them are in memory than are shown."""
    brief: dict[str, list[tuple[str, str]]] = {"wrong": [], "right": []}
    apart: dict[str, tuple[int, int]] = {}
    lost: dict[str, str] = {}
    for row in rows():
        if row.problem and len(lost) < 3:
            lost[row.id] = row.problem
        brief["right" if row.right else "wrong"].append((row.id, family_of(row.tags)))
        for name, verdict in row.published.items():
            ours, theirs = apart.get(name, (0, 0))
            apart[name] = (ours + (row.right and verdict is False), theirs + (not row.right and verdict is True))
    wanted = pick(brief["wrong"], WRONG) | pick(brief["right"], RIGHT)
    shown: dict[str, list[RunRow]] = {"wrong": [], "right": []}
    for row in rows():
        if row.id in wanted:
            shown["right" if row.right else "wrong"].append(row)
    return RunExamples(shown, {word: len(own) for word, own in brief.items()}, apart, lost)


def write_run(
    results: RunResults, rows: Callable[[], Iterable[RunRow]], folder: Path, *, rules: Mapping[str, str] | None = None
) -> Document:
    """Write the page of a run, its Markdown and its reliability plot.

    Args:
        results: What ``evaluate.benchmark.run`` gave.
        rows: Gives all rows, one at a time, each time it is called: once to count, once for the cards.
        folder: The folder of the run; pictures are looked up in it.
        rules: What every published reading counts as right, in words, by its name.

    Returns:
        The report that was written.

    Raises:
        FormatError: A picture or a trace cannot be read.
        UniReasonError: A file cannot be written.
    """
    report = run_document(results, choose(rows), folder, rules=rules or {})
    write_html(report, folder / PAGE)
    write_bytes(folder / TEXT, as_markdown(report).encode())
    return report


def run_document(results: RunResults, examples: RunExamples, folder: Path, *, rules: Mapping[str, str]) -> Document:
    """What a run says; the reliability plot is written into its folder."""
    made = results.manifest
    views = pictures(folder, [row for own in examples.shown.values() for row in own])
    cards = {word: [card(row, views) for row in own] for word, own in examples.shown.items()}
    blocks: list[Block] = [
        _headline(results),
        _by_tags(results),
        *why(results.scores.by.get("ask", {}), results.scores.all),
        *(Cards(counted(len(own), examples.every[word], f"{word} answer"), own) for word, own in cards.items() if own),
        _readings(results, examples.apart, rules),
        *_predictors(results, folder),
        provenance(
            {
                **made,
                "what counts as right": results.rule,
                "seconds": round(results.seconds),
                "questions_a_second": results.questions_a_second,
                "left_out_by_the_suite": results.left_out,
            },
            command=command(made),
        ),
    ]
    facets: dict[str, tuple[str, Mapping[str, str]]] = {
        "verdict": ("Answer", {"wrong": "wrong", "right": "right"}),
        "family": ("Family", {}),
        "kind": ("Kind", KINDS),
        "reading": ("Reading", {"unread": "unread", "read": "read"}),
        "looked": ("Looked", {"yes": "looked", "no": "never looked"}),
        "boxes": ("Own boxes", {"right": "right", "wrong": "wrong"}),
    }
    return Document(
        f"Evaluation on {results.suite}",
        asked_of(made, plural(results.n, "question"), plural(results.patients, "patient")),
        blocks,
        cautions=of_results(results.to_json()),
        notices=unread({"n": results.unreadable, "questions": examples.lost}, outcome="counted as wrong"),
        filters=filters([one for own in cards.values() for one in own], facets),
    )


def share(own: Accuracy, chance: float | None = None, *, decimals: int = 0) -> Value:
    """An accuracy with both intervals."""
    lines = [] if chance is None else [("chance", chance)]
    return Value(own.accuracy, own.accuracy_ci95, own.accuracy_ci95_patients, "%", decimals, lines)


def percent(value: float | None) -> Value:
    """A share with one decimal."""
    return Value(value, unit="%", decimals=1)


def _headline(results: RunResults) -> Headline:
    scores, found, drawn = results.scores.all, results.grounding, results.sampling
    large: list[tuple[str, Cell, str]] = [
        ("Accuracy", percent(scores.accuracy), _intervals(scores)),
        ("Chance", percent(scores.chance), ""),
    ]
    if found.looks:  # none without true looks
        ends = f"patients {Value(None, found.ci95_patients).ends()}" if found.ci95_patients else ""
        large.append(("Mean box IoU", Value(found.mean_box_iou), ends))
        large.append(("IoU over 50%", Value(found.iou_at_50, unit="%"), f"of {plural(found.looks, 'true look')}"))
    large += [
        ("Looked", Value(found.looked, unit="%"), "of answers"),
        ("Unread", scores.unread, "without a readable answer, counted as wrong"),
        ("Letter against text", percent(scores.mismatch_rate), "of answers contradict themselves"),
        *own_figures(scores.own_boxes),
    ]
    if drawn:
        ends = Value(None, drawn.mean_accuracy_ci95_patients, unit="%", decimals=1).ends()
        named = f"Mean of {drawn.samples} samples at temperature {number(drawn.temperature, 2)}"
        large += [(named, percent(drawn.mean_accuracy), f"patients {ends}" if ends else "")]
        large += [("Any sample right", percent(drawn.any_right), ""), ("All samples right", percent(drawn.all_right), "")]
    return Headline(large, "Result")


def _intervals(scores: Accuracy) -> str:
    value = share(scores, decimals=1)
    patients = f", patients {value.ends('outer')}" if value.outer else ""
    return f"Wilson {value.ends()}{patients}"


def _by_tags(results: RunResults) -> Table:
    """Accuracy by every tag, a drawing a row."""
    columns = [
        Column(""),
        ACCURACY,
        Column("Chance"),
        Column("Unread", spare=True),
        Column("Patients", spare=True),
        Column("Questions"),
    ]

    def row(name: str, own: GroupScores) -> list[Cell]:
        return [name, share(own, own.chance), Value(own.chance, unit="%"), own.unread, own.patients, own.n]

    rows: list[Sequence[Cell] | str] = [row("all questions", results.scores.all)]
    for tag in ordered(results.scores.by):
        groups = results.scores.by[tag]
        rows.append(heading(tag, groups))
        rows += [row(label(tag, value), own) for value, own in frequent(groups).items()]
    return Table(columns, rows, "By what was asked", legend=LEGEND)


# --- Why: seen badly, or decided badly? What the boxes say that the model wrote itself.


def own_figures(found: OwnBoxes | None) -> list[tuple[str, Cell, str]]:
    """Large figures of the own boxes; none where they decide nothing."""
    if found is None:
        return []
    told = f"where the model has {percent(found.model_accuracy).text()}; {found.n} of {plural(found.asked, 'question')}"
    return [
        ("Own boxes are right", percent(found.accuracy), told),
        ("Follows its own boxes", percent(found.follows), "of these answers"),
    ]


def why(kinds: Mapping[str, GroupScores] | Mapping[str, KindFound], every: GroupScores | EvidenceResults) -> list[Block]:
    """What the own boxes say by kind of question, and how far answers could rely on what looks show; a remark where no kind is told."""
    title = "Seen badly, or decided badly?"
    if not kinds:
        return [Prose(["The data set does not say what kind of question each is: nothing is told by kind."], title)]
    relied = isinstance(every, EvidenceResults)
    columns = [
        Column("Kind of question"),
        Column("Own boxes", interval="Patients 95%", drawn="dot", ticks=("0", "50", "100%")),
        Column("Model"),
        Column("Gap", interval="Patients 95%", spare=True),
        Column("Follows", spare=True),
        Column("Decided", spare=relied),
        *([Column("Reliance")] if relied else []),
        Column("Ceiling"),
    ]

    def row(name: str, own: GroupScores | KindFound | EvidenceResults) -> list[Cell]:
        found, most = own.own_boxes, own.ceiling
        cells: list[Cell] = [name, *([DASH] * 4)]
        if found:
            accuracy = Value(found.accuracy, found.accuracy_ci95_patients, unit="%", lines=[("chance", found.model_accuracy)])
            gap = Value(found.gap, found.gap_ci95_patients, unit="points", decimals=0)
            cells = [name, accuracy, Value(found.model_accuracy, unit="%"), gap, Value(found.follows, unit="%")]
        cells.append(f"{found.n if found else 0} of {found.asked if found else _asked(own)}")
        if not isinstance(own, GroupScores):
            cells.append(Value(own.reliance.value, own.reliance.ci95))
        return [*cells, Value(most.value, most.ci95) if most else DASH]

    rows: list[Sequence[Cell] | str] = [row("all kinds", every)]
    rows += [row(name.replace("_", " "), own) for name, own in kinds.items()]
    notes = [
        "Own boxes: right answers of a reader that knows the question and the boxes that the model itself wrote, and no picture. Model: "
        "its own right answers to the same questions. Follows: answers that say what the own boxes say. Decided: questions for which "
        "the own boxes suffice. Ceiling: the evidence reliance of an ideal model, which knows every true box without a look."
    ]
    if unknown := _asked(every) - sum(own.n for own in kinds.values()):
        notes.append(f"Of {plural(unknown, 'question')} the data set does not say what kind they are: they are no part of this.")
    legend = [("whisker", "95% interval over patients"), ("dash", "the model on the same questions")]
    return [Table(columns, rows, title, notes=notes, legend=legend)]


def _asked(own: GroupScores | KindFound | EvidenceResults) -> int:
    return own.conditions["true"].n if isinstance(own, EvidenceResults) else own.n


def ordered(tags: Mapping[str, Any]) -> list[str]:
    """Tags that are there, the known ones first."""
    return [tag for tag in TAGS if tag in tags] + [tag for tag in tags if tag not in TAGS]


def heading(tag: str, groups: Mapping[str, Any]) -> str:
    """What a tag is called, and how many of its values are shown where that is not all."""
    name = TAGS.get(tag, tag.replace("_", " ").capitalize())
    told = f": the {VALUES} with the most questions of {len(groups):,}; all are in the JSON results"
    return name + (told if len(groups) > VALUES else "")


def frequent(groups: Mapping[str, GroupScores]) -> dict[str, GroupScores]:
    """The values of a tag that are shown: those with the most questions, in the order given."""
    kept = set(sorted(groups, key=lambda value: -groups[value].n)[:VALUES])
    return {value: own for value, own in groups.items() if value in kept}


def label(tag: str, value: str) -> str:
    """What a value of a tag is called."""
    return {"image": "2D image", "volume": "3D volume"}.get(value, value) if tag == "kind" else value.replace("_", " ")


def _readings(results: RunResults, apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str]) -> Table:
    """Our reading of the answers and the published ones, side by side."""
    columns = [Column("Reading"), ACCURACY, Column("Right for us alone", spare=True), Column("Right for it alone", spare=True)]
    rows: list[list[Cell]] = [[Remark("this package", results.rule), share(results.scores.all, decimals=1), "", "", results.n]]
    for name, own in results.scores.all.published.items():
        rows.append([Remark(name, rules.get(name, "")), share(own, decimals=1), *apart.get(name, (0, 0)), own.n])
    return Table([*columns, Column("Questions")], rows, "Readings side by side", notes=[DEFECTS])


def _predictors(results: RunResults, folder: Path) -> list[Block]:
    """How well something tells right answers from wrong ones; drawn where there are enough answers."""
    title = "Does anything tell right answers from wrong ones?"
    found = {name: results.calibration[key] for key, name in _PREDICTORS.items() if key in results.calibration}
    if not found:
        return [Prose(["Nothing that could tell was measured."], title, told=False)]
    rows: list[list[Cell]] = [
        [name, own.n, Value(own.auroc), "" if name == _PREDICTORS["overlap"] else Value(own.ece)] for name, own in found.items()
    ]
    table = Table([Column("Predictor"), Column("Answers"), Column("AUROC"), Column("ECE")], rows, title)
    enough = {name: own.model_dump() for name, own in found.items() if own.n >= ENOUGH}
    (folder / PLOT).unlink(missing_ok=True)
    if not enough:
        why = f"Reliability is not drawn: below {ENOUGH} answers its points say nothing."
        return [replace(table, notes=[why])]
    shares = [_PREDICTORS[name] for name in ("agreement", "probability")]
    png = write_reliability(enough, folder / PLOT, probabilities=shares).read_bytes()
    notes = [
        "Dots are equal shares of the answers, from low to high values of the predictor, with 95% intervals; bars below show how many "
        "answers each holds."
    ]
    if len(enough) < len(found):
        notes.append(f"Predictors known of fewer than {ENOUGH} answers are not drawn.")
    return [table, Plot(png, "Share of right answers over the value of each predictor", notes=notes, file=PLOT)]


def command(made: Mapping[str, Any]) -> str:
    """The command line of a run, from its manifest."""
    sampling, limits = made["sampling"], made["limits"]
    folder = made.get("data") or ("" if made["suite"] == "phantom" else "DIR")
    options: dict[str, tuple[Any, Any]] = {  # value and what it is when not given
        "--suite": (made["suite"], None),
        "--data": (folder, ""),
        "--split": (made.get("split", ""), ""),
        "--model": (made["checkpoint"]["name"], None),
        "--prompts": (made.get("prompts"), None),
        "--window": (made.get("window"), None),
        "--questions": (made["questions"], None),
        "--seed": (made["seed"], None),
        "--samples": (made["samples"], 1),
        "--vote": (made["vote"], 0),
        "--temperature": (sampling.get("temperature", 0), 0),
        "--top-p": (sampling.get("top_p", 1), 1),
        "--max-looks": (limits.get("max_looks"), None),
        "--max-new-tokens": (limits.get("max_new_tokens"), None),
        "--crop-source": (made["crop_source"], None),
    }
    words = [word for name, (value, usual) in options.items() if value not in (None, usual) for word in (name, str(value))]
    for key, value in made.get("suite_options", {}).items():
        words += ["--option", f"{key}={value}"]
    return " ".join(map(shlex.quote, ["unireason", "eval", "run", *words, "--out", "DIR"]))
