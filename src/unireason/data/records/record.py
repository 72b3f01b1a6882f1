"""What one case, one sample and one embedded picture of a data set say."""

from __future__ import annotations

from dataclasses import dataclass

from unireason.data.question import IMPLICIT, Question
from unireason.data.scene import Scene
from unireason.grounding import grammar, umrg
from unireason.types import Box2D, Look

SCHEMA = "unireason.dataset/2"
READABLE = (SCHEMA, "unireason.dataset/1")
"""Schema versions that can be read: the first one lacks ``stages`` and ``origin``, and knows of every case what is in it."""
SPLITS = ("train", "validation", "test")
STAGES = ("sft", "grpo")


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One image or volume of a data set.

    Attributes:
        scene: Its description.
        source: Name of the source, or layout of the release that it was imported from.
        item: Item identifier inside the source; a slice of a volume shares that of its volume.
        image: Path relative to the source's folder.
        slice: Canonical slice of the volume, for images cut out of one; -1 otherwise.
        sha256: Hash of the image file, "" for phantoms and for volumes whose slices a release holds.
        phash: Perceptual hash as hex digits, "" if not computed.
        split: One of SPLITS.
        window: How intensities became grey levels.
    """

    scene: Scene
    source: str
    item: str
    image: str
    slice: int
    sha256: str
    phash: str
    split: str
    window: str


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One question with its grounded reasoning.

    Attributes:
        id: Stable identifier: hash of source, case and question.
        case: Identifier of its case.
        patient: Patient identifier; "" if it is not known.
        split: One of SPLITS.
        kind: "image" or "volume".
        question: The question with its facts.
        reasoning: Text and looks in order, without tags.
        annotator: Who wrote it; "" if there is no reasoning.
        box: The true box of the target in the model frame, for IMPLICIT; None otherwise.
        points: The two true key points, for IMPLICIT; None otherwise.
        category: Name of the target, for IMPLICIT; "" otherwise.
        supercategory: Its group; "" otherwise.
        stages: Stages of training that it is meant for, of STAGES.
        origin: Data set from which the question comes, as a release tells; "" otherwise.
    """

    id: str
    case: str
    patient: str
    split: str
    kind: str
    question: Question
    reasoning: tuple[str | Look, ...]
    annotator: str
    box: Box2D | None = None
    points: tuple[tuple[int, int], tuple[int, int]] | None = None
    category: str = ""
    supercategory: str = ""
    stages: tuple[str, ...] = STAGES
    origin: str = ""

    @property
    def task(self) -> str:
        """ "umrg" for implicit grounding, "vqa" for questions with options."""
        return "umrg" if self.question.family == IMPLICIT else "vqa"

    @property
    def target(self) -> str:
        """Name of the mask that an implicit question means, among those of its case; "" if there is none, or for other questions."""
        return self.question.about[0] if self.task == "umrg" and self.question.about else ""

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks that the question needs, in the order of the reasoning; a false lead, seen to be one, is none of them."""
        return tuple(part for part in self.reasoning if isinstance(part, Look) and part.label in self.question.needs)

    @property
    def response(self) -> str:
        """The whole assistant's turn as text, boxes written by the grammar; crops follow each box when it is tokenised.

        "" without a reasoning: nothing is there to be learned word by word.
        """
        if not self.annotator:
            return ""
        body = "".join(p if isinstance(p, str) else grammar.write(p.box) for p in self.reasoning)
        if self.task == "vqa":
            return f"<think>{body}</think>{self.question.letter}. {self.question.right}"
        assert self.box is not None
        assert self.points is not None
        return umrg.write(body, self.box, self.points)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One embedded picture, at the size of the model frame.

    Attributes:
        case: Identifier of its case.
        slice: Model slice; 0 for an image.
        png: The picture as a PNG file, grey or RGB, windowed.
        masks: For images: one PNG (0 or 255) a structure of the scene, or a target, on the same grid; () for volumes.
        mask_names: Names of the structures of ``masks``.
    """

    case: str
    slice: int
    png: bytes
    masks: tuple[bytes, ...] = ()
    mask_names: tuple[str, ...] = ()
