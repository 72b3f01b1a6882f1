"""Floating-point operations of a step: a multiplication and an addition are two.

Products of matrices and attention are counted; norms, activations and the optimiser's arithmetic are not, they are a matter of memory.
Formulas: docs/explanation/planning.md.

Source: 2 operations a weight and token forward and twice as many backward, arXiv 2001.08361, section 2.1; the fused attention kernel
computes its scores again backward, five products for two, arXiv 2205.14135.
"""

from __future__ import annotations

from dataclasses import dataclass

from unireason.train.settings.shared import Model

from .shape import Language, Shape, Vision
from .workload import Pictures, Tree

_ATTENTION_BACKWARD = 2.5


@dataclass(frozen=True, slots=True)
class Pass:
    """Operations of one forward pass, by where they happen.

    Attributes:
        matrices: Layers of the language model.
        attention: Its attention.
        output: Its output layer.
    """

    matrices: float
    attention: float
    output: float

    @property
    def forward(self) -> float:
        """All of them."""
        return self.matrices + self.attention + self.output


def passed(language: Language, tree: Tree) -> Pass:
    """One forward pass over a tree; the prefix is computed once.

    Args:
        language: The language model.
        tree: The tree; ``count`` is not looked at.
    """
    pairs = tree.prefix * (tree.prefix + 1) / 2 + tree.rows * tree.row * (tree.prefix + tree.row)
    return Pass(
        matrices=2 * language.layer_matrices * tree.tokens,
        attention=4 * language.layers * language.width * pairs,
        output=2 * language.output * tree.rows * tree.written,
    )


def trained(shape: Shape, model: Model, tree: Tree) -> float:
    """Forward and backward pass over a tree, without the vision tower.

    Args:
        shape: The network.
        model: What of it learns.
        tree: The tree; ``count`` is not looked at.
    """
    language, one = shape.language, passed(shape.language, tree)
    adapters = 2 * language.adapters(model.lora.rank, model.lora.targets) * tree.tokens
    weights = one.matrices + one.output if model.language and not model.lora.rank else 0.0
    backward = one.matrices + one.output + weights + _ATTENTION_BACKWARD * one.attention + 2 * adapters
    again = one.matrices + one.attention + adapters if model.checkpointing else 0.0
    return one.forward + adapters + backward + again


def looked(vision: Vision, pictures: Pictures) -> float:
    """One forward pass of the vision tower and the projector over pictures."""
    inside = min(pictures.patches, (vision.window / vision.patch) ** 2)
    seen = vision.full * pictures.patches + (vision.blocks - vision.full) * inside
    matrices = vision.block_matrices * pictures.patches + vision.projector_matrices * pictures.tokens
    return pictures.count * (2 * matrices + 4 * vision.width * pictures.patches * seen)


def looked_backward(vision: Vision, model: Model, pictures: Pictures) -> float:
    """Operations of the backward pass through the parts of tower and projector that learn, with checkpointing if asked for."""
    forward, projector = looked(vision, pictures), 2 * vision.projector_matrices * pictures.tokens * pictures.count
    if model.tower:
        return forward * (3 if model.checkpointing else 2)
    return 2 * projector if model.projector else 0.0


def decoded(language: Language, tree: Tree) -> float:
    """Operations of writing the rows of a tree token by token behind a prefix that is computed already."""
    one, alone = passed(language, tree), passed(language, _bare(tree))
    return one.matrices + one.attention + one.output - alone.matrices - alone.attention


def prefilled(language: Language, tree: Tree) -> float:
    """Operations of reading the prefix of a tree."""
    alone = passed(language, _bare(tree))
    return alone.matrices + alone.attention + 2 * language.output


def _bare(tree: Tree) -> Tree:
    return Tree(tree.count, tree.prefix, 0, 0, 0, tree.case, tree.crops)
