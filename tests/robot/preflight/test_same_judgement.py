"""One judgement: what `so101-calibrate` calls wrong about servos and calibration, the pre-flight of a run calls wrong.

Both commands look at the same faulty arms, one for each kind of fault, over a serial port whose other end is a mock
arm; verdicts and words have to be the same.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import draccus
import pytest

from so101_calibration import files
from so101_calibration.cli import CALIBRATE
from so101_calibration.report import WORDS
from so101_calibration.servos import line as calibrating
from so101_calibration.servos import motion_test
from so101_policy.checkpoint.trained_on import TrainedOn
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import so101_bus
from so101_robot.bus.calibration import JointCalibration
from so101_robot.cli import REPLAY, RUN
from so101_robot.commands import replay, run
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import RobotError
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepLink, LockstepSerial
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.preflight.checks import run_checks, servo_checks
from so101_robot.preflight.findings import Finding, Level, verdict

pytestmark = pytest.mark.timeout(600)

PORT = "/dev/the_arm"


@dataclass
class Fault:
    """One thing that is wrong with an arm or its file, and what both commands have to say."""

    name: str
    level: Level
    words: str
    servos: dict[tuple[int, str], int] = field(default_factory=dict)
    """(index, register) -> value."""
    both: dict[str, dict[str, int]] = field(default_factory=dict)
    """joint -> fields that file and servo have."""
    file: dict[str, dict[str, int]] = field(default_factory=dict)
    """joint -> fields of the file alone."""
    plant: Callable[[IdealPlant], None] = lambda plant: None


def volts(value: float, *servos: int) -> Callable[[IdealPlant], None]:
    def change(plant: IdealPlant) -> None:
        plant.supply_v[list(servos) or slice(None)] = value

    return change


def hot(plant: IdealPlant) -> None:
    plant.temperature_c[3] = 60.0


def elsewhere(plant: IdealPlant) -> None:
    plant._steps[5] = 500  # pyright: ignore[reportPrivateUsage]


STOP, WARN = Level.STOP, Level.WARN
FAULTS = [
    Fault("none", Level.OK, ""),
    Fault(
        "small", STOP, "shoulder_pan: covers 141 deg of about 220", both={"shoulder_pan": {"range_max": 2400}}
    ),
    Fault("large", STOP, "gripper: covers 151 deg of about 110", both={"gripper": {"range_min": 950}}),
    Fault(
        "inverted",
        STOP,
        "elbow_flex: range 3149..945 is not within 0..4095 in this order",
        both={"elbow_flex": {"range_min": 3149, "range_max": 945}},
    ),
    Fault(
        "whole turn",
        STOP,
        "wrist_flex: range 0..4095 is a whole turn",
        both={"wrist_flex": {"range_min": 0, "range_max": 4095}},
    ),
    Fault(
        "homing off",
        STOP,
        "elbow_flex: homing_offset 0, in the servo -114 (its zero is off by +10.0 deg)",
        servos={(2, "Homing_Offset"): -114},
    ),
    Fault(
        "another range",
        STOP,
        "gripper: range_max 2700, in the servo 2673",
        file={"gripper": {"range_max": 2700}},
    ),
    Fault("id", STOP, "gripper: has servo id 5; an SO-101 has 6 there", file={"gripper": {"id": 5}}),
    Fault("drive mode", STOP, "gripper: drive_mode 2; expected 0, or 1", file={"gripper": {"drive_mode": 2}}),
    Fault(
        "drive mode in degrees",
        WARN,
        "elbow_flex: drive_mode 1 has no effect in degrees",
        file={"elbow_flex": {"drive_mode": 1}},
    ),
    Fault(
        "torque limit",
        STOP,
        "servo 3 (elbow_flex): Torque_Limit is 0: ",
        servos={(2, "Torque_Limit"): 0},
    ),
    Fault(
        "max torque",
        STOP,
        "servo 2 (shoulder_lift): Max_Torque_Limit is 50: ",
        servos={(1, "Max_Torque_Limit"): 50},
    ),
    Fault(
        "mode",
        WARN,
        "servo 1 (shoulder_pan): Operating_Mode is 1: only mode 0 follows",
        servos={(0, "Operating_Mode"): 1},
    ),
    Fault(
        "gain",
        WARN,
        "servo 4 (wrist_flex): P_Coefficient is 0: it does not pull",
        servos={(3, "P_Coefficient"): 0},
    ),
    Fault(
        "current",
        WARN,
        "servo 5 (wrist_roll): Protection_Current is 0: ",
        servos={(4, "Protection_Current"): 0},
    ),
    Fault(
        "dead zone",
        WARN,
        "servo 2 (shoulder_lift): CW_Dead_Zone is 60: ",
        servos={(1, "CW_Dead_Zone"): 60},
    ),
    Fault(
        "speed",
        WARN,
        "servo 6 (gripper): Goal_Velocity is 300: its speed is limited",
        servos={(5, "Goal_Velocity"): 300},
    ),
    Fault(
        "7.4 V servo",
        STOP,
        "servo 6 (gripper): a 7.4 V servo (4.5 to 8.4 V) that gets 12.0 V",
        servos={(5, "Max_Voltage_Limit"): 80},
    ),
    Fault("5 V", STOP, "servo 1 (shoulder_pan): a 12 V servo (9 to 14 V) that gets 5.0 V", plant=volts(5.0)),
    Fault("7.4 V", STOP, "servo 3 (elbow_flex): a 12 V servo (9 to 14 V) that gets 7.4 V", plant=volts(7.4)),
    Fault(
        "contact",
        STOP,
        "servo 5 (wrist_roll): 10.5 V, while another servo has 12.0 V",
        plant=volts(10.5, 4),
    ),
    Fault(
        "thin cable",
        WARN,
        "servo 6 (gripper): 11.2 V, while another servo has 12.0 V",
        plant=volts(11.2, 5),
    ),
    Fault("heat", WARN, "servo 4 (wrist_flex): 60 C; expected: below 55 C", plant=hot),
    Fault(
        "model",
        STOP,
        "servo 3 (elbow_flex): model 1029, not an STS3215 (777)",
        servos={(2, "Model_Number"): 1029},
    ),
    Fault(
        "firmware",
        STOP,
        "different firmware (1: 3.10, 2: 3.10, 3: 3.9,",
        servos={(2, "Firmware_Minor_Version"): 9},
    ),
    Fault("outside", STOP, "servo 6 (gripper): it is at 500, 81 deg outside its range", plant=elsewhere),
]
BY_NAME = {fault.name: fault for fault in FAULTS}


@dataclass
class Bench:
    """A faulty arm behind a port, and its file."""

    folder: Path
    arm: MockArm

    @property
    def flags(self) -> list[str]:
        return [f"--robot.port={PORT}", "--robot.id=arm", f"--robot.calibration_dir={self.folder}"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    arm = MockArm(MockConfig(realtime_factor=0), plant=IdealPlant())

    def opened(port: str) -> tuple[LockstepSerial, LockstepLink]:
        assert port == PORT
        return LockstepSerial(arm), LockstepLink(arm)

    monkeypatch.setattr(so101_bus, "open_locked", opened)
    monkeypatch.setattr(calibrating, "open_locked", opened)
    monkeypatch.setattr(motion_test, "bus_cycles", lambda line: motion_test.Cycles(2.5, 2.6, 0, 200))
    return Bench(tmp_path / "calibration", arm)


def damage(bench: Bench, fault: Fault) -> None:
    arm = bench.arm
    rows = {joint: JointCalibration(**fields) for joint, fields in arm.calibration_fields.items()}
    for joint, fields in fault.both.items():
        rows[joint] = rows[joint]._replace(**fields)
        index = JOINTS.index(joint)
        arm.servos.set(index, "Min_Position_Limit", rows[joint].range_min)
        arm.servos.set(index, "Max_Position_Limit", rows[joint].range_max)
    for joint, fields in fault.file.items():
        rows[joint] = rows[joint]._replace(**fields)
    files.write_whole(bench.folder / "arm.json", files.dump(rows))
    for (index, register), value in fault.servos.items():
        arm.servos.set(index, register, value)
    assert isinstance(arm.plant, IdealPlant)
    fault.plant(arm.plant)
    arm.advance_to(arm.now_us + 50_000)


type Judged = tuple[Level, list[str]]
"""A verdict, and the sentences about what is not in order."""


def judged_before_a_run(bench: Bench) -> Judged:
    """What so101-run and so101-replay ask once they have connected, or the message with which that ends."""
    robot = SO101(SO101Config(port=PORT, id="arm", calibration_dir=bench.folder))
    try:
        robot.connect()
        found = run_checks(servo_checks(robot))
    except RobotError as error:
        return STOP, [str(error)]
    finally:
        robot.disconnect(release=False)
    return verdict(found), [finding.text for finding in found if finding.level is not Level.OK]


def judged_by_calibrate_check(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Judged:
    code = CALIBRATE.main(["check", *bench.flags, "--no_motion", "--json"])
    report = json.loads(capsys.readouterr().out)
    levels = {word: level for level, word in WORDS.items()}
    items = {item["name"]: item for item in report["items"] if item["name"] not in ("motion", "bus cycle")}
    level = max((levels[item["verdict"]] for item in report["items"]), key=list(Level).index)
    assert code == (1 if level is STOP else 0)
    worst = max((levels[item["verdict"]] for item in items.values()), key=list(Level).index)
    return worst, [item["text"] for item in report["items"] if item["verdict"] != "pass"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_run_and_the_calibration_judge_a_faulty_arm_alike(
    bench: Bench, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(bench, fault)
    checked, in_check = judged_by_calibrate_check(bench, capsys)
    assert CALIBRATE.main(["servos", *bench.flags, "--check"]) == (1 if fault.level is STOP else 0)
    in_servos_check = " ".join(capsys.readouterr().out.split())
    before_a_run, sentences = judged_before_a_run(bench)
    assert (checked, before_a_run) == (fault.level, fault.level), (in_check, sentences)
    assert any(fault.words in text for text in in_check)
    assert any(fault.words in text for text in sentences) or fault.level is Level.OK
    in_the_table = "in the servo " in fault.words
    assert in_the_table or fault.words in in_servos_check


@pytest.mark.parametrize("name", ["small", "mode", "homing off"])
def test_so101_replay_asks_that_judgement(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(bench, BY_NAME[name])
    arguments = [str(recording_in(bench)), *bench.flags, f"--output_dir={bench.folder / 'again'}"]
    assert_command_tells(lambda: REPLAY.main(arguments), replay, BY_NAME[name], monkeypatch, capsys)


@pytest.mark.parametrize("name", ["small", "mode", "homing off"])
def test_so101_run_asks_that_judgement(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(bench, BY_NAME[name])
    policy = SimpleNamespace(
        path=bench.folder,
        check_robot=lambda *_: None,
        start_pose=None,
        trained_on=TrainedOn(fps=30.0),
        cameras={},
        backgrounds={},
        close=lambda: None,
    )
    monkeypatch.setattr(run.compose, "load_policy", lambda config: policy)
    monkeypatch.setattr(run.compose, "about", lambda *_: {})
    arguments = [*bench.flags, "--policy.path=mine", f"--output_dir={bench.folder / 'run'}"]
    assert_command_tells(lambda: RUN.main(arguments), run, BY_NAME[name], monkeypatch, capsys)


class LookedError(RobotError):
    """Ends a command that would drive next."""


def assert_command_tells(
    command: Callable[[], int],
    module: Any,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ends with 2 before it drives; what its pre-flight found, or its one message, has the fault's words."""
    found: list[Finding] = []

    def look_first(findings: list[Finding], folder: Path) -> None:
        found.extend(findings)
        raise LookedError("looked")

    monkeypatch.setattr(module, "look_first", look_first)
    assert command() == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if found:
        assert [f.level for f in found if fault.words in f.text] == [fault.level]
    else:
        assert fault.words in said


def recording_in(bench: Bench) -> Path:
    folder = bench.folder / "recorded"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"config": draccus.encode(RunConfig(fps=30.0)), "calibration": None})
    )
    tick: dict[str, Any] = {"phase": "run", "mode": "running", "unix_s": 0.0, "late_ms": 0.0, "stages_ms": {}}
    goal = [0.0] * 6
    lines = [
        json.dumps({**tick, "tick": n, "t": n / 30, "state": goal, "sent": goal, "guard": "ok"})
        for n in range(9)
    ]
    (folder / "ticks.jsonl").write_text("\n".join(lines) + "\n")
    return folder
