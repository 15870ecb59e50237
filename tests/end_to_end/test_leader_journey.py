"""Follower and leader at pseudo-terminals, in real time: LeRobot's own commands, and so101-teleop that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_tools import BIN, run_lerobot
from so101_eval.cli import DATA
from so101_robot.joints import JOINTS
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.runs.whole_dataset import next_of

SIZE = 64

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MockProcess, MockProcess]]:
    """Two mocks side by side, the second in a scripted hand."""
    link = tmp_path_factory.mktemp("ports") / "leader"
    with MockProcess(width=SIZE, height=SIZE) as follower, MockProcess(leader=True, port_link=link) as leader:
        yield follower, leader


def flags_of(arms: tuple[MockProcess, MockProcess]) -> list[str]:
    """Both arms and the cameras, for LeRobot's commands and ours."""
    follower, leader = arms
    camera = f"type: zmq, server_address: 127.0.0.1, width: {SIZE}, height: {SIZE}, fps: 30, port: {follower.zmq_port}"
    cameras = ", ".join(f"{name}: {{{camera}, camera_name: {name}}}" for name in ("front", "wrist"))
    return [
        "--robot.type=so101_follower",
        f"--robot.port={follower.port}",
        f"--robot.id={follower.robot_id}",
        f"--robot.calibration_dir={follower.calibration_dir}",
        f"--robot.cameras={{{cameras}}}",
        "--teleop.type=so101_leader",
        f"--teleop.port={leader.port}",
        f"--teleop.id={leader.robot_id}",
        f"--teleop.calibration_dir={leader.calibration_dir}",
    ]


def torque(arm: MockProcess) -> list[int]:
    return [arm.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS]


def test_lerobot_teleoperate_moves_one_mock_by_the_other(
    arms: tuple[MockProcess, MockProcess], tmp_path: Path
) -> None:
    before = arms[0].call("joints")
    run_lerobot(["lerobot-teleoperate", *flags_of(arms), "--fps=30", "--teleop_time_s=5"], tmp_path)
    after = arms[0].call("joints")
    assert max(abs(after[joint] - before[joint]) for joint in JOINTS) > 0.3
    assert torque(arms[1]) == [0] * 6


def test_lerobot_record_makes_a_dataset_that_the_check_passes(
    arms: tuple[MockProcess, MockProcess], tmp_path: Path
) -> None:
    asked = [
        "lerobot-record", *flags_of(arms), "--dataset.repo_id=me/theirs", f"--dataset.root={tmp_path / 'theirs'}",
        "--dataset.single_task=wave", "--dataset.num_episodes=2", "--dataset.episode_time_s=4",
        "--dataset.reset_time_s=1", "--dataset.fps=15", "--dataset.push_to_hub=false", "--play_sounds=false",
    ]  # fmt: skip
    run_lerobot(asked, tmp_path)
    assert LeRobotDataset("me/theirs", root=tmp_path / "theirs").num_episodes == 2
    assert DATA.main(["check", str(tmp_path / "theirs")]) == 0


def test_lerobot_calibrate_calibrates_the_leader_mock_whose_hand_does_what_it_asks(tmp_path: Path) -> None:
    with MockProcess(leader=True, uncalibrated=True, hand=True, seed=4, port_link=tmp_path / "leader") as arm:
        asked = [
            "--teleop.type=so101_leader", f"--teleop.port={arm.port}", "--teleop.id=mine",
            f"--teleop.calibration_dir={tmp_path}",
        ]  # fmt: skip
        program = pexpect.spawn(
            str(BIN / "lerobot-calibrate"),
            asked,
            encoding="utf-8",
            timeout=240,
            dimensions=(40, 200),
            env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        program.expect("middle of its range of motion")
        time.sleep(1.0)
        arm.wait_until_hand_rests()
        program.send("\r")
        program.expect("entire ranges of motion")
        program.expect(pexpect.TIMEOUT, timeout=2.0)
        while arm.call("hand_busy"):
            program.expect(pexpect.TIMEOUT, timeout=0.1)  # read its table, or it waits for whoever reads
        program.send("\r")
        program.expect(pexpect.EOF)
        program.close()
        assert program.exitstatus == 0, program.before
        found, truth = json.loads((tmp_path / "mine.json").read_text()), arm.call("calibration")
        for joint in JOINTS:
            assert found[joint]["range_max"] - found[joint]["range_min"] == pytest.approx(
                truth[joint]["range_max"] - truth[joint]["range_min"], abs=60
            ), joint
        assert arm.call("register", joint="shoulder_lift", name="Torque_Enable") == 0


def episodes_in(root: Path) -> int:
    info = root / "meta" / "info.json"
    return int(json.loads(info.read_text())["total_episodes"]) if info.exists() else 0


def test_so101_teleop_that_is_killed_while_it_records_has_kept_every_episode_before(
    arms: tuple[MockProcess, MockProcess], tmp_path: Path
) -> None:
    root = tmp_path / "ours"
    asked = [
        sys.executable, "-m", "so101_robot.commands.teleop", *flags_of(arms), "--dataset.repo_id=me/ours",
        f"--dataset.root={root}", "--dataset.single_task=wave", "--dataset.episode_time_s=3",
        "--dataset.reset_time_s=0.5", "--dashboard=off", "--fps=15", "--clip=false",
    ]  # fmt: skip
    program = subprocess.Popen([*asked, f"--output_dir={tmp_path / 'run'}"])
    try:
        deadline = time.monotonic() + 240
        while episodes_in(root) < 2:
            assert program.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(2.0)  # into the third
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    kept = episodes_in(root)
    assert kept >= 2
    assert DATA.main(["check", str(root)]) == 0
    assert torque(arms[1]) == [0] * 6
    more = [*asked, f"--output_dir={tmp_path / 'more'}", "--resume=true", "--dataset.num_episodes=1"]
    assert subprocess.run(more, timeout=240).returncode == 0
    assert LeRobotDataset("me/ours", root=root).num_episodes == kept + 1
    assert DATA.main(["check", str(root)]) == 0
    assert not next_of(root).exists()
    assert torque(arms[0]) == [0] * 6, "home, and let go"


def test_a_person_records_by_keys_in_a_terminal(tmp_path: Path) -> None:
    asked = [
        "-m", "so101_robot.commands.teleop", "--robot.port=mock", "--teleop.port=mock", "--robot.mock.width=32",
        "--robot.mock.height=32", "--dashboard=plain", "--clip=false", f"--output_dir={tmp_path / 'run'}",
        "--record.repo_id=me/keys", f"--record.root={tmp_path / 'keys'}", "--record.task=wave",
    ]  # fmt: skip
    program = pexpect.spawn(sys.executable, asked, encoding="utf-8", timeout=120, dimensions=(40, 200))
    program.expect("keys: n")
    program.expect("and follows it")
    program.send("n")
    program.expect("episode 1 of 50 is being recorded")
    time.sleep(1.0)
    program.send("\x1b[C")
    program.expect("did the episode succeed")
    program.send("y")
    program.expect("episode 1 of 50 is saved")
    program.send(" ")
    program.expect("episode 2 of 50 is being recorded")
    program.send("r")
    program.expect("it is recorded again")
    program.send("q")
    program.expect("1 episodes recorded, 1 thrown away")
    program.expect("so101-data check ")
    program.expect(pexpect.EOF)
    program.close()
    assert program.exitstatus == 0
    found = LeRobotDataset("me/keys", root=tmp_path / "keys")
    assert bool(found[found.num_frames - 1]["next.success"])
    assert found.num_frames >= 15
