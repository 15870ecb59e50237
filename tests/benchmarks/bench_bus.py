"""Observe and act, our bus against LeRobot's, on one pseudo-terminal of a mock arm in its own process.

One cycle reads six positions in joint units and commands six goals, as a control loop does in every tick. Both sides
take turns in short blocks on the same port, so whatever the machine is busy with hits both. The wire is not paced:
what is left is what the host's software costs. The arm's side of it (a Python process that advances physics) is in
both latencies alike, so the ratio of latencies understates the difference between the two; "waiting" below measures
that floor with a bare write and read of the same bytes.

Run: python tests/benchmarks/bench_bus.py [blocks]
"""

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import draccus
import numpy as np
from lerobot.motors import MotorCalibration
from lerobot.motors.feetech import FeetechMotorsBus
from rich.console import Console
from rich.table import Table
from so101_robot.bus import SO101Bus
from so101_robot.joints import JOINTS
from so101_robot.mock.process import MockProcess
from so101_robot.sync import Question, goal_frame

CYCLES = 50
"""Cycles in a block."""
BLOCKS = 60
WARM_UP_BLOCKS = 4


class Cost(NamedTuple):
    """Of one cycle, in microseconds: each latency, and processor time block by block."""

    latency_us: list[float]
    cpu_us: list[float]

    def row(self, name: str, other: "Cost | None" = None) -> list[str]:
        latency = np.percentile(self.latency_us, [10, 50, 90, 99])
        cpu = float(np.median(self.cpu_us))
        ratios = ["", ""]
        if other is not None:
            ratios = [
                f"{np.median(other.latency_us) / latency[1]:.1f}x",
                f"{np.median(other.cpu_us) / cpu:.1f}x",
            ]
        return [name, *(f"{value:.0f}" for value in latency), ratios[0], f"{cpu:.0f}", ratios[1]]


def lerobots_cycle(bus: FeetechMotorsBus) -> Callable[[], None]:
    def cycle() -> None:
        position = bus.sync_read("Present_Position")
        bus.sync_write("Goal_Position", position)

    return cycle


def our_cycle(bus: SO101Bus, health: bool) -> Callable[[], None]:
    def cycle() -> None:
        position = bus.to_joint(bus.read_state(health, 0.0).position_steps)
        bus.write_goals(bus.to_steps(position))

    return cycle


def bare_cycle(bus: SO101Bus) -> Callable[[], None]:
    """The same bytes without looking at them."""
    question, link, goals = Question(range(1, 7), 2), bus.port_handler.link, goal_frame([2047] * 6)

    def cycle() -> None:
        link.transact(question.request, question.reply_size, 0.1)
        link.send(goals)

    return cycle


def measure(cycles: dict[str, Callable[[], None]], blocks: int) -> dict[str, Cost]:
    costs = {name: Cost([], []) for name in cycles}
    for block in range(blocks + WARM_UP_BLOCKS):
        for name, cycle in cycles.items():
            latency_us: list[float] = []
            cpu_s = time.process_time()
            for _ in range(CYCLES):
                start_s = time.perf_counter()
                cycle()
                latency_us.append((time.perf_counter() - start_s) * 1e6)
            cpu_us = (time.process_time() - cpu_s) * 1e6 / CYCLES
            if block >= WARM_UP_BLOCKS:
                costs[name].latency_us.extend(latency_us)
                costs[name].cpu_us.append(cpu_us)
    return costs


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else BLOCKS
    with MockProcess(cameras=False, pace=False) as arm:
        with open(arm.calibration_dir / f"{arm.robot_id}.json") as file, draccus.config_type("json"):
            calibration = draccus.load(dict[str, MotorCalibration], file)
        ours = SO101Bus(arm.port, calibration)
        theirs = FeetechMotorsBus(arm.port, ours.motors, calibration)
        ours.connect()
        theirs.connect(handshake=False)
        costs = measure(
            {
                "LeRobot": lerobots_cycle(theirs),
                "ours": our_cycle(ours, health=False),
                "ours with health": our_cycle(ours, health=True),
                "waiting": bare_cycle(ours),
            },
            blocks,
        )
        theirs.disconnect(disable_torque=False)
        ours.disconnect()
    table = Table(
        title=f"observe + act, {len(JOINTS)} servos, {blocks * CYCLES} cycles each, interleaved, no wire pacing",
        caption=f"microseconds; ratios of medians against LeRobot; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    )
    for column in ("bus", "p10", "median", "p90", "p99", "latency", "CPU", "CPU"):
        table.add_column(column, justify="left" if column == "bus" else "right")
    for name, cost in costs.items():
        table.add_row(*cost.row(name, None if name in ("LeRobot", "waiting") else costs["LeRobot"]))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
