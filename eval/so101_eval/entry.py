"""`so101`: all commands in the order of an owner's way, and `so101 run` for `so101-run`.

Light: a command is imported when it is called, by its own shell (`so101_policy.command_line.command_shell`).
"""

import sys
from collections.abc import Sequence

from so101_calibration.cli import CALIBRATE, DOCTOR, SETUP
from so101_eval.cli import BENCH, DATA, DEMOS, EVAL, STUDY
from so101_eval.completion import script
from so101_policy.cli import CACHE, FRAMES, RELIANCE, TRAIN
from so101_policy.command_line.command_flags import nearest
from so101_policy.command_line.command_shell import (
    FAILED,
    OK,
    WRONG_INPUT,
    Command,
    complain,
    nobody_reads,
    say,
    version,
)
from so101_policy.errors import CommandLineError
from so101_robot.cli import MOCK, REPLAY, RUN, TELEOP

NAME = "so101"

WAY: tuple[tuple[str, str, tuple[Command, ...]], ...] = (
    ("set up", "", (SETUP, DOCTOR, CALIBRATE)),
    ("record", "your own; or lerobot-record, of LeRobot", (TELEOP, DEMOS)),
    ("check", "", (DATA,)),
    ("train", "", (TRAIN,)),
    ("rehearse", "", (MOCK, RELIANCE, EVAL)),
    ("run", "", (RUN, REPLAY)),
    ("compare", "", (BENCH, STUDY)),
    ("keep house", "", (CACHE, FRAMES)),
)
"""What an owner does, one thing after the other, and what with."""

COMMANDS = {command.name.removeprefix(f"{NAME}-"): command for _, _, commands in WAY for command in commands}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        return _main(sys.argv[1:] if arguments is None else list(arguments))
    except BrokenPipeError:
        if nobody_reads():
            return FAILED
        raise


def _main(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        say(overview())
        return OK
    if words[0] == "--version":
        say(f"{NAME} {version()}")
        return OK
    if words[0] == "completion":
        return _complete(words[1:])
    word = words[0].removeprefix(f"{NAME}-")
    if word not in COMMANDS:
        hint = nearest(f"--{word}", [f"--{known}" for known in COMMANDS]).replace("--", f"{NAME} ")
        return complain(NAME, f"there is no command {words[0]!r}{hint} (`{NAME}` lists them)", WRONG_INPUT)
    return COMMANDS[word].main(words[1:])


def _complete(shells: Sequence[str]) -> int:
    try:
        say(script(shells[0] if len(shells) == 1 else "", COMMANDS))
    except CommandLineError as problem:
        return complain(f"{NAME} completion", str(problem), WRONG_INPUT)
    return OK


def overview() -> str:
    """A line for each command."""
    width = max(len(word) for word in COMMANDS)
    lines = [
        f"{NAME}: train policies for the SO-101 arm, run them behind a guard, and measure how good they are."
    ]
    for title, beside, commands in WAY:
        lines += ["", f"{title}{f'   ({beside})' if beside else ''}"]
        for command in commands:
            word = command.name.removeprefix(f"{NAME}-")
            lines.append(f"  {NAME} {word.ljust(width)}  {command.about}")
    return "\n".join(
        [
            *lines,
            "",
            f"First, without an arm: {NAME} run. Flags and examples of one: {NAME} run --help.",
            f"Completion by Tab: source <({NAME} completion bash), or zsh; {NAME} completion fish | source.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
