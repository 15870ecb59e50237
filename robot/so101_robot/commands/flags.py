"""The command line of `so101-run`: its help, and from arguments to a `RunConfig`.

Help and unknown flags are dealt with before anything heavy is imported (LeRobot brings torch: seconds), so
the help is a text, and it is also the list of the flags that there are.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from so101_robot.errors import ConfigError, RobotError

if TYPE_CHECKING:
    from so101_robot.commands.run_config import RunConfig

HELP = """\
so101-run: drive an SO-101 arm, real or simulated, with an ACT policy, and see where it looks.

  so101-run
      The mock arm and a small policy that comes with the package: nothing to plug in.
      --policy.path=demo:baseline shows the one that it is compared with.

  so101-run --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
            --robot.port=/dev/ttyACM0 --robot.id=my_arm --robot.cameras="{
                front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30},
                wrist: {type: opencv, index_or_path: 2, width: 640, height: 480, fps: 30}}"
      A checkpoint of lerobot-train on a real arm.

  so101-run --policy.path=CHECKPOINT --robot.port=mock --duration_s=10 --record.repo_id=me/first_try
      The same on the mock arm, for ten seconds, stored as an episode of a LeRobotDataset.

Ctrl-C: hold, go home slowly, release. Twice: release at once.
The run folder keeps run.json, ticks.jsonl (a line for every tick) and summary.json.

policy
  --policy.path=PATH              checkpoint folder, output folder of lerobot-train, hub id,
                                  demo:regularized or demo:baseline (mock arm only)
  --policy.device=auto            torch device; auto: the first GPU, else the processor
  --policy.engine=auto            plain (LeRobot's forward), torch (the same actions, faster), onnx (ONNX Runtime)
  --policy.n_action_steps=null    actions of a chunk that are played; null: the checkpoint's
  --policy.fps=null               actions per second of a checkpoint that does not say; null: --fps
  --chunks.mode=auto              synchronous, asynchronous or ensembled;
                                  auto: ensembled if the checkpoint asks for it, else asynchronous
  --chunks.crossfade_s=0.13       length of the cross-fade between two chunks [s]
  --inference_latency_s=null      mock arm: simulated time that an answer takes; null: 0.1

arm
  --robot.port=PORT               serial port (best from /dev/serial/by-id), the pseudo-terminal
                                  of so101-mock, or mock
  --robot.id=NAME                 names the calibration file, as in lerobot-calibrate
  --robot.calibration_dir=DIR     where calibration files lie; null: LeRobot's place
  --robot.cameras="{...}"         LeRobot's cameras by name; the mock arm brings front and wrist
  --robot.type=so101_follower     accepted as in LeRobot's commands; there is only this arm
  --robot.home="[...]"            where the arm parks: five angles [deg] and the gripper [%]
  --robot.health_every=1          read load, voltage, temperature, current every n-th tick; 0: never
  --robot.position_p_coefficient=16
  --robot.position_i_coefficient=0
  --robot.position_d_coefficient=32
  --robot.disable_torque_on_disconnect=true
                                  false: stay under torque at the end

guard
  --robot.rig=FILE                limits of the place: table, walls, budgets; null: the file beside the calibration;
                                  `python -m so101_robot.guard.rig FILE` writes one to start from
  --robot.limits.joint_speed_deg_s=180
  --robot.limits.gripper_speed_percent_s=300
  --robot.limits.joint_acceleration_deg_s2=5400     speeding up only
  --robot.limits.gripper_acceleration_percent_s2=9000
  --robot.limits.joint_step_deg=12        the most that a goal may move in one tick
  --robot.limits.gripper_step_percent=20
  --robot.limits.margin_deg=0             distance to the ends of the calibrated range
  --robot.limits.max_state_age_s=0.1
  --robot.limits.max_frame_age_s=0.5
  --max_stop_s=1.0                how long the guard may hold the arm before the run ends

safety
  --preflight.skip="[...]"        checks that are left out: servos, supply, heat, errors, settings, calibration,
                                  cameras, policy, statistics, ranges, drift, or all
  --watchdog.on_death=hold        what a watchdog process does if this one dies: hold, park (slowly home),
                                  release, or off; not needed on the mock arm in memory
  --watchdog.hang_s=3             without a tick for so long it counts as hung; 0: never
  --watchdog.kill_hung=true       false: only say so
  --watchdog.speed=20             fastest joint on its way home [deg/s]
  --watchdog.release_when_parked=true

mock arm
  --robot.mock.scene=table        --robot.mock.seed=0
  --robot.mock.width=96           --robot.mock.height=96        of both cameras
  --robot.mock.camera_fps=30      --robot.mock.renderer=auto    auto, egl, osmesa or ray
  --robot.mock.shadows=false      --robot.mock.realtime_factor=1    0: as fast as possible
  --robot.mock.calibrated=true    --robot.mock.random_mount=false
  --robot.mock.faults=null        a fault plan (YAML)

run
  --fps=30                        ticks per second, up to 200: a whole multiple of the policy's rate;
                                  between its actions the arm follows the straight line
  --duration_s=null               how long the policy drives, on the robot's clock, without the approach;
                                  0: until Ctrl-C; null: 0, demonstration 20
  --approach_speed=30             fastest joint on the way to the policy's first pose [deg/s]; 0: no approach
  --start_pose=null               where the arm goes slowly first, six values; null: where the checkpoint's
                                  demonstrations began, if it says so, else to the policy's first pose
  --ending.home=true              go home before letting go
  --ending.speed=40               fastest joint on the way home [deg/s]
  --ending.if_stuck=hold          in the air and cannot go home: hold, or release (it falls)
  --ending.wait_s=60              how long Ctrl-C can let a held arm go before the program ends
  --config_path=FILE              read all of this from a YAML file; flags win

output
  --out=DIR                       run folder; null: outputs/run/<date>_<time>
  --dashboard=auto                live, plain or off; auto: live in a terminal
  --picture=FILE                  write the last picture of the dashboard as SVG
  --display=off                   Rerun with attention maps over the pictures: viewer, or file (run.rrd in the
                                  run folder)
  --blind.share=0.6               attention alarm: the joint state has more than this share of the attention; 1: never
  --blind.for_s=1                 for so long [s]; a hint that the policy may be blind, nothing is done to the arm
  --per_head=false                log the attention shares of every head
  --record.repo_id=USER/NAME      store the run as an episode of a LeRobotDataset
  --record.root=DIR               its folder; null: LeRobot's place
  --record.task="in words"
  --record.resume=false           add the episode to a dataset that exists
  -v, --verbose                   log more, and show tracebacks
  -h, --help
"""

FLAGS = tuple(sorted(set(re.findall(r"--[a-z][\w.]*\w(?==)", HELP)) | {"--verbose"}))
"""Every flag there is; `--robot.type` is checked and dropped."""

SWITCHES = ("--per_head", "--verbose", "--display", "--record.resume", "--ending.home")
"""Flags that may stand without a value."""

ALIASES = {
    "-v": "--verbose",
    "--health_every": "--robot.health_every",
    "--duration": "--duration_s",  # lerobot-rollout's
    "--display_data": "--display",  # lerobot-rollout's
    "--task": "--record.task",
    "--rig": "--robot.rig",
}

CAMERA_MODULES = ("lerobot.cameras.opencv", "lerobot.cameras.zmq")
"""What brings LeRobot's camera types; imported so that draccus knows them."""

ROBOT_TYPES = ("so101", "so101_follower")


def wants_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def normalised(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments as flag -> value: `--a=b`, `--a b` and bare switches, aliases resolved.

    Raises:
        ConfigError: a flag that does not exist (names the nearest), a value without a flag or a flag
        without one.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        given, equals, value = rest.pop(0).partition("=")
        flag = ALIASES.get(given, given)
        if not flag.startswith("-"):
            raise ConfigError(
                f"what does {given!r} belong to? every argument is a flag: --flag=value; see --help"
            )
        if flag not in FLAGS:
            raise ConfigError(f"there is no flag {given}{_nearest(flag)}; see --help")
        if not equals:
            has_value = bool(rest) and not rest[0].startswith("--")
            if not has_value and flag not in SWITCHES:
                raise ConfigError(f"{given} needs a value: {given}=...")
            value = rest.pop(0) if has_value else "true"
        if flag == "--robot.type":
            _check_robot_type(value)
            continue
        found[flag] = value
    return found


def parse(flags: dict[str, str]) -> "RunConfig":
    """The configuration that `flags` (from `normalised`) amount to.

    Raises:
        ConfigError: a value does not fit its flag.
    """
    import draccus
    from lerobot.utils.import_utils import register_third_party_plugins

    from so101_robot.commands.run_config import RunConfig

    for module in CAMERA_MODULES:
        import_module(module)
    if "--robot.cameras" in flags or "--config_path" in flags:
        register_third_party_plugins()  # brings further camera types
    arguments = [f"{flag}={value}" for flag, value in flags.items()]
    try:
        return draccus.parse(RunConfig, args=arguments, exit_on_error=False)
    except RobotError:
        raise
    except Exception as problem:  # draccus, argparse, yaml and the dataclasses raise a dozen kinds
        cause = _robot_error_behind(problem)
        if cause is not None:
            raise cause from problem
        raise ConfigError(_in_words(problem)) from problem


def _check_robot_type(value: str) -> None:
    if value not in ROBOT_TYPES:
        raise ConfigError(f"--robot.type={value}: so101-run drives {' or '.join(ROBOT_TYPES)} (the same arm)")


def _nearest(flag: str) -> str:
    """The flag that was meant, perhaps: the same last part elsewhere, or a like spelling of all or the last
    part."""

    def last(name: str) -> str:
        return name.lstrip("-").rpartition(".")[2]

    close = [known for known in FLAGS if last(known) == last(flag)]
    close = close or get_close_matches(flag, FLAGS, n=1, cutoff=0.7)
    if not close:
        alike = get_close_matches(last(flag), [last(known) for known in FLAGS], n=1, cutoff=0.6)
        close = [known for known in FLAGS if last(known) in alike]
    return f"; did you mean {close[0]}?" if close else ""


def _robot_error_behind(problem: BaseException | None) -> RobotError | None:
    while problem is not None:
        if isinstance(problem, RobotError):
            return problem
        problem = problem.__cause__ or problem.__context__
    return None


def _in_words(problem: Exception) -> str:
    """What draccus and its like have to say, as one line with the flag in front."""
    from lerobot.cameras import CameraConfig

    text = " ".join(str(problem).split())
    if "Couldn't instantiate" in text and problem.__cause__ is not None:
        text = " ".join(str(problem.__cause__).split())  # the dataclass says what is wrong
    if "Couldn't find a choice class" in text:
        text = f"{text.partition(' in <')[0]}; possible are {', '.join(CameraConfig.get_known_choices())}"
    if "<unicode string>" in text:
        text = f"a value is not YAML ({text}); are the brackets closed and the quotes in place?"
    if match := re.match(r"`([\w.]+)`: (.*)", text):
        return f"--{match[1]}: {match[2]}"
    return text or type(problem).__name__
