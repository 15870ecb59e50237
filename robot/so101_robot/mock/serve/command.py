"""`so101-mock`: a virtual SO-101 for any program, in real time, on a pseudo-terminal."""

import argparse
import contextlib
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import OK, WRONG_INPUT
from so101_policy.command_line.console import Console
from so101_policy.errors import printable
from so101_robot.cli import MOCK
from so101_robot.demo import NAMES, SCENE, demo_policy
from so101_robot.errors import ConfigError, RobotError
from so101_robot.joints import JOINTS
from so101_robot.mock import wire
from so101_robot.mock.arm import CAMERAS, MockConfig
from so101_robot.mock.config import FLAGS
from so101_robot.mock.physics.hand_gamepad import PAD_IN_WORDS, PadSteering
from so101_robot.mock.physics.hand_keys import KEYS_IN_WORDS, KeySteering
from so101_robot.mock.physics.hand_mouse import MOUSE_IN_WORDS, MouseSteering
from so101_robot.mock.physics.hand_script import PLAY, Script, read_script
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.mock.serve.server import ControlChannel, MockServer, MockServerConfig
from so101_robot.mock.wire.fault_kinds import KINDS
from so101_robot.process.gamepad import Gamepad
from so101_robot.process.keys import Keys
from so101_robot.process.mouse import MouseReports

__all__ = ["MockProcess", "main"]


LIST = "list"
"""Instead of a plan of faults."""

EXAMPLE_PLAN = Path(wire.__file__).with_name("example_faults.yaml")

CAMERA_PORT = 5555
"""LeRobot's default for cameras over ZeroMQ."""

LAST_PORT = 65535

FOLLOWER_ID, LEADER_ID = "mock", "leader"

LEADER_LINK = Path("/tmp/so101-leader")
"""The leader's port, unless --port_link says otherwise."""

BY_KEYS, BY_MOUSE, BY_PAD = Path("keyboard"), Path("mouse"), Path("gamepad")
"""Instead of a file: keys or mouse of this terminal, or a gamepad, move the leader."""

STEERED = (BY_KEYS, BY_MOUSE, BY_PAD)

CALIBRATES = Path("calibrate")
"""What --hand alone means, instead of a file."""

MOST_ARMS = 50
"""So many camera ports are tried before the system chooses one."""

EXAMPLES = """
  so101-mock                                # prints the port and commands to
                                            # paste; Ctrl-C ends it
  so101-mock --display=web                  # and a page that shows the arm
  so101-mock --port_link=/tmp/so101         # a stable name for the port
  so101-mock --uncalibrated --hand          # try lerobot-calibrate: a hand
                                            # moves the joints
  so101-mock --leader                       # a second arm, moved by a hand:
                                            # a leader, for so101-teleop
  so101-mock --leader --hand=poses.yaml     # poses over time
  so101-mock --leader --hand=keyboard       # move it with the keys; or mouse,
                                            # or gamepad
  so101-mock --faults=list                  # what can be broken
  so101-mock --faults=plan.yaml --seed=3    # the same faults every time
"""


Watched = Callable[[MockServer], AbstractContextManager[Callable[[], None]]]
"""Shows an arm while the block lasts; what it gives is called often by the arm's loop."""


def main(arguments: Sequence[str], watched: Watched | None = None) -> int:
    """The command; returns its exit code. Raises RobotError, which a program on --control_fd is sent.

    Args:
        arguments: the command line.
        watched: what --display=web asks for.
    """
    options = parser().parse_args(arguments)
    if options.faults == Path(LIST):
        _list_faults()
        return OK
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if options.control_fd is None:
        by = options.hand if options.hand in STEERED else None
        _serve_person(_engine_config(options), stop, by, watched if options.display == "web" else None)
        return OK
    control = ControlChannel(socket.socket(fileno=options.control_fd))
    try:
        with MockServer(_engine_config(options)) as engine:
            control.send(_description(engine))
            engine.run(stop.asked, control)
    except RobotError as error:
        control.send({"error": str(error)})
        return WRONG_INPUT
    return OK


def _list_faults() -> None:
    """Every kind of fault, what it does, and the options that it has; then a plan to begin with."""
    table = Table(title="faults for --faults=PLAN.yaml")
    for heading in ("kind", "acts on", "what happens", "options"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "kind")
    for kind in KINDS.values():
        options = ", ".join(f"{name}: {value:g}" for name, value in kind.options.items())
        table.add_row(kind.name, kind.level.value, kind.story.replace("`", ""), options)
    console = Console()
    console.print(table)
    console.print(EXAMPLE_PLAN.read_text(encoding="utf-8"), soft_wrap=True)


def _serve_person(config: MockServerConfig, stop: "_Stop", by: Path | None, watched: Watched | None) -> None:
    console = Console()
    console.print(f"starting scene {config.mock.scene!r} ...", style="dim")
    with contextlib.ExitStack() as stack:
        words = "" if by is None else _steer(config, by, stack)
        engine = stack.enter_context(MockServer(config))
        _introduce(console, engine)
        if words:
            console.print(f"{words}.", style="bold")
        status = _StatusLine(engine) if sys.stdout.isatty() else None
        look = None if watched is None else stack.enter_context(watched(engine))
        engine.run(stop.asked, every_second=status, look=look)
        if status is not None:
            sys.stdout.write("\n")
        if words := engine.server.starved_in_words():
            console.print(f"{words}. A host that waits for 50 ms, as LeRobot does, may have had no answer")
    console.print("the mock arm is switched off", style="dim")


def _steer(config: MockServerConfig, by: Path, stack: contextlib.ExitStack) -> str:
    """Let a person steer the leader's hand until `stack` is left; says how. Raises ConfigError."""
    if by == BY_PAD:
        config.steering = PadSteering(stack.enter_context(Gamepad()))
        return PAD_IN_WORDS
    keys = stack.enter_context(Keys())
    if not keys.available:
        what = "keys move" if by == BY_KEYS else "mouse moves"
        raise ConfigError(f"--hand={by} needs a terminal, whose {what} the leader")
    if by == BY_KEYS:
        config.steering = KeySteering(keys.pressed)
        return KEYS_IN_WORDS
    stack.enter_context(MouseReports())
    config.steering = MouseSteering(keys.pressed)
    return MOUSE_IN_WORDS


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        MOCK.name,
        description="A virtual SO-101: six servos on a pseudo-terminal, two cameras on a loopback\nsocket.",
        examples=EXAMPLES,
    )
    scene = parser.add_argument_group("scene")
    scene.add_argument("--scene", default="table", help="what stands around the arm (default: %(default)s)")
    scene.add_argument(
        "--seed", type=Whole(), default=0, help="of object poses, mounting and faults (default: 0)"
    )
    scene.add_argument("--random_mount", action="store_true", help="servos bolted on at arbitrary angles")
    scene.add_argument("--uncalibrated", action="store_true", help="factory EEPROM; implies --random_mount")
    scene.add_argument(
        "--leader",
        action="store_true",
        help="the arm that a person moves: a leader's gears, no cameras, and a hand that moves it slowly to and fro",
    )
    scene.add_argument(
        "--hand",
        nargs="?",
        type=Path,
        const=CALIBRATES,
        metavar="FILE",
        help="a hand moves the joints whenever torque is off, as a calibration asks; with --leader, FILE: poses over "
        "time (YAML: poses: [{at_s: 3, shoulder_pan: 20}], repeat: true), or keyboard, mouse (of this terminal), "
        "gamepad",
    )
    bus = parser.add_argument_group("bus")
    bus.add_argument(
        "--port_link",
        type=Path,
        metavar="PATH",
        help=f"a stable name for the port (symbolic link; default: none, of a leader {LEADER_LINK})",
    )
    bus.add_argument(
        "--faults",
        type=Path,
        metavar="PLAN.yaml",
        help="inject faults; replayable with --seed. list: which there are",
    )
    bus.add_argument("--no_pace", action="store_true", help="answer at once instead of at 1 Mbit/s")
    cameras = parser.add_argument_group("cameras")
    cameras.add_argument(
        "--camera_port",
        type=Whole(),
        help=f"0 takes any free one (default: {CAMERA_PORT}, or the next that is free)",
    )
    cameras.add_argument("--no_cameras", action="store_true", help="serve the bus only")
    cameras.add_argument("--width", type=Whole(0, 4096), default=96, help="pixels (default: %(default)s)")
    cameras.add_argument("--height", type=Whole(0, 4096), default=96, help="pixels (default: %(default)s)")
    cameras.add_argument(
        "--fps", type=Number(most=1000), default=30.0, help="pictures per second (default: %(default)s)"
    )
    cameras.add_argument(
        "--shadows", action="store_true", help="cast shadows (four times the rendering cost)"
    )
    cameras.add_argument(
        "--renderer",
        choices=("auto", "egl", "osmesa", "ray"),
        default="auto",
        help="what draws (default: OpenGL if it is there, else rays)",
    )
    cameras.add_argument(
        "--display",
        choices=("off", "web"),
        default="off",
        help="web: a page of this machine with both cameras and the joints (default: %(default)s)",
    )
    lerobot = parser.add_argument_group("LeRobot")
    lerobot.add_argument(
        "--calibration_dir",
        type=Path,
        metavar="DIR",
        help="keep the calibration file here (default: temporary)",
    )
    lerobot.add_argument("--id", help=f"the robot's id (default: {FOLLOWER_ID}, of a leader {LEADER_ID})")
    parser.add_argument("--control_fd", type=int, help=argparse.SUPPRESS)
    return parser


def _engine_config(options: argparse.Namespace) -> MockServerConfig:
    try:
        mock = MockConfig(
            scene=options.scene,
            seed=options.seed,
            width=options.width,
            height=options.height,
            camera_fps=options.fps,
            faults=options.faults,
            shadows=options.shadows,
            random_mount=options.random_mount or options.uncalibrated,
            calibrated=not options.uncalibrated,
            renderer=options.renderer,
        )
    except ConfigError as problem:  # in this command's own flags
        text = str(problem).replace(f"{FLAGS}camera_fps", "--fps").replace(FLAGS, "--")
        raise ConfigError(text) from problem
    calibrates = options.hand == CALIBRATES
    if options.hand is not None and not calibrates and not options.leader:
        raise ConfigError(
            f"--hand={options.hand}: poses over time are for --leader; --hand alone helps to calibrate"
        )
    by_script = options.leader and not calibrates and options.hand not in STEERED and mock.calibrated
    script = _script(options.hand) if by_script else None
    asked: int | None = options.camera_port
    if asked is not None and not 0 <= asked <= LAST_PORT:
        raise ConfigError(f"--camera_port={asked}: expected 0 (any free one) to {LAST_PORT}")
    default_id = LEADER_ID if options.leader else FOLLOWER_ID
    return MockServerConfig(
        mock=mock,
        port_link=options.port_link or (LEADER_LINK if options.leader else None),
        camera_port=None if options.no_cameras or options.leader else CAMERA_PORT if asked is None else asked,
        camera_ports=MOST_ARMS if asked is None else 1,  # a second mock arm does not need to be told where
        calibration_dir=options.calibration_dir,
        robot_id=default_id if options.id is None else options.id,
        pace=not options.no_pace,
        hand=calibrates,
        leader=options.leader,
        script=script,
    )


def _script(hand: Path | None) -> Script:
    """What a leader's hand does. Raises ConfigError."""
    return PLAY if hand is None else read_script(hand)


class _Stop:
    """A signal handler that only remembers."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def asked(self) -> bool:
        return self._asked


def _description(engine: MockServer) -> dict[str, object]:
    return {
        "port": engine.port,
        "zmq_port": engine.cameras.port if engine.cameras else 0,
        "renderer": engine.cameras.renderer if engine.cameras else "",
        "calibration_dir": str(engine.calibration_dir),
        "robot_id": engine.config.robot_id,
    }


def _introduce(console: Console, engine: MockServer) -> None:
    """Say where everything is and what can be done with it. Commands are printed unwrapped, to be pasted."""
    config, mock = engine.config, engine.config.mock
    facts = Table.grid(padding=(0, 2))
    facts.add_row("port", Text.assemble((engine.port, "bold"), "   (6 servos, 1 Mbit/s)"))
    if engine.cameras is not None:
        facts.add_row(
            "cameras",
            Text.assemble(
                (f"tcp://127.0.0.1:{engine.cameras.port}", "bold"),
                f"   ({', '.join(CAMERAS)}; {mock.width}x{mock.height} at {mock.camera_fps:g} Hz; "
                f"{engine.cameras.renderer})",
            ),
        )
    kept = "" if config.calibration_dir else "   (removed at exit)"
    facts.add_row("calibration", f"{engine.calibration_dir}/{config.robot_id}.json{kept}")
    facts.add_row("scene", f"{mock.scene}, seed {mock.seed}")
    if mock.faults is not None:
        facts.add_row("faults", str(mock.faults))
    title = "mock SO-101, leader" if config.leader else "mock SO-101"
    console.print(Panel(facts, title=title, title_align="left", expand=False))
    for title, command in _commands(engine):
        console.print(f"\n# {title}", style="green")
        console.print(command, soft_wrap=True)
    console.print("\nCtrl-C switches the arm off.", style="dim")


def _commands(engine: MockServer) -> list[tuple[str, str]]:
    if engine.config.leader:
        return _leader_commands(engine)
    robot_id, folder = shlex.quote(engine.config.robot_id), shlex.quote(str(engine.calibration_dir))
    arm = f"--robot.port={shlex.quote(engine.port)} --robot.id={robot_id} --robot.calibration_dir={folder}"
    follower = f"--robot.type=so101_follower {arm}"
    cameras = ""
    if engine.cameras is not None:
        mock = engine.config.mock
        each = ", ".join(
            f"{name}: {{type: zmq, server_address: 127.0.0.1, port: {engine.cameras.port}, "
            f"camera_name: {name}, width: {mock.width}, height: {mock.height}, fps: {mock.camera_fps:g}}}"
            for name in CAMERAS
        )
        cameras = f' --robot.cameras="{{{each}}}"'
    knows = engine.config.mock.scene == SCENE
    hint = "" if knows else f" (it looks for a box: so101-mock --scene={SCENE} has one)"
    policy = shlex.quote(str(demo_policy(NAMES[0])))
    commands = [
        (
            f"run a small policy on it that comes with the package{hint}",
            f"so101-run --policy.path={policy} {arm}{cameras}",
        ),
        (
            "the same with LeRobot's own command",
            f"lerobot-rollout --strategy.type=base --policy.path={policy} {follower}{cameras} "
            "--task=palletize --duration=20",
        ),
        ("look at it: servos, calibration, cameras", f"so101-calibrate check {arm}{cameras}"),
        (
            "drive it with a leader (so101-mock --leader is one, and says where its calibration is)",
            f"so101-teleop {arm}{cameras} --teleop.port={LEADER_LINK} --teleop.id={LEADER_ID}",
        ),
        (
            "the same with LeRobot's own command",
            f"lerobot-teleoperate {follower} "
            f"--teleop.type=so101_leader --teleop.port={LEADER_LINK} --teleop.id={LEADER_ID}",
        ),
    ]
    calibrate = ("calibrate it with LeRobot", f"lerobot-calibrate {follower}")
    return [*commands, calibrate] if engine.config.mock.calibrated else [calibrate, *commands]


def _leader_commands(engine: MockServer) -> list[tuple[str, str]]:
    """What can be done with a leader."""
    name, folder = shlex.quote(engine.config.robot_id), shlex.quote(str(engine.calibration_dir))
    port = shlex.quote(engine.port)
    leader = f"--teleop.port={port} --teleop.id={name} --teleop.calibration_dir={folder}"
    drive = [
        (
            "drive a follower with it (so101-mock is one)",
            f"so101-teleop --robot.port=FOLLOWER --robot.id=mock {leader}",
        ),
        (
            "the same with LeRobot's own command",
            f"lerobot-teleoperate --robot.type=so101_follower --robot.port=FOLLOWER --robot.id=mock "
            f"--teleop.type=so101_leader {leader}",
        ),
    ]
    calibrate = (
        "calibrate it",
        f"so101-calibrate servos --leader --robot.port={port} --robot.id={name} --robot.calibration_dir={folder}",
    )
    return [*drive, calibrate] if engine.config.mock.calibrated else [calibrate, *drive]


class _StatusLine:
    """One line, rewritten every second: does the arm keep up, who talks to it, what is wrong with it."""

    def __init__(self, engine: MockServer) -> None:
        self._engine = engine
        self._wall_s, self._arm_us, self._requests = time.perf_counter(), engine.arm.now_us, 0

    def __call__(self) -> None:
        engine, wall_s = self._engine, time.perf_counter()
        elapsed_s = max(wall_s - self._wall_s, 1e-6)
        pace = (engine.arm.now_us - self._arm_us) * 1e-6 / elapsed_s
        requests = engine.server.requests
        parts = [
            f"time x{pace:.2f}"
            + (f" ({engine.server.behind_s:.1f} s lost)" if engine.server.behind_s > 0 else ""),
            f"{(requests - self._requests) / elapsed_s:.0f} requests/s",
            f"torque on {len(engine.arm.driven_joints())} of {len(JOINTS)}",
            engine.arm.complaints() if engine.server.plugged else "unplugged",
        ]
        if engine.server.starved:
            parts.append(f"STARVED {engine.server.starved} times")
        if hits := len(engine.arm.fault_log()):
            parts.append(f"{hits} injected faults")
        self._wall_s, self._arm_us, self._requests = wall_s, engine.arm.now_us, requests
        columns = shutil.get_terminal_size().columns
        sys.stdout.write("\r\x1b[K" + printable(" | ".join(parts))[: columns - 1])
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(MOCK.main())
