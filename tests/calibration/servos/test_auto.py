"""`so101-calibrate servos --auto`: the arm finds its own stops, or says which joint a person has to do."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import RenderableType

from so101_calibration import files
from so101_calibration.cli import CALIBRATE
from so101_calibration.servos import auto, stops
from so101_calibration.servos import command as servos
from so101_calibration.servos.borrowed import borrowed
from so101_calibration.servos.compare import stored
from so101_calibration.servos.guided import Recorder
from so101_calibration.servos.line import Line, Sample, open_line
from so101_calibration.servos.simulated_person import SimulatedPerson
from so101_calibration.servos.steps import MIDDLE, Step, StepKind
from so101_calibration.servos.stops import StopFinder
from so101_robot.bus.registers import BY_NAME
from so101_robot.guard.height import Height
from so101_robot.guard.rig import Rig
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.physics.motor import MotorParameters
from so101_robot.mock.physics.plant import MujocoPlant

from ..conftest import Scripted
from .test_guided import errors_deg, workshop_arm

AGREE_DEG = 1.0
"""What the issue asks for; the guided way is exact to 0.09 degrees."""

ABOVE_TABLE_M = 0.02

CROOKED_DEG = 10.0
"""How far from the middle a person's middle pose may be, by eye; the roll's is exact by definition."""

HEIGHT = Height(Rig(table_m=-0.02))

type EachTick = Callable[[MockArm, Sample], None]


class Crooked(SimulatedPerson):
    """A person whose middle pose is one by eye, and who remembers what was asked."""

    def __init__(self, arm: MockArm, line: Line, seed: int) -> None:
        assert arm.hand is not None
        self.display = Scripted()
        super().__init__(arm.hand, line.clock, self.display, move_s=0.5)
        self._off_rad = np.radians(np.random.default_rng(seed).uniform(-CROOKED_DEG, CROOKED_DEG, 6))
        self._off_rad[JOINTS.index(FULL_TURN_JOINT)] = 0.0
        self.asked: list[StepKind] = []

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        self.asked.append(step.kind)
        super().until_done(step, look)

    def do(self, step: Step) -> None:
        if step.kind is StepKind.MIDDLE:
            pose = dict(zip(JOINTS, (self._hand.middle_rad + self._off_rad).tolist(), strict=True))
            self._hand.move(pose, 1.0)
            self._hand.move(pose, 0.3)
            return
        super().do(step)


class Outcome(NamedTuple):
    """How a calibration went."""

    code: int
    errors_deg: NDArray[np.float64]
    lowest_m: float
    person: Crooked
    torque: bool

    @property
    def by_hand(self) -> dict[str, str]:
        lines = self.person.display.text.splitlines()
        told = [line.removeprefix("Do this joint by hand: ") for line in lines if "by hand: " in line]
        return dict(line.split(", because ", 1) for line in told)


def calibrated(
    seed: int,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[MockArm], None] = lambda arm: None,
    each_tick: EachTick = lambda arm, sample: None,
) -> Outcome:
    """The whole flow on one arm that was mounted anyhow, changed before, and pushed on every tick."""
    arm = workshop_arm(seed)
    change(arm)
    heights = [9.0]
    tick = StopFinder._tick

    def watched(finder: StopFinder) -> Sample:
        sample = tick(finder)
        heights.append(HEIGHT.m(pose_deg(arm)))
        each_tick(arm, sample)
        return sample

    monkeypatch.setattr(StopFinder, "_tick", watched)
    with open_line("mock", arm) as line:
        person = Crooked(arm, line, seed)
        code = servos.calibrate(line, path, person, set(), by_itself=True)
        torque = bool(line.sample().torque.any())
        return Outcome(code, errors_deg(arm, stored(line.rows()), 50), min(heights), person, torque)


def pose_deg(arm: MockArm) -> NDArray[np.float64]:
    """Where it really is."""
    assert arm.hand is not None
    pose = np.degrees(arm.joint_rad - arm.hand.range_rad.mean(axis=1))
    pose[JOINTS.index(FULL_TURN_JOINT)] = np.degrees(arm.joint_rad[JOINTS.index(FULL_TURN_JOINT)])
    pose[GRIPPER] = 50.0
    return pose


def plant_of(arm: MockArm) -> MujocoPlant:
    assert isinstance(arm.plant, MujocoPlant)
    return arm.plant


def stiff(joint: str, friction_nm: float) -> Callable[[MockArm], None]:
    """A joint in which something rubs."""

    def change(arm: MockArm) -> None:
        motors = [
            MotorParameters(friction_nm=friction_nm) if name == joint else MotorParameters()
            for name in JOINTS
        ]
        plant = plant_of(arm)
        plant.fit_motors(motors)
        plant.reset()

    return change


def agrees(outcome: Outcome) -> None:
    assert outcome.code == 0
    assert outcome.by_hand == {}
    assert outcome.errors_deg.max() <= AGREE_DEG
    assert outcome.lowest_m > ABOVE_TABLE_M
    assert not outcome.torque
    assert StepKind.SWEEP not in outcome.person.asked, "no hand was needed"


def test_a_stop_is_found_gently_and_twice_and_what_was_not_sought_is_left_to_a_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The jaws alone: the whole arm takes seconds, and is in the slow suite."""
    monkeypatch.setattr(stops, "PLAN", stops.PLAN[:2])
    arm = workshop_arm(3)
    limits: set[int] = set()
    tick = StopFinder._tick

    def watched(finder: StopFinder) -> Sample:
        limits.add(arm.servos.get(GRIPPER, "Torque_Limit"))
        return tick(finder)

    monkeypatch.setattr(StopFinder, "_tick", watched)
    with open_line("mock", arm) as line:
        person = Crooked(arm, line, 3)
        person.until_done(MIDDLE, lambda: "")
        recorder = Recorder(line, line.rows())
        recorder.look()
        middles = {joint: recorder.count(joint) for joint in JOINTS}
        ends = auto.seek(line, middles, person)
        assert not line.sample().torque.any()
    assert ends.keys() == {"gripper"}
    low, high = ends["gripper"]
    true = plant_of(arm).world.joint_range_rad[GRIPPER]
    reads = (low - middles["gripper"]) * 360 / 4096, (high - middles["gripper"]) * 360 / 4096
    assert reads[1] - reads[0] == pytest.approx(np.degrees(np.ptp(true)), abs=0.5)
    assert limits == {stops.HOLD_PERMILLE, 200, 140}, "weakly, and more weakly the second time"
    assert person.display.text.count("gripper: ") == 2
    assert person.display.text.count("Do this joint by hand: ") == 5
    assert "wrist_flex, because it was not sought" in person.display.text


@pytest.mark.slow
def test_an_arm_finds_its_own_stops_above_the_table_and_the_file_is_that_of_the_guided_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = calibrated(3, tmp_path / "a.json", monkeypatch)
    agrees(outcome)
    assert set(files.read(tmp_path / "a.json")) == set(JOINTS)
    assert (tmp_path / "a.ends.yaml").exists()
    assert outcome.person.asked == [StepKind.MIDDLE, StepKind.LET_GO, StepKind.TAKE, StepKind.CLOSE]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fifty_arms_find_their_own_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worst = np.zeros(6)
    lowest_m = 9.0
    for seed in range(50):
        with monkeypatch.context() as patch:
            outcome = calibrated(seed, tmp_path / f"{seed}.json", patch)
        agrees(outcome)
        worst, lowest_m = np.maximum(worst, outcome.errors_deg), min(lowest_m, outcome.lowest_m)
        print(f"arm {seed}: {outcome.errors_deg.max():.3f} deg, {outcome.lowest_m:.3f} m", flush=True)
    print(
        f"worst errors [deg] {dict(zip(JOINTS, worst.round(3).tolist(), strict=True))}, lowest {lowest_m:.3f} m"
    )


@pytest.mark.slow
def test_a_stiff_joint_is_left_to_a_person_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = calibrated(4, tmp_path / "a.json", monkeypatch, stiff("wrist_roll", 0.9))
    assert outcome.by_hand.keys() == {"wrist_roll"}
    assert outcome.code == 0
    assert outcome.person.asked.count(StepKind.SWEEP) == 1
    assert outcome.errors_deg.max() <= AGREE_DEG


@pytest.mark.slow
def test_a_cable_that_gives_way_is_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrist = JOINTS.index("wrist_flex")

    def cable(arm: MockArm, sample: Sample) -> None:
        beyond_rad = np.radians(pose_deg(arm)[wrist] - 75.0)
        plant_of(arm).hand_torque_nm[wrist] = -3.0 * max(beyond_rad, 0.0)

    outcome = calibrated(5, tmp_path / "a.json", monkeypatch, each_tick=cable)
    assert "its stop gave way" in outcome.by_hand["wrist_flex"]
    assert outcome.by_hand.keys() == {"wrist_flex", "shoulder_lift"}, (
        "and what needs to know where the hand is"
    )
    assert "near the table" in outcome.by_hand["shoulder_lift"]


@pytest.mark.slow
def test_a_stop_that_is_missing_is_not_sought_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_stop(arm: MockArm) -> None:
        assert arm.world is not None
        arm.world.model.jnt_range[arm.world.model.joint("shoulder_pan").id] = (-3.1, 3.1)

    outcome = calibrated(6, tmp_path / "a.json", monkeypatch, no_stop)
    assert "no stop within" in outcome.by_hand["shoulder_pan"]


# stopped -----


class Impatient(Crooked):
    """Presses Ctrl-C when the arm has moved for a while, and again `often` times when asked to take it."""

    def __init__(self, arm: MockArm, line: Line, often: int) -> None:
        super().__init__(arm, line, 1)
        self._often = often

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        if step.kind is StepKind.TAKE and self._often > 1:
            raise KeyboardInterrupt
        super().until_done(step, look)


@pytest.mark.parametrize("often", [1, 2])
def test_ctrl_c_stops_the_motion_and_the_arm_holds_until_a_hand_has_it_and_its_settings_are_as_before(
    often: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = workshop_arm(2)
    before = arm.servos.saved.copy()
    registers = ("Homing_Offset", "Min_Position_Limit", "P_Coefficient", "Torque_Limit", "Lock")
    words = {name: [arm.servos.get(i, name) for i in range(6)] for name in registers}
    ticks = [0]
    tick = StopFinder._tick

    def pressed(finder: StopFinder) -> Sample:
        ticks[0] += 1
        if ticks[0] == 60:
            raise KeyboardInterrupt
        return tick(finder)

    monkeypatch.setattr(StopFinder, "_tick", pressed)
    with open_line("mock", arm) as line:
        person = Impatient(arm, line, often)
        with pytest.raises(KeyboardInterrupt):
            servos.calibrate(line, tmp_path / "a.json", person, set(), by_itself=True)
        assert bool(line.sample().torque.all()) == (often > 1)
    assert {name: [arm.servos.get(i, name) for i in range(6)] for name in registers} == words
    assert np.array_equal(arm.servos.saved, before)
    assert "Stopped (KeyboardInterrupt): the arm holds where it is" in person.display.text
    assert ("may still be under torque" in person.display.text) == (often > 1)
    assert list(tmp_path.iterdir()) == []


def test_settings_are_never_stored_so_a_power_cut_undoes_them(tmp_path: Path) -> None:
    arm = workshop_arm(2)
    for index in range(6):
        arm.servos.set(index, "Lock", 0)
    with open_line("mock", arm) as line:
        before = line.rows()[:, :40].copy()
        with borrowed(line, stops.settings_for(dict.fromkeys(JOINTS, 100), line.rows())):
            assert line.read(1, BY_NAME["Homing_Offset"]) == 100 - 2047
            for index in range(6):
                arm.servos.boot(index)
            arm.advance_to(arm.now_us + 1_000_000)
            assert (line.rows()[:, :40] == before).all()


def test_who_does_not_confirm_free_space_moves_nothing_and_auto_is_for_followers(
    arm: MockArm, line: Line, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Scripted(answer=False)
    assert servos.calibrate(line, path, person, set(), by_itself=True) == 1
    assert "The arm was not moved" in person.text
    assert [arm.servos.get(i, "Torque_Enable") for i in range(6)] == [0] * 6
    for other in ("--leader", "--check", "--from=x"):
        assert CALIBRATE.main(["servos", "--robot.port=mock", "--auto", other]) == 2
        assert "--auto moves a follower" in capsys.readouterr().err
