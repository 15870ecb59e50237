"""The wire: golden traces, silence where the real bus is silent, slots, collisions, hostile bytes."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scservo_sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_robot.bus import protocol
from so101_robot.bus.protocol import (
    BROADCAST,
    Errors,
    Instruction,
    Status,
    instruction,
    parse_statuses,
    status,
)
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.parser import Parser
from so101_robot.mock.wire.wire import Reply, Wire, WireTiming, collide

IDS = (1, 2, 3, 4, 5, 6)
RAW = (2028, 2364, 2355, 2098, 1795, 1726)


def tick(servos: Servos, ticks: int = 1, volts: float = 12.0) -> None:
    count = len(servos)
    raw = np.array([RAW[k % 6] for k in range(count)], np.int32)
    duty, bridge = np.zeros(count), np.zeros(count, np.int8)
    supply, heat, current = np.full(count, volts), np.full(count, 30.0), np.zeros(count)
    for _ in range(ticks):
        servos.tick(raw, supply, heat, current, duty, bridge)


def make_wire(ids: Sequence[int] = IDS, **timing: Any) -> Wire:
    servos = Servos(ids)
    tick(servos)
    return Wire(servos, WireTiming(**timing))


def ask(wire: Wire, data: bytes | str, now_us: int = 1000) -> bytes:
    """All reply bytes to `data` (bytes, or hex)."""
    request = bytes.fromhex(data) if isinstance(data, str) else data
    return b"".join(reply.data for reply in wire.receive(request, now_us))


# --- golden traces


def test_observe_is_answered_by_six_frames_in_order() -> None:
    replies = ask(make_wire(), "ff ff fe 0a 82 38 02 01 02 03 04 05 06 26")
    assert len(replies) == 48
    assert replies[:8] == bytes.fromhex("ff ff 01 04 00 ec 07 07")
    found, discarded = parse_statuses(replies)
    assert discarded == 0
    assert [(r.servo_id, int.from_bytes(r.params, "little")) for r in found] == list(
        zip(IDS, RAW, strict=True)
    )


def test_act_is_not_answered_and_sets_all_goals() -> None:
    wire = make_wire()
    assert ask(wire, "ff ff fe 16 83 2a 02 01 ec 07 02 3c 09 03 33 09 04 32 08 05 03 07 06 be 06 ab") == b""
    goals = [wire.servos.get(index, "Goal_Position") for index in range(6)]
    assert goals == [2028, 2364, 2355, 2098, 1795, 1726]
    assert all(wire.servos.get(index, "Torque_Enable") == 1 for index in range(6))


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("ff ff 01 02 01 fb", "ff ff 01 02 00 fc"),  # PING
        ("ff ff 01 04 02 03 02 f3", "ff ff 01 04 00 09 03 ee"),  # READ Model_Number: 777
        ("ff ff 01 04 02 00 01 f7", "ff ff 01 03 00 03 f8"),  # READ Firmware_Major_Version
        ("ff ff 01 04 02 38 02 be", "ff ff 01 04 00 ec 07 07"),  # READ Present_Position: 2028
        ("ff ff 01 04 03 28 01 ce", "ff ff 01 02 00 fc"),  # WRITE Torque_Enable = 1
        ("ff ff 01 02 0a f2", "ff ff 01 02 00 fc"),  # 0A: no effect, a bare reply
        ("ff ff 01 02 77 85", "ff ff 01 02 00 fc"),  # a code that does not exist: the same
        (
            "ff ff 01 04 02 50 14 94",
            "ff ff 01 09 00 02 14 32 01 96 64 01 b1",
        ),  # READ 80, 20: clipped behind 86
    ],
)
def test_golden_pairs(request_hex: str, reply_hex: str) -> None:
    assert ask(make_wire(), request_hex).hex(" ") == reply_hex


@pytest.mark.parametrize(
    "request_bytes",
    [
        bytes.fromhex("ff ff 01 02 01 fa"),  # checksum
        bytes.fromhex("ff ff 01 01 01 fc"),  # LEN below 2
        instruction(9, Instruction.PING),  # nobody has this id
        instruction(1, Instruction.READ, b"\x38"),  # one param
        instruction(1, Instruction.READ, b"\x38\x02\x00"),  # three
        instruction(1, Instruction.READ, b"\x57\x01"),  # address 87
        instruction(BROADCAST, Instruction.READ, b"\x38\x02"),
        instruction(BROADCAST, Instruction.WRITE, b"\x29\x05"),
        instruction(BROADCAST, Instruction.ACTION),
        instruction(BROADCAST, 0x77),
        instruction(BROADCAST, Instruction.SYNC_READ),
        instruction(BROADCAST, Instruction.SYNC_READ, b"\x57\x01\x01"),
        instruction(1, Instruction.SYNC_READ, b"\x38\x02\x01"),
        instruction(1, Instruction.WRITE, bytes((10, *range(1, 129)))),  # 129 params
        instruction(1, Instruction.WRITE, b"\x2a\xff\xff"),  # FF FF resynchronises
    ],
)
def test_silence(request_bytes: bytes) -> None:
    wire = make_wire()
    assert ask(wire, request_bytes) == b""
    assert len(ask(wire, instruction(1, Instruction.PING))) == 6  # and the next request is heard


def test_a_broadcast_write_reaches_everybody() -> None:
    wire = make_wire()
    ask(wire, instruction(BROADCAST, Instruction.WRITE, b"\x29\x05"))
    assert [wire.servos.get(index, "Acceleration") for index in range(6)] == [5] * 6


def test_a_group_write_of_nothing_turns_no_torque_on() -> None:
    wire = make_wire()
    for address in range(40, 48):
        ask(wire, instruction(BROADCAST, Instruction.SYNC_WRITE, bytes((address, 0, *IDS))))
    assert [wire.servos.get(index, "Torque_Enable") for index in range(6)] == [0] * 6


def test_errors_come_with_every_reply_and_are_those_after_the_effect() -> None:
    wire = make_wire()
    tick(wire.servos, volts=3.5)
    assert {reply.error for reply in parse_statuses(ask(wire, protocol.sync_read(56, 2, IDS)))[0]} == {
        Errors.VOLTAGE
    }
    assert parse_statuses(ask(wire, protocol.write(2, 41, b"\x01")))[0] == [Status(2, Errors.VOLTAGE, b"")]


def test_a_changed_id_is_acknowledged_with_the_old_one() -> None:
    wire = make_wire()
    assert ask(wire, protocol.write(1, 5, b"\x09")) == status(1, 0)
    assert ask(wire, instruction(1, Instruction.PING)) == b""
    assert ask(wire, instruction(9, Instruction.PING)) == status(9, 0)


def test_a_changed_baud_rate_is_acknowledged_at_the_old_one() -> None:
    wire = make_wire()
    assert ask(wire, protocol.write(1, 6, b"\x01")) == status(1, 0)
    assert ask(wire, instruction(1, Instruction.PING)) == b""
    assert len(ask(wire, protocol.sync_read(56, 2, IDS))) == 40
    wire.set_host_baud(500_000)
    assert ask(wire, instruction(1, Instruction.PING)) == status(1, 0)
    assert ask(wire, instruction(2, Instruction.PING)) == b""


def test_status_level_0_answers_reads_only() -> None:
    wire = make_wire()
    assert ask(wire, protocol.write(1, 8, b"\x00")) == b""
    assert ask(wire, protocol.write(1, 41, b"\x05")) == b""
    assert wire.servos.get(0, "Acceleration") == 5
    assert ask(wire, instruction(1, Instruction.PING)) == status(1, 0)
    assert ask(wire, protocol.read(1, 41, 1)) == status(1, 0, b"\x05")
    assert ask(wire, protocol.sync_read(41, 1, (1,))) == status(1, 0, b"\x05")


def test_delayed_writes_act_together() -> None:
    wire = make_wire()
    for servo_id in (1, 2):
        frame = instruction(servo_id, Instruction.REG_WRITE, b"\x29\x07")
        assert ask(wire, frame) == status(servo_id, 0)
    assert ask(wire, protocol.read(1, 64, 1)) == status(1, 0, b"\x01")
    ask(wire, instruction(BROADCAST, Instruction.ACTION))
    assert [wire.servos.get(index, "Acceleration") for index in range(3)] == [7, 7, 0]


@pytest.mark.parametrize(("params", "reads"), [(b"", 2048), (b"\xe8\x03", 1000)])
def test_instruction_0b_calibrates(params: bytes, reads: int) -> None:
    wire = make_wire()
    assert ask(wire, instruction(1, Instruction.CALIBRATE, params)) == status(1, 0)
    tick(wire.servos)
    assert wire.servos.get(0, "Present_Position") == reads


def test_reset_is_acknowledged_and_forgets_settings() -> None:
    wire = make_wire()
    ask(wire, protocol.write(1, 21, b"\x05"))
    assert ask(wire, instruction(1, Instruction.RESET)) == status(1, 0)
    assert wire.servos.get(0, "P_Coefficient") == 32


def test_a_rebooting_servo_is_silent_and_comes_back_without_torque() -> None:
    wire = make_wire()
    ask(wire, protocol.write(1, 40, b"\x01"))
    assert ask(wire, instruction(1, Instruction.REBOOT)) == b""
    assert ask(wire, instruction(1, Instruction.PING)) == b""
    tick(wire.servos, 299)
    assert ask(wire, instruction(1, Instruction.PING)) == b""
    tick(wire.servos, 2)
    assert ask(wire, protocol.read(1, 40, 1)) == status(1, 0, b"\x00")


# --- time


def starts(replies: list[Reply]) -> list[int]:
    return [reply.start_us for reply in replies]


def test_sync_read_slots_take_110_us_for_2_bytes_and_a_silent_servo_leaves_a_hole() -> None:
    wire = make_wire()
    wire.servos.reboot(2)
    replies = wire.receive(protocol.sync_read(56, 2, IDS), 140)
    assert starts(replies) == [155, 265, 485, 595, 705]
    assert wire.busy_until_us == 785  # the published figure for a whole SYNC_READ of six positions


def test_without_slots_replies_follow_each_other() -> None:
    replies = make_wire(slots=False).receive(protocol.sync_read(56, 2, IDS), 140)
    assert starts(replies) == [155 + 80 * k for k in range(6)]


def test_a_broadcast_ping_is_answered_by_id() -> None:
    replies = make_wire().receive(instruction(BROADCAST, Instruction.PING), 60)
    assert starts(replies) == [75 + 90 * servo_id for servo_id in IDS]
    assert [reply.data for reply in replies] == [status(servo_id, 0) for servo_id in IDS]


def test_slower_baud_rates_stretch_everything() -> None:
    wire = make_wire()
    for index in range(6):
        wire.servos.set(index, "Baud_Rate", 1)
    wire.set_host_baud(500_000)
    assert wire.byte_us == 20
    assert starts(wire.receive(protocol.sync_read(56, 2, IDS[:2]), 0)) == [25, 245]


def test_a_reply_starts_after_its_request_even_if_more_bytes_came_with_it() -> None:
    first, second = protocol.read(1, 56, 2), protocol.read(2, 56, 2)
    replies = make_wire().receive(first + second, 160)
    assert starts(replies) == [95, 175]


def test_flash_delays_the_reply_if_asked_for() -> None:
    wire = make_wire(flash=True)
    ask(wire, protocol.write(1, 55, b"\x00"))
    assert starts(wire.receive(protocol.write(1, 21, b"\x11"), 1000)) == [1000 + 15 + 50]
    assert starts(wire.receive(protocol.write(1, 21, b"\x11"), 1000)) == [1000 + 15]


def test_return_delay_counts_only_if_asked_for() -> None:
    for honour, start_us in ((False, 1015), (True, 1115)):
        wire = make_wire(return_delay=honour)
        wire.servos.set(0, "Return_Delay_Time", 50)
        assert starts(wire.receive(protocol.read(1, 56, 2), 1000)) == [start_us]


def test_the_adapter_delays_whole_transactions_and_repeatably() -> None:
    delays = [
        [
            starts(
                make_wire(adapter_delay_us=(100, 400), seed=seed).receive(protocol.sync_read(56, 2, IDS), 140)
            )
        ]
        for seed in (1, 1, 2)
    ]
    assert delays[0] == delays[1] != delays[2]
    (first,) = delays[0]
    assert 255 <= first[0] <= 555
    assert np.diff(first).tolist() == [110] * 5


def test_an_echo_precedes_the_reply() -> None:
    request = protocol.read(1, 56, 2)
    echo, reply = make_wire(echo=True).receive(request, 80)
    assert echo == Reply(0, request)
    assert reply.start_us == 95


def test_transactions_are_counted() -> None:
    wire = make_wire()
    ask(wire, protocol.read(1, 56, 2) + b"\x00\xff" + protocol.read(9, 56, 2))
    assert wire.transactions == 2


# --- two servos on one id


def test_two_servos_on_one_id_answer_soundly_doubled_or_garbled() -> None:
    wire = make_wire((1, 1))
    wire.servos.set(1, "Homing_Offset", wire.servos.get(1, "Present_Position") - RAW[0])  # equal positions
    tick(wire.servos)
    sound = status(1, 0, RAW[0].to_bytes(2, "little"))
    replies = [ask(wire, protocol.read(1, 56, 2)) for _ in range(300)]
    once, doubled = replies.count(sound), replies.count(sound * 2)
    assert 0.5 < once / 300 < 0.7
    assert 0.1 < doubled / 300 < 0.3
    assert once + doubled < 300


def test_a_collision_of_different_frames_is_not_taken_for_either() -> None:
    frames = [status(1, 0, b"\x34\x12"), status(1, 0, b"\x43\x21")]
    overlay = collide(frames, lambda: 0.0)
    assert parse_statuses(overlay)[0] == []


def test_collisions_repeat_with_their_seed() -> None:
    runs = [
        [ask(wire, protocol.read(1, 56, 2)) for _ in range(20)]
        for wire in (make_wire((1, 1)), make_wire((1, 1)))
    ]
    assert runs[0] == runs[1]


def test_a_collision_moves_only_its_own_slot() -> None:
    replies = make_wire((1, 1, 2)).receive(protocol.sync_read(56, 2, (1, 2)), 0)
    assert starts(replies) == [15, 125]


# --- the parser


@given(st.binary(max_size=30))
def test_a_packet_behind_any_garbage_is_heard(junk: bytes) -> None:
    wire = make_wire()
    ask(wire, junk)
    wire.receive(
        b"\x00", 0
    )  # an FF at the end of the garbage would be part of the header, and that is fine too
    assert ask(wire, instruction(1, Instruction.PING)).endswith(status(1, 0))


def test_three_ff_are_a_header_too() -> None:
    assert ask(make_wire(), b"\xff" + instruction(1, Instruction.PING)) == status(1, 0)


def test_a_packet_inside_a_packet_wins() -> None:
    inner = instruction(2, Instruction.PING)
    assert ask(make_wire(), bytes.fromhex("ff ff 01 20 03 2a") + inner) == status(2, 0)


requests = st.one_of(
    st.builds(
        instruction,
        st.sampled_from((1, 2, 7, 0xFE)),
        st.sampled_from(list(Instruction)),
        st.binary(max_size=9),
    ),
    st.builds(protocol.read, st.sampled_from(IDS), st.integers(0, 255), st.integers(0, 255)),
    st.builds(protocol.write, st.sampled_from(IDS), st.integers(0, 255), st.binary(max_size=20)),
    st.builds(
        protocol.sync_read, st.integers(0, 90), st.integers(0, 40), st.lists(st.integers(0, 254), max_size=8)
    ),
    st.binary(max_size=12),
    st.lists(st.sampled_from(b"\xff\xfe\x01\x02\x82\x38"), max_size=12).map(bytes),
)


@given(st.lists(requests, max_size=12), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_chunking_of_any_bytes_gives_the_same_replies_at_the_same_times(
    parts: list[bytes], seed: int
) -> None:
    data = b"".join(parts)
    whole, pieces = make_wire(), make_wire()
    expected = whole.receive(data, len(data) * 10)
    rng = random.Random(seed)
    found: list[Reply] = []
    start = 0
    while start < len(data):
        end = min(start + rng.randint(1, 9), len(data))
        found += pieces.receive(data[start:end], end * 10)
        start = end
    assert sorted(found) == sorted(expected)
    assert pieces.state() == whole.state()
    assert pieces.servos.digest() == whole.servos.digest()


def reference_packets(data: bytes) -> list[bytes]:
    """The packets of `data` as the rule says it, found by slicing instead of byte by byte."""
    packets: list[bytes] = []
    for start in range(len(data) - 3):
        if data[start : start + 2] != b"\xff\xff" or data[start + 2] == 0xFF:
            continue
        body = data[start + 2 : start + 4 + data[start + 3]]
        if data[start + 3] < 2 or len(body) != data[start + 3] + 2:
            continue
        cut = b"\xff\xff" in body[:-1] or (body[0] == 0xFF)
        if not cut and sum(body) & 0xFF == 0xFF and (body[2] == 0x83 or len(body) <= 132):
            packets.append(body)
    return packets


@given(st.lists(requests, max_size=10))
@settings(max_examples=150, deadline=None)
def test_the_parser_finds_what_the_rule_says(parts: list[bytes]) -> None:
    data = b"".join(parts)
    found = [
        bytes((packet.servo_id, len(packet.params) + 2, packet.code)) + packet.params
        for _, packet in Parser().feed(data)
    ]
    assert found == [body[:-1] for body in reference_packets(data)]


# --- the vendor's SDK talks to it


class SdkPort:
    """What scservo_sdk's packet handler needs of a port, with the wire behind it and no waiting."""

    def __init__(self, wire: Wire) -> None:
        self.is_using = False
        self._wire = wire
        self._input = b""

    def clearPort(self) -> None:  # noqa: N802
        pass

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        self._input += ask(self._wire, bytes(packet))
        return len(packet)

    def readPort(self, size: int) -> list[int]:  # noqa: N802
        head, self._input = self._input[:size], self._input[size:]
        return list(head)

    def setPacketTimeout(self, size: int) -> None:  # noqa: N802
        pass

    def isPacketTimeout(self) -> bool:  # noqa: N802
        return not self._input


def test_the_vendors_sdk_pings_reads_writes_and_acts() -> None:
    wire = make_wire()
    port, sdk = SdkPort(wire), scservo_sdk.protocol_packet_handler()
    assert sdk.ping(port, 1) == (777, 0, 0)
    assert sdk.read2ByteTxRx(port, 4, 56) == (RAW[3], 0, 0)
    assert sdk.write2ByteTxRx(port, 4, 42, 2000) == (0, 0)
    assert sdk.read2ByteTxRx(port, 4, 42) == (2000, 0, 0)
    assert sdk.regWriteTxRx(port, 4, 42, 2, [0x10, 0x08]) == (0, 0)
    assert sdk.action(port, 4) == 0
    assert wire.servos.get(3, "Goal_Position") == 0x810
    assert sdk.read1ByteTxRx(port, 9, 40)[1] == scservo_sdk.COMM_RX_TIMEOUT


def test_the_vendors_group_calls_work() -> None:
    wire = make_wire()
    port, sdk = SdkPort(wire), scservo_sdk.protocol_packet_handler()
    writer = scservo_sdk.GroupSyncWrite(port, sdk, 42, 2)
    reader = scservo_sdk.GroupSyncRead(port, sdk, 42, 2)
    for servo_id in IDS:
        assert writer.addParam(servo_id, [servo_id, 8])
        assert reader.addParam(servo_id)
    assert writer.txPacket() == 0
    assert reader.txRxPacket() == 0
    assert [reader.getData(servo_id, 42, 2) for servo_id in IDS] == [0x800 + servo_id for servo_id in IDS]
