"""What all bridges share: pictures and a prompt in, the text of an answer out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unireason import imaging
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case, Geometry, Source
from unireason.engine.reasoner import Question, options_from
from unireason.imaging.raster import picture_case, pillow_case
from unireason.imaging.reader import ReadOptions, decoding, sha256

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner


ASSUMED = "several pictures taken for the slices of one volume, feet to head; spacing and orientation unknown"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GREYS = (127.5, 255.0)  # level and width that leave 8-bit values as they are


def case_of(pictures: Sequence[Any]) -> Case:
    """The case that pictures show."""
    if not pictures:
        raise FormatError("a question without a picture", "one picture, or the slices of a volume", "leave such questions out")
    cases = []
    for case in map(_read, pictures):
        # Kits turn grey pictures into colour; this turns them back.
        pixels = case.pixels
        if case.kind == "image" and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
            case = replace(case, pixels=np.ascontiguousarray(pixels[..., 0]))
        cases.append(case)
    return cases[0] if len(cases) == 1 else _volume(cases)


def _read(picture: Any) -> Case:
    if isinstance(picture, str | os.PathLike):
        return imaging.read(picture)
    if isinstance(picture, np.ndarray):
        grey_or_colour = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not grey_or_colour:
            raise FormatError(f"an array of shape {picture.shape} and type {picture.dtype}", "uint8 (Y, X) or (Y, X, 3)")
        case = picture_case(picture, Source("picture", "array", ""), ReadOptions())
    else:
        from PIL import Image

        if not isinstance(picture, Image.Image):
            raise FormatError(f"a picture of type {type(picture).__name__}", "a path, a Pillow picture or an array")
        with decoding(Path("picture"), "a picture"):
            case = pillow_case(picture, Source("picture", "pillow", ""), ReadOptions())
    # The hash of pixels in memory completes their provenance.
    content = f"{case.pixels.shape} {case.pixels.dtype.str} ".encode() + np.ascontiguousarray(case.pixels).tobytes()
    return replace(case, source=replace(case.source, sha256=sha256(content)))


def _volume(cases: Sequence[Case]) -> Case:
    if any(case.kind != "image" for case in cases):
        raise FormatError("several files, one of them a volume", "one volume, or pictures alone")
    slices = [case.pixels if case.pixels.ndim == 2 else np.rint(case.pixels @ _LUMA).astype(np.uint8) for case in cases]
    found = sorted({(*(str(n) for n in s.shape), s.dtype.name) for s in slices})
    if len(found) > 1:
        said = ", ".join(" x ".join(parts) for parts in found[:4])
        raise FormatError(
            f"pictures of different size or type ({said})",
            "the slices of one volume, all alike",
            "ask about one picture at a time, or skip such questions",
        )
    pixels = np.stack(slices)
    depth, height, width = pixels.shape
    geometry = Geometry((depth, height, width), (width, height, depth), (0, 1, 2), (False, False, False))
    modalities, marks = {case.modality for case in cases}, {case.source.made_by for case in cases}
    return Case(
        pixels,
        "volume",
        geometry,
        modalities.pop() if len(modalities) == 1 else "",
        Source(
            "pictures",
            "slices",
            sha256(" ".join(case.source.sha256 for case in cases).encode()),
            marks.pop() if len(marks) == 1 else "",
        ),
        _GREYS if pixels.dtype == np.uint8 else None,
        (ASSUMED,),
    )


# --- From the prompt of a kit back to a question and its options.


_LABELLED = re.compile(r"[ \t]{0,4}(?P<open>\(?)(?P<letter>[A-Z])(?P<close>[.:)])[ \t]{0,4}(?P<text>\S.*)")
_REQUEST = re.compile(
    r"(?:please|answer|select|choose|pick|respond|reply|give|output|put|write|think|your answer)\b|[请請]", re.IGNORECASE
)
_QUESTION = re.compile(r"(?:question|问题|問題)[ \t]{0,4}[:：][ \t]{0,4}", re.IGNORECASE)
_OPTIONS = re.compile(r"(?:(?:answer )?(?:options|choices)|选项|選項)[ \t]{0,4}[:：]?", re.IGNORECASE)


def read_prompt(text: str) -> Question:
    """The question of a prompt."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    found = {n: match for n, line in enumerate(lines) if (match := _LABELLED.fullmatch(line))}
    as_it_is = Question(text.strip())
    if len(found) < 2:
        return as_it_is
    first, last = min(found), max(found)
    letters = "".join(match["letter"] for match in found.values())
    styles = {(match["open"], match["close"]) for match in found.values()}
    whole = last - first + 1 == len(found) and letters == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(found)] and len(styles) == 1
    if not whole or not all(_REQUEST.match(line.strip()) for line in lines[last + 1 :] if line.strip()):
        return as_it_is
    kept = lines[:first]  # without the words that announce the question and the options
    while kept and (not kept[-1].strip() or _OPTIONS.fullmatch(kept[-1].strip())):
        kept.pop()
    question = "\n".join(kept).strip()
    if _QUESTION.match(question):
        question = _QUESTION.sub("", question, count=1)
    return Question(question, tuple(match["text"].strip() for match in found.values())) if question else as_it_is


# --- The model.


Asked = tuple[Sequence[Any], str]
"""Pictures (see `case_of`) and the prompt."""

_LOG = logging.getLogger(__name__)


class Answerer:
    """Answers what kits ask."""

    def __init__(
        self,
        model: str | Path | Reasoner = "phantom",
        *,
        full: bool = False,
        letter: bool = False,
        skip: bool = False,
        device: Any = None,
        **how: Any,
    ) -> None:
        """Load the model."""
        from unireason.engine.reasoner import Reasoner, load

        if options_from(how).samples != 1:
            raise FormatError(f"{how['samples']} samples of one answer", "1")
        self._reasoner = model if isinstance(model, Reasoner) else load(model, device=device)
        self._full, self._letter, self._skip, self._how = full, letter, skip, how
        self._case: Case | None = None
        self.skipped = 0

    def answers(self, asked: Iterable[Asked]) -> list[str]:
        """Answer questions; those in a row about the same pictures share their encoding and are generated together."""
        said: list[str] = []
        pairs = ((self._shown(pictures), read_prompt(text)) for pictures, text in asked)
        for _, together in groupby(pairs, key=lambda pair: pair[0] and pair[0].source.sha256):
            found = list(together)
            case, questions = found[0][0], [question for _, question in found]
            said += [""] * len(questions) if case is None else self._told(case, questions)  # None: it cannot be used
        return said

    def _shown(self, pictures: Sequence[Any]) -> Case | None:
        try:
            case = case_of(pictures)
        except UniReasonError as error:
            self._pass_over(error)
            return None
        if self._case is None or self._case.source.sha256 != case.source.sha256:
            self._case = case
        return self._case

    def _told(self, case: Case, questions: list[Question]) -> list[str]:
        try:
            traces = self._reasoner.ask_many(case, questions, **self._how)
        except UniReasonError as error:
            if len(questions) > 1 and self._skip:  # find the one that cannot be asked
                return [text for question in questions for text in self._told(case, [question])]
            self._pass_over(error)
            return [""]
        if self._full:
            return [trace.raw_text for (trace,) in traces]
        return [(self._letter and trace.answer.choice) or trace.answer.text for (trace,) in traces]

    def _pass_over(self, error: UniReasonError) -> None:
        if not self._skip:
            raise error
        self.skipped += 1
        _LOG.warning("a question was answered with an empty text: %s", error)
