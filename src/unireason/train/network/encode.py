"""Samples of a data set become trees: the pictures of a case once, and a row for every question on it.

Prompts are those of ``model.tokens``, regions those of ``grounding.crop``: what is trained is what is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unireason.data.layouts.posing import IMAGE, Cut, with_crops
from unireason.data.records import SampleRecord
from unireason.errors import FormatError
from unireason.grounding.crop import cut
from unireason.grounding.prompts import Profile, load_profile
from unireason.imaging import native_region
from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import Grid, encode_text, prompt_ids
from unireason.model.vision import model_size, resized
from unireason.types import Frame, Stack

from .sequence import Run, Tree

Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The pictures of a case, and where its regions are cut."""

    frame: Frame
    pictures: Pictures
    stack: Stack | None

    def region(self, place: Cut, *, native: bool) -> NDArray[np.uint8]:
        """The pixels of one crop, of the size at which they are found."""
        index, rect = place
        if rect is None:
            return self.pictures[index]
        return native_region(self.stack, self.frame, index, rect) if native and self.stack else cut(self.pictures[index], rect)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Writes samples as token sequences for one checkpoint.

    Attributes:
        checkpoint: Tokenizer, image processor, special ids and the profiles that ask the questions.
    """

    checkpoint: Checkpoint

    @classmethod
    def of(cls, checkpoint: Checkpoint, profile: str = "") -> Encoder:
        """The encoder of a checkpoint.

        Args:
            checkpoint: The checkpoint.
            profile: Built-in name or TOML file that replaces the checkpoint's own profile; "" keeps it.

        Raises:
            FormatError: If there is no such profile.
        """
        return cls(replace(checkpoint, profile=load_profile(profile)) if profile else checkpoint)

    def profile(self, sample: SampleRecord) -> Profile:
        """The profile that asks a sample."""
        return self.checkpoint.grounding if sample.task == "umrg" else self.checkpoint.profile

    def prompt(self, sample: SampleRecord, frame: Frame) -> tuple[int, ...]:
        """Prompt ids of a sample, pads expanded.

        Raises:
            FormatError: If the question cannot be asked.
        """
        profile, question = self.profile(sample), sample.question
        messages = profile.parts(frame.kind, question.text, question.options, n_slices=frame.depth)
        asking = replace(self.checkpoint, profile=profile)
        return prompt_ids(asking, messages, [self._grid(frame.height, frame.width)] * frame.depth)

    def run(self, ids: Sequence[int], pictures: Pictures) -> Run:
        """Prompt ids with the pictures of their case, without loss."""
        run, special = Run(), self.checkpoint.ids
        shown = [(p, self._grid(*p.shape[:2])) for p in pictures]
        run.tokens(ids, [False] * len(ids), pictures=shown, special=special, merge=self.checkpoint.merge)
        return run

    def trees(
        self, samples: Sequence[SampleRecord], frame: Frame, pictures: Pictures, *, stack: Stack | None = None
    ) -> list[Tree]:
        """Questions and responses on one case.

        Args:
            samples: At least one; samples with equal prompts up to the last picture share them.
            frame: Model frame of the case.
            pictures: Its pictures, uint8 (H, W) or (H, W, 3) of the frame's size.
            stack: Gives the full-resolution pixels for native crops; without one regions are cut from the pictures.

        Returns:
            One tree for each distinct beginning, in order of appearance.

        Raises:
            FormatError: If a sample cannot be asked or a look of it cannot be executed.
        """
        by_prefix: dict[tuple[int, ...], list[tuple[SampleRecord, tuple[int, ...]]]] = {}
        for sample in samples:
            prompt = self.prompt(sample, frame)
            split = len(prompt) - prompt[::-1].index(self.checkpoint.ids.vision_end)
            by_prefix.setdefault(prompt[:split], []).append((sample, prompt[split:]))
        out = []
        for beginning, members in by_prefix.items():
            prefix = self.run(beginning, pictures)
            rows = [self._row(prefix.next, question, s, _Shown(frame, pictures, stack)) for s, question in members]
            out.append(Tree(prefix, tuple(rows), tuple(s.question.family for s, _ in members)))
        return out

    def _row(self, start: int, question: Sequence[int], sample: SampleRecord, shown: _Shown) -> Run:
        row, profile = Run(next=start), self.profile(sample)
        row.text(question, label=False)
        text = sample.response
        if profile.assistant_prefix and not text.startswith(profile.assistant_prefix):
            raise FormatError(
                f"the response of {sample.id} begins with {text[:20]!r}",
                f"{profile.assistant_prefix!r}, with which the profile opens the assistant's turn",
            )
        marked, cuts = with_crops(text, shown.frame) if profile.injects else (text, ())
        pieces = marked.removeprefix(profile.assistant_prefix).split(IMAGE)
        for number, piece in enumerate(pieces):
            row.text(encode_text(self.checkpoint, piece), label=True)
            if number < len(cuts):
                region = resized(
                    self.checkpoint, np.ascontiguousarray(shown.region(cuts[number], native=profile.crops == "native"))
                )
                row.picture(region, self._grid(*region.shape[:2]), self.checkpoint.ids, merge=self.checkpoint.merge)
        row.text([self.checkpoint.ids.im_end], label=True)
        return row

    def _grid(self, height: int, width: int) -> Grid:
        """Grid in patches of a picture of the network's own size.

        Raises:
            FormatError: If the network would see it at another size.
        """
        if model_size(self.checkpoint, height, width) != (height, width):
            raise FormatError(
                f"a picture of {height} x {width} pixels",
                "the size at which the network sees it",
                "build the data for this checkpoint",
            )
        return 1, height // self.checkpoint.patch, width // self.checkpoint.patch
