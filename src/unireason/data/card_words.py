"""What a card says of a data set that was built from masks, and of one that was imported from a release."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences that differ.

    Attributes:
        made: What the questions were made from.
        again: What the same command gives.
        splits: How splits came about.
        checks: What a check does.
        limits: What a reader must know, as list items.
    """

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
