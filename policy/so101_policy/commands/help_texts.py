"""Help texts, made once and kept in the packages, so that `--help` imports nothing.

    python -m so101_policy.commands.help_texts so101_robot.cli so101_policy.cli ...

writes the texts of all commands of these modules. A text comes from the command's argparse parser, or from the
dataclasses of its configuration: what is written under a field is what the help says of its flag.
"""

import dataclasses
import logging
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from draccus.wrappers.docstring import get_attribute_docstring

from so101_policy.command_line.command_flags import HELP_COLUMNS, parts_of
from so101_policy.command_line.command_shell import Command, complain

COMMON = """\
  -v, --verbose                 log more, and show where an error comes from
  --version
  -h, --help
"""
INDENT, COLUMN = 2, 32
"""Of flags and of the words about them."""


class Flag(NamedTuple):
    """A field of a configuration, as a flag."""

    name: str
    """`--robot.port`"""
    value: str
    """Its default as it is typed, or a word for the kind of value."""
    words: str


def flags_of(config: type, prefix: str = "") -> dict[str, Flag]:
    """The flags of a dataclass and of those in its fields: name without dashes -> flag, in order."""
    found: dict[str, Flag] = {}
    for item in dataclasses.fields(config):
        name = f"{prefix}{item.name}"
        factory = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            found |= flags_of(factory, f"{name}.")
            continue
        default = item.default if factory is dataclasses.MISSING else factory()
        found[name] = Flag(f"--{name}", as_typed(default), words_of(config, item.name))
    return found


def words_of(config: type, name: str) -> str:
    """What is written under a field, beside it or above it, in one line."""
    said = get_attribute_docstring(config, name)
    words = said.docstring_below or said.comment_inline or said.comment_above
    return " ".join(words.replace("`", "").split())


def as_typed(value: Any) -> str:
    """A default in the words of YAML, which draccus reads flags with."""
    if value is None or value is dataclasses.MISSING:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f'"[{", ".join(map(as_typed, value))}]"'
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if value in ("", {}) else str(value)


def section(title: str, flags: Iterable[Flag]) -> str:
    """A heading and a line or more for each flag. Raises ValueError for a flag without words."""
    lines = [title]
    for flag in flags:
        if not flag.words:
            raise ValueError(f"{flag.name} has no words: write some under its field")
        lines += _entry(f"{flag.name}={flag.value}", flag.words)
    return "\n".join(lines) + "\n"


def _entry(flag: str, words: str) -> list[str]:
    wrapped = textwrap.wrap(words, HELP_COLUMNS - COLUMN, break_long_words=False, break_on_hyphens=False)
    head = " " * INDENT + flag
    if len(head) < COLUMN - 1:
        return [head.ljust(COLUMN) + wrapped[0], *(" " * COLUMN + line for line in wrapped[1:])]
    return [head, *(" " * COLUMN + line for line in wrapped)]


def by_sections(
    flags: Mapping[str, Flag], first: Sequence[str], sections: Mapping[str, Sequence[str]]
) -> list[str]:
    """All flags of a command in sections: those that matter first, then each below its heading.

    Args:
        flags: name -> flag.
        first: names of those that matter first.
        sections: heading -> beginnings of the names below it; a longer beginning wins.
    """

    def heading(name: str) -> str:
        starts = ((start, title) for title, all_starts in sections.items() for start in all_starts)
        return max((len(start), title) for start, title in starts if name.startswith(start))[1]

    parts = [section("most used", (flags[name] for name in first))]
    for title in sections:
        rest = [flag for name, flag in flags.items() if name not in first and heading(name) == title]
        parts.append(section(title, rest))
    return parts


def paragraph(text: str) -> str:
    """Of whole sentences, filled."""
    return textwrap.fill(" ".join(text.split()), HELP_COLUMNS, break_on_hyphens=False) + "\n"


def texts_of(command: Command) -> Mapping[str, str]:
    """File name -> text, of a command, of its parts and of theirs."""
    if command.parts:
        found = {_file(command.name): _overview(command)}
        for part in command.parts:
            found |= texts_of(part)
        return found
    module = import_module(command.help_from or command.module)
    if not hasattr(module, "parser"):
        return {_file(command.name): checked(command.name, module.help_text())}
    parser = module.parser()
    found = {_file(command.name): checked(command.name, parser.format_help() + "\n" + COMMON)}
    for word, part in parts_of(parser).items():
        name = f"{command.name} {word}"
        found[_file(name)] = checked(name, part.format_help() + "\n" + COMMON)
    return found


def checked(name: str, text: str) -> str:
    """The text. Raises ValueError where it is wider than a terminal."""
    wide = [line for line in text.splitlines() if len(line) > HELP_COLUMNS]
    if wide:
        raise ValueError(f"the help of {name} is wider than {HELP_COLUMNS} columns: {wide[0]!r}")
    return text


def _overview(command: Command) -> str:
    rows = "".join("\n".join(_entry(part.word, part.about)) + "\n" for part in command.parts)
    more = f"Flags and examples of one: {command.name} COMMAND --help"
    examples = f"Examples:\n{command.examples.strip(chr(10))}\n\n" if command.examples else ""
    about = paragraph(f"{command.name}: {command.about}.")
    return checked(command.name, f"{about}\n{examples}commands\n{rows}\n{more}\n\n{COMMON}")


def _file(name: str) -> str:
    return f"{name.replace(' ', '-')}.txt"


def write(modules: Sequence[str]) -> None:
    """Write the texts of all commands of these modules, and remove those of none."""
    for name in modules:
        commands: Sequence[Command] = import_module(name).COMMANDS
        folder: Path = commands[0].help_folder
        texts = {file: text for command in commands for file, text in texts_of(command).items()}
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.txt"):
            if path.name not in texts:
                path.unlink()
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # LeRobot warns at length while it is imported
    try:
        write(sys.argv[1:])
    except ValueError as problem:
        sys.exit(complain("help texts", str(problem)))
