"""The page of a checked data set: the verdict, what each check saw, the text-only audit, how the data are spread, and samples to look at.

One file that needs no network, no server and no script.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unireason.data.checks.run import Report
from unireason.data.checks.shortcut import FEW, FEW_PATIENTS
from unireason.data.dataset import Dataset
from unireason.data.item import Source
from unireason.data.question import FAMILIES, IMPLICIT, family_name
from unireason.data.records import SPLITS
from unireason.files import write_bytes

from .bars import bar, interval_text, percent
from .dataset_cards import Shown, card, choose
from .markup import escape, plural, render, static

_MOST_STRUCTURES = 24
_KINDS = (("image", "2D images"), ("volume", "3D volumes"))
_ABOUT = {
    "files": "every file is as the manifest lists it, and the counts agree",
    "boxes": "every box parses, lies inside its frame and stands in its case",
    "masks": "boxes, sizes, places and parts measured again from the masks",
    "pictures": "embedded pictures and masks are whole and fit",
    "answers": "every answer worked out again: right is right, all others are wrong",
    "balance": "letters, yes and no, families, splits",
    "leakage": "no patient, case or picture in two splits, no question twice",
    "shortcut": "the text alone does not tell the answer",
}


def write(report: Report, dataset: Dataset, source: Source | None, path: str | os.PathLike[str]) -> Path:
    """Write the page.

    Args:
        report: What the checks found.
        dataset: The data set, for samples to show.
        source: Where their pictures are read from if they are not embedded; None does without pictures.
        path: The HTML file; it is replaced at once when the page is ready.

    Returns:
        The path written.

    Raises:
        UniReasonError: If the file cannot be written.
    """
    shown = choose(dataset, source, report)
    total = sum(report.counts.values())
    manifest = dataset.manifest
    title = str(manifest.get("title") or report.dataset)
    values = {
        "title": f"{escape(title)}, checked",
        "name": escape(title),
        "verdict": '<span class="good">sound</span>' if report.ok else f'<span class="bad">{plural(total, "problem")}</span>',
        "facts": _facts(report, manifest),
        "checks": _checks(report),
        "shortcut": _shortcut(report),
        "spread": _spread(report),
        "filters": _filters(shown),
        "cards": "".join(card(n, s) for n, s in enumerate(shown)),
        "samples": f"{plural(len(shown), 'sample')} to look at" if shown else "No sample to look at",
    }
    style = f"{static('base.css')}\n{static('index.css')}\n{static('dataset.css')}"
    return write_bytes(path, render("dataset.html", about="data check", style=style, script="", values=values).encode("utf-8"))


def _filters(shown: list[Shown]) -> str:
    """Radio buttons that hide cards by style alone; only the choices that there are cards for."""
    present = {s.sample.kind for s in shown} | {"flawed" for s in shown if s.problems}
    choices = [(key, name) for key, name in (("image", "2D"), ("volume", "3D"), ("flawed", "With problems")) if key in present]
    if len(choices) < 2:
        return ""
    boxes = "".join(
        f'<label><input type="radio" name="show" id="only-{key}"{" checked" if key == "all" else ""}><span>{name}</span></label>'
        for key, name in (("all", "All"), *choices)
    )
    return f'<fieldset class="filters"><legend class="unseen">Show</legend>{boxes}</fieldset>'


def _facts(report: Report, manifest: Mapping[str, Any]) -> str:
    cases = sum(report.distribution["cases"].values())
    samples = sum(report.distribution["families"].values())
    facts = [f"{plural(samples, 'sample')} on {plural(cases, 'case')}"]
    facts += [f"licence {manifest['licence']}"] if manifest.get("licence") else []
    facts.append("measured again from the masks" if report.masks else "masks not opened")
    facts += [f"content {report.content_sha256[:12]}"] if report.content_sha256 else []
    line = " · ".join(escape(f) for f in facts)
    command = manifest.get("command")
    return f"{line}<br><code>{escape(command)}</code>" if command else line


def _checks(report: Report) -> str:
    """One row a check, its problems folded under it."""
    rows = []
    for check, count in report.counts.items():
        seen = ", ".join(f"{n:,} {what}" for what, n in report.checked.get(check, {}).items())
        verdict = f'<b class="bad">{plural(count, "problem")}</b>' if count else _passed(check, report)
        kept = [p for p in report.problems if p.check == check]
        rows.append(
            f'<div class="check"><p class="line"><span class="name">{escape(check)}</span><span class="about">'
            f"{_ABOUT.get(check, '')}<small>{escape(seen)}</small></span>{verdict}</p>{_list(kept, count)}</div>"
        )
    remarks = "".join(f"<li>{_about(r)}{escape(r.detail)}</li>" for r in report.remarks)
    return "".join(rows) + (f'<details class="remarks"><summary>Remarks</summary><ul>{remarks}</ul></details>' if remarks else "")


def _passed(check: str, report: Report) -> str:
    """A check without problems; the text-only audit may have had too little to judge any family."""
    unjudged = check == "shortcut" and all(result["too_few"] for result in report.shortcut.values())
    return '<b class="none">not judged</b>' if unjudged else '<b class="good">ok</b>'


def _list(kept: list[Any], count: int) -> str:
    if not kept:
        return ""
    items = "".join(f"<li>{_about(p)}{escape(p.detail)}</li>" for p in kept)
    more = f"<li>and {count - len(kept):,} more</li>" if count > len(kept) else ""
    return f"<details{' open' if len(kept) <= 8 else ''}><summary>{plural(count, 'problem')}</summary><ul>{items}{more}</ul></details>"


def _about(finding: Any) -> str:
    name = escape(finding.id.replace("_", " ") if finding.about == "family" else finding.id)
    return f"<code>{name}</code> " if finding.id else ""


def _shortcut(report: Report) -> str:
    rows = []
    for family, result in report.shortcut.items():
        word = f"too few {result['few']}" if result["too_few"] else "ok" if result["ok"] else "tells"
        tone = "none" if result["too_few"] else "good" if result["ok"] else "bad"
        used = f"{result['used']:,}" + (f" of {result['questions']:,}" if result["questions"] > result["used"] else "")
        telltale = "" if result["ok"] else _telltale(result["telltale"])
        rows.append(
            f'<tr><th scope="row">{escape(family_name(family))}{telltale}</th>'
            f'<td class="chart">{bar(result["accuracy"], result["ci95"], result["chance"])}</td>'
            f'<td class="value" title="{interval_text(result["ci95"])}">{percent(result["accuracy"])}</td>'
            f"<td>{percent(result['chance'])}</td><td>{percent(result['longest'])}</td><td>{percent(result['frequent'])}</td>"
            f'<td>{used}</td><td><b class="{tone}">{word}</b></td></tr>'
        )
    if not rows:
        return '<p class="none">no question with options</p>'
    heads = ("Family", "", "Text alone", "Chance", "Longest", "Commonest", "Questions", "")
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        f'<div class="wide"><table class="audit"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        '<p class="legend"><span class="whisker"></span>95% interval<span class="dash"></span>chance</p>'
        f'<p class="legend">Too few: fewer than {FEW} questions or {FEW_PATIENTS} patients are not judged.</p>'
        '<p class="meaning">Longest: always the longest option. Commonest: always the option that is right most often elsewhere.</p>'
    )


def _telltale(clues: list[dict[str, Any]]) -> str:
    words = ", ".join(escape(c["clue"]) for c in clues)
    return f'<small class="clues">told by {words}</small>' if words else ""


def _spread(report: Report) -> str:
    """Families by kind and split, letters, modalities, structures."""
    spread = report.distribution
    blocks = [_families(spread["families"]), _letters(spread["letters"])]
    blocks.append(_counts("Modalities, by cases", spread["modalities"], len(spread["modalities"])))
    blocks.append(_counts("Structures, by cases", spread["structures"], _MOST_STRUCTURES))
    return "".join(f'<section class="card panel">{block}</section>' for block in blocks if block)


def _families(counts: Mapping[str, int]) -> str:
    table: Counter[tuple[str, str, str]] = Counter()
    for key, n in counts.items():
        family, kind, split = key.split("/")
        table[family, kind, split] = n
    columns = [(kind, split) for kind, _ in _KINDS for split in SPLITS]
    rows = []
    untold = ("",) if any(not family for family, _, _ in table) else ()
    for family in (*FAMILIES, IMPLICIT, *untold):
        own = [table[family, kind, split] for kind, split in columns]
        cells = "".join(f"<td>{n:,}</td>" if n else '<td class="none">0</td>' for n in (*own, sum(own)))
        rows.append(f'<tr><th scope="row">{family_name(family)}</th>{cells}</tr>')
    head = "".join(f'<th scope="colgroup" colspan="{len(SPLITS)}">{title}</th>' for _, title in _KINDS)
    short = {"validation": "val"}
    below = "".join(f'<th scope="col">{short.get(split, split)}</th>' for _, split in columns)
    return (
        f'<h2>Samples</h2><div class="wide"><table class="grid"><thead><tr><td></td>{head}<td></td></tr><tr><td></td>{below}'
        f'<th scope="col">all</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _letters(counts: Mapping[str, int]) -> str:
    """Share of right answers by letter, a group for every number of options."""
    rows = []
    sizes = sorted({int(key.split("/")[0]) for key in counts})
    for size in sizes:
        own = {key.split("/")[1]: n for key, n in counts.items() if int(key.split("/")[0]) == size}
        total = sum(own.values())
        for letter, n in own.items():
            share = n / total
            rows.append(
                f'<tr><th scope="row">{letter} of {size}</th><td class="chart">{bar(share, None, 1 / size)}</td>'
                f'<td class="value">{percent(share)}</td><td>{n:,}</td></tr>'
            )
    legend = '<p class="legend"><span class="dash"></span>even share</p>'
    return f"<h2>Right letters</h2><table><tbody>{''.join(rows)}</tbody></table>{legend}" if rows else ""


def _counts(title: str, counts: Mapping[str, int], most: int) -> str:
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    top = ordered[0][1]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="chart">{bar(n / top)}</td><td>{n:,}</td></tr>'
        for name, n in ordered[:most]
    )
    more = f'<p class="legend">and {len(ordered) - most:,} more</p>' if len(ordered) > most else ""
    return f"<h2>{title}</h2><table><tbody>{rows}</tbody></table>{more}"
