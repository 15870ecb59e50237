"""Files that an arm depends on, damaged at random: one message that names the file, or what the file says.

A valid calibration, limits file, file of measured stops and fault plan are changed: something is dropped, retyped,
resized, made NaN, infinite or huge, reordered or nested deep, or the text is cut, or has aliases, tags or bytes put
into it. Whatever comes of it is no traceback, takes no time, and moves nothing: nothing here has an arm.
"""

import copy
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damage import SEEDED, damage
from so101_calibration import files
from so101_calibration.cameras import rig_file
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.lock_settings import Lock
from so101_calibration.cameras.poses import Placed
from so101_calibration.cameras.rig_file import CameraPose, RigCamera
from so101_policy.errors import SO101Error
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import calibration
from so101_robot.bus.protocol import BROADCAST, Instruction, instruction, sync_read, write
from so101_robot.errors import CalibrationError, ConfigError
from so101_robot.guard import measured_ends, rig
from so101_robot.guard.guard import Guard
from so101_robot.guard.limits import GuardLimits
from so101_robot.guard.measured_ends import MeasuredEnds
from so101_robot.guard.rig import Rig
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant, calibration_fields
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.fault_kinds import KINDS, Level
from so101_robot.mock.wire.fault_plan import EXAMPLE, FaultPlan
from so101_robot.mock.wire.wire import Wire
from so101_robot.preflight.calibration import impossible, of_joints, wrong_sizes

LOWER, UPPER = np.array([-110.0, -100, -97, -95, -180, 0]), np.array([110.0, 100, 97, 95, 180, 100])
SLOWEST_S = 60.0
"""For one file; on an idle machine none takes a second."""

JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        2047,
        4096,
        10**6,
        10**30,
        0.5,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
    ),
    *("", "fast", "all", "\x1b[2J", "x" * 5000, [], {}, [[]], [1, 2], {"a": 1}, {"speed": 3}),
)

OURS: dict[str, Any] = {
    "junk": JUNK,
    "acts": ("drop", "junk", "junk", "junk", "reorder", "deep", "huge", "add", "scale"),
    "depths": (3, 40, 200),
    "lengths": (7, 300),
    "added": ("added", "id", "speed", "\x1b[31m"),
}
"""How plain data is damaged here."""

REQUESTS = (
    instruction(BROADCAST, Instruction.PING),
    sync_read(56, 2, SERVO_IDS),
    write(3, 42, b"\x00\x08"),
    instruction(BROADCAST, Instruction.RESET),
)

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12)
)

INSERTED: tuple[bytes, ...] = (
    *(
        b"[" * 5000,
        b"{a: " * 5000,
        b"\x00",
        b"\xff\xfe",
        b"&a [*a]",
        b"!!python/object:os.system x",
        b"!!int ''",
    ),
    *(b"!!binary x", b"2024-99-99", b"'", b'"', b"9" * 6000, BOMB.encode(), b"\n- ", b"<<: 3\n", b"*none"),
)


def _calibration(path: Path) -> Callable[[], None]:
    """The judgement that so101-run and so101-calibrate make of it."""
    rows = calibration.of(
        SO101(SO101Config(port="/dev/nowhere", id="arm", calibration_dir=path.parent)).calibration
    )
    assert rows == files.read(path)

    def judge() -> None:
        if not of_joints(rows):
            impossible(rows)
            wrong_sizes(rows)

    return judge


def _limits(path: Path) -> Callable[[], None]:
    found = rig.load(path)

    def guard() -> None:
        Guard(GuardLimits(), LOWER, UPPER, found).reset(np.array([0.0, -90, 90, 60, 0, 5]))

    return guard


def _ends(path: Path) -> Callable[[], None]:
    ends = measured_ends.load(path)

    def apply() -> None:
        assert ends is not None
        calibration_file = path.with_name(path.name.removesuffix(measured_ends.SUFFIX) + ".json")
        rules = measured_ends.applied(Rig(), calibration_file, ends.homing_offset).joints["wrist_roll"]
        assert rules.lower is not None
        assert rules.upper is not None
        assert -180 <= rules.lower <= 0 <= rules.upper <= 180

    return apply


def _faults(path: Path) -> Callable[[], None]:
    plan = FaultPlan.from_yaml(path)

    def play() -> None:
        wire = Wire(Servos(), faults=plan)
        for now_us in (0, 1_000_000, 10**12):
            plan.port_events(now_us)
            plan.camera_state("front", now_us)
            for request in REQUESTS:
                wire.receive(request, now_us)

    return play


def _cameras(path: Path) -> Callable[[], None]:
    cameras = rig_file.load(path)

    def write_again() -> None:
        rig_file.dump(cameras)

    return write_again


CAMERAS = {
    "front": RigCamera(
        Intrinsics((640, 480), 600.0, 600.0, 320.0, 240.0, view_rms_px=(0.2, 0.3)),
        CameraPose("base", Placed(np.eye(4), np.ones(3), np.ones(3), 0.4, 12)),
        (Lock("exposure", 100.0, 100.0, True, ""),),
        dict.fromkeys(("intrinsics", "pose", "locks"), "2026-01-01"),
    )
}

EVERY_KIND = yaml.safe_dump(
    {
        "seed": 7,
        "faults": [
            {"fault": kind.name, "at_s": 1.0, "for_s": 0.5, **kind.options}
            | ({"servo": 3} if kind.level is Level.SERVO else {})
            for kind in KINDS.values()
        ],
    }
)
"""A plan with every fault that there is."""

FILES: dict[str, tuple[str, Callable[[Path], Callable[[], None]]]] = {
    "arm.json": (json.dumps(calibration_fields(), indent=4), _calibration),
    "arm.limits.yaml": (rig.in_yaml(Rig(workspace_m=((-0.1, 0.4), (-0.3, 0.3), (0.0, 0.5)))), _limits),
    "arm.ends.yaml": (measured_ends.in_yaml(MeasuredEnds(-312, -158.7, 161.2)), _ends),
    "arm.cameras.yaml": (rig_file.dump(CAMERAS), _cameras),
    "plan.yaml": (EXAMPLE.read_text(), _faults),
    "every_kind.yaml": (EVERY_KIND, _faults),
}
"""name -> its text, and what reads it and gives what acts on it."""


def damaged(name: str, seed: int) -> bytes:
    """The file with one to three changes."""
    rng = random.Random(seed)
    text, _ = FILES[name]
    if rng.random() < 0.25:
        return _in_text(text.encode(), rng)
    data: Any = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 3)):
        damage(data, rng, **OURS)
    return (json.dumps(data) if name.endswith(".json") else yaml.safe_dump(data)).encode()


def _in_text(text: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(text))
    junk = rng.choice(INSERTED)
    return rng.choice((text[:place], text[:place] + junk + text[place:], text[place:], b"", junk))


def holds(name: str, content: bytes, folder: Path) -> None:
    """One message that names the file, or something that acts."""
    path = folder / name
    path.write_bytes(content)
    began_s = time.monotonic()
    read_error, act = _what_it_raises(lambda: FILES[name][1](path))
    assert read_error is None or str(path) in read_error
    error = read_error if act is None else _what_it_raises(act)[0]
    assert error is None or ("\x1b" not in error and 0 < len(error) < 2000)
    assert time.monotonic() - began_s < SLOWEST_S


def _what_it_raises[T](call: Callable[[], T]) -> tuple[str | None, T | None]:
    """The message of an error that is made for a person, None without one; and what the call gives."""
    try:
        return None, call()
    except SO101Error as error:
        return str(error), None


CASES = settings(**SEEDED)


@settings(CASES, max_examples=60)
@given(name=st.sampled_from(sorted(FILES)), seed=st.integers(0, 10**9))
@example(name="arm.cameras.yaml", seed=328)  # a field whose name steers a terminal
@example(name="arm.cameras.yaml", seed=23494126)  # the same, with NaN in it
@example(name="arm.ends.yaml", seed=561)  # a homing offset that is no whole number
def test_a_damaged_file_is_one_message_or_acts(tmp_path: Path, name: str, seed: int):
    holds(name, damaged(name, seed), tmp_path)


@pytest.mark.slow
@settings(CASES, max_examples=600)
@given(name=st.sampled_from(sorted(FILES)), seed=st.integers(0, 10**9))
def test_six_hundred_damaged_files_are_one_message_or_act(tmp_path: Path, name: str, seed: int):
    holds(name, damaged(name, seed), tmp_path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_undamaged_file_acts(tmp_path: Path, name: str):
    (tmp_path / name).write_text(FILES[name][0])
    FILES[name][1](tmp_path / name)()


HOSTILE = {
    "aliases that stand for gigabytes": BOMB,
    "brackets a thousand deep": "a: " + "[" * 1000,
    "an alias of itself": "joints: &a {gripper: *a}",
    "a tag of Python's": "!!python/object/apply:os.system [touch x]",
    "a date": "slow_c: 2024-01-01",
    "no UTF-8": "slow_c: \udcff",
    "a number without end": "slow_c: " + "9" * 5000,
    "too long": "# " + "x" * 600_000,
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_limits_file_is_refused_by_name(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "arm.limits.yaml"
    path.write_bytes(HOSTILE[what].encode(errors="surrogateescape"))
    assert rig.main([str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_aliases_that_a_person_writes_are_read(tmp_path: Path):
    path = tmp_path / "arm.limits.yaml"
    path.write_text(
        "joints:\n  elbow_flex: &slow {speed: 30}\n  wrist_flex: *slow\n  wrist_roll: {<<: *slow, step: 3}\n"
    )
    joints = rig.load(path).joints
    assert [joints[joint].speed for joint in JOINTS[2:5]] == [30, 30, 30]
    assert joints["wrist_roll"].step == 3


def one_field(**gripper: float) -> str:
    rows = calibration_fields()
    return json.dumps({**rows, "gripper": {**rows["gripper"], **gripper}})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"gripper": ' + "[" * 5000, "nested"),
        (one_field(id=float("nan")), "NaN"),
        (one_field(id=10**30), "gripper: id"),
        (one_field(range_min=1500.5), "gripper: range_min = 1500.5 is not a whole number"),
        (json.dumps({"homing_offset": [1], "start_pos": [1], "end_pos": [2]}), "before June 2025"),
    ],
)
def test_a_hostile_calibration_is_refused_by_name_and_field(tmp_path: Path, content: str, says: str):
    (tmp_path / "arm.json").write_text(content)
    with pytest.raises(CalibrationError) as error:
        SO101(SO101Config(port="/dev/nowhere", id="arm", calibration_dir=tmp_path))
    assert str(tmp_path / "arm.json") in str(error.value)
    assert says in str(error.value)


def test_a_hostile_fault_plan_ends_the_mock_with_one_message(tmp_path: Path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: [{fault: silent_servo, servo: 3, at_s: 1.0e+300}]")
    with pytest.raises(
        ConfigError, match=rf"{plan}: fault 1 of the plan \(silent_servo\): at_s is .* at most 1e\+09"
    ):
        MockArm(MockConfig(faults=plan), plant=IdealPlant())
