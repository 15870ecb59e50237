"""so101-run with LeRobot's own OpenCVCamera, on USB cameras that fail while the arm is driven."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from checkpoints import thin
from experiments.faults.webcams import Does, UsbHost, Webcam
from so101_robot.cli import RUN
from so101_robot.faults import supervisor
from so101_robot.faults.supervisor import Rule
from so101_robot.runs.log import read_ticks


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[UsbHost]:
    one = UsbHost(tmp_path)
    one.plug_in(Webcam(seed=1), number=0, port="1.1")
    one.plug_in(Webcam(seed=2), number=2, port="1.2")
    with one.installed():
        yield one


def arguments(checkpoint: Path, out: Path, *more: str) -> list[str]:
    """A run on the mock arm in real time, with two USB cameras."""
    how = "type: opencv, width: 96, height: 96, fps: 30, warmup_s: 0"
    cameras = f"front: {{{how}, index_or_path: 0}}, wrist: {{{how}, index_or_path: 2}}"
    return [
        f"--policy.path={checkpoint}",
        "--policy.fps=30",
        "--robot.port=mock",
        f"--robot.cameras={{{cameras}}}",
        f"--output_dir={out}",
        "--dashboard=off",
        "--approach_speed=0",
        "--preflight.skip=[ranges]",
        *more,
    ]


def ticks(out: Path) -> list[dict[str, Any]]:
    file = out / "ticks.jsonl"
    return [tick for tick in read_ticks(file) if tick.get("phase") == "run"] if file.exists() else []


def until(what: Callable[[], object]) -> bool:
    """Wait for it; false if it does not come on a machine that is busy."""
    deadline_s = time.monotonic() + 60.0
    while not what() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return bool(what())


@contextmanager
def meanwhile(happen: Callable[[], None]) -> Iterator[None]:
    """Let something happen beside a run."""
    thread = threading.Thread(target=happen)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize(
    ("does", "for_s"),
    [
        ("fails", 0.4),
        pytest.param("raises", 1.5, marks=pytest.mark.slow),
        pytest.param("gives nothing", 1.5, marks=pytest.mark.slow),
        pytest.param("another size", 1.5, marks=pytest.mark.slow),
        pytest.param("hangs", 1.5, marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_when_a_camera_fails_for_a_while(
    checkpoint: Path,
    tmp_path: Path,
    host: UsbHost,
    capfd: pytest.CaptureFixture[str],
    does: Does,
    for_s: float,
):
    wrist, out = host.cameras[host.dev / "video2"], tmp_path / "run"
    drives_again: list[bool] = []

    def fail() -> None:
        until(lambda: len(ticks(out)) > 10)
        last = ticks(out)[-1]["frames"]["wrist"]["sequence"]
        wrist.does = does
        time.sleep(for_s)
        wrist.does = "delivers"
        drives_again.append(
            until(
                lambda: (
                    wrist.opened > 1
                    and ticks(out)[-1]["mode"] == "running"
                    and ticks(out)[-1]["frames"]["wrist"]["sequence"] > last
                )
            )
        )
        if drives_again[0]:
            os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(fail):
        code = RUN.main(arguments(checkpoint, out, "--duration_s=60"))
    error = capfd.readouterr().err
    assert drives_again == [True]
    assert code == 0, error
    assert "Traceback" not in error
    assert wrist.released_in_a_read == 0


@pytest.mark.parametrize("does", ["fails", pytest.param("hangs", marks=pytest.mark.slow)])
def test_a_run_ends_with_the_cameras_name_when_it_is_gone_for_good(
    checkpoint: Path,
    tmp_path: Path,
    host: UsbHost,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    does: Does,
):
    rule = Rule(hold_s=1.5)
    monkeypatch.setitem(supervisor.FAULT_RULES, "camera gone", rule)  # pyright: ignore[reportArgumentType]
    wrist, out = host.cameras[host.dev / "video2"], tmp_path / "run"

    def fail() -> None:
        until(lambda: len(ticks(out)) > 10)
        wrist.does = does
        if does == "fails":
            host.unplug(wrist)

    with meanwhile(fail):
        code = RUN.main(arguments(checkpoint, out, "--duration_s=60"))
    error = capfd.readouterr().err
    assert code == 1
    assert "so101-run: camera wrist stopped delivering; check its cable or hub" in error
    assert "Traceback" not in error
    assert "torque" not in error  # home, and let go
    assert wrist.released_in_a_read == 0


def test_a_camera_that_is_too_slow_does_not_pass_the_preflight(
    checkpoint: Path, tmp_path: Path, host: UsbHost, capfd: pytest.CaptureFixture[str]
):
    host.cameras[host.dev / "video2"].fps = 8.0
    assert RUN.main(arguments(checkpoint, tmp_path / "run")) == 2
    error = capfd.readouterr().err
    assert re.search(r"cameras, wrist: [78]\.\d frames/s, .*expected: 30 frames/s, as configured", error), (
        error
    )


def test_two_names_for_one_camera_are_refused(
    checkpoint: Path, tmp_path: Path, host: UsbHost, capfd: pytest.CaptureFixture[str]
):
    two = arguments(checkpoint, tmp_path / "run")
    one = [flag.replace("index_or_path: 2", "index_or_path: 0") for flag in two]
    assert one != two
    assert RUN.main(one) == 2
    error = capfd.readouterr().err
    assert f"cameras 'front' and 'wrist' are the same device, {host.dev / 'video0'}" in error
