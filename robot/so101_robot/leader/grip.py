"""The force on the follower's gripper, as a word on the screen: a leader's trigger does not push back.

A person who feels nothing squeezes on. Where the jaws press is told once, with the share of the motor's duty, and once
more when they let go.
"""

from collections.abc import Callable

from so101_robot.joints import GRIPPER
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

PRESSES, RESTS = 30.0, 15.0
"""Load of the gripper from which on it presses, and below which it does not any more [% of the motor's duty]. LeRobot
allows it 50."""

STANDS_STEPS_S = 150.0
"""Jaws that move faster than this (13 degrees a second) need their load for the motion."""

STEP = 10.0
"""So much more is told again [%]."""


class GripHint:
    """Observer of one run.

    Args:
        tell: what the person should know.
    """

    name = "grip"

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._told = 0.0

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run" or tick.state.health is None:
            return
        health = tick.state.health
        load = abs(float(health.load_percent[GRIPPER]))
        if load < RESTS:
            if self._told:
                self._tell(Message("the jaws do not press any more"))
            self._told = 0.0
        elif (
            load >= max(PRESSES, self._told + STEP) and abs(health.velocity_steps_s[GRIPPER]) < STANDS_STEPS_S
        ):
            self._told = load
            self._tell(Message(f"the jaws press: {load:.0f} % of the gripper's motor"))

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...
