"""The page of several runs over the same questions: who is how good, who is better than the baseline, and where they part.

It reads what ``unireason eval compare --json`` prints and those rows of the runs that it shows. The page needs no network and no server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes

from .html import dotted, escape, interval_text, number, of_results, percent, plural, row, sheet
from .run import STYLES, Row, families, family, finder, fitting, kind, options, pick, pictures, response, section, shot, tags
from .run_tables import dot, frequent, group, heading, label, legend, ordered, remark, span, ticks, wide_table

APART, SAME = 300, 100
"""Responses shown at most: to questions on which runs part, and to others."""

_BYTES, _TEXT = 2_000_000, 12_000_000  # pictures and cards of a page
_FILTERED = 4  # runs that get a filter of their own
_GROUPS = {"apart": "runs part", "wrong": "all wrong", "right": "all right"}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The answers of one run.

    Attributes:
        folder: The folder of the run; pictures are looked up in it.
        right: Whether the answer to each question is right.
        read: Gives of identifiers the rows as ``rows.jsonl`` has them, in any order.
    """

    folder: Path
    right: Sequence[bool]
    read: Callable[[Collection[str]], Iterable[Row]]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers of several runs; of rows only those with a card are read.

    Attributes:
        asked: The questions, in the order of every ``Side.right``: ``id`` and ``tags``.
        sides: By run.
    """

    asked: Sequence[Row]
    sides: Mapping[str, Side]


def questions(answers: Answers) -> str:
    """The list with its filter."""
    names = list(answers.sides)
    groups: dict[str, list[Row]] = {name: [] for name in _GROUPS}
    for asked, *right in zip(answers.asked, *(side.right for side in answers.sides.values()), strict=True):
        groups[_group(right)].append(asked)
    chosen = {name: pick(own, max((APART if name == "apart" else SAME // 2) // len(names), 6)) for name, own in groups.items()}
    shown = _read(answers, chosen)
    together = [own for part in shown.values() for own in part]
    budget = _BYTES // len(names)
    links = {name: pictures(answers.sides[name].folder, [own[name] for own in together], budget=budget) for name in names}
    cards = fitting({group: (_question(one, links) for one in own) for group, own in shown.items()}, _TEXT)
    lists = "".join(
        f"<section data-list><h2>{_rubric(group, len(own), len(groups[group]))}</h2>"
        f'<div class="asked-list">{"".join(own)}</div></section>'
        for group, own in cards.items()
        if groups[group]
    )
    return f"{finder(_fields(together, names))}{lists}"


def _group(right: Iterable[bool]) -> str:
    """Whether runs part on a question, or all are right or wrong."""
    verdicts = set(right)
    return "apart" if len(verdicts) > 1 else "right" if verdicts == {True} else "wrong"


def _read(answers: Answers, chosen: Mapping[str, Sequence[Row]]) -> dict[str, list[Mapping[str, Row]]]:
    """The rows of all runs to the questions chosen, in their order."""
    wanted = {row["id"] for own in chosen.values() for row in own}
    rows = {name: {row["id"]: row for row in side.read(wanted)} for name, side in answers.sides.items()}
    return {group: [{name: found[row["id"]] for name, found in rows.items()} for row in own] for group, own in chosen.items()}


def _fields(shown: Sequence[Mapping[str, Row]], names: Sequence[str]) -> dict[str, tuple[str, Mapping[str, str]]]:
    rows = [next(iter(own.values())) for own in shown]
    present = {_group(row["right"] for row in own.values()) for own in shown}
    fields: dict[str, tuple[str, Mapping[str, str]]] = {
        "group": ("Runs", {name: word for name, word in _GROUPS.items() if name in present}),
        "family": ("Family", families(rows)),
        "kind": (
            "Kind",
            {value: word for value, word in {"image": "2D", "volume": "3D"}.items() if any(r["kind"] == value for r in rows)},
        ),
    }
    for place, name in enumerate(names[:_FILTERED]):
        fields[f"run-{place}"] = (escape(name), {"right": "right", "wrong": "wrong"})
    return fields


def _rubric(name: str, shown: int, every: int) -> str:
    title = {"apart": "Runs part", "wrong": "All runs are wrong", "right": "All runs are right"}[name]
    if shown == every:
        return f"{title}: {'all ' if every > 1 else ''}{plural(every, 'question')}"
    return f"{title}: {shown} of {every:,} questions, spread evenly over the families; all are in the rows.jsonl of each run"


def _question(own: Mapping[str, Row], links: Mapping[str, Mapping[str, str]]) -> str:
    first = next(iter(own.values()))
    facts = {"group": _group(row["right"] for row in own.values()), "family": family(first), "kind": first["kind"]}
    verdicts = ["right" if row["right"] else "wrong" for row in own.values()]
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    data += "".join(f' data-run-{place}="{verdict}"' for place, verdict in enumerate(verdicts[:_FILTERED]))
    chips = "".join(
        f'<li class="{"good" if row["right"] else "bad"}"><span>{escape(name)}</span><b>{escape(row["said"][:40]) or "unread"}</b></li>'
        for name, row in own.items()
    )
    replies = ""
    for name, answer in own.items():
        tone, word = ("good", "right") if answer["right"] else ("bad", "wrong")
        replies += (
            f'<li class="card response">{shot(answer, links[name])}<div class="text"><p class="kind"><span><b>{escape(name)}</b></span>'
            f'<b class="{tone}">{escape(answer["said"][:40]) or "unread"}, {word}</b></p>{response(answer)}</div></li>'
        )
    return (
        f'<details class="card question" data-card{data}><summary><span class="what">{escape(first["question"])}</span>'
        f'<ul class="chips">{chips}</ul></summary><p class="kind"><span>{kind(first)} · {escape(first["case"])} · {tags(first)}</span></p>'
        f'{options(first)}<ul class="responses">{replies}</ul></details>'
    )


# --- The page.


LEVEL = 0.05
"""A difference whose corrected p value is below it is coloured."""

_DASH = "\u2013"


def write_comparison(
    found: Mapping[str, Any], answers: Answers, path: str | os.PathLike[str], *, rules: Mapping[str, str] | None = None
) -> Path:
    """Write the page.

    Args:
        found: What ``evaluate.comparison.compare`` gave (docs/reference/results.md, section "A comparison").
        answers: Of the runs in the order of ``found``.
        path: Where.
        rules: What every published reading counts as right, in words, by its name.

    Returns:
        The path written.

    Raises:
        FormatError: A row or a picture cannot be read.
        UniReasonError: The file cannot be written.
    """
    try:
        page = _page(found, answers, rules or {})
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FormatError(
            f"the runs are incomplete ({error!r})", "runs as unireason eval run writes them", "run them anew"
        ) from error
    return write_bytes(path, page)


def _page(found: Mapping[str, Any], answers: Answers, rules: Mapping[str, str]) -> bytes:
    facts = [
        f"suite {found['suite']}",
        plural(len(found["runs"]), "run"),
        plural(found["n"], "question"),
        plural(found["patients"], "patient"),
    ]
    more, warning = [f"{run['name']} {run['asked']:,}" for run in found["runs"] if run["asked"] != found["n"]], ""
    if more:
        warning = (
            f'<p class="flaw">Only the {found["n"]:,} questions that all runs were asked in the same words are compared. '
            f"Asked in all: {escape(', '.join(more))}.</p>"
        )
    body = [
        section("Runs", f"{warning}{_runs(found)}{legend()}"),
        section(f"Against {escape(found['baseline'])}", _pairs(found)),
        section("By what was asked", _by_tags(found)),
        section("Published readings of the same answers", _readings(found, rules)),
        questions(answers),
    ]
    title, told = f"Runs on {escape(found['suite'])} side by side", cautions(found)
    return sheet("evaluation", title, dotted(facts), ["".join(body)], sheets=STYLES, script="evaluation.js", cautions=told)


def cautions(found: Mapping[str, Any]) -> list[str]:
    """Of all runs together, those of a single one under its name."""
    said = [f"{run['name']}: {text}" for run in found["runs"] for text in of_results({"scope": run["scope"]})]
    return [*said, *of_results(found)]


def _runs(found: Mapping[str, Any]) -> str:
    rows = ""
    for run in sorted(found["runs"], key=lambda run: -run["accuracy"]):
        drawn = dot(run["accuracy"], run["accuracy_ci95"], run["accuracy_ci95_patients"], lines=(("chance", run["chance"]),))
        overlap, speed = run["overlap"], run["questions_a_second"]
        mean = _DASH if overlap["mean"] is None else f"{overlap['mean']:.2f}"
        ends = f" <small>{span(overlap['ci95_patients'])}</small>" if overlap["ci95_patients"] else ""
        model, profile = run["checkpoint"], run["profile"]
        about = [f"{model['name']} {str(model['sha256'])[:8]}", f"profile {profile['name']} {str(profile['sha256'])[:8]}"]
        about += [f"{run['samples']} samples"] if run["samples"] != 1 else []
        about += [f"vote of {run['vote']}"] if run["vote"] else []
        rows += row(
            f"<b>{escape(run['name'])}</b><small>{dotted(about)}</small>",
            ("chart", drawn),
            ("value", percent(run["accuracy"], 1)),
            interval_text(run["accuracy_ci95"], 1),
            interval_text(run["accuracy_ci95_patients"], 1) or _DASH,
            f"{mean}{ends}",
            percent(run["looked"]),
            f"{run['unread']:,}",
            percent(run.get("mismatch_rate"), 1),
            _DASH if speed is None else number(speed, 2),
        )
    heads = ("Run", ("chart", ticks(("0", "50", "100%"))), "Accuracy", "Wilson 95%", "Patients 95%", "Box overlap")
    return wide_table("runs", (*heads, "Looked", "Unread", "Letter against text", "Questions/s"), rows)


def _pairs(found: Mapping[str, Any]) -> str:
    """Differences to the baseline; the axis reaches as far as the farthest interval."""
    pairs = found["comparisons"]
    values = [abs(v) for own in pairs for v in (own["difference"], *(own["interval"] or ()))]
    reach = max(0.05, *values)
    reach = -(-round(100 * reach, 6) // 5) * 5 / 100  # up to the next 5 points
    rows = ""
    for own in sorted(pairs, key=lambda own: -own["difference"]):
        tone = "" if own["p_holm"] >= LEVEL else "better" if own["difference"] > 0 else "worse"
        drawn = dot(own["difference"], wide=own["interval"], lines=(("rule", 0.0),), ends=(-reach, reach), tone=tone)
        rows += row(
            f"<b>{escape(own['run'])}</b>",
            ("chart", drawn),
            ("value", points(own["difference"])),
            " to ".join(map(points, own["interval"])) if own["interval"] else _DASH,
            f"{own['only_first']:,}",
            f"{own['only_second']:,}",
            p_value(own["p_exact"]),
            p_value(own["p_holm"]),
        )
    ends = ("chart", ticks((f"\u2212{100 * reach:.0f}", "0", f"+{100 * reach:.0f}")))
    heads = ("Run", ends, "Difference", "Patients 95%", "Right alone", "Baseline right alone", "Flip p", "Holm p")
    return (
        f"{wide_table('pairs', heads, rows)}"
        f'<p class="note">Differences of accuracy in percentage points. Interval and p come from one test, two-sided, by sign flips of '
        f"whole patients: the interval leaves out 0 where p is below {LEVEL:g}, and only there. With one question a patient it is "
        f"McNemar's exact test; fewer than 6 patients are too few for any difference. Holm: corrected for {len(pairs)} "
        f"comparison{'s' * (len(pairs) != 1)}; coloured where below {LEVEL:g}.</p>"
    )


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def p_value(p: float) -> str:
    """A p value with two digits that mean something."""
    return "<0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _by_tags(found: Mapping[str, Any]) -> str:
    """Accuracy of every run for every value of every tag."""
    runs = found["runs"]
    against = {own["run"]: own["by"] for own in found["comparisons"]}
    bodies = ""
    for tag in ordered(runs[0]["by"]):
        groups, rows = runs[0]["by"][tag], ""
        for value in frequent(groups):
            own = [run["by"].get(tag, {}).get(value) for run in runs]
            best = max(part["accuracy"] for part in own if part)
            pairs = [against.get(run["name"], {}).get(tag, {}).get(value) for run in runs]
            cells = (_tag_cell(part, best, pair) for part, pair in zip(own, pairs, strict=True))
            rows += row(escape(label(tag, value)), *cells, f"{own[0]['n']:,}")
        bodies += group(f"{escape(heading(tag))}{remark(groups, 'what --json prints')}", len(runs) + 2, rows)
    note = (
        "Accuracy with its interval over patients; the best of a row is bold. "
        "Arrows: the interval over patients of the difference to "
        f"{escape(found['baseline'])} leaves out 0, not corrected for the number of rows."
    )
    heads = ("", *(escape(run["name"]) for run in runs), "Questions")
    return f'{wide_table("tags grid-runs", heads, bodies)}<p class="note">{note}</p>'


def _tag_cell(part: Mapping[str, Any] | None, best: float, pair: Mapping[str, Any] | None) -> str:
    if part is None:
        return _DASH
    ends = pair["interval"] if pair else None
    arrow = (
        "" if not ends else '<i class="good">\u25b2</i>' if ends[0] > 0 else '<i class="bad">\u25bc</i>' if ends[1] < 0 else ""
    )
    share = percent(part["accuracy"])
    strong = f"<b>{share}</b>" if part["accuracy"] == best else share
    return f"{arrow}{strong} <small>{interval_text(part['accuracy_ci95_patients'])}</small>"


def _readings(found: Mapping[str, Any], rules: Mapping[str, str]) -> str:
    runs = found["runs"]
    names = sorted({name for run in runs for name in run["published"]})
    parts = [("this package", str(found["rule"]), runs)]
    parts += [(name, rules.get(name, ""), [run["published"].get(name) for run in runs]) for name in names]
    rows = ""
    for name, rule, own in parts:
        cells = (
            f"{percent(part['accuracy'], 1)} <small>{interval_text(part['accuracy_ci95_patients'], 1)}</small>" if part else _DASH
            for part in own
        )
        rows += row(f"<b>{escape(name)}</b><small>{escape(rule)}</small>", *cells)
    return (
        f"{wide_table('readings', ('Reading', *(escape(run['name']) for run in runs)), rows)}"
        '<p class="note">Kept with their defects, to compare with published figures and '
        "for nothing else. Questions that a reading does not count are left out of its share.</p>"
    )
