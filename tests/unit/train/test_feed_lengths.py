"""Lengths without pictures are those with pictures."""

from __future__ import annotations

from datasets import built
from unireason.data.frames import FrameRule
from unireason.model.checkpoint import load
from unireason.train.cases import Cases, unit_length
from unireason.train.config import Data
from unireason.train.features import DiskCache
from unireason.train.policy import Encoder


def test_lengths_are_those_of_the_trees(tmp_path):
    encoder = Encoder.of(load("phantom", device="cpu"))
    dataset = built(tmp_path / "set", patients=3)
    rule = FrameRule.from_json(dataset.manifest["config"]["frame"])
    cases = Cases(Data((str(dataset.folder),)), rule, DiskCache(None, 0))
    kinds = set()
    for case in cases.cases("train"):
        kinds |= {case.kind, *(sample.task for sample in case.samples)}
        trees = encoder.trees(case.samples, case.frame, cases.pictures(case))
        assert unit_length(encoder, case, case.samples) == sum(tree.length for tree in trees)
        assert unit_length(encoder, case, case.samples[:1]) < unit_length(encoder, case, case.samples)
    assert kinds == {"image", "volume", "vqa", "umrg"}
