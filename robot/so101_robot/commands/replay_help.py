"""The help of so101-replay. Flags that it shares with so101-run are explained there."""

from so101_policy.commands.help_texts import COMMON, Flag, paragraph, section
from so101_robot.cli import REPLAY
from so101_robot.commands.run_help import run_flags

EXAMPLES = """\
Examples:
  so101-replay outputs/run/2026-01-31_12-00-00
      On the mock arm, with the limits, the scene and the rate of that run.

  so101-replay outputs/run/2026-01-31_12-00-00 --robot.port=/dev/ttyACM0 \\
      --robot.id=my_arm
      On a real arm. It goes slowly to the first pose of the run first, and
      home at the end.

  so101-replay outputs/run/2026-01-31_12-00-00 --display=viewer
      And look at it in Rerun.
"""

ENDING = """
Goals pass the guard, and the loop holds or parks as in so101-run. Nothing looks at what is in the way: clear the table.
Ctrl-C: hold, go home slowly, release. Twice: release at once. The run folder keeps run.json, ticks.jsonl, summary.json
and replay.json (the comparison).
"""

OWN = (
    Flag(
        "--other_calibration",
        "false",
        "play a run of an arm with another calibration: its poses are off by the difference",
    ),
    Flag("--output_dir", "DIR", "null: outputs/replay/<date>_<time>"),
)

SHARED = (
    "robot.port",
    "robot.id",
    "robot.calibration_dir",
    "approach_speed",
    "dashboard",
    "picture",
    "display",
)

REST = """
As in so101-run, and as they were in the run where that makes sense: --robot.*, --preflight.*, --watchdog.*, --ending.*
and --max_stop_s; see so101-run --help.
"""


def help_text() -> str:
    """The whole of it."""
    flags = run_flags()
    return "\n".join(
        [
            paragraph(f"{REPLAY.name}: {REPLAY.about}."),
            EXAMPLES,
            paragraph(ENDING),
            "usage: so101-replay RUN [--flag=value ...]\n",
            section("flags", [*OWN, *(flags[name] for name in SHARED)]),
            paragraph(REST),
            COMMON,
        ]
    )
