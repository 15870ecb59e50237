"""Trials on the simulated arm, one after the other: each begins as the first did, and however it ends, it is home."""

import os
import signal
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from real_studies import POSE, mock_bench, small_study
from so101_calibration.cameras.lock_settings import Lock
from so101_calibration.cameras.rig_file import path_of, update
from so101_eval.palletizing.scene.scene import rearrange
from so101_eval.real_study.console.remote import act
from so101_eval.real_study.design.faults import VOIDING, void_reason
from so101_eval.real_study.session.bench import Bench, Ran
from so101_eval.real_study.session.contenders import Playing
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.rig import exposure
from so101_eval.real_study.session.view import Action
from so101_robot.commands.taking_over import TakingOver
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.leader import Leader
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.preflight.findings import Level

DRIVEN_S = 1.0


class Each:
    """Calls a function on every tick on which the policy drives."""

    name = "each"

    def __init__(self, call: Callable[[Tick], None]) -> None:
        self._call = call

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "run":
            self._call(tick)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def bench() -> Generator[Bench]:
    with mock_bench(DRIVEN_S) as one:
        yield one


def drive(bench: Bench, folder: Path, call: Callable[[Tick, Control], None]) -> Ran:
    control = Control()
    return bench.drive(Playing(None), 0.0, folder, "QXTR", [Each(lambda tick: call(tick, control))], control)


def nothing(tick: Tick, control: Control) -> None: ...


def test_every_trial_begins_as_the_first_did(bench: Bench, tmp_path: Path):
    """The way home leaves the guard in the mode for parking, in which load and heat do not stop an arm."""
    parking: list[bool] = []
    away: list[float] = []

    def look(tick: Tick, control: Control) -> None:
        assert bench.robot.guard is not None
        parking.append(bench.robot.guard._parking)
        away.append(max(abs(a - b) for a, b in zip(tick.state.position.tolist(), POSE, strict=True)))

    runs = [drive(bench, tmp_path / name, look) for name in "ab"]
    assert not any(parking)
    assert len(parking) > 50
    assert max(away) < 6, "an arm that holds stays at the study's start pose"
    assert [(ran.why, ran.at_home, ran.fault, ran.held) for ran in runs] == [("time", True, None, "")] * 2
    assert runs[0].driven_s == pytest.approx(runs[1].driven_s)


def test_a_stop_brings_the_arm_home(bench: Bench, tmp_path: Path):
    ran = drive(bench, tmp_path / "a", lambda tick, control: control.stop("danger"))
    assert (ran.why, ran.at_home, ran.held) == ("danger", True, "")
    assert ran.stop_to_hold_s is not None
    assert ran.driven_s < DRIVEN_S / 2


def test_the_system_ends_it_and_the_arm_is_home_all_the_same(bench: Bench, tmp_path: Path):
    sent: list[int] = []

    def end(tick: Tick, control: Control) -> None:
        if not sent:
            sent.append(tick.index)
            os.kill(os.getpid(), signal.SIGTERM)

    ran = drive(bench, tmp_path / "a", end)
    assert (ran.signal, ran.at_home, ran.held) == ("SIGTERM", True, "")


def test_a_hold_lets_the_time_pass_and_the_arm_stand(bench: Bench, tmp_path: Path):
    goals: list[list[float]] = []

    def hold(tick: Tick, control: Control) -> None:
        if not control.held:
            control.hold()
        elif tick.goal is not None:
            goals.append(tick.goal.tolist())

    ran = drive(bench, tmp_path / "a", hold)
    assert ran.at_home
    assert all(goal == goals[0] for goal in goals)


def test_a_person_takes_over_by_the_consoles_keys_and_the_trial_says_so(bench: Bench, tmp_path: Path):
    config = replace(bench.config, duration_s=2.5, teleop=LeaderConfig(port="mock"))
    arm = MockArm(MockConfig(camera_fps=1), leader=True)
    leader = Leader(config.teleop, arm)
    leader.open()
    led = Bench(bench.robot, config, {}, taking=TakingOver(config, leader, keyed=True))
    driven: list[str] = []

    def person(tick: Tick, control: Control) -> None:
        assert tick.planned is not None
        if tick.planned.driver is not None and driven[-1:] != [tick.planned.driver]:
            driven.append(tick.planned.driver)
            if tick.planned.driver in ("policy", "handover", "human") and len(driven) < 5:
                act(control, Action("give" if tick.planned.driver == "human" else "take"))

    ran = drive(led, tmp_path / "a", person)
    assert driven == ["policy", "hold", "handover", "human", "hold", "policy"]
    assert (ran.why, ran.at_home, ran.fault) == ("human", True, None)
    assert [arm.servos.get(index, "Torque_Enable") for index in range(6)] == [0] * 6
    assert drive(led, tmp_path / "b", nothing).why == "time", "the next trial is the policy's again"


def test_a_pulled_cable_is_a_reason_that_voids(bench: Bench, tmp_path: Path):
    assert bench.robot.mock is not None
    mock = bench.robot.mock

    def pull(tick: Tick, control: Control) -> None:
        mock.port_is_out = True

    try:
        ran = drive(bench, tmp_path / "a", pull)
    finally:
        mock.port_is_out = False
    assert ran.cause == "time is up", "half a minute is given to a cable; the time of the trial ended before"
    assert void_reason(VOIDING, ran.fault, ran.error, ran.lasting) == "cable"


def test_hands_move_boxes_and_leave_the_arm_alone(bench: Bench):
    study, world = small_study(), bench.robot.mock.world  # type: ignore[union-attr]
    assert world is not None
    before = world.data.qpos[world.joint_qpos].copy()
    for block in (0, 1):
        reset = study.reset(block)
        rearrange(world, reset)
        box = world.data.joint("box/0").qpos
        assert box[:2].tolist() == pytest.approx([reset.boxes[0].x_m, reset.boxes[0].y_m])
    assert world.data.qpos[world.joint_qpos].tolist() == before.tolist()


def test_the_rig_check_asks_whether_cameras_moved_and_whether_their_exposure_is_locked(
    bench: Bench, tmp_path: Path
):
    found = {finding.check: finding for finding in bench.check()}
    assert {"servos", "supply", "heat", "calibration", "drift", "exposure", "cameras"} <= found.keys()
    robot = SimpleNamespace(
        mock=None, calibration_fpath=tmp_path / "arm.json", cameras={"front": 1, "wrist": 2}
    )
    levels = [finding.level for finding in exposure(robot)]  # type: ignore[arg-type]
    assert levels == [Level.WARN, Level.WARN]
    held, refused = (
        Lock("exposure", 120.0, 120.0, True, ""),
        Lock("exposure", 120.0, 80.0, False, "it reports 80"),
    )
    now = datetime(2026, 11, 30, tzinfo=UTC)
    update(path_of(robot.calibration_fpath), "front", now, locks=(held,))
    update(path_of(robot.calibration_fpath), "wrist", now, locks=(refused,))
    front, wrist = exposure(robot)  # type: ignore[arg-type]
    assert (front.level, front.text) == (Level.OK, "front: locked at 120 on 2026-11-30 00:00:00+00:00")
    assert (wrist.level, wrist.text) == (
        Level.WARN,
        "wrist: not locked: it reports 80; expected: locked - so101-calibrate cameras lock",
    )
