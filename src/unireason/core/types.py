"""The frozen values that travel between the rooms.

Nothing here reads a file, runs a network or draws. Arrays are (Z, Y, X) for volumes and (Y, X) or (Y, X, 3) for
images; boxes are half-open; every name carries its unit and its space:

* ``model``: pixels of the model frame, the grid the network sees after resizing; z is the index of a model slice.
* ``canonical``: continuous index of the canonical array; voxel ``n`` covers ``[n, n + 1)``.
* ``voxel``: the file's own index order (i, j, k), i fastest; continuous, voxel ``n`` covers ``[n, n + 1)``.
* ``world_mm``: patient millimetres, DICOM LPS.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["image", "volume"]
PHANTOM = "unireason phantom"
"""The mark that files of phantom patients bear: NIfTI ``descrip``, DICOM Manufacturer's Model Name, PNG text ``Source``."""
Affine = NDArray[np.float64]  # (4, 4)


@dataclass(frozen=True, slots=True)
class Box2D:
    """A half-open rectangle ``[x1, x2) x [y1, y2)``; x runs right, y runs down."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def coords(self) -> tuple[float, ...]:
        """``(x1, y1, x2, y2)``."""
        return (self.x1, self.y1, self.x2, self.y2)


@dataclass(frozen=True, slots=True)
class Box3D:
    """A half-open cuboid; x runs right, y down, z through the slices."""

    x1: float
    y1: float
    z1: float
    x2: float
    y2: float
    z2: float

    @property
    def coords(self) -> tuple[float, ...]:
        """``(x1, y1, z1, x2, y2, z2)``."""
        return (self.x1, self.y1, self.z1, self.x2, self.y2, self.z2)


Box = Box2D | Box3D


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """How the canonical array lies in its file and in the patient.

    Attributes:
        shape: Shape of the canonical array, (Z, Y, X) or (Y, X).
        source_shape: Sizes along the file's own index axes, (i, j, k) or (x, y).
        order: For canonical axes x, y, z in turn: which source axis it runs along.
        flips: For canonical axes x, y, z in turn: True if it runs against that source axis.
        affine_lps: (4, 4) source index (i, j, k, 1), at voxel centres, to LPS millimetres. None if unknown (plain pictures).
        spacing_mm: Voxel size along canonical x, y (and z) in millimetres. None if unknown.
        header: What the source's own header says about its grid, word for word, so that a mask can say the same. NIfTI: the fields
            "version", "dim", "pixdim", "units", "codes", "quatern", "srow", and "step", the distance of two values that scaled integers
            can tell apart; flat NRRD and MetaImage: "origin", "direction"; DICOM with several frames: "frames", their numbers from 0 in
            slice order; else empty.
    """

    shape: tuple[int, ...]
    source_shape: tuple[int, ...]
    order: tuple[int, ...]
    flips: tuple[bool, ...]
    affine_lps: Affine | None = None
    spacing_mm: tuple[float, ...] | None = None
    header: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Case came from.

    Attributes:
        name: Base name of the file or folder; never a full path, so that it may be published.
        format: Short name of the reader ("nifti", "dicom-series", "png", ...).
        sha256: Hash of the file, or of the sorted files of a folder.
        made_by: ``PHANTOM`` if the file bears that mark; else "".
    """

    name: str
    format: str
    sha256: str
    made_by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image or volume with its geometry; array and affine never part.

    Attributes:
        pixels: (Z, Y, X) canonical volume (LPS axes: x to patient left, y to posterior, z to head), or an image (Y, X) or
            (Y, X, 3) as displayed. Real values (HU for CT) after rescale; uint8 for ordinary pictures.
        kind: "image" or "volume".
        geometry: Mapping to the file and to the patient.
        modality: DICOM modality code ("CT", "MR", "CR", "DX", "US", ...) or "" if unknown.
        source: Provenance.
        window: (level, width) stored in the file, if any.
        notes: Remarks for the user, such as "no form codes: LPS assumed".
    """

    pixels: NDArray[Any]
    kind: Kind
    geometry: Geometry
    modality: str
    source: Source
    window: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.pixels.shape))
        spacing = self.geometry.spacing_mm
        parts = [f"{self.kind} {size}", self.modality or "modality unknown", self.source.format, repr(self.source.name)]
        if spacing is not None:
            parts.insert(2, f"{' x '.join(f'{v:.3g}' for v in spacing)} mm")
        return f"Case({', '.join(parts)})"


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What a Case looks like once windowed and resized: the pictures given to the network's own preprocessing.

    Attributes:
        slices: uint8, (D, H, W) or (D, H, W, 3); D = 1 for an image.
        kind: "image" or "volume".
        window: How intensities became grey levels, e.g. "soft-tissue (level 40, width 400)".
        coverage: For each model slice, the half-open range of canonical slices it shows; ((0, 1),) for an image.
        native: uint8 canonical pixels under the same window, (Z, Y, X) or (Y, X[, 3]), for full-resolution crops. It may
            share memory with nothing else and is never written to.
    """

    slices: NDArray[np.uint8] = field(repr=False)
    kind: Kind
    window: str
    coverage: tuple[tuple[int, int], ...]
    native: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """The model frame of one Case: sizes of the grid in which the model writes its boxes.

    Attributes:
        width: Pixels along x, from ``image_grid_thw`` x patch size.
        height: Pixels along y.
        depth: Number of model slices; 1 for an image.
        kind: "image" or "volume".
    """

    width: int
    height: int
    depth: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in model text: data, not an exception.

    Attributes:
        code: Stable short name ("unclosed_box", "bad_number_count", "inverted_box", "round_budget", ...).
        text: The offending piece.
        start: Offset in the text, or -1.
    """

    code: str
    text: str = ""
    start: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One region really injected.

    Attributes:
        box_model: Integer half-open (x1, y1, x2, y2) in the model frame after the crop rule.
        slice_index: Model slice it was cut from; 0 for an image.
        pixels: uint8 (h, w) or (h, w, 3), as handed to the network's preprocessing.
        grid_thw: The network's grid of this crop, in patches; None when not fed to a network.
        origin: "model" (cut from the model frame) or "native" (cut from source pixels).
    """

    box_model: tuple[int, int, int, int]
    slice_index: int
    pixels: NDArray[np.uint8] = field(repr=False)
    grid_thw: tuple[int, int, int] | None = None
    origin: Literal["model", "native"] = "model"


@dataclass(frozen=True, slots=True)
class TextStep:
    """Free reasoning text between looks, without tags and boxes."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class LookStep:
    """One box written by the model and what came of it.

    Attributes:
        text: The box exactly as written.
        box_model: The numbers as written, model frame; what was executed is in ``crops`` and ``slices``.
        box_voxel: What was executed, in the file's own index space (see module text); None when not executed.
        box_world_mm: Axis-aligned LPS bounds (x1, y1, z1, x2, y2, z2) of the eight corners; None without geometry.
        slices: Model slices that were cut; (0,) for an image, () when not executed.
        crops: The regions injected, in slice order; empty when not executed.
        executed: True if crops were injected.
        label: The words in front of the box, e.g. "left kidney"; "" if none.
    """

    text: str
    box_model: tuple[float, ...]
    box_voxel: tuple[float, ...] | None = None
    box_world_mm: tuple[float, ...] | None = None
    slices: tuple[int, ...] = ()
    crops: tuple[Crop, ...] = ()
    executed: bool = False
    label: str = ""
    type: Literal["look"] = "look"


@dataclass(frozen=True, slots=True)
class AnswerStep:
    """What follows ``</think>``.

    Attributes:
        text: The answer as written.
        choice: The option letter it names, or None.
    """

    text: str
    choice: str | None = None
    type: Literal["answer"] = "answer"


Step = TextStep | LookStep | AnswerStep


@dataclass(frozen=True, slots=True)
class ScopeCheck:
    """Whether a question lies inside what a checkpoint was made for.

    Attributes:
        stated: What the checkpoint says that it was made for; "" if it says nothing.
        inside: None if nothing is known.
        remarks: What lies outside, a sentence or two each.
    """

    stated: str = ""
    inside: bool | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """The trajectory as token ids: the truth of which text is a view.

    Attributes:
        prompt: Prompt ids, image pads expanded.
        response: Response ids, injected ids included.
        sampled: One flag a response id: True if the model sampled it, False if it was injected.
        logprobs: One natural log-probability a response id (0.0 where injected); empty if not recorded.
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One question, what the model looked at, and its answer. Its JSON schema is versioned (``grounding.trace``).

    Attributes:
        question: The question asked.
        options: Option texts in order A, B, ...; empty for an open question.
        steps: Text, looks and the answer, in order.
        frame: The model frame in which ``box_model`` is written.
        finish: Why it ended: "end_of_turn", "invalid_box", "token_budget", "round_budget", "context".
        problems: What was wrong in the model's text.
        source: Provenance of the Case.
        provenance: Checkpoint, profile, window, versions, seed, sampling: plain JSON values.
        tokens: The trajectory; None in a trace read back without it.
        raw_text: The response as text, special tokens kept, image pads collapsed to one a crop.
        scope: Whether the question lies inside what the checkpoint was made for.
    """

    question: str
    options: tuple[str, ...]
    steps: tuple[Step, ...]
    frame: Frame
    finish: str
    problems: tuple[Problem, ...] = ()
    source: Source | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    tokens: Tokens | None = None
    raw_text: str = ""
    scope: ScopeCheck = ScopeCheck()

    def __repr__(self) -> str:
        question, answer = (reprlib.repr(text) for text in (self.question, self.answer.text))
        looks = f"{len(self.looks)} look{'s' * (len(self.looks) != 1)}"
        return f"Trace({question} -> {answer if self.answer.text else 'no answer'}, {looks}, {self.finish})"

    @property
    def answer(self) -> AnswerStep:
        """The answer step; an empty one when the model never answered."""
        for step in reversed(self.steps):
            if isinstance(step, AnswerStep):
                return step
        return AnswerStep(text="")

    @property
    def looks(self) -> tuple[LookStep, ...]:
        """The look steps in order."""
        return tuple(s for s in self.steps if isinstance(s, LookStep))


def is_mismatch(trace: Trace) -> bool:
    """True if letter and text of the answer of a trace contradict each other (the problem "choice_text_mismatch")."""
    return any(problem.code == "choice_text_mismatch" for problem in trace.problems)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One response of a policy with what it earned.

    Attributes:
        trace: The response.
        reward: All of it.
        parts: Named parts of the reward.
        gold: What was expected: the right option ("B" or "B. left kidney"), or the answer in words.
        case: Identifier of the case.
        pictures: uint8 (D, H, W) or (D, H, W, 3), the slices shown to the model; None if they are not at hand.
        advantage: What the update saw: the reward against those of its group; None if unknown.
    """

    trace: Trace
    reward: float
    parts: Mapping[str, float]
    gold: str
    case: str
    pictures: NDArray[np.uint8] | None = None
    advantage: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look of a training text.

    Attributes:
        label: The structure looked at.
        box: Integer box in the model frame.
        seen: True if the structure is there; False for the place where a missing one would lie.
    """

    label: str
    box: Box
    seen: bool = True
