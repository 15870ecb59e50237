"""The guard's share of a tick: processor time of one `Guard.check`, here and in another checkout, taking turns.

A smooth path of all joints within every limit, an arm that follows it a tenth of a second behind, two cameras, health
in every fifth reading: what a tick between two interventions costs. Each round is a process of its own, with one
thread; its figure is the median of blocks of checks. The ratio is made round by round.

    python tests/benchmarks/bench_guard.py [--against FOLDER] [--rounds 7]

FOLDER: another working tree of this project (git worktree add FOLDER COMMIT), imported with the packages of this
environment. The last line is JSON.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parents[2]
PACKAGES = ("robot", "policy", "calibration", "eval")
FPS, LAG_S = 30.0, 0.1
BLOCKS, TICKS = 40, 300
LOWER, UPPER = np.array([-110.0, -100, -97, -95, -160, 0]), np.array([110.0, 100, 97, 95, 160, 100])
MIDDLE, SWING = np.array([0.0, -40, 40, 50, 0, 40]), np.array([30.0, 15, 15, 20, 30, 20])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once()))
        return
    sides = {"here": HERE} | ({"there": options.against.resolve()} if options.against else {})
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, folder in sides.items():
            found[side].append(in_a_process(folder))
    for side, values in found.items():
        print(f"{side:6} {1e6 * statistics.median(values):6.1f} us a check, {spread(values, 1e6, '.1f')}")
    ratios = [a / b for a, b in zip(found["here"], found.get("there", []), strict=False)]
    if ratios:
        print(f"ratio  {statistics.median(ratios):6.3f}, {spread(ratios, 1.0, '.3f')}")
    print(json.dumps({"check_s": found, "ratio": ratios}))


def spread(values: list[float], unit: float, form: str) -> str:
    low, high = min(values) * unit, max(values) * unit
    return f"{low:{form}} to {high:{form}} in {len(values)} rounds"


def in_a_process(folder: Path) -> float:
    """Median seconds of processor time for a check, by the sources in `folder`."""
    path = os.pathsep.join(str(folder / package) for package in PACKAGES)
    said = subprocess.run(
        [sys.executable, __file__, "--once"],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(json.loads(said.splitlines()[-1]))


def once() -> float:
    """The same in this process. The guard is found where it was at any time."""
    limits = find("GuardLimits", "so101_robot.guard.limits", "so101_robot.limits")
    state_of = find("ArmState", "so101_robot.state", "so101_robot.arm")
    health_of = find("Health", "so101_robot.state", "so101_robot.bus")
    judge = find("Guard", "so101_robot.guard.guard", "so101_robot.guard")(limits(), LOWER, UPPER)
    seconds: list[float] = []
    judge.reset(path(0.0))
    fine, none = np.ones(6, np.bool_), np.zeros(6, np.uint8)
    healthy = health_of(*np.array([0.0, 20, 12, 35, 150, 1])[:, None].repeat(6, 1))
    asked: list[tuple[Any, ...]] = []
    for tick in range(BLOCKS * TICKS):
        now_s = tick / FPS
        health = healthy if tick % 5 == 0 else None
        state = state_of(now_s, path(max(now_s - LAG_S, 0.0)), fine, none, health)
        asked.append((path(now_s), state, {"front": 0.02, "wrist": 0.03}, now_s + 0.002))
    for block in range(BLOCKS):
        begun_s = time.process_time()
        for action, state, ages_s, now_s in asked[block * TICKS : (block + 1) * TICKS]:
            verdict = judge.check(action, state, ages_s, now_s)
        seconds.append((time.process_time() - begun_s) / TICKS)
        assert verdict.ok, verdict
    return statistics.median(seconds)


def path(time_s: float) -> Any:
    """(6,) where the joints are asked to be, at rest at 0."""
    return MIDDLE + SWING * np.sin(0.8 * time_s + np.arange(6) * min(time_s, 1.0)) * min(time_s / 2.0, 1.0)


def find(name: str, *modules: str) -> Any:
    """`name` of the first of these modules that has it."""
    for module in modules:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        if hasattr(found, name):
            return getattr(found, name)
    raise SystemExit(f"this checkout has no {name}")


if __name__ == "__main__":
    main()
