"""Every number on the command line of every command: what cannot be is refused by the flag's name, before anything."""

import argparse
import importlib
from collections.abc import Iterator

import pytest

from so101_calibration.cli import COMMANDS as CALIBRATION
from so101_eval.cli import COMMANDS as EVAL
from so101_policy.command_line.command_flags import Number, Whole, parts_of
from so101_policy.command_line.command_shell import Command
from so101_policy.errors import CommandLineError
from so101_robot.mock.serve import command as mock_command


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Of all commands that are parsed by argparse; so101-run, so101-replay and so101-train are draccus's."""
    yield mock_command.parser()
    commands: list[Command] = [
        part for command in (*CALIBRATION, *EVAL) for part in (command.parts or (command,))
    ]
    for command in commands:
        module = importlib.import_module(command.help_from or command.module)
        yield module.parser()


def flags() -> Iterator[tuple[argparse.ArgumentParser, argparse.Action]]:
    waiting = list(parsers())
    while waiting:
        parser = waiting.pop()
        waiting += parts_of(parser).values()
        for action in parser._actions:
            if (action.option_strings and action.type in (int, float)) or isinstance(
                action.type, Whole | Number
            ):
                yield parser, action


FLAGS = [(parser, action) for parser, action in flags() if action.help != argparse.SUPPRESS]


def test_there_are_numbers_and_each_has_limits():
    assert len(FLAGS) > 40
    assert [action.option_strings for _, action in FLAGS if action.type in (int, float)] == []


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e308", "-1e308", "1e15", "9" * 5000, "0x10", "x\x1b[2J", ""]
)
def test_a_number_that_cannot_be_is_refused_by_the_flags_name(value: str):
    for parser, action in FLAGS:
        flag = action.option_strings[0]
        values = [value] * action.nargs if isinstance(action.nargs, int) else [value]
        alone = type(parser)("x", "about", "")
        alone.add_argument(flag, type=action.type, nargs=action.nargs)
        with pytest.raises(CommandLineError, match=flag) as caught:
            alone.parse_args([flag, *values] if len(values) > 1 else [f"{flag}={value}"])
        assert len(str(caught.value)) < 300
