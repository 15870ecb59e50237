"""What is looked at before an arm moves: every mistake is found, named, and the right arm passes."""

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from safetensors.numpy import save_file

from so101_calibration.servos.plausible import of_servos
from so101_policy.checkpoint.scaling import read_statistics
from so101_policy.errors import CheckpointError, PolicyError
from so101_policy.units import LEAST_SPREAD_DEG, Units
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import registers
from so101_robot.bus.calibration import JointCalibration
from so101_robot.commands.flags import normalised, parse
from so101_robot.errors import CameraError, ConfigError
from so101_robot.joints import JOINTS
from so101_robot.mock.config import MockConfig
from so101_robot.preflight import checks as preflight_module
from so101_robot.preflight.calibration import check_calibration, check_sizes
from so101_robot.preflight.cameras import check_cameras, check_places
from so101_robot.preflight.checks import CHECKS, PreflightConfig, further_checks, preflight, run_checks
from so101_robot.preflight.findings import Finding, Level, PreflightError, as_json, as_table, require, verdict
from so101_robot.preflight.policy import check_ranges, check_statistics, in_degrees
from so101_robot.preflight.servos import check_errors, check_heat, check_servos, check_supply
from so101_robot.preflight.settings import check_settings
from so101_robot.state import Frame

LOWER, UPPER = np.array([-110.0, -100, -97, -95, -160, 0]), np.array([110.0, 100, 97, 95, 160, 100])
MEAN, STD = np.array([0.0, -40, 30, 60, 0, 30]), np.array([30.0, 20, 20, 10, 5, 15])
GOOD = {"mean": MEAN, "std": STD, "min": MEAN - 2 * STD, "max": MEAN + 2 * STD}
IMAGE = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.2)}
STATISTICS = {"action": GOOD, "observation.state": GOOD, "observation.images.front": IMAGE}


# servos -----


def rows(joint: int = 0, **changes: int) -> Any:
    """Six servos as they come from the factory, at 12 V and 25 C in the middle; one of them changed."""
    usual = {"Present_Voltage": 120, "Present_Temperature": 25, "Present_Position": 2048}
    found = np.zeros((6, registers.SIZE), np.uint8)
    for index, (row, ends) in enumerate(zip(found, RANGES, strict=True)):
        values = {r.name: r.default for r in registers.REGISTERS if not r.name.startswith("Reserved")}
        values |= {"Min_Position_Limit": ends[0], "Max_Position_Limit": ends[1]}
        for name, value in (values | usual | (changes if index == joint else {})).items():
            register = registers.BY_NAME[name]
            row[register.address : register.end] = list(registers.encode(register, value))
    return found


RANGES = ((800, 3300), (910, 3180), (950, 3150), (970, 3120), (0, 4095), (1420, 2670))
"""Of the six joints [steps]."""


def calibration(**changes: JointCalibration) -> dict[str, JointCalibration]:
    rows = {joint: JointCalibration(i + 1, 0, 0, *RANGES[i]) for i, joint in enumerate(JOINTS)}
    return rows | changes


def test_good_servos_pass():
    for check in (check_servos, check_supply, check_heat, check_errors, check_settings):
        assert [finding.level for finding in check(rows())] == ["ok"]
    assert check_calibration(calibration(), rows(), "file")[0].level == "ok"
    assert check_sizes(calibration(), rows())[0].level == "ok"


@pytest.mark.parametrize(
    ("check", "changes", "level", "words"),
    [
        (check_supply, {"Present_Voltage": 39}, "stop", "3.9 V"),
        (check_supply, {"Present_Voltage": 141}, "stop", "14.1 V"),
        (check_supply, {"Present_Voltage": 110}, "warn", "11.0 V, while another servo has 12.0 V"),
        (check_supply, {"Present_Voltage": 109}, "stop", "10.9 V, while another servo has 12.0 V"),
        (check_heat, {"Present_Temperature": 70}, "stop", "70 C"),
        (check_heat, {"Present_Temperature": 55}, "warn", "55 C"),
        (check_errors, {"Status": 0x20}, "stop", "overload"),
        (check_settings, {"Goal_Velocity": 300}, "warn", "Goal_Velocity is 300: its speed is limited"),
        (
            check_settings,
            {"Torque_Limit": 0},
            "stop",
            "Torque_Limit is 0: in 0.1 %: the joint cannot carry itself",
        ),
        (check_settings, {"Max_Torque_Limit": 300}, "warn", "the joint is weak"),
        (check_settings, {"Operating_Mode": 1}, "warn", "only mode 0 follows positions"),
        (check_settings, {"P_Coefficient": 0}, "warn", "does not pull"),
        (check_settings, {"Phase": 0x1C}, "warn", "beyond one turn"),
        (check_settings, {"Phase": 0x0D}, "warn", "turned around"),
        (check_settings, {"Unloading_Condition": 0}, "warn", "does not make it let go"),
        (check_settings, {"Angular_Resolution": 3}, "stop", "multiplies every goal"),
        (check_settings, {"Protection_Current": 0}, "warn", "not protected"),
        (check_settings, {"Max_Temperature_Limit": 100}, "warn", "burns"),
    ],
)
def test_a_servo_that_is_not_well_is_named(check: Any, changes: dict[str, int], level: str, words: str):
    findings = check(rows(2, **changes))
    assert findings[0].level == level
    assert words in findings[0].found
    assert findings[0].asked
    assert findings[0].subject == "servo 3 (elbow_flex)"


@pytest.mark.parametrize(
    ("volts", "limits", "servos"),
    [
        (50, [140] * 6, [1, 2, 3, 4, 5, 6]),  # 12 V servos on 5 V
        (74, [140] * 6, [1, 2, 3, 4, 5, 6]),
        (120, [140, 140, 140, 140, 140, 80], [6]),  # one 7.4 V servo among 12 V ones
        (74, [80, 80, 80, 80, 80, 140], [6]),
        (120, [80] * 6, [1, 2, 3, 4, 5, 6]),
        (120, [140] * 6, []),
        (74, [80] * 6, []),
    ],
)
def test_a_supply_that_is_not_the_servos_stops_a_run_as_it_stops_a_calibration(
    volts: int, limits: list[int], servos: list[int]
):
    read = rows()
    read[:, registers.BY_NAME["Present_Voltage"].address] = volts
    read[:, registers.BY_NAME["Max_Voltage_Limit"].address] = limits
    stops = [finding for finding in check_supply(read) if finding.level == "stop"]
    assert [int(finding.subject.split()[1]) for finding in stops] == servos
    calibrating = [finding for finding in of_servos(read) if finding.kind == "supply"]
    assert [finding.subject for finding in calibrating] == [finding.subject for finding in stops]
    assert all(finding.found and finding.asked and finding.possible for finding in stops)


def test_a_voltage_at_its_limit_is_within():
    read = rows()
    read[:, registers.BY_NAME["Present_Voltage"].address] = 140
    assert check_supply(read)[0].level == "ok"


def test_a_joint_outside_its_range_stops():
    (finding,) = check_calibration(calibration(), rows(5, Present_Position=1320), "file")
    assert (finding.level, finding.subject) == ("stop", "servo 6 (gripper)")
    assert "it is at 1320, 9 deg outside" in finding.found
    assert check_calibration(calibration(), rows(5, Present_Position=1380), "")[0].level == "ok"


def test_a_gripper_with_small_torque_is_set_by_a_run_and_another_joint_is_not():
    (finding,) = check_settings(rows(5, Max_Torque_Limit=0))
    assert (finding.level, finding.subject) == ("warn", "servo 6 (gripper)")
    assert "so101-run sets it" in finding.possible
    assert check_settings(rows(4, Max_Torque_Limit=0))[0].level == "stop"


@pytest.mark.parametrize(
    ("change", "level", "kind"),
    [
        ({"drive_mode": 1}, "ok", ""),  # of a gripper it says which stop is the closed one
        ({"drive_mode": 2}, "stop", "drive_mode"),
        ({"id": 5}, "stop", "ids"),
    ],
)
def test_what_only_the_file_says_is_judged(change: dict[str, int], level: str, kind: str):
    file = calibration(gripper=calibration()["gripper"]._replace(**change))
    (finding,) = check_calibration(file, rows(), "file")
    assert (finding.level, finding.kind) == (level, kind)


def test_a_drive_mode_that_degrees_ignore_is_worth_a_word():
    file = calibration(elbow_flex=calibration()["elbow_flex"]._replace(drive_mode=1))
    (finding,) = check_calibration(file, rows(), "file")
    assert (finding.level, finding.subject) == ("warn", "elbow_flex")


def test_an_offset_that_lerobot_reads_otherwise_is_named():
    read = rows()
    address = registers.BY_NAME["Homing_Offset"].address
    read[2, address : address + 2] = 0, 0x90
    findings = check_calibration(calibration(), read, "file")
    assert [f.kind for f in findings if "0x9000" in f.found] == ["homing"]


# cameras -----


class Clock:
    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


def picture(seed: int, scale: int = 255) -> Any:
    return np.random.default_rng(seed).integers(0, scale, (24, 32, 3), endpoint=True).astype(np.uint8)


def camera_findings(**more: Any) -> list[Finding]:
    """A good camera `wrist` at 30 Hz beside a `front` that does what `more` says."""
    clock = Clock()
    front = {"image": None, "stops_s": 99.0, "lag_s": 0.0, "renderer": None, "fps": 30.0, **more}

    def look() -> dict[str, Frame]:
        number = int(clock.time_s * 30)
        mine = int(min(clock.time_s, front["stops_s"]) * front["fps"])
        image = picture(1000 + mine) if front["image"] is None else front["image"]
        return {
            "front": Frame(image, mine / front["fps"] - front["lag_s"], mine, front["renderer"]),
            "wrist": Frame(picture(number), number / 30, number, None),
        }

    sizes, rates = {"front": (24, 32), "wrist": (24, 32)}, {"front": 30.0, "wrist": 30.0}
    findings = check_cameras(look, sizes, clock, 0.5, rates)
    WATCHED_S.append(clock.time_s)
    return findings


WATCHED_S: list[float] = []
"""How long the cameras were watched."""


def test_good_cameras_pass_without_waiting_long():
    assert [finding.level for finding in camera_findings()] == ["ok", "ok"]
    assert WATCHED_S[-1] < 0.5


@pytest.mark.parametrize(
    ("trouble", "level", "words"),
    [
        ({"image": np.full((48, 64, 3), 9, np.uint8)}, "stop", "64x48 pixels"),
        ({"image": picture(0, 10)}, "stop", "dark"),
        ({"image": np.full((24, 32, 3), 128, np.uint8)}, "stop", "one grey"),
        ({"stops_s": 0.0}, "stop", "1.00 s old"),
        ({"stops_s": 0.0, "lag_s": -0.8}, "stop", "no new picture"),
        ({"lag_s": 0.7}, "stop", "s old"),
        ({"image": picture(7)}, "warn", "the same to the last bit"),
        ({"fps": 8.0}, "stop", "8.0 frames/s"),
        ({"fps": 15.0}, "warn", "15.0 frames/s"),
    ],
)
def test_a_camera_that_does_not_see_is_named(trouble: dict[str, Any], level: str, words: str):
    findings = [finding for finding in camera_findings(**trouble) if finding.subject == "front"]
    assert words in " ".join(f"{finding.level} {finding.found}" for finding in findings)
    assert verdict(findings) == level


def test_a_camera_that_is_fast_now_and_then_is_judged_by_all_its_pictures():
    """Ten pictures at once, then none for a second: no ten of them are on time."""
    clock = Clock()

    def look() -> dict[str, Frame]:
        whole, part = divmod(clock.time_s, 1.2)
        number = int(whole) * 9 + min(int(part * 30), 8)
        return {"front": Frame(picture(number), number // 9 * 1.2 + number % 9 / 30, number, None)}

    (finding,) = check_cameras(look, {"front": (24, 32)}, clock, 2.0, {"front": 30.0})
    assert (finding.level, finding.asked[:2]) == ("stop", "30")


def test_drawn_pictures_may_be_the_same():
    assert verdict(camera_findings(image=picture(7), renderer="ray")) == "ok"


def test_two_names_for_one_device_are_noticed():
    clock = Clock()

    def look() -> dict[str, Frame]:
        number = int(clock.time_s * 30)
        return {name: Frame(picture(number), number / 30, number, None) for name in ("front", "wrist")}

    findings = check_cameras(look, {"front": (24, 32), "wrist": (24, 32)}, clock, 0.5)
    assert [finding.subject for finding in findings if finding.level == "stop"] == ["front and wrist"]


def test_a_camera_without_any_picture_is_named():
    findings = check_cameras(dict, {"front": (24, 32)}, Clock(), 0.5)
    assert [(finding.level, finding.found) for finding in findings] == [("stop", "no picture")]


def coloured(*colour: float, seed: int = 0) -> NDArray[np.uint8]:
    """Of that mean colour, of 255, with something in it."""
    noise = np.random.default_rng(seed).normal(0, 10, (24, 32, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


FRONT, WRIST = coloured(150, 140, 120), coloured(60, 70, 90, seed=1)
COLOURS = {"front": [0.59, 0.55, 0.47], "wrist": [0.24, 0.27, 0.35]}


def test_cameras_that_have_changed_places_before_the_start_are_noticed():
    (found,) = check_places({"front": WRIST, "wrist": FRONT}, COLOURS)
    assert (found.level, found.subject) == ("warn", "front and wrist")
    assert "index_or_path" in found.text


@pytest.mark.parametrize(
    "images",
    [
        {"front": FRONT, "wrist": WRIST},
        {"front": coloured(90, 80, 70), "wrist": coloured(30, 35, 45)},  # half the light
        {"front": coloured(200, 190, 170), "wrist": coloured(110, 120, 140)},
        {"front": coloured(100, 100, 100), "wrist": coloured(100, 100, 100)},  # like neither
        {"front": WRIST},
        {"front": WRIST, "top": FRONT},  # of which nothing is known
    ],
)
def test_cameras_in_their_places_are_not_taken_for_swapped(images: Any):
    assert check_places(images, COLOURS) == []


def test_cameras_that_see_alike_are_not_told_apart():
    alike = {"front": [0.5, 0.5, 0.5], "wrist": [0.48, 0.5, 0.5]}
    assert check_places({"front": coloured(122, 127, 127), "wrist": coloured(128, 127, 127)}, alike) == []


# policy -----


def changed(feature: str, **values: Any) -> dict[str, Any]:
    return STATISTICS | {feature: STATISTICS[feature] | {k: np.array(v) for k, v in values.items()}}


def scaled(feature: str, factor: float) -> dict[str, Any]:
    return STATISTICS | {feature: {name: values * factor for name, values in STATISTICS[feature].items()}}


def test_good_statistics_pass():
    assert verdict(check_statistics(STATISTICS, Units.DEGREES)) == "ok"
    only_mean = {name: {k: v for k, v in s.items() if k in ("mean", "std")} for name, s in STATISTICS.items()}
    assert verdict(check_statistics(only_mean, Units.DEGREES)) == "ok"
    assert verdict(check_statistics(changed("action", min=[-60, -80, -10, 40, -101.0, 0]))) == "ok"


def test_a_spread_that_training_has_raised_passes_and_that_of_an_action_does_not_matter():
    raised = np.array([30, 20, 20, 10, LEAST_SPREAD_DEG, 15], np.float32).astype(np.float64)
    assert verdict(check_statistics(changed("observation.state", std=raised), Units.DEGREES)) == "ok"
    assert verdict(check_statistics(changed("action", std=[30, 20, 20, 10, 0.0, 15]), Units.DEGREES)) == "ok"


def test_units_that_cannot_be_told_are_worth_a_word():
    finding = check_statistics(STATISTICS)[0]
    assert (finding.level, finding.subject) == ("warn", "units")
    assert "--robot.use_degrees=false" in finding.possible


RANGE = {
    "min": np.array([-58.2, -99.7, -24.6, -6.3, -61.0, 0.9]),
    "max": np.array([61.4, 38.5, 99.5, 99.2, 54.1, 71.3]),
    "mean": np.array([0.0, -40, 30, 60, 0, 30]),
    "std": np.full(6, 20.0),
}
"""Of an arm that was recorded in LeRobot's -100..100; published."""


@pytest.mark.parametrize(("units", "level"), [(None, "stop"), (Units.RANGE, "ok"), (Units.DEGREES, "ok")])
def test_joints_that_end_at_a_hundred_stop_unless_somebody_says_their_units(units: Units | None, level: str):
    findings = check_statistics({"action": RANGE, "observation.state": RANGE}, units)
    assert verdict(findings) == level
    assert level != "stop" or "--robot.use_degrees=false" in findings[0].text


def test_one_joint_beyond_a_hundred_makes_both_features_degrees():
    beyond = RANGE | {"max": np.array([61.4, 38.5, 101.0, 99.2, 54.1, 71.3])}
    assert verdict(check_statistics({"action": beyond, "observation.state": RANGE})) == "ok"


def test_degrees_are_no_range():
    beyond = RANGE | {"max": np.array([61.4, 38.5, 140.0, 99.2, 54.1, 71.3])}
    finding = check_statistics({"action": beyond, "observation.state": RANGE}, Units.RANGE)[0]
    assert (finding.level, finding.found) == ("stop", "a joint goes to 140: degrees?")


def test_ranges_of_other_units_are_compared_in_degrees():
    unit = np.array([1.2, 1.0, -1.0, 0.9, 1.8, 1.0])  # the elbow counts the other way round
    found = in_degrees({"action": RANGE, "observation.images.front": IMAGE}, unit)
    np.testing.assert_allclose(found["action"]["max"], [73.68, 38.5, 24.6, 89.28, 97.38, 71.3])
    np.testing.assert_allclose(found["action"]["min"], [-69.84, -99.7, -99.5, -5.67, -109.8, 0.9])
    np.testing.assert_allclose(found["action"]["std"], 20 * np.abs(unit))
    assert found["observation.images.front"] is IMAGE


@pytest.mark.parametrize(
    ("statistics", "level", "words"),
    [
        (scaled("action", np.pi / 180), "stop", "radians"),
        (scaled("observation.state", 1 / 100), "stop", "-1 to 1"),
        (scaled("action", 4096 / 90), "stop", "encoder steps"),
        (
            changed("action", min=[-60, -80, -10, 40, -10, 0.0], max=[60, 0, 70, 80, 10, 1.0]),
            "stop",
            "the gripper",
        ),
        (changed("action", max=[60, 0, 70, 80, 10, 140.0]), "warn", "the gripper"),
        (changed("action", mean=[0, np.nan, 0, 0, 0, 0.0]), "stop", "nan"),
        (changed("action", std=[1.0] * 7), "stop", "std"),
        (changed("observation.state", std=[30, 20, 20, 10, 0.0, 15]), "stop", "hardly moved"),
        (changed("observation.state", std=[30, 20, 20, 10, 0.09, 15]), "stop", "wrist_roll"),
        (changed("observation.state", std=[30, 20, 20, 10, 0.99, 15]), "stop", "deviation 0.99"),
        (changed("observation.images.front", mean=np.full((3, 1, 1), 120.0)), "stop", "a mean of 120"),
        ({"observation.state": GOOD}, "stop", "none"),
        ({"action": {"count": np.array([3.0])}, "observation.state": GOOD}, "stop", "only count"),
    ],
)
def test_statistics_that_are_not_this_robots_are_named(statistics: Any, level: str, words: str):
    findings = check_statistics(statistics)
    assert verdict(findings) == level
    assert words in " ".join(f"{finding.found} {finding.subject}" for finding in findings)


def test_ranges_within_the_arms_pass():
    assert verdict(check_ranges(STATISTICS, LOWER, UPPER, MEAN)) == "ok"


@pytest.mark.parametrize(("beyond", "level"), [(4.0, "ok"), (10.0, "warn"), (30.0, "stop")])
def test_actions_beyond_a_joints_range_are_named(beyond: float, level: str):
    upper = UPPER.copy()
    upper[3] = 80.0 - beyond
    findings = check_ranges(STATISTICS, LOWER, upper, MEAN)
    assert verdict(findings) == level
    if level != "ok":
        assert findings[0].subject == "wrist_flex"
        assert "40 to 80" in findings[0].found


def test_estimated_ranges_do_not_stop_anybody():
    estimated = {name: {k: s[k] for k in ("mean", "std")} for name, s in STATISTICS.items()}
    upper = UPPER.copy()
    upper[3] = 50.0
    assert verdict(check_ranges(estimated, LOWER, upper, MEAN)) == "warn"


def test_a_pose_that_training_never_saw_is_worth_a_word():
    (finding,) = check_ranges(STATISTICS, LOWER, UPPER, MEAN + np.eye(6)[0] * 70)
    assert (finding.level, finding.subject) == ("warn", "shoulder_pan")
    assert "begins at 70" in finding.found


def write_checkpoint(folder: Path) -> Path:
    """What says how a LeRobot checkpoint scales."""
    (folder / "config.json").write_text('{"type": "act"}')
    for name, step in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
        state = f"policy_{name}processor_step_0_{step}.safetensors"
        steps = [{"registry_name": "to_batch_processor"}] if name == "pre" else []
        steps += [{"registry_name": "device_processor"}, {"registry_name": step, "state_file": state}]
        (folder / f"policy_{name}processor.json").write_text(json.dumps({"steps": steps}))
        flat = {f"{feature}.{k}": v for feature, values in STATISTICS.items() for k, v in values.items()}
        save_file({key: np.asarray(value, np.float32) for key, value in flat.items()}, folder / state)
    return folder


def test_statistics_are_read_from_a_checkpoints_files(tmp_path: Path):
    found = read_statistics(write_checkpoint(tmp_path))
    assert found.keys() == STATISTICS.keys()
    np.testing.assert_allclose(found["action"]["max"], GOOD["max"])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("missing", "has no policy_postprocessor.json"),
        ("cut", "normalizer_processor.safetensors cannot be read"),
        ("strange", "policy_preprocessor.json is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_one_readable_message(tmp_path: Path, damage: str, expected: str):
    write_checkpoint(tmp_path)
    if damage == "missing":
        (tmp_path / "policy_postprocessor.json").unlink()
    elif damage == "cut":
        next(tmp_path.glob("*.safetensors")).write_bytes(b"abc")
    else:
        (tmp_path / "policy_preprocessor.json").write_text("[]")
    with pytest.raises(CheckpointError, match=expected):
        read_statistics(tmp_path)


class FakePolicy:
    def __init__(self, path: Path, misfit: str = "") -> None:
        self.path, self._misfit = path, misfit

    def check_robot(self, joints: Any, cameras: Any) -> None:
        if self._misfit:
            raise PolicyError(self._misfit)


# all together -----


@pytest.fixture
def robot() -> Iterator[SO101]:
    robot = SO101(SO101Config(port="mock", mock=MockConfig(width=32, height=24, renderer="ray")))
    robot.connect()
    yield robot
    robot.disconnect()


def test_the_mock_arm_passes_and_each_check_speaks(robot: SO101, tmp_path: Path):
    assert robot.mock is not None
    before = robot.mock.servos.get(0, "Torque_Enable")
    findings = preflight(robot, FakePolicy(write_checkpoint(tmp_path)))
    assert tuple(dict.fromkeys(finding.check for finding in findings)) == (*CHECKS, *further_checks())
    assert [finding for finding in findings if finding.level == "stop"] == []
    assert robot.mock.servos.get(0, "Torque_Enable") == before
    assert json.loads(json.dumps(as_json(findings)))["verdict"] == verdict(findings)


def test_the_preflight_asks_whether_the_cameras_are_in_their_places(
    robot: SO101, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []
    swapped = Finding(Level.WARN, "cameras", "front and wrist", "swapped")
    module = preflight_module.preflight_cameras
    monkeypatch.setattr(module, "check_places", lambda *given: asked.append(given) or [swapped])
    assert swapped in preflight(robot, FakePolicy(write_checkpoint(tmp_path)), colours=COLOURS)
    ((images, colours),) = asked
    assert (images.keys(), colours) == (robot.frames().keys(), COLOURS)


def test_an_arm_of_another_model_is_named(robot: SO101, tmp_path: Path):
    robot.config.model = parse(normalised(["--robot.type=so100_follower"])).robot.model
    findings = preflight(robot, FakePolicy(write_checkpoint(tmp_path)))
    (found,) = [finding for finding in findings if finding.check == "geometry"]
    assert (found.level, found.subject) == ("warn", "so100")
    assert "links of an SO-101" in found.found
    with pytest.raises(ConfigError, match=r"--robot\.model=so99: expected one of so101, so100"):
        parse(normalised(["--robot.model=so99"]))


def test_one_trouble_hides_no_other(robot: SO101, tmp_path: Path):
    assert robot.mock is not None
    robot.mock.add_fault({"fault": "silent_servo", "servo": 2, "for_s": 1000.0})
    robot.mock.add_fault({"fault": "camera_dark", "camera": "front"})
    stops = [f for f in preflight(robot, FakePolicy(tmp_path, "it has five joints")) if f.level == "stop"]
    words = [finding.found for finding in stops]
    assert {finding.check for finding in stops} == {"servos", "cameras", "policy", "statistics", "ranges"}
    assert any("servo 2 (shoulder_lift) did not answer" in word for word in words)
    assert any("dark" in word for word in words)
    assert "it has five joints" in words


def test_a_check_that_is_skipped_says_so_and_one_that_fails_stops():
    def broken() -> list[Finding]:
        raise CameraError("no picture yet")

    checks = {"heat": lambda: [Finding("ok", "heat", "", "")], "cameras": broken}
    assert [f.level for f in run_checks(checks)] == ["ok", "stop"]
    assert [f.level for f in run_checks(checks, ["cameras"])] == ["ok", "warn"]
    assert [f.found for f in run_checks(checks, ["all"])] == ["not looked at"] * 2


def test_what_is_skipped_is_not_looked_at(robot: SO101, tmp_path: Path):
    findings = preflight(robot, FakePolicy(write_checkpoint(tmp_path)), ["cameras"])
    assert [finding.found for finding in findings if finding.check == "cameras"] == ["not looked at"]
    assert {finding.check for finding in findings if finding.found == "not looked at"} == {"cameras"}


def test_a_check_of_another_package_that_fails_is_a_stop_and_hides_no_other(
    robot: SO101, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = EntryPoint("wings", "so101_no_such_package:check", preflight_module.GROUP)
    monkeypatch.setattr(preflight_module, "further_checks", lambda: {"wings": broken})
    findings = preflight(robot, FakePolicy(write_checkpoint(tmp_path)))
    assert tuple(dict.fromkeys(finding.check for finding in findings)) == (*CHECKS, "wings")
    [stop] = [finding for finding in findings if finding.level == "stop"]
    assert "ModuleNotFoundError" in stop.found


def test_a_check_that_does_not_exist_cannot_be_skipped():
    PreflightConfig(skip=["all", *CHECKS])
    with pytest.raises(ConfigError, match=r"--preflight.skip=wings: expected one of all, servos, supply"):
        PreflightConfig(skip=["wings"])


def test_the_message_and_the_table_say_what_to_do():
    findings = [
        Finding("ok", "heat", "servos", "25 C"),
        Finding("stop", "cameras", "front", "dark [1]", "a picture", "lens cap?"),
    ]
    with pytest.raises(
        PreflightError, match=r"- cameras, front: dark \[1\]; expected: a picture - lens cap\?"
    ):
        require(findings)
    require(findings[:1])
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(as_table(findings))
    console.file.close()
    text = console.export_text()
    assert "pre-flight: stop" in text
    assert "dark [1]" in text
    assert "lens cap?" in text
