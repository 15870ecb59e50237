"""feetech-servo-sdk's own calls against the arm on a pseudo-terminal."""

from collections.abc import Iterator

import pytest
import scservo_sdk as sdk

from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.serve.mock_process import MockProcess

MODEL_STS3215 = 777
OK = sdk.COMM_SUCCESS


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess(cameras=False) as mock:
        yield mock


@pytest.fixture
def port(mock: MockProcess) -> Iterator[sdk.PortHandler]:
    port = sdk.PortHandler(mock.port)
    assert port.openPort()
    wait_longer(port)
    yield port
    port.closePort()


@pytest.fixture
def packets() -> sdk.protocol_packet_handler:
    return sdk.PacketHandler(0)


def wait_longer(port: sdk.PortHandler) -> None:
    """The SDK's 34 ms are too short for a test machine that does something else at the moment."""
    original = port.setPacketTimeout

    def patient(packet_length: int) -> None:
        original(packet_length)
        port.packet_timeout += 2000.0

    port.setPacketTimeout = patient


@pytest.mark.parametrize("servo_id", SERVO_IDS)
def test_ping_tells_the_model(port, packets, servo_id: int) -> None:
    assert packets.ping(port, servo_id) == (MODEL_STS3215, OK, 0)


def test_broadcast_ping_is_answered_by_all_six_in_the_order_of_their_ids(port) -> None:
    """This version of the SDK has no call for it; the packet and the way to read it are the SDK's."""
    port.clearPort()
    port.writePort([0xFF, 0xFF, 0xFE, 0x02, 0x01, 0xFE])
    port.setPacketTimeout(6 * 6)
    heard = b""
    while len(heard) < 6 * 6 and not port.isPacketTimeout():
        heard += bytes(port.readPort(6 * 6 - len(heard)))
    assert heard == b"".join(bytes((0xFF, 0xFF, i, 2, 0, ~(i + 2) & 0xFF)) for i in SERVO_IDS)


def test_a_servo_that_is_not_there_does_not_answer(mock: MockProcess, packets) -> None:
    port = sdk.PortHandler(mock.port)
    assert port.openPort()
    _, result, _ = packets.ping(port, 42)
    assert result == sdk.COMM_RX_TIMEOUT
    port.closePort()


def test_what_is_written_is_read_in_one_two_and_four_bytes(port, packets) -> None:
    assert packets.write1ByteTxRx(port, 3, 41, 33) == (OK, 0)
    assert packets.read1ByteTxRx(port, 3, 41) == (33, OK, 0)
    assert packets.write2ByteTxRx(port, 3, 48, 654) == (OK, 0)
    assert packets.read2ByteTxRx(port, 3, 48) == (654, OK, 0)
    assert packets.write4ByteTxRx(port, 3, 50, 0x04030201) == (OK, 0)
    assert packets.read4ByteTxRx(port, 3, 50) == (0x04030201, OK, 0)


def test_read_only_registers_stay_what_they_are(port, packets) -> None:
    assert packets.write2ByteTxRx(port, 4, 3, 1) == (OK, 0)
    assert packets.read2ByteTxRx(port, 4, 3) == (MODEL_STS3215, OK, 0)


def test_sync_write_reaches_the_servos_that_sync_read_then_reads(port, packets) -> None:
    writer = sdk.GroupSyncWrite(port, packets, 41, 1)
    for servo_id in SERVO_IDS:
        assert writer.addParam(servo_id, [10 + servo_id])
    assert writer.txPacket() == OK
    reader = sdk.GroupSyncRead(port, packets, 41, 1)
    for servo_id in SERVO_IDS:
        assert reader.addParam(servo_id)
    assert reader.txRxPacket() == OK
    assert [reader.getData(servo_id, 41, 1) for servo_id in SERVO_IDS] == [10 + i for i in SERVO_IDS]


def test_a_registered_write_waits_for_the_action(port, packets, mock: MockProcess) -> None:
    assert packets.write1ByteTxRx(port, 5, 50, 1) == (OK, 0)
    assert packets.regWriteTxRx(port, 5, 50, 1, [99]) == (OK, 0)
    assert packets.read1ByteTxRx(port, 5, 64) == (1, OK, 0)
    assert packets.read1ByteTxRx(port, 5, 50) == (1, OK, 0)
    packets.action(port, 0xFE)
    assert packets.read1ByteTxRx(port, 5, 50) == (99, OK, 0)
    assert packets.read1ByteTxRx(port, 5, 64) == (0, OK, 0)


def test_a_goal_moves_the_joint_and_the_encoder_says_so(port, packets, mock: MockProcess) -> None:
    start, result, _ = packets.read2ByteTxRx(port, 1, 56)
    assert result == OK
    angle = mock.call("joints")["shoulder_pan"]
    assert packets.write2ByteTxRx(port, 1, 42, start + 300) == (OK, 0)
    end_s = mock.call("now") + 20.0
    position = start
    while abs(position - start - 300) > 30 and mock.call("now") < end_s:
        position, _, _ = packets.read2ByteTxRx(port, 1, 56)
    assert abs(position - start - 300) <= 30
    assert mock.call("joints")["shoulder_pan"] - angle == pytest.approx(300 * 6.2832 / 4096, abs=0.06)
    assert packets.write1ByteTxRx(port, 1, 40, 0) == (OK, 0)


def test_an_error_bit_comes_with_every_reply(port, packets, mock: MockProcess) -> None:
    mock.call("fault", fault="overheat", servo=6, for_s=3.0)
    end_s = mock.call("now") + 2.5
    error = 0
    while not error and mock.call("now") < end_s:
        _, _, error = packets.read1ByteTxRx(port, 6, 63)
    assert error & 0x04
    assert packets.ping(port, 5)[2] == 0


def test_the_mock_knows_the_registers_by_name(mock: MockProcess) -> None:
    mock.call("set_register", joint=JOINTS[3], name="P_Coefficient", value=21)
    assert mock.call("register", joint="wrist_flex", name="P_Coefficient") == 21
