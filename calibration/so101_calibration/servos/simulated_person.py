"""The mock arm's person: does with the simulated hand what the flow asks for, and answers yes.

For `--port mock` (a demonstration of the guided flow) and for tests. The hand knows joint angles only, never what the
encoders read, and it pushes gently into the stops as a person does.
"""

from collections.abc import Callable

import numpy as np
from rich.console import RenderableType

from so101_calibration.errors import CalibrateError
from so101_calibration.servos.steps import Step
from so101_calibration.servos.terminal import Talk
from so101_robot.clock import Clock
from so101_robot.joints import FULL_TURN_JOINT, JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.physics.hand import CLEARANCE_RAD, Hand

PERIOD_S = 0.02
"""Between two looks at the servos [s]."""

PUSH_RAD = 0.03
"""How far the hand wants to go beyond a stop: about 1 N m at the shoulder, 0.5 N m at the wrist."""

ROLL_RAD = 1.2

WIGGLE = 0.2
"""Of a joint's range, to either side of its middle."""

REST_S = 0.3
BOOT_S = 1.0
UNPLUGGED_MS = 10**9


class SimulatedPerson:
    """Plays the person of a mock arm.

    Args:
        hand: of the mock arm.
        clock: of the mock arm.
        display: shows what is said.
        yes: the answer to every question.
        move_s: how long one move takes [s].
        connect: what it does when it is to connect one motor alone.
    """

    def __init__(
        self,
        hand: Hand,
        clock: Clock,
        display: Talk | None = None,
        yes: bool = True,
        move_s: float = 0.6,
        connect: Callable[[str], None] | None = None,
    ) -> None:
        self._connect = connect
        self._hand, self._clock, self._display = hand, clock, display
        self._yes, self._move_s = yes, move_s

    def say(self, what: RenderableType) -> None:
        if self._display is not None:
            self._display.say(what)

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        self.say(step.text)
        self.do(step)
        next_s = self._clock.now_s()
        while self._hand.busy:
            look()
            next_s += PERIOD_S
            self._clock.sleep_until(next_s)
        self.say(look())

    def confirm(self, question: str) -> bool:
        self.say(f"{question} {'yes' if self._yes else 'no'}")
        return self._yes

    def do(self, step: Step) -> None:
        """Queue the moves for a step."""
        hand = self._hand
        if step.kind in ("hold", "middle"):
            hand.middle(2 * self._move_s)
            hand.middle(REST_S)
        elif step.kind == "connect" and step.joint is not None and self._connect is not None:
            self._connect(step.joint)
            self._clock.sleep_until(self._clock.now_s() + BOOT_S)
        elif step.kind == "wiggle" and step.joint is not None:
            self._wiggle(step.joint)
        elif step.kind != "sweep" or step.joint is None:
            raise CalibrateError(f"the simulated hand does not know how to {step.kind}")
        else:
            self._sweep(step.joint)

    def _wiggle(self, joint: str) -> None:
        hand, index = self._hand, JOINTS.index(joint)
        middle, aside = float(hand.middle_rad[index]), WIGGLE * float(np.ptp(hand.range_rad[index]))
        for target in (middle - aside, middle + aside, middle):
            hand.move({joint: target}, self._move_s)

    def _sweep(self, joint: str) -> None:
        hand, index = self._hand, JOINTS.index(joint)
        aside = CLEARANCE_RAD.get(joint, ({}, {}))
        back = {name: float(hand.middle_rad[JOINTS.index(name)]) for name in (joint, *aside[0], *aside[1])}
        if joint == FULL_TURN_JOINT:
            ends = [back[joint] - ROLL_RAD, back[joint] + ROLL_RAD]
        else:
            low, high = hand.range_rad[index].tolist()
            ends = [low - PUSH_RAD, high + PUSH_RAD]
        for end_rad, pose in zip(ends, aside, strict=True):
            hand.move({joint: end_rad, **pose}, self._move_s)
            hand.move({joint: end_rad}, REST_S)
            hand.move(back, self._move_s)


def as_from_the_factory(arm: MockArm, joint: str | None) -> None:
    """Motors of a kit: all have id 1. Only that of `joint` is connected, if one is named."""
    for index in range(len(JOINTS)):
        arm.servos.set(index, "ID", 1)
    if joint is not None:
        connect_alone(arm, joint)
        arm.advance_to(arm.now_us + round(BOOT_S * 1e6))


def connect_alone(arm: MockArm, joint: str) -> None:
    """Unplug all motors but one, which boots."""
    for index, name in enumerate(JOINTS):
        arm.servos.reboot(index, *(() if name == joint else (UNPLUGGED_MS,)))
