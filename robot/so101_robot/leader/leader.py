"""A leader at the wire: six servos without torque, read once a tick.

`open` only reads, so that everything can be judged before anything is written; `free` takes the torque off. Under
torque it is only between `take` and `let_go`, when a takeover brings it to the follower (`handover`), and then weakly.
What is wrong with a leader is one message (CalibrationError, BusError, PortError), what goes wrong with it while it
leads is a `SourceFault` (see `source`).
"""

import contextlib
import math
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lerobot.motors import MotorCalibration
from lerobot.utils.constants import HF_LEROBOT_CALIBRATION, TELEOPERATORS
from numpy.typing import NDArray

from so101_policy.errors import first_line
from so101_robot import mock
from so101_robot.bus import calibration as calibrations
from so101_robot.bus import setup as startup
from so101_robot.bus.calibration import Calibration
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.sdk import Opener
from so101_robot.bus.setup import Registers
from so101_robot.bus.so101_bus import READ_TIMEOUT_S, BusState, SO101Bus
from so101_robot.errors import (
    BusError,
    BusTimeoutError,
    CalibrationError,
    ConfigError,
    PortError,
    RobotError,
)
from so101_robot.joints import FULL_TURN_JOINT, JOINTS, SERVO_IDS, named_servo
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.mock.config import MockConfig
from so101_robot.mock.physics.hand_script import PLAY, TAKES_OVER, ScriptedHand, read_script

MOCK_PORT = "mock"

FOLDER = "so_leader"
"""LeRobot's name for an SO-101 that leads (0.6): one calibration serves `lerobot-*` and this."""

ROLL = JOINTS.index(FULL_TURN_JOINT)

TURN_DEG = 360.0

TORQUE_LIMIT = BY_NAME["Torque_Limit"]


class LeaderReading(NamedTuple):
    """Where the leader is."""

    asked_s: float
    """When it was asked, on the loop's clock."""
    spent_s: float
    """How long that took on a simulated wire; 0 on a real one, whose time passes by itself."""
    position: NDArray[np.float64]
    """(6,) LeRobot units by the leader's calibration; the wrist's roll may go on beyond half a turn."""


class Leader:
    """The arm that is moved by hand.

    Args:
        config: which one.
        arm: for port `mock`, a simulated leader that exists already, and stays the caller's.
        takes_over: what the hand of a simulated one is for: it rests at first, and takes a leader that was brought to
            the follower; false: it leads from the start.

    Raises:
        ConfigError: no port or no id is named, or a hand's file cannot be read.
        CalibrationError: the calibration file cannot be read.
    """

    def __init__(
        self, config: LeaderConfig, arm: "mock.MockArm | None" = None, takes_over: bool = False
    ) -> None:
        self.config = config
        self._require_names()
        self._hand: ScriptedHand | None = None
        self.mock = arm
        self._owns_mock = arm is None
        if config.port == MOCK_PORT and arm is None:
            own = None if config.mock.hand is None else read_script(config.mock.hand)
            arm = self.mock = mock.MockArm(MockConfig(seed=config.mock.seed, camera_fps=1.0), leader=True)
            assert arm.hand is not None  # it has a world
            if takes_over:
                first = own or TAKES_OVER
                self._hand = ScriptedHand(arm.hand, arm.bridge, first, own or PLAY)
            else:
                self._hand = ScriptedHand(arm.hand, arm.bridge, own or PLAY)
        folder = config.calibration_dir or HF_LEROBOT_CALIBRATION / TELEOPERATORS / FOLDER
        self.calibration_path = folder / f"{config.id}.json"
        self.calibration: Calibration = self._calibration()
        self.rows: Registers = np.zeros((len(SERVO_IDS), 87), np.uint8)
        """(6, 87) the registers that `open` has read."""
        self._bus = SO101Bus(config.port, _lerobots(self.calibration))
        self._roll_deg = math.nan
        self._away = self._driven = False

    def _require_names(self) -> None:
        config = self.config
        if not config.port:
            raise ConfigError(
                "--teleop.port is missing: the leader's serial port, or mock for the simulated one"
            )
        if config.id is None and config.port != MOCK_PORT:
            raise ConfigError(
                "--teleop.id is missing: it names the leader's calibration file, as in LeRobot's commands"
                f"{_known(config.calibration_dir)}"
            )

    # before it leads -----

    def open(self) -> None:
        """Open the port and read every register; nothing is written.

        Raises:
            PortError: there is no such port, or another program has it.
            BusError: servos do not answer, or are not those of an SO-101.
        """
        opener = None if self.mock is None else _in_memory(self.mock)
        self._bus = SO101Bus(self.config.port, _lerobots(self.calibration), opener)
        self._bus.connect(handshake=False)
        self.rows = self._bus.read_registers()
        startup.check_identity(self.rows)

    def require_calibrated(self) -> None:
        """The file is there, is the one in the servos, and they count as it says.

        Raises:
            CalibrationError: what is wrong and how it is calibrated.
        """
        remedy = self.how_to_calibrate()
        if not self.calibration:
            older = calibrations.older_file(self.calibration_path)
            there = (
                f"; an earlier LeRobot kept one at {older} (so101-calibrate takes it with --from)"
                if older
                else ""
            )
            raise CalibrationError(
                f"the leader is not calibrated: there is no {self.calibration_path}{there}"
                f"{_known(self.calibration_path.parent)} - {remedy}"
            )
        startup.check_calibration(_lerobots(self.calibration), self.rows, self.calibration_path, remedy)
        for servo_id, row in zip(SERVO_IDS, self.rows, strict=True):
            mode, phase = (startup.value_of(row, name) for name in ("Operating_Mode", "Phase"))
            if mode or phase & startup.MULTI_TURN:
                raise CalibrationError(
                    f"the leader's {named_servo(servo_id)} does not count as its calibration says (Operating_Mode "
                    f"{mode}, Phase {phase}; expected 0, and no {startup.MULTI_TURN} in Phase) - {remedy}"
                )

    def free(self) -> list[str]:
        """Take the torque off, so that a hand can move it; returns the joints that were held.

        Raises:
            BusError: a servo does not let go.
        """
        held = [JOINTS[i] for i, row in enumerate(self.rows) if startup.value_of(row, "Torque_Enable")]
        if held:
            stuck = [problem for problem in self._bus.release().values() if problem is not None]
            if stuck:
                raise BusError(f"the leader does not let go: {stuck[0]}")
        return held

    def how_to_calibrate(self) -> str:
        """The command."""
        arm = f"--robot.port={self.config.port} --robot.id={self.config.id or 'NAME'}"
        if self.config.calibration_dir is not None:
            arm += f" --robot.calibration_dir={shlex.quote(str(self.config.calibration_dir))}"
        return (
            f"calibrate it with `so101-calibrate servos --leader {arm}` (`lerobot-calibrate "
            "--teleop.type=so101_leader` makes the same file)"
        )

    # while it leads -----

    def read(self, now_s: float) -> LeaderReading:
        """Where it is.

        Args:
            now_s: on the loop's clock.

        Raises:
            BusError: not every servo answered.
            PortError: the port is gone.
        """
        before_us = 0
        if self.mock is not None:
            if self._hand is not None:
                self._hand.watch(now_s)
            self.mock.advance_to(round(now_s * 1e6))
            before_us = self.mock.now_us
        state = self._state(now_s)
        if not state.answered.all():
            raise BusTimeoutError(self._bus.describe_silence(state.answered.tolist()))
        position = self._bus.to_joint(state.position_steps)
        position[ROLL] = self._roll_deg = unrolled(self._roll_deg, float(position[ROLL]))
        spent_s = 0.0 if self.mock is None else (self.mock.now_us - before_us) * 1e-6
        return LeaderReading(now_s, spent_s, position)

    # while it is brought to the follower -----

    def take(self, torque: float, now_s: float) -> NDArray[np.float64]:
        """Under torque where it is.

        Args:
            torque: at most this share of what the servos have, 0..1.
            now_s: on the loop's clock.

        Returns:
            (6,) that pose, whose roll is counted from the middle of its turn again.

        Raises:
            BusError: a servo does not take the limit; none is under torque.
            PortError: the port is gone.
        """
        state = self._bus.read_state(False, now_s)
        if not state.answered.all():
            raise BusTimeoutError(self._bus.describe_silence(state.answered.tolist()))
        for servo_id, row in zip(SERVO_IDS, self.rows, strict=True):
            limit = min(round(1000 * torque), startup.value_of(row, TORQUE_LIMIT.name))
            self._bus.write_register(servo_id, TORQUE_LIMIT, limit, READ_TIMEOUT_S)
        self._driven = True
        self._roll_deg = math.nan
        self._bus.write_goals(state.position_steps)  # which turns the torque on
        return self._bus.to_joint(state.position_steps)

    def bring(self, pose: NDArray[np.float64]) -> None:
        """The next goal (6,) of a leader that was taken. Raises PortError."""
        self._bus.write_goals(self._bus.to_steps(pose))

    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(6,) lower and upper end of its calibrated range: goals are within it."""
        scale = self._bus.scale
        ends = np.array([scale.to_joint(scale.lower_steps), scale.to_joint(scale.upper_steps)])
        return ends.min(0), ends.max(0)

    def let_go(self) -> None:
        """Torque off again, and the limit of the torque as it was.

        Raises:
            BusError: a servo does not let go; to be tried again.
            PortError: the port is gone.
        """
        if not self._driven:
            return
        stuck = [problem for problem in self._bus.release().values() if problem is not None]
        if stuck:
            raise BusError(f"the leader does not let go: {stuck[0]}")
        for servo_id, row in zip(SERVO_IDS, self.rows, strict=True):
            before = startup.value_of(row, TORQUE_LIMIT.name)
            self._bus.write_register(servo_id, TORQUE_LIMIT, before, READ_TIMEOUT_S)
        self._driven = False

    def close(self) -> None:
        """Let it go if it was taken, and give the port back. May be called twice."""
        with contextlib.suppress(RobotError):  # the port may be gone
            self.let_go()
        self._bus.disconnect(disable_torque=False)
        if self.mock is not None and self._owns_mock:
            self.mock.close()

    def _state(self, now_s: float) -> BusState:
        """Of the bus; a port that went away is opened anew when it is asked next."""
        try:
            if self._away:
                self._come_back()
            return self._bus.read_state(False, now_s)
        except PortError:
            self._away = self.mock is None
            raise

    def _come_back(self) -> None:
        """Open the port again. Raises PortError, or BusError where another arm is there now."""
        self._bus.move_to(self.config.port)
        self.rows = self._bus.read_registers()
        if calibrations.differences(self.calibration, calibrations.of(startup.stored_calibration(self.rows))):
            raise BusError(f"another arm is at {self.config.port} now")
        self.free()
        self._away = self._driven = False

    def _calibration(self) -> Calibration:
        if self.mock is not None:
            return calibrations.of(self.mock.calibration)
        if not self.calibration_path.exists():
            return {}
        try:
            return calibrations.read(self.calibration_path)
        except (OSError, ValueError) as error:
            raise CalibrationError(
                f"{self.calibration_path} is not a calibration file: {first_line(error)}"
            ) from error


def unrolled(before_deg: float, now_deg: float) -> float:
    """An angle that goes on where a full turn begins anew: the one nearest to `before_deg` (NaN: there is none)."""
    if math.isnan(before_deg):
        return now_deg
    return now_deg + TURN_DEG * round((before_deg - now_deg) / TURN_DEG)


def _lerobots(rows: Calibration) -> dict[str, MotorCalibration]:
    """The same in LeRobot's type."""
    return {joint: MotorCalibration(**row._asdict()) for joint, row in rows.items()}


def _in_memory(arm: "mock.MockArm") -> Opener:
    return lambda: (mock.LockstepSerial(arm), mock.LockstepLink(arm))


def _known(folder: Path | None) -> str:
    """The leaders that are calibrated, in a phrase; empty where there is none."""
    folder = folder or HF_LEROBOT_CALIBRATION / TELEOPERATORS / FOLDER
    names = ", ".join(path.stem for path in sorted(folder.glob("*.json"))[:12])
    return f"; {folder} has {names} (choose one with --teleop.id)" if names else ""
