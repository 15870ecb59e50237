"""What the loop knows of arm and scene on a tick, and what is wrong with it.

Reads the arm and takes the pictures; where one of both fails the last ones stay, and their age tells. A servo
that comes back is looked after before anybody uses its reading, and a port that has gone is looked for now and
then.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.errors import BusError, BusTimeoutError, CameraError, PortError, RobotError, describe
from so101_robot.faults.camera_swap import CameraSwapCheck
from so101_robot.faults.fault import Fault, Symptom
from so101_robot.faults.servo_restore import ServoRestorer
from so101_robot.faults.symptoms import LeapCheck, PictureCheck, servo_symptoms
from so101_robot.joints import JOINTS
from so101_robot.state import Arm

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard
    from so101_robot.state import ArmState, Frame

RECONNECT_EVERY_S = 0.5
"""How often a port that went away is looked for."""

FIRST_TRIES = 3

OF_PICTURES: tuple[Fault, ...] = ("camera frozen", "camera dark", "camera swapped")
"""Faults that only the pixels show."""


class Pictures(Mapping[str, NDArray[np.uint8]]):
    """The pictures of some frames by camera, (h, w, 3) RGB; drawn when they are asked for."""

    def __init__(self, frames: "Mapping[str, Frame]") -> None:
        self._frames = frames

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        return self._frames[name].image

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


class Readings:
    """The newest readings of one run.

    Args:
        arm: is read.
        guard: is told where the arm stands at the first reading.
        reconnect: see `loop.ControlLoop`.
    """

    def __init__(self, arm: Arm, guard: "Guard", reconnect: Callable[[], bool] | None) -> None:
        self._arm, self._guard, self._reconnect = arm, guard, reconnect
        self._restorer = ServoRestorer(arm)
        self._leap_check = LeapCheck()
        self._picture_check = PictureCheck()
        self._are_new = False
        self._swap_check = CameraSwapCheck()
        self._whole: NDArray[np.float64] | None = None
        self._port_gone = False
        self._look_again_s = -math.inf
        self.state: ArmState | None = None
        """The newest reading."""
        self.frames: dict[str, Frame] = {}
        """The newest pictures."""
        self.fault: str | None = None
        """What went wrong on the bus on this tick."""
        self.raised: dict[Fault, Exception] = {}
        """What was raised last, for faults that are an exception."""

    def read(self, now_s: float) -> list[Symptom]:
        """Read the arm. Raises what the first reading raises, and PortError if nobody can reconnect."""
        self.fault = None
        if self._port_gone and not self._is_back(now_s):
            return [self._gone()]
        first = self.state is None
        try:
            state = self._first_reading() if first else self._arm.read()
            self.state = state
            if first:
                self._guard.reset(state.position)
            leaping = self._leap_check.see(state)
            symptoms = servo_symptoms(state) + self._restorer.see(state, leaping)
        except PortError as problem:
            return [self._lose_port(problem)]
        except BusError as problem:
            if first:
                raise
            self.fault = describe(problem)
            self._restorer.all_silent()
            return [Symptom("bus silent", "", self.fault)]
        for joint in np.flatnonzero(leaping).tolist():
            symptoms.append(Symptom("position leaps", JOINTS[joint], self._leap_check.words(joint, state)))
        if state.answered.all() and not leaping.any():
            self._whole = np.array(state.position)
        return symptoms

    def _first_reading(self) -> "ArmState":
        """There is no older one to go on with, so a lost request is repeated."""
        for _ in range(FIRST_TRIES - 1):
            with contextlib.suppress(BusTimeoutError):
                return self._arm.read()
        return self._arm.read()

    def take_pictures(self) -> list[Symptom]:
        """The newest pictures. Raises CameraError if there never were any."""
        try:
            self.frames = self._arm.frames()
        except CameraError as problem:
            if not self.frames:
                raise
            self.raised["camera gone"] = problem
            self._are_new = False
            return [Symptom("camera gone", "", describe(problem))]
        self._are_new = True
        return []

    def look_at_pictures(self, state: "ArmState") -> list[Symptom]:
        """What is wrong with the pictures that were taken on this tick, as far as they are drawn: a simulated one
        is drawn when the policy asks for it."""
        if not self._are_new:
            return []
        drawn = {name: frame for name, frame in self.frames.items() if frame.drawn}
        return [*self._picture_check.see(drawn, state.position), *self._swap_check.see(drawn)]

    @property
    def unseen(self) -> Collection[Fault]:
        """Faults of pictures about which this tick says nothing, since not all are drawn."""
        return () if all(frame.drawn for frame in self.frames.values()) else OF_PICTURES

    def observation(self, now_s: float, state: "ArmState") -> Observation:
        """What the policy is shown; for a joint that did not answer on this tick, where it was last."""
        position = np.array(state.position)
        if self._whole is not None:
            position = np.where(state.answered, position, self._whole)
        return Observation(now_s, position, Pictures(self.frames))

    def failed_to_send(self, problem: RobotError) -> None:
        """A command did not go out. Raises PortError if the port has gone and nobody can reconnect."""
        if isinstance(problem, PortError):
            self._lose_port(problem)
        self.fault = self.fault or describe(problem)

    def _lose_port(self, problem: PortError) -> Symptom:
        if self._reconnect is None or self.state is None:
            raise problem
        self._port_gone = True
        self.raised["port gone"] = problem
        self._restorer.all_silent()
        return self._gone()

    def _gone(self) -> Symptom:
        self.fault = describe(self.raised["port gone"])
        return Symptom("port gone", "", self.fault)

    def _is_back(self, now_s: float) -> bool:
        """Look for the port now and then."""
        if now_s < self._look_again_s or self._reconnect is None:
            return False
        self._look_again_s = now_s + RECONNECT_EVERY_S
        try:
            self._port_gone = not self._reconnect()
        except RobotError as problem:
            self.raised["port gone"] = problem
        return not self._port_gone
