"""The numbers of one run as HTML: headline, accuracy by tags with dots and intervals, readings side by side, what was asked of what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unireason.core.store import json_text

from .html import RESEARCH_ONLY, Cell, escape, figures, interval_text, number, of_results, percent, plural, row
from .html import table as html_table

# --- Dots with intervals on a common axis, one drawing a row of a table, for the pages of evaluations.


Ends = tuple[float, float]


def dot(
    value: float | None,
    narrow: Sequence[float] | None = None,
    wide: Sequence[float] | None = None,
    *,
    lines: Sequence[tuple[str, float]] = (),
    ends: Ends = (0.0, 1.0),
    tone: str = "",
) -> str:
    """A dot with up to two intervals."""

    def x(number: float) -> str:
        return f"{min(max(100 * (number - ends[0]) / (ends[1] - ends[0]), 0), 100):.2f}"

    marks = ['<path class="axis" d="M0 8H100"/>', *(f'<path class="{name}" d="M{x(at)} 0V16"/>' for name, at in lines)]
    if wide is not None:
        marks.append(f'<path class="band" d="M{x(wide[0])} 8H{x(wide[1])}"/>')
    if narrow is not None:
        low, high = x(narrow[0]), x(narrow[1])
        marks.append(f'<path class="whiskers" d="M{low} 8H{high}M{low} 5V11M{high} 5V11"/>')
    if value is not None:
        # A line of no length with round ends stays a circle however the drawing is stretched.
        marks.append(f'<path class="dot" d="M{x(value)} 8h0"/>')
    name = f' class="{tone}"' if tone else ""
    return f'<svg{name} viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">{"".join(marks)}</svg>'


def ticks(texts: Sequence[str]) -> str:
    """The numbers under or over a column of drawings, spread from its left to its right end."""
    return f'<span class="ticks" aria-hidden="true">{"".join(f"<i>{text}</i>" for text in texts)}</span>'


# --- The notice on top of a page: how many questions could not be asked, why, and what to do.


SHOWN = 3
"""Questions at most that are told with their reason."""


def notice(count: int, told: Sequence[tuple[str, str]], *, outcome: str = "counted as wrong") -> str:
    """The notice as HTML; nothing without such questions."""
    if not count:
        return ""
    reasons = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in told)
    more = f"<li>and {count - len(told):,} more; rows.jsonl has all</li>" if told and count > len(told) else ""
    return (
        f'<div class="flaw"><b>{plural(count, "question")} could not be asked and {outcome}.</b><ul>{reasons}{more}</ul>'
        "Once the files are repaired, the same command with <code>--again</code> asks again what could not be read.</div>"
    )


def left_out(unreadable: Mapping[str, Any]) -> str:
    """The notice of an evaluation that leaves such questions out, from "unreadable" in its results."""
    return notice(unreadable["n"], first(unreadable), outcome="were left out")


def first(unreadable: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The first questions of "unreadable" in the results of an evaluation, and why."""
    return list(unreadable["questions"].items())[:SHOWN]


_DASH = "\u2013"
TAGS = {"kind": "Kind", "family": "Family", "modality": "Modality", "structure": "Structure", "supercategory": "Super-category"}
"""Tags in the order in which they are shown, and how they are headed; any other follows under its own name."""

VALUES = 100
"""Values of a tag that a table shows at most."""


def legend(*more: str) -> str:
    """What the drawings of accuracies show; ``more`` are further entries, in HTML."""
    entries = (
        '<span class="whisker"></span>95% interval, questions taken as independent (Wilson)',
        '<span class="strip"></span>95% interval over patients',
        '<span class="dash"></span>chance',
        *more,
    )
    return f'<ul class="legend">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>'


def headline(results: Mapping[str, Any], lost: Sequence[tuple[str, str]] = ()) -> str:
    """The large figures of a run, and above them what could not be asked."""
    scores, grounding, ends = results["scores"]["all"], results["grounding"], results["grounding"]["ci95_patients"]
    overlaps = (
        []
        if not grounding["looks"]
        else [  # none without true looks
            ("Mean box IoU", f"{grounding['mean_box_iou']:.2f}", f"patients {span(ends)}" if ends else ""),
            ("IoU over 50%", percent(grounding["iou_at_50"]), f"of {plural(grounding['looks'], 'true look')}"),
        ]
    )
    large = [
        ("Accuracy", percent(scores["accuracy"], 1), intervals(scores)),
        ("Chance", percent(scores["chance"], 1), ""),
        *overlaps,
        ("Looked", percent(grounding["looked"]), "of answers"),
        ("Unread", f"{scores['unread']:,}", "without a readable answer, counted as wrong"),
        ("Letter against text", percent(scores.get("mismatch_rate"), 1), "of answers contradict themselves"),
    ]
    drawn = dot(
        scores["accuracy"], scores["accuracy_ci95"], scores["accuracy_ci95_patients"], lines=(("chance", scores["chance"]),)
    )
    found, sampling = results["sampling"], ""
    if found:
        drawn_ends = interval_text(found["mean_accuracy_ci95_patients"], 1)
        sampling = (
            f'<p class="note">{found["samples"]} samples a question at temperature {number(found["temperature"], 2)}: mean accuracy '
            f"{percent(found['mean_accuracy'], 1)}{f' (patients {drawn_ends})' if drawn_ends else ''}, "
            f"any right {percent(found['any_right'], 1)}, all right {percent(found['all_right'], 1)}.</p>"
        )
    return (
        f"{notice(results['unreadable'], lost)}{figures(large)}"
        f'<div class="lone">{drawn}{ticks(("0", "25", "50", "75", "100%"))}</div>{sampling}'
    )


def intervals(scores: Mapping[str, Any]) -> str:
    """Both intervals of an accuracy in words."""
    both = [f"Wilson {interval_text(scores['accuracy_ci95'], 1)}"]
    if scores["accuracy_ci95_patients"]:
        both.append(f"patients {interval_text(scores['accuracy_ci95_patients'], 1)}")
    return ", ".join(both)


def span(ends: Sequence[float]) -> str:
    """Two numbers with two decimals as a range."""
    return f"{ends[0]:.2f}{_DASH}{ends[1]:.2f}"


def by_tags(scores: Mapping[str, Any]) -> str:
    """Accuracy by every tag: one table with a drawing a row."""
    heads = ("", ("chart", ticks(("0", "50", "100%"))), "Accuracy", "Wilson 95%", "Patients 95%", "Chance", "Unread", "Patients")
    bodies = ""
    for tag in ordered(scores["by"]):
        groups, rows = scores["by"][tag], ""
        for value, own in frequent(groups).items():
            lines = [("rule", scores["all"]["accuracy"]), ("chance", own["chance"])]
            drawn = dot(own["accuracy"], own["accuracy_ci95"], own["accuracy_ci95_patients"], lines=lines)
            shares = [
                interval_text(own["accuracy_ci95"]),
                interval_text(own["accuracy_ci95_patients"]) or _DASH,
                percent(own["chance"]),
            ]
            counts = (f"{own[key]:,}" for key in ("unread", "patients", "n"))
            rows += row(escape(label(tag, value)), ("chart", drawn), ("value", percent(own["accuracy"])), *shares, *counts)
        bodies += group(f"{escape(heading(tag))}{remark(groups, 'report.md and results.json')}", 9, rows)
    return wide_table("tags", (*heads, "Questions"), bodies) + legend('<span class="rule"></span>all questions')


def group(rubric: str, columns: int, rows: str) -> str:
    """Rows of a table under a heading of their own."""
    return f'<tbody><tr class="tag"><th scope="rowgroup" colspan="{columns}">{rubric}</th></tr>{rows}</tbody>'


def wide_table(kind: str, heads: Iterable[Cell], rows: str) -> str:
    """A table that may be wider than its card."""
    return f'<div class="wide">{html_table(kind, heads, rows)}</div>'


def ordered(tags: Mapping[str, Any]) -> list[str]:
    """Tags that are there, the known ones first."""
    return [tag for tag in TAGS if tag in tags] + [tag for tag in tags if tag not in TAGS]


def heading(tag: str) -> str:
    """What a tag is called."""
    return TAGS.get(tag, tag.replace("_", " ").capitalize())


def frequent(groups: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a tag that are shown: those with the most questions, in the order given."""
    kept = set(sorted(groups, key=lambda value: -groups[value]["n"])[:VALUES])
    return {value: own for value, own in groups.items() if value in kept}


def remark(groups: Mapping[str, Any], place: str) -> str:
    """How many values are shown of how many, and where the others are, in HTML; nothing where all are shown."""
    if len(groups) <= VALUES:
        return ""
    return f"<small> the {VALUES} with the most questions of {len(groups):,}; all are in {place}</small>"


def label(tag: str, value: str) -> str:
    """What a value of a tag is called."""
    return {"image": "2D image", "volume": "3D volume"}.get(value, value) if tag == "kind" else value.replace("_", " ")


def readings(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str]) -> str:
    """Our reading of the answers and the published ones, side by side."""
    scores = results["scores"]["all"]
    found = [("this package", results["rule"], scores, ("", ""))]
    for name, own in scores["published"].items():
        ours, theirs = apart.get(name, (0, 0))
        found.append((name, rules.get(name, ""), own, (f"{ours:,}", f"{theirs:,}")))
    rows = "".join(
        row(
            f"<b>{escape(name).replace('_', '_<wbr>')}</b><small>{escape(rule)}</small>",
            ("chart", dot(own["accuracy"], own["accuracy_ci95"], own["accuracy_ci95_patients"])),
            ("value", percent(own["accuracy"], 1)),
            interval_text(own["accuracy_ci95"], 1),
            interval_text(own["accuracy_ci95_patients"], 1) or _DASH,
            *(("spare", count) for count in sides),
            f"{own['n']:,}",
        )
        for name, rule, own, sides in found
    )
    heads = ("Reading", ("chart", ticks(("0", "50", "100%"))), "Accuracy", "Wilson 95%", "Patients 95%")
    spare = (("spare", "Right for us alone"), ("spare", "Right for it alone"))
    return (
        f"{wide_table('readings', (*heads, *spare, 'Questions'), rows)}"
        '<p class="note">Published readings are kept with their defects, to compare with published figures and for nothing else. '
        "Questions that a reading does not count are left out of its share.</p>"
    )


def asked(results: Mapping[str, Any]) -> str:
    """What was asked of what, and the command that does it again."""
    made = results["manifest"]
    model, profile = made["checkpoint"], made["profile"]
    facts = {
        "Suite": made["suite"],
        "Data": made.get("data") or _DASH,
        "Split": made.get("split") or "the one meant for evaluation",
        "Options of the suite": plain(made.get("suite_options", {})) or "none",
        "Questions": f"{made['questions']:,} (sha256 {str(made['questions_sha256'])[:16]})",
        "Patients": f"{results['patients']:,}",
        "Model": f"{model['name']} (sha256 {str(model['sha256'])[:16]}, {model['dtype']})",
        "Prompt profile": f"{profile['name']} (sha256 {str(profile['sha256'])[:16]})",
        "Samples": str(made["samples"]) + (f", vote of {made['vote']}" if made["vote"] else ""),
        "Sampling": plain(made["sampling"]),
        "Limits": plain(made["limits"]) or "those of the profile",
        "Shown by a look": str(made["crop_source"] or "as the profile says"),
        "Seed": str(made["seed"]),
        "Time": f"{results['seconds']:,.0f} s, {rate(results)}",
        "Versions": plain(made["versions"]),
        "Left out by the suite": plain(results["left_out"]) or "nothing",
        "Not readable, counted as wrong": f"{results['unreadable']:,}",
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="made">{listed}</dl><p class="note">Asked again with</p><pre>{escape(command(made))}</pre>'


def rate(found: Mapping[str, Any]) -> str:
    """Questions a second in words."""
    value = found["questions_a_second"]
    return f"{_DASH if value is None else number(value, 2)} questions a second"


def plain(value: Any) -> str:
    """A JSON value as a few words; what is null in an object is left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {plain(own)}" for name, own in value.items() if own is not None)
    return value if isinstance(value, str) else json_text(value)


def command(made: Mapping[str, Any]) -> str:
    """The command line of a run, from its manifest."""
    sampling, limits = made["sampling"], made["limits"]
    folder = made.get("data") or ("" if made["suite"] == "phantom" else "DIR")
    options: dict[str, tuple[Any, Any]] = {  # value and what it is when not given
        "--suite": (made["suite"], None),
        "--data": (folder, ""),
        "--split": (made.get("split", ""), ""),
        "--model": (made["checkpoint"]["name"], None),
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


# --- The same as Markdown.


def run_markdown(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str], *, plot: str) -> str:
    """The tables of one run."""
    scores, made = results["scores"], results["manifest"]
    parts = [
        f"# Evaluation on {cell(results['suite'])}\n",
        f"{_asked(results)}\n",
        *(f"**Caution.** {cell(text)}\n" for text in of_results(results)),
        "## Result\n",
        table(["", "value", "95% interval"], _headline(results)),
        *(_tag(tag, scores["by"][tag]) for tag in ordered(scores["by"])),
        "## Readings side by side\n",
        table(
            ["reading", *_SHARES, "right for us alone", "right for it alone", "questions", "rule"],
            _readings(results, apart, rules),
        ),
        "## Does anything tell right answers from wrong ones?\n",
        _calibration(results["calibration"], plot),
        f"## Again\n\n```bash\n{command(made)}\n```\n",
        f"{RESEARCH_ONLY}\n",
    ]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a line that says so for no rows."""
    listed = [list(row) for row in rows]
    if not listed:
        return "Nothing was measured.\n"
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(head), ["---"] * len(head), *listed])


def cell(value: object) -> str:
    """Any text as one harmless cell of a table."""
    return re.sub(r"([\\|`*\[\]])", r"\\\1", " ".join(escape(value).split()))


def _asked(results: Mapping[str, Any]) -> str:
    made = results["manifest"]
    model, profile = made["checkpoint"], made["profile"]
    words = [
        f"{plural(results['n'], 'question')} on {plural(results['patients'], 'patient')}",
        f"checkpoint {model['name']} {str(model['sha256'])[:12]}",
        f"profile {profile['name']} {str(profile['sha256'])[:12]}",
        f"seed {made['seed']}",
        f"{made['samples']} sample{'s' * (made['samples'] != 1)} a question",
        rate(results),
    ]
    left = f" Left out by the suite: {cell(plain(results['left_out']))}." if results["left_out"] else ""
    lost = f" Not readable, counted as wrong: {results['unreadable']:,}." if results["unreadable"] else ""
    return f"{', '.join(map(cell, words))}.{left}{lost} What counts as right: {cell(results['rule'])}."


def _headline(results: Mapping[str, Any]) -> list[list[str]]:
    scores, found, drawn = results["scores"]["all"], results["grounding"], results["sampling"]
    iou = _DASH if found["mean_box_iou"] is None else f"{found['mean_box_iou']:.3f}"
    lines = [
        ["accuracy", percent(scores["accuracy"], 1), intervals(scores)],
        ["chance", percent(scores["chance"], 1), ""],
        ["unread answers (counted as wrong)", f"{scores['unread']:,}", ""],
        ["answers whose letter and text contradict each other", percent(scores.get("mismatch_rate"), 1), ""],
        ["mean box IoU", iou, f"patients {span(found['ci95_patients'])}" if found["ci95_patients"] else ""],
        ["true looks found with IoU over 50%", percent(found["iou_at_50"], 1), ""],
        ["answers with a look", percent(found["looked"], 1), ""],
    ]
    if drawn:
        ends = interval_text(drawn["mean_accuracy_ci95_patients"], 1)
        lines += [
            [
                f"mean accuracy of {drawn['samples']} samples",
                percent(drawn["mean_accuracy"], 1),
                f"patients {ends}" if ends else "",
            ],
            ["any sample right", percent(drawn["any_right"], 1), ""],
            ["all samples right", percent(drawn["all_right"], 1), ""],
        ]
    return lines


_SHARES = ("accuracy", "Wilson 95%", "patients 95%")


def _tag(tag: str, groups: Mapping[str, Any]) -> str:
    rows = [
        [
            cell(label(tag, value)),
            *_shares(own),
            percent(own["chance"]),
            *(f"{own[key]:,}" for key in ("unread", "patients", "n")),
        ]
        for value, own in groups.items()
    ]
    head = [cell(heading(tag)), *_SHARES, "chance", "unread", "patients", "questions"]
    return f"## {cell(heading(tag))}\n\n{table(head, rows)}"


def _shares(own: Mapping[str, Any]) -> list[str]:
    intervals = [interval_text(own["accuracy_ci95"], 1), interval_text(own["accuracy_ci95_patients"], 1) or _DASH]
    return [percent(own["accuracy"], 1), *intervals]


def _readings(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str]) -> list[list[str]]:
    scores = results["scores"]["all"]
    rows = [["this package", *_shares(scores), "", "", f"{scores['n']:,}", cell(results["rule"])]]
    for name, own in scores["published"].items():
        sides = [f"{count:,}" for count in apart.get(name, (0, 0))]
        rows.append([cell(name), *_shares(own), *sides, f"{own['n']:,}", cell(rules.get(name, ""))])
    return rows


def _calibration(found: Mapping[str, Any], plot: str) -> str:
    def three(value: float | None) -> str:
        return _DASH if value is None else f"{value:.3f}"

    rows = [
        [cell(name), f"{own['n']:,}", three(own["auroc"]), three(own["ece"]) if name != "overlap" else ""]
        for name, own in found.items()
    ]
    picture = f"\n![reliability]({plot})\n" if plot else ""
    return table(["predictor", "answers", "AUROC", "ECE"], rows) + picture
