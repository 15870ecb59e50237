"""The help of so101-teleop, made from the words under the fields of `TeleopConfig`."""

from so101_policy.commands.help_texts import COMMON, by_sections, flags_of, paragraph
from so101_robot.cli import TELEOP
from so101_robot.commands.run_help import LEROBOTS, NOT_FIELDS
from so101_robot.commands.teleop_config import TeleopConfig

EXAMPLES = """\
Examples:
  so101-teleop --robot.port=mock --teleop.port=mock --duration_s=10
      Both arms simulated, and a hand that moves the leader: nothing to plug
      in.

  so101-teleop --robot.port=/dev/ttyACM0 --robot.id=my_arm \\
      --teleop.port=/dev/ttyACM1 --teleop.id=my_leader
      The follower goes slowly to where the leader is, and then follows it.

  so101-teleop --robot.port=/dev/ttyACM0 --robot.id=my_arm \\
      --teleop.port=/dev/ttyACM1 --teleop.id=my_leader \\
      --robot.cameras="{front: {type: opencv, index_or_path: 0, width: 640,
          height: 480, fps: 30}}" \\
      --record.repo_id=me/boxes --record.task="put the box on the pallet" \\
      --record.num_episodes=30
      Demonstrations, recorded as with lerobot-record, whose --dataset.* flags
      are understood.
"""

KEYS = """
While a dataset is recorded: n or right (also space, enter) begins an episode, and ends and keeps it; then y or n says
whether it succeeded. r or left throws it away. q or esc keeps it and ends the recording. A pedal that types one of
these is one. Every episode that was kept is whole on the disk, whatever happens to the program later.
"""

ENDING = """
Ctrl-C: hold, go home slowly, release. Twice: release at once. A leader that does not answer: the arm holds for 5 s,
then goes home. The leader's torque is off all the time. The run folder keeps run.json, ticks.jsonl and summary.json,
with the time from leader to follower.
"""

FIRST = (
    "robot.port",
    "robot.id",
    "robot.cameras",
    "teleop.port",
    "teleop.id",
    "duration_s",
    "record.repo_id",
    "record.task",
    "record.num_episodes",
)

SECTIONS = {
    "leader": ("teleop.",),
    "recording": ("record.",),
    "arm": ("robot.",),
    "guard": ("robot.rig", "robot.limits.", "max_stop_s"),
    "safety": ("preflight.", "watchdog."),
    "mock arm": ("robot.mock.",),
    "run": ("fps", "duration_s", "ending.", "config_path"),
    "output": ("",),
}
"""Heading -> beginnings of the flags below it; a longer beginning wins."""


def help_text() -> str:
    """The whole of it."""
    flags = flags_of(TeleopConfig) | NOT_FIELDS
    flags.pop("verbose")  # with `COMMON`
    flags |= {name: flags[name]._replace(words=words) for name, words in LEROBOTS.items()}
    parts = [
        paragraph(f"{TELEOP.name}: {TELEOP.about}."),
        EXAMPLES,
        paragraph(KEYS),
        paragraph(ENDING),
        *by_sections(flags, FIRST, SECTIONS),
        COMMON,
    ]
    return "\n".join(parts)
