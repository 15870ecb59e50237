"""A real-time mock arm as a whole: terminal, camera process, calibration file, hand, control channel.

`so101-mock` shows a `MockServer` to a person, `MockProcess` runs one in a process of its own. Both leave
nothing behind: no link, no process, no socket, no temporary folder.
"""

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import Plain, read_text
from so101_policy.files.whole_files import write_text
from so101_robot.bus import protocol
from so101_robot.errors import ConfigError, RobotError
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import CAMERAS, MockArm, MockConfig
from so101_robot.mock.cameras.camera_process import CameraJob, CameraProcess
from so101_robot.mock.physics.hand import CalibrationHelper, Hand
from so101_robot.mock.physics.hand_script import PLAY, Script, ScriptedHand, joint_rad
from so101_robot.mock.physics.hand_steered import SteeredHand, Steering
from so101_robot.mock.serve.terminal import PtyServer
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.wire import Wire

HAND_WATCH_US = 10_000
"""How often the helping hand looks at the arm [us of simulated time]."""
HOUSEKEEPING_S = 0.01
"""How often port faults, cameras and the control channel are looked after [s]."""

NICE = 10
"""By how much a running arm goes before other processes, where the user may ask for that."""


@dataclass
class MockServerConfig:
    """Everything that `so101-mock` can be asked for."""

    mock: MockConfig = field(default_factory=MockConfig)
    port_link: Path | None = None
    """A stable name for the terminal (a symbolic link that must not exist yet)."""
    camera_port: int | None = 5555
    """Loopback port of the cameras; 0 takes any free port, None serves no cameras."""
    camera_ports: int = 1
    """So many are tried, from `camera_port` on, and then any free one."""
    calibration_dir: Path | None = None
    """Where `{robot_id}.json` is written and stays; none: a temporary folder."""
    robot_id: str = "mock"
    pace: bool = True
    """Replies take the time that they take on a 1 Mbit/s wire."""
    hand: bool = False
    """A hand moves the joints while torque is off, as `lerobot-calibrate` asks."""
    leader: bool = False
    """A leader's gears and mounting."""
    script: Script | None = None
    """A hand plays this while torque is off."""
    steering: Steering | None = None
    """A person moves the hand of a leader by this."""


class MockServer:
    """A running mock arm. Use as a context manager; `run` serves until told to stop.

    Raises:
        RobotError: from `__enter__`, if something that was asked for is not possible; nothing is left behind then.
    """

    def __init__(self, config: MockServerConfig) -> None:
        self.config = config
        self._resources = contextlib.ExitStack()
        self._control: ControlChannel | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as resources:
            self._build(resources)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self, resources: contextlib.ExitStack) -> None:
        config, mock = self.config, self.config.mock
        self.arm = MockArm(
            mock, leader=config.leader
        )  # first: it finds out whether scene and fault plan exist
        resources.callback(self.arm.close)
        self.calibration_dir = self._write_calibration(resources)
        self.cameras: CameraProcess | None = None
        if config.camera_port is not None:
            job = CameraJob(
                mock.scene,
                mock.seed,
                mock.width,
                mock.height,
                mock.renderer,
                mock.shadows,
                config.camera_port,
                config.camera_ports,
                CAMERAS,
            )
            self.cameras = CameraProcess(job)
            resources.callback(self.cameras.close)
        _compile_firmware()
        self.arm.advance_to(self.arm.now_us + 10_000)
        if self.cameras is not None:
            self.cameras.wait_ready()
        self.server = PtyServer(self.arm, config.port_link, config.pace)
        resources.callback(self.server.close)
        self._helper: CalibrationHelper | ScriptedHand | SteeredHand | None = None
        if config.steering is not None and self.arm.hand is not None:
            start_rad = [joint_rad(joint, value) for joint, value in PLAY.poses[0].joints.items()]
            self._helper = SteeredHand(self.arm.hand, self.arm.bridge, config.steering, start_rad)
        elif config.script is not None and self.arm.hand is not None:
            self._helper = ScriptedHand(self.arm.hand, self.arm.bridge, config.script)
        elif config.hand and self.arm.hand is not None:
            self._helper = CalibrationHelper(self.arm.hand, self.arm.servos, self.arm.bridge)
        self._helped_us = 0

    def run(
        self,
        stop: Callable[[], bool],
        control: "ControlChannel | None" = None,
        every_second: Callable[[], None] | None = None,
        look: Callable[[], None] | None = None,
    ) -> None:
        """Serve until `stop()` is true, the control channel ends, or `stop` is called through it.

        `look` is called a hundred times a second and must not take long: hosts wait meanwhile.
        """
        self._control = control
        extra = (control.fileno(),) if control is not None else ()
        _go_first()
        next_care_s = next_second_s = 0.0
        while not (stop() or self._stopping):
            if self.server.step(extra) and control is not None and not control.serve(self):
                break
            now_s = time.perf_counter()
            if now_s >= next_care_s:
                next_care_s = now_s + HOUSEKEEPING_S
                self._care()
                if look is not None:
                    look()
            if every_second is not None and now_s >= next_second_s:
                next_second_s = now_s + 1.0
                every_second()

    def _care(self) -> None:
        arm = self.arm
        if arm.unplugged == self.server.plugged:
            (self.server.unplug if arm.unplugged else self.server.replug)()
        if self.cameras is not None:
            self.cameras.show(arm.captures())
        if self._helper is not None and arm.now_us - self._helped_us >= HAND_WATCH_US:
            self._helped_us = arm.now_us
            self._helper.watch(arm.now_us * 1e-6)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Of those that are served; none without cameras."""
        return () if self.cameras is None else CAMERAS

    @property
    def port(self) -> str:
        """What hosts should open."""
        return str(self.config.port_link or self.server.path)

    def close(self) -> None:
        """Take everything down; may be called twice."""
        self._resources.close()

    def _write_calibration(self, resources: contextlib.ExitStack) -> Path:
        """The folder for `--robot.calibration_dir`, with the file that LeRobot reads unless the arm is
        uncalibrated.
        """
        robot_id = self.config.robot_id
        if not robot_id or robot_id != Path(robot_id).name:
            raise ConfigError(f"--id {shown(robot_id)}: expected the name of an arm, without a slash")
        if self.config.calibration_dir is None:
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="so101-mock-")))
        else:
            folder = self.config.calibration_dir
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"--calibration_dir {folder}: {error.strerror}") from error
        if self.config.mock.calibrated:
            path = folder / f"{robot_id}.json"
            text = json.dumps(self.arm.calibration_fields, indent=4)
            try:
                kept = read_text(path) if os.path.lexists(path) else None
                if kept is None:
                    write_text(path, text)
            except (OSError, ValueError) as error:  # a folder, a pipe, a link that leads nowhere, no text
                raise ConfigError(
                    f"{path} is no calibration file: {first_line(error)}; choose another --id or folder"
                ) from error
            if kept not in (None, text):
                raise ConfigError(f"{path} holds another arm's calibration; choose another --id or folder")
        return folder


def _go_first() -> None:
    """Before other processes, where the user may ask for that: hosts give a servo 50 ms, however busy the machine is.

    Where Linux groups processes by session (sched_autogroup, as on most desktops), the priority of a process counts
    within its session alone. So an arm that leads its own session (`MockProcess`) asks for the session, too; that of a
    terminal is the person's.
    """
    with contextlib.suppress(PermissionError):
        os.nice(-NICE)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # not Linux, not allowed, or no such groups
            Path("/proc/self/autogroup").write_text(str(-NICE))


def _compile_firmware() -> None:
    """Compile, or load from the cache, all of the firmware, on servos of no consequence: LeRobot waits 50
    ms at most.
    """
    servos = Servos()
    wire = Wire(servos)
    for index, servo_id in enumerate(servos.ids):
        wire.receive(protocol.write(servo_id, 40, b"\x80"), 0)  # calibrates, which seeds and saves
        servos.reset(index)


class ControlChannel:
    """Requests from the process that started the server: one JSON object a line, `{"call": name, "with":
    {..}}`.

    What may be called is what `Control` has. An answer is `{"result": ..}` or `{"error": message}`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._partial = b""

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the next read finds that out
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def serve(self, server: MockServer) -> bool:
        """Answer what has come; false when the other side is gone."""
        data = self._connection.recv(65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self.send(self._answer(server, json.loads(line)))
        return bool(data)

    def _answer(self, server: MockServer, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request["call"])
        method = None if name.startswith("_") else getattr(Control(server), name, None)
        if method is None:
            return {"error": f"the mock arm has no method {name!r}; it has {', '.join(_methods())}"}
        try:
            return {"result": method(**request["with"])}
        except (RobotError, TypeError) as error:
            return {"error": f"{name}: {error}"}


class Control:
    """What can be asked of a mock arm in another process. Arguments and results are plain JSON values."""

    def __init__(self, server: MockServer) -> None:
        self._mock_server = server
        self._arm = server.arm
        self._server = server.server

    def port(self) -> str:
        """Where hosts find the arm; it may change when the cable was out."""
        return self._mock_server.port

    def now(self) -> float:
        """The arm's time [s]."""
        return self._arm.now_us * 1e-6

    def joints(self) -> dict[str, float]:
        """The true joint angles [rad]."""
        return dict(zip(JOINTS, self._arm.joint_rad.tolist(), strict=True))

    def calibration(self) -> dict[str, dict[str, int]]:
        """What `lerobot-calibrate` should find: joint -> field -> value."""
        return self._arm.calibration_fields

    def register(self, joint: str, name: str) -> int:
        """The decoded value of a servo's register."""
        return self._arm.servos.get(_joint(joint), name)

    def set_register(self, joint: str, name: str, value: int) -> None:
        """Overwrite a register, read-only ones included."""
        self._arm.servos.set(_joint(joint), name, value)

    def hand_move(self, targets_rad: dict[str, float], duration_s: float = 1.0) -> None:
        """Queue a move of the hand."""
        self._hand().move(targets_rad, duration_s)

    def hand_middle(self, duration_s: float = 1.5) -> None:
        """Queue a move of all joints to the middle that `lerobot-calibrate` asks for."""
        self._hand().middle(duration_s)

    def hand_sweep(self, duration_s: float = 1.0) -> None:
        """Queue a sweep through all ranges of motion."""
        self._hand().sweep(duration_s=duration_s)

    def hand_busy(self) -> bool:
        """True while queued moves are under way."""
        return self._hand().busy

    def hand_release(self) -> None:
        """Let go."""
        self._hand().release()

    def fault(self, **entry: Plain) -> None:
        """Let something fail, with the fields that it has in a fault plan; without `at_s` and `every`, from
        now on.
        """
        self._arm.add_fault(entry)

    def fault_log(self) -> list[list[Any]]:
        """The faults that have happened: (time [us], fault, transaction, servo id)."""
        return [list(event) for event in self._arm.fault_log()]

    def transactions(self) -> int:
        """Valid instruction packets that the servos have heard."""
        return self._arm.wire.transactions

    def unplug(self) -> None:
        """Pull the USB cable."""
        self._arm.port_is_out = True
        self._server.unplug()

    def replug(self) -> str:
        """Put it back; returns the new path."""
        self._arm.port_is_out = False
        self._server.replug()
        return self._mock_server.port

    def trace(self, clear: bool = True) -> list[tuple[int, str, str]]:
        """What passed the port: (time [us], "host" or "servo", hex bytes), oldest first."""
        transfers = [(t.time_us, t.sender, t.data.hex()) for t in self._server.trace]
        if clear:
            self._server.trace.clear()
        return transfers

    def stats(self) -> dict[str, float]:
        """Counters since the start."""
        return {
            "requests": self._server.requests,
            "behind_s": self._server.behind_s,
            "starved": self._server.starved,
            "longest_pause_s": self._server.longest_pause_s,
            "time_s": self._arm.now_us * 1e-6,
            "frames_dropped": self._mock_server.cameras.dropped if self._mock_server.cameras else 0,
        }

    def _hand(self) -> Hand:
        if self._arm.hand is None:
            raise ConfigError("this arm has no hand")
        return self._arm.hand


def _methods() -> list[str]:
    return [name for name in vars(Control) if not name.startswith("_")]


def _joint(name: str) -> int:
    if name not in JOINTS:
        raise ConfigError(f"no joint {name!r}; this arm has {', '.join(JOINTS)}")
    return JOINTS.index(name)
