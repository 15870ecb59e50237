"""What a person should do with the arm, as data: for a prompt, and for a simulated hand."""

from enum import StrEnum
from typing import NamedTuple

from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS
from so101_robot.mock.physics.gears import LEADER_GEARS


class StepKind(StrEnum):
    """What to do."""

    HOLD = "hold"
    MIDDLE = "middle"
    SWEEP = "sweep"
    """One joint to both of its stops."""
    CLOSE = "close"
    """The jaws, to the end: which of the two stops is closed."""
    WIGGLE = "wiggle"
    """One joint alone, to and fro."""
    CONNECT = "connect"
    """One motor alone."""
    FOLD = "fold"
    """Two arms folded, against their stops."""
    ASIDE = "aside"
    """Two arms turned to one side and their hands up, against their stops."""
    LET_GO = "let go"
    """The arm holds itself."""
    TAKE = "take"
    """The arm goes limp next, where it is."""
    SHAKE = "shake"
    """One of several arms, to and fro."""


class Step(NamedTuple):
    """One thing to do."""

    kind: StepKind
    joint: str | None
    text: str


HOLD = Step(StepKind.HOLD, None, "Hold the arm: it goes limp next")

LET_GO = Step(
    StepKind.LET_GO,
    None,
    "The arm holds itself now: let go of it, step back, and keep a finger on Ctrl-C, which stops it at any time",
)

TAKE = Step(StepKind.TAKE, None, "Take hold of the arm where it is: it goes limp next")

MIDDLE = Step(
    StepKind.MIDDLE,
    None,
    "Bring all joints to about their middles: upper arm upright, forearm and hand straight forwards, jaws half open. "
    "Roll the wrist exactly, because this is its zero: the jaws open up and down, fixed finger below, moving jaw above",
)

SWEEPS = {
    joint: Step(
        StepKind.SWEEP,
        joint,
        f"Move {joint} to both of its stops, slowly, and rest at each for half a second",
    )
    for joint in JOINTS
} | {
    FULL_TURN_JOINT: Step(
        StepKind.SWEEP,
        FULL_TURN_JOINT,
        f"Roll {FULL_TURN_JOINT} to both of its stops, slowly, and rest at each for half a second; where it has none, "
        "a quarter turn both ways",
    ),
}

CLOSE = Step(StepKind.CLOSE, JOINTS[GRIPPER], "Close the jaws all the way, and keep them closed")

SQUEEZE = Step(
    StepKind.CLOSE, JOINTS[GRIPPER], "Press the trigger all the way, as for closed jaws, and keep it pressed"
)

WIGGLES = {
    joint: Step(StepKind.WIGGLE, joint, f"Move {joint}, and only this joint, a third of its range to and fro")
    for joint in JOINTS
}

CONNECTS = {
    joint: Step(StepKind.CONNECT, joint, f"Connect the motor of {joint}, and no other") for joint in JOINTS
}

LEADER_CONNECTS = {
    joint: Step(
        StepKind.CONNECT,
        joint,
        f"Connect the motor of {joint}, and no other: the one with the gear 1:{gear:.0f}. No message can ask a motor "
        "for its gear; turn the horn with the hand: the larger the number, the harder it turns",
    )
    for joint, gear in LEADER_GEARS.items()
}
