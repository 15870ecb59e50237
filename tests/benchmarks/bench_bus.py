"""Observe and act, our bus against LeRobot's, interleaved on one pseudo-terminal.

One cycle reads six positions in joint units and commands six goals, as a control loop does in every tick.
Both sides take turns in short blocks on the same port, so whatever else the machine does hits both. The wire
is not paced: what remains is what the software costs. The other end of the terminal is a process of its own:

- the mock arm. It answers after catching up with its physics, and that wait is in both latencies alike.
- a replay of recorded replies, which answers as fast as a process can. Here the difference between the
  drivers shows; `bare` is a write and a read of the same bytes without looking at them, and nobody can be
  faster.

Run: python tests/benchmarks/bench_bus.py [blocks]
"""

import os
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import draccus
import numpy as np
from lerobot.motors import MotorCalibration
from lerobot.motors.feetech import FeetechMotorsBus
from rich.console import Console
from rich.table import Table

from so101_robot.bus.protocol import status
from so101_robot.bus.so101_bus import SO101Bus
from so101_robot.bus.tick_frames import HEALTH_SIZE, POSITION, Question, goal_frame
from so101_robot.joints import SERVO_IDS
from so101_robot.mock.serve.mock_process import MockProcess

CYCLES = 50
"""Cycles in a block."""
BLOCKS = 40
WARM_UP_BLOCKS = 4

REPLAY = """
import os, sys
master, short, long = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
while True:
    request = os.read(master, 4096)[-14:]
    if len(request) == 14 and request[4] == 0x82:
        os.write(master, short if request[6] == 2 else long)
"""


class Cost(NamedTuple):
    """Of one cycle [us]: the latency of each, and the processor time in each block."""

    latency_us: list[float]
    cpu_us: list[float]

    def row(self, name: str, theirs: "Cost | None" = None) -> list[str]:
        p10, median, p90 = np.percentile(self.latency_us, [10, 50, 90])
        cpu = float(np.median(self.cpu_us))
        row = [name, *(f"{value:.0f}" for value in (p10, median, p90, cpu))]
        if theirs is None:
            return [*row, "", ""]
        return [
            *row,
            f"{np.median(theirs.latency_us) / median:.1f} x",
            f"{np.median(theirs.cpu_us) / cpu:.1f} x",
        ]


def lerobots_cycle(bus: FeetechMotorsBus) -> Callable[[], None]:
    def cycle() -> None:
        bus.sync_write("Goal_Position", bus.sync_read("Present_Position"))

    return cycle


def our_cycle(bus: SO101Bus, health: bool) -> Callable[[], None]:
    def cycle() -> None:
        position = bus.to_joint(bus.read_state(health, 0.0).position_steps)
        bus.write_goals(bus.to_steps(position))

    return cycle


def bare_cycle(bus: SO101Bus) -> Callable[[], None]:
    question, goals = Question(SERVO_IDS, POSITION.size), goal_frame([2047] * 6)
    link = bus.port_handler.link

    def cycle() -> None:
        link.transact(question.request, question.reply_size, 0.1)
        link.send(goals)

    return cycle


@contextmanager
def replay() -> Iterator[str]:
    """A pseudo-terminal whose other end answers with recorded replies."""
    master, slave = os.openpty()
    tty.setraw(slave)
    answers = [
        b"".join(status(servo_id, 0, bytes((0, 8)) + bytes(size - 2)) for servo_id in SERVO_IDS).hex()
        for size in (POSITION.size, HEALTH_SIZE)
    ]
    far_end = subprocess.Popen([sys.executable, "-c", REPLAY, str(master), *answers], pass_fds=(master,))
    try:
        yield os.ttyname(slave)
    finally:
        far_end.kill()
        far_end.wait()
        os.close(master)
        os.close(slave)


def measure(
    cycles: dict[str, Callable[[], None]], blocks: int, settle: Callable[[], None]
) -> dict[str, Cost]:
    costs = {name: Cost([], []) for name in cycles}
    for block in range(blocks + WARM_UP_BLOCKS):
        for name, cycle in cycles.items():
            latency_us: list[float] = []
            cpu_s = time.process_time()
            for _ in range(CYCLES):
                start_s = time.perf_counter()
                try:
                    cycle()
                except ConnectionError:  # LeRobot's 50 ms were over: a busy machine stopped the other end
                    time.sleep(0.2)
                    settle()
                latency_us.append((time.perf_counter() - start_s) * 1e6)
            cpu_us = (time.process_time() - cpu_s) * 1e6 / CYCLES
            if block >= WARM_UP_BLOCKS:
                costs[name].latency_us.extend(latency_us)
                costs[name].cpu_us.append(cpu_us)
    return costs


def compare(port: str, calibration: dict[str, MotorCalibration], blocks: int) -> dict[str, Cost]:
    ours = SO101Bus(port, calibration)
    theirs = FeetechMotorsBus(port, ours.motors, calibration)
    ours.connect(handshake=False)
    ours.timeout_s = 1.0  # on a busy machine the other end may not run for a while
    theirs.connect(handshake=False)
    cycles = {
        "LeRobot": lerobots_cycle(theirs),
        "ours": our_cycle(ours, health=False),
        "ours with health": our_cycle(ours, health=True),
        "bare": bare_cycle(ours),
    }
    costs = measure(cycles, blocks, settle=lambda: theirs.port_handler.ser.reset_input_buffer())
    theirs.disconnect(disable_torque=False)
    ours.disconnect(disable_torque=False)
    return costs


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else BLOCKS
    with MockProcess(cameras=False, pace=False) as arm:
        with open(arm.calibration_dir / f"{arm.robot_id}.json") as file, draccus.config_type("json"):
            calibration = draccus.load(dict[str, MotorCalibration], file)
        results = {"the mock arm": compare(arm.port, calibration, blocks)}
    with replay() as port:
        results["a replay"] = compare(port, calibration, blocks)
    table = Table(
        title=f"observe + act, six servos, {blocks * CYCLES} cycles each, interleaved, no wire pacing",
        caption=f"microseconds; ratios of medians; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    )
    for column in ("other end", "bus", "p10", "median", "p90", "CPU", "latency", "CPU"):
        table.add_column(column, justify="left" if column in ("other end", "bus") else "right")
    for far_end, costs in results.items():
        for name, cost in costs.items():
            compared = costs["LeRobot"] if name.startswith("ours") else None
            table.add_row(far_end if name == "LeRobot" else "", *cost.row(name, compared))
        table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
