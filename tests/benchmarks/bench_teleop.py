"""From the leader's motion to the goal on the follower's wire: so101-teleop against lerobot-teleoperate.

Both are whole commands, started as a person starts them, at 60 Hz and without cameras, on two pseudo-terminals whose
other ends are the mock arms' servos without physics: they answer at once, and the follower is where its goals are. So
what is measured is the programs. Every fraction of a second the leader's shoulder pan steps by two degrees. Counted is

- *from the motion*: from the moment of the step to the first goal of the follower that has it, with the wait for the
  next question to the leader in it;
- *from the wire*: from the leader's reply that has it to that goal;
- the processor time of the command with all its processes, while it drives.

LeRobot's command waits 3 s longer than its 50 ms for a servo (`patient_lerobot`), or a busy machine ends it.

The two take turns, a run each; the interval is that of a bootstrap of the median over the steps of all runs.

Run: python tests/benchmarks/bench_teleop.py [runs of each] [seconds of each]
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig

RUNS, SECONDS = 3, 15.0
SETTLES_S = 6.0
"""After the first goal: the follower comes to the leader first, and is not measured while it does."""
STARTS_S, ENDS_S = 600.0, 120.0
STEP = round(2.0 * 4096 / 360)
"""Two degrees [counts]: within what the guard lets a joint do in a tick of 60 Hz."""
PAUSE_S = (0.2, 0.35)
"""Between two steps, drawn evenly, so that they meet the loops at any moment."""

PAN = JOINTS.index("shoulder_pan")
SYNC_WRITE = 0x83
BIN = Path(sys.executable).parent
PATIENT = Path(__file__).parents[1] / "support" / "patient_lerobot.py"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class End:
    """The servos of one arm behind a pseudo-terminal."""

    def __init__(self, folder: Path, leader: bool) -> None:
        self.arm = MockArm(MockConfig(camera_fps=1.0), leader=leader)
        self.arm.advance_to(10_000)
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.name = "leader" if leader else "follower"
        (folder / f"{self.name}.json").write_text(json.dumps(self.arm.calibration_fields))
        self.flags = [f"id={self.name}", f"port={self.port}", f"calibration_dir={folder}"]

    def serve(self) -> bytes:
        """Answer what has come; returns it."""
        data = os.read(self.master, 4096)
        now_us = time.perf_counter_ns() // 1000
        for reply in self.arm.wire.receive(data, now_us):
            os.write(self.master, reply.data)
        return data

    def get(self, name: str) -> list[int]:
        return [self.arm.servos.get(joint, name) for joint in range(len(JOINTS))]

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)
        self.arm.close()


class Pair:
    """Leader and follower, and what one command needs of the time."""

    def __init__(self, folder: Path) -> None:
        self.leader, self.follower = End(folder, leader=True), End(folder, leader=False)
        self.flags = [f"--teleop.{flag}" for flag in self.leader.flags]
        self.flags += [f"--robot.{flag}" for flag in self.follower.flags]
        self.goals = 0
        self.from_motion_ms: list[float] = []
        self.from_wire_ms: list[float] = []
        self._middle = self.leader.get("Present_Position")[PAN]
        self._moved_s = self._told_s = float("nan")
        self._before = 0
        self._rng = np.random.default_rng(0)

    def serve(self, until: Callable[[], bool], steps: bool = False) -> None:
        """Answer both until that is true; `steps`: the leader steps, and what comes of it is noted."""
        next_s, side = time.perf_counter() + PAUSE_S[1], 0
        while not until():
            wait_s = max(next_s - time.perf_counter(), 0.0) if steps else 0.1
            ready = select.select([self.leader.master, self.follower.master], [], [], wait_s)[0]
            if steps and time.perf_counter() >= next_s:
                side = 1 - side
                self._step(side)
                next_s = time.perf_counter() + self._rng.uniform(*PAUSE_S)
            if self.leader.master in ready:
                self.leader.serve()
                if np.isnan(self._told_s):
                    self._told_s = time.perf_counter()
            if self.follower.master in ready:
                self._follow(self.follower.serve())

    def _step(self, side: int) -> None:
        self._before = self.follower.get("Goal_Position")[PAN]
        self.leader.arm.servos.set(PAN, "Present_Position", self._middle + side * STEP)
        self._moved_s, self._told_s = time.perf_counter(), float("nan")

    def _follow(self, data: bytes) -> None:
        if len(data) < 5 or data[4] != SYNC_WRITE:
            return
        now_s = time.perf_counter()
        goals = self.follower.get("Goal_Position")
        for joint, goal in enumerate(goals):
            self.follower.arm.servos.set(joint, "Present_Position", goal)
        self.goals += 1
        if not np.isnan(self._told_s + self._moved_s) and abs(goals[PAN] - self._before) > STEP / 2:
            self.from_motion_ms.append((now_s - self._moved_s) * 1e3)
            self.from_wire_ms.append((now_s - self._told_s) * 1e3)
            self._moved_s = float("nan")

    def close(self) -> None:
        self.leader.close()
        self.follower.close()


class Found:
    """Of one command."""

    def __init__(self) -> None:
        self.from_motion_ms: list[float] = []
        self.from_wire_ms: list[float] = []
        self.cpu: list[float] = []
        """Seconds a second, of each run."""
        self.rate_hz: list[float] = []


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """Without the flags of the arms."""
    theirs = ["--robot.type=so101_follower", "--teleop.type=so101_leader", "--fps=60"]
    ours = ["--dashboard=off", "--clip=false", "--config_path=none", f"--output_dir={folder / 'run'}"]
    return {
        "lerobot-teleoperate": [sys.executable, str(PATIENT), "lerobot-teleoperate", *theirs],
        "so101-teleop": [str(BIN / "so101-teleop"), *ours],
    }


def one_run(name: str, seconds: float, found: Found) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pair = Pair(folder)
        with (folder / "said").open("wb") as said:
            program = subprocess.Popen(
                [*commands(folder)[name], *pair.flags],
                stdout=said,
                stderr=said,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            )
        try:
            start_s = cpu_s = spent_s = goals = 0
            pair.serve(_until(STARTS_S, lambda: pair.goals > 1 or program.poll() is not None))
            pair.serve(_until(SETTLES_S, lambda: program.poll() is not None))
            if program.poll() is None:
                start_s, cpu_s, goals = time.perf_counter(), cpu_of(program.pid), pair.goals
                pair.serve(_until(seconds, lambda: program.poll() is not None), steps=True)
                spent_s = time.perf_counter() - start_s
            if program.poll() is not None or not pair.from_wire_ms:
                said_last = (folder / "said").read_text()[-3000:]
                raise SystemExit(f"{name} did not drive the follower:\n{said_last}")
            found.cpu.append((cpu_of(program.pid) - cpu_s) / spent_s)
            found.rate_hz.append((pair.goals - goals) / spent_s)
            found.from_motion_ms += pair.from_motion_ms
            found.from_wire_ms += pair.from_wire_ms
            program.send_signal(signal.SIGINT)
            pair.serve(_until(ENDS_S, lambda: program.poll() is not None))
        finally:
            program.kill()
            program.wait()
            pair.close()


def _until(seconds: float, over: Callable[[], bool]) -> Callable[[], bool]:
    end_s = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end_s or over()


def cpu_of(pid: int) -> float:
    """Processor time of a process and all below it [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    spent_s = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += (task / "children").read_text().split()
    return spent_s + sum(cpu_of(int(child)) for child in children)


def median(values: Sequence[float]) -> str:
    """With a 95 % interval (bootstrap)."""
    rng = np.random.default_rng(0)
    sample = np.array(values)
    medians = np.median(rng.choice(sample, (2000, len(sample))), axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return f"{np.median(sample):.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    found = {name: Found() for name in commands(Path())}
    for _ in range(runs):
        for name, figures in found.items():
            one_run(name, seconds, figures)
    table = Table(
        title=f"leader to follower, {runs} runs of {seconds:.0f} s each, in turn",
        caption=f"medians [95 %] in ms; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    )
    for column in ("command", "steps", "from the motion", "from the wire", "95 %", "goals/s", "CPU s/s"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, figures in found.items():
        table.add_row(
            name,
            str(len(figures.from_wire_ms)),
            median(figures.from_motion_ms),
            median(figures.from_wire_ms),
            f"{np.percentile(figures.from_wire_ms, 95):.1f}",
            f"{np.median(figures.rate_hz):.1f}",
            f"{np.median(figures.cpu):.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
