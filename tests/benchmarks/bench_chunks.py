"""Ticks without a fresh action and the largest step where chunks meet, by mode, with an inference of 300 ms.

The control loop of `so101-run` drives the mock arm on its lockstep clock, so the figures are the same on any
machine. The policy is scripted: it sees from the joints where on a smooth closed path the arm is and goes on from
there, a chunk of two seconds at a time, of which one is played, each off by another constant of up to 4 degrees, as
the chunks of a trained policy are.

LeRobot's row is the unmodified loop of `lerobot-rollout` (base strategy) with `SO101Follower` on the same mock arm and
simulated time; its policy answers in the loop, as its synchronous engine does, the only one that it has for ACT.

- *without*: ticks of the rate after the first action on which there was nothing to play, or no tick at all.
- *inside*: the largest step of a joint inside the chunks as the policy answered them [deg per tick].
- *across*: the largest step asked for within a fifth of a second of the first action of another chunk.

Run: python tests/benchmarks/bench_chunks.py [seconds]
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from experiments.faults.theirs import Asked, follower, rollout, signals, simulated
from experiments.faults.traced import TracedArm
from so101_policy.inference.loaded import Prediction
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.interpolation import Interpolated
from so101_robot.chunks.scheduler import CHUNK_MODES, ChunkMode, make_scheduler
from so101_robot.chunks.step_bound import longest_steps
from so101_robot.chunks.workers import InlineWorker
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.config import MockConfig

POLICY_FPS = 30
LATENCY_S = 0.3
LENGTH = 60
N_ACTION_STEPS = 30
DISAGREEMENT_DEG = 4.0
NEAR_S = 0.2
POSE = np.array([0.0, -60.0, 60.0, 50.0, 0.0, 30.0])
SWING = np.array([30.0, 15.0, 15.0, 20.0, 30.0, 20.0])
SHIFT_RAD = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
RATE_RAD_S = 2.0
APPROACH_DEG_S = 60.0
LEAD_S = 0.1
"""Goals are ahead of the joints by so much, as in recordings: the servos follow with a lag."""


class Result(NamedTuple):
    ticks: int
    """From the first action on."""
    without: int
    inside_deg: float
    """Per tick of the loop."""
    across_deg: float


def path(phase_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 6) poses of the closed path."""
    return POSE + SWING * np.sin(phase_N[:, None] + SHIFT_RAD)


class Swinging:
    """The scripted policy."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.phases = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
        self.poses = path(self.phases)
        self.inside_deg = 0.0

    def __call__(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        here = self.phases[np.abs(self.poses - state).sum(axis=1).argmin()]
        offset = self.generator.uniform(-DISAGREEMENT_DEG, DISAGREEMENT_DEG, 6)
        actions = path(here + RATE_RAD_S * (LEAD_S + np.arange(LENGTH) / POLICY_FPS)) + offset
        self.inside_deg = max(self.inside_deg, float(longest_steps(actions[:, :5]).max()))
        return Prediction(actions.astype(np.float32), None)


class Watch:
    """What was asked of the arm joints on each tick, and which chunk it was of."""

    name = "watch"

    def __init__(self) -> None:
        self.asked: list[NDArray[np.float64] | None] = []
        self.chunk: list[int] = []

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "run" and tick.planned is not None:
            self.asked.append(None if tick.asked is None else tick.asked[:5])
            self.chunk.append(tick.planned.chunk_tick)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


def play(mode: ChunkMode, every: int, seconds: float) -> Result:
    fps = POLICY_FPS * every
    mock = MockConfig(width=16, height=16, realtime_factor=0.0)
    robot = SO101(SO101Config(port="mock", mock=mock))
    robot.connect()
    guard = robot.guard
    assert guard is not None
    policy, watch = Swinging(), Watch()
    worker = InlineWorker(policy, LATENCY_S)
    inner = make_scheduler(mode, worker, fps=POLICY_FPS, n_action_steps=N_ACTION_STEPS)

    def standing() -> NDArray[np.float64]:
        command = guard.last_command
        assert command is not None
        return command

    scheduler = inner if every == 1 else Interpolated(inner, every, standing)
    config = LoopConfig(
        fps=fps, duration_s=seconds, approach_speed=APPROACH_DEG_S, ending=EndingConfig(home=False)
    )
    outcome = ControlLoop(robot, scheduler, guard, robot.clock, config=config, observers=[watch]).run()
    robot.disconnect(release=False)
    if outcome.error is not None:
        raise outcome.error
    return evaluate(watch, policy.inside_deg / every, fps)


class InTheLoop(Asked):
    """The scripted policy behind the queue of `ACTPolicy.select_action`: where that is empty, the loop waits."""

    def __init__(self, arm: TracedArm, seconds: float) -> None:
        self.policy, self._arm, self._seconds = Swinging(), arm, seconds
        self._robot: Any = None
        self._queue: list[NDArray[np.float32]] = []
        self.state = POSE
        self.begin_s: float | None = None
        self.end_s = 0.0
        self.sent: list[NDArray[np.float32]] = []
        self.chunk: list[int] = []

    def get_action(self, obs_frame: dict[str, Any] | None) -> Any:
        arm = self._arm
        if not self._queue:
            state = np.append(self.known, POSE[5])
            arm.advance_to(arm.now_us + round(LATENCY_S * 1e6))
            self._queue = list(self.policy(state, {}).actions[:N_ACTION_STEPS])
            self.chunk.append(len(self.sent))
        now_s = arm.now_us * 1e-6
        self.begin_s, self.end_s = now_s if self.begin_s is None else self.begin_s, now_s
        if now_s - self.begin_s >= self._seconds - LATENCY_S:
            self.stop_event.set()
        self.sent.append(self._queue.pop(0))
        return torch.tensor(self.sent[-1])


def play_lerobot(seconds: float) -> Result:
    arm = TracedArm(MockConfig(width=16, height=16, realtime_factor=0.0))
    with TemporaryDirectory() as folder, signals(), simulated(arm):
        robot = follower(arm, Path(folder))
        robot.connect(calibrate=False)
        observation = robot.get_observation()
        engine = InTheLoop(arm, seconds)
        rollout(robot, engine, {f"{joint}.pos": observation[f"{joint}.pos"] for joint in JOINTS})
        ticks = round((engine.end_s - (engine.begin_s or 0.0)) * POLICY_FPS) + 1
    arm.close()
    steps = np.abs(np.diff(np.array(engine.sent)[:, :5], axis=0)).max(axis=1)
    across = [steps[k - 1] for k in engine.chunk if 0 < k < len(engine.sent)]
    return Result(ticks, ticks - len(engine.sent), engine.policy.inside_deg, float(max(across)))


def evaluate(watch: Watch, inside_deg: float, fps: float) -> Result:
    first = next(i for i, asked in enumerate(watch.asked) if asked is not None)
    asked, chunks = watch.asked[first:], watch.chunk[first:]
    last, playing, near, across_deg = asked[0], chunks[0], 0, 0.0
    for action, chunk in zip(asked, chunks, strict=True):
        if action is None:
            continue
        if chunk != playing:
            playing, near = chunk, math.ceil(NEAR_S * fps)
        if near > 0:
            near -= 1
            across_deg = max(across_deg, float(np.abs(action - last).max()))
        last = action
    return Result(len(asked), sum(action is None for action in asked), inside_deg, across_deg)


def in_words(result: Result) -> list[str]:
    return [
        str(result.ticks),
        f"{result.without} ({result.without / result.ticks:.1%})",
        f"{result.inside_deg:.3f}",
        f"{result.across_deg:.3f}",
        f"{result.across_deg / result.inside_deg:.2f}",
    ]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    table = Table(
        title=f"an inference of {LATENCY_S * 1e3:.0f} ms, {seconds:g} simulated seconds",
        caption="degrees per tick; the scripted plans differ by up to 8 degrees where they meet",
    )
    for column in ("mode", "policy", "loop", "ticks", "without", "inside", "across", "across / inside"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for every in (1, 6):
        for mode in CHUNK_MODES:
            result = play(mode, every, seconds)
            table.add_row(
                mode,
                f"{POLICY_FPS} Hz",
                f"{POLICY_FPS * every} Hz",
                *in_words(result),
            )
        table.add_section()
    theirs = play_lerobot(seconds)
    table.add_row("lerobot-rollout", f"{POLICY_FPS} Hz", f"{POLICY_FPS} Hz", *in_words(theirs))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
