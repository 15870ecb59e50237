"""A so101.yaml in the folder of a command: the arm it names is driven, within its limits, and a line says so."""

import json
import os
from pathlib import Path

import pytest

from so101_calibration.cli import CALIBRATE, DOCTOR
from so101_eval.cli import BENCH
from so101_policy.command_line.command_shell import Command
from so101_robot import demo
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.cli import RUN, TELEOP
from so101_robot.guard.rig import Rig
from so101_robot.mock.config import MockConfig

POLICY = f"--policy.path={demo.demo_policy('stock')}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> None:
    path = folder / "so101.yaml"
    path.write_text(text)
    os.chmod(path, 0o644)


def test_the_policy_alone_is_typed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder,
        "arm: {port: mock}\nlimits: {stop_c: 140, joints: {gripper: {speed: 30}}}\n",
    )
    asked = [
        POLICY,
        "--duration_s=0.2",
        "--robot.mock.scene=palletize-1-small",
        "--output_dir=run",
        "--clip=false",
    ]
    assert RUN.main(asked) == 0
    assert "so101.yaml: arm, limits" in capsys.readouterr().err
    config = json.loads((folder / "run" / "run.json").read_text())["config"]["robot"]
    assert (config["port"], config["own_limits_widen"]) == ("mock", False)
    findings = json.loads((folder / "run" / "preflight.json").read_text())["findings"]
    (told,) = [finding for finding in findings if finding["check"] == "limits"]
    assert told["level"] == "warn"
    assert "stop_c: 140 is wider than the arm's" in told["found"]


def test_the_guard_has_the_narrower_limits(folder: Path) -> None:
    text = json.dumps({"stop_c": 140, "joints": {"gripper": {"speed": 30}}})
    for widen, stop_c in ((False, Rig().stop_c), (True, 140)):
        config = SO101Config(
            port="mock", own_limits=text, own_limits_widen=widen, mock=MockConfig(realtime_factor=0)
        )
        robot = SO101(config)
        robot.connect()
        try:
            assert robot.guard is not None
            rig = robot.guard.rig
            assert (rig.stop_c, rig.joints["gripper"].speed) == (stop_c, 30)
            assert len(robot.limits_refused) == (not widen)
        finally:
            robot.disconnect()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (RUN, [POLICY]),
        (TELEOP, []),
        (BENCH, ["run", "study"]),
        (CALIBRATE, ["check"]),
        (CALIBRATE, ["servos"]),
    ],
)
def test_what_cannot_be_in_it_ends_the_command_before_anything_moves(
    folder: Path, command: Command, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, "arm: {prt: mock}\n")
    assert command.main(arguments) == 2
    assert "prt is not known; expected one of port, id" in capsys.readouterr().err


def test_the_demonstration_stays_on_the_simulated_arm(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, "arm: {port: /dev/ttyNOT_THERE}\n")
    assert RUN.main(["--policy.path=demo:stock", "--duration_s=0.2", "--output_dir=run", "--clip=false"]) == 0
    assert "so101.yaml" not in capsys.readouterr().err


def test_the_doctor_shows_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "arm: {port: /dev/ttyACM9}\n")
    DOCTOR.main([])
    assert "so101.yaml: arm" in capsys.readouterr().out
