"""A run's arm comes back under another name: the robot goes on with it, and the watchdog is told."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import link
from so101_robot.bus import setup as startup
from so101_robot.bus import so101_bus as bus
from so101_robot.commands import reconnect
from so101_robot.commands.reconnect import LOOK_S, Adapter, Reconnector
from so101_robot.errors import PortError
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from terminals import Terminal

CH343 = Adapter(0x1A86, 0x55D3, None)


def pluggable() -> Terminal:
    """An arm whose cable can be pulled; its servos have LeRobot's settings, so that connecting writes nothing."""
    arm = MockArm(MockConfig(), plant=IdealPlant())
    for index in range(6):
        blank = np.zeros(87, np.uint8)
        for setting in startup.settings(index, blank, startup.Gains(p=16, i=0, d=32)):
            arm.servos.set(index, setting.register.name, setting.value)
        arm.servos.set(index, "Lock", 1)
    return Terminal(arm, pace=False)


class FakeWatchdog:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def pause(self, longest_s: float) -> None:
        self.told.append(longest_s)

    def port_is(self, port: str) -> None:
        self.told.append(port)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arm is served by a thread of this very process, on a machine that may have better to do."""
    monkeypatch.setattr(bus, "READ_TIMEOUT_S", 5.0)
    monkeypatch.setattr(bus, "SLOW_TIMEOUT_S", 5.0)
    monkeypatch.setattr(reconnect, "PING_S", 2.0)


@pytest.fixture
def cable() -> Iterator[Terminal]:
    one = pluggable()
    yield one
    one.close()


@pytest.fixture
def robot(cable: Terminal, tmp_path: Any) -> Iterator[SO101]:
    (tmp_path / "arm.json").write_text(json.dumps(cable.arm.calibration_fields))
    one = SO101(SO101Config(port=cable.server.path, id="arm", calibration_dir=tmp_path))
    one.connect()
    yield one
    one.disconnect()
    assert not one.is_connected


def test_the_arm_is_taken_up_again_where_it_is(
    cable: Terminal, robot: SO101, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconnect, "adapter_of", lambda port: CH343)
    monkeypatch.setattr(reconnect, "candidate_ports", lambda first, adapter: [cable.server.path or first])
    watchdog = FakeWatchdog()
    again = Reconnector(robot, cast("Any", watchdog))
    robot.command(robot.read().position)
    before = robot.bus.port
    cable.do(cable.server.unplug)
    with pytest.raises(PortError):
        robot.read()
    with pytest.raises(PortError, match="the arm was not found again"):
        again()
    assert robot.is_connected  # as far as a run is concerned
    assert robot.frames() == {}
    with pytest.raises(PortError, match="is not open"):
        robot.read()
    spare = open("/dev/ptmx", "rb")  # noqa: SIM115 - takes the old name
    try:
        cable.do(cable.server.replug)
        assert cable.server.path != before
        assert again()
    finally:
        spare.close()
    assert robot.read().answered.all()
    robot.command(robot.read().position)
    assert watchdog.told == [LOOK_S, LOOK_S, cable.server.path]


@pytest.fixture
def twin() -> Iterator[Terminal]:
    """Another arm with the same calibration, on an adapter of the same kind."""
    one = pluggable()
    yield one
    one.close()


def usb_ports(monkeypatch: pytest.MonkeyPatch, serial_number_of: dict[Terminal, str | None]) -> None:
    """What USB says about the adapters of these terminals, wherever they are."""

    def comports() -> list[Any]:
        return [
            SimpleNamespace(
                device=terminal.server.path,
                location=f"1-1.{place}",
                **CH343._replace(serial_number=number)._asdict(),
            )
            for place, (terminal, number) in enumerate(serial_number_of.items())
            if terminal.server.plugged
        ]

    monkeypatch.setattr(reconnect.usb, "comports", comports)
    monkeypatch.setattr(link, "list_ports", list)


def test_an_adapter_that_comes_back_under_another_name_is_known_by_its_serial_number(
    cable: Terminal, twin: Terminal, robot: SO101, monkeypatch: pytest.MonkeyPatch
):
    usb_ports(monkeypatch, {twin: "OTHER", cable: "MINE"})
    again = Reconnector(robot)
    before = robot.bus.port
    cable.do(cable.server.unplug)
    with pytest.raises(PortError):
        again()
    spare = open("/dev/ptmx", "rb")  # noqa: SIM115 - takes the old name
    try:
        cable.do(cable.server.replug)
        assert cable.server.path != before
        asked = twin.server.requests
        assert again()
    finally:
        spare.close()
    assert robot.bus.port == cable.server.path
    assert robot.read().answered.all()
    assert twin.server.requests == asked  # not a byte for a stranger


def test_without_a_serial_number_an_arm_that_was_there_before_is_not_taken_for_the_one_that_has_gone(
    cable: Terminal, twin: Terminal, robot: SO101, monkeypatch: pytest.MonkeyPatch
):
    usb_ports(monkeypatch, {twin: None, cable: None})
    again = Reconnector(robot)
    asked = twin.server.requests
    cable.do(cable.server.unplug)
    with pytest.raises(PortError):
        again()
    cable.do(cable.server.replug)
    assert again()
    assert robot.bus.port == cable.server.path
    assert twin.server.requests == asked


def test_without_serial_numbers_two_new_arms_that_fit_are_no_answer(
    cable: Terminal, twin: Terminal, robot: SO101, monkeypatch: pytest.MonkeyPatch
):
    usb_ports(monkeypatch, {cable: None})
    again = Reconnector(robot)
    usb_ports(monkeypatch, {cable: None, twin: None})
    with pytest.raises(PortError, match="two arms with one calibration answer"):
        again()


def test_a_port_that_is_not_on_usb_is_looked_for_where_it_was(
    cable: Terminal, robot: SO101, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconnect, "adapter_of", lambda port: None)
    monkeypatch.setattr(reconnect, "candidate_ports", lambda *_: pytest.fail("looked at strangers' ports"))
    again = Reconnector(robot)
    assert again()
    assert robot.read().answered.all()


def test_the_arm_in_memory_is_back_when_its_cable_is():
    arm = MockArm(MockConfig(realtime_factor=0.0, width=16, height=12, renderer="ray"))
    robot = SO101(SO101Config(mock=arm.config), arm)
    robot.connect()
    again = Reconnector(robot)
    arm.port_is_out = True
    assert not again()
    arm.port_is_out = False
    assert again()
    robot.disconnect()
    arm.close()
