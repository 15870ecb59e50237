"""Frames: golden bytes, agreement with feetech-servo-sdk, and a parser that survives anything."""

from collections.abc import Callable
from typing import Any

import pytest
import scservo_sdk
from hypothesis import given
from hypothesis import strategies as st

from so101_robot.bus import protocol
from so101_robot.bus.protocol import Errors, Instruction, Status, parse_statuses
from so101_robot.errors import ConfigError

ids = st.integers(0, protocol.MAX_ID)
frames = st.builds(Status, ids, st.integers(0, 0x7F).map(Errors), st.binary(max_size=40))


def test_frames_are_those_that_lerobot_sends() -> None:
    observe = protocol.sync_read(56, 2, range(1, 7))
    assert observe == bytes.fromhex("ff ff fe 0a 82 38 02 01 02 03 04 05 06 26")
    act = protocol.sync_write(
        42,
        {1: b"\xec\x07", 2: b"\x3c\x09", 3: b"\x33\x09", 4: b"\x32\x08", 5: b"\x03\x07", 6: b"\xbe\x06"},
    )
    assert act == bytes.fromhex(
        "ff ff fe 16 83 2a 02 01 ec 07 02 3c 09 03 33 09 04 32 08 05 03 07 06 be 06 ab"
    )
    assert protocol.instruction(1, Instruction.PING) == bytes.fromhex("ff ff 01 02 01 fb")
    assert protocol.read(1, 56, 2) == bytes.fromhex("ff ff 01 04 02 38 02 be")
    assert protocol.write(1, 40, b"\x01") == bytes.fromhex("ff ff 01 04 03 28 01 ce")
    assert protocol.status(1, 0) == bytes.fromhex("ff ff 01 02 00 fc")


class TapedPort:
    """What scservo_sdk's packet handler needs of a port: keeps what is written, plays back what was taped."""

    def __init__(self, tape: bytes = b"") -> None:
        self.is_using = False
        self.sent = b""
        self._tape = tape

    def clearPort(self) -> None:  # noqa: N802
        pass

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        self.sent += bytes(packet)
        return len(packet)

    def readPort(self, size: int) -> list[int]:  # noqa: N802
        head, self._tape = self._tape[:size], self._tape[size:]
        return list(head)

    def setPacketTimeout(self, size: int) -> None:  # noqa: N802
        pass

    def isPacketTimeout(self) -> bool:  # noqa: N802
        return not self._tape


sdk = scservo_sdk.protocol_packet_handler()


@pytest.mark.parametrize(
    ("call", "frame"),
    [
        (lambda port: sdk.readTx(port, 3, 56, 15), protocol.read(3, 56, 15)),
        (lambda port: sdk.writeTxOnly(port, 3, 42, 2, [0x34, 0x12]), protocol.write(3, 42, b"\x34\x12")),
        (
            lambda port: sdk.regWriteTxOnly(port, 3, 42, 2, [0x34, 0x12]),
            protocol.instruction(3, Instruction.REG_WRITE, b"\x2a\x34\x12"),
        ),
        (lambda port: sdk.action(port, 0xFE), protocol.instruction(0xFE, Instruction.ACTION)),
        (lambda port: sdk.syncReadTx(port, 56, 2, [1, 2, 3], 3), protocol.sync_read(56, 2, (1, 2, 3))),
        (
            lambda port: sdk.syncWriteTxOnly(port, 42, 2, [1, 5, 6, 2, 7, 8], 6),
            protocol.sync_write(42, {1: b"\x05\x06", 2: b"\x07\x08"}),
        ),
    ],
)
def test_instruction_frames_equal_those_of_the_vendors_sdk(call: Callable[[Any], Any], frame: bytes) -> None:
    port = TapedPort()
    call(port)
    assert port.sent == frame


@given(frames)
def test_the_vendors_sdk_reads_our_status_frames(reply: Status) -> None:
    packet, result = sdk.rxPacket(TapedPort(protocol.status(*reply)))
    assert result == scservo_sdk.COMM_SUCCESS
    assert (packet[2], packet[4], bytes(packet[5:-1])) == (reply.servo_id, reply.error, reply.params)


@given(st.lists(frames, max_size=6))
def test_clean_replies_are_parsed_completely_and_in_order(replies: list[Status]) -> None:
    data = b"".join(protocol.status(*reply) for reply in replies)
    assert parse_statuses(data) == (replies, 0)


@given(st.lists(st.tuples(st.binary(max_size=8).filter(lambda junk: 0xFF not in junk), frames), max_size=4))
def test_garbage_between_frames_costs_nothing_but_itself(parts: list[tuple[bytes, Status]]) -> None:
    data = b"".join(junk + protocol.status(*reply) for junk, reply in parts)
    assert parse_statuses(data) == ([reply for _, reply in parts], sum(len(junk) for junk, _ in parts))


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(b"\xff\xff\x01\x02\x00\xfc"), max_size=80).map(bytes)
)
def test_no_bytes_crash_the_parser_and_all_are_accounted_for(data: bytes) -> None:
    replies, discarded = parse_statuses(data)
    assert discarded + sum(len(reply.params) + 6 for reply in replies) == len(data)
    for reply in replies:
        assert protocol.status(*reply) in data


@given(frames, st.data())
def test_no_single_flipped_bit_behind_the_header_goes_unnoticed(reply: Status, data: st.DataObject) -> None:
    frame = bytearray(protocol.status(*reply))
    place = data.draw(st.integers(4, len(frame) - 1))
    frame[place] ^= 1 << data.draw(st.integers(0, 7))
    whole = [found for found in parse_statuses(bytes(frame))[0] if len(found.params) == len(reply.params)]
    assert whole == []


@pytest.mark.parametrize("frame", ["ff ff fe 02 00 ff", "ff ff 01 02 80 7c"])
def test_a_broadcast_id_or_bit_7_of_the_error_byte_is_no_reply(frame: str) -> None:
    assert parse_statuses(bytes.fromhex(frame)) == ([], 6)


def test_a_truncated_frame_does_not_swallow_the_next() -> None:
    cut = protocol.status(1, 0, b"\x34\x12")[:5]
    assert parse_statuses(cut + protocol.status(2, 0)) == ([Status(2, Errors(0), b"")], 5)


def test_errors_speak() -> None:
    assert Errors(0).describe() == "no error"
    assert (Errors.OVERLOAD | Errors.VOLTAGE).describe() == "supply voltage out of range, overload"
    assert Errors(0x50).describe() == "unknown 0x50"


def test_frames_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="no servo id 255"):
        protocol.instruction(255, Instruction.PING)
    with pytest.raises(ConfigError, match="at most 253"):
        protocol.status(1, 0, bytes(254))
    with pytest.raises(ConfigError, match="one length"):
        protocol.sync_write(42, {1: b"\x00", 2: b"\x00\x00"})
