from __future__ import annotations

import json

from PIL import Image

from unireason.evaluate.curves import write_curves


def test_curves_are_drawn_and_a_repeated_step_counts_once(tmp_path):
    rows = [{"stage": "tower", "step": i, "foreground": i / 40, "lesion": 0.1, "place": 1.0} for i in range(40)]
    rows += [{"stage": "language", "step": i, "loss": 1.0, "tokens_right": 0.5} for i in (1, 2, 2, 3)]
    rows += [{"stage": "together", "step": 1, "loss": 0.5, "tokens_right": 0.9}]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(r) + "\n" for r in rows))
    picture = Image.open(write_curves(log, tmp_path / "c.png"))
    assert picture.size == (1320, 352)
    assert len(set(picture.convert("L").resize((60, 30)).get_flattened_data())) > 10
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["c.png", "log.jsonl"]
