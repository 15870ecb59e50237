"""A process that has imported the libraries once and forks for every run of pytest: `python forks.py`.

Importing torch, LeRobot and MuJoCo takes ten seconds, a test that notices a breakage often less than one. Of this
project nothing is imported before the fork, so a run sees the files that are there when it begins.

It reads one request a line from its standard input and answers with one line, both JSON:
`{"root": folder, "arguments": [...], "environment": {...}, "timeout_s": 600}` -> `{"code": 1, "output": "..."}`; the
code is that of pytest, or null where it was not over in time.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn

LIBRARIES = (
    "numba",
    "mujoco",
    "scipy.stats",
    "torch",
    "cv2",
    "hypothesis",
    "draccus",
    "lerobot.datasets.lerobot_dataset",
    "lerobot.policies.act.modeling_act",
    "lerobot.scripts.lerobot_train",
)
"""What most tests import; one that is not there, or fails, is left to the test that wants it."""

IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Plugins of pytest that the libraries have imported already are not rewritten."""


def serve() -> None:
    """Answer until there are no more requests."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries that print would spoil the answers
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if child == 0:
                _run(request, output.fileno())
            code = _wait(child, request["timeout_s"])
            output.seek(0)
            text = output.read().decode(errors="replace")
        print(json.dumps({"code": code, "output": text}), file=answers, flush=True)


def _run(request: dict[str, Any], output: int) -> NoReturn:
    """Pytest, in the forked process, which ends with it."""
    code = 3  # of pytest, for an internal error
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = sys.stderr
        os.chdir(request["root"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
        pytest = importlib.import_module("pytest")
        code = int(pytest.main([*IMPORTED, *request["arguments"]]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait(child: int, timeout_s: float) -> int | None:
    """The exit code; None where it had to be killed, with all that it began."""
    end_s = time.monotonic() + timeout_s
    try:
        while time.monotonic() < end_s:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
    except KeyboardInterrupt:  # the run is a session of its own and did not hear it
        _kill(child)
        raise
    _kill(child)
    return None


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    serve()
