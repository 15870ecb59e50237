"""How late ticks are, in real time, with and without inference beside the loop, and what a quiet runtime changes.

The control loop of `so101-run` at 30 Hz, with the guard and a run log, drives an arm that answers at once, so what
is measured is this process and the machine. Inference is an ACT with two 96x96 cameras, as `lerobot-train` makes
it, in the thread of `so101-run`, asked again as soon as it has answered: by LeRobot's forward, or by the engine that
`so101-run` takes here. *Plain* is Python as it starts: automatic garbage collection, a switch interval of 5 ms, threads
for every core, all with the same right to a core. *Quiet* is `so101_robot.process.realtime`, which `so101-run` has. All
take turns in blocks, so whatever else the machine does hits all of them.

Run: python tests/benchmarks/bench_jitter.py [seconds of each, 15 by default: a minute and a half in all]
"""

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.table import Table

from so101_policy.attention.shares import AttentionProbe
from so101_policy.inference.engine import PolicyInputs, PolicyOutputs, make_engine
from so101_policy.inference.loaded import Prediction
from so101_robot.chunks import workers
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import ThreadWorker
from so101_robot.clock import Clock, WallClock
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.process.compute_threads import leave_a_core
from so101_robot.process.realtime import realtime_runtime
from so101_robot.runs.log import RunLog
from so101_robot.state import ArmState, Frame

FPS = 30.0
BLOCK_S = 5.0
POSE = np.array([0.0, -60.0, 60.0, 50.0, 0.0, 30.0])
SIZE = 96


class Still:
    """An arm that is where it is told to be, and answers at once."""

    home = POSE

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.position = POSE
        self.image = np.zeros((SIZE, SIZE, 3), np.uint8)
        self.count = 0

    def read(self) -> ArmState:
        now_s = self.clock.now_s()
        return ArmState(now_s, self.position.copy(), np.ones(6, np.bool_), np.zeros(6, np.uint8), None)

    def frames(self) -> dict[str, Frame]:
        self.count += 1
        return {
            name: Frame(self.image + np.uint8(self.count % 200 + 30), self.clock.now_s(), self.count, None)
            for name in ("front", "wrist")
        }

    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        self.position = np.array(position, np.float64)
        return self.position

    def hold(self) -> None: ...

    def release(self) -> dict[str, str | None]:
        return dict.fromkeys(JOINTS)


class Lateness:
    """Of each tick."""

    name = "lateness"

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "run":
            self.late_ms.append(tick.late_s * 1e3)

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...


class Inference:
    """A forward pass on random pictures of the right size; its actions are to stay."""

    def __init__(self) -> None:
        inputs = {OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
        inputs |= {
            f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE))
            for name in ("front", "wrist")
        }
        config = ACTConfig(
            input_features=inputs,
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
            device="cpu",
            pretrained_backbone_weights=None,
        )
        torch.manual_seed(0)
        self.policy = ACTPolicy(config).eval()
        self.batch = {key: torch.randn(1, *feature.shape) for key, feature in inputs.items()}
        self.took_ms: list[float] = []

    def forward(self) -> None:
        with torch.no_grad():
            self.policy.predict_action_chunk(self.batch)

    def __call__(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        started_s = time.perf_counter()
        self.forward()
        self.took_ms.append((time.perf_counter() - started_s) * 1e3)
        return Prediction(np.tile(POSE.astype(np.float32), (100, 1)), None)


class Engined(Inference):
    """The same policy by the engine that `so101-run` takes on this machine."""

    def __init__(self) -> None:
        super().__init__()
        images = {
            key: torch.randint(0, 256, (SIZE, SIZE, 3), dtype=torch.uint8)
            for key in self.batch
            if "image" in key
        }
        self.seen = PolicyInputs({OBS_STATE: self.batch[OBS_STATE][0]}, images)
        engine = make_engine("auto", self.policy, as_a_batch)
        assert engine is not None
        self.engine = engine
        self.forward()  # its first answer is compared with LeRobot's, and is not what is measured
        self.name = engine.name

    def forward(self) -> None:
        self.engine(self.seen, self.plain)

    def plain(self) -> PolicyOutputs:
        pictures = {key: (image / 255).permute(2, 0, 1) for key, image in self.seen.images.items()}
        with torch.no_grad(), AttentionProbe(self.policy) as probe:
            actions_BTA = self.policy.predict_action_chunk(as_a_batch(pictures | self.seen.vectors))
            return PolicyOutputs(actions_BTA[0], probe.shares)


def as_a_batch(raw: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A preprocessor that changes no number."""
    return {key: value[None].contiguous() for key, value in raw.items()}


class Nothing:
    """A policy that is asked once and costs nothing."""

    def __call__(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        return Prediction(np.tile(POSE.astype(np.float32), (100_000, 1)), None)


class Cost(NamedTuple):
    late_ms: list[float]
    garbage: list[int]
    """Full collections in each block."""


@contextmanager
def plain() -> Generator[None]:
    """As Python and torch start: all cores, and a computing thread that does not step back."""
    lower_priority, threads = workers.lower_priority, torch.get_num_threads()
    workers.lower_priority = lambda: None
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        workers.lower_priority = lower_priority
        torch.set_num_threads(threads)


def block(predict: Any, quiet: bool) -> Cost:
    """Some seconds of the loop."""
    wall = WallClock()
    with tempfile.TemporaryDirectory() as folder, nullcontext() if quiet else plain():
        log, lateness = RunLog(Path(folder) / "run", {}), Lateness()
        with realtime_runtime(wall) if quiet else nullcontext(wall) as clock:
            before = gc.get_stats()[2]["collections"]
            guard = Guard(GuardLimits(), [-180.0] * 5 + [0.0], [180.0] * 5 + [100.0])
            # with n_action_steps = 1 the policy is asked again as soon as it has answered
            steps = 1 if isinstance(predict, Inference) else 100_000
            scheduler = make_scheduler(
                "asynchronous", ThreadWorker(predict, wall), fps=FPS, n_action_steps=steps
            )
            config = LoopConfig(FPS, BLOCK_S, ending=EndingConfig(home=False))
            loop = ControlLoop(Still(wall), scheduler, guard, clock, config=config, observers=[lateness, log])
            outcome = loop.run()
            full = gc.get_stats()[2]["collections"] - before
        for thread in threading.enumerate():
            if thread.name == "policy":
                thread.join()  # a forward pass under way would burden the next block
    if outcome.error is not None:
        raise outcome.error
    return Cost(lateness.late_ms[1:], [full])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    leave_a_core()
    lerobot, engined = Inference(), Engined()
    predictors: dict[str, Any] = {"none": Nothing(), "LeRobot's": lerobot, f"engine {engined.name}": engined}
    kinds = {
        (name, runtime): (predict, runtime == "quiet")
        for name, predict in predictors.items()
        for runtime in ("plain", "quiet")
    }
    costs = {kind: Cost([], []) for kind in kinds}
    took_ms: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(max(1, round(seconds / BLOCK_S))):
        for kind, (predict, quiet) in kinds.items():
            took: list[float] = getattr(predict, "took_ms", [])
            took.clear()
            cost = block(predict, quiet)
            costs[kind].late_ms.extend(cost.late_ms)
            costs[kind].garbage.extend(cost.garbage)
            took_ms[kind].extend(took)
    table = Table(
        title=f"lateness of ticks at {FPS:g} Hz in ms, {seconds:g} s each, in turns",
        caption=f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; inference: median of a forward pass",
    )
    for column in ("inference", "runtime", "ticks", "p50", "p99", "max", "full collections", "inference ms"):
        table.add_column(column, justify="left" if column in ("inference", "runtime") else "right")
    for kind, cost in costs.items():
        p50, p99, most = np.percentile(cost.late_ms, [50, 99, 100])
        forward = f"{np.median(took_ms[kind]):.0f}" if took_ms[kind] else ""
        figures = (f"{value:.2f}" for value in (p50, p99, most))
        table.add_row(*kind, str(len(cost.late_ms)), *figures, str(sum(cost.garbage)), forward)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
