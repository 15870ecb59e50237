"""Flags as all commands spell them: underscores, LeRobot's names where LeRobot has one, and old spellings that are
still taken."""

import argparse
import math
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, cast

from so101_policy.errors import CommandLineError, shown

HELP_COLUMNS = 79
"""Width of every help text: it fits a terminal of 80 columns."""

_FLAG = re.compile(r"--[a-z][\w.-]*")


MOST = 10**12
"""Of a number on a command line that has no closer limit: no count, size, time or seed is larger."""


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`: for `add_argument(type=...)`."""

    least: int = -MOST
    most: int = MOST

    def __call__(self, text: str) -> int:
        """Raises ArgumentTypeError."""
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not self.least <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(
                f"{shown(text)}: expected a whole number from {self.least} to {self.most}"
            )
        return int(text)


@dataclass(frozen=True)
class Number:
    """A finite number from `least` to `most`: for `add_argument(type=...)`."""

    least: float = -MOST
    most: float = MOST

    def __call__(self, text: str) -> float:
        """Raises ArgumentTypeError."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.least <= value <= self.most:
            raise argparse.ArgumentTypeError(
                f"{shown(text)}: expected a number from {self.least:g} to {self.most:g}"
            )
        return value


def spelled_now(
    arguments: Iterable[str], old_names: Mapping[str, str], other_names: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The arguments in today's spelling, and a hint for each that was in an old one.

    Args:
        arguments: `--flag=value`, `--flag value` and others, which stay as they are.
        old_names: what a flag was called before; there is a hint. Hyphens for underscores need no entry.
        other_names: names that LeRobot's commands have for a flag; taken in silence.
    """
    now: list[str] = []
    hints: dict[str, str] = {}
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if _FLAG.fullmatch(flag):
            underscored = flag[:2] + flag[2:].replace("-", "_")
            new = old_names.get(underscored, underscored)
            if new != flag:
                hints[flag] = f"{flag} is spelled {new} now"
            flag = other_names.get(new, new)
        now.append(f"{flag}{equals}{value}")
    return now, list(hints.values())


def flags_in(text: str) -> set[str]:
    """The flags that a help text names at the beginning of a line, alone or after others."""
    lines = re.findall(r"^ {1,4}(-.*)$", text, re.MULTILINE)
    return {flag for line in lines for flag in _FLAG.findall(re.split(r"\s{2}", line)[0])}


def unknown_flag(arguments: Iterable[str], known: Collection[str]) -> str | None:
    """The first argument that has the look of a flag and is none."""
    flags = (argument.partition("=")[0] for argument in arguments)
    return next((flag for flag in flags if flag.startswith("--") and flag not in known), None)


def nearest(flag: str, flags: Collection[str]) -> str:
    """`; did you mean --this?`: the same last part elsewhere, or a like spelling of all or of the last part; or
    nothing."""

    def last(name: str) -> str:
        return name.lstrip("-").rpartition(".")[2]

    ordered = sorted(flags)
    close = [known for known in ordered if last(known) == last(flag)]
    close = close or get_close_matches(flag, ordered, n=1, cutoff=0.7)
    if not close:
        alike = get_close_matches(last(flag), [last(known) for known in ordered], n=1, cutoff=0.6)
        close = [known for known in ordered if last(known) in alike]
    return f"; did you mean {close[0]}?" if close else ""


class Parser(argparse.ArgumentParser):
    """argparse with one message for a mistake, whole flags only, and help that fits 80 columns."""

    def __init__(self, prog: str, description: str = "", examples: str = "", **options: Any) -> None:
        text = f"{description}\n\nExamples:\n{examples.strip(chr(10))}" if examples else description
        options.setdefault("formatter_class", _Formatter)
        options.setdefault("add_help", False)
        super().__init__(prog, description=text, allow_abbrev=False, **options)
        self.add_argument("-v", "--verbose", action="store_true", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raises CommandLineError."""
        raise CommandLineError(f"{message} (`{self.prog} --help` shows what is possible)")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Of a fixed width: the text is made once and not for a terminal. Flags are shown as `--flag=VALUE`, as for the
    commands without argparse; the usage has what must be given."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=HELP_COLUMNS)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, [action for action in actions if action.required], [], prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        text = super()._format_action_invocation(action)
        return text.replace(" ", "=", 1) if action.option_strings and action.nargs is None else text

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return {int: "N", Whole: "N", float: "X", Number: "X", Path: "PATH"}.get(
            cast(type, action.type if isinstance(action.type, type) else type(action.type)), "VALUE"
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def parts_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's sub-commands, by name."""
    choices = [action.choices for action in parser._actions if isinstance(action.choices, Mapping)]
    found: dict[str, Any] = {name: part for each in choices for name, part in each.items()}
    return {name: part for name, part in found.items() if isinstance(part, argparse.ArgumentParser)}
