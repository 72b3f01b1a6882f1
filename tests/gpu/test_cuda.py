"""What needs an accelerator: run with ``pytest -m gpu``."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

import unireason  # noqa: E402
from unireason.data.sources.phantom import generate  # noqa: E402
from unireason.evaluate.examination import examine  # noqa: E402
from unireason.evaluate.heldout import make_exam  # noqa: E402

OPTIONS = ("left anterior", "right anterior", "left posterior", "right posterior")


def test_cuda_gives_the_same_tokens_as_cpu_in_fp32():
    case = generate(1, 0).case()
    found = [
        unireason.load("phantom", device=device, dtype="fp32").ask(case, "Where does the liver lie?", options=OPTIONS)
        for device in ("cpu", "cuda")
    ]
    assert found[0].tokens.response == found[1].tokens.response


def test_bf16_on_cuda_still_answers(tmp_path):
    exam = make_exam(1, 60, tmp_path / "exam")
    model = unireason.load("phantom", device="cuda", dtype="bf16")
    scores = examine(model, exam, tmp_path / "run", count=60, kind="volume").scores
    assert scores["accuracy"] > 0.6
    assert scores["crop_rate"] > 0.9
