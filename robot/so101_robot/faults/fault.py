"""What can be wrong and what the run then does: nouns without rules."""

from enum import StrEnum
from typing import Literal, NamedTuple

from so101_robot.errors import RobotError


class Mode(StrEnum):
    """What the arm is doing, in order of seriousness."""

    RUNNING = "running"
    DEGRADED = "degraded"
    HOLDING = "holding"
    PARKING = "parking"
    RELEASED = "released"


Fault = Literal[
    "servo silent",
    "bus silent",
    "port gone",
    "servo rebooted",
    "overload",
    "gripper overload",
    "over-current",
    "too hot",
    "warm",
    "voltage",
    "servo strained",
    "encoder fault",
    "position leaps",
    "camera stalled",
    "camera frozen",
    "camera dark",
    "camera gone",
    "camera swapped",
    "policy late",
    "policy raises",
    "policy server gone",
    "policy answers no pose",
    "policy out of range",
    "policy far out of range",
    "policy jumps",
    "guard refuses the policy",
    "guard stops",
    "leader silent",
    "leader far out",
]


class Symptom(NamedTuple):
    """One fault as it was seen on one tick."""

    fault: Fault
    where: str
    """The joint or camera; empty where the fault belongs to none."""
    words: str
    """For the person at the bench."""


class SourceFault(RobotError):  # noqa: N818 (a fault, and the error that a run ends with because of it)
    """What plays in the loop has no action, and knows which fault that is.

    Args:
        fault: which one; its rule decides what is done.
        words: for the person at the bench.
    """

    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault: Fault = fault
