"""The whole way with two arms at pseudo-terminals: calibrated, led, recorded, trained, run, taken over, and again."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_tools import run_lerobot
from running import wait_for
from so101_calibration.cli import CALIBRATE
from so101_calibration.servos import command as servos
from so101_calibration.servos.line import Line
from so101_calibration.servos.simulated_person import SimulatedPerson
from so101_eval.cli import DATA
from so101_policy.cli import TRAIN
from so101_robot.cli import REPLAY, RUN, TELEOP
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.physics.hand_script import PLAY, joint_rad
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.runs.log import read_ticks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SIZE, FPS = 64, 15
"""Pixels and pictures per second: the machine may be busy."""

STOPS_AGREE = 60
"""Encoder counts between what the hand found and what is true, as for `lerobot-calibrate`."""


class FarHand:
    """The hand of a mock arm in another process, as far as a `SimulatedPerson` needs one."""

    def __init__(self, arm: MockProcess, leader: bool) -> None:
        self._arm = arm
        known = MockArm(MockConfig(realtime_factor=0, camera_fps=1), leader=leader).hand
        assert known is not None
        self.range_rad, self.middle_rad = known.range_rad, known.middle_rad

    @property
    def busy(self) -> bool:
        return bool(self._arm.call("hand_busy"))

    def move(self, targets_rad: dict[str, float], duration_s: float) -> None:
        self._arm.call("hand_move", targets_rad=targets_rad, duration_s=duration_s)

    def middle(self, duration_s: float) -> None:
        self._arm.call("hand_middle", duration_s=duration_s)

    def release(self) -> None:
        self._arm.call("hand_release")


class Person:
    """Leads the leader through poses, again and again, or waits, until asked to stop."""

    def __init__(self, arm: MockProcess) -> None:
        self._arm = arm

    @contextmanager
    def leading(self, after: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Lead meanwhile, once `after` has returned; then let go."""
        stop = threading.Event()
        thread = threading.Thread(target=self._lead, args=(stop, after))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._arm.call("hand_release")

    def _lead(self, stop: threading.Event, after: Callable[[], None]) -> None:
        after()
        while not stop.is_set():
            for pose in PLAY.poses:
                self._arm.call(
                    "hand_move",
                    targets_rad={joint: joint_rad(joint, value) for joint, value in pose.joints.items()},
                    duration_s=1.2,
                )
                while not stop.is_set() and self._arm.call("hand_busy"):
                    stop.wait(0.05)


def calibrate(arm: MockProcess, name: str, folder: Path, leader: bool, patch: pytest.MonkeyPatch) -> None:
    """By so101-calibrate, with the simulated hand doing what it says."""
    hand = cast(Hand, FarHand(arm, leader))
    with patch.context() as asked:

        def person(options: object, mock: object, line: Line) -> SimulatedPerson:
            return SimulatedPerson(hand, line.clock)

        asked.setattr(servos, "operator_for", person)
        more = ["--leader"] if leader else []
        place = [f"--robot.id={name}", f"--robot.calibration_dir={folder}"]
        assert CALIBRATE.main(["servos", f"--robot.port={arm.port}", *place, *more]) == 0
    found, truth = json.loads((folder / f"{name}.json").read_text()), arm.call("calibration")
    for joint in JOINTS:
        width, true = (each[joint]["range_max"] - each[joint]["range_min"] for each in (found, truth))
        assert width == pytest.approx(true, abs=STOPS_AGREE), (name, joint)
    assert arm.call("register", joint="shoulder_lift", name="Torque_Enable") == 0


def frames_in(root: Path, repo_id: str) -> int:
    return len(LeRobotDataset(repo_id, root=root))


def test_from_two_arms_as_from_the_factory_to_a_policy_that_was_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = {"uncalibrated": True, "width": SIZE, "height": SIZE}
    with (
        MockProcess(seed=11, **factory) as follower,
        MockProcess(seed=12, leader=True, port_link=tmp_path / "leader", **factory) as leader,
    ):
        calibrate(follower, "follower", tmp_path, False, monkeypatch)
        calibrate(leader, "leader", tmp_path, True, monkeypatch)
        follower.call("hand_release")
        camera = f"type: zmq, server_address: 127.0.0.1, port: {follower.zmq_port}, fps: 30"
        camera += f", width: {SIZE}, height: {SIZE}"
        cameras = ", ".join(f"{name}: {{{camera}, camera_name: {name}}}" for name in ("front", "wrist"))
        arm = [
            "--robot.type=so101_follower", f"--robot.port={follower.port}", "--robot.id=follower",
            f"--robot.calibration_dir={tmp_path}", f"--robot.cameras={{{cameras}}}",
        ]  # fmt: skip
        led = [
            *arm, "--teleop.type=so101_leader", f"--teleop.port={leader.port}", "--teleop.id=leader",
            f"--teleop.calibration_dir={tmp_path}",
        ]  # fmt: skip
        episodes = [
            "--dataset.single_task=wave", "--dataset.num_episodes=3", "--dataset.episode_time_s=4",
            "--dataset.reset_time_s=1",
        ]  # fmt: skip
        person = Person(leader)

        # three episodes each way
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        quiet = ["--dashboard=off", "--clip=false"]
        with person.leading():
            record = ["--dataset.repo_id=me/ours", f"--dataset.root={ours}", f"--fps={FPS}", *quiet]
            assert TELEOP.main([*led, *episodes, *record, f"--output_dir={tmp_path / 'teleop'}"]) == 0
            record = ["--dataset.repo_id=me/theirs", f"--dataset.root={theirs}", f"--dataset.fps={FPS}"]
            record += ["--dataset.push_to_hub=false", "--play_sounds=false"]
            run_lerobot(["lerobot-record", *led, *episodes, *record], tmp_path, patient=True)
        for root, repo_id in ((ours, "me/ours"), (theirs, "me/theirs")):
            assert DATA.main(["check", str(root)]) == 0
            assert LeRobotDataset(repo_id, root=root).num_episodes == 3

        # trained on, run, taken over
        def train(root: Path, out: Path, *more: str) -> Path:
            asked = [
                f"--dataset.root={root}",
                f"--output_dir={out}",
                "--model=small",
                "--steps=20",
                "--held_out=0",
            ]
            assert TRAIN.main([*asked, "--batch_size=4", "--trackers=none", *more]) == 0
            return out

        first = train(ours, tmp_path / "first")
        train(theirs, tmp_path / "of_theirs")
        corrected, run = tmp_path / "corrected", tmp_path / "run"
        asked = [f"--policy.path={first}", *led, "--duration_s=15", *quiet, "--preflight.skip=[ranges]"]
        asked += ["--record.repo_id=me/corrected", f"--record.root={corrected}", "--record.task=wave"]
        with person.leading(after=lambda: wait_for(run, "run", 100, 240.0)):
            assert RUN.main([*asked, "--record.success=yes", f"--output_dir={run}"]) == 0
        ticks = list(read_ticks(run / "ticks.jsonl"))
        drivers = [tick["driver"] for tick in ticks if "driver" in tick]
        assert drivers.count("policy") > 20
        assert drivers.count("human") > 20
        assert drivers.index("policy") < drivers.index("hold") < drivers.index("human")
        assert json.loads((run / "summary.json").read_text())["takeovers"] == 1
        assert DATA.main(["check", str(corrected)]) == 0
        said = LeRobotDataset("me/corrected", root=corrected).hf_dataset["intervention"]
        assert 10 < sum(map(bool, said)) < len(said)

        # trained again, run again, played again
        second = train(corrected, tmp_path / "second", "--corrections.use=weighted")
        again = [f"--policy.path={second}", *arm, "--duration_s=3", *quiet, "--preflight.skip=[ranges]"]
        assert RUN.main([*again, f"--output_dir={tmp_path / 'again'}"]) == 0
        replayed = tmp_path / "replayed"
        assert (
            REPLAY.main([str(tmp_path / "again"), *arm, "--dashboard=off", f"--output_dir={replayed}"]) == 0
        )
        goals = [tick["sent"] for tick in read_ticks(replayed / "ticks.jsonl") if tick.get("sent")]
        assert len(goals) > 30
        assert np.isfinite(np.array(goals, float)).all()
        time.sleep(0.1)
        assert [follower.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS] == [0] * 6
        assert [leader.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS] == [0] * 6
