"""Samples of data sets as a reader sees them: a picture with the boxes looked at, the question, the reasoning.

    python -m benchmarks.data_samples FOLDER... --out docs/explanation/data.md --images docs/images [--most 12]

One sample a kind of question, kinds and data sets in turn, replaces what stands behind the heading "## Twelve samples" of the page.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from unireason.data.dataset import Dataset
from unireason.data.records import SPLITS
from unireason.report.dataset import CardShown, choose_samples

HEADING = "## Twelve samples"
COLOURS = ("#e4572e", "#17bebb", "#ffc914", "#76b041", "#a06cd5", "#f08cae")
TILE = 320


def shown(folders: list[Path], most: int) -> list[tuple[str, CardShown]]:
    """One sample a kind of question, data sets in turn."""
    pools: list[tuple[str, Dataset, list[Any]]] = []
    for folder in folders:
        dataset = Dataset.open(folder)
        samples = [s for split in SPLITS for s in dataset.samples(split)]
        samples.sort(key=lambda s: hashlib.sha256(s.id.encode()).hexdigest())
        pools.append((folder.name, dataset, samples))
    kinds: set[str] = set()
    found: list[tuple[str, CardShown]] = []
    while len(found) < most and any(samples for _, _, samples in pools):
        for name, dataset, samples in pools:
            sample = next((s for s in samples if s.question.ask not in kinds), None)
            if sample is None or len(found) >= most:
                samples.clear()
                continue
            samples.remove(sample)
            kinds.add(sample.question.ask)
            found += [(name, card) for card in choose_samples(dataset, dataset.source(), [sample])]
    return found


def drawn(card: CardShown) -> Image.Image:
    """The pictures of a sample side by side, the boxes looked at in colours, those of places of what is absent broken."""
    looks = [p for p in card.sample.reasoning if not isinstance(p, str)]
    boxes = [(look.box, look.seen) for look in looks] or ([(card.sample.box, True)] if card.sample.box else [])
    tiles = []
    for z, pixels in sorted(card.pictures.items()):
        picture = Image.fromarray(np.asarray(pixels)).convert("RGB")
        height = round(TILE * picture.height / picture.width)
        scale = TILE / card.case.scene.frame.width, height / card.case.scene.frame.height
        picture = picture.resize((TILE, height), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(picture)
        for n, (box, seen) in enumerate(boxes):
            half = len(box.coords) // 2
            if half == 3 and not box.coords[2] <= z < box.coords[5]:
                continue
            x1, y1, x2, y2 = (v * s for v, s in zip((*box.coords[:2], *box.coords[half : half + 2]), scale * 2, strict=True))
            colour = COLOURS[n % len(COLOURS)]
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=2 if seen else 1)
            pen.text((x1 + 3, y1 + 2), str(n + 1), fill=colour)
        if card.case.scene.kind == "volume":
            pen.text((6, height - 16), f"slice {z}", fill="#ffffff")
        tiles.append(picture)
    sheet = Image.new("RGB", (sum(t.width for t in tiles) + 4 * (len(tiles) - 1), max(t.height for t in tiles)), "#888888")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + 4
    return sheet


def told(number: int, name: str, card: CardShown, picture: str) -> str:
    """One sample as Markdown; boxes as their numbers in the picture."""
    question, looks = card.sample.question, 0
    text = ""
    for part in card.sample.reasoning:
        if isinstance(part, str):
            text += part
        else:
            looks += 1
            text += f" **[{looks}]**"
    options = "".join(f"- {'ABCDEFGHIJ'[i]}. {o}\n" for i, o in enumerate(question.options))
    answer = f"{question.letter}. {question.right}" if question.options else "the box and two points"
    scale = f"{card.sample.scale}\n\n" if card.sample.scale else ""
    family = question.family.replace("_", " ")
    head = (
        f"### {number}. {family}: {question.ask.replace('_', ' ')} ({name.replace('_', ' ')})\n\n![{question.ask}]({picture})\n\n"
    )
    return f"{head}{scale}> {question.text}\n\n{options}\n{text}\n\n**Answer:** {answer}\n"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--most", type=int, default=12)
    args = parser.parse_args()
    parts = []
    for number, (name, card) in enumerate(shown(args.folders, args.most), 1):
        file = args.images / f"data-{number:02d}.png"
        drawn(card).quantize(96).save(file, optimize=True)
        parts.append(told(number, name, card, f"../images/{file.name}"))
    page = args.out.read_text(encoding="utf-8") if args.out.exists() else ""
    page = page.split(HEADING)[0].rstrip()
    intro = "Numbers in brackets stand for the boxes in the picture; the model writes their coordinates and gets the region."
    args.out.write_text(f"{page}\n\n{HEADING}\n\n{intro}\n\n" + "\n".join(parts), encoding="utf-8")
    print(f"{len(parts)} samples in {args.out}")


if __name__ == "__main__":
    main()
