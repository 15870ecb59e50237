"""so101-data background: a checkpoint without backgrounds gets them from its dataset."""

from pathlib import Path

import numpy as np
import pytest

from so101_dataset import record
from so101_eval.cli import DATA
from so101_eval.commands import background
from so101_policy.command_line.command_shell import FAILED, OK, WRONG_INPUT
from so101_policy.registration.files import name_of, read_background


def test_cameras_that_stand_are_kept_and_the_others_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = record(tmp_path / "data")
    out = tmp_path / "checkpoint"
    words = ["background", str(root), f"--output_dir={out}"]
    assert DATA.main(words) == FAILED, "its pictures are noise"
    said = capsys.readouterr().out
    assert "front: none, only 0 % of the picture stays the same" in said
    assert not out.exists()
    spread = background.spread_frames

    def still_front(*arguments: object) -> dict[str, list[np.ndarray]]:
        frames = spread(*arguments)  # type: ignore[arg-type]
        first = frames["observation.images.front"][0]
        return frames | {"observation.images.front": [first] * 8}

    monkeypatch.setattr(background, "spread_frames", still_front)
    assert DATA.main(words) == OK
    assert "100% stays the same" in capsys.readouterr().out
    assert read_background(out / name_of("front")).size_px == (48, 32)
    assert not (out / name_of("wrist")).exists()


def test_mistakes_get_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert DATA.main(["background", str(tmp_path / "none"), "--output_dir=x"]) == WRONG_INPUT
    assert "a dataset on the hub is written USER/NAME" in capsys.readouterr().err
