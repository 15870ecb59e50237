"""so101-teleop as a whole, in lockstep: a scripted hand leads, the follower follows, demonstrations are kept."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from so101_calibration.cli import CALIBRATE
from so101_eval.cli import DATA
from so101_policy.command_line.command_shell import Command
from so101_robot.cli import REPLAY, TELEOP
from so101_robot.commands.flags import normalised, parse_as
from so101_robot.commands.teleop import teleoperate
from so101_robot.commands.teleop_config import TeleopConfig
from so101_robot.leader import grip
from so101_robot.leader.leader import Leader
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.motion.soft_start import SOFT_SPEED
from so101_robot.preflight.findings import PreflightError
from so101_robot.runs.log import read_ticks

pytestmark = pytest.mark.timeout(600)

MOCKS = [
    "--robot.port=mock",
    "--teleop.port=mock",
    "--robot.mock.realtime_factor=0",
    "--dashboard=off",
    "--clip=false",
]
SMALL = ["--robot.mock.width=32", "--robot.mock.height=32"]

HAND = """
poses:
  - {at_s: 1.0, shoulder_pan: 30, shoulder_lift: -75, elbow_flex: 50, wrist_flex: 60, gripper: 40}
  - {at_s: 2.5, shoulder_pan: -20}
  - {at_s: 4.0, shoulder_pan: 30, elbow_flex: 60}
"""


def ticks_of(folder: Path) -> list[dict[str, Any]]:
    return [tick for tick in read_ticks(folder / "ticks.jsonl") if "tick" in tick]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes by the clock, as on a service without a terminal, with the names of lerobot-record."""
    folder = tmp_path_factory.mktemp("teleop")
    (folder / "hand.yaml").write_text(HAND)
    asked = [
        *MOCKS, *SMALL, "--robot.type=so101_follower", "--teleop.type=so101_leader",
        f"--teleop.mock.hand={folder / 'hand.yaml'}", f"--output_dir={folder / 'run'}",
        "--dataset.repo_id=me/two", f"--dataset.root={folder / 'set'}", "--dataset.single_task=wave",
        "--dataset.num_episodes=2", "--dataset.episode_time_s=2", "--dataset.reset_time_s=0.2", "--record.success=yes",
        "--record.disturb=0.5",
    ]  # fmt: skip
    assert TELEOP.main(asked) == 0
    return folder


def test_the_follower_is_led_slowly_to_the_leader_then_follows_and_the_summary_has_the_delay(
    recorded: Path,
) -> None:
    ticks = ticks_of(recorded / "run")
    driven = [tick for tick in ticks if tick["phase"] == "run"]
    sent = np.array([tick["sent"] for tick in driven])
    step = np.abs(np.diff(sent, axis=0)).max(axis=1)
    assert step[:20].max() <= SOFT_SPEED / 30 + 0.2, "a ramp, whatever the leader does meanwhile"
    assert sent[:, 0].max() > 25
    assert sent[:, 0].min() < -10
    summary = json.loads((recorded / "run" / "summary.json").read_text())
    assert 20 < summary["leader"]["to_joints_ms"] < 250
    assert 1.0 < summary["leader"]["to_servos_ms"]["p50"] < 5.0, "the wires' time: six reads and one write"
    assert summary["leader"]["missed_reads"] == 0
    assert ticks[-1]["phase"] == "home"
    assert summary["record"] == {
        "dataset": str(recorded / "set"),
        "episodes": 2,
        "thrown_away": 0,
        "dropped_ticks": 0,
        "disturbed": [1],
    }


def test_the_demonstrations_are_a_dataset_that_the_check_passes_and_nothing_else_is_left(
    recorded: Path,
) -> None:
    assert DATA.main(["check", str(recorded / "set")]) == 0
    dataset = LeRobotDataset("me/two", root=recorded / "set")
    assert (dataset.num_episodes, dataset.fps) == (2, 30)
    assert dataset.num_frames == pytest.approx(2 * 60, abs=4)
    ends = [int(end) - 1 for end in dataset.meta.episodes["dataset_to_index"]]
    success = [bool(dataset[i]["next.success"]) for i in range(dataset.num_frames)]
    assert np.flatnonzero(success).tolist() == ends
    assert dataset[0]["task"] == "wave"
    assert sorted(path.name for path in recorded.iterdir()) == ["hand.yaml", "run", "set"]


def test_in_a_disturbed_episode_the_follower_is_off_and_what_the_leader_asked_for_is_recorded(
    recorded: Path,
) -> None:
    ticks = ticks_of(recorded / "run")
    assert "in 50 % of the episodes the follower WOBBLES on purpose" in str(ticks[0]["messages"])
    assert "episode 2 of 2 is being recorded; DISTURBED" in str([t.get("messages") for t in ticks])
    off = [tick for tick in ticks if "wanted" in tick]
    assert len(off) > 20
    wanted, sent = (np.array([tick[key] for tick in off]) for key in ("wanted", "sent"))
    assert 1.0 < np.abs(wanted - sent).max() < 9.0
    dataset = LeRobotDataset("me/two", root=recorded / "set")
    action = np.array([dataset[i]["action"].numpy() for i in range(60, dataset.num_frames)])
    distance = np.abs(action[:, None] - wanted[None]).max(axis=2).min(axis=0)
    assert (distance < 0.01).mean() > 0.8, (
        "of the ticks off the way, those of the episode have the way back as action"
    )


@pytest.mark.slow
def test_a_run_of_a_leader_is_played_again_by_so101_replay(recorded: Path, tmp_path: Path) -> None:
    asked = [
        "--robot.mock.realtime_factor=0",
        "--dashboard=off",
        "--ending.home=false",
        f"--output_dir={tmp_path / 'again'}",
    ]
    assert REPLAY.main([str(recorded / "run"), *asked]) == 0


def test_a_leader_that_is_lost_makes_the_arm_hold_and_then_go_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grip, "PRESSES", 0.0)  # so that jaws that hold nothing press, too
    monkeypatch.setattr(grip, "STANDS_STEPS_S", 1e9)
    monkeypatch.setattr(grip, "RESTS", 0.0)
    flags = [*MOCKS, "--fps=30", "--duration_s=20", f"--output_dir={tmp_path / 'run'}"]
    config = parse_as(TeleopConfig, normalised(flags))
    arm = MockArm(MockConfig(camera_fps=1, realtime_factor=0), leader=True)
    arm.add_fault({"fault": "unplug", "at_s": 2.0})
    arm.servos.set(1, "Torque_Enable", 1)  # as another program may have left it
    assert teleoperate(config, flags, leader=Leader(config.teleop, arm)) == 1
    assert "so101-teleop: the leader: " in capsys.readouterr().err
    ticks = ticks_of(tmp_path / "run")
    held = [tick for tick in ticks if tick["mode"] == "holding"]
    assert held[0]["t"] == pytest.approx(2.1, abs=0.3)
    assert held[-1]["t"] - held[0]["t"] == pytest.approx(5.0, abs=0.2)
    assert all(tick["sent"] is None for tick in held)
    assert held[0]["faults"].keys() == {"leader silent"}
    assert ticks[-1]["phase"] == "home"
    assert [arm.servos.get(index, "Torque_Enable") for index in range(6)] == [0] * 6, "a hand has to move it"
    assert "the leader was under torque and was let go: shoulder_lift" in str(ticks[0]["messages"])
    assert "% of the gripper's motor" in str([tick.get("messages") for tick in ticks])


def test_a_leader_at_the_wrong_supply_stops_the_run_before_anything_moves(tmp_path: Path) -> None:
    flags = [*MOCKS, "--duration_s=0.1", f"--output_dir={tmp_path / 'run'}"]
    config = parse_as(TeleopConfig, normalised(flags))
    arm = MockArm(MockConfig(camera_fps=1, realtime_factor=0), leader=True)
    arm.servos.set(3, "Max_Voltage_Limit", 80)  # a 7.4 V servo, at 12 V
    with pytest.raises(PreflightError, match="leader's supply, servo 4"):
        teleoperate(config, flags, leader=Leader(config.teleop, arm))
    assert not (tmp_path / "run" / "ticks.jsonl").exists()


def test_what_cannot_be_is_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--output_dir={tmp_path / 'run'}"
    record = [*MOCKS, out, "--record.repo_id=me/set", f"--record.root={tmp_path / 'set'}"]
    cases = {
        ("--robot.port=/dev/no-such-arm", "--robot.id=a", out): "--teleop.port is missing",
        ("--robot.port=mock", "--teleop.port=/dev/no-such", "--teleop.id=x", out): "both are mock or none is",
        ("--robot.port=/dev/no-such-arm", "--teleop.port=/dev/no-such", out): "--teleop.id is missing",
        ("--robot.port=/dev/no-such-arm", "--teleop.port=/dev/no-such", "--teleop.id=x", out): "/dev/no-such",
        (*MOCKS, "--teleop.type=koch_leader", out): "expected one of so101_leader",
        (*record,): "give --record.reset_time_s",
        (*record, "--record.reset_time_s=1", "--record.success=ask"): "needs a terminal",
        (*record, "--record.reset_time_s=1", "--resume=true"): "there is no dataset to resume",
        (*record, "--record.reset_time_s=1", "--record.success=perhaps"): "expected one of auto, ask",
        (*record, "--record.disturb=2"): "--record.disturb=2: expected 0 to 1",
        (*MOCKS, "--record.random_start=true"): "is for demonstrations; give --record.repo_id",
        (*record, "--dataset.push_to_hub=false"): "nothing is uploaded",
        (*MOCKS, "--teleop.mock.hand=/no/such.yaml", out): "--hand=/no/such.yaml",
    }
    for arguments, words in cases.items():
        assert TELEOP.main(list(arguments)) == 2, arguments
        said = capsys.readouterr().err
        assert words in said, said
        assert said.count("so101-teleop: ") == 1
    assert list(tmp_path.iterdir()) == []


# the page -----

PAGE = Path(__file__).parents[2] / "docs" / "leader_and_recording.md"
OF_THE_PAGE = {command.name: command for command in (TELEOP, CALIBRATE, DATA)}


def on_the_page() -> list[list[str]]:
    """The commands of docs/leader_and_recording.md, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def chosen(words: list[str]) -> tuple[Command, list[str]]:
    """The command, or its part, and its arguments."""
    command = OF_THE_PAGE[words[0]]
    part = command.chosen(words[1:])
    assert part is not None
    return part, words[2:] if command.parts else words[1:]


def test_every_flag_on_the_page_exists_and_every_name_of_lerobots_is_taken() -> None:
    commands = on_the_page()
    assert len(commands) >= 8
    for words in commands:
        command, arguments = chosen(words)
        command.check_flags([argument for argument in arguments if argument.startswith("-")])
    table = PAGE.read_text().partition("| `lerobot-record` | here |")[2].partition("\n\n")[0]
    theirs, ours = [], []
    for row in table.splitlines()[2:]:
        left, right = row.strip("| ").split(" | ")
        theirs += re.findall(r"`(--\S+)`", left)
        ours += re.findall(r"`(--\S+)`", right)
    assert [TELEOP.other_names[flag] for flag in theirs] == ours
    assert len(theirs) == 8


@pytest.mark.slow
def test_the_page_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    followed = 0
    for words in on_the_page():
        if any(word.startswith("/dev/") for word in re.split("[= ]", " ".join(words))):
            continue
        quick = (
            [*SMALL, "--robot.mock.realtime_factor=0", "--dashboard=off"]
            if words[0] == "so101-teleop"
            else []
        )
        assert OF_THE_PAGE[words[0]].main([*words[1:], *quick]) == 0, words
        followed += 1
    assert followed >= 5
    assert "ms to the joints" in capsys.readouterr().out
    assert LeRobotDataset("me/wave", root=tmp_path / "wave").num_episodes == 3
