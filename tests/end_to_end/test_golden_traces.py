"""What LeRobot's SO101Follower says on the wire, byte for byte, and what the arm makes of it.

The figures were measured with LeRobot 0.6.1 on a real bus protocol; a change here is a change of LeRobot or
of the arm.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from lerobot.motors.feetech import feetech
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

from so101_robot.mock.serve.mock_process import MockProcess

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83


class Instruction(NamedTuple):
    servo_id: int
    code: int
    params: bytes


class Traffic(NamedTuple):
    instructions: list[Instruction]
    raw: bytes
    received: int


def traffic(mock: MockProcess) -> Traffic:
    """What has passed since the last call, cut into instructions. Frames of a host are never damaged here."""
    transfers = mock.call("trace")
    sent = b"".join(bytes.fromhex(data) for _, sender, data in transfers if sender == "host")
    received = b"".join(bytes.fromhex(data) for _, sender, data in transfers if sender == "servo")
    instructions, at = [], 0
    while at < len(sent):
        assert sent[at : at + 2] == b"\xff\xff"
        end = at + 4 + sent[at + 3]
        instructions.append(Instruction(sent[at + 2], sent[at + 4], sent[at + 5 : end - 1]))
        at = end
    return Traffic(instructions, sent, len(received))


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """LeRobot waits 50 ms for a reply. A test machine that does five other things may need longer; nothing
    else changes.
    """
    original = feetech.patch_setPacketTimeout

    def wait_longer(port_handler: Any, packet_length: int) -> None:
        original(port_handler, packet_length)
        port_handler.packet_timeout += 3000.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feetech, "patch_setPacketTimeout", wait_longer)
        yield


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess(cameras=False) as mock:
        yield mock


@pytest.fixture(scope="module")
def robot(mock: MockProcess) -> Iterator[SO101Follower]:
    robot = SO101Follower(
        SO101FollowerConfig(port=mock.port, id=mock.robot_id, calibration_dir=mock.calibration_dir)
    )
    yield robot
    if robot.is_connected:
        robot.disconnect()


def of(servo_id: int, *writes: tuple[int, int]) -> list[Instruction]:
    return [Instruction(servo_id, WRITE, bytes((address, value))) for address, value in writes]


def test_the_session_of_a_calibrated_arm(mock: MockProcess, robot: SO101Follower) -> None:
    mock.call("trace")
    robot.connect(calibrate=False)
    connect = traffic(mock)
    assert len(connect.instructions) == 24 + 18 + 75
    assert (len(connect.raw), connect.received) == (926, 768)

    handshake, calibrated, configure = (
        connect.instructions[:24],
        connect.instructions[24:42],
        connect.instructions[42:],
    )
    assert handshake == [
        *[
            step
            for i in range(1, 7)
            for step in (Instruction(i, PING, b""), Instruction(i, READ, bytes((3, 2))))
        ],
        *[Instruction(i, READ, bytes((address, 1))) for i in range(1, 7) for address in (0, 1)],
    ]
    assert calibrated == [
        Instruction(i, READ, bytes((address, 2))) for i in range(1, 7) for address in (9, 11, 31)
    ]
    gripper = [
        Instruction(6, WRITE, b"\x10\xf4\x01"),
        Instruction(6, WRITE, b"\x1c\xfa\x00"),
        *of(6, (36, 25)),
    ]
    assert configure == [
        *[step for i in range(1, 7) for step in of(i, (40, 0), (55, 0))],
        *[
            step
            for i in range(1, 7)
            for step in (*of(i, (7, 0), (85, 254), (41, 254)), Instruction(i, READ, bytes((18, 1))))
        ],
        *[step for i in range(1, 7) for step in of(i, (33, 0), (21, 16), (23, 0), (22, 32))],
        *gripper,
        *[step for i in range(1, 7) for step in of(i, (40, 1), (55, 1))],
    ]

    robot.get_observation()
    observe = traffic(mock)
    assert observe.raw.hex() == "fffffe0a82380201020304050626"
    assert observe.received == 48

    robot.bus.sync_write(
        "Goal_Position",
        {"shoulder_pan": 2028, "shoulder_lift": 2364, "elbow_flex": 2355, "wrist_flex": 2098}
        | {"wrist_roll": 1795, "gripper": 1726},
        normalize=False,
    )
    robot.bus.read("Lock", "gripper")  # the goals were heard when this has been answered
    act = traffic(mock)
    assert act.raw[:26].hex() == "fffffe16832a0201ec07023c0903330904320805030706be06ab"
    assert [instruction.code for instruction in act.instructions] == [SYNC_WRITE, READ]
    assert act.received == 7, "nobody answers a SYNC_WRITE"
    assert mock.call("register", joint="wrist_roll", name="Goal_Position") == 1795

    robot.disconnect()
    disconnect = traffic(mock)
    assert disconnect.instructions == [step for i in range(1, 7) for step in of(i, (40, 0), (55, 0))]


def test_the_gripper_is_only_limited_after_the_next_power_up(mock: MockProcess) -> None:
    """Max_Torque_Limit reaches Torque_Limit at boot only, on real servos and here: LeRobot's 500 has not
    arrived.
    """
    assert mock.call("register", joint="gripper", name="Max_Torque_Limit") == 500
    assert mock.call("register", joint="gripper", name="Torque_Limit") == 1000
