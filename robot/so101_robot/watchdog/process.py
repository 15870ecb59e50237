"""The watchdog: a small process that looks after the arm when the runner cannot any more.

`client.Watchdog` starts it as `python -m so101_robot.watchdog.process` and talks to it through its standard
input, a line each: the job as JSON, then `beat`, `port PATH`, `pause SECONDS`, `goodbye`. It acts once, and only
after a first beat, when

- the runner is dead (kill -9, out of memory, an exception that nobody caught) without having said goodbye;
- the runner hangs: no beat for `hang_s`. Where `kill_hung` says so it is killed first, since two programs on a bus
  give an arm goals that contradict each other.

It is in a session of its own and ignores SIGINT, SIGTERM and SIGHUP, so neither Ctrl-C nor the closing of the
terminal ends it. Once the runner is dead it takes the port's lock like any program, and gives up if another
program has it by then. No LeRobot, no numpy: it has to be there when memory is short.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

from so101_policy.files.whole_files import write_text
from so101_robot.bus.identity import Identity
from so101_robot.bus.port_lock import PortInUseError, open_locked
from so101_robot.bus.small_bus import SmallBus
from so101_robot.clock import WallClock
from so101_robot.errors import PortError
from so101_robot.watchdog.last_resort import Action, LastResort, Report
from so101_robot.watchdog.runner import Runner
from so101_robot.watchdog.slow_park import ArmFacts

PROGRAM = "so101-watchdog"

REACH_S = 10.0
"""How long to go on trying when the port cannot be opened or goes away."""

RETRY_S = 0.2

LATE_S = 0.5
"""Waking up this much too late means that the whole machine stood still: the runner gets its time again."""

Fate = Literal["goodbye", "died", "hung"]


@dataclass(frozen=True)
class Job:
    """What the runner tells its watchdog."""

    port: str
    runner_pid: int
    action: Action
    arm: ArmFacts
    hang_s: float
    """Longest time without a beat; 0: any."""
    kill_hung: bool
    speed_steps_s: float
    release_when_parked: bool
    report: str
    """Where the report goes, a JSON file; empty: nowhere."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        arm = fields.pop("arm")
        identities = tuple(Identity(*words) for words in arm.pop("identities"))
        steps = {name: tuple(values) for name, values in arm.items()}
        return cls(arm=ArmFacts(**steps, identities=identities), **fields)


class End(NamedTuple):
    """Why the watch ended, and whether the arm had been driven by then."""

    fate: Fate
    armed: bool
    silent_s: float
    """Since the last beat."""


class Lines:
    """Lines from a descriptor, as they come."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.open = True
        self._partial = b""

    def read(self) -> list[str]:
        """What is there, without the unfinished line; blocks if nothing is. At the end `open` is false."""
        data = os.read(self.fd, 65536)
        self.open = bool(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


class Watch:
    """Waits for the runner's end.

    Args:
        runner: what is watched.
        lines: from the runner.
        hang_s: see `Job`.
    """

    def __init__(self, runner: Runner, lines: Lines, hang_s: float) -> None:
        self.port: str | None = None
        """Where the arm is now, if it moved."""
        self._runner, self._lines = runner, lines
        self._hang_s = hang_s
        self._armed = self._gone = False
        self._beat_s = time.monotonic()
        self._deadline_s: float | None = None

    def wait(self, first: list[str] | None = None) -> End:
        """Return when the runner said goodbye, died or hangs. `first`: lines that have been read already."""
        if first and self._take(first):
            return self._end("goodbye")
        while True:
            watched = [self._runner.fd, self._lines.fd] if self._lines.open else [self._runner.fd]
            ready = select.select(watched, (), (), self._left_s())[0]
            if self._lines.fd in ready:  # first, so that a goodbye counts before the death that follows it
                if self._take(self._lines.read()):
                    return self._end("goodbye")
            elif self._runner.fd in ready:
                return self._end("died")
            elif not ready and self._is_hung():
                return self._end("hung")

    def _take(self, lines: list[str]) -> bool:
        """Follow what the runner says; true for a goodbye."""
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "goodbye":
                return True
            if word == "port":
                self.port = rest
            elif word in ("beat", "pause"):
                self._armed = True
                self._beat_s = time.monotonic()
                self._deadline_s = self._beat_s + self._hang_s + (float(rest) if rest else 0.0)
        return False

    def _left_s(self) -> float | None:
        """Until the runner counts as hung; None: never. A runner that has closed its pipe is left alone."""
        if self._deadline_s is None or not self._hang_s or not self._lines.open:
            return None
        return max(0.0, self._deadline_s - time.monotonic())

    def _is_hung(self) -> bool:
        assert self._deadline_s is not None  # else there is no time-out
        if time.monotonic() - self._deadline_s < LATE_S:
            return True
        self._deadline_s = time.monotonic() + self._hang_s
        return False

    def _end(self, fate: Fate) -> End:
        return End(fate, self._armed, time.monotonic() - self._beat_s)


def main() -> int:
    """Watch, and act if need be; the exit code is 1 if something had to be done and was not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # needs a right that users seldom have
        Path("/proc/self/oom_score_adj").write_text("-900")
    lines = Lines(0)
    first: list[str] = []
    while not first and lines.open:
        first = lines.read()
    if not first:
        return 0
    job = Job.from_json(first[0])
    try:
        runner = Runner(job.runner_pid)
    except ProcessLookupError:
        return 0
    if os.getppid() != job.runner_pid:  # it died while this started, and its number may be another's now
        return 0
    _say_ready()
    watch = Watch(runner, lines, job.hang_s)
    end = watch.wait(first[1:])
    if end.fate == "goodbye" or not end.armed:
        return 0
    report = respond(job, end, watch.port or job.port, runner)
    return 0 if report.done else 1


def respond(job: Job, end: End, port: str, runner: Runner) -> Report:
    """The one action, and the report of it."""
    begin_s = time.monotonic()
    cause = f"the runner (process {job.runner_pid}) died"
    hung_alive = False
    if end.fate == "hung":
        cause = f"the runner (process {job.runner_pid}) gave no sign of life for {end.silent_s:.1f} s"
        hung_alive = not job.kill_hung or not runner.kill(REACH_S)
    if hung_alive:
        report = Report(False, "it still has the port: the servos stay at their last goal", {})
    else:
        report = _reach(job, port, lambda: time.monotonic() - begin_s < REACH_S)
    facts = {
        "unix_s": time.time(),
        "fate": end.fate,
        "cause": cause,
        "action": job.action,
        "port": port,
        "silent_s": round(end.silent_s, 3),
        "took_s": round(time.monotonic() - begin_s, 3),
        **report.as_json(),
    }
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, f"{PROGRAM}: {cause}; {job.action}: {report.text}\n".encode())
    if job.report:
        with contextlib.suppress(OSError):
            write_text(Path(job.report), json.dumps(facts, indent=2) + "\n")
    return report


def _reach(job: Job, port: str, in_time: Callable[[], bool]) -> Report:
    """Open the port and act; once more from the start if the port goes away under it."""
    resort = LastResort(job.arm, WallClock(), job.speed_steps_s, job.release_when_parked)
    while True:
        handle = link = None
        try:
            handle, link = open_locked(port, program=PROGRAM)
            return resort.carry_out(job.action, SmallBus(link))
        except PortInUseError as error:
            return Report(False, f"left alone, because {error}", {})
        except PortError as error:
            if not in_time():
                return Report(False, f"not possible: {error}", {})
        finally:
            if link is not None and handle is not None:
                link.close()
                with contextlib.suppress(
                    Exception
                ):  # pyserial raises what it likes for a port that went away
                    handle.close()
        time.sleep(RETRY_S)


def _say_ready() -> None:
    with contextlib.suppress(OSError):
        os.write(1, b"ready\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
