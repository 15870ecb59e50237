"""The help of so101-run, made from the words under the fields of `RunConfig`."""

from so101_policy.commands.help_texts import COMMON, Flag, by_sections, flags_of, paragraph
from so101_robot.cli import RUN
from so101_robot.commands.run_config import RunConfig

EXAMPLES = """\
Examples:
  so101-run
      The mock arm and a small policy that comes with the package: nothing to
      plug in. --policy.path=demo:stock shows the one it is compared with.

  so101-run --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
      --robot.port=/dev/ttyACM0 --robot.id=my_arm --robot.cameras="{
          front: {type: opencv, index_or_path: 0, width: 640, height: 480,
                  fps: 30},
          wrist: {type: opencv, index_or_path: 2, width: 640, height: 480,
                  fps: 30}}"
      A checkpoint of lerobot-train on a real arm.

  so101-run --policy.path=CHECKPOINT --robot.port=mock --duration_s=10 \\
      --record.repo_id=me/first_try
      The same on the mock arm for ten seconds, stored as an episode of a
      LeRobotDataset.
"""

ENDING = """
With --teleop.port a person takes over: press t, or move the leader. The arm holds, the leader comes to its pose, and a
hand that takes it drives; b gives back. See docs/takeover.md.

What is not given comes from so101.yaml in this folder or the nearest above it: arm, cameras, limits, place. See
docs/reference/so101_yaml.md.

Ctrl-C: hold, go home slowly, release. Twice: release at once. The run folder keeps run.json, ticks.jsonl (a line for
every tick) and summary.json.
"""

FIRST = (
    "policy.path",
    "robot.port",
    "robot.id",
    "robot.cameras",
    "duration_s",
    "policy.device",
    "record.repo_id",
    "record.task",
    "teleop.port",
    "teleop.id",
    "output_dir",
    "display",
)
"""The flags that matter first."""

NOT_FIELDS = {
    "robot.type": Flag(
        "--robot.type", "so101_follower", "accepted as in LeRobot's commands; there is only this arm"
    ),
    "teleop.type": Flag(
        "--teleop.type", "so101_leader", "accepted as in LeRobot's commands; there is only this leader"
    ),
    "config_path": Flag(
        "--config_path",
        "FILE",
        "read all of this from a YAML file; flags win. A so101.yaml that is named here is used in the place of the "
        "nearest one; none: no so101.yaml is read",
    ),
}
"""Flags that are no fields of the configuration."""

LEROBOTS = {
    "robot.id": "names the calibration file, as in lerobot-calibrate",
    "robot.calibration_dir": "where calibration files are; null: LeRobot's place",
}
"""Words for fields that are LeRobot's."""

SECTIONS = {
    "policy": ("policy.", "chunks.", "camera.", "inference_latency_s"),
    "arm": ("robot.",),
    "guard": ("robot.rig", "robot.limits.", "max_stop_s"),
    "safety": ("preflight.", "watchdog.", "blind."),
    "takeover by a leader": ("teleop.", "takeover."),
    "mock arm": ("robot.mock.", "teleop.mock."),
    "run": ("fps", "duration_s", "approach_speed", "start_pose", "ending.", "config_path"),
    "output": ("",),
}
"""Heading -> beginnings of the flags below it; a longer beginning wins."""


def help_text() -> str:
    """The whole of it."""
    flags = run_flags()
    parts = [
        paragraph(f"{RUN.name}: {RUN.about}."),
        EXAMPLES,
        paragraph(ENDING),
        *by_sections(flags, FIRST, SECTIONS),
        COMMON,
    ]
    return "\n".join(parts)


def run_flags() -> dict[str, Flag]:
    """Name -> flag, in the order of the configuration."""
    flags = flags_of(RunConfig) | NOT_FIELDS
    flags.pop("verbose")  # with `COMMON`
    return flags | {name: flags[name]._replace(words=words) for name, words in LEROBOTS.items()}
