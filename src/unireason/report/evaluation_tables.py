"""The numbers of one run as HTML: headline, accuracy by tags with dots and intervals, readings side by side, what was asked of what."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from unireason.files import json_text

from .bars import interval_text, percent
from .evaluation_dots import dot, ticks
from .markup import escape, number, plural
from .unread import notice

_DASH = "\u2013"
TAGS = {
    "kind": "Kind",
    "family": "Family",
    "modality": "Modality",
    "structure": "Structure",
    "supercategory": "Super-category",
}
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
    """The large figures of a run, and above them what could not be asked.

    Args:
        results: Of the run.
        lost: Some questions that could not be asked, and why.
    """
    scores, grounding = results["scores"]["all"], results["grounding"]
    large = [
        ("Accuracy", percent(scores["accuracy"], 1), intervals(scores)),
        ("Chance", percent(scores["chance"], 1), ""),
        *_overlaps(grounding),
        ("Looked", percent(grounding["looked"]), "of answers"),
        ("Unread", f"{scores['unread']:,}", "without a readable answer, counted as wrong"),
        ("Letter against text", percent(scores.get("mismatch_rate"), 1), "of answers contradict themselves"),
    ]
    drawn = dot(
        scores["accuracy"], scores["accuracy_ci95"], scores["accuracy_ci95_patients"], lines=(("chance", scores["chance"]),)
    )
    return (
        f"{notice(results['unreadable'], lost)}{figures(large)}"
        f'<div class="lone">{drawn}{ticks(("0", "25", "50", "75", "100%"))}</div>{_sampling(results["sampling"])}'
    )


def _overlaps(grounding: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Large figures of box overlap; none without true looks."""
    if not grounding["looks"]:
        return []
    ends = grounding["ci95_patients"]
    return [
        ("Mean box IoU", f"{grounding['mean_box_iou']:.2f}", f"patients {span(ends)}" if ends else ""),
        ("IoU over 50%", percent(grounding["iou_at_50"]), f"of {plural(grounding['looks'], 'true look')}"),
    ]


def figures(large: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: name, value, and a few words behind it."""
    cells = "".join(f"<div><dt>{n}</dt><dd>{v}{f'<small>{m}</small>' if m else ''}</dd></div>" for n, v, m in large)
    return f'<dl class="large">{cells}</dl>'


def intervals(scores: Mapping[str, Any]) -> str:
    """Both intervals of an accuracy in words."""
    both = [f"Wilson {interval_text(scores['accuracy_ci95'], 1)}"]
    if scores["accuracy_ci95_patients"]:
        both.append(f"patients {interval_text(scores['accuracy_ci95_patients'], 1)}")
    return ", ".join(both)


def span(ends: Sequence[float]) -> str:
    """Two numbers with two decimals as a range."""
    return f"{ends[0]:.2f}{_DASH}{ends[1]:.2f}"


def _sampling(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    ends = interval_text(found["mean_accuracy_ci95_patients"], 1)
    return (
        f'<p class="note">{found["samples"]} samples a question at temperature {number(found["temperature"], 2)}: mean accuracy '
        f"{percent(found['mean_accuracy'], 1)}{f' (patients {ends})' if ends else ''}, any right {percent(found['any_right'], 1)}, "
        f"all right {percent(found['all_right'], 1)}.</p>"
    )


def by_tags(scores: Mapping[str, Any]) -> str:
    """Accuracy by every tag: one table with a drawing a row."""
    bodies = "".join(_group(tag, scores["by"][tag], scores["all"]["accuracy"]) for tag in ordered(scores["by"]))
    return (
        '<div class="wide"><table class="tags"><thead><tr><th scope="col"></th>'
        f'<th scope="col" class="chart">{ticks(("0", "50", "100%"))}</th><th scope="col">Accuracy</th><th scope="col">Wilson 95%</th>'
        '<th scope="col">Patients 95%</th><th scope="col">Chance</th><th scope="col">Unread</th><th scope="col">Patients</th>'
        f'<th scope="col">Questions</th></tr></thead>{bodies}</table></div>' + legend('<span class="rule"></span>all questions')
    )


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


def _group(tag: str, groups: Mapping[str, Any], whole: float) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(label(tag, value))}</th><td class="chart">'
        f"{dot(own['accuracy'], own['accuracy_ci95'], own['accuracy_ci95_patients'], lines=_lines(own, whole))}</td>"
        f'<td class="value">{percent(own["accuracy"])}</td><td>{interval_text(own["accuracy_ci95"])}</td>'
        f"<td>{interval_text(own['accuracy_ci95_patients']) or _DASH}</td><td>{percent(own['chance'])}</td><td>{own['unread']:,}</td>"
        f"<td>{own['patients']:,}</td><td>{own['n']:,}</td></tr>"
        for value, own in frequent(groups).items()
    )
    rubric = f"{escape(heading(tag))}{remark(groups, 'report.md and results.json')}"
    return f'<tbody><tr class="tag"><th scope="rowgroup" colspan="9">{rubric}</th></tr>{rows}</tbody>'


def _lines(own: Mapping[str, Any], whole: float) -> list[tuple[str, float]]:
    return [("rule", whole), ("chance", own["chance"])]


def readings(results: Mapping[str, Any], apart: Mapping[str, tuple[int, int]], rules: Mapping[str, str]) -> str:
    """Our reading of the answers and the published ones, side by side.

    Args:
        results: Of the run.
        apart: By reading the questions that are right by ours alone, and by it alone.
        rules: What every published reading counts as right, in words.
    """
    scores = results["scores"]["all"]
    body = _reading("this package", results["rule"], scores, ("", ""))
    for name, own in scores["published"].items():
        ours, theirs = apart.get(name, (0, 0))
        body += _reading(name, rules.get(name, ""), own, (f"{ours:,}", f"{theirs:,}"))
    return (
        '<div class="wide"><table class="readings"><thead><tr><th scope="col">Reading</th>'
        f'<th scope="col" class="chart">{ticks(("0", "50", "100%"))}</th><th scope="col">Accuracy</th><th scope="col">Wilson 95%</th>'
        '<th scope="col">Patients 95%</th><th scope="col" class="spare">Right for us alone</th>'
        '<th scope="col" class="spare">Right for it alone</th><th scope="col">Questions</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        '<p class="note">Published readings are kept with their defects, to compare with published figures and for nothing else. '
        "Questions that a reading does not count are left out of its share.</p>"
    )


def _reading(name: str, rule: str, own: Mapping[str, Any], apart: tuple[str, str]) -> str:
    drawn = dot(own["accuracy"], own["accuracy_ci95"], own["accuracy_ci95_patients"])
    return (
        f'<tr><th scope="row"><b>{escape(name).replace("_", "_<wbr>")}</b><small>{escape(rule)}</small></th><td class="chart">{drawn}</td>'
        f'<td class="value">{percent(own["accuracy"], 1)}</td><td>{interval_text(own["accuracy_ci95"], 1)}</td>'
        f"<td>{interval_text(own['accuracy_ci95_patients'], 1) or _DASH}</td>"
        f'<td class="spare">{apart[0]}</td><td class="spare">{apart[1]}</td><td>{own["n"]:,}</td></tr>'
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
