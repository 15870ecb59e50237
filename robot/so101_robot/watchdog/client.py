"""The runner's side of the watchdog: start it, give it a sign of life on every tick, say goodbye.

    with Watchdog(job_for(robot, config, folder / "watchdog.json")) as watchdog:
        ...                                 # `watchdog` is an Observer: each tick is a beat, `close` the goodbye

What it does when the signs stop is `process` and `last_resort`. From the first beat on it holds the runner
to its word: whatever ends this process without a goodbye makes it act. A beat is one small write to a pipe that
never blocks. Without a port of the machine (the mock arm in memory) there is nothing to watch over.
"""

import contextlib
import logging
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from so101_robot.bus.identity import identities_of
from so101_robot.errors import ConfigError, RobotError
from so101_robot.message import Message
from so101_robot.process import child
from so101_robot.watchdog.process import Job
from so101_robot.watchdog.slow_park import STEPS_PER_DEG, ArmFacts

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.loop.tick import Tick

_log = logging.getLogger(__name__)

READY_S = 30.0
"""How long the process may take to start; 0.1 s on an idle machine."""

GOODBYE_S = 10.0
"""How long it may take to end; milliseconds on an idle machine."""

ACTIONS = ("off", "hold", "park", "release")


@dataclass
class WatchdogConfig:
    """What happens to the arm when the runner dies or hangs."""

    on_death: str = "hold"
    """hold: torque stays on at the last goal; park: slowly home; release: torque off where the arm is; off: no
    watchdog. A park moves without guard and cameras, so it has to be asked for."""
    hang_s: float = 3.0
    """Without a tick for so long the runner counts as hung; 0: never. The servos keep their last goal
    meanwhile. [s]"""
    kill_hung: bool = True
    """Kill a runner that hangs and act; false: say so and leave both alone."""
    speed: float = 20.0
    """Fastest joint on the way home [deg/s; the gripper's servo alike]."""
    release_when_parked: bool = True
    """Let go at home; false: hold there."""

    def __post_init__(self) -> None:
        # YAML, which draccus reads every value with, takes off for a boolean
        self.on_death = {"False": "off"}.get(str(self.on_death), self.on_death)
        if self.on_death not in ACTIONS:
            raise ConfigError(f"--watchdog.on_death={self.on_death}: expected one of {', '.join(ACTIONS)}")
        if not 0 <= self.hang_s <= 3600:
            raise ConfigError(f"--watchdog.hang_s={self.hang_s:g}: expected 0 (never) to 3600")
        if not 1 <= self.speed <= 90:
            raise ConfigError(f"--watchdog.speed={self.speed:g}: expected 1 to 90")


class Watchdog:
    """A running watchdog; also an `Observer` of the loop.

    Args:
        job: what it should do; `job_for` makes one.

    Raises:
        RobotError: from `wait_ready` and on entering a `with`, if it does not start.
    """

    name = "watchdog"

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "so101_robot.watchdog.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C and the closing of the terminal are for the runner
            env=child.environment(),
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        self._fd = self._process.stdin.fileno()
        self._open = True
        with contextlib.suppress(BrokenPipeError):  # ended already: `wait_ready` says so
            os.write(self._fd, job.to_json().encode() + b"\n")
        os.set_blocking(self._fd, False)

    def wait_ready(self) -> None:
        """Return when it watches. Raises RobotError."""
        assert self._process.stdout is not None
        said = b""
        if select.select([self._process.stdout], (), (), READY_S)[0]:
            said = self._process.stdout.readline()
        if said != b"ready\n":
            self.close()
            raise RobotError(
                f"the watchdog process did not start within {READY_S:.0f} s (exit code "
                f"{self._process.poll()}); --watchdog.on_death=off runs without it"
            )

    def beat(self) -> None:
        """A sign of life; the first one says that from now on the arm is driven."""
        self._say("beat")

    def pause(self, longest_s: float) -> None:
        """Announce that the next beat may come `longest_s` later than usual: a wait for the cable, say."""
        self._say(f"pause {longest_s:.3f}")

    def port_is(self, port: str) -> None:
        """The arm is at another port now."""
        self._say(f"port {port}")

    @property
    def alive(self) -> bool:
        """It watches."""
        return self._open and self._process.poll() is None

    def on_tick(self, tick: "Tick") -> None:
        self.beat()

    def on_message(self, message: Message) -> None:
        """Messages are for people."""

    def close(self) -> None:
        """Say goodbye: the arm has been seen to. May be called twice."""
        if self._open:  # the one word that must not get lost in a full pipe
            select.select((), (self._fd,), (), GOODBYE_S)
        self._say("goodbye")
        self._leave()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GOODBYE_S)

    def __enter__(self) -> Self:
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._leave()  # without a goodbye: when this process has ended too, the arm is seen to

    def _say(self, line: str) -> None:
        if not self._open:
            return
        try:
            os.write(self._fd, line.encode() + b"\n")
        except BlockingIOError:
            pass  # it is behind by thousands of beats and will find them
        except OSError as error:
            self._leave()
            _log.warning("the watchdog is gone (%s); the run goes on without it", error)

    def _leave(self) -> None:
        """Close the pipes, without a word."""
        if not self._open:
            return
        self._open = False
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()


def job_for(robot: "SO101", config: WatchdogConfig, report: Path | None = None) -> Job | None:
    """The job for a connected arm; None where there is nothing to do: switched off, or the mock arm in memory.

    Args:
        robot: connected, so with its calibration.
        config: what to do.
        report: where the report goes, if it ever has to act.
    """
    if config.on_death == "off" or robot.mock is not None:
        return None
    scale = robot.bus.scale
    lower, upper = scale.lower_steps.tolist(), scale.upper_steps.tolist()
    home = [
        min(max(step, low), high)
        for step, low, high in zip(scale.to_steps(robot.home).tolist(), lower, upper, strict=True)
    ]
    return Job(
        port=robot.config.port,
        runner_pid=os.getpid(),
        action=config.on_death,  # type: ignore[arg-type]  # checked by WatchdogConfig
        arm=ArmFacts(
            home_steps=tuple(home),
            lower_steps=tuple(lower),
            upper_steps=tuple(upper),
            identities=identities_of(robot.bus.calibration),
        ),
        hang_s=config.hang_s,
        kill_hung=config.kill_hung,
        speed_steps_s=config.speed * STEPS_PER_DEG,
        release_when_parked=config.release_when_parked,
        report="" if report is None else str(report.absolute()),
    )
