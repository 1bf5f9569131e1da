"""The learning curves' picture."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from longlive.storybook.curves import ROW, draw_curves


def test_every_log_that_is_there_gets_a_curve(tmp_path: Path) -> None:
    for stage in ("codec", "dmd"):
        (tmp_path / stage).mkdir()
    for file, key in (("codec/log.jsonl", "psnr"), ("dmd/log.jsonl", "critic_loss")):
        rows = [{"step": step, key: step / 10} for step in (10, 20)] + [{"step": 15, "note": 1}]
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw_curves(tmp_path, tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png"))
    assert picture.shape[0] == ROW
    drawn = (picture == (0xC2, 0x41, 0x0C)).all(-1).any(0)
    third = len(drawn) // 3
    assert drawn[:third].any() and drawn[third : 2 * third].any() and not drawn[2 * third :].any()
