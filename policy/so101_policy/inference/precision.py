"""What bf16 does to a policy's actions, in the units of the robot: measured before it may drive.

bf16 keeps 8 bits of a number's mantissa. Through a whole ACT that came to 0.006 to 0.010 of an action's standard
deviation, which for an SO-101 is 0.1 to 0.5 degrees.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from so101_policy.inference.engine import Engine, PolicyInputs, PolicyOutputs
from so101_policy.inference.graph import EngineError

logger = logging.getLogger(__name__)

BOUND = 1.0
"""Degrees, percent of the gripper: the largest that an action may be off. A servo's gears have about as much play."""
OBSERVATIONS = 4


def check_bf16(
    engine: Engine,
    observe: Callable[[int], PolicyInputs],
    plain: Callable[[PolicyInputs], PolicyOutputs],
    unscale: Callable[[Tensor], Tensor],
) -> float:
    """The largest deviation from LeRobot's forward, in the robot's units, over a few observations.

    Args:
        engine: computes in bf16.
        observe: gives the observation of that number.
        plain: LeRobot's own forward.
        unscale: normalised actions (T, A) -> the robot's units.

    Raises:
        EngineError: it is above `BOUND`, or not a number, or the engine fails.
    """
    deviations: list[float] = []
    for number in range(OBSERVATIONS):
        observation = observe(number)
        expected = plain(observation)
        found = engine(observation, lambda expected=expected: expected)
        if engine.name == "plain":
            raise EngineError("bf16 is not used: the engine failed its verification; possible: f32")
        with torch.no_grad():
            off_TA = (unscale(found.actions_TA) - unscale(expected.actions_TA)).abs()
        deviations.append(float(off_TA.max()))
    largest = max(deviations)
    # said so that NaN is refused too
    if not all(deviation <= BOUND for deviation in deviations):
        raise EngineError(
            f"with bf16 an action is off by up to {largest:.2g} degrees (percent of the gripper), allowed is "
            f"{BOUND:g}; possible: f32"
        )
    logger.warning("bf16: actions are off by up to %.2g degrees (percent of the gripper)", largest)
    return largest
