"""The commands that read datasets ask for the look: each one stops on what is wrong, and acts on what is doubtful."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from so101_dataset import DATA, FRAMES, TABLE, edit_json, edit_table, motion, set_joint
from so101_policy.cli import RELIANCE, TRAIN
from so101_policy.errors import DatasetError
from so101_policy.frames.dataset import open_checked
from tiny_training import policy_flags

NORMALIZER = "policy_preprocessor_step_3_normalizer_processor.safetensors"

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _frame_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SO101_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.fsync", lambda _: None)


def flags(root: Path, out: Path, *more: str) -> list[str]:
    given = ["--dataset.repo_id=local/small", f"--dataset.root={root}", f"--output_dir={out}", "--held_out=0"]
    given += policy_flags()
    return [*given, "--steps=1", "--batch_size=4", "--trackers=none", *more]


def scaled_by(out: Path) -> dict[str, Any]:
    return load_file(out / "checkpoints/last/pretrained_model" / NORMALIZER)


def damage_value(root: Path) -> None:
    set_joint(root, "action", {(14, 2): np.nan})


def damage_file(root: Path) -> None:
    (root / DATA).write_bytes((root / DATA).read_bytes()[:500])


def damage_video(root: Path) -> None:
    (root / "videos/observation.images.wrist/chunk-000/file-000.mp4").unlink()


def damage_border(root: Path) -> None:
    edit_table(root, TABLE, lambda c: c["videos/observation.images.front/from_timestamp"].__setitem__(1, 1.1))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_value, "episode 1, frame 2, action elbow_flex.pos: nan"),
        (damage_file, DATA),
        (damage_video, "videos/observation.images.wrist/chunk-000/file-000.mp4 is missing"),
        (damage_border, "episode 1: it begins at 1.1 s"),
    ],
)
def test_what_is_wrong_stops_so101_train_and_so101_reliance(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, told: str
):
    damage(copy)
    out = tmp_path / "run"
    assert TRAIN.main(flags(copy, out)) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("so101-train:") == 1
    assert TRAIN.main([*flags(copy, out), f"--shifted.root={copy}"]) == 2
    assert not out.exists()
    capsys.readouterr()
    asked = ["--policy.path=nowhere", f"--dataset.root={copy}", f"--output_dir={out}"]
    assert RELIANCE.main(asked) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("so101-reliance:") == 1
    assert not out.exists()


def test_what_is_wrong_in_the_shifted_dataset_stops_so101_train(
    valid: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage_value(copy)
    assert TRAIN.main([*flags(valid, tmp_path / "run"), f"--shifted.root={copy}"]) == 2
    assert "elbow_flex.pos: nan" in capsys.readouterr().err


def test_so101_reliance_asks_values_of_the_episodes_that_it_probes(
    copy: Path, capsys: pytest.CaptureFixture[str]
):
    damage_value(copy)
    asked = ["--policy.path=nowhere", f"--dataset.root={copy}", "--episodes=0,2"]
    assert RELIANCE.main(asked) == 2
    assert "there is no checkpoint" in capsys.readouterr().err


def test_statistics_in_the_checkpoint_are_those_of_the_episodes_that_were_trained_on(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    set_joint(copy, "action", {(35, 0): 1e5})
    set_joint(copy, "observation.state", {(24, 0): 170.0})  # the start of the episode that is left out
    assert TRAIN.main(flags(copy, tmp_path / "run", "--dataset.episodes=[0,1]")) == 0
    rows = np.vstack([motion(e, FRAMES + 1)[1:] for e in (0, 1)])
    np.testing.assert_allclose(scaled_by(tmp_path / "run")["action.std"], rows.std(axis=0), rtol=1e-4)
    config = json.loads((tmp_path / "run/checkpoints/last/pretrained_model/config.json").read_text())
    starts = np.median([motion(e)[0] for e in (0, 1)], axis=0)
    np.testing.assert_allclose(config["start_pose"], starts, atol=1e-2)


def test_held_out_episodes_are_not_in_the_statistics(valid: Path, tmp_path: Path):
    assert TRAIN.main(flags(valid, tmp_path / "run", "--held_out=0.34", "--eval_steps=0")) == 0
    rows = motion(0, FRAMES + 1)[1:]
    np.testing.assert_allclose(scaled_by(tmp_path / "run")["action.std"], rows.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize("what", ["missing", "without the action", "in radians"])
def test_statistics_that_are_wrong_are_computed_from_the_columns_and_that_is_said(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
):
    stats = "meta/stats.json"
    if what == "missing":
        (copy / stats).unlink()
    elif what == "without the action":
        edit_json(copy, stats, lambda data: data.pop("action"))
    else:
        edit_json(copy, stats, lambda data: data["action"].__setitem__("std", [0.2] * 6))
    assert TRAIN.main(flags(copy, tmp_path / "run")) == 0
    assert "so101-train computes them from the columns" in capsys.readouterr().err
    rows = np.vstack([motion(e, FRAMES + 1)[1:] for e in range(3)])
    np.testing.assert_allclose(scaled_by(tmp_path / "run")["action.std"], rows.std(axis=0), rtol=1e-4)


def test_a_joint_that_stands_still_is_scaled_by_a_degree_and_that_is_said(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def still(columns: dict[str, Any]) -> None:
        for key in ("action", "observation.state"):
            columns[key] = [[*row[:4], 3.0, row[5]] for row in columns[key]]

    edit_table(copy, DATA, still)
    (copy / "meta/stats.json").unlink()
    assert TRAIN.main(flags(copy, tmp_path / "run")) == 0
    said = capsys.readouterr().err
    assert said.count("standard deviation of wrist_roll.pos 0") == 2
    assert scaled_by(tmp_path / "run")["observation.state.std"][4] == 1.0


def test_the_tolerance_of_so101_train_is_taken(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rng = np.random.default_rng(0)

    def jitter(columns: dict[str, Any]) -> None:
        late_s = rng.uniform(0, 0.02, len(columns["timestamp"]))
        columns["timestamp"] = (np.array(columns["timestamp"]) + late_s).tolist()

    edit_table(copy, DATA, jitter)
    assert TRAIN.main(flags(copy, tmp_path / "run")) == 2
    assert "accept it with --tolerance_s=0.02" in capsys.readouterr().err
    assert TRAIN.main(flags(copy, tmp_path / "run", "--tolerance_s=0.05")) == 0
    asked = ["--policy.path=nowhere", f"--dataset.root={copy}"]
    assert RELIANCE.main(asked) == 2
    assert "--tolerance_s" in capsys.readouterr().err
    assert RELIANCE.main([*asked, "--tolerance_s=0.05"]) == 2
    assert "there is no checkpoint" in capsys.readouterr().err


def test_frames_are_decoded_anew_for_a_dataset_that_was_repaired(copy: Path, tmp_path: Path, valid: Path):
    damage_video(copy)
    assert TRAIN.main(flags(copy, tmp_path / "run")) == 2
    name = "videos/observation.images.wrist/chunk-000/file-000.mp4"
    shutil.copy(valid / name, copy / name)
    assert TRAIN.main(flags(copy, tmp_path / "run")) == 0


def test_what_was_fetched_from_the_hub_is_looked_at_as_well(copy: Path, monkeypatch: pytest.MonkeyPatch):
    damage_value(copy)
    monkeypatch.setattr(
        "so101_policy.frames.dataset.open_dataset", lambda *_, **__: SimpleNamespace(root=copy)
    )
    with pytest.raises(DatasetError, match=r"elbow_flex\.pos: nan"):
        open_checked("me/small")
    open_checked("me/small", used=[0, 2])
