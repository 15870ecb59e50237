"""The watchdog as a process beside runners that are killed, hang, raise or say goodbye, on a pseudo-terminal."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pexpect
import pytest

from so101_robot.bus import registers
from so101_robot.bus.identity import Identity
from so101_robot.bus.port_lock import PortLock
from so101_robot.bus.units import Scale
from so101_robot.errors import ConfigError, RobotError
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.mock.serve.terminal import PtyServer
from so101_robot.watchdog import process as watchdog_process
from so101_robot.watchdog import runner as watched
from so101_robot.watchdog.client import Watchdog, WatchdogConfig, job_for
from so101_robot.watchdog.process import Job
from so101_robot.watchdog.slow_park import AT_HOME_STEPS, ArmFacts

PATIENCE_S = 60.0
HOME = (2048, 1900, 2200, 2100, 2048, 2060)
ROBOT = str(Path(watchdog_process.__file__).parents[2])

RUNNER = """
import os, sys, time
from dataclasses import replace
from so101_robot.bus.small_bus import GOAL_POSITION, SmallBus
from so101_robot.bus.port_lock import open_locked
from so101_robot.watchdog.client import Watchdog
from so101_robot.watchdog.process import Job

job = replace(Job.from_json(sys.argv[1]), runner_pid=os.getpid())
how, locked = sys.argv[2], sys.argv[3] == "locked"
with Watchdog(job) as dog:
    print(dog.pid, flush=True)
    if locked:
        handle, link = open_locked(job.port)
        bus = SmallBus(link)
        bus.write_all(GOAL_POSITION, dict.fromkeys(range(1, 7), 2100))
    if how == "unarmed":
        time.sleep(60)
    for tick in range(100_000):
        dog.beat()
        if locked:
            bus.write_all(GOAL_POSITION, dict.fromkeys(range(1, 7), 2100))
        if tick == 2:
            print("drives", flush=True)
            if how == "goodbye":
                break
            if how == "raise":
                raise SystemExit(3)
        time.sleep(0.01)
"""


class Terminal:
    """The arm in real time, in a thread."""

    def __init__(self) -> None:
        self.arm = MockArm(MockConfig(), plant=IdealPlant(raw_steps=2090))
        self.arm.advance_to(10_000)
        self.server = PtyServer(self.arm, pace=False)
        self._stop = False
        self._thread = threading.Thread(target=self.server.serve, args=(lambda: self._stop,))
        self._thread.start()

    def get(self, name: str) -> list[int]:
        return [self.arm.servos.get(index, name) for index in range(6)]

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.server.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def job(terminal: Terminal, tmp_path: Path) -> Job:
    rows = list(terminal.arm.calibration_fields.values())
    arm = ArmFacts(
        HOME,
        tuple(row["range_min"] for row in rows),
        tuple(row["range_max"] for row in rows),
        tuple(
            Identity(registers.homing_word(row["homing_offset"]), row["range_min"], row["range_max"])
            for row in rows
        ),
    )
    return Job(
        terminal.server.path, os.getpid(), "hold", arm, 0.0, True, 900.0, True, str(tmp_path / "dog.json")
    )


class Runner:
    """A runner in a process of its own, which drives the arm when this returns."""

    def __init__(self, job: Job, how: str = "drive", locked: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, job.to_json(), how, "locked" if locked else "free"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ROBOT},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.dog = int(self.process.stdout.readline())
        self.dog_fd = os.pidfd_open(self.dog)
        if how != "unarmed":
            assert self.process.stdout.readline() == "drives\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.dog_fd)


@pytest.fixture
def start(job: Job) -> Iterator[Callable[..., Runner]]:
    runners: list[Runner] = []

    def begin(job: Job, *how: Any, **more: Any) -> Runner:
        runners.append(Runner(job, *how, **more))
        return runners[-1]

    yield begin
    for runner in runners:
        runner.close()


def await_end(runner: Runner) -> None:
    """Until the watchdog is gone."""
    until(lambda: not is_running(runner.dog))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def report(job: Job) -> dict[str, Any]:
    return json.loads(Path(job.report).read_text())


@pytest.mark.parametrize("seed", range(4))
def test_a_runner_that_is_killed_at_any_moment_leaves_an_arm_that_is_parked(
    terminal: Terminal, job: Job, start: Callable[..., Runner], seed: int
):
    job = replace(job, action="park")
    runner = start(job)
    time.sleep(random.Random(seed).uniform(0.0, 0.1))
    runner.kill()
    await_end(runner)
    assert report(job)["text"] == "parked and released"
    assert report(job)["fate"] == "died"
    assert np.abs(np.subtract(terminal.get("Present_Position"), HOME)).max() <= AT_HOME_STEPS
    assert terminal.get("Torque_Enable") == [0] * 6


def test_or_held(terminal: Terminal, job: Job, start: Callable[..., Runner]):
    runner = start(job)
    runner.kill()
    await_end(runner)
    assert (report(job)["done"], report(job)["text"]) == (True, "held")
    assert terminal.get("Torque_Enable") == [1] * 6
    assert terminal.get("Goal_Position") == [2100] * 6


def test_or_let_go(terminal: Terminal, job: Job, start: Callable[..., Runner]):
    runner = start(replace(job, action="release"))
    runner.kill()
    await_end(runner)
    assert terminal.get("Torque_Enable") == [0] * 6


def test_a_runner_that_says_goodbye_is_left_in_peace(
    terminal: Terminal, job: Job, start: Callable[..., Runner]
):
    runner = start(replace(job, action="release"), "goodbye")
    assert runner.process.wait() == 0
    await_end(runner)
    assert terminal.get("Torque_Enable") == [1] * 6
    assert not Path(job.report).exists()


def test_a_runner_that_ends_by_an_exception_is_not(
    terminal: Terminal, job: Job, start: Callable[..., Runner]
):
    runner = start(replace(job, action="release", hang_s=0.2), "raise")
    assert runner.process.wait() == 3
    await_end(runner)
    assert terminal.get("Torque_Enable") == [0] * 6
    assert report(job)["fate"] == "died"


def test_before_the_arm_was_driven_there_is_nothing_to_do(job: Job, start: Callable[..., Runner]):
    runner = start(replace(job, action="release"), "unarmed")
    runner.kill()
    await_end(runner)
    assert not Path(job.report).exists()


def test_a_runner_that_hangs_is_killed_first(terminal: Terminal, job: Job, start: Callable[..., Runner]):
    job = replace(job, action="release", hang_s=0.5)
    runner = start(job)
    runner.process.send_signal(signal.SIGSTOP)
    assert runner.process.wait() == -signal.SIGKILL
    await_end(runner)
    assert report(job)["fate"] == "hung"
    assert report(job)["done"]
    assert report(job)["silent_s"] >= 0.5
    assert terminal.get("Torque_Enable") == [0] * 6


def test_unless_it_shall_live(terminal: Terminal, job: Job, start: Callable[..., Runner]):
    job = replace(job, action="release", hang_s=0.5, kill_hung=False)
    runner = start(job)
    runner.process.send_signal(signal.SIGSTOP)
    await_end(runner)
    assert runner.process.poll() is None
    assert not report(job)["done"]
    assert terminal.get("Torque_Enable") == [1] * 6


def test_it_is_deaf_to_signals(terminal: Terminal, job: Job, start: Callable[..., Runner]):
    runner = start(replace(job, action="release"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(runner.dog, number)
    runner.kill()
    await_end(runner)
    assert terminal.get("Torque_Enable") == [0] * 6


@pytest.mark.parametrize("how", ["Ctrl-C", "closed"])
def test_it_outlives_the_terminal(terminal: Terminal, job: Job, how: str):
    """The runner dies of the signal here; the watchdog is in another session."""
    job = replace(job, action="release")
    shell = pexpect.spawn(
        sys.executable,
        ["-c", RUNNER, job.to_json(), "drive", "locked"],
        env={**os.environ, "PYTHONPATH": ROBOT},
    )
    shell.expect("drives", timeout=PATIENCE_S)
    if how == "Ctrl-C":
        shell.sendintr()
        shell.expect(pexpect.EOF)
    shell.close(force=True)
    until(Path(job.report).exists)
    assert report(job)["done"]
    assert terminal.get("Torque_Enable") == [0] * 6


def test_a_port_that_another_program_has_by_then_is_left_alone(
    terminal: Terminal, job: Job, start: Callable[..., Runner]
):
    job = replace(job, action="release")
    with PortLock(job.port, "so101-run"):
        runner = start(job, locked=False)
        runner.kill()
        await_end(runner)
    assert "in use by so101-run" in report(job)["text"]
    assert not report(job)["done"]


def test_a_runner_goes_on_without_a_watchdog_that_was_killed(job: Job, caplog: pytest.LogCaptureFixture):
    with Watchdog(job) as dog:
        dog.beat()
        assert dog.alive
        os.kill(dog.pid, signal.SIGKILL)
        until(lambda: not dog.alive)
        for _ in range(3):
            dog.beat()
    assert [record.message[:20] for record in caplog.records] == ["the watchdog is gone"]


def test_a_beat_is_a_trifle(job: Job):
    with Watchdog(job) as dog:
        fastest_s = 1.0
        for _ in range(200):
            begin_s = time.perf_counter()
            dog.beat()
            fastest_s = min(fastest_s, time.perf_counter() - begin_s)
    assert fastest_s < 50e-6


def test_it_is_small_and_loads_nothing_heavy(job: Job):
    with Watchdog(job) as dog:
        status = Path(f"/proc/{dog.pid}/status").read_text()
        maps = Path(f"/proc/{dog.pid}/maps").read_text()
    resident_kb = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kb < 40_000
    assert not any(name in maps for name in ("numpy", "torch", "mujoco"))


def test_a_watchdog_that_cannot_start_says_so(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RobotError, match=r"did not start .*--watchdog.on_death=off"), Watchdog(job):
        pass


def test_the_job_survives_the_pipe(job: Job):
    assert Job.from_json(job.to_json()) == job


def a_robot(mock: object = None) -> Any:
    """What `job_for` asks of an SO101."""
    calibration: Any = {
        joint: SimpleNamespace(
            id=i + 1, drive_mode=0, homing_offset=-100 * i, range_min=1000, range_max=3000 + i
        )
        for i, joint in enumerate(JOINTS)
    }
    bus = SimpleNamespace(scale=Scale(calibration), calibration=calibration)
    return SimpleNamespace(
        config=SimpleNamespace(port="/dev/ttyACM0"),
        mock=mock,
        bus=bus,
        home=np.array([0.0, -150.0, 45.0, 0.0, 0.0, 50.0]),
    )


def test_a_job_says_in_steps_what_the_robot_says_in_degrees(tmp_path: Path):
    settings = WatchdogConfig(on_death="park", speed=36.0)
    job = job_for(a_robot(), settings, tmp_path / "dog.json")
    assert job is not None
    assert (job.port, job.runner_pid, job.action) == ("/dev/ttyACM0", os.getpid(), "park")
    assert job.arm.home_steps[:3] == (2000, 1000, 2512)  # the second is cut to its range
    assert job.arm.home_steps[5] == 2002
    assert job.arm.identities[2] == Identity(0x800 | 200, 1000, 3002)
    assert job.speed_steps_s == pytest.approx(409.6)
    assert job.report == str(tmp_path / "dog.json")


def test_the_mock_arm_in_memory_and_off_need_no_watchdog():
    assert job_for(a_robot(mock=object()), WatchdogConfig()) is None
    assert job_for(a_robot(), WatchdogConfig(on_death="off")) is None


def test_the_port_may_change_and_silence_may_be_announced():
    ours, theirs = os.pipe()
    runner = watched.Runner(os.getpid())
    watch = watchdog_process.Watch(runner, watchdog_process.Lines(ours), hang_s=0.05)
    os.write(theirs, b"beat\npause 0.4\nport /dev/ttyACM1\n")
    begin_s = time.monotonic()
    end = watch.wait()
    assert (end.fate, end.armed, watch.port) == ("hung", True, "/dev/ttyACM1")
    assert time.monotonic() - begin_s >= 0.45
    for fd in (ours, theirs, runner.fd):
        os.close(fd)


def test_a_machine_that_stood_still_costs_the_runner_nothing(monkeypatch: pytest.MonkeyPatch):
    """After a suspension the watchdog wakes up late, and the runner with it."""
    ours, theirs = os.pipe()
    runner = watched.Runner(os.getpid())
    watch = watchdog_process.Watch(runner, watchdog_process.Lines(ours), hang_s=0.05)
    ordinary, calls = watchdog_process.select.select, []

    def late(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            time.sleep(0.7)
            return [], [], []
        if len(calls) == 3:
            os.write(theirs, b"goodbye\n")
        return ordinary(*arguments)

    os.write(theirs, b"beat\n")
    monkeypatch.setattr(watchdog_process.select, "select", late)
    assert watch.wait().fate == "goodbye"
    for fd in (ours, theirs, runner.fd):
        os.close(fd)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("on_death", "jump", "off, hold, park, release"), ("hang_s", -1, "0 "), ("speed", 500, "1 to 90")],
)
def test_a_wrong_setting_names_the_possible_ones(field: str, value: Any, message: str):
    with pytest.raises(ConfigError, match=rf"--watchdog.{field}={value}.*{message}"):
        WatchdogConfig(**{field: value})


def test_off_may_be_what_yaml_makes_of_it():
    assert WatchdogConfig(on_death=False).on_death == "off"  # type: ignore[arg-type]
