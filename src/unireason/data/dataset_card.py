"""The card of a data set: README.md with what is in it, how it was made and checked, and what it is not for.

It is made from the manifest alone (and ``check.json`` if that is there: the check writes the card again), so that equal data sets have
equal cards: no date, no path of a machine, no number of workers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.core.store import json_text, write_bytes

from .records import SPLITS
from .scene import LETTERS, family_name

# --- What a card says of a data set that was built from masks, and of one that was imported from a release.


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences that differ."""

    made: tuple[str, ...]
    again: str
    splits: str
    checks: tuple[str, ...]
    limits: tuple[str, ...]


BUILT = Words(
    made=(
        "{samples} questions with grounded reasoning about {cases} images and volumes, made from segmentation masks.",
        "Answers follow from the masks; boxes of the reasoning are tight boxes of structures, in pixels of the model frame.",
    ),
    again="The same command on the same source gives the same files, byte for byte, with any number of workers.",
    splits="Splits are by patient; images that look nearly the same (perceptual hash) are never in two splits.",
    checks=(
        "opens the source again and recomputes boxes and answers from the masks with other code than the builder's, looks at the balance",
        "of options and families and for leaks between splits, and trains a classifier on the text alone, which must stay near chance.",
    ),
    limits=(
        "* A structure is called absent only if the source annotates it on such items and the mask is empty. What a source does not",
        "  annotate is never asked about.",
        "* Questions know what masks know: places, sizes, neighbours, presence. They hold no diagnosis.",
        "* Left and right are those of the patient where the file tells the orientation, those of the picture elsewhere.",
        "* Errors of the source's masks are errors of the answers.",
    ),
)
IMPORTED = Words(
    made=(
        "{samples} questions about {cases} images and volumes, taken in from a published release.",
        "Answers, reasoning and boxes are those of the release; boxes were brought to pixels of the model frame.",
    ),
    again="The same command on the same release gives the same files, byte for byte.",
    splits="Splits are those that were published; whether they are by patient is not known.",
    checks=(
        "looks at files, boxes and the form of answers, at the balance of options and for pictures that stand in two splits, and trains a",
        "classifier on the text alone. Answers are not worked out again: there are no masks of everything that a picture shows.",
    ),
    limits=(
        "* Patients, spacing, structures and question families are not known unless the release tells them.",
        "* Places in the reasoning are what the release says; nobody has held them against masks here.",
        "* Errors of the release are errors of the answers.",
    ),
)


# --- The card.


CARD, CHECK = "README.md", "check.json"
_TABLES = ("samples", "cases", "images")
_KINDS = ("image", "volume")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_LICENCE = re.compile(
    r"\b(cc0-1\.0|cc-by(?:-nc)?(?:-sa|-nd)?-[234]\.0|apache-2\.0|mit|odbl|pddl|bsd-3-clause)(?![\w.-])", re.IGNORECASE
)
_MAX_CHECK_BYTES = 64 << 20
_COUNTED = (
    ("by_modality", "modality"),
    ("by_task", "task (vqa: options; umrg: implicit, answered by a box and two points)"),
    ("stages", "stage of training"),
    ("annotator", "annotator"),
    ("dropped", "left out, why"),
)
_NAMES_SHOWN = 40


def write_card(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the card of a data set.

    Args:
        folder: Its folder; ``README.md`` is written there, at once.
        manifest: Its manifest; counts that are missing are left out.

    Raises:
        UniReasonError: If it cannot be written.
    """
    counts = manifest.get("counts", {})
    parts = [
        _front(manifest, counts),
        _head(manifest, counts),
        _command(manifest),
        _tables(manifest, counts),
        _checks(folder, manifest),
        _use(manifest),
    ]
    write_bytes(folder / CARD, ("\n\n".join("\n".join(part) for part in parts) + "\n").encode())


def _front(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    """Metadata of the Hugging Face hub, as YAML."""
    found = _LICENCE.search(manifest.get("licence", ""))
    samples = int(counts.get("samples", 0))
    lines = ["---", f"license: {found[1].lower() if found else 'other'}"]
    lines += [] if found else [f"license_name: {_quoted(manifest.get('licence') or 'unknown')}"]
    lines += [f"pretty_name: {_quoted(_title(manifest))}", "language:", "- en", "task_categories:", "- visual-question-answering"]
    lines += ["- image-text-to-text", "tags:", "- medical", "- grounding", "- chain-of-thought", "size_categories:"]
    lines += [f"- {next((name for limit, name in _SIZES if samples < limit), '10M<n<100M')}"]
    configs = [(table, splits) for table in _TABLES if (splits := _splits_of(manifest, table))]
    lines += ["configs:"] if configs else []
    for table, splits in configs:
        lines += [f"- config_name: {table}", *(["  default: true"] if table == "samples" else []), "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {table}/{split}-*.parquet"]
    return [*lines, "---"]


def _head(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    samples, cases = int(counts.get("samples", 0)), int(counts.get("cases", 0))
    embedded = bool(_splits_of(manifest, "images"))
    return [
        f"# {harmless(_title(manifest))}: grounded reasoning data",
        "",
        *(line.format(samples=f"{samples:,}", cases=f"{cases:,}") for line in _words(manifest).made),
        "**Research only, not a medical device.**",
        "",
        f"* Source: {harmless(_title(manifest))}. Licence of the source: {harmless(manifest.get('licence') or 'unknown')}.",
        "  What is made from it falls under the same terms.",
        f"* Pictures: {'inside (`images`), at the size of the model frame' if embedded else 'not inside; rows refer to the source'}.",
        f"* Items of the source left out: {int(manifest.get('skipped', 0)):,}, each with the reason in `skipped.jsonl`.",
        f"* Schema `{_code(manifest.get('schema', ''))}`, written by unireason {harmless(manifest.get('version', ''))}; every field is",
        "  described in `docs/reference/records.md` of the project.",
        f"* Content hash `{_code(manifest.get('content_sha256', ''))}`.",
    ]


def _command(manifest: Mapping[str, Any]) -> list[str]:
    frame = manifest.get("config", {}).get("frame", {})
    shape = harmless(" x ".join(str(v) for v in frame.get("volume_shape", ())))
    size = frame.get("image_size")
    lines = ["## How it was made", "", "```console", f"$ {_code(manifest.get('command', ''))}", "```", ""]
    lines += [_words(manifest).again]
    if frame:
        lines += [
            "",
            f"Model frame `{_code(frame.get('name', ''))}`: volumes are serialised to {shape or 'their own size'} (slices, height, width), "
            f"images {'keep their size' if size is None else 'are brought to ' + harmless(' x '.join(map(str, size)))}; then sides are",
            f"rounded to multiples of {harmless(frame.get('factor', '?'))} pixels. Intensity window: {harmless(frame.get('window', '?'))}.",
        ]
    return lines


def _tables(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    lines = ["## What is in it", ""]
    lines += _split_table(counts, _words(manifest).splits)
    lines += _family_table(counts)
    tables = {title: _flat(counts.get(name)) for name, title in _COUNTED}
    tables["source"] = {str(manifest["config"]["source"]): int(counts.get("cases", 0))} if _source(manifest) else {}
    for title, numbers in tables.items():
        lines += _rows((title, "number"), numbers.items()) if numbers else []
    letters = _flat(counts.get("letters"))
    chosen = {letter: letters[letter] for letter in LETTERS if letters.get(letter)}
    if chosen:
        total = sum(chosen.values())
        shares = [(letter, number, f"{number / total:.1%}") for letter, number in chosen.items()]
        lines += [*_rows(("right option", "questions", "share"), shares), "Questions with two options know A and B only.", ""]
    structures = sorted(_flat(counts.get("structures")).items(), key=lambda pair: (-pair[1], pair[0]))
    if structures:
        said = ", ".join(f"{harmless(name)} ({number:,})" for name, number in structures[:_NAMES_SHOWN])
        more = f", and {len(structures) - _NAMES_SHOWN} more" if len(structures) > _NAMES_SHOWN else ""
        lines += [f"Structures, with the number of images and volumes that show them: {said}{more}.", ""]
    return lines[:-1]


def _split_table(counts: Mapping[str, Any], words: str) -> list[str]:
    cases, samples = _flat(counts.get("cases_by_split")), _flat(counts.get("by_split"))
    kinds = {"cases": _flat(counts.get("cases_by_kind")), "samples": _flat(counts.get("by_kind"))}
    if not samples and not cases:
        return []
    rows = [(split, cases.get(split, 0), samples.get(split, 0)) for split in SPLITS if split in samples or split in cases]
    rows += [
        (f"all: {kind}s", kinds["cases"].get(kind, 0), kinds["samples"].get(kind, 0))
        for kind in _KINDS
        if kind in kinds["samples"]
    ]
    return [*_rows(("split", "images and volumes", "questions"), rows), words, ""]


def _family_table(counts: Mapping[str, Any]) -> list[str]:
    """Questions by family: in all, and for each split and kind where the manifest tells."""
    families = _flat(counts.get("by_family"))
    if not families:
        return []
    cells = _flat(counts.get("by_split_kind_family"))
    columns = [(s, k) for s in SPLITS for k in _KINDS if any(key.startswith(f"{s}/{k}/") for key in cells)]
    rows = [
        (family_name(name), *(cells.get(f"{split}/{kind}/{name}", 0) for split, kind in columns), number)
        for name, number in families.items()
    ]
    return _rows(("family", *(f"{split}, {kind}s" for split, kind in columns), "all"), rows)


def _checks(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    lines = ["## Checks", "", "```console", "$ unireason data check DIR", "```", "", *_words(manifest).checks, ""]
    report = _report(folder / CHECK, str(manifest.get("content_sha256", "")))
    if report is None:
        return [*lines, "The data set has not been checked yet: there is no `check.json` beside this card."]
    # It lists only the first problems, and counts all.
    problems = sum(_flat(report.get("counts")).values()) or len(report.get("problems", []))
    wrong = f"**{problems:,} {'problem' if problems == 1 else 'problems'}**"
    lines += [f"Result in `check.json`: {'passed' if report.get('ok') else wrong}."]
    shortcut = report.get("shortcut", {})
    if isinstance(shortcut, dict) and shortcut:
        rows = [_audit(name, shortcut[name]) for name in sorted(shortcut) if isinstance(shortcut[name], dict)]
        lines += ["", *_rows(("family", "text only", "95% interval", "chance", "verdict"), rows)[:-1]]
    return lines


def _audit(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    def share(value: Any) -> str:
        return f"{value:.1%}" if isinstance(value, int | float) else "-"

    ends = found.get("ci95")
    interval = " to ".join(share(v) for v in ends) if isinstance(ends, Sequence) else "-"
    few = " ".join(("too few", *str(found.get("few", "")).split(), "to judge"))
    verdict = few if found.get("too_few") else "ok" if found.get("ok", True) else "tells the answer"
    return family_name(name), share(found.get("accuracy")), interval, share(found.get("chance")), verdict


def _use(manifest: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Intended use and limits",
        "",
        "For research on grounded reasoning, its training and its evaluation. Not for diagnosis, treatment or any care of patients.",
        "",
        "* Positions are pixels of the model frame named above; another image processor needs another build.",
        *_words(manifest).limits,
    ]
    if "phantom" in str(_source(manifest)):
        lines += ["* The patients are synthetic: results say nothing about real images."]
    return lines


def _splits_of(manifest: Mapping[str, Any], table: str) -> list[str]:
    """The splits of which a table has files."""
    files = manifest.get("files", {})
    return [split for split in SPLITS if any(name.startswith(f"{table}/{split}-") for name in files)]


def _source(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("config", {}).get("source", ""))


def _words(manifest: Mapping[str, Any]) -> Words:
    """The sentences for a data set that was built, or imported."""
    return IMPORTED if manifest.get("config", {}).get("layout") else BUILT


def _title(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("title") or _source(manifest) or "Data set")


def _flat(counts: Any, prefix: str = "") -> dict[str, int]:
    """Nested counts with their keys joined by slashes, in the given order; nothing for a missing entry."""
    if not isinstance(counts, Mapping):
        return {}
    out: dict[str, int] = {}
    for key, value in counts.items():
        out |= _flat(value, f"{prefix}{key}/") if isinstance(value, Mapping) else {f"{prefix}{key}": int(value)}
    return out


def _rows(head: Sequence[str], rows: Any) -> list[str]:
    """A Markdown table and an empty line; numbers stand right."""
    rows = [tuple(row) for row in rows]
    right = [bool(rows) and not isinstance(rows[0][i], str) for i in range(len(head))]
    lines = ["| " + " | ".join(map(harmless, head)) + " |", "|" + "|".join("---:" if r else "---" for r in right) + "|"]
    lines += ["| " + " | ".join(harmless(v) if isinstance(v, str) else f"{v:,}" for v in row) + " |" for row in rows]
    return [*lines, ""]


def harmless(text: object) -> str:
    """Text of a source or a file as one line of Markdown that cannot break a table or become markup."""
    return re.sub(r"([\\|`*<>&#~\[\]])", r"\\\1", " ".join(str(text).split()))


def _code(text: object) -> str:
    """Text of a file as a code span, or as a line of a code block."""
    return " ".join(str(text).split()).replace("`", "'")


def _quoted(text: str) -> str:
    """A YAML string."""
    return json_text(" ".join(text.split()), ensure_ascii=False)


def _report(path: Path, content: str) -> dict[str, Any] | None:
    """The result of a check; None if there is none, it cannot be read, or it is about other content."""
    try:
        if path.stat().st_size > _MAX_CHECK_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("content_sha256", content) == content else None
