"""The shell around every command: help and version at once; then one import, one call, and one message for what went
wrong.

    0 done   1 failed, or the answer is no   2 wrong input   130 interrupted

A command is a name and the module that does its work. The module has `main(arguments) -> int`, returns the exit code
and raises what cannot be done. It is imported here and nowhere else, after help, version, unknown flags and old
spellings were dealt with, so it imports what it needs at its top and `--help` never waits for it. Help texts are
generated (`commands/help_texts.py`) and read from the package.

This module must stay light: every command imports it first.
"""

import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Protocol, TextIO, cast

from so101_policy.command_line.command_flags import flags_in, nearest, spelled_now, unknown_flag
from so101_policy.command_line.installed import EXTRA_OF, line_to_install
from so101_policy.errors import CommandLineError, SO101Error, printable
from so101_policy.lerobot_compat import version as lerobot_version

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

DISTRIBUTION = "lerobot_policy_so101"

MOST_SAID = 20_000
"""Characters of a message: a hundred findings fit, and no file of somebody else's floods the terminal."""

VERBOSE = frozenset(("-v", "--verbose", "--verbose=true"))

LOADING = "loading ..."
"""Shown in a terminal while the module is imported: LeRobot and torch take seconds."""

ENDING_SIGNALS = (signal.SIGTERM,) if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP)

PATH_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What a wrong path on the command line ends in. Other errors of the system (a full disk) are no wrong input."""


class Work(Protocol):
    """What a command's module looks like from here."""

    def main(self, arguments: Sequence[str]) -> int:
        """Do it; returns the exit code, raises what cannot be done."""
        ...


@dataclass(frozen=True)
class Command:
    """A command, or one of the commands of a command."""

    name: str
    """As it is typed: `so101-run`, `so101-eval report`."""
    about: str
    """What it does, in one line."""
    help_folder: Path
    """Where its generated help lies."""
    module: str = ""
    """What does the work: has `main(arguments) -> int`. Empty for a command that only has `parts`."""
    help_from: str = ""
    """The module with `parser()` or `help_text()` that its help is generated from; empty: `module`."""
    examples: str = ""
    """In the help of a command that has `parts`."""
    interrupted: str = "interrupted"
    """What is said after Ctrl-C."""
    old_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Old spelling -> today's, where they differ in more than hyphens. Taken with a hint."""
    other_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """LeRobot's spelling -> ours. Taken in silence."""
    not_taken: Mapping[str, str] = field(default_factory=dict[str, str])
    """Flags of LeRobot's commands that this one does not have -> what to do instead."""
    hidden: tuple[str, ...] = ()
    """Flags that work and that the help does not name."""
    flags_of: tuple["Command", ...] = ()
    """Commands whose flags are understood as well."""
    any_flag: bool = False
    """The help does not name all flags: the module says which ones do not exist."""
    ends_on_signals: bool = False
    """SIGTERM and a closed terminal (SIGHUP) end it as Ctrl-C does."""
    one_thread: bool = False
    """Its sums are small: several threads would wait for each other. Unless $OMP_NUM_THREADS says otherwise."""
    parts: tuple["Command", ...] = ()
    """Its commands, if it has any."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """The command; returns its exit code."""
        words = sys.argv[1:] if arguments is None else list(arguments)
        name, interrupted = self.name, self.interrupted
        verbose = not VERBOSE.isdisjoint(words)
        try:
            if "-h" in words or "--help" in words:
                print(self.help_for(words), end="")
                return _flushed(OK)
            if "--version" in words:
                print(f"{self.name} {version()}")
                return _flushed(OK)
            chosen = self.chosen(words)
            if chosen is None:
                print(self.help_text(), end="")
                return _flushed(OK)
            interrupted = chosen.interrupted
            return _flushed(
                chosen.run(words[words.index(chosen.word) + 1 :] if self.parts else words, verbose)
            )
        except KeyboardInterrupt:
            return complain(name, interrupted, INTERRUPTED)
        except BrokenPipeError as problem:
            return FAILED if nobody_reads() else self._failed(problem, verbose)
        except Exception as problem:  # the border to a person: one message, whatever it is
            return self._failed(problem, verbose)

    def run(self, arguments: Sequence[str], verbose: bool = False) -> int:
        """Without the border around it: raises what cannot be done."""
        now, hints = spelled_now(arguments, self.old_names, self.other_names)
        for hint in hints:
            complain(self.name, hint)
        self.check_flags(now)
        _log_to_terminal(logging.INFO if verbose else logging.ERROR)
        if self.ends_on_signals:
            _end_as_on_ctrl_c()
        if doubt := lerobot_version.check():
            complain(self.name, doubt)
        if self.one_thread:
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
        with _threads_speak(self.name, verbose):
            return _imported(self.module).main(now)

    def chosen(self, words: Sequence[str]) -> "Command | None":
        """The part that is asked for, or itself if it has none; None: no part is named. Raises CommandLineError."""
        if not self.parts:
            return self
        word = next((word for word in words if not word.startswith("-")), None)
        by_word = {part.word: part for part in self.parts}
        if word is not None and word not in by_word:
            raise CommandLineError(f"there is no command {word!r}; possible: {', '.join(by_word)}")
        if word is None and (flag := unknown_flag(words, ("--verbose",))):
            raise CommandLineError(f"{flag} needs a command before it; possible: {', '.join(by_word)}")
        return by_word[word] if word else None

    @property
    def word(self) -> str:
        """The last word of its name."""
        return self.name.split()[-1]

    def check_flags(self, arguments: Sequence[str]) -> None:
        """Raises CommandLineError for a flag that does not exist, with the nearest that does."""
        known = {"--verbose", *self.hidden}
        for command in (self, *self.flags_of):
            for path in command.help_folder.glob(f"{command.name.replace(' ', '-')}*.txt"):
                known |= flags_in(path.read_text(encoding="utf-8"))
        flag = None if self.any_flag else unknown_flag(arguments, known)
        if flag is not None:
            instead = self.not_taken.get(flag)
            hint = f": {instead}" if instead else nearest(flag, known)
            raise CommandLineError(f"there is no flag {flag}{hint} (see {self.name} --help)")

    def help_for(self, words: Sequence[str]) -> str:
        """The help of the deepest command that the words name."""
        name = self.name
        for word in words:
            if not word.startswith("-") and self._help_path(f"{name} {word}").is_file():
                name = f"{name} {word}"
        return self._help_path(name).read_text(encoding="utf-8")

    def help_text(self) -> str:
        """Its own help."""
        return self._help_path(self.name).read_text(encoding="utf-8")

    def _help_path(self, name: str) -> Path:
        return self.help_folder / f"{name.replace(' ', '-').replace('/', '-')}.txt"

    def _failed(self, problem: Exception, verbose: bool) -> int:
        if verbose:
            say("".join(traceback.format_exception(problem)), sys.stderr)
        return complain(self.name, in_words(problem), exit_code(problem))


def complain(name: str, text: str, code: int = FAILED) -> int:
    """One message to standard error, with nothing in it that steers a terminal; returns the exit code."""
    more = f" ... ({len(text) - MOST_SAID} more characters)" if len(text) > MOST_SAID else ""
    say(f"{name}: {text[:MOST_SAID]}{more}", sys.stderr)
    return code


def say(text: str, to: TextIO | None = None) -> None:
    """Lines for a person, with nothing in them that steers a terminal; to standard output unless told otherwise."""
    print(printable(text), file=to or sys.stdout, flush=True)


def in_words(problem: BaseException) -> str:
    """An error as a person should read it."""
    if isinstance(problem, SO101Error):
        return str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.filename}: {problem.strerror}" if problem.filename else problem.strerror
    if isinstance(problem, ModuleNotFoundError) and not str(problem.name).startswith("so101"):
        package = str(problem.name).partition(".")[0]
        line = f": {line_to_install(EXTRA_OF[package])}" if package in EXTRA_OF else ""
        return f"this needs the package {problem.name!r}, which is not installed{line}"
    return f"{type(problem).__name__}: {problem} (an unexpected error; --verbose shows where)"


def exit_code(problem: BaseException) -> int:
    """Of a command that ended with this error."""
    if isinstance(problem, SO101Error):
        return problem.exit_code
    return WRONG_INPUT if isinstance(problem, PATH_ERRORS) else FAILED


class _Printable(logging.Formatter):
    """Log lines have names in them that came from files."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _log_to_terminal(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def version() -> str:
    """Of the installed distribution."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "(not installed)"


def _imported(module: str) -> Work:
    """The module that does the work: the one import of this package that waits until it is needed."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"\r{LOADING}", end="", file=sys.stderr, flush=True)
    try:
        return cast(Work, import_module(module))
    except ImportError as problem:
        if blamed := lerobot_version.blamed(problem):
            raise blamed from problem
        raise
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _flushed(code: int) -> int:
    """A reader that went away (`| head`) is noticed here, and not while the interpreter shuts down."""
    sys.stdout.flush()
    return code


def nobody_reads() -> bool:
    """Standard output is a pipe whose other end is closed. Then it is put out of the way: at exit it is flushed."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return False
    if sys.platform != "win32":  # there, only a closed pipe ends a write like this
        poll = select.poll()
        poll.register(output, select.POLLOUT)
        if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


@contextmanager
def _threads_speak(name: str, verbose: bool) -> Generator[None]:
    """An error that ends a thread (a tracker's that writes to a full disk, say) is one line too, and no traceback."""

    def say_it(failed: threading.ExceptHookArgs) -> None:
        if verbose:
            say(
                "".join(traceback.format_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)),
                sys.stderr,
            )
        where = failed.thread.name if failed.thread is not None else "a thread"
        complain(name, f"{where}: {in_words(failed.exc_value or failed.exc_type())}")

    before, threading.excepthook = threading.excepthook, say_it
    try:
        yield
    finally:
        threading.excepthook = before


def _end_as_on_ctrl_c() -> None:
    """What was begun is undone, torque is as it was found."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in ENDING_SIGNALS:
            signal.signal(number, stop)
