"""so101-train of what is no ACT: LeRobot's trainer gets the flags, or one sentence says why not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from any_policies import PX, SMALL
from checkpoints import POSE
from so101_policy import load_policy
from so101_policy.cli import TRAIN
from so101_policy.errors import TrainError
from so101_policy.train.delegated import TRAINER, lerobots_command
from tiny_training import JOINTS


def test_the_flags_go_to_lerobots_trainer_as_they_were_typed(monkeypatch: pytest.MonkeyPatch):
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr("so101_policy.train.command.subprocess.run", run)
    assert TRAIN.main(["--policy.type=vqbet", "--dataset.root", "data/boxes", "--steps=5"]) == 7
    (command,) = ran
    assert command[:3] == [sys.executable, "-m", TRAINER]
    wanted = {"--policy.type=vqbet", "--dataset.root=data/boxes", "--steps=5", "--policy.push_to_hub=false"}
    assert set(command[3:]) == wanted | {"--dataset.repo_id=local/boxes"}


def test_an_act_is_trained_here():
    for kind in ("--policy.type=act", "--policy.type=regularized_act", "--steps=3", "--policy.type=magic"):
        assert lerobots_command([kind]) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--policy.type=vqbet", "--recipe=cameras"], "--recipe is of so101-train's own trainer"),
        (["--policy.type=vqbet", "--regularizer.isolation=true"], "--regularizer.isolation is of"),
        (["--policy.type=groot"], "trust_remote_code"),
        (["--policy.type=smolvla"], "pip install 'lerobot[smolvla]'"),
    ],
)
def test_what_lerobots_trainer_cannot_do_is_one_sentence(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("so101_policy.checkpoint.types.find_spec", lambda name: None)
    with pytest.raises(TrainError) as caught:
        lerobots_command(flags)
    assert message in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vqbet", "diffusion"])
def test_what_it_trains_is_played(tmp_path: Path, kind: str):
    """Two steps; the rate is found in the dataset that the checkpoint names."""
    if kind == "diffusion":
        pytest.importorskip(
            "diffusers", reason="LeRobot's extra diffusion is not installed: make test-policies"
        )
    recorded = record(tmp_path / "boxes")
    settings = {name: value for name, value in SMALL[kind].items() if value is not None}
    policy = [f"--policy.{name}={as_flag(value)}" for name, value in settings.items()]
    words = [
        f"--policy.type={kind}",
        "--policy.device=cpu",
        "--policy.pretrained_backbone_weights=null",
        *policy,
    ]
    words += [f"--dataset.root={recorded}", f"--output_dir={tmp_path / 'out'}", "--steps=2", "--batch_size=2"]
    assert TRAIN.main([*words, "--num_workers=0", "--save_freq=2"]) == 0
    trained = load_policy(tmp_path / "out")
    assert (trained.type, trained.fps) == (kind, 10)
    picture = np.zeros((PX, PX, 3), np.uint8)
    assert np.isfinite(trained.predict(np.array(POSE), {"front": picture}).actions).all()


def as_flag(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def record(root: Path) -> Path:
    """Two episodes with one camera, which is all that a VQ-BeT takes."""
    rng = np.random.default_rng(0)
    numbers = {"dtype": "float32", "shape": (6,), "names": list(JOINTS)}
    image = {"dtype": "image", "shape": (PX, PX, 3), "names": ["height", "width", "channels"]}
    features: dict[str, Any] = {
        "observation.state": numbers,
        "action": numbers,
        "observation.images.front": image,
    }
    made: Any = LeRobotDataset.create("local/boxes", 10, features, root=root, use_videos=False)
    for _ in range(2):
        for _ in range(24):
            joints = (np.array(POSE) + rng.normal(0, 5, 6)).astype(np.float32)
            picture = rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)
            made.add_frame(
                {
                    "observation.state": joints,
                    "action": joints,
                    "observation.images.front": picture,
                    "task": "wave",
                }
            )
        made.save_episode()
    made.finalize()
    return root
