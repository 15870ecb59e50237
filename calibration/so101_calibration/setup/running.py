"""Commands that do the work of a step, each a process of its own in the same terminal."""

import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from so101_policy.command_line.command_shell import ENDING_SIGNALS, say
from so101_policy.command_line.next_steps import GUIDED, as_typed


def run(arguments: Sequence[str], folder: Path) -> int:
    """Show a command, run it, and return its exit code.

    Ctrl-C is the command's: it ends as it always does, the arm safe, and this waits for it. Other requests to end are
    handed on, once, and a second Ctrl-C is never made of the first.

    Args:
        arguments: the command and its flags.
        folder: where it runs.

    Raises:
        KeyboardInterrupt: one of them came; the command is over.
    """
    line = subprocess.list2cmdline(list(arguments))
    say(f"\n$ {line}")
    command = as_typed(arguments[0])
    program = str((Path.cwd() / command).absolute()) if "/" in command else command
    words, around = [program, *arguments[1:]], {**os.environ, GUIDED: "1"}
    with _handed_on() as requests, subprocess.Popen(words, cwd=folder, env=around) as process:
        requests.process = process
        code = process.wait()
    if requests.came:
        raise KeyboardInterrupt
    return code


class _Requests:
    """To end, while a command runs."""

    def __init__(self) -> None:
        self.came = False
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first, self.came = not self.came, True
        if number != signal.SIGINT and first and self.process is not None:
            self.process.send_signal(number)  # Ctrl-C has reached it already, by the terminal


@contextmanager
def _handed_on() -> Generator[_Requests]:
    requests = _Requests()
    before = {number: signal.signal(number, requests) for number in (signal.SIGINT, *ENDING_SIGNALS)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
