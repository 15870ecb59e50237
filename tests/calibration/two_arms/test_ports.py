"""`so101-calibrate ports`: the port that goes when a cable is pulled, and the arm that a hand moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from so101_calibration.cli import CALIBRATE
from so101_calibration.errors import ImplausibleError
from so101_calibration.servos.guided import Recorder
from so101_calibration.servos.line import open_line
from so101_calibration.servos.steps import Step
from so101_calibration.two_arms import ports
from so101_robot.joints import GRIPPER
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant

from ..conftest import Scripted

A, B, C = "/dev/ttyACM0", "/dev/ttyACM1", "/dev/ttyUSB7"


def unplugging(there: list[str], gone: list[str], back: list[str]) -> Scripted:
    """Takes ports away at the first step and brings others at the second."""

    def act(step: Step, look: int) -> None:
        if step is ports.UNPLUG:
            there[:] = [port for port in there if port not in gone]
        else:
            there[:] = [*there, *[port for port in back if port not in there]]

    return Scripted(act=act)


def test_the_port_that_goes_is_the_followers() -> None:
    there = [A, B]
    person = unplugging(there, [B], [B])
    assert ports.by_unplugging(lambda: list(there), person) == 0
    assert f"follower: {B}" in person.text
    assert f"--robot.port={B} --teleop.port={A}" in person.text
    there = [A, B, C]
    person = unplugging(there, [B], [B])
    assert ports.by_unplugging(lambda: list(there), person) == 0
    assert f"other ports: {A}, {C}" in person.text
    assert "--teleop.port=" not in person.text, "which of them is not known"


def test_no_port_two_ports_or_another_name_afterwards_are_told() -> None:
    for gone, back, words in (
        ([], [], "0 ports have gone"),
        ([A, B], [], "2 ports have gone"),
        ([B], [C], f"{B} did not come back .new ports: {C}.*by-id"),
    ):
        there = [A, B]
        with pytest.raises(ImplausibleError, match=words):
            ports.by_unplugging(lambda there=there: list(there), unplugging(there, gone, back))


@pytest.fixture
def two() -> Iterator[tuple[list[MockArm], list[ports.Watched]]]:
    """Two arms on shafts."""
    arms = [MockArm(MockConfig(realtime_factor=0), plant=IdealPlant()) for _ in range(2)]
    with ExitStack() as stack:
        lines = [stack.enter_context(open_line("mock", arm)) for arm in arms]
        rows = [line.rows() for line in lines]
        watched = [
            ports.Watched(port, Recorder(line, row), row)
            for port, line, row in zip((A, B), lines, rows, strict=True)
        ]
        yield arms, watched


def turning(turns: Callable[[int], dict[tuple[int, int], float]], arms: list[MockArm]) -> Scripted:
    """Turns shafts: (arm, joint) -> degrees."""

    def act(step: Step, look: int) -> None:
        for (arm, joint), degrees in turns(look).items():
            arms[arm].plant._steps[joint] = 2047 + degrees * 4096 / 360  # type: ignore[attr-defined]
            arms[arm].advance_to(arms[arm].now_us + 20_000)

    return Scripted(act=act)


def test_the_arm_that_is_moved_is_the_leaders_and_no_torque_is_put_on(
    two: tuple[list[MockArm], list[ports.Watched]],
) -> None:
    arms, watched = two
    person = turning(lambda look: {(0, 1): min(look, 30.0), (1, 2): min(look / 20, 2.0)}, arms)
    assert ports.by_motion(watched, person) == 0
    assert f"follower: {B}" in person.text
    assert f"leader:   {A}" in person.text
    assert [arm.servos.get(joint, "Torque_Enable") for arm in arms for joint in range(6)] == [0] * 12


def test_a_bump_two_arms_or_none_is_not_clear(two: tuple[list[MockArm], list[ports.Watched]]) -> None:
    arms, watched = two
    for turns in ({(0, 1): 8.0}, {(0, 1): 30.0, (1, 1): 30.0}, {(0, 1): 30.0, (1, 0): 9.0}, {}):
        for arm in arms:
            arm.plant._steps[:] = 2047  # type: ignore[attr-defined]
            arm.advance_to(arm.now_us + 20_000)
        with pytest.raises(ImplausibleError, match="not clear which arm was moved"):
            ports.by_motion(watched, turning(lambda look, turns=turns: turns, arms))


def test_an_arm_under_torque_is_left_as_it_is_and_a_followers_limits_are_noted(
    two: tuple[list[MockArm], list[ports.Watched]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms, watched = two
    for register, value in (("Max_Torque_Limit", 500), ("Protection_Current", 250), ("Overload_Torque", 25)):
        arms[0].servos.set(GRIPPER, register, value)
    rows = watched[0].recorder._line.rows()
    person = turning(lambda look: {(0, 1): 30.0}, arms)
    assert ports.by_motion([watched[0]._replace(rows=rows), watched[1]], person) == 0
    assert "has the torque limits of a follower" in person.text
    arms[1].servos.set(2, "Torque_Enable", 1)
    lines = {A: watched[0].recorder._line, B: watched[1].recorder._line}
    monkeypatch.setattr(ports, "open_line", lambda port: lines[port])
    with ExitStack() as stack:
        found = ports._opened([A, B], stack, person)
    assert [arm.port for arm in found] == [A]
    assert f"{B}: the arm is under torque and is left so" in person.text
    assert arms[1].servos.get(2, "Torque_Enable") == 1
    with pytest.raises(ImplausibleError, match="1 arms can be watched"):
        ports.by_motion(found, person)


def test_the_command_shows_it_on_two_simulated_arms_and_says_when_there_are_not_two_ports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    assert CALIBRATE.main(["ports", "--move", "--among=mock"]) == 0
    assert "leader:   mock --leader" in capsys.readouterr().out
    monkeypatch.setattr(ports, "list_ports", list)
    assert CALIBRATE.main(["ports"]) == 2
    assert "ports found: none; expected two or more" in capsys.readouterr().err
