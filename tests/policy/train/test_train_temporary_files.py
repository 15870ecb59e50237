"""so101-train leaves nothing in the folder for temporary files, whichever way a run begins or ends."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from so101_policy.cli import TRAIN

Flags = Callable[..., list[str]]
Train = Callable[..., Path]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_run_from_a_checkpoint_a_resumed_one_and_a_refused_one_leave_no_temporary_files(
    tmp_path: Path, temporary: Path, train: Train, flags: Flags
):
    """LeRobot's parser writes a file for each of these, and leaves it."""
    out = train(tmp_path / "run", "--steps=1", "--save_freq=1")
    data = [flag for flag in flags(tmp_path / "more", "--steps=1") if not flag.startswith("--policy.")]
    assert TRAIN.main([*data, f"--policy.path={out}", "--policy.device=cpu"]) == 0
    assert TRAIN.main([f"--config_path={out}", "--resume=true", "--steps=2"]) == 0
    assert TRAIN.main([*data, f"--policy.path={out}", "--policy.n_action_steps=9000"]) == 2
    (settings := tmp_path / "settings.yaml").write_text(f"policy:\n  path: {out}\n")
    assert TRAIN.main([*data, f"--config_path={settings}", f"--output_dir={tmp_path / 'third'}"]) == 0
    assert list(temporary.iterdir()) == []
    assert tempfile.tempdir == str(temporary)


def test_what_a_file_of_settings_named_is_forgotten(tmp_path: Path, train: Train, flags: Flags):
    """LeRobot's parser remembers `policy.path` of a file for as long as the process lives."""
    out = train(tmp_path / "run", "--steps=1")
    (settings := tmp_path / "settings.yaml").write_text("policy:\n  path: /nowhere/at/all\n")
    data = [flag for flag in flags(tmp_path / "more", "--steps=1") if not flag.startswith("--policy.")]
    assert TRAIN.main([*data, f"--config_path={settings}"]) == 2
    assert TRAIN.main([*data, f"--policy.path={out}", f"--output_dir={tmp_path / 'third'}"]) == 0
