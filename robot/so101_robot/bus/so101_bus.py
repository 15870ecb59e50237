"""The servo bus of an SO-101: LeRobot's `FeetechMotorsBus` with a fast and fault-tolerant way to read and to
command.

LeRobot's own methods (calibration, motor set-up, single registers by name) work on it as they are. Ours are
`read_state` and `write_goals`, one transaction each: one write, one wait with a deadline, results per servo
with their error bytes. A servo that does not answer is marked; only when none answers is there an
exception. A garbled reply is asked for once more. Nothing that came late can pass for the answer to another
question (see `tick_frames.questions`, and `servo_requests` for single servos).

A servo that stays silent is left out of the reads, because each would cost the whole deadline; now and then it is
read again. While it is left out it is not commanded either: its position is not known, and a servo that has just
rebooted would jump to the goal.

Block reads and acknowledged writes of single servos (`read_registers`, `write_register`) serve the start, the
end, and a servo that has come back.
"""

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import scservo_sdk
from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus
from numpy.typing import ArrayLike, NDArray

from so101_robot.bus import protocol, registers
from so101_robot.bus.link import Link
from so101_robot.bus.port_lock import open_locked
from so101_robot.bus.protocol import Errors, Status
from so101_robot.bus.registers import BY_NAME, Register
from so101_robot.bus.sdk import Opener, SdkPort
from so101_robot.bus.servo_requests import TRIES, ServoRequests
from so101_robot.bus.setup import check_identity
from so101_robot.bus.tick_frames import (
    HEALTH_SIZE,
    POSITION,
    Answer,
    Question,
    decode,
    goal_frame,
    health_of,
    questions,
)
from so101_robot.bus.units import Scale
from so101_robot.errors import BusTimeoutError, PortError, RobotError
from so101_robot.joints import GRIPPER, JOINTS, SERVO_IDS, named_servo
from so101_robot.state import Health

N = len(SERVO_IDS)

READ_TIMEOUT_S = 0.02
"""Deadline of `read_state` [s]. All replies take 1.6 ms on the wire; FTDI adapters may keep bytes for 16
ms."""

SLOW_TIMEOUT_S = 0.1
"""Deadline for one servo [s]. An EEPROM write that erases a page is acknowledged tens of milliseconds
later."""

LEAVE_OUT_AFTER = 3
"""A servo that did not answer this many reads in a row is left out of the next."""

ASK_AGAIN_S = 0.5
"""How often the servos that were left out are read again; costs one `READ_TIMEOUT_S`."""

LEAP_STEPS = 114
FASTEST_STEPS_S = 4000.0
"""10 degrees, and 350 degrees per second since the last read: more than a joint moves. See `SO101Bus._doubt`."""

ALL = np.ones(N, np.bool_)
"""What `BusState.answered` usually is; shared, so it cannot be written to."""
ALL.setflags(write=False)

TORQUE = BY_NAME["Torque_Enable"]

BLOCKS = ((0, 40), (40, registers.SIZE - 40))
"""A servo's registers in two reads: EEPROM and the rest."""


class BusState(NamedTuple):
    """One read of all servos, in the order of `JOINTS`."""

    time_s: float
    position_steps: NDArray[np.int32]
    """(6,) of a servo that did not answer: the last that it said, 0 before."""
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    """(6,) error byte of each reply (`protocol.Errors`), 0 of a servo that did not answer."""
    health: Health | None


class SO101Bus(FeetechMotorsBus):
    """Six STS3215 servos, ids 1 to 6, joints in degrees and the gripper in percent.

    Args:
        port: path of a serial port; with `opener` only a name.
        calibration: LeRobot's, as in the file that `lerobot-calibrate` writes.
        opener: how to open the port; by default as a serial port, for this process alone.
    """

    def __init__(
        self, port: str, calibration: dict[str, MotorCalibration] | None = None, opener: Opener | None = None
    ) -> None:
        super().__init__(port, _motors(), calibration)
        self._use(port, opener or (lambda: _open_serial_port(port)))
        self.timeout_s = READ_TIMEOUT_S
        self.slow_timeout_s = SLOW_TIMEOUT_S
        self._questions: dict[tuple[bool, tuple[int, ...]], tuple[Question, ...]] = {}
        self._unanswered = 0
        self._misses = np.zeros(N, np.int64)
        self._everybody_asked_s = -np.inf
        self._requests = ServoRequests()
        self._last_steps = np.zeros(N, np.int32)
        self._read_s = -np.inf
        self._doubted: dict[int, int] = {}
        self._scale: Scale | None = None
        self._scaled: object = None

    # every tick -----

    def read_state(self, health: bool, time_s: float) -> BusState:
        """Ask all servos for their position, with `health` for everything they measure.

        Args:
            health: read 15 bytes a servo instead of 2 (1.6 ms on the wire instead of 0.8).
            time_s: time stamp of the state.

        Raises:
            BusTimeoutError: no servo answered.
            PortError: the port is gone.
        """
        ids = self._to_ask(time_s)
        question = self._question(health, ids)
        passed_s, self._read_s = time_s - self._read_s, time_s
        data = self._link.transact(question.request, question.reply_size, self.timeout_s)
        answer, answered = question.answer(data) if len(ids) == N else None, ALL
        if answer is None:
            answer, answered = self._salvage(question, data, passed_s)
        elif self._unanswered:
            self._unanswered = 0
            self._misses[:] = 0
            self._doubted.clear()
        steps = answer.position_steps
        if self._unanswered:
            steps = np.where(answered, steps, self._last_steps)
        self._last_steps = steps
        return BusState(
            time_s,
            steps,
            answered,
            answer.errors,
            health_of(answer, answered) if health else None,
        )

    def write_goals(self, goal_steps: ArrayLike) -> None:
        """Command all servos but those that are left out, at once. A goal turns its servo's torque on. Nobody
        answers.

        Args:
            goal_steps: (6,) whole steps.

        Raises:
            UnsafeActionError: a goal that cannot be sent.
            PortError: the port is gone.
        """
        self._link.send(goal_frame(goal_steps, self._in_touch()))

    def to_joint(self, position_steps: ArrayLike) -> NDArray[np.float64]:
        """Joint values (6,) in LeRobot units of encoder steps (6,). Raises CalibrationError without a
        calibration."""
        return self.scale.to_joint(position_steps)

    def to_steps(self, joint: ArrayLike) -> NDArray[np.int32]:
        """Encoder steps (6,) of joint values (6,). Raises UnsafeActionError on NaN, CalibrationError."""
        return self.scale.to_steps(joint)

    @property
    def scale(self) -> Scale:
        """The scale of the calibration that LeRobot's methods last set. Raises CalibrationError."""
        if self._scale is None or self._scaled is not self.calibration:
            self._scale, self._scaled = Scale(self.calibration), self.calibration
        return self._scale

    # one servo after the other -----

    def read_registers(self) -> NDArray[np.uint8]:
        """All registers of all servos, uint8 (6, 87).

        Raises:
            BusTimeoutError: names every servo that did not answer, and where the cable may be loose.
        """
        rows = [self._read_all(servo_id) for servo_id in SERVO_IDS]
        answered = [row is not None for row in rows]
        if not all(answered):
            raise BusTimeoutError(self.describe_silence(answered))
        return np.array([np.frombuffer(row, np.uint8) for row in rows if row is not None])

    def read_servo(self, servo_id: int) -> NDArray[np.uint8]:
        """All registers of one servo, uint8 (87,). Raises BusTimeoutError, PortError."""
        row = self._read_all(servo_id)
        if row is None:
            raise BusTimeoutError(self.describe_silence([other != servo_id for other in SERVO_IDS]))
        return np.frombuffer(row, np.uint8)

    def write_register(
        self, servo_id: int, register: Register, value: int, timeout_s: float | None = None
    ) -> Errors:
        """Write one register of one servo, acknowledged; tried three times. Returns the servo's error bits.

        Args:
            servo_id: 1 to 6.
            register: a row of `registers.REGISTERS`.
            value: in the register's unit.
            timeout_s: for each try [s]; by default `slow_timeout_s`.

        Raises:
            BusTimeoutError: it did not answer.
            PortError: the port is gone.
        """
        timeout_s = self.slow_timeout_s if timeout_s is None else timeout_s
        request = protocol.write(servo_id, register.address, registers.encode(register, value))
        reply = self._requests.reply(self._link, request, servo_id, 0, timeout_s)
        if reply is None:
            raise BusTimeoutError(
                f"{named_servo(servo_id)} did not acknowledge "
                f"{register.name} = {value} within {timeout_s * 1e3:.0f} ms, {TRIES} tries"
            )
        return reply.error

    def torque_on(self) -> None:
        """Torque on at all servos that hear it; a free one holds the pose it is in. Nobody answers."""
        self._link.send(protocol.sync_write(TORQUE.address, dict.fromkeys(SERVO_IDS, b"\x01")))

    def release(self) -> dict[str, str | None]:
        """Torque off, servo by servo, whatever happens to the others.

        Returns:
            For each joint None if it is free, else why that is not certain.
        """
        with contextlib.suppress(PortError):  # all let go at once; what follows makes sure
            self._link.send(protocol.sync_write(TORQUE.address, dict.fromkeys(SERVO_IDS, b"\x00")))
        return {joint: self._release(servo_id) for joint, servo_id in zip(JOINTS, SERVO_IDS, strict=True)}

    def describe_silence(self, answered: Iterable[bool]) -> str:
        """One sentence on who did not answer, who did, and where to look."""
        silent = [i for i, ok in enumerate(answered) if not ok]
        timeout_ms = self.timeout_s * 1e3
        if len(silent) == N:
            return (
                f"no servo answered on {self.port} within {timeout_ms:.0f} ms; expected ids: "
                f"{_listed(SERVO_IDS)} - is the arm's power supply on (USB does not feed the servos), "
                "and the bus cable in?"
            )
        who = _listed(f"{SERVO_IDS[i]} ({JOINTS[i]})" for i in silent)
        others = _listed(SERVO_IDS[i] for i in range(N) if i not in silent)
        first = silent[0]
        if first and silent == list(range(first, N)):
            where = f"check the cable between {SERVO_IDS[first - 1]} and {SERVO_IDS[first]}"
        else:
            where = "check its cable and its id"
        return (
            f"servo {who} did not answer 'Present_Position' within {timeout_ms:.0f} ms; "
            f"answering ids: {others} - {where}"
        )

    # the port -----

    def disconnect(self, disable_torque: bool = True) -> None:
        """Close the port, after releasing what can be released. May be called twice; a silent servo stops
        nothing."""
        if self.is_connected:
            if disable_torque:
                self.release()
            self.port_handler.closePort()

    def move_to(self, port: str) -> None:
        """Go on with the same servos at another path, or at the old one after it was away.

        Raises PortError.
        """
        self.disconnect(disable_torque=False)
        self._use(port, lambda: _open_serial_port(port))
        self.port_handler.openPort()

    def _use(self, port: str, opener: Opener) -> None:
        self.port = port
        self.port_handler: Any = SdkPort(port, opener)
        self.sync_reader: Any = scservo_sdk.GroupSyncRead(self.port_handler, self.packet_handler, 0, 0)
        self.sync_writer: Any = scservo_sdk.GroupSyncWrite(self.port_handler, self.packet_handler, 0, 0)

    def set_baudrate(self, baudrate: int) -> None:
        """Change the speed of the open port (for motor set-up); our own transactions follow."""
        self.port_handler.setBaudRate(baudrate)

    @property
    def _link(self) -> Link:
        link: Link | None = self.port_handler.link
        if link is None:
            raise PortError(f"{self.port} is not open - is the USB cable in?")
        return link

    def _connect(self, handshake: bool = True) -> None:
        self.port_handler.openPort()
        if handshake:
            try:
                self._handshake()
            except BaseException:
                self.port_handler.closePort()
                raise

    def _handshake(self) -> None:
        """Read-only: six servos, the right ones. Raises BusError."""
        check_identity(self.read_registers())

    # parts -----

    def _in_touch(self) -> tuple[int, ...]:
        """The servos that are not left out: all, if none answers."""
        if not self._unanswered:
            return SERVO_IDS
        ids = zip(SERVO_IDS, self._misses.tolist(), strict=True)
        return tuple(servo_id for servo_id, misses in ids if misses < LEAVE_OUT_AFTER) or SERVO_IDS

    def _to_ask(self, time_s: float) -> tuple[int, ...]:
        ids = self._in_touch()
        if len(ids) < N and time_s - self._everybody_asked_s < ASK_AGAIN_S:
            return ids
        self._everybody_asked_s = time_s
        return SERVO_IDS

    def _question(self, health: bool, ids: tuple[int, ...]) -> Question:
        if (health, ids) not in self._questions:
            self._questions[health, ids] = questions(HEALTH_SIZE if health else POSITION.size, ids)
        lengths = self._questions[health, ids]
        return lengths[self._unanswered % len(lengths)]

    def _salvage(self, question: Question, data: bytes, passed_s: float) -> tuple[Answer, NDArray[np.bool_]]:
        """The good replies of a read that was not clean or not to all, and who gave them; zeros where there is
        none.

        What is missing is asked for once more, unless the deadline has been used up already.
        """
        found = question.replies(data)
        missing = [servo_id for servo_id in question.ids if servo_id not in found]
        if missing and len(data) >= question.reply_size:  # garbled, not silent
            again = Question(missing, question.size)
            data = self._link.transact(again.request, again.reply_size, self.timeout_s)
            found.update(again.replies(data))
        self._doubt(found, LEAP_STEPS + FASTEST_STEPS_S * passed_s)
        answered = np.array([servo_id in found for servo_id in SERVO_IDS])
        asked = np.array([servo_id in question.ids for servo_id in SERVO_IDS])
        self._unanswered = 0 if answered.all() else self._unanswered + 1
        self._misses = np.where(answered, 0, self._misses + asked)
        if not found:
            if data:
                raise BusTimeoutError(
                    f"no valid reply on {self.port}, but {len(data)} bytes of noise - do two programs use "
                    "it, or do the servos run at another baud rate?"
                )
            raise BusTimeoutError(self.describe_silence(answered.tolist()))
        blank = bytes(question.frame_size)
        whole = [protocol.status(*found[servo_id]) if servo_id in found else blank for servo_id in SERVO_IDS]
        return decode(b"".join(whole), N), answered

    def _doubt(self, found: dict[int, Status], reach_steps: float) -> None:
        """Take out the replies by which a joint leapt farther than that, until the next one says the same.

        A checksum has eight bits, so of 256 garbled replies one passes for a good one; where two programs read
        there are hundreds a second. A read that is clean as a whole is not doubted.
        """
        for servo_id, reply in list(found.items()):
            steps = registers.decode(POSITION, reply.params[: POSITION.size])
            last = int(self._last_steps[SERVO_IDS.index(servo_id)])
            if min(abs(steps - known) for known in (last, self._doubted.get(servo_id, last))) > reach_steps:
                del found[servo_id]
                self._doubted[servo_id] = steps
            else:
                self._doubted.pop(servo_id, None)

    def _read_all(self, servo_id: int) -> bytes | None:
        blocks = b""
        for address, size in BLOCKS:
            request = protocol.read(servo_id, address, size)
            reply = self._requests.reply(self._link, request, servo_id, size, self.slow_timeout_s)
            if reply is None:
                return None
            blocks += reply.params
        return blocks

    def _release(self, servo_id: int) -> str | None:
        try:
            self.write_register(servo_id, TORQUE, 0, self.timeout_s)
        except RobotError as error:
            return str(error)
        return None


def _motors() -> dict[str, Motor]:
    modes = [MotorNormMode.RANGE_0_100 if i == GRIPPER else MotorNormMode.DEGREES for i in range(N)]
    return {
        joint: Motor(servo_id, "sts3215", mode)
        for joint, servo_id, mode in zip(JOINTS, SERVO_IDS, modes, strict=True)
    }


def _listed(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)


def _open_serial_port(port: str) -> tuple[Any, Link]:
    return open_locked(port)
