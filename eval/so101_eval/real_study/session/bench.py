"""The arm of a session: connected once, driven once a trial by what `so101-run` drives with, at rest in between."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from so101_eval.real_study.events.outcome import HUMAN
from so101_eval.real_study.measurement.protocol import Pictures
from so101_eval.real_study.session.contenders import Contender
from so101_eval.real_study.session.control import Control, Controlled
from so101_eval.real_study.session.rig import camera_checks
from so101_robot.arm.arm import SO101
from so101_robot.commands import compose
from so101_robot.commands.drive import drive
from so101_robot.commands.run_config import RunConfig
from so101_robot.commands.taking_over import TakingOver
from so101_robot.commands.watching import tell_all
from so101_robot.errors import RobotError, describe
from so101_robot.joints import JOINTS
from so101_robot.loop.loop import Outcome
from so101_robot.loop.stopping import stop_on_signals
from so101_robot.loop.tick import Observer, Tick
from so101_robot.message import Message
from so101_robot.preflight.checks import run_checks, servo_checks
from so101_robot.preflight.findings import Finding, Level
from so101_robot.runs.log import RunLog
from so101_robot.state import Frame

SIGNALS = ("Ctrl-C", "SIGTERM", "SIGHUP")


class Health(NamedTuple):
    """Of the arm between two trials."""

    hottest_c: float | None
    lowest_v: float | None


@dataclass(frozen=True)
class Ran:
    """The run of a trial."""

    cause: str
    why: str
    """done, time, stopped, danger, fault, or human: a person took over."""
    fault: str | None
    error: str | None
    lasting: tuple[str, ...]
    """Faults that were there on the last tick on which the policy might have driven."""
    ticks: int
    driven_s: float
    """By the policy, on the robot's clock."""
    at_home: bool
    held: str
    """Why the arm was not let go, if it was not."""
    signal: str | None
    """The system or a Ctrl-C ended it."""
    stop_to_hold_s: float | None
    """From the operator's stop to the arm's hold, on the machine's clock."""


class Bench:
    """The connected arm.

    Args:
        robot: connected.
        config: of a run, with the study's start pose and time limit.
        about: of every trial's `run.json`.
        record: what is measured by and kept, where that is more than the policies see; None: the cameras' pictures.
        taking: the connected leader with which a person may take over; None: there is none.
    """

    def __init__(
        self,
        robot: SO101,
        config: RunConfig,
        about: Mapping[str, Any],
        record: Callable[[], Pictures] | None = None,
        taking: TakingOver | None = None,
    ) -> None:
        self.robot, self.config, self._about, self._record = robot, config, dict(about), record
        self._taking = taking

    def frames(self) -> Mapping[str, Frame]:
        """The newest of every camera, not looked at yet; none where a camera fails."""
        try:
            return self.robot.frames()
        except RobotError:
            return {}

    def pictures(self) -> Pictures:
        """What is measured by and kept."""
        seen = {name: frame.image for name, frame in self.frames().items()}
        return seen if self._record is None else {**seen, **self._record()}

    def health(self) -> Health:
        """Hottest servo and lowest supply; None where servos do not say it."""
        try:
            health = self.robot.read().health
        except RobotError:
            health = None
        if health is None:
            return Health(None, None)
        known = [values[np.isfinite(values)] for values in (health.temperature_c, health.voltage_v)]
        return Health(
            float(known[0].max()) if known[0].size else None, float(known[1].min()) if known[1].size else None
        )

    @property
    def zero_deg(self) -> list[float]:
        """(6,) where the joints' zeros are on the model: without it nobody knows where the hand was."""
        assert self.robot.guard is not None  # it is connected
        return [self.robot.guard.rig.joints[joint].zero_deg for joint in JOINTS]

    def check(self) -> list[Finding]:
        """Servos, calibration, supply, heat, cameras: what does not depend on a policy. Nothing moves."""
        checks = servo_checks(self.robot) | camera_checks(self.robot)
        found = run_checks(checks, self.config.preflight.skip)
        try:
            sizes = {name: frame.image.shape[:2] for name, frame in self.robot.frames().items()}
        except RobotError as problem:
            return [*found, Finding(Level.STOP, "cameras", "", describe(problem))]
        words = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
        return [*found, Finding(Level.OK, "cameras", "", words)]

    def drive(
        self,
        contender: Contender,
        least_s: float,
        folder: Path,
        code: str,
        watching: Sequence[Observer],
        control: Control,
    ) -> Ran:
        """One trial: to the start pose, the policy, home. Raises RobotError, ConfigError before the arm has moved."""
        with stop_on_signals() as stop, ExitStack() as stack:
            control.attach(stop)
            log = RunLog(folder, self._about | {"trial": code})
            plays, takeover = contender.scheduler(self.robot, least_s), None
            if self._taking is not None:
                keys = control.keys_of(self.config.takeover)
                plays = takeover = self._taking.scheduler(
                    plays, self.robot, tell_all([log, *watching]), stack, keys
                )
            scheduler = Controlled(plays, control, lambda: compose.last_command(self.robot))
            timer = _Timer(control)
            config = replace(self.config, output_dir=folder)
            outcome = drive(config, self.robot, scheduler, [log, timer, *watching], folder, stop)
        signal = stop.reason if stop.reason in SIGNALS else None
        return _ran(outcome, timer, control, signal, takeover is not None and takeover.count > 0)


def _ran(outcome: Outcome, timer: "_Timer", control: Control, signal: str | None, taken: bool) -> Ran:
    fault = outcome.fault
    if taken:
        why = HUMAN  # and not what came after
    elif fault is not None or outcome.error is not None:
        why = "fault"
    elif control.why is not None:
        why = control.why
    else:
        why = "stopped" if signal else "time"
    held_s = None
    if control.asked_s is not None and timer.held_s is not None:
        held_s = timer.held_s - control.asked_s
    return Ran(
        outcome.cause,
        why,
        fault,
        None if outcome.error is None else describe(outcome.error),
        timer.lasting,
        outcome.ticks,
        timer.driven_s,
        outcome.ending.at_home,
        outcome.ending.held,
        signal,
        held_s,
    )


class _Timer:
    """How long the policy drove, and when the arm held after a stop."""

    name = "timer"

    def __init__(self, control: Control) -> None:
        self._control = control
        self._first_s: float | None = None
        self.driven_s = 0.0
        self.held_s: float | None = None
        self.lasting: tuple[str, ...] = ()

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "home":
            return
        self.lasting = tuple(name.partition(": ")[0] for name in tick.faults)
        if tick.phase == "run" and tick.planned is not None and tick.planned.action is not None:
            self._first_s = tick.time_s if self._first_s is None else self._first_s
            self._control.running = True
        if tick.phase == "run" and self._first_s is not None:
            self.driven_s = tick.time_s - self._first_s

    def on_message(self, message: Message) -> None:
        if self._control.asked_s is not None and self.held_s is None and message.text == "going home":
            self.held_s = time.perf_counter()  # the ending has told the servos to hold

    def close(self) -> None: ...
