"""The servo bus: literal frames, per-servo results, late and garbled replies, and LeRobot's numbers.

The far side is either a script of replies or the mock's firmware (`Wire` and `Servos`), without physics.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot.motors import MotorCalibration
from lerobot.motors.feetech import FeetechMotorsBus

from so101_robot.bus import protocol
from so101_robot.bus.protocol import Errors, status, sync_read
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.so101_bus import BusState, SO101Bus
from so101_robot.bus.tick_frames import Question, goal_frame
from so101_robot.bus.units import Scale
from so101_robot.errors import BusError, BusTimeoutError, CalibrationError, PortError, UnsafeActionError
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.wire import Wire

POSITIONS = (2047, 2386, 2355, 2101, 1795, 1726)
Script = Callable[[bytes, int], bytes]


class Handle:
    """What the SDK would write to; scripted tests never do."""

    baudrate = 0

    def close(self) -> None: ...


class ScriptedLink:
    """Answers each request with what `script` makes of it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []

    def send(self, request: bytes) -> None:
        self.requests.append(request)

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        self.requests.append(request)
        return self.script(request, reply_size)

    def close(self) -> None: ...


class Firmware:
    """The mock's servos as link and as the SDK's serial handle, without physics; some may be silent."""

    def __init__(self) -> None:
        self.servos = Servos()
        self.wire = Wire(self.servos)
        self.silent: set[int] = set()
        self.plugged = True
        self.late: list[bytes] = []
        self.baudrate = 0
        self._now_us = 0
        self._input = b""

    def send(self, request: bytes) -> None:
        self._exchange(request)

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        return self._exchange(request)

    def write(self, data: bytes) -> int:
        self._input += self._exchange(bytes(data))
        return len(data)

    def read(self, size: int) -> bytes:
        data, self._input = self._input[:size], self._input[size:]
        return data

    def reset_input_buffer(self) -> None:
        self._input = b""

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def put_stale_input(self, data: bytes) -> None:
        self._input += data

    def _exchange(self, request: bytes) -> bytes:
        if not self.plugged:
            raise PortError("the port is gone")
        self._now_us += 100_000
        replies = [reply.data for reply in self.wire.receive(request, self._now_us)]
        return b"".join(data for data in replies if data[2] not in self.silent)


def calibration(drive_mode: int = 0) -> dict[str, MotorCalibration]:
    ranges = [(747, 3344), (905, 3189), (880, 3120), (840, 3210), (0, 4095), (2030, 3517)]
    return {
        joint: MotorCalibration(servo_id, drive_mode, 0, low, high)
        for joint, servo_id, (low, high) in zip(JOINTS, SERVO_IDS, ranges, strict=True)
    }


def opened(link: Any, handle: Any = None) -> SO101Bus:
    bus = SO101Bus("/dev/arm", calibration(), lambda: (handle or Handle(), link))
    bus.connect(handshake=False)
    return bus


def scripted(script: Script) -> tuple[SO101Bus, ScriptedLink]:
    link = ScriptedLink(script)
    return opened(link), link


@pytest.fixture
def firmware() -> Firmware:
    one = Firmware()
    for index, position in enumerate(POSITIONS):
        one.servos.set(index, "Present_Position", position)
        one.servos.set(index, "Present_Voltage", 121)
    return one


@pytest.fixture
def bus(firmware: Firmware) -> Iterator[SO101Bus]:
    one = opened(firmware, firmware)
    yield one
    one.disconnect(disable_torque=False)


def two_bytes(value: int) -> bytes:
    return value.to_bytes(2, "little")


def positions(size: int = 2, **changed: bytes) -> bytes:
    """Six replies that start with POSITIONS; `s3=...` replaces the frame of servo 3."""
    frames = {
        f"s{servo_id}": status(servo_id, 0, two_bytes(position) + bytes(size - 2))
        for servo_id, position in zip(SERVO_IDS, POSITIONS, strict=True)
    }
    return b"".join((frames | changed).values())


def asked_size(request: bytes) -> int:
    return request[6]


# literal frames


def test_a_read_is_the_frame_that_lerobot_sends_and_its_answer_becomes_positions():
    bus, link = scripted(lambda *_: positions())
    state = bus.read_state(False, time_s=12.5)
    assert link.requests == [bytes.fromhex("ff ff fe 0a 82 38 02 01 02 03 04 05 06 26")]
    assert state.time_s == 12.5
    assert state.position_steps.tolist() == list(POSITIONS)
    assert state.answered.all()
    assert not state.errors.any()
    assert state.health is None


def test_goals_are_the_frame_that_lerobot_sends():
    bus, link = scripted(lambda *_: b"")
    bus.write_goals(np.array([2028, 2364, 2355, 2098, 1795, 1726]))
    assert link.requests == [
        bytes.fromhex("ff ff fe 16 83 2a 02 01 ec 07 02 3c 09 03 33 09 04 32 08 05 03 07 06 be 06 ab")
    ]


def test_negative_positions_and_goals_have_their_sign_in_bit_15():
    bus, link = scripted(lambda *_: positions(s2=status(2, 0, b"\x05\x80")))
    assert bus.read_state(False, 0.0).position_steps.tolist()[1] == -5
    bus.write_goals([0, -5, 0, 0, 0, 0])
    assert link.requests[-1][10:13] == bytes.fromhex("02 05 80")


@pytest.mark.parametrize("goals", [[0] * 5, [0] * 7, [32767] + [0] * 5, [0, -32767, 0, 0, 0, 0]])
def test_goals_that_cannot_go_over_the_wire_are_refused(goals: list[int]):
    with pytest.raises(UnsafeActionError, match="cannot send goals"):
        goal_frame(goals)


@given(st.lists(st.integers(-32766, 32766), min_size=6, max_size=6))
def test_a_goal_frame_is_valid_and_never_contains_a_header_inside(goals: list[int]):
    frame = goal_frame(goals)
    words = {
        i: two_bytes(goal if goal >= 0 else -goal | 0x8000) for i, goal in zip(SERVO_IDS, goals, strict=True)
    }
    assert frame == protocol.sync_write(42, words)
    if (
        max(map(abs, goals)) < 0x7F00
    ):  # beyond, a high byte 0xFF can meet a checksum 0xFF; a servo has 0 to 4095
        assert frame.count(b"\xff\xff") == 1


def test_health_is_read_in_one_block_and_scaled_to_units():
    block = two_bytes(2047) + two_bytes(50 | 0x8000) + two_bytes(250 | 1 << 10) + bytes([119, 41, 0, 0x20, 1])
    block += two_bytes(2100) + two_bytes(100 | 0x8000)
    bus, link = scripted(lambda *_: b"".join(status(i, 0x20, block) for i in SERVO_IDS))
    state = bus.read_state(True, 0.0)
    assert link.requests[0][4:7] == bytes.fromhex("82 38 0f")
    health = state.health
    assert health is not None
    assert state.errors.tolist() == [Errors.OVERLOAD] * 6
    assert health.velocity_steps_s[0] == -50
    assert health.load_percent[0] == pytest.approx(-25.0)
    assert health.voltage_v[0] == pytest.approx(11.9)
    assert health.temperature_c[0] == 41
    assert health.current_ma[0] == pytest.approx(-650)
    assert health.moving[0] == 1


# what goes wrong on a wire


def test_a_servo_that_does_not_answer_is_marked_and_keeps_its_last_position():
    bus, link = scripted(lambda *_: positions())
    bus.read_state(False, 0.0)
    link.script = lambda request, _: positions(asked_size(request), s4=b"")
    state = bus.read_state(False, 1.0)
    assert state.answered.tolist() == [True, True, True, False, True, True]
    assert state.position_steps.tolist() == list(POSITIONS)


def test_health_of_a_servo_that_does_not_answer_is_not_a_number():
    bus, _ = scripted(lambda request, _: positions(asked_size(request), s1=b""))
    health = bus.read_state(True, 0.0).health
    assert health is not None
    for field in health:
        assert np.isnan(field[0])
        assert np.isfinite(field[1:]).all()


def test_nobody_answering_says_where_to_look():
    bus, _ = scripted(lambda *_: b"")
    with pytest.raises(
        BusTimeoutError, match=r"no servo answered on /dev/arm within 20 ms; expected ids: 1, 2, 3, 4, 5, 6"
    ):
        bus.read_state(False, 0.0)


def test_only_noise_says_so():
    bus, _ = scripted(lambda *_: b"\x00\xff\x13" * 16)
    with pytest.raises(BusTimeoutError, match="48 bytes of noise"):
        bus.read_state(False, 0.0)


def test_silent_servos_are_named_with_the_cable_to_check():
    bus, _ = scripted(lambda *_: b"")
    assert bus.describe_silence([True, True, True, False, True, True]) == (
        "servo 4 (wrist_flex) did not answer 'Present_Position' within 20 ms; answering ids: 1, 2, 3, 5, 6 "
        "- check its cable and its id"
    )
    assert bus.describe_silence([True] * 3 + [False] * 3).endswith("check the cable between 3 and 4")


def test_a_garbled_reply_is_asked_for_once_more_and_only_that_one():
    replies = iter([positions(s3=b"\xff\xff\x03\x04\x00\x33\x09\x00"), status(3, 0, two_bytes(POSITIONS[2]))])
    bus, link = scripted(lambda *_: next(replies))
    assert bus.read_state(False, 0.0).answered.all()
    assert link.requests[1] == sync_read(56, 2, (3,))


def test_a_silent_servo_is_not_asked_twice_because_its_deadline_is_gone():
    bus, link = scripted(lambda request, _: positions(asked_size(request), s6=b""))
    assert not bus.read_state(False, 0.0).answered[5]
    assert len(link.requests) == 1


@pytest.mark.parametrize(
    "disturbed",
    [
        pytest.param(lambda data: sync_read(56, 2, SERVO_IDS) + data, id="echo"),
        pytest.param(lambda data: b"\x00\xff\x00" + data, id="noise"),
        pytest.param(lambda data: data[:8] + data, id="first reply twice"),
        pytest.param(lambda data: data[8:] + data[:8], id="other order"),
        pytest.param(lambda data: status(7, 0, b"\x00\x00") + data, id="a seventh servo"),
        pytest.param(lambda data: status(1, 0, b"\x01") + data, id="reply of another length"),
        pytest.param(lambda data: status(1, 0) + data, id="late acknowledgement"),
    ],
)
def test_bytes_that_do_not_belong_change_nothing(disturbed: Callable[[bytes], bytes]):
    bus, link = scripted(lambda *_: disturbed(positions()))
    state = bus.read_state(False, 0.0)
    assert state.position_steps.tolist() == list(POSITIONS)
    assert state.answered.all()
    assert len(link.requests) == 1


def disturbed_reads(leaps: list[int | None]) -> Iterator[BusState]:
    """A clean read, then one for each of `leaps`, in which servo 6 is silent and 5 is so many steps away (None:
    silent too)."""
    now: list[int | None] = [0]

    def script(request: bytes, _: int) -> bytes:
        if now[0] == 0:
            return positions(asked_size(request))
        fifth = b"" if now[0] is None else two_bytes(POSITIONS[4] + now[0]) + bytes(asked_size(request) - 2)
        return positions(asked_size(request), s5=fifth and status(5, 0, fifth), s6=b"")

    bus, _ = scripted(script)
    for tick, leap in enumerate([0, *leaps]):
        now[0] = leap
        yield bus.read_state(False, 0.03 * tick)


def test_a_leap_in_a_disturbed_read_is_believed_only_when_the_next_reply_says_about_the_same():
    """One garbled reply in 256 has the right checksum."""
    states = list(disturbed_reads([1800, 1750]))[1:]
    assert [state.answered[4] for state in states] == [False, True]
    assert [state.position_steps[4] - POSITIONS[4] for state in states] == [0, 1750]
    assert all(state.answered[:4].all() for state in states)


def test_leaps_to_different_places_and_leaps_and_back_are_not_believed():
    states = list(disturbed_reads([1800, -1700, 5, 1800]))[1:]
    assert [state.answered[4] for state in states] == [False, False, True, False]
    assert [state.position_steps[4] - POSITIONS[4] for state in states] == [0, 0, 5, 5]


def test_a_clean_read_is_believed_however_far_the_joint_moved():
    bus, link = scripted(lambda *_: positions())
    bus.read_state(False, 0.0)
    link.script = lambda *_: positions(s5=status(5, 0, two_bytes(POSITIONS[4] + 1700)))
    assert bus.read_state(False, 0.03).position_steps[4] == POSITIONS[4] + 1700


def test_a_reply_that_is_late_never_becomes_the_answer_to_a_later_question():
    waiting: list[bytes] = []
    clock = iter(range(1000))

    def one_question_late(request: bytes, _: int) -> bytes:
        value = next(clock)  # the truth at the time of asking
        waiting.append(
            b"".join(status(i, 0, two_bytes(value) + bytes(asked_size(request) - 2)) for i in SERVO_IDS)
        )
        return waiting.pop(0) if len(waiting) > 3 else b""

    bus, _ = scripted(one_question_late)
    for _ in range(20):
        with pytest.raises(BusTimeoutError):
            bus.read_state(False, 0.0)


def test_after_late_replies_the_first_fresh_answer_is_taken():
    stale, answers = positions(2, s1=status(1, 0, b"\x11\x11")), iter(range(100))

    def script(request: bytes, _: int) -> bytes:
        return b"" if next(answers) == 0 else stale + positions(asked_size(request))

    bus, _ = scripted(script)
    with pytest.raises(BusTimeoutError):
        bus.read_state(False, 0.0)
    assert bus.read_state(False, 1.0).position_steps.tolist() == list(POSITIONS)


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.sampled_from([positions()[i : i + 8] for i in range(0, 48, 8)]))
    )
)
def test_no_bytes_from_the_wire_break_a_read_or_invent_a_position(pieces: list[bytes]):
    bus, _ = scripted(lambda *_: b"".join(pieces))
    known = set(POSITIONS) | {0}
    frames = {s.params for s in protocol.parse_statuses(b"".join(pieces))[0]}
    try:
        state = bus.read_state(False, 0.0)
    except BusTimeoutError:
        return
    assert state.position_steps.shape == (6,)
    for steps in state.position_steps[state.answered].tolist():
        assert steps in known or two_bytes(steps if steps >= 0 else -steps | 0x8000) in frames


@given(st.integers(0, 5), st.integers(0, 7), st.integers(1, 255))
def test_a_flipped_bit_is_never_a_clean_answer(frame: int, byte: int, flip: int):
    data = bytearray(positions())
    data[8 * frame + byte] ^= flip
    assert Question(SERVO_IDS, 2).answer(bytes(data)) is None
    assert Question(SERVO_IDS, 2).answer(positions()) is not None


# servos one by one, against the mock's firmware


def test_error_bits_of_every_servo_are_in_the_state(firmware: Firmware, bus: SO101Bus):
    firmware.servos.set(1, "Status", int(Errors.OVERLOAD))
    firmware.servos.set(4, "Status", int(Errors.VOLTAGE | Errors.OVERHEAT))
    state = bus.read_state(True, 0.0)
    assert state.errors.tolist() == [0, Errors.OVERLOAD, 0, 0, Errors.VOLTAGE | Errors.OVERHEAT, 0]
    assert state.answered.all()


def test_all_registers_are_read_servo_by_servo(bus: SO101Bus):
    rows = bus.read_registers()
    assert rows.shape == (6, 87)
    assert rows[:, BY_NAME["ID"].address].tolist() == list(SERVO_IDS)


def test_silent_servos_are_all_named_when_registers_are_read(firmware: Firmware, bus: SO101Bus):
    firmware.silent = {2, 5}
    with pytest.raises(BusTimeoutError, match=r"servo 2 \(shoulder_lift\), 5 \(wrist_roll\) did not answer"):
        bus.read_registers()


def test_a_write_is_acknowledged_with_the_servos_errors_or_fails_by_name(firmware: Firmware, bus: SO101Bus):
    firmware.servos.set(0, "Status", int(Errors.OVERLOAD))
    assert bus.write_register(1, BY_NAME["P_Coefficient"], 16) == Errors.OVERLOAD
    assert firmware.servos.get(0, "P_Coefficient") == 16
    firmware.silent = {3}
    with pytest.raises(
        BusTimeoutError, match=r"servo 3 \(elbow_flex\) did not acknowledge P_Coefficient = 16"
    ):
        bus.write_register(3, BY_NAME["P_Coefficient"], 16)


def test_release_reaches_every_servo_although_one_is_silent_and_one_is_overloaded(
    firmware: Firmware, bus: SO101Bus
):
    bus.torque_on()
    assert [firmware.servos.get(i, "Torque_Enable") for i in range(6)] == [1] * 6
    firmware.silent = {2}
    firmware.servos.set(3, "Status", int(Errors.OVERLOAD))
    result = bus.release()
    assert [joint for joint, trouble in result.items() if trouble] == ["shoulder_lift"]
    assert "did not acknowledge Torque_Enable = 0" in str(result["shoulder_lift"])
    assert [firmware.servos.get(i, "Torque_Enable") for i in range(6)] == [0] * 6


def test_release_on_a_lost_port_reports_every_servo_and_raises_nothing(firmware: Firmware, bus: SO101Bus):
    firmware.plugged = False
    assert bus.release() == dict.fromkeys(JOINTS, "the port is gone")
    bus.disconnect()
    bus.disconnect()
    assert not bus.is_connected


def test_a_closed_bus_says_so():
    with pytest.raises(PortError, match="not open"):
        SO101Bus("/dev/arm", calibration()).read_state(False, 0.0)


# LeRobot


def test_lerobots_own_methods_work_on_the_bus(firmware: Firmware, bus: SO101Bus):
    assert bus.sync_read("Present_Position", normalize=False) == dict(zip(JOINTS, POSITIONS, strict=True))
    bus.write("P_Coefficient", "elbow_flex", 20)
    assert bus.read("P_Coefficient", "elbow_flex") == 20
    bus.write_calibration(calibration())
    assert bus.is_calibrated


def test_a_late_reply_does_not_answer_lerobots_next_question_either(firmware: Firmware, bus: SO101Bus):
    firmware.put_stale_input(status(3, 0, b"\x79"))
    assert bus.read("Present_Voltage", "elbow_flex") == 121
    firmware.servos.set(2, "Present_Temperature", 30)
    firmware.put_stale_input(status(3, 0, b"\x79"))
    assert bus.read("Present_Temperature", "elbow_flex") == 30


def test_an_interrupted_call_does_not_leave_the_port_in_use(bus: SO101Bus):
    bus.port_handler.is_using = True
    assert bus.read("ID", "gripper") == 6


def test_the_handshake_names_what_is_not_an_so101(firmware: Firmware, bus: SO101Bus):
    firmware.servos.set(5, "Model_Number", 2825)
    bus.disconnect(disable_torque=False)
    with pytest.raises(BusError, match=r"servo 6 \(gripper\): model 2825"):
        bus.connect()
    assert not bus.is_connected


@st.composite
def calibrations(draw: st.DrawFn) -> dict[str, MotorCalibration]:
    rows: dict[str, MotorCalibration] = {}
    for joint, servo_id in zip(JOINTS, SERVO_IDS, strict=True):
        low = draw(st.integers(0, 4000))
        rows[joint] = MotorCalibration(
            servo_id, draw(st.integers(0, 1)), 0, low, draw(st.integers(low + 1, 4095))
        )
    return rows


def lerobots(rows: dict[str, MotorCalibration]) -> FeetechMotorsBus:
    return FeetechMotorsBus("/dev/arm", SO101Bus("/dev/arm").motors, rows)


@given(calibrations(), st.lists(st.integers(-32767, 32767), min_size=6, max_size=6))
def test_joint_values_are_lerobots_to_the_last_bit(rows: dict[str, MotorCalibration], steps: list[int]):
    theirs = lerobots(rows)._normalize(dict(zip(SERVO_IDS, steps, strict=True)))
    assert Scale(rows).to_joint(steps).tolist() == list(theirs.values())


@given(calibrations(), st.lists(st.floats(-1000, 1000), min_size=6, max_size=6))
def test_goal_steps_are_lerobots(rows: dict[str, MotorCalibration], joint: list[float]):
    theirs = lerobots(rows)._unnormalize(dict(zip(SERVO_IDS, joint, strict=True)))
    assert Scale(rows).to_steps(joint).tolist() == list(theirs.values())


@given(calibrations(), st.lists(st.integers(0, 4095), min_size=6, max_size=6))
def test_steps_survive_the_way_to_joint_values_and_back_but_for_lerobots_truncation(
    rows: dict[str, MotorCalibration], steps: list[int]
):
    scale = Scale(rows)
    inside = np.clip(steps, scale.lower_steps, scale.upper_steps)
    back = scale.to_steps(scale.to_joint(inside))
    assert (np.abs(back - inside) <= 1).all()


def test_the_bus_follows_a_calibration_that_lerobot_sets(bus: SO101Bus):
    assert bus.to_joint([2048] * 6)[0] == pytest.approx((2048 - 2045.5) * 360 / 4095)
    bus.calibration = calibration() | {"shoulder_pan": MotorCalibration(1, 0, 0, 0, 4095)}
    assert bus.to_joint([2048] * 6)[0] == pytest.approx(0.5 * 360 / 4095)


def test_values_that_are_no_numbers_never_become_steps(bus: SO101Bus):
    for poison in (np.nan, np.inf, -np.inf):
        with pytest.raises(UnsafeActionError, match="wrist_flex ="):
            bus.to_steps([0, 0, 0, poison, 0, 0])
        with pytest.raises(UnsafeActionError, match="gripper ="):
            bus.to_steps([0, 0, 0, 0, 0, poison])
    with pytest.raises(UnsafeActionError, match="shoulder_pan = 1e"):
        bus.to_steps([1e300, 0, 0, 0, 0, 0])


def test_a_calibration_that_cannot_be_used_is_refused():
    with pytest.raises(CalibrationError, match="lacks shoulder_pan"):
        Scale({})
    with pytest.raises(CalibrationError, match="range of gripper is empty"):
        Scale(calibration() | {"gripper": MotorCalibration(6, 0, 0, 100, 100)})
