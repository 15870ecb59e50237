"""A repetition with `so101-run`'s loop: robot, guard, scheduler, supervisor, ending and log as they are composed there,
on the mock arm in lockstep. Only the policy is a function, and the watchdog, which needs a port, is not there."""

import math
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from experiments.faults.judging import (
    beyond,
    fell,
    final_state,
    judge,
    largest_speed,
    let_fall,
    touched,
    true_deg,
)
from experiments.faults.record import Record
from experiments.faults.rows import Row
from experiments.faults.stage import FPS, Stage, as_prediction
from experiments.faults.traced import TracedArm
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.commands.reconnect import Reconnector
from so101_robot.errors import RobotError, describe
from so101_robot.faults.fault import Mode
from so101_robot.joints import GRIPPER
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome, stop_on_signals
from so101_robot.loop.observers import Background, ObserverFailure
from so101_robot.loop.tick import Observer, Tick
from so101_robot.message import Message
from so101_robot.runs.log import TICKS, RunLog, read_ticks

LATENCY_S = 0.1
N_ACTION_STEPS = 10
APPROACH_DEG_S = 60.0
FAULT_S = (3.0, 4.0)
"""When the fault begins: drawn from here. The arm is at the policy's first pose by then."""
AFTER_S = 2.0
"""How long the arm is watched after the end."""


class Memory:
    """Counts ticks, and knows when something was noticed and when the policy's goals went out."""

    name = "memory"

    def __init__(self, arm: TracedArm) -> None:
        self._arm = arm
        self.ticks = 0
        self.wrong: list[tuple[float, float]] = []
        """(time, how far the known state was from the true one [deg]) of ticks on which a goal was sent."""
        self.noticed_s: list[float] = []
        self.driven_s: list[float] = []
        self.ended_s = math.inf
        """When the way home began."""
        self.now_s = 0.0

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        self.now_s = tick.time_s
        if tick.phase == "home":
            self.ended_s = min(self.ended_s, tick.time_s)
        elif tick.faults or tick.fault or tick.verdict.stop or tick.mode is not Mode.RUNNING:
            self.noticed_s.append(tick.time_s)
        if tick.phase == "run" and tick.sent is not None and tick.asked is not None:
            self.driven_s.append(tick.time_s)
            away = np.abs(tick.state.position[:GRIPPER] - true_deg(self._arm))
            self.wrong.append((tick.time_s, float(away[tick.state.answered[:GRIPPER]].max(initial=0.0))))

    def on_message(self, message: Message) -> None: ...

    def on_failure(self, failure: ObserverFailure) -> None:
        self.noticed_s.append(self.now_s)

    def close(self) -> None: ...


class Failing:
    """An observer that goes wrong at a time."""

    name = "dashboard"

    def __init__(self, how: str, from_s: float) -> None:
        self._how, self._from_s = how, from_s

    def on_tick(self, tick: Tick) -> None:
        if tick.time_s < self._from_s:
            return
        if "hangs" in self._how:
            import time

            time.sleep(0.02)  # a tick takes less than that here, so the queue runs full
        else:
            raise OSError("no space left on device")

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


class StalledWorker(InlineWorker):
    """A worker whose answers take as long as the row says, on the arm's clock."""

    def __init__(self, stage: Stage, predict: Any) -> None:
        super().__init__(predict, LATENCY_S)
        self._stage = stage

    def submit(self, observation: Observation, tick: int) -> None:
        self._latency_s = LATENCY_S + self._stage.latency_s(self._stage.now_s())
        super().submit(observation, tick)


def drive(row: Row, seed: int) -> Record:
    """One repetition."""
    stage = Stage(seed, usb=row.group == "usb")
    with stage.open(), tempfile.TemporaryDirectory() as folder:
        return _drive(stage, row, seed, Path(folder))


def _drive(stage: Stage, row: Row, seed: int, folder: Path) -> Record:
    rng, arm = stage.rng, stage.arm
    fault_s = 0.0 if row.group == "start" else float(rng.uniform(*FAULT_S))
    row.inject(stage, fault_s, rng)
    start_rad = arm.joint_rad.copy()
    robot = SO101(SO101Config(mock=arm.config, cameras=stage.cameras()), arm)
    try:
        robot.connect()
    except RobotError as problem:
        stage.live(AFTER_S)
        return _finish(
            stage, row, seed, fault_s, "refused", describe(problem), Memory(arm), 0, start_rad, None
        )
    memory = Memory(arm)
    outcome, missing = _run(stage, robot, row, fault_s, memory, folder)
    if row.group != "start" and not any(time_s < fault_s for time_s in memory.driven_s):
        raise RuntimeError(f"{row.name}: the policy did not drive before the fault: {outcome}")
    robot.disconnect(release=False)
    stage.live(AFTER_S)
    ended = final_state(arm.motion(), arm.orders, outcome.cause == "time is up")
    said = describe(outcome.error) if outcome.error else ""
    return _finish(stage, row, seed, fault_s, ended, said, memory, missing, start_rad, robot)


def _run(
    stage: Stage, robot: SO101, row: Row, fault_s: float, memory: Memory, folder: Path
) -> tuple[Outcome, int]:
    """Outcome, and how many ticks are not in the log."""
    guard, clock = robot.guard, robot.clock
    assert guard is not None  # since connect
    worker = StalledWorker(stage, lambda state, images: as_prediction(stage.answer(stage.now_s())))
    scheduler = make_scheduler("asynchronous", worker, fps=FPS, n_action_steps=N_ACTION_STEPS)
    log = RunLog(folder / "run", {})
    stage.log_size = lambda: (log.folder / TICKS).stat().st_size
    config = LoopConfig(
        fps=FPS,
        duration_s=fault_s + row.watch_s,
        approach_speed=APPROACH_DEG_S,
        ending=EndingConfig(wait_s=1.0),
    )
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        observers: list[Observer] = [memory, log, _Stalls(stage)]
        if stage.observer_fails is not None:
            how, from_s = stage.observer_fails
            failing = Failing(how, from_s)
            observers.append(Background(failing, capacity=30) if "background" in how else failing)
        loop = ControlLoop(
            robot,
            scheduler,
            guard,
            clock,
            config=config,
            observers=observers,
            stop=stop,
            reconnect=Reconnector(robot),
        )
        outcome = loop.run()
    kept = sum("tick" in record for record in read_ticks(log.folder / TICKS))
    return outcome, memory.ticks - kept


class _Stalls:
    """Lets the program stand still at the end of a tick."""

    name = "stalls"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def on_tick(self, tick: Tick) -> None:
        self._stage.stand_still()

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def _finish(
    stage: Stage,
    row: Row,
    seed: int,
    fault_s: float,
    ended: str,
    said: str,
    memory: Memory,
    missing: int,
    start_rad: Any,
    robot: SO101 | None,
) -> Record:
    motion, orders = stage.arm.motion(), stage.arm.orders
    range_rad = _range_rad(stage)
    driven = [time_s for time_s in memory.driven_s if fault_s <= time_s < fault_s + row.for_s]
    ends = [memory.ended_s] if ended != "went on" and math.isfinite(memory.ended_s) else []
    noticed = [time_s for time_s in (*memory.noticed_s, *ends) if time_s >= fault_s - 1e-6]
    react_s = 0.0 if ended == "refused" else min(noticed) - fault_s if noticed else None
    record = Record(
        row=row.name,
        side="so101-run",
        seed=seed,
        ended=ended,
        error=said,
        react_s=react_s,
        drove_s=max(driven) - fault_s if driven else None,
        speed_deg_s=largest_speed(motion),
        beyond_deg=beyond(motion, range_rad),
        let_fall_mm=let_fall(motion, orders),
        fell_mm=fell(motion, orders, fault_s),
        ticks=memory.ticks,
        missing=missing,
        free_at_end=int(motion.free[-1].sum()),
        wrong_deg=max((wrong for time_s, wrong in memory.wrong if time_s >= fault_s), default=0.0),
    )
    record.unsafe = judge(record, row, touched(stage.arm, start_rad))
    return record


def _range_rad(stage: Stage) -> Any:
    """(6, 2) the ranges of the joints; the roll's is the whole of what the model can do."""
    world = stage.arm.world
    assert world is not None  # the table
    return world.joint_range_rad
