"""SO101: six joints and some cameras, as a LeRobot `Robot` and as what the control loop drives.

LeRobot's side (`connect`, `get_observation`, `send_action`, `disconnect`) works in every `lerobot-*` command
as robot type `so101`; each action passes the guard there. The loop's side (`read`, `frames`, `command`,
`hold`, `release`) hands out times, servo errors and health, and leaves the guard to the loop.

Connecting reads first: port, servos, calibration, cameras. If anything is wrong the arm has not been touched.
Then servos are configured one by one, only where a register differs and with the torque as it was, so that an
arm under torque does not sag, and a free arm stays free until its first command. Nothing here ever waits for a
key.
"""

import contextlib
import dataclasses
import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lerobot.cameras import make_cameras_from_configs
from lerobot.motors import MotorCalibration
from lerobot.robots import Robot
from lerobot.utils.constants import HF_LEROBOT_CALIBRATION, ROBOTS
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected
from numpy.typing import ArrayLike, NDArray

from so101_policy.errors import first_line
from so101_policy.lerobot_compat.moved import RobotAction, RobotObservation
from so101_policy.registration.correction import Correction
from so101_robot import mock
from so101_robot.arm.cameras import FrameSource, LeRobotFrames, connect_all
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import calibration as calibrations
from so101_robot.bus import setup as startup
from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.sdk import Opener
from so101_robot.bus.so101_bus import SO101Bus
from so101_robot.clock import Clock, WallClock
from so101_robot.errors import (
    BusError,
    BusTimeoutError,
    CalibrationError,
    CameraError,
    ConfigError,
    UnsafeActionError,
)
from so101_robot.guard import measured_ends, rig
from so101_robot.guard.guard import Guard
from so101_robot.guard.limits import ages_of
from so101_robot.guard.narrow import narrowed
from so101_robot.guard.rules import NO_POSE
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS, SERVO_IDS, STEPS_PER_TURN, named_servo
from so101_robot.mock.config import CAMERAS as MOCK_CAMERAS
from so101_robot.mock.frames import MockFrames
from so101_robot.motion.soft_start import SoftStart
from so101_robot.motion.tolerances import HOLD_AT_GOAL_DEG
from so101_robot.state import ArmState, Frame

if TYPE_CHECKING:
    from so101_robot.mock.arm import MockArm

logger = logging.getLogger(__name__)

MOCK_PORT = "mock"

CALIBRATION_FOLDER = "so_follower"
"""LeRobot's name for an SO-101 that follows, so that one calibration serves `lerobot-*` and this."""

READ_TRIES = 3
"""As LeRobot's `num_read_retries` = 2, for callers that cannot take an incomplete state."""

KEYS = tuple(f"{joint}.pos" for joint in JOINTS)


class SO101(Robot):
    """An SO-101 arm on a serial port, or the mock arm in memory.

    Args:
        config: see `SO101Config`.
        mock: for port `mock`, an arm that exists already; closing it stays the caller's business. By default one is
            made from `config.mock`.

    Raises:
        ConfigError: a camera of `config.cameras` cannot be made.
        CalibrationError: the calibration file cannot be read.
    """

    config_class = SO101Config
    name = "so101"

    def __init__(self, config: SO101Config, mock: "MockArm | None" = None) -> None:
        folder = config.calibration_dir or HF_LEROBOT_CALIBRATION / ROBOTS / CALIBRATION_FOLDER
        super().__init__(dataclasses.replace(config, calibration_dir=folder))
        self.config = config
        self.clock: Clock = WallClock()
        self.mock = mock
        self.bus = SO101Bus(config.port, self.calibration)
        self.guard: Guard | None = None
        self.corrections: Mapping[str, Correction] = {}
        """Camera -> how its pictures are put back before the policy sees them, set by who does that; `frames` gives
        them as they come."""
        self.cameras: dict[str, Any] = _cameras(config)
        self._sources: dict[str, FrameSource] = {}
        self._owns_mock = mock is None
        self._reads = 0
        self._state: ArmState | None = None
        self._frames: dict[str, Frame] = {}
        self._goal_steps: NDArray[np.int32] | None = None
        self._port_is_away = False
        self.registers_at_start: startup.Registers | None = None
        """(6, 87) as connecting found them, before it wrote its settings."""
        self.limits_refused: tuple[str, ...] = ()
        """What of `config.own_limits` would have been wider than the arm's limits and was left out, in words."""
        self._soft_start = SoftStart()
        self._refused: NDArray[np.float64] | None = None
        """The pose that is held while somebody asks `send_action` for nonsense."""

    # the loop's side -----

    @check_if_not_connected
    def read(self) -> ArmState:
        """Positions, errors and, in every `health_every`-th call, health. Servos that do not answer are
        marked.

        Raises:
            BusTimeoutError: no servo answered.
            PortError: the port is gone.
        """
        every = self.config.health_every
        health = bool(every) and self._reads % every == 0
        state = self.bus.read_state(health, self.clock.now_s())
        self._reads += 1
        self._state = ArmState(
            state.time_s,
            self.bus.to_joint(state.position_steps),
            state.answered,
            state.errors,
            state.health,
            (state.position_steps & ~(STEPS_PER_TURN - 1)) != 0,
        )
        return self._state

    @check_if_not_connected
    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        """Send six joint goals (6,) in LeRobot units; the servos' torque goes on.

        Goals are rounded to steps and cut to the calibrated range. The guard is the caller's business.

        Returns:
            (6,) what was sent, in LeRobot units.

        Raises:
            UnsafeActionError: a goal is not a finite number.
            PortError: the port is gone.
        """
        scale = self.bus.scale
        steps = np.minimum(np.maximum(scale.to_steps(position), scale.lower_steps), scale.upper_steps)
        self.bus.write_goals(steps)
        self._goal_steps = steps
        return scale.to_joint(steps)

    @check_if_not_connected
    def frames(self) -> dict[str, Frame]:
        """The newest frame of every camera, at once. Raises CameraError for a camera that never delivered one, or has
        stopped; such a camera is opened again meanwhile."""
        now_s = self.clock.now_s()
        self._frames = {name: source.latest(now_s) for name, source in self._sources.items()}
        return self._frames

    @check_if_not_connected
    def hold(self) -> NDArray[np.float64]:
        """Stay: torque on, each joint at its last goal if it is about there, else where it is.

        Works with servos that do not answer: those are told to hold the last pose that is known. Two kinds of
        joint do not follow that rule. One whose encoder has failed is held at the very position that it
        reports, since a motor that chases a goal with a frozen encoder never stops. One that reports more than
        half a turn away from its goal has lost count and not moved: it keeps its goal. A gripper keeps its goal too,
        unless its current is too high: pressing on what it holds is its work.

        Returns:
            (6,) the pose that is held, in LeRobot units.

        Raises:
            PortError: the port is gone.
        """
        encoder_failed = np.zeros(len(JOINTS), np.bool_)
        grips = True
        try:
            now = self.bus.read_state(False, self.clock.now_s())
            present, encoder_failed = now.position_steps, (now.errors & Errors.ENCODER) != 0
            grips = not now.errors[GRIPPER] & Errors.OVERCURRENT
        except BusTimeoutError:
            if self._state is None and self._goal_steps is None:
                raise
            present = self._goal_steps if self._state is None else self.bus.to_steps(self._state.position)
        assert present is not None
        steps = np.clip(present, 0, STEPS_PER_TURN - 1)
        if self._goal_steps is not None:
            away = np.abs(self._goal_steps - present)
            near = (away <= HOLD_AT_GOAL_DEG * STEPS_PER_TURN / 360) | (away > STEPS_PER_TURN / 2)
            near[GRIPPER] |= grips
            steps = np.where(near & ~encoder_failed, self._goal_steps, steps)
        self.bus.write_goals(steps)
        self.bus.torque_on()
        self._goal_steps = steps
        held = self.bus.to_joint(steps)
        self._soft_start.begin()
        if self.guard is not None:
            with contextlib.suppress(UnsafeActionError):  # the guard lets nothing pass then; holding goes on
                self.guard.reset(held)
        return held

    @check_if_not_connected
    def restore(self, joint: int) -> bool:
        """Give a servo that came back the settings and the calibration that it had at the start.

        What it has is read first, and only what differs is written. Its torque stays as it is.

        Returns:
            True if it had lost something: a setting, or its torque. It has rebooted then, or let go.

        Raises:
            BusTimeoutError: it does not answer any more.
            PortError: the port is gone.
        """
        row = self.bus.read_servo(SERVO_IDS[joint])
        lost = startup.lost_calibration(joint, row, self.calibration)
        changed = self._configure_servo(joint, row, self._gains, lost)
        return changed or startup.value_of(row, "Torque_Enable") == 0

    def release(self) -> dict[str, str | None]:
        """Release every joint, one after the other, also when some of them fail.

        Returns:
            For each joint None if it is free, else why that is not certain.
        """
        self._goal_steps = None
        if not self.is_connected:
            return dict.fromkeys(JOINTS, "not connected")
        return self.bus.release()

    def leave_port(self) -> None:
        """Close a port that has gone, for a stale descriptor keeps its device name taken. The servos hold by
        themselves: USB does not feed them."""
        self._port_is_away = self.is_connected
        self.bus.disconnect(disable_torque=False)

    def use_port(self, port: str) -> None:
        """Go on with this same arm at `port`. Raises PortError."""
        self.bus.move_to(port)
        self._port_is_away = False

    @property
    def camera_rates(self) -> dict[str, float]:
        """Camera -> pictures a second that it is configured for. The mock arm's own cameras are always on time."""
        return {name: float(camera.fps) for name, camera in self.config.cameras.items() if camera.fps}

    @property
    def home(self) -> NDArray[np.float64]:
        """(6,) where the arm parks, in LeRobot units, cut to the calibrated range when that is known."""
        home = np.array(self.config.home)
        return np.clip(home, *self.joint_limits()) if self.bus.calibration else home

    def joint_limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends (6,) of the calibrated ranges, in LeRobot units. Raises CalibrationError."""
        scale = self.bus.scale
        ends = np.stack([scale.to_joint(scale.lower_steps), scale.to_joint(scale.upper_steps)])
        return ends.min(0), ends.max(0)

    # LeRobot's side -----

    @check_if_already_connected
    def connect(self, calibrate: bool = False) -> None:
        """Open the port, look, and only then configure. `calibrate` is ignored: this never prompts.

        Raises:
            PortError: the port does not exist or is in use.
            BusError: servos do not answer or are not those of an SO-101.
            CalibrationError: there is no calibration, or it is not the one in the servos.
            CameraError: a camera does not open or delivers another size.
        """
        try:
            opener = self._open_mock() if self.config.port == MOCK_PORT else None
            self.bus = SO101Bus(self.config.port, self.calibration, opener)
            self.bus.connect(handshake=False)
            rows = self.registers_at_start = self.bus.read_registers()
            startup.check_identity(rows)
            source = "the mock arm" if opener else self.calibration_fpath
            startup.check_calibration(self.calibration, rows, source, self._how_to_calibrate())
            beside = None if opener else self.calibration_fpath
            limits, found = rig.find(beside, self.config.rig)
            if found is not None:
                logger.info("%s: limits of the rig from %s", self, found)
            if beside is not None:
                homing = self.calibration[FULL_TURN_JOINT].homing_offset
                limits = measured_ends.applied(limits, beside, homing)
            limits, self.limits_refused = narrowed(
                limits, self.config.own_limits, self.config.own_limits_widen
            )
            self._sources = self._frame_sources(ages_of(self.config.limits, limits).frame_s)
            connect_all(list(self._sources.values()))
            self._configure(rows)
            self._start(limits)
        except BaseException:
            self._close()
            raise
        logger.info("%s connected on %s.", self, self.config.port)

    @property
    def is_connected(self) -> bool:
        """Connected, and not disconnected since. A camera that went away does not count: an arm has to be released
        also without cameras. Nor does a port that `leave_port` has closed: what needs it raises PortError."""
        return self.bus.is_connected or self._port_is_away

    @property
    def is_calibrated(self) -> bool:
        """There is a calibration and the servos have it."""
        if not self.is_connected:
            return False
        try:
            startup.check_calibration(self.calibration, self.bus.read_registers(), self.calibration_fpath, "")
        except CalibrationError:
            return False
        return True

    def calibrate(self) -> None:
        """Not done here. Raises CalibrationError that says how it is done."""
        raise CalibrationError(f"robot type so101 does not calibrate itself - {self._how_to_calibrate()}")

    @check_if_not_connected
    def configure(self) -> None:
        """Set what differs from LeRobot's settings for this arm, with the torque as it is."""
        self._configure(self.bus.read_registers())

    @property
    def observation_features(self) -> dict[str, type | tuple[int, int, int]]:
        if self.config.port == MOCK_PORT and not self.config.cameras:
            size = self.config.mock if self.mock is None else self.mock.config
            return {**self.action_features, **dict.fromkeys(MOCK_CAMERAS, (size.height, size.width, 3))}
        shapes = {name: (c.height or 0, c.width or 0, 3) for name, c in self.config.cameras.items()}
        return {**self.action_features, **shapes}

    @property
    def action_features(self) -> dict[str, type]:
        return dict.fromkeys(KEYS, float)

    @check_if_not_connected
    def get_observation(self) -> RobotObservation:
        """Joint positions and pictures, LeRobot's keys; units as `config.use_degrees` says, and so in `send_action`.

        Raises:
            BusTimeoutError: a servo did not answer, also not when asked again.
            CameraError: a picture is older than the guard's limit; the camera is opened again meanwhile.
        """
        state = self._complete_state()
        frames = self.frames()
        now_s, limit_s = self.clock.now_s(), self.config.limits.max_frame_age_s
        for name, frame in frames.items():
            age_s = now_s - frame.captured_s
            if age_s > limit_s:
                raise CameraError(
                    f"the newest picture of camera {name!r} is {age_s:.2f} s old, allowed are {limit_s} s"
                )
        position = self.bus.scale.to_range(state.position) if self._in_range_units else state.position
        joints = dict(zip(KEYS, position.tolist(), strict=True))
        return {**joints, **{name: frame.image for name, frame in frames.items()}}

    @check_if_not_connected
    def send_action(self, action: RobotAction) -> RobotAction:
        """Let the guard judge an action and send what is left of it.

        Whoever asks may be somebody else's loop, with a leader or a policy that is far from where the arm is: the
        start is soft (`motion.soft_start`), also after each hold. An action that is no pose, or 30 degrees or more out
        of range, is not driven at all: the arm holds, which is logged once, and goes on with the next action that makes
        sense. No error is raised for it, because such a loop would let go of the arm in the air.

        Returns:
            What was sent, or the pose that is held.

        Raises:
            UnsafeActionError: the action lacks a joint, or the guard stopped the arm for another reason; the arm holds.
        """
        guard = self.guard
        assert guard is not None  # since connect
        missing = [key for key in KEYS if key not in action]
        if missing:
            raise UnsafeActionError(f"the action lacks {', '.join(missing)}; it has {', '.join(action)}")
        now_s = self.clock.now_s()
        state = self._state
        if state is None or now_s - state.time_s > self.config.limits.max_state_age_s / 2:
            state = self._complete_state()
            now_s = self.clock.now_s()
        ages_s = {name: now_s - frame.captured_s for name, frame in self._frames.items()}
        asked, scale = _as_numbers(action), self.bus.scale
        asked = scale.from_range(asked) if self._in_range_units else asked
        if (far_out := guard.far_out(asked)) is not None:
            return self._refuse("{} is asked for at {:.4g}, {:.4g} out of range".format(*far_out))
        if guard.last_command is not None and np.isfinite(asked).all():
            asked = self._soft_start.follow(asked, guard.last_command, now_s)
        verdict = guard.check(asked, state, ages_s, now_s)
        if verdict.stop is not None and verdict.interventions[0].rule in NO_POSE:
            return self._refuse(verdict.stop)
        self._refused = None
        if verdict.action is None:
            self.hold()
            raise UnsafeActionError(f"the guard stopped the arm: {verdict.stop}")
        return self._as_action(self.command(verdict.action))

    def _refuse(self, why: str) -> RobotAction:
        """Hold, and say why once; returns the pose that is held."""
        if self._refused is None:
            logger.error("%s holds: %s", self, why)
            self._refused = self.hold()
        return self._as_action(self._refused)

    def _as_action(self, sent: NDArray[np.float64]) -> RobotAction:
        """A pose (6,) in LeRobot's words, and in the unit that it was asked for in."""
        in_units = self.bus.scale.to_range(sent) if self._in_range_units else sent
        return dict(zip(KEYS, in_units.tolist(), strict=True))

    def disconnect(self, release: bool | None = None) -> None:
        """Leave the arm. May be called twice, and after any failure.

        Args:
            release: let the joints go first; by default as `config.disable_torque_on_disconnect` says.
        """
        if self.config.disable_torque_on_disconnect if release is None else release:
            for joint, trouble in self.release().items() if self.is_connected else ():
                if trouble:
                    logger.warning("%s may still be under torque: %s", joint, trouble)
        self._close()

    # parts -----

    @property
    def _in_range_units(self) -> bool:
        """LeRobot's side speaks -100 to 100."""
        return self.config.use_degrees is False

    def _load_calibration(self, fpath: Path | None = None) -> None:
        """In place of LeRobot's, which takes what it can make a number of, and any size and depth of JSON."""
        path = fpath or self.calibration_fpath
        try:
            rows = calibrations.read(path)
        except (OSError, ValueError) as error:
            raise CalibrationError(f"{path} is not a calibration file: {first_line(error)}") from error
        self.calibration = {joint: MotorCalibration(**row._asdict()) for joint, row in rows.items()}

    def _open_mock(self) -> Opener:
        """Port `mock`: the arm in memory, its clock, its calibration, and how a bus gets at it."""
        arm = self.mock = mock.MockArm(self.config.mock) if self.mock is None else self.mock
        self.clock = mock.LockstepClock(arm)
        self.calibration = arm.calibration if arm.config.calibrated else {}
        return lambda: (mock.LockstepSerial(arm), mock.LockstepLink(arm))

    def _frame_sources(self, stalled_s: float) -> dict[str, FrameSource]:
        if self.mock is not None and not self.config.cameras:
            self.cameras = {name: MockFrames(name, self.mock) for name in MOCK_CAMERAS}
            return self.cameras
        configs = self.config.cameras
        return {
            name: LeRobotFrames(name, camera, configs[name], stalled_s)
            for name, camera in self.cameras.items()
        }

    @property
    def _gains(self) -> startup.Gains:
        return startup.Gains(
            p=self.config.position_p_coefficient,
            i=self.config.position_i_coefficient,
            d=self.config.position_d_coefficient,
        )

    def _configure(self, rows: startup.Registers) -> None:
        """Servo by servo, what differs; then look whether it was taken."""
        gains = self._gains
        changed = False
        for index, row in enumerate(rows):
            changed |= self._configure_servo(index, row, gains)
        if not changed:
            return
        for index, row in enumerate(self.bus.read_registers()):
            for register, value in startup.changes(index, row, gains):
                raise BusError(
                    f"{named_servo(SERVO_IDS[index])} did not take {register.name} = {value}, it "
                    f"has {startup.value_of(row, register.name)} - switch the arm off and on, and try again"
                )

    def _configure_servo(
        self,
        index: int,
        row: startup.Registers,
        gains: startup.Gains,
        more: Sequence[startup.Setting] = (),
    ) -> bool:
        servo_id, wanted = SERVO_IDS[index], [*more, *startup.changes(index, row, gains)]
        locked, torque = startup.value_of(row, "Lock"), startup.value_of(row, "Torque_Enable")
        try:
            if startup.needs_unlock(wanted) and locked:
                self.bus.write_register(servo_id, BY_NAME["Lock"], 0)
                locked = 0
            for register, value in wanted:
                self.bus.write_register(servo_id, register, value)
                if register.name == "Operating_Mode" and torque:  # a new mode lets go
                    self.bus.write_register(servo_id, BY_NAME["Torque_Enable"], 1)
        finally:
            if not locked:  # also after LeRobot, which leaves it open
                self.bus.write_register(servo_id, BY_NAME["Lock"], 1)
        return bool(wanted)

    def _start(self, limits: rig.Rig) -> None:
        self._reads = 0
        self._goal_steps = None
        self._frames = {}
        self._soft_start.begin()
        self._refused = None
        state = self._complete_state()
        self.guard = Guard(self.config.limits, *self.joint_limits(), limits)
        self.guard.reset(state.position)

    def _complete_state(self) -> ArmState:
        """A state in which every servo answered."""
        state = self.read()
        for _ in range(READ_TRIES - 1):
            if state.answered.all():
                return state
            state = self.read()
        if not state.answered.all():
            raise BusTimeoutError(self.bus.describe_silence(state.answered.tolist()))
        return state

    def _close(self) -> None:
        """Give everything back, without touching the torque."""
        for source in self._sources.values():
            source.disconnect()
        self._sources = {}
        self._port_is_away = False
        self.bus.disconnect(disable_torque=False)
        if self.mock is not None and self._owns_mock:
            self.mock.close()
            self.mock = None

    def _how_to_calibrate(self) -> str:
        if self.config.port == MOCK_PORT:
            return "use --robot.mock.calibrated=true"
        arm = f"--robot.port={self.config.port} --robot.id={self.id or 'NAME'}"
        if self.config.calibration_dir is not None:
            arm += f" --robot.calibration_dir={self.calibration_dir}"
        if (older := calibrations.older_file(self.calibration_fpath)) is not None:
            return (
                f"{older} is one of this name, where an earlier LeRobot kept it. Take it over, into servos and file, "
                f"with `so101-calibrate servos {arm} --from={shlex.quote(str(older))}`, which asks first; calibrating "
                "again would move the zeros that datasets and policies know"
            )
        return (
            f"calibrate the arm with `so101-calibrate servos {arm}`; it also puts a file that you have into the servos "
            f"(--from=FILE). `lerobot-calibrate --robot.type=so101_follower {arm}` makes the same file"
        )


def _as_numbers(action: RobotAction) -> NDArray[np.float64]:
    """(6,) NaN where it is no number."""
    values = np.full(len(KEYS), np.nan)
    for i, key in enumerate(KEYS):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            values[i] = float(action[key])
    return values


def _cameras(config: SO101Config) -> dict[str, Any]:
    """LeRobot's camera objects, not yet connected."""
    try:
        return make_cameras_from_configs(config.cameras)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"--robot.cameras: {error}") from error
