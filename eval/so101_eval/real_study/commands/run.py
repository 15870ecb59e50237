"""so101-bench run STUDY: one sitting at the arm. The same command goes on after anything."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.real_study.console.operators import make_operator
from so101_eval.real_study.measurement.made import of_rig
from so101_eval.real_study.session.runner import Settings
from so101_eval.real_study.session.sitting import MOCK, sit
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import OK, say
from so101_robot.commands.flags import normalised, parse, with_so101_yaml
from so101_robot.so101_yaml.flags import OF_AN_ARM

NAME = "so101-bench run"
OWN = ("--port", "--lan", "--operator", "--no_console", "--bar_mm")


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong before the arm moves."""
    folder, own, flags = split(arguments)
    flags = with_so101_yaml(flags, OF_AN_ARM)
    config = parse(flags)
    if "--robot.port" not in flags and "--config_path" not in flags:
        raise ConfigError(
            f"--robot.port is missing: the arm's serial port; {NAME} takes the flags of so101-run. To try it without "
            f"an arm: so101-bench rehearse {folder}"
        )
    if config.robot.port == MOCK:
        raise ConfigError(f"--robot.port=mock is no real arm; so101-bench rehearse {folder} plays on it")
    make = partial(make_operator, port=own.port, lan=own.lan, console=not own.no_console)
    state = sit(folder, config, make, partial(of_rig, bar_mm=own.bar_mm), Settings(operator=own.operator))
    say(f"blocks that count: {len(state.complete)}; the same command goes on" if state.now else
        f"the study is over: so101-bench unblind {folder}")  # fmt: skip
    return OK


def split(arguments: Sequence[str]) -> tuple[Path, argparse.Namespace, dict[str, str]]:
    """The study, this command's own flags, and those of the arm. Raises `ConfigError` for no study."""
    rest = list(arguments)
    if not rest or rest[0].startswith("-"):
        raise ConfigError(f"which study? the first argument is its folder: {NAME} STUDY --robot.port=...")
    switches = [argument for argument in rest[1:] if argument in ("--lan", "--no_console")]
    flags = normalised([argument for argument in rest[1:] if argument not in switches])
    own = [*switches, *(f"{flag}={value}" for flag, value in flags.items() if flag in OWN)]
    return (
        Path(rest[0]),
        parser().parse_args(own),
        {flag: value for flag, value in flags.items() if flag not in OWN},
    )


def parser() -> Parser:
    """Of this command's own flags; those of the arm are `so101-run`'s."""
    parser = Parser(NAME, "One sitting at the arm.", "")
    add = parser.add_argument
    add("--port", type=Whole(1, 65_535), default=8101)
    add("--lan", action="store_true")
    add("--no_console", action="store_true")
    add("--operator", default="")
    add("--bar_mm", type=Number(50, 200), default=None)
    return parser


def help_text() -> str:
    """Of the command."""
    return HELP


HELP = """\
usage: so101-bench run STUDY --robot.port=PORT [flags of so101-run]

One sitting at the arm: rig check, and block by block reset, trial, outcome.
The same command goes on, also after a crash.

  --port=8101                   of the console, http://127.0.0.1:PORT
  --lan                         let phones of this network take part, by a
                                token and a QR code; else nothing is open to
                                them
  --no_console                  keyboard of this terminal only
  --operator=""                 who operates; empty: asked for
  --bar_mm=LENGTH               the mat of so101-bench mat is on the table, and
                                its bar of 100 mm is that long on the print

The arm, its cameras and limits are those of so101-run: --robot.port,
--robot.id, --robot.cameras, --config_path, --preflight.skip and so on; see
so101-run --help. Who drives, from where and for how long is in study.yaml.

Keys: Space starts and stops, 1 to 9 stage, s success, f failure, v rig failed,
u undo until the next start, n note, d danger, Esc holds, o opens the hand of
an arm that is held. Only a second Ctrl-C lets the arm go.

With a leader at --teleop.port a person may take over: t, or moving it; b gives
back. Such a trial is a failure, and says that a person drove.

Examples:
  so101-bench run studies/looks --config_path=my_arm.yaml
  so101-bench run studies/looks --config_path=my_arm.yaml --lan

  -v, --verbose                 log more, and show where an error comes from
  --version
  -h, --help
"""
