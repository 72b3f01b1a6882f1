"""A packed sequence gives what plain sequences give: the same numbers, the same gradients, nothing seen of a neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training import LORA, shown
from unireason.core.errors import ModelError
from unireason.model import adapters, vision
from unireason.model.checkpoint import Checkpoint, load
from unireason.model.tokens import chunk_positions
from unireason.train.packing import MOST_PADDING, Pack, PrefixTree, TokenRun, make_layout, pack, packed_attention
from unireason.train.policy import Encoder, Patches, Policy, recompute


def fresh(start) -> Checkpoint:
    """The tiny checkpoint with attention strong enough that a wrong mask or position shows."""
    made = load(str(start), device="cpu", dtype="fp32")
    with torch.no_grad():
        for layer in made.network.model.language_model.layers:
            layer.self_attn.q_proj.weight *= 4
            layer.self_attn.k_proj.weight *= 4
    return made


@pytest.fixture
def checkpoint(start):
    return fresh(start)


@pytest.fixture(scope="module")
def forest(start, phantoms) -> list[PrefixTree]:
    """Three trees of several rows with crops: two volumes and an image."""
    encoder = Encoder.of(fresh(start))
    cases = shown(start, phantoms)
    several = {kind: [c for c in cases if c[0].kind == kind and len(c[0].samples) > 2] for kind in ("volume", "image")}
    chosen = [several["volume"][0], several["image"][0], several["volume"][1]]
    trees = [t for case, pictures in chosen for t in encoder.trees(case.samples[:3], case.frame, pictures)]
    trees = [t for t in trees if len(t.rows) > 1]
    assert len(trees) == 3
    assert all(any(row.pictures for row in tree.rows) for tree in trees)
    return trees


def log_prob(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]


def flat(packed: Pack) -> list[np.ndarray]:
    return [p for pictures in packed.pictures for p in pictures]


def patches(checkpoint: Checkpoint, packed: Pack) -> Patches:
    prepared = vision.prepare(checkpoint, flat(packed))
    return Patches(prepared.pixel_values, torch.tensor(prepared.grid_thw))


def features(checkpoint: Checkpoint, packed: Pack) -> torch.Tensor:
    return torch.cat(vision.encode(checkpoint, vision.prepare(checkpoint, flat(packed))))


def together(checkpoint: Checkpoint, trees: Sequence[PrefixTree], *, learn_tower: bool = False) -> torch.Tensor:
    packed = pack(trees)
    seen = patches(checkpoint, packed) if learn_tower else features(checkpoint, packed)
    return Policy(checkpoint.network, autocast=False)(packed, seen, log_prob)


def alone(checkpoint: Checkpoint, trees: Sequence[PrefixTree]) -> torch.Tensor:
    """One plain forward pass of the library for every row, pictures and all."""
    out = []
    for tree, row in ((t, r) for t in trees for r in t.rows):
        ids = torch.tensor([tree.prefix.ids + row.ids])
        prepared = vision.prepare(checkpoint, tree.prefix.pictures + row.pictures)
        logits = checkpoint.network(
            input_ids=ids,
            pixel_values=prepared.pixel_values,
            image_grid_thw=torch.tensor(prepared.grid_thw),
            mm_token_type_ids=(ids == checkpoint.ids.image_pad).int(),
        ).logits[0]
        places = torch.tensor([len(tree.prefix.ids) + i for i, label in enumerate(row.labels) if label])
        out.append(log_prob(logits[places - 1], ids[0, places]))
    return torch.cat(out)


def gradients(checkpoint: Checkpoint, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    checkpoint.network.zero_grad(set_to_none=True)
    loss.backward()
    return {n: p.grad.clone() for n, p in checkpoint.network.named_parameters() if p.grad is not None}


def weighed(logps: torch.Tensor) -> torch.Tensor:
    """A loss in which every token has a weight of its own, so that two that change places show."""
    return (logps * torch.linspace(0.5, 1.5, len(logps))).mean()


def assert_same_gradients(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, gradient in two.items():
        assert (one[name] - gradient).abs().max() <= 2e-5 * gradient.abs().max(), name


@pytest.mark.parametrize("variant", ["plain", "checkpointing", "lora", "tower", "pieces"])
def test_a_pack_gives_log_probabilities_and_gradients_of_plain_sequences(checkpoint, forest, variant, monkeypatch):
    network = checkpoint.network
    network.model.visual.requires_grad_(variant == "tower")
    if variant == "lora":
        adapters.attach(network, rank=LORA.rank, alpha=LORA.alpha, dropout=0.0, targets=LORA.targets, seed=1)
        with torch.no_grad():  # fresh adapters do nothing
            for name, parameter in network.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_(std=0.05)
    if variant == "checkpointing":
        recompute(network)
        network.train()
    if variant == "pieces":
        monkeypatch.setattr("unireason.train.policy._LOGITS_AT_ONCE", 7 * network.config.get_text_config().vocab_size)
    with packed_attention(network):
        mine = together(checkpoint, forest, learn_tower=variant == "tower")
        gradients_mine = gradients(checkpoint, weighed(mine))
    network.eval()  # recomputation is for training alone
    plain = alone(checkpoint, forest)
    assert len(plain) > 100
    torch.testing.assert_close(mine, plain, atol=1e-4, rtol=0)
    gradients_plain = gradients(checkpoint, weighed(plain))
    assert any("visual.patch_embed" in name for name in gradients_plain) == (variant == "tower")
    assert any("lora_A" in name for name in gradients_plain) == (variant == "lora")
    assert_same_gradients(gradients_mine, gradients_plain)


def test_recomputation_happens(checkpoint, forest):
    """In training mode layers run again in the backward pass; in evaluation mode they do not."""
    network, calls = checkpoint.network, []
    recompute(network)
    network.model.language_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    for training, expected in ((True, 2), (False, 1)):
        network.train(training)
        calls.clear()
        with packed_attention(network):
            together(checkpoint, forest[:1]).sum().backward()
        assert len(calls) == expected


def test_positions_are_those_of_the_network(checkpoint, forest):
    def grids(run: TokenRun) -> list[tuple[int, int, int]]:
        return [vision.grid_of(checkpoint, *p.shape[:2]) for p in run.pictures]

    for tree in forest:
        expected, after = chunk_positions(checkpoint.network, tree.prefix.ids, grids(tree.prefix), 0)
        assert torch.tensor(tree.prefix.positions).T.equal(expected[:, 0])
        assert tree.prefix.next == after
        for row in tree.rows:
            expected, last = chunk_positions(checkpoint.network, row.ids, grids(row), after)
            assert torch.tensor(row.positions).T.equal(expected[:, 0])
            assert row.next == last


def test_places_of_targets_by_hand():
    def run(ids: list[int], labels: list[int]) -> TokenRun:
        return TokenRun(ids, [bool(x) for x in labels], [(0, 0, 0)] * len(ids))

    one = PrefixTree(run([1, 2, 3], [0, 0, 0]), (run([4, 5], [1, 1]), run([6, 7, 8], [1, 0, 1])), ("a", "b"))
    two = PrefixTree(run([9], [0]), (run([10], [1]),), ("c",))
    packed = pack([one, two])
    assert packed.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert packed.targets.tolist() == [3, 4, 5, 7, 9]
    assert packed.sources.tolist() == [2, 3, 2, 6, 8]  # the first of a row is predicted from the end of its own prefix
    assert packed.rows.tolist() == [0, 0, 1, 1, 2]
    assert packed.tags == ("a", "b", "c")
    assert (one.length, one.labelled, two.length) == (8, 4, 2)


def perturbed(tree: PrefixTree, row: int, special: set[int]) -> PrefixTree:
    """The tree with other ids in the text of one row, or of its prefix (-1)."""
    runs = [tree.prefix, *tree.rows]
    old = runs[row + 1]
    other = [i if i in special else (i + 7) % 90 for i in old.ids]
    assert other != old.ids
    runs[row + 1] = TokenRun(other, old.labels, old.positions, old.next, old.pictures)
    return PrefixTree(runs[0], tuple(runs[1:]))


def test_a_row_sees_its_prefix_and_itself_alone(checkpoint, forest):
    special = {*checkpoint.ids.forbidden, checkpoint.ids.image_pad, checkpoint.ids.vision_start, checkpoint.ids.vision_end}
    packed = pack(forest)
    rows = packed.rows
    first = [sum(len(t.rows) for t in forest[:k]) for k in range(len(forest))]
    with torch.no_grad(), packed_attention(checkpoint.network):
        before = together(checkpoint, forest)
        for tree, row in ((0, 0), (1, 1), (2, -1)):
            changed = list(forest)
            changed[tree] = perturbed(forest[tree], row, special)
            after = together(checkpoint, changed)
            owned = range(first[tree], first[tree] + len(forest[tree].rows)) if row < 0 else [first[tree] + row]
            touched = torch.isin(rows, torch.tensor(list(owned)))
            assert torch.equal(after[~touched], before[~touched])
            assert (after[touched] != before[touched]).float().mean() > 0.9


def test_a_token_does_not_see_what_follows(checkpoint, forest):
    tree = forest[0]
    old = tree.rows[0]
    last = len(old.ids) - 1
    cut = PrefixTree(
        tree.prefix, (TokenRun([*old.ids[:-1], 5], old.labels, old.positions, old.next, old.pictures), *tree.rows[1:])
    )
    with torch.no_grad(), packed_attention(checkpoint.network):
        before, after = together(checkpoint, [tree]), together(checkpoint, [cut])
    own = sum(old.labels)
    assert old.labels[last]
    assert torch.equal(after[: own - 1], before[: own - 1])
    assert after[own - 1] != before[own - 1]


def test_pads_and_features_must_agree(checkpoint, forest):
    packed = pack(forest[:1])
    seen = features(checkpoint, packed)
    with packed_attention(checkpoint.network), pytest.raises(ModelError, match="visual tokens came for"):
        Policy(checkpoint.network, autocast=False)(packed, seen[1:], log_prob)


def test_attention_comes_back_after_the_block(checkpoint):
    config = checkpoint.network.model.language_model.config
    before = config._attn_implementation
    with ExitStack() as stack:
        stack.enter_context(packed_attention(checkpoint.network))
        assert config._attn_implementation != before
    assert config._attn_implementation == before


LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 60), max_size=20)), min_size=1, max_size=4)


@given(LENGTHS)
@settings(max_examples=60)
def test_every_place_comes_once_and_padding_is_small(shape):
    layout = make_layout(shape)
    assert layout.length == sum(p + sum(rows) for p, rows in shape)
    assert 0 <= layout.padding <= MOST_PADDING
    start = 0
    for branch, (prefix, lengths) in zip(layout.branches, shape, strict=True):
        assert (branch.start, branch.prefix, branch.length) == (start, prefix, prefix + sum(lengths))
        start += branch.length
        places = [g.index[g.valid] for g in branch.groups]
        if not lengths:
            assert not places
            continue
        laid = torch.cat(places)
        assert torch.equal(laid[branch.order], torch.arange(sum(lengths)))  # every place once, and brought back in order
        for group in branch.groups:
            assert group.valid.float().mean() >= 1 - MOST_PADDING
            assert bool(group.valid[:, 0].all())
            assert int(group.valid.sum(1).max()) == group.valid.shape[1]


@given(LENGTHS)
@settings(max_examples=30)
def test_the_mask_shows_the_prefix_and_the_past_of_the_own_row(shape):
    for branch in make_layout(shape).branches:
        for group in branch.groups:
            rows, longest = group.index.shape
            assert group.mask.shape == (rows, 1, longest, branch.prefix + longest)
            for row in range(rows):
                own = int(group.valid[row].sum())
                for query in range(own):
                    sees = torch.nonzero(group.mask[row, 0, query] == 0)[:, 0].tolist()
                    assert sees == [*range(branch.prefix), *range(branch.prefix, branch.prefix + query + 1)]
