"""The whole way with LeRobot's own tools: record on the mock arm, train with `lerobot-train`, drive with both runners.

One small ACT is trained for a few steps: it need not be good, it has to be LeRobot's own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from so101_robot.mock.serve.process import MockProcess
from so101_robot.runs.log import read_ticks

BIN = Path(sys.executable).parent
SIZE = 96
REPO_ID = "local/mock_demo"

pytestmark = pytest.mark.timeout(600)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journey")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """What `lerobot-train` makes of two short episodes."""
    run(["so101-demos", "--task=palletize-1", "--episodes=2", f"--out={folder / 'dataset'}"], folder)
    train = folder / "train"
    run(
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
    run(
        [
            "so101-run",
            f"--policy.path={checkpoint}",
            "--robot.port=mock",
            "--robot.mock.realtime_factor=0",
            "--duration_s=3",
            f"--out={out}",
        ],
        folder,
    )
    ticks = [tick for tick in read_ticks(out / "ticks.jsonl") if tick.get("phase") == "run"]
    assert len(ticks) >= 85
    shares = [tick["inference"]["shares"] for tick in ticks if tick.get("inference")]
    assert len(shares) >= 4
    for share in shares:
        total = share["latent"] + share["state"] + share["vision"]
        assert total == pytest.approx(1.0, abs=1e-3)
        assert share["vision"] == pytest.approx(sum(share["cameras"].values()), abs=1e-3)
    assert all(tick["guard"] for tick in ticks)


def test_lerobot_rollout_drives_the_mock_arm_through_the_pseudo_terminal(
    checkpoint: Path, folder: Path
) -> None:
    camera = f"type: zmq, server_address: 127.0.0.1, width: {SIZE}, height: {SIZE}, fps: 30"
    with MockProcess(width=SIZE, height=SIZE) as mock:
        cameras = ", ".join(
            f"{name}: {{{camera}, port: {mock.zmq_port}, camera_name: {name}}}" for name in ("front", "wrist")
        )
        before = mock.call("transactions")
        run(
            [
                "lerobot-rollout",
                "--strategy.type=base",
                f"--policy.path={checkpoint}",
                "--device=cpu",
                "--robot.type=so101_follower",
                f"--robot.port={mock.port}",
                "--robot.id=mock",
                f"--robot.calibration_dir={mock.calibration_dir}",
                f"--robot.cameras={{{cameras}}}",
                "--task=follow",
                "--duration=4",
                "--play_sounds=false",
            ],
            folder,
        )
        assert mock.call("transactions") - before > 150
