"""What an ablation says, once: the claims with what became of them, a table of the arms, and their picture."""

from __future__ import annotations

from pathlib import Path

from unireason.core.store import write_bytes
from unireason.evaluate.results import AblationResults, ArmDifference, ArmResults, ArmScores, ClaimVerdict

from .document import DASH, Block, Cell, Column, Document, Plot, Prose, Remark, Table, Value, as_markdown, provenance, write_html
from .html import of_results, plural
from .plots import draw

NAME = "ablation"
"""Name of the page, its Markdown and its picture, without their ends."""

_GROUPS = {"volume": "3D", "image": "2D", "all": "all"}
_VERDICTS = {
    "holds": ("Holds", "good"),
    "does not hold": ("Does not hold, the opposite was measured", "bad"),
    "undecided": ("Undecided, the interval includes no difference", "strong"),
}
_READING = (
    "Accuracy: mean over seeds and questions. Intervals (95%) hold for other seeds and other patients: both are taken as drawn, seeds"
    " crossed with patients, Student's t. Differences are paired by seed and question, in percentage points. Box IoU: over true looks,"
    " a look that was not made counts 0. Seen: training samples about volumes and images, with those of the arms before."
)


def ablation_document(results: AblationResults) -> Document:
    """What ``evaluate.ablation.summary`` found."""
    manifest, scores = results.manifest, results.arms[0].all
    claims: list[Cell] = [_claim(results, claim) for claim in results.claims]
    facts = [f"suite {manifest['suite']}", plural(scores.n, "question"), plural(scores.patients, "patient")]
    facts += [plural(len(results.seeds), "seed"), plural(len(results.arms), "arm")]
    picture = draw(results.to_json())
    blocks: list[Block] = [
        Prose(claims or ["The file names no claim."], "Claims"),
        _arms(results),
        Plot(picture, "Seeds, mean and 95% interval of every arm", "Accuracy of every arm", file=f"{NAME}.png"),
        provenance({key: value for key, value in manifest.items() if key != "commands"}),
    ]
    # Of the suite's patients and of the models' scope.
    cautions = of_results({**scores.to_json(), "scope": results.scope})
    return Document("Ablation", facts, blocks, cautions=cautions, about="ablation")


def write_ablation(results: AblationResults, folder: Path) -> Document:
    """Write ``ablation.html``, ``ablation.md`` and ``ablation.png``; returns the report that was written."""
    report = ablation_document(results)
    for plot in (block for block in report.blocks if isinstance(block, Plot)):
        write_bytes(folder / plot.file, plot.png)
    write_bytes(folder / f"{NAME}.md", as_markdown(report).encode())
    write_html(report, folder / f"{NAME}.html")
    return report


def _claim(results: AblationResults, claim: ClaimVerdict) -> Remark:
    """The verdict in words, and the claim with what was measured."""
    arms = {arm.name: arm for arm in results.arms}
    better, than = (f"{arms[name].title} {_accuracy(arms[name], claim.on).text()}" for name in (claim.better, claim.than))
    on = "all questions" if claim.on == "all" else f"{_GROUPS[claim.on]} questions"
    found = Value(claim.difference, claim.ci95, unit="points")
    word, tone = _VERDICTS[claim.verdict]
    return Remark(word, f"{claim.text.rstrip('.')}. {better}, {than} on {on}: {found.text()} points (95% {found.ends()}).", tone)


def _scores(arm: ArmResults, group: str) -> ArmScores | None:
    return {"volume": arm.volume, "image": arm.image, "all": arm.all}[group]


def _accuracy(arm: ArmResults, group: str) -> Value:
    found = _scores(arm, group)
    return Value(found.accuracy, found.ci95, unit="%") if found else Value(None)


def _arms(results: AblationResults) -> Table:
    """An arm a row; kinds without a question are left out."""
    groups = [group for group in ("volume", "image") if _scores(results.arms[0], group)]
    differences = {(own.arm, own.on): own for own in results.differences}
    columns = [Column("Arm"), *(Column(f"{_GROUPS[g]} accuracy") for g in groups), Column("Box IoU")]
    columns += [*(Column(f"{_GROUPS[g]} difference") for g in groups), Column("Seen")]
    rows: list[list[Cell]] = [
        [
            Remark(arm.title, "reference" if arm.name == results.reference else ""),
            *(_accuracy(arm, group) for group in groups),
            _overlap(arm.all),
            *(_difference(differences.get((arm.name, group))) for group in groups),
            _seen(arm),
        ]
        for arm in results.arms
    ]
    return Table(columns, rows, "Arms", notes=[_READING])


def _overlap(scores: ArmScores) -> Cell:
    """A model without boxes has none to be scored; one that is shown no crops has."""
    nothing = scores.mean_box_iou is None or not (scores.looked or scores.mean_box_iou)
    return DASH if nothing else Value(scores.mean_box_iou, scores.mean_box_iou_ci95)


def _difference(found: ArmDifference | None) -> Cell:
    return Value(found.difference, found.ci95, unit="points") if found else ""


def _seen(arm: ArmResults) -> Remark:
    seen, steps = arm.exposure, f"{arm.steps:,} steps"
    return Remark(f"{seen.samples:,}" if seen.volume is None else f"{seen.volume:,} 3D, {seen.image:,} 2D", steps)
