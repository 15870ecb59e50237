"""A repetition with LeRobot's own runner: `SO101Follower` and the control loop of `lerobot-rollout` (base strategy),
both unmodified, on the same mock arm and the same simulated time.

What is replaced is what reaches out of the program: the serial port under feetech-servo-sdk (`HostSerial`, whose bytes
arrive when the wire delivers them), the clock by which the SDK waits and the loop sleeps, and the cameras, which
keep LeRobot's rule for `read_latest`. The policy is the same function as on our side, one action a tick.
"""

import contextlib
import json
import termios
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import serial
from lerobot.cameras import Camera, CameraConfig, make_cameras_from_configs
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.rollout.configs import BaseStrategyConfig
from lerobot.rollout.inference import InferenceEngine
from lerobot.rollout.robot_wrapper import ThreadSafeRobot
from lerobot.rollout.strategies import base, core
from lerobot.utils.errors import DeviceNotConnectedError
from lerobot.utils.process import ProcessSignalHandler
from numpy.typing import NDArray

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
from experiments.faults.stage import FPS, Stage
from experiments.faults.traced import TracedArm
from so101_robot.errors import CameraError, describe
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.config import CAMERAS
from so101_robot.mock.wire.wire import Reply

FAULT_S = (3.5, 4.5)
"""When the fault begins: the blend to the swing is over."""
BLEND_S = 2.0
AFTER_S = 2.0
POLL_US = 200
"""How long an empty look at the port takes on the arm's clock."""
MOST_S = 75.0
"""A runner that never stops is stopped."""


class HostSerial:
    """The mock arm as a pyserial object on which bytes arrive when they arrive."""

    def __init__(self, arm: TracedArm) -> None:
        self._arm = arm
        self._coming: list[Reply] = []
        self._arrived = bytearray()
        self.is_open = True
        self.baudrate = 1_000_000

    @property
    def in_waiting(self) -> int:
        self._take()
        return len(self._arrived)

    def write(self, data: Any) -> int:
        """Send; raises what pyserial raises for a port that has gone."""
        self._check()
        arm, request = self._arm, bytes(data)
        arm.advance_to(arm.now_us + len(request) * arm.wire.byte_us)
        self._coming += arm.exchange(request)
        self._coming.sort(key=lambda reply: reply.start_us)
        return len(request)

    def read(self, size: int = 1) -> bytes:
        self._check()
        self._take()
        if not self._arrived:
            self._arm.advance_to(self._arm.now_us + POLL_US)
            self._take()
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    def flush(self) -> None:
        """tcdrain: output only, as pyserial has it."""
        if self._arm.unplugged:
            raise termios.error(5, "Input/output error")

    def reset_input_buffer(self) -> None:
        self._take()
        self._arrived.clear()

    def close(self) -> None:
        self.is_open = False

    def _check(self) -> None:
        if self._arm.unplugged:
            raise serial.SerialException("write failed: [Errno 5] Input/output error")

    def _take(self) -> None:
        now_us, byte_us = self._arm.now_us, self._arm.wire.byte_us
        rest: list[Reply] = []
        for start_us, data in self._coming:
            count = max(0, min((now_us - start_us) // byte_us, len(data)))
            self._arrived += data[:count]
            if count < len(data):
                rest.append(Reply(start_us + count * byte_us, data[count:]))
        self._coming = rest


class MockCamera(Camera):
    """A camera of the mock arm with LeRobot's rule: the newest picture, unless it is older than half a second."""

    def __init__(self, arm: TracedArm, name: str) -> None:  # no settings: nothing is opened
        self._arm, self._name = arm, name
        self.fps, self.width, self.height = 30, arm.config.width, arm.config.height
        self._open = False

    @property
    def is_connected(self) -> bool:
        return self._open and self._name not in self._arm.gone

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        return []

    def connect(self, warmup: bool = True) -> None:
        self._open = True

    def read(self) -> Any:
        return self.read_latest()

    def async_read(self, timeout_ms: float = 200) -> Any:
        return self.read_latest()

    def read_latest(self, max_age_ms: int = 500) -> Any:
        try:
            frame = self._arm.frame(self._name)
        except CameraError as problem:
            raise DeviceNotConnectedError(str(problem)) from problem
        age_ms = (self._arm.now_us * 1e-6 - frame.captured_s) * 1e3
        if age_ms > max_age_ms:
            raise TimeoutError(
                f"{self._name} latest frame is too old: {age_ms:.1f} ms (max allowed: {max_age_ms} ms)."
            )
        return frame.image

    def disconnect(self) -> None:
        self._open = False


class Asked(InferenceEngine):
    """A policy that is asked in the loop, as LeRobot's synchronous engine asks it."""

    known: NDArray[np.float64] = np.zeros(5)
    """(5,) the joints as LeRobot read them on this tick."""
    stop_event: Any = None
    """Ends the loop when set."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def reset(self) -> None: ...


class Swinging(Asked):
    """The policy, one action a tick."""

    def __init__(self, stage: Stage, start: dict[str, float]) -> None:
        self._stage, self._start = stage, np.array([start[f"{joint}.pos"] for joint in JOINTS])
        self._begin_s = stage.now_s()
        self.driven_s: list[float] = []
        self.wrong: list[tuple[float, float]] = []
        self.end_s = MOST_S

    def get_action(self, obs_frame: dict[str, Any] | None) -> Any:
        import torch

        stage = self._stage
        stage.stand_still()
        late_s = stage.latency_s(stage.now_s())
        if late_s:
            stage.arm.advance_to(stage.arm.now_us + round(min(late_s, MOST_S) * 1e6))
        now_s = stage.now_s()
        if now_s > self.end_s and self.stop_event is not None:
            self.stop_event.set()
        share = 0.5 - 0.5 * np.cos(np.pi * min(1.0, (now_s - self._begin_s) / BLEND_S))
        action = (
            self._start + share * (stage.answer(now_s)[0] - self._start)
            if share < 1.0
            else stage.answer(now_s)[0]
        )
        self.driven_s.append(now_s)
        away = np.abs(self.known - true_deg(stage.arm))
        self.wrong.append((now_s, float(away.max())))
        return torch.tensor(action)


def drive(row: Row, seed: int) -> Record:
    """One repetition."""
    usb = row.group == "usb"
    stage = Stage(seed, usb)
    with stage.open(), signals(), TemporaryDirectory() as folder, simulated(stage.arm, in_real_time=usb):
        return _drive(stage, row, seed, Path(folder))


def _drive(stage: Stage, row: Row, seed: int, folder: Path) -> Record:
    rng, arm = stage.rng, stage.arm
    fault_s = 0.0 if row.group == "start" else float(rng.uniform(*FAULT_S))
    row.inject(stage, fault_s, rng)
    start_rad = arm.joint_rad.copy()
    robot = follower(arm, folder, stage.cameras())
    engine: Swinging | None = None
    said, over_s, went_on = "", None, False
    try:
        robot.connect(calibrate=False)
        observation = robot.get_observation()
        engine = Swinging(stage, observation)
        engine.end_s = fault_s + row.watch_s
        rollout(robot, engine, {key: observation[key] for key in observation if key.endswith(".pos")})
        over_s = None
    except (Exception, SystemExit) as problem:  # whatever ends LeRobot's runner
        said, over_s = describe(problem)[:200], stage.now_s()
    ended_by_itself = engine is not None and not said and stage.now_s() >= engine.end_s
    robot.__del__()  # as the interpreter does at its end
    stage.live(AFTER_S)
    motion, orders = arm.motion(), arm.orders
    after = [order for order in orders if order.time_s >= fault_s]
    driven = engine.driven_s if engine is not None else []
    went_on = ended_by_itself
    ended = "refused" if engine is None else final_state(motion, after, went_on)
    if engine is not None and not went_on:
        over_s = driven[-1] if driven else over_s
    inside = [time_s for time_s in driven if fault_s <= time_s < fault_s + row.for_s]
    world = arm.world
    assert world is not None  # the table
    record = Record(
        row=row.name,
        side="lerobot",
        seed=seed,
        ended=ended,
        error=said,
        react_s=None
        if went_on or _to_the_end(engine)
        else 0.0
        if engine is None
        else max((over_s or 0.0) - fault_s, 0.0),
        drove_s=max(inside) - fault_s if inside else None,
        speed_deg_s=largest_speed(motion),
        beyond_deg=beyond(motion, world.joint_range_rad),
        let_fall_mm=let_fall(motion, after),
        fell_mm=fell(motion, orders, fault_s),
        ticks=len(driven),
        missing=None,
        free_at_end=int(motion.free[-1].sum()),
        wrong_deg=max((wrong for time_s, wrong in engine.wrong if time_s >= fault_s), default=0.0)
        if engine is not None
        else 0.0,
    )
    record.unsafe = judge(record, row, touched(arm, start_rad))
    return record


def _to_the_end(engine: Swinging | None) -> bool:
    """The loop went on as long as it was let: what was wrong came to light when the arm was left, if at all."""
    return engine is not None and bool(engine.driven_s) and engine.driven_s[-1] > engine.end_s - 2 / FPS


def rollout(robot: SO101Follower, engine: Asked, initial: dict[str, float]) -> None:
    """What `lerobot-rollout` does between a connected robot and its end."""
    handler = ProcessSignalHandler(use_threads=True)
    engine.stop_event = handler.shutdown_event
    keys = [f"{joint}.pos" for joint in JOINTS]
    config = SimpleNamespace(
        interpolation_multiplier=1,
        fps=FPS,
        duration=0,
        use_torch_compile=False,
        display_data=False,
        return_to_initial_position=True,
    )

    def same(observation: Any) -> Any:
        engine.known = np.array([observation[key] for key in keys[:GRIPPER]])
        return observation

    context: Any = SimpleNamespace(
        runtime=SimpleNamespace(cfg=config, shutdown_event=handler.shutdown_event),
        hardware=SimpleNamespace(robot_wrapper=ThreadSafeRobot(robot), teleop=None, initial_position=initial),
        policy=SimpleNamespace(inference=engine),
        processors=SimpleNamespace(
            robot_observation_processor=same, robot_action_processor=lambda pair: pair[0]
        ),
        data=SimpleNamespace(dataset_features={}, ordered_action_keys=keys),
    )
    strategy = base.BaseStrategy(BaseStrategyConfig())
    try:
        strategy.setup(context)
        strategy.run(context)
    finally:
        strategy.teardown(context)


def follower(arm: TracedArm, folder: Path, usb: dict[str, CameraConfig] | None = None) -> SO101Follower:
    """LeRobot's robot on that arm; with its own camera class on the cameras of `usb`, if there are any."""
    (folder / "arm.json").write_text(json.dumps(arm.calibration_fields))
    robot = SO101Follower(SO101FollowerConfig(port="mock", id="arm", calibration_dir=folder))
    port: Any = robot.bus.port_handler

    def open_port(cflag_baud: int) -> bool:
        port.ser, port.is_open = HostSerial(arm), True
        port.tx_time_per_byte = 10_000 / port.baudrate
        return True

    port.setupPort = open_port
    port.getCurrentTime = lambda: arm.now_us * 1e-3
    mocks: dict[str, Camera] = {name: MockCamera(arm, name) for name in CAMERAS}
    robot.cameras = make_cameras_from_configs(usb) if usb else mocks
    return robot


@contextmanager
def simulated(arm: TracedArm, in_real_time: bool = False) -> Generator[None]:
    """LeRobot's loop and way home wait on the arm's clock; its warnings go nowhere."""
    import logging
    import time

    def sleep(seconds: float) -> None:
        if in_real_time:
            time.sleep(max(seconds, 0.0))
        arm.advance_to(arm.now_us + round(seconds * 1e6))

    clock = SimpleNamespace(perf_counter=lambda: arm.now_us * 1e-6)
    before = base.precise_sleep, core.precise_sleep, base.time, logging.root.manager.disable
    base.precise_sleep = core.precise_sleep = sleep
    base.time = clock
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        base.precise_sleep, core.precise_sleep, base.time = before[:3]
        logging.disable(before[3])


@contextmanager
def signals() -> Generator[None]:
    """LeRobot's handlers stay only as long as its runner."""
    import signal

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number, handler in before.items():
                signal.signal(number, handler)
