"""`so101-cache`: all that this package keeps and can make again: where it is, how large it is, and away with it.

Nothing else is ever removed: recordings, trainings, reports and calibrations are no caches.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from so101_policy.cli import CACHE
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import OK, say
from so101_policy.command_line.console import Console
from so101_policy.files.places import VARIABLE, engines_folder, frames_folder
from so101_policy.frames.command import Entry, entries_in
from so101_policy.frames.folders import PARTIAL, discard, locked, remove_leftovers

ENGINES = ("*.onnx", "fastest.json")
"""What `inference/` leaves in its folder."""

EXAMPLES = """
  so101-cache list
  so101-cache clean               # what no training or run would find any more
  so101-cache clean --all         # all of it; it is made again when needed
"""


class Place(NamedTuple):
    """A cache."""

    what: str
    folder: Path
    files: int
    nbytes: int
    useless: int
    """Of these bytes: of no use to anybody any more."""
    again: str
    """What makes it again."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises OSError."""
    options = parser().parse_args(arguments)
    return options.run(options)


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        CACHE.name, description="What is kept to save time, and can be made again.", examples=EXAMPLES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="where it is, and how large", description="Shows the caches.")
    listing.set_defaults(run=show)
    cleaning = commands.add_parser(
        "clean",
        help="remove what is of no use any more, or all of it",
        description="Removes caches. What is in use at the moment stays.",
    )
    cleaning.add_argument("--all", action="store_true", help="also what would still be used")
    cleaning.set_defaults(run=clean)
    return parser


def show(_: argparse.Namespace) -> int:
    """so101-cache list"""
    table = Table(title="caches")
    for heading in ("what", "where", "files", "MB", "of no use", "made again by"):
        table.add_column(
            heading, overflow="fold", justify="right" if heading in ("files", "MB", "of no use") else "left"
        )
    for place in places():
        useless = f"{place.useless / 1e6:.0f}" if place.useless else "–"
        table.add_row(
            place.what,
            _tilde(place.folder),
            str(place.files),
            f"{place.nbytes / 1e6:.0f}",
            useless,
            place.again,
        )
    Console().print(table)
    say(
        f"{VARIABLE} or XDG_CACHE_HOME puts them elsewhere. so101-cache clean removes what is of no use, "
        "--all everything."
    )
    return OK


def clean(options: argparse.Namespace) -> int:
    """so101-cache clean"""
    freed = 0
    folder = frames_folder()
    for entry in entries_in(folder):
        if not (options.all or _useless(entry)):
            continue
        try:
            with locked(folder / entry.name, wait=False):
                discard(folder / entry.name)
        except BlockingIOError:
            say(f"{entry.name} is in use and stays")
            continue
        freed += entry.nbytes
    freed += sum(_nbytes(path) for path in folder.glob(f"*{PARTIAL}"))
    remove_leftovers(folder)
    if options.all:
        for path in _engines():
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    say(f"{freed / 1e6:.0f} MB removed")
    return OK


def places() -> list[Place]:
    """All caches, also those that are empty."""
    folder = frames_folder()
    entries = entries_in(folder)
    unfinished = [_nbytes(path) for path in folder.glob(f"*{PARTIAL}")]
    engines = [path.stat().st_size for path in _engines()]
    return [
        Place(
            "decoded frames of datasets",
            folder,
            len(entries) + len(unfinished),
            sum(entry.nbytes for entry in entries) + sum(unfinished),
            sum(entry.nbytes for entry in entries if _useless(entry)) + sum(unfinished),
            "so101-train",
        ),
        Place("exported policies", engines_folder(), len(engines), sum(engines), 0, "so101-run, so101-eval"),
    ]


def _useless(entry: Entry) -> bool:
    return entry.state != "current"


def _engines() -> list[Path]:
    return sorted(path for pattern in ENGINES for path in engines_folder().glob(pattern) if path.is_file())


def _nbytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _tilde(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


if __name__ == "__main__":
    sys.exit(CACHE.main())
