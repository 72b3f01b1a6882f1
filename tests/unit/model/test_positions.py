"""Positions of pieces put together equal those of the whole."""

import pytest
import torch

import tiny
from unireason.model.tokens import chunk_positions, picture_ids


def test_one_picture_by_hand():
    made = tiny.checkpoint()
    ids = [65, *picture_ids(made.ids, (1, 4, 6)), 66]
    positions, following = chunk_positions(made.network, ids, [(1, 4, 6)], 10)
    # text 10, start 11, six visual tokens (2 rows x 3 columns) from 12, then max + 1 = 15 for the end and 16 for the text
    time = [10, 11, 12, 12, 12, 12, 12, 12, 15, 16]
    rows = [10, 11, 12, 12, 12, 13, 13, 13, 15, 16]
    columns = [10, 11, 12, 13, 14, 12, 13, 14, 15, 16]
    assert positions.tolist() == [[time], [rows], [columns]]
    assert following == 17


def test_text_counts_on():
    positions, following = chunk_positions(tiny.checkpoint().network, [1, 2, 3], [], 7)
    assert positions.tolist() == [[[7, 8, 9]]] * 3
    assert following == 10


@pytest.mark.parametrize("seed", range(6))
def test_pieces_equal_the_whole(seed):
    made = tiny.checkpoint()
    random = torch.Generator().manual_seed(seed)

    def number(high):
        return int(torch.randint(1, high, (), generator=random))

    pieces = []
    for _ in range(number(6)):
        grids = [(1, 2 * number(5), 2 * number(5)) for _ in range(number(4) - 1)]
        ids = [65] * number(5) + [t for g in grids for t in (*picture_ids(made.ids, g), *[66] * number(3))]
        pieces.append((ids, grids))
    whole = torch.tensor([[t for ids, _ in pieces for t in ids]])
    all_grids = [g for _, grids in pieces for g in grids]
    if all_grids:
        types = (whole == made.ids.image_pad).int()
        expected, _ = made.network.model.get_rope_index(whole, mm_token_type_ids=types, image_grid_thw=torch.tensor(all_grids))
    else:
        expected = torch.arange(whole.shape[1]).view(1, 1, -1).expand(3, 1, -1)
    out, following = [], 0
    for ids, grids in pieces:
        positions, following = chunk_positions(made.network, ids, grids, following)
        out.append(positions)
    assert torch.equal(torch.cat(out, dim=-1), expected)
    assert following == int(expected.max()) + 1
