"""The rules of the guard, by the names under which run logs, reports and the dashboard keep them."""

from enum import StrEnum


class GuardRule(StrEnum):
    """Why the guard changed an action, or let none pass. Its text is what a run log says."""

    # a joint was clamped
    LIMIT = "limit"
    SPEED = "speed"
    ACCELERATION = "acceleration"
    STEP = "step"

    # the step as a whole was shortened
    TABLE = "table"
    WORKSPACE = "workspace"
    SELF_COLLISION = "self-collision"

    # the arm was slowed down, or stopped
    OVERLOAD_CURRENT = "overload (current)"
    OVERLOAD_LOAD = "overload (load)"
    TEMPERATURE = "temperature"

    # what is known of the arm is not of now
    SERVO_SILENT = "servo does not answer"
    STATE_TOO_OLD = "state too old"
    STATE_FROM_THE_FUTURE = "state from the future"
    STATE_RUNS_BACKWARDS = "state runs backwards"
    STATE_STANDS_STILL = "state does not get newer"

    # nor what is known of the scene
    FRAME_TOO_OLD = "frame too old"
    FRAME_FROM_THE_FUTURE = "frame from the future"
    FRAME_RUNS_BACKWARDS = "frame runs backwards"
    FRAME_STANDS_STILL = "frame does not get newer"

    # the action is no pose
    NOT_NUMBERS = "action is not made of numbers"
    WRONG_SIZE = "wrong number of joints"
    NOT_FINITE = "action is not finite"

    NO_START = "the guard was not told where the arm is (reset)"


STALE_STATE = frozenset(
    (
        GuardRule.STATE_TOO_OLD,
        GuardRule.STATE_FROM_THE_FUTURE,
        GuardRule.STATE_RUNS_BACKWARDS,
        GuardRule.STATE_STANDS_STILL,
    )
)
STALE_FRAME = frozenset(
    (
        GuardRule.FRAME_TOO_OLD,
        GuardRule.FRAME_FROM_THE_FUTURE,
        GuardRule.FRAME_RUNS_BACKWARDS,
        GuardRule.FRAME_STANDS_STILL,
    )
)
OVERLOADED = frozenset((GuardRule.OVERLOAD_CURRENT, GuardRule.OVERLOAD_LOAD, GuardRule.TEMPERATURE))
NO_POSE = frozenset((GuardRule.NOT_NUMBERS, GuardRule.WRONG_SIZE, GuardRule.NOT_FINITE))
