"""LeRobot's own runner drives the mock arm, in real time, with an ACT in LeRobot's format."""

from pathlib import Path

import pytest

from checkpoints import untrained
from lerobot_tools import run_lerobot
from so101_robot.mock.serve.mock_process import MockProcess

SIZE = 96

pytestmark = pytest.mark.timeout(600)


def test_lerobot_rollout_drives_the_mock_arm_through_the_pseudo_terminal(
    tmp_path: Path,
) -> None:
    checkpoint = untrained(tmp_path / "act", px=SIZE)
    camera = f"type: zmq, server_address: 127.0.0.1, width: {SIZE}, height: {SIZE}, fps: 30"
    with MockProcess(width=SIZE, height=SIZE) as mock:
        cameras = ", ".join(
            f"{name}: {{{camera}, port: {mock.zmq_port}, camera_name: {name}}}" for name in ("front", "wrist")
        )
        before = mock.call("transactions")
        run_lerobot(
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
            tmp_path,
        )
        assert mock.call("transactions") - before > 150
