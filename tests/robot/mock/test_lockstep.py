"""Lockstep: time moves with the clock and with bytes, and by nothing else."""

import hashlib
import itertools
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scservo_sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_robot.bus import protocol
from so101_robot.errors import PortError
from so101_robot.joints import SERVO_IDS
from so101_robot.mock.arm import CAMERAS, MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepClock, LockstepLink, LockstepSerial
from so101_robot.mock.physics.plant import IdealPlant

READ_ALL = protocol.sync_read(56, 2, SERVO_IDS)
POSITIONS = 48  # bytes of six replies with two params each


def ideal_arm() -> MockArm:
    return MockArm(MockConfig(realtime_factor=0), plant=IdealPlant())


def test_time_stands_still_unless_someone_moves_it() -> None:
    arm = ideal_arm()
    clock = LockstepClock(arm)
    before = clock.now_s()
    time.sleep(0.02)
    assert clock.now_s() == before == 0.0


def test_waiting_advances_the_arm_to_the_microsecond_and_never_stops_short() -> None:
    arm = ideal_arm()
    clock = LockstepClock(arm)
    for tick in range(1, 200):
        clock.sleep_until(tick / 30)
        assert clock.now_s() >= tick / 30
        assert clock.now_s() - tick / 30 < 1.01e-6


def test_waiting_for_the_past_changes_nothing() -> None:
    arm = ideal_arm()
    clock = LockstepClock(arm)
    clock.sleep_until(0.1)
    before = arm.state_hash()
    clock.sleep_until(0.05)
    assert arm.state_hash() == before


def test_a_paced_clock_does_not_outrun_the_wall_clock() -> None:
    clock = LockstepClock(ideal_arm(), pace=2.0)
    clock.sleep_until(0.0)
    start_s = time.perf_counter()
    clock.sleep_until(0.2)
    assert time.perf_counter() - start_s >= 0.095


def test_a_paced_clock_does_not_hurry_after_a_long_pause() -> None:
    clock = LockstepClock(ideal_arm(), pace=1.0)
    clock.sleep_until(0.0)
    time.sleep(0.4)  # the loop was busy
    clock.sleep_until(0.01)
    start_s = time.perf_counter()
    clock.sleep_until(0.06)
    assert time.perf_counter() - start_s >= 0.04


def test_reading_six_positions_takes_the_time_that_the_wire_takes() -> None:
    arm = ideal_arm()
    link = LockstepLink(arm)
    data = link.transact(READ_ALL, POSITIONS, 0.05)
    assert len(data) == POSITIONS
    assert [status.servo_id for status in protocol.parse_statuses(data)[0]] == list(SERVO_IDS)
    request_us, idle_us, processor_us, slot_us, reply_us = 140, 10, 5, 110, 80
    assert arm.now_us == request_us + idle_us + processor_us + 5 * slot_us + reply_us


def test_a_request_that_nobody_answers_costs_the_whole_deadline() -> None:
    arm = ideal_arm()
    link = LockstepLink(arm)
    assert link.transact(protocol.instruction(99, protocol.Instruction.PING), 6, 0.02) == b""
    assert arm.now_us == 20_000


def test_a_silent_servo_leaves_a_short_answer_at_the_deadline() -> None:
    arm = ideal_arm()
    link = LockstepLink(arm)
    data = link.transact(protocol.sync_read(56, 2, (1, 2, 99, 4)), 32, 0.01)
    assert [status.servo_id for status in protocol.parse_statuses(data)[0]] == [1, 2, 4]
    assert arm.now_us == 10_000


def test_bytes_behind_the_deadline_are_not_delivered_and_later_discarded() -> None:
    arm = ideal_arm()
    link = LockstepLink(arm)
    data = link.transact(READ_ALL, POSITIONS, 400e-6)
    assert 0 < len(data) < POSITIONS
    arm.advance_to(5000)
    ping = link.transact(protocol.instruction(3, protocol.Instruction.PING), 6, 0.01)
    assert ping == protocol.status(3, 0)


def test_a_closed_link_says_so() -> None:
    link = LockstepLink(ideal_arm())
    link.close()
    link.close()
    with pytest.raises(PortError, match="closed"):
        link.send(READ_ALL)


def test_an_unplugged_port_is_gone_until_it_is_back() -> None:
    arm = ideal_arm()
    link, handle = LockstepLink(arm), LockstepSerial(arm)
    arm.add_fault({"fault": "unplug", "for_s": 0.1})
    for send in (link.send, handle.write):
        with pytest.raises(PortError, match="gone"):
            send(READ_ALL)
    arm.advance_to(100_000)
    assert len(link.transact(READ_ALL, POSITIONS, 0.05)) == POSITIONS


def test_a_stalled_port_delivers_late_and_an_impatient_host_finds_nothing() -> None:
    arm = ideal_arm()
    link = LockstepLink(arm)
    arm.add_fault({"fault": "stall", "for_s": 0.1})
    assert link.transact(READ_ALL, POSITIONS, 0.05) == b""
    assert arm.now_us == 50_000
    arm.advance_to(200_000)
    assert link.transact(protocol.instruction(2, protocol.Instruction.PING), 6, 0.05) == protocol.status(2, 0)


def sdk_on(arm: MockArm) -> tuple[scservo_sdk.PortHandler, scservo_sdk.PacketHandler]:
    port = scservo_sdk.PortHandler("mock")
    port.ser = LockstepSerial(arm)
    port.is_open = True
    port.tx_time_per_byte = 0.01
    return port, scservo_sdk.PacketHandler(0)


def test_the_vendor_sdk_runs_on_the_arm_in_memory() -> None:
    arm = ideal_arm()
    port, packets = sdk_on(arm)
    assert packets.ping(port, 2) == (777, scservo_sdk.COMM_SUCCESS, 0)
    assert packets.write1ByteTxRx(port, 2, 41, 50) == (scservo_sdk.COMM_SUCCESS, 0)
    assert packets.read1ByteTxRx(port, 2, 41) == (50, scservo_sdk.COMM_SUCCESS, 0)
    reader = scservo_sdk.GroupSyncRead(port, packets, 56, 2)
    for servo_id in SERVO_IDS:
        reader.addParam(servo_id)
    assert reader.txRxPacket() == scservo_sdk.COMM_SUCCESS
    assert all(reader.getData(servo_id, 56, 2) < 4096 for servo_id in SERVO_IDS)


def test_an_unanswered_sdk_request_costs_the_host_timeout_once() -> None:
    arm = ideal_arm()
    port, packets = sdk_on(arm)
    _, result, _ = packets.read1ByteTxRx(port, 77, 41)
    assert result == scservo_sdk.COMM_RX_TIMEOUT
    assert 50_000 <= arm.now_us < 51_000


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, len(READ_ALL) - 1), max_size=8))
def test_a_request_in_pieces_is_the_same_request(cuts: list[int]) -> None:
    arm = ideal_arm()
    whole = b"".join(reply.data for reply in arm.exchange(READ_ALL))
    edges = [0, *sorted(cuts), len(READ_ALL)]
    pieces = [READ_ALL[start:end] for start, end in itertools.pairwise(edges)]
    assert b"".join(reply.data for piece in pieces for reply in arm.exchange(piece)) == whole
    assert len(whole) == POSITIONS


def run_of(seed: int) -> str:
    """A digest of everything that can be seen of a short run: bytes, frames, and the state that is left."""
    arm = MockArm(MockConfig(seed=seed, realtime_factor=0, random_mount=True, width=32, height=32))
    clock, link, seen = LockstepClock(arm), LockstepLink(arm), hashlib.sha256()
    for tick in range(1, 16):
        seen.update(link.transact(protocol.sync_read(56, 15, SERVO_IDS), 126, 0.05))
        goal = 2047 + round(300 * math.sin(tick / 10))
        link.send(protocol.sync_write(42, dict.fromkeys(SERVO_IDS, goal.to_bytes(2, "little"))))
        clock.sleep_until(tick / 30)
        if tick % 5 == 0:
            for camera in CAMERAS:
                seen.update(arm.frame(camera).image.tobytes())
    arm.close()
    return f"{seen.hexdigest()} {arm.state_hash()}"


def test_the_same_seed_gives_the_same_bytes_angles_and_frames_also_in_another_process() -> None:
    here = run_of(seed=7)
    folder = str(Path(__file__).parent)
    script = f"import sys; sys.path.append({folder!r}); import test_lockstep as t; print(t.run_of(7))"
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert there.strip() == here
    assert run_of(seed=8) != here
