"""The same arm is found again, also under another name, and no other is taken for it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from so101_robot.bus import link
from so101_robot.bus.port_lock import PortLock
from so101_robot.bus.protocol import Instruction
from so101_robot.commands import reconnect
from so101_robot.commands.reconnect import Adapter, adapter_of, candidate_ports, find_same_arm
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from terminals import Terminal

CH343 = Adapter(0x1A86, 0x55D3, "5A68012345")


def terminal(seed: int) -> Terminal:
    return Terminal(MockArm(MockConfig(seed=seed, random_mount=True), plant=IdealPlant()), pace=False)


@pytest.fixture
def arm() -> Iterator[Terminal]:
    arm = terminal(seed=3)
    yield arm
    arm.close()


@pytest.fixture
def other() -> Iterator[Terminal]:
    other = terminal(seed=4)
    yield other
    other.close()


def usb_port(device: str, adapter: Adapter) -> Any:
    return SimpleNamespace(device=device, **adapter._asdict())


def test_the_arm_is_found_among_others(arm: Terminal, other: Terminal):
    search = find_same_arm(arm.expected, [other.server.path, arm.server.path])
    assert search.port == arm.server.path
    assert [candidate.verdict for candidate in search.candidates] == ["another arm", "same arm"]
    assert search.describe() == f"the arm is at {arm.server.path}"


def test_under_another_name_it_is_still_the_same(arm: Terminal):
    before = arm.server.path
    arm.do(arm.server.unplug)
    gone = find_same_arm(arm.expected, [before])
    assert gone.port is None
    assert "does not exist" in gone.describe()
    arm.do(arm.server.replug)
    assert find_same_arm(arm.expected, [arm.server.path]).port == arm.server.path


def test_another_arm_is_refused_with_what_differs(arm: Terminal, other: Terminal):
    search = find_same_arm(arm.expected, [other.server.path])
    assert search.port is None
    expected, found = arm.expected["elbow_flex"].homing_offset, other.expected["elbow_flex"].homing_offset
    assert f"elbow_flex: homing offset is {found}, expected {expected}" in search.describe()


@pytest.mark.parametrize(
    ("register", "words"),
    [("Min_Position_Limit", "smallest position is 5"), ("Max_Position_Limit", "largest position is 5")],
)
def test_every_part_of_a_calibration_counts(arm: Terminal, register: str, words: str):
    expected = arm.expected
    arm.do(lambda: arm.arm.servos.set(1, register, 5))
    assert f"shoulder_lift: {words}" in find_same_arm(expected, [arm.server.path]).describe()


def test_an_arm_without_all_its_servos_is_not_the_same(arm: Terminal):
    arm.do(lambda: arm.arm.add_fault({"fault": "silent_servo", "servo": 5, "for_s": 1000.0}))
    search = find_same_arm(arm.expected, [arm.server.path])
    assert search.port is None
    assert "servo 5 (wrist_roll) does not answer" in search.describe()


def test_a_port_on_which_nobody_answers_has_no_arm(arm: Terminal):
    arm.do(lambda: arm.arm.add_fault({"fault": "silent_bus", "for_s": 1000.0}))
    candidate = find_same_arm(arm.expected, [arm.server.path]).candidates[0]
    assert candidate.verdict == "no arm"
    assert "power supply" in candidate.differences[0]


def test_a_port_that_another_program_uses_is_left_alone(arm: Terminal):
    with PortLock(arm.server.path, "lerobot-something"):
        before = arm.server.requests
        search = find_same_arm(arm.expected, [arm.server.path])
        assert arm.server.requests == before
    assert search.port is None
    assert "in use" in search.describe()


def test_two_arms_with_one_calibration_are_no_answer(arm: Terminal):
    twin = terminal(seed=3)
    try:
        search = find_same_arm(arm.expected, [arm.server.path, twin.server.path])
    finally:
        twin.close()
    assert search.port is None
    assert "two arms with one calibration" in search.describe()


def test_looking_leaves_the_servos_as_they_are(arm: Terminal):
    find_same_arm(arm.expected, [arm.server.path])
    asked = {transfer.data[4] for transfer in arm.server.trace if transfer.sender == "host"}
    assert asked == {Instruction.PING, Instruction.READ}


def test_without_any_port_the_cable_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnect.usb, "comports", list)
    monkeypatch.setattr(link, "list_ports", list)
    assert "is the USB cable in?" in find_same_arm({}).describe()


def test_only_ports_of_the_arms_adapter_are_tried(monkeypatch: pytest.MonkeyPatch):
    printer = Adapter(0x2341, 0x0042, "1")
    ports = [
        usb_port("/dev/ttyACM0", printer),
        usb_port("/dev/ttyACM1", CH343),
        usb_port("/dev/ttyACM2", CH343._replace(serial_number="another")),
        usb_port("/dev/ttyACM3", CH343._replace(serial_number=None)),
        SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, serial_number=None),
    ]
    monkeypatch.setattr(reconnect.usb, "comports", lambda: ports)
    monkeypatch.setattr(link, "list_ports", lambda: ["/dev/ttyACM0", "/dev/ttyACM1"])
    assert candidate_ports(adapter=CH343) == ["/dev/ttyACM1", "/dev/ttyACM3"]
    assert candidate_ports() == [port.device for port in ports]
    assert adapter_of("/dev/ttyACM1") == CH343
    assert adapter_of("/dev/ttyS0") is None


def test_where_the_arm_was_is_looked_at_first_and_a_device_only_once(
    arm: Terminal, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    by_id = tmp_path / "usb-arm"
    by_id.symlink_to(arm.server.path)
    monkeypatch.setattr(reconnect.usb, "comports", lambda: [usb_port(arm.server.path, CH343)])
    monkeypatch.setattr(link, "list_ports", lambda: ["/dev/another", str(by_id)])
    assert candidate_ports() == ["/dev/another", str(by_id)]
    assert candidate_ports(first=arm.server.path) == [arm.server.path, "/dev/another"]
    monkeypatch.setattr(link, "list_ports", lambda: [str(by_id)])
    assert candidate_ports(first=str(tmp_path / "gone")) == [str(by_id)]
