"""The way from a recording through `lerobot-train` to the arm. (`test_lerobot_rollout.py` has LeRobot's runner.)

One small ACT is trained for a few steps: it need not be good, it has to be LeRobot's own.
"""

from pathlib import Path

import pytest

from lerobot_tools import run_lerobot
from so101_eval.cli import DEMOS
from so101_robot.cli import RUN
from so101_robot.runs.log import read_ticks

REPO_ID = "local/mock_demo"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journey")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """What `lerobot-train` makes of an episode of the expert."""
    asked = ["--task=palletize-1", "--episodes=1", "--num_workers=1", f"--output_dir={folder / 'dataset'}"]
    assert DEMOS.main(asked) == 0
    train = folder / "train"
    run_lerobot(
        [
            "lerobot-train",
            f"--dataset.repo_id={REPO_ID}",
            f"--dataset.root={folder / 'dataset'}",
            "--policy.type=act",
            "--policy.device=cpu",
            "--policy.push_to_hub=false",
            "--policy.pretrained_backbone_weights=null",
            "--policy.dim_model=64",
            "--policy.dim_feedforward=128",
            "--policy.n_heads=4",
            "--policy.n_encoder_layers=1",
            "--policy.use_vae=false",
            "--policy.chunk_size=30",
            "--policy.n_action_steps=15",
            f"--output_dir={train}",
            "--steps=4",
            "--batch_size=4",
            "--num_workers=0",
            "--save_freq=4",
            "--wandb.enable=false",
        ],
        folder,
    )
    return train / "checkpoints" / "last" / "pretrained_model"


def test_a_checkpoint_of_lerobot_train_drives_the_mock_arm_through_so101_run(
    checkpoint: Path, folder: Path
) -> None:
    out = folder / "run"
    mock = ["--robot.port=mock", "--robot.mock.realtime_factor=0", "--duration_s=3", "--dashboard=off"]
    assert RUN.main([f"--policy.path={checkpoint}", *mock, f"--output_dir={out}"]) == 0
    ticks = [tick for tick in read_ticks(out / "ticks.jsonl") if tick.get("phase") == "run"]
    assert len(ticks) >= 85
    shares = [tick["inference"]["shares"] for tick in ticks if tick.get("inference")]
    assert len(shares) >= 4
    for share in shares:
        total = share["latent"] + share["state"] + share["vision"]
        assert total == pytest.approx(1.0, abs=1e-3)
        assert share["vision"] == pytest.approx(sum(share["cameras"].values()), abs=1e-3)
    assert all(tick["guard"] for tick in ticks)
