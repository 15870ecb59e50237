"""Recoveries: episodes that start off the nominal path and are pushed off it, for policies that would drift.

The arm starts in another pose, and a slow wobble is added to the expert's commands. The expert looks at where the
arm really is, so what it asks for is the way back; that is what `Recovering.clean` has to record.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from so101_eval.demos.changes import chosen
from so101_eval.episode.episode import FPS
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import Reset, stream
from so101_robot.chunks.inference import Observation
from so101_robot.joints import GRIPPER, JOINTS

START_OFF_RAD = 0.12
"""[rad] The arm starts up to this far off in every joint: some 3 cm at the jaws."""
WOBBLE_DEG = np.array([2.5, 1.5, 1.5, 2.0, 3.0, 0.0])
"""(6,) standard deviation of the wobble: a centimetre at the jaws, which are left alone."""
WOBBLE_S = 0.6
"""Its correlation time."""
WOBBLE_SHARE = {"start": 1.0, "reach": 1.0, "carry": 1.0, "home": 1.0, "recover": 1.0, "lift": 0.4, "retreat": 0.4,
                "descend": 0.3, "lower": 0.3}  # fmt: skip
"""How much of it in which of the expert's phases. None while the jaws close or open, where it would only spoil
the episode."""
EASE_S = 0.3
"""In which one share gives way to the next."""

type Vector = NDArray[np.float64]


def recovers(share: float, seed: int) -> bool:
    """Whether that seed's episode is one of the `share` that are recoveries."""
    return chosen(share, "recovery share", seed)


def start_off(reset: Reset) -> Reset:
    """The same scene with the arm in another pose."""
    off_rad = stream("recovery", reset.seed).uniform(-START_OFF_RAD, START_OFF_RAD, len(JOINTS))
    off_rad[GRIPPER] = 0.0
    return dataclasses.replace(reset, arm_rad=tuple((np.array(reset.arm_rad) + off_rad).tolist()))


class Recovering:
    """The expert with a wobble on its commands: an Ornstein-Uhlenbeck process, less where it would spoil the task."""

    def __init__(self, expert: Expert, reset: Reset) -> None:
        self.expert = expert
        self.clean: Vector | None = None
        """(6,) what the expert asked for on this tick."""
        self._rng = stream("wobble", reset.seed)
        self._noise = np.zeros(len(JOINTS))
        self._share = 0.0

    def __call__(self, observation: Observation) -> Vector | None:
        self.clean = self.expert(observation)
        keep = np.exp(-1 / (FPS * WOBBLE_S))
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * self._rng.standard_normal(len(JOINTS))
        step = 1 / (FPS * EASE_S)
        self._share += float(np.clip(WOBBLE_SHARE.get(self.expert.phase, 0.0) - self._share, -step, step))
        return None if self.clean is None else self.clean + self._share * WOBBLE_DEG * self._noise
