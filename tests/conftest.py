"""For all rooms."""

import functools
import gc
import inspect
import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Two threads that wait for each other on arrays of a few numbers cost more than they save, and `make test` uses all
# cores as it is. Here, before NumPy and torch are imported; what the tests start inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first example of a compiled function compiles it, and a busy machine stands still now and then: hypothesis' limit
# of 0.2 s an example says nothing about our code. Each test as a whole has a limit (pyproject.toml).
settings.register_profile("so101", deadline=None)
settings.load_profile("so101")

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: tests that press it, and
# the programs that they start, would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_TIME = (
    "test_bench.py",
    "test_calibrate_command.py",
    "test_scheduler.py",
    "test_conformance_lerobot.py",
    "test_conformance_sdk.py",
    "test_dashboard.py",
    "test_golden_traces.py",
    "test_killed.py",
    "test_lerobot_accepts.py",
    "test_lerobot_rollout.py",
    "test_link.py",
    "test_lockstep.py",
    "test_port_lock.py",
    "test_prompts.py",
    "test_pty.py",
    "test_realtime.py",
    "test_reconnect.py",
    "test_reconnector.py",
    "test_so101_mock_cli.py",
    "test_so101_run_port.py",
    "test_so101_run_cameras.py",
    "test_watchdog.py",
)
"""Tests that measure real time, send signals to their own process, or open pseudo-terminals. The name of a terminal
(/dev/pts/5) is given again as soon as it is closed, so a test that waits for its own to come back must not run beside
one that opens another. (A test that only opens one may run beside all others that do not wait for theirs.)"""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Half a million objects of torch and LeRobot stay to the end: they need not be looked through again and again.
    (Tests in real time, which run alone, have Python's own settings.)"""
    if not hasattr(session.config, "workerinput"):
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def _found_out_once() -> Generator[None]:
    """draccus looks up which arguments argparse's actions take for each of a thousand fields whenever flags are parsed,
    which the tests do a thousand times."""
    asked = inspect.getfullargspec
    with pytest.MonkeyPatch.context() as patch:
        remembered = functools.cache(asked)
        patch.setattr(inspect, "getfullargspec", lambda f: remembered(f) if inspect.isclass(f) else asked(f))
        yield


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Temporary files of tests, and of what they start, are where pytest removes them. (The short name leaves room for
    the names of sockets.)"""
    before, cached = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.mktemp("t"))
    yield
    os.environ.pop("TMPDIR")
    tempfile.tempdir = cached
    if before is not None:
        os.environ["TMPDIR"] = before


def pytest_configure() -> None:
    """A list of names that are gone would protect nothing."""
    gone = [name for name in REAL_TIME if not any(Path(__file__).parent.rglob(name))]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py lists tests that do not exist: {', '.join(gone)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A part of the tests that -m asks for does not import the files of the other: that takes ten seconds."""
    words = config.getoption("markexpr", "").split()
    if "real_time" not in words or collection_path.suffix != ".py" or "or" in words:
        return None
    wants = "not" not in words[words.index("real_time") - 1 : words.index("real_time")]
    is_test = collection_path.name.startswith("test_")
    return True if is_test and wants != (collection_path.name in REAL_TIME) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs most files side by side, and then these, one after the other."""
    for item in items:
        if item.path.name in REAL_TIME:
            item.add_marker(pytest.mark.real_time)
