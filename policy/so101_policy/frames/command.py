"""`so101-frames`: the caches of decoded frames, shown, checked and removed.

Exit code 1: a cache is damaged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from so101_policy.cli import FRAMES
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console
from so101_policy.errors import PolicyError
from so101_policy.frames.cache import FrameCache
from so101_policy.frames.dataset import INFO, fingerprint
from so101_policy.frames.folders import (
    MANIFEST,
    PARTIAL,
    Manifest,
    default_folder,
    discard,
    locked,
    read_manifest,
    remove_leftovers,
)


class Entry(NamedTuple):
    """A cache in the cache folder."""

    name: str
    manifest: Manifest | None
    """None: cannot be read."""
    nbytes: int
    """On the disk."""

    @property
    def state(self) -> str:
        """Whether a training on the dataset would find this cache."""
        if self.manifest is None:
            return "damaged"
        root = Path(self.manifest.root)
        if not (root / INFO).is_file():
            return "dataset gone"
        return "current" if fingerprint(root) == self.manifest.fingerprint else "dataset changed"


EXAMPLES = """
  so101-frames list
  so101-frames remove --stale
  so101-frames --folder=/data/frames check
"""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises PolicyError, OSError."""
    options = parser().parse_args(arguments)
    folder: Path = (options.folder or default_folder()).expanduser()
    try:
        return options.run(folder, options)
    except BlockingIOError as error:
        busy = Path(error.filename or folder).stem
        raise PolicyError(f"another process is at work on {busy}; try again later") from error


def show(folder: Path, _: argparse.Namespace) -> int:
    """so101-frames list"""
    console = Console()
    entries = entries_in(folder)
    partial = sorted(folder.glob(f"*{PARTIAL}"))
    if not entries and not partial:
        console.print(f"no frame caches in {folder}", soft_wrap=True)
        return 0
    table = Table(title=str(folder))
    for heading in ("name", "dataset", "cameras", "frames", "MB", "made", "state"):
        table.add_column(heading, no_wrap=heading == "name", overflow="fold")
    for entry in entries:
        about = entry.manifest
        table.add_row(
            entry.name,
            f"{about.repo_id}\n{about.root}" if about else "?",
            "\n".join(camera.rpartition(".")[2] for camera in about.cameras) if about else "?",
            str(about.frames) if about else "?",
            f"{entry.nbytes / 1e6:.0f}",
            about.made.partition("T")[0] if about else "?",
            entry.state,
        )
    for path in partial:
        table.add_row(path.name, "?", "?", "?", f"{_nbytes(path) / 1e6:.0f}", "?", "unfinished")
    console.print(table)
    console.print(f"{sum(entry.nbytes for entry in entries) / 1e6:.0f} MB")
    return 0


def remove(folder: Path, options: argparse.Namespace) -> int:
    """so101-frames remove"""
    if not (options.names or options.all or options.stale):
        raise PolicyError("say which caches: names as `so101-frames list` shows them, --stale, or --all")
    entries = entries_in(folder)
    chosen = entries if options.all else _named(entries, options.names, folder)
    if options.stale:
        chosen = [*chosen, *(e for e in entries if e.state != "current" and e not in chosen)]
    console = Console()
    for entry in chosen:
        with locked(folder / entry.name, wait=False):
            discard(folder / entry.name)
        console.print(f"removed {entry.name}, {entry.nbytes / 1e6:.0f} MB")
    for path in remove_leftovers(folder):
        console.print(f"removed {path.name}, unfinished")
    return 0


def check(folder: Path, options: argparse.Namespace) -> int:
    """so101-frames check"""
    entries = entries_in(folder)
    damaged = 0
    for entry in _named(entries, options.names, folder) if options.names else entries:
        try:
            FrameCache.load(folder / entry.name).check()
            say(f"{entry.name}: whole")
        except PolicyError as error:
            damaged += 1
            say(f"{entry.name}: {error}")
    return int(damaged > 0)


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(FRAMES.name, description="Caches of datasets' decoded frames.", examples=EXAMPLES)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where caches are (default: $SO101_CACHE, else $XDG_CACHE_HOME/so101/frames, else ~/.cache/so101/frames)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show the caches", description="Shows the caches.")
    listing.set_defaults(run=show)
    checking = commands.add_parser(
        "check", help="verify every checksum", description="Verifies every checksum."
    )
    checking.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    checking.set_defaults(run=check)
    removing = commands.add_parser(
        "remove",
        help="remove caches; they are built again when needed",
        description="Removes caches; they are built again when needed.",
    )
    removing.add_argument("names", nargs="*", metavar="NAME", help="which; the beginning of a name will do")
    removing.add_argument("--stale", action="store_true", help="those whose dataset has changed or is gone")
    removing.add_argument("--all", action="store_true", help="all in the folder")
    removing.set_defaults(run=remove)
    return parser


def entries_in(folder: Path) -> list[Entry]:
    """What has the look of a cache: nothing else in the folder is shown, or ever removed."""
    found: list[Entry] = []
    for path in sorted(folder.glob("*x*-*")):
        if path.is_dir() and path.suffix != PARTIAL and (path / MANIFEST).exists():
            try:
                manifest = read_manifest(path)
            except (OSError, ValueError):
                manifest = None
            found.append(Entry(path.name, manifest, _nbytes(path)))
    return found


def _named(entries: Sequence[Entry], names: Sequence[str], folder: Path) -> list[Entry]:
    chosen: dict[str, Entry] = {}
    for name in names:
        fitting = [entry for entry in entries if entry.name.startswith(name)]
        if len(fitting) != 1:
            there = ", ".join(entry.name for entry in fitting or entries) or "none"
            raise PolicyError(
                f"{'several caches begin' if fitting else 'no cache begins'} with {name!r} in {folder}: {there}"
            )
        chosen[fitting[0].name] = fitting[0]
    return list(chosen.values())


def _nbytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(FRAMES.main())
