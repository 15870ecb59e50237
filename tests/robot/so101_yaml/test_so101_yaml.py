"""so101.yaml: what can be in it, where it is looked for, what it means for a command; that it only narrows limits."""

import json
import os
from pathlib import Path

import pytest
import yaml

from so101_robot.errors import ConfigError
from so101_robot.guard.narrow import OF_ARM, OF_JOINTS, narrowed
from so101_robot.guard.rig import Rig, of_content
from so101_robot.so101_yaml import find
from so101_robot.so101_yaml.content import in_yaml, parsed
from so101_robot.so101_yaml.flags import OF_AN_ARM, OF_BOTH_ARMS, filled, filled_arguments

WHOLE = """
arm: {port: /dev/ttyACM0, id: my_arm}
leader: {port: /dev/ttyACM1, id: my_leader}
cameras:
  front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}
limits: {joints: {gripper: {speed: 50}}}
place: {table_m: 0.02, walls_m: {x: [0, 0.3], y: [-0.2, 0.2], z: [0, 0.4]}, home: [0, -90, 90, 60, 0, 10]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "so101.yaml").write_text(WHOLE)
    os.chmod(tmp_path / "so101.yaml", 0o644)
    return tmp_path


# What can be in it


def test_what_is_written_is_read_again() -> None:
    content = parsed(WHOLE)
    assert parsed(in_yaml(content)) == content
    assert content.own_limits["table_m"] == 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "policy: {path: evil/policy}",
            "policy is not known; expected one of arm, leader, cameras, limits, place",
        ),
        ("arm: {port: /dev/ttyACM0, calibration_dir: /tmp}", "calibration_dir is not known"),
        ("arm: {port: /etc/passwd}", "expected mock, or a serial port"),
        ("arm: {port: 'tcp://evil:1'}", "expected mock, or a serial port"),
        ("arm: {id: ../../other}", "the name of a calibration file"),
        ("arm: [1]", "expected a table with port, id"),
        ("arm: {port: /dev/ttyACM0}\nleader: {port: /dev/ttyACM0}", "have one port"),
        (
            "cameras: {front: {type: opencv, index_or_path: 'http://evil/x.mjpg'}}",
            "a number, or a video device",
        ),
        ("cameras: {front: {type: opencv, index_or_path: 'v4l2src ! x'}}", "a number, or a video device"),
        ("cameras: {front: {type: zmq, server_address: 10.0.0.1, port: 5555}}", "expected this machine"),
        ("cameras: {front: {type: magic}}", "expected one of opencv"),
        ("cameras: {'a b': {type: opencv}}", "is no name for a camera"),
        ("place: {table_m: .nan}", "expected a number"),
        ("place: {table_m: true}", "expected a number"),
        ("place: {walls_m: {x: [0.3, 0.1], y: [0, 1], z: [0, 1]}}", "the first is not below the second"),
        ("place: {home: [0, 0]}", "expected a number for each of"),
        ("limits: {joints: {gripper: {speed: .inf}}}", "speed"),
        ("limits: {joints: {gripper: {zero_deg: 3}}}", "zero_deg is not possible here"),
        ("limits: {workspace_m: null}", "workspace_m is not known"),
        ("limits: {joints: {elbow: {speed: 1}}}", "elbow"),
        ("!!python/object/apply:os.system ['true']", ""),
        ("a: &a [*a]", ""),
    ],
)
def test_nothing_else_can_be_in_it(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert message in str(caught.value)


# Where it is looked for


def test_it_is_the_nearest_one_and_the_search_ends_at_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bench = home / "bench" / "today"
    bench.mkdir(parents=True)
    (tmp_path / "so101.yaml").touch()
    assert find.nearest(bench, home) is None, "above the home folder is nobody's business"
    assert find.nearest(bench, tmp_path / "elsewhere") == tmp_path / "so101.yaml"
    (home / "so101.yaml").touch()
    assert find.nearest(bench, home) == home / "so101.yaml"
    (home / "bench" / "so101.yaml").touch()
    assert find.nearest(bench, home) == home / "bench" / "so101.yaml"


def test_a_strangers_file_is_read_only_if_it_is_named(folder: Path) -> None:
    path = folder / "so101.yaml"
    assert find.read(path) == WHOLE
    os.chmod(path, 0o666)
    with pytest.raises(ConfigError, match="may be written by everybody"):
        find.read(path)
    assert find.read(path, named=True) == WHOLE
    link = folder / "link.yaml"
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="is a link"):
        find.read(link)
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is not a file"):
        find.read(pipe)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_not_read_unasked(folder: Path) -> None:
    os.chown(folder / "so101.yaml", 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        find.read(folder / "so101.yaml")


# What it means for a command


def test_it_stands_for_the_flags_that_nobody_gave(folder: Path) -> None:
    flags, said = filled({"--policy.path": "x"}, OF_AN_ARM, folder)
    assert (flags["--robot.port"], flags["--robot.id"]) == ("/dev/ttyACM0", "my_arm")
    assert yaml.safe_load(flags["--robot.cameras"])["front"]["fps"] == 30
    assert yaml.safe_load(yaml.safe_load(flags["--robot.own_limits"]))["table_m"] == 0.02
    assert json.loads(flags["--robot.home"])[1] == -90
    assert "--teleop.port" not in flags, "so101-run is not taken over unless it is asked"
    assert "--robot.own_limits_widen" not in flags
    assert said.endswith("so101.yaml: arm, cameras, limits, place")
    assert filled({}, OF_BOTH_ARMS, folder).flags["--teleop.port"] == "/dev/ttyACM1"


def test_flags_win_and_then_a_configuration_file(folder: Path, tmp_path: Path) -> None:
    flags, _ = filled({"--robot.id": "other", "--robot.cameras": "{}"}, OF_AN_ARM, folder)
    assert (flags["--robot.id"], flags["--robot.cameras"]) == ("other", "{}")
    config = tmp_path / "run.yaml"
    config.write_text("robot: {port: /dev/ttyUSB3, id: third}\nfps: 30\n")
    flags, _ = filled({"--config_path": str(config)}, OF_AN_ARM, folder)
    assert "--robot.port" not in flags
    assert "--robot.id" not in flags
    assert "--robot.cameras" in flags


def test_a_file_that_is_named_takes_the_place_of_the_nearest_and_may_widen(
    folder: Path, tmp_path: Path
) -> None:
    named = tmp_path / "b.yaml"
    named.write_text("arm: {port: /dev/ttyACM7}\nlimits: {stop_c: 70}\n")
    flags, said = filled({"--config_path": str(named)}, OF_AN_ARM, folder)
    assert flags == {
        "--robot.port": "/dev/ttyACM7",
        "--robot.own_limits": '"{\\"stop_c\\": 70}"',
        "--robot.own_limits_widen": "true",
    }
    assert "b.yaml: arm, limits" in said


def test_it_can_be_left_out_and_the_simulated_arm_is_another_one(folder: Path) -> None:
    assert filled({"--config_path": "none", "--fps": "30"}, OF_AN_ARM, folder) == ({"--fps": "30"}, "")
    flags, said = filled({"--robot.port": "mock"}, OF_AN_ARM, folder)
    assert flags == {"--robot.port": "mock"}
    assert "is left out: it is about /dev/ttyACM0, not mock" in said
    (folder / "so101.yaml").write_text("arm: {port: mock}\n")
    assert filled({"--robot.port": "/dev/ttyACM0"}, OF_AN_ARM, folder).flags == {
        "--robot.port": "/dev/ttyACM0"
    }


def test_calibration_takes_port_and_id(folder: Path) -> None:
    arguments, said = filled_arguments(["--check"], None, "leader", folder)
    assert arguments == ["--check", "--robot.port=/dev/ttyACM1", "--robot.id=my_leader"]
    assert "so101.yaml" in said
    assert filled_arguments(["--robot.port=mock"], "mock", "arm", folder) == (["--robot.port=mock"], "")
    assert filled_arguments(["--config_path=none"], None, "arm", folder) == ([], "")


def test_a_damaged_file_is_an_error_and_no_shrug(folder: Path) -> None:
    (folder / "so101.yaml").write_text("arm: {prt: x}\n")
    with pytest.raises(ConfigError, match=r"so101\.yaml: arm: prt is not known"):
        filled({}, OF_AN_ARM, folder)


# It narrows and never widens


def widened(rig: Rig, name: str) -> float:
    """A value that is wider than the arm's."""
    value = getattr(rig, name)
    return value + 1e-3 if OF_ARM[name] is min else value - 1e-3


@pytest.mark.parametrize("name", OF_ARM)
def test_no_limit_of_the_arm_is_widened(name: str) -> None:
    base = of_content({"table_m": 0.01, "self_gap_m": 0.01})
    wider = widened(base, name)
    rig, refused = narrowed(base, json.dumps({name: wider}))
    assert getattr(rig, name) == getattr(base, name)
    assert len(refused) == 1
    assert name in refused[0]
    assert getattr(narrowed(base, json.dumps({name: wider}), may_widen=True).rig, name) == wider
    narrower = getattr(base, name) + (1e-3 if OF_ARM[name] is max else -1e-3)
    rig, refused = narrowed(base, json.dumps({name: narrower}))
    assert (getattr(rig, name), refused) == (narrower, ())


@pytest.mark.parametrize("name", OF_JOINTS)
@pytest.mark.parametrize("joint", ["shoulder_pan", "gripper"])
def test_no_limit_of_a_joint_is_widened(joint: str, name: str) -> None:
    base = of_content({"joints": {joint: {"lower": 10, "upper": 60}}})
    before = getattr(base.joints[joint], name)
    outward = 1 if OF_JOINTS[name] is min else -1
    wider, narrower = before + outward * 0.01, before - outward * 0.01
    rig, refused = narrowed(base, json.dumps({"joints": {joint: {name: wider}}}))
    assert getattr(rig.joints[joint], name) == before
    assert len(refused) == 1
    rig, refused = narrowed(base, json.dumps({"joints": {joint: {name: narrower}}}))
    assert (getattr(rig.joints[joint], name), refused) == (narrower, ())


def test_walls_are_what_both_allow_and_self_collision_stays_on() -> None:
    base = of_content({"workspace_m": {"x": [0, 0.3], "y": [-0.2, 0.2], "z": [0, 0.4]}})
    rig, refused = narrowed(base, '{"workspace_m": {"x": [0.1, 0.9], "y": [-0.1, 0.1], "z": [0, 0.4]}}')
    assert rig.workspace_m == ((0.1, 0.3), (-0.1, 0.1), (0.0, 0.4))
    assert len(refused) == 1
    rig, refused = narrowed(base, '{"workspace_m": null, "self_collision": false}')
    assert (rig.workspace_m, rig.self_collision, len(refused)) == (base.workspace_m, True, 2)
    with pytest.raises(ConfigError, match="nothing in common"):
        narrowed(base, '{"workspace_m": {"x": [0.5, 0.9], "y": [-0.1, 0.1], "z": [0, 0.4]}}')


def test_the_whole_turn_of_the_wrist_is_no_room_to_widen() -> None:
    rig, refused = narrowed(Rig(), '{"joints": {"wrist_roll": {"lower": -400}}}')
    assert rig.joints["wrist_roll"].lower is None or rig.joints["wrist_roll"].lower > -400
    assert refused
