"""Where a trace points, in every space, and what an expert is asked."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Case, Crop, Frame, Geometry, LookStep, Source, TextStep, Trace
from unireason.data.regions import picture
from unireason.engine.masks import masks_of, target
from unireason.imaging.geometry import volume_geometry, voxel_to_world, voxel_to_world_bounds
from unireason.segment.expert import Prompt, checked, finished

FRAME = Frame(28, 56, 1, "image")
ANSWER = '<think>x</think><answer>{"bbox": [7,14,21,42], "points_1": [10,20.25], "points_2": [14,35.25]}</answer>'


class Recorder:
    """An expert that fills what it is asked and remembers it."""

    name = "recorder"

    def __init__(self):
        self.calls = []

    def segment(self, case, prompts):
        self.calls.append(list(prompts))
        return [finished(np.zeros(case.geometry.shape, bool), n / 10) for n, p in enumerate(prompts) if checked(case, p)]


def pointing(text=ANSWER, *, frame=FRAME, looks=()):
    return Trace("q", (), (TextStep("x"), *looks), frame, "end_of_turn", raw_text=text)


def flat(affine=None):
    geometry = Geometry((112, 84), (84, 112), (0, 1), (True, False), affine)
    return Case(np.zeros((112, 84), np.uint8), "image", geometry, "", Source("x.png", "png", ""))


def deep(order=(0, 1, 2), flips=(False, False, False), turn=0.0):
    """Canonical 10 x 112 x 84 from any axis order, with an oblique affine if wanted."""
    sizes = (84, 112, 10)
    c, s = np.cos(turn), np.sin(turn)
    canonical = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([0.5, 2.0, 3.0])
    affine, shape = np.eye(4), [0, 0, 0]
    for axis in range(3):
        affine[:3, order[axis]] = canonical[:, axis] * (-1 if flips[axis] else 1)
        shape[order[axis]] = sizes[axis]
    affine[:3, 3] = (5, -7, 11)
    geometry = volume_geometry(shape, affine)
    assert geometry.order == order
    assert geometry.flips == flips
    pixels = np.arange(10 * 112 * 84, dtype=np.float32).reshape(geometry.shape)
    return Case(pixels, "volume", geometry, "CT", Source("v.nii", "nifti", ""))


def test_a_picture_by_hand():
    found = target(pointing(), flat())
    assert found.model.box == (7, 14, 21, 42)
    assert found.model.points == ((10, 20.25), (14, 35.25))
    assert found.canonical.box == pytest.approx((21, 28, 63, 84))  # 3 pixels across and 2 down a model pixel
    # A point names a pixel, and its middle is meant.
    assert found.canonical.points == (pytest.approx((31.5, 41.5)), pytest.approx((43.5, 71.5)))
    assert found.voxel.box == pytest.approx((21, 28, 63, 84))  # mirrored: 84 - 63 and 84 - 21
    assert found.voxel.points == (pytest.approx((52.5, 41.5)), pytest.approx((40.5, 71.5)))
    assert found.world_mm is None
    assert found.slice is None


def test_a_slice_of_a_volume_by_hand():
    found = target(pointing(), deep(flips=(True, False, True)), slice=2)
    assert found.canonical.box == pytest.approx((21, 28, 2, 63, 84, 3))
    assert found.canonical.points[0] == pytest.approx((31.5, 41.5, 2.5))
    # i against x: 84 - 63 to 84 - 21; k against z: 10 - 3 to 10 - 2
    assert found.voxel.box == pytest.approx((21, 28, 7, 63, 84, 8))
    assert found.voxel.points[0] == pytest.approx((52.5, 41.5, 7.5))
    # x = 5 - 0.5 (i - 0.5), y = -7 + 2 (j - 0.5), z = 11 - 3 (k - 0.5)
    assert found.world_mm.points[0] == pytest.approx((5 - 0.5 * 52, -7 + 2 * 41, 11 - 3 * 7))
    assert found.world_mm.box == pytest.approx((5 - 31.25, -7 + 55, 11 - 22.5, 5 - 10.25, -7 + 167, 11 - 19.5))


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_slice_and_its_volume_name_one_place(order, flips, turn):
    volume = deep(order, flips, turn)
    alone, inside = target(pointing(), picture(volume, 3)), target(pointing(), volume, slice=3)
    assert inside.world_mm.points == tuple(pytest.approx(p) for p in alone.world_mm.points)
    assert inside.world_mm.box == pytest.approx(alone.world_mm.box)
    assert inside.world_mm.points[1] == pytest.approx(voxel_to_world(inside.voxel.points[1], volume.geometry))
    assert inside.world_mm.box == pytest.approx(voxel_to_world_bounds(inside.voxel.box, volume.geometry))
    # The voxel that holds the point in the file is the one that the picture shows there.
    i, j, k = (int(v) for v in inside.voxel.points[0])
    x, y, _ = (int(v) for v in inside.canonical.points[0])
    stored = volume.pixels[tuple(slice(None, None, -1 if f else 1) for f in reversed(flips))]
    stored = stored.transpose(*(tuple(2 - a for a in reversed(order)).index(a) for a in range(3)))
    assert stored[k, j, i] == picture(volume, 3).pixels[y, x]


@pytest.mark.parametrize(
    ("box", "usable"),
    [
        ("[7,14,21,42]", True),
        ("[21,14,7,42]", False),
        ("[7,14,7,42]", False),
        ("[28,14,40,42]", False),
        ("[-9,-9,0,0]", False),
        ("[-9,-9,99,99]", True),
        ("[1,2,3]", False),
    ],
)
def test_only_boxes_that_show_something_count(box, usable):
    text = ANSWER.replace("[7,14,21,42]", box)
    assert (target(pointing(text), flat()).model.box is not None) is usable
    assert len(masks_of(pointing(text), flat(), Recorder())) == int(usable)


def test_points_outside_are_left_out():
    text = ANSWER.replace("[10,20.25]", "[28.5,20]").replace("[14,35.25]", "[28,0]")
    found = target(pointing(text), flat())
    assert found.model.points == ((28, 0),)
    assert found.canonical.points == (pytest.approx((84, 1)),)  # held at the border


def test_an_answer_becomes_a_prompt():
    expert = Recorder()
    marked = masks_of(pointing(), flat(), expert)
    assert [(m.look, m.label) for m in marked] == [(0, "answer")]
    assert marked[0].prompt == Prompt(Box2D(21, 28, 63, 84), ((31.5, 41.5), (43.5, 71.5)))
    assert marked[0].segmentation.mask.shape == (112, 84)
    marked = masks_of(pointing(), deep(), expert, slice=4, propagate=True)
    assert marked[0].prompt == Prompt(Box2D(21, 28, 63, 84), ((31.5, 41.5), (43.5, 71.5)), 4, True)
    assert marked[0].segmentation.mask.shape == (10, 112, 84)


def look(box, slices, label):
    crops = tuple(Crop(box, z, np.zeros((4, 4), np.uint8)) for z in slices)
    return LookStep("", tuple(float(v) for v in box), slices=tuple(slices), crops=crops, executed=bool(crops), label=label)


def test_looks_become_prompts_in_one_call():
    looks = (look((0, 0, 14, 14), (0,), "one"), look((1, 1, 2, 2), (), "not shown"), look((14, 28, 28, 56), (0,), "two"))
    expert = Recorder()
    marked = masks_of(pointing("", looks=looks), flat(), expert)
    assert [(m.look, m.label, m.segmentation.score) for m in marked] == [(1, "one", 0.0), (3, "two", 0.1)]
    assert [p.box for p in expert.calls[0]] == [Box2D(0, 0, 42, 28), Box2D(42, 56, 84, 112)]
    assert len(expert.calls) == 1


def test_looks_at_a_volume_are_cuboids():
    trace = pointing("", frame=Frame(28, 56, 5, "volume"), looks=(look((0, 0, 14, 14), (1, 2), "liver"),))
    (marked,) = masks_of(trace, deep(), Recorder())
    assert marked.prompt == Prompt(Box3D(0, 0, 2, 42, 28, 6))


def test_a_trace_that_points_nowhere():
    expert = Recorder()
    assert masks_of(pointing("nothing"), flat(), expert) == []
    assert expert.calls == []
    assert target(pointing("nothing"), flat()).canonical.points == ()


@pytest.mark.parametrize(("case", "where"), [(flat(), 0), (deep(), None), (deep(), 10), (deep(), -1)])
def test_slices_must_fit(case, where):
    with pytest.raises(FormatError):
        target(pointing(), case, slice=where)
    with pytest.raises(FormatError):
        masks_of(pointing(), case, Recorder(), slice=where)


def test_volume_traces_have_no_answer_in_a_picture():
    trace = replace(pointing(), frame=Frame(28, 56, 5, "volume"))
    with pytest.raises(FormatError):
        target(trace, deep(), slice=1)
    assert target(trace, deep()).model.box is None  # a rectangle is no place in a volume
    with pytest.raises(FormatError, match="volume"):
        masks_of(trace, flat(), Recorder())
    with pytest.raises(FormatError, match="followed"):
        masks_of(pointing(), flat(), Recorder(), propagate=True)


def test_a_box_that_leaves_the_picture_is_outlined_inside_it():
    found = target(pointing(ANSWER.replace("[7,14,21,42]", "[-9,14,99,42]")), flat())
    assert found.model.box == (-9, 14, 99, 42)  # as written
    assert found.canonical.box == pytest.approx((0, 28, 84, 84))
    assert found.voxel.box == pytest.approx((0, 28, 84, 84))


def test_a_draft_in_the_reasoning_is_no_place():
    draft = ANSWER.replace("</think>", "").replace("</answer>", "</answer></think>")
    assert target(pointing(draft), flat()).model.box is None
    assert masks_of(pointing(draft), flat(), Recorder()) == []
    fenced = ANSWER.replace("<answer>", "<answer>```json\n").replace("</answer>", "\n```</answer>")
    assert target(pointing(fenced), flat()).model.box == (7, 14, 21, 42)
