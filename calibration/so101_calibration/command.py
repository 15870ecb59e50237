"""so101-calibrate: servos, ids, cameras, drift, and a self-test of the whole arm.

A subcommand is a module of this package with `add_arguments(parser)`, `run(options) -> int` and, for its help,
`EXAMPLES`. It is imported only when it is asked for: cameras need OpenCV, which servos do not.
"""

import argparse
import importlib
import importlib.util
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from so101_calibration.errors import CalibrateError, UsageError
from so101_robot.errors import RobotError

COMMANDS = {
    "servos": "home the servos and measure their ranges; compare, copy and restore calibrations",
    "ids": "set or repair servo ids and baud rates",
    "check": "a one-minute self-test with a report",
    "cameras": "intrinsics and poses of the cameras",
    "drift": "has a camera moved, turned or changed in light since a dataset was recorded?",
}
"""Subcommand (and module of this package) -> what it does."""
_MODULES = {
    "servos": "servos.command",
    "ids": "servos.ids",
    "check": "check",
    "cameras": "cameras.command",
    "drift": "drift.command",
}
"""Command -> module of this package."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; ends the process with 0, with 1 for a "no" or a failed check, or with 2 and one message."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _end_tidily_on_signals()
    try:
        sys.exit(_run(words))
    except (CalibrateError, RobotError) as error:
        print(f"so101-calibrate: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("so101-calibrate: stopped; nothing was written that had not been confirmed", file=sys.stderr)
        sys.exit(130)


class _Parser(argparse.ArgumentParser):
    """Mistakes as one message, without the list of all options around it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` shows what is possible)")


def _end_tidily_on_signals() -> None:
    """SIGTERM and a closed terminal end as Ctrl-C does: what was begun is undone, torque is as it was found."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    name = words[0]
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}; possible: {', '.join(COMMANDS)}")
    module_name = f"{__package__}.{_MODULES[name]}"
    if importlib.util.find_spec(module_name) is None:
        raise UsageError(f"`so101-calibrate {name}` is not part of this installation")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"`so101-calibrate {name}` needs the package {error.name!r}, which is missing"
        ) from error
    parser = _Parser(
        f"so101-calibrate {name}",
        description=COMMANDS[name],
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words[1:])))


def _help() -> str:
    rows = "\n".join(f"  {name:<9}{summary}" for name, summary in COMMANDS.items())
    return (
        "so101-calibrate COMMAND [options]: what maps an SO-101's numbers to the world.\n\n"
        f"{rows}\n\n"
        "A new arm:\n"
        "  so101-calibrate ids --port=/dev/ttyACM0 --all\n"
        "  so101-calibrate servos --port=/dev/ttyACM0 --id=my_arm\n"
        "  so101-calibrate check --port=/dev/ttyACM0 --id=my_arm\n\n"
        "Nothing to plug in: --port=mock is a simulated arm, with a simulated hand for the person.\n"
        "Options and examples of a command: so101-calibrate COMMAND --help"
    )


if __name__ == "__main__":
    main()
