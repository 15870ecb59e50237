"""The commands of this package: so101-calibrate, so101-doctor, so101-setup. Nothing heavy is imported here."""

from pathlib import Path

from so101_policy.command_line.command_shell import Command

HELP = Path(__file__).with_name("help")

OLD_NAMES = {
    "--port": "--robot.port",
    "--id": "--robot.id",
    "--calibration_dir": "--robot.calibration_dir",
    "--cameras": "--robot.cameras",
    "--mock.seed": "--robot.mock.seed",
    "--out": "--output",
}


EXAMPLES = """
A new arm:
  so101-calibrate ids --robot.port=/dev/ttyACM0 --all
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm
  so101-calibrate check --robot.port=/dev/ttyACM0 --robot.id=my_arm

Nothing to plug in: --robot.port=mock is a simulated arm, with a simulated hand
for the person.
"""


def _part(word: str, about: str, module: str) -> Command:
    return Command(
        f"so101-calibrate {word}",
        about,
        HELP,
        f"so101_calibration.{module}",
        interrupted="stopped; nothing was written that had not been confirmed",
        old_names=OLD_NAMES,
        ends_on_signals=True,
    )


CALIBRATE = Command(
    "so101-calibrate",
    "what maps an SO-101's numbers to the world",
    HELP,
    examples=EXAMPLES,
    parts=(
        _part(
            "servos",
            "home the servos and measure their ranges; compare, copy and restore calibrations",
            "servos.command",
        ),
        _part("ids", "set or repair servo ids and baud rates", "servos.ids"),
        _part("ports", "find out which arm is at which port", "two_arms.ports"),
        _part("pair", "compare leader and follower in three poses", "two_arms.pair"),
        _part("check", "a one-minute self-test with a report", "check"),
        _part("cameras", "intrinsics and poses of the cameras", "cameras.command"),
        _part(
            "drift",
            "has a camera moved, turned or changed in light since a dataset was recorded?",
            "drift.command",
        ),
    ),
)

DOCTOR = Command(
    "so101-doctor",
    "the state of everything on one page: versions, ports, cameras, calibrations, disk",
    HELP,
    "so101_calibration.doctor",
)

SETUP = Command(
    "so101-setup",
    "from the kit on the table to the first recording, step by step",
    HELP,
    "so101_calibration.setup.command",
    interrupted="left; so101-setup goes on with this step when it is called again",
    ends_on_signals=True,
)

COMMANDS = (CALIBRATE, DOCTOR, SETUP)
