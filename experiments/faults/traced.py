"""A mock arm that remembers how it really moved and what it was told, whoever drives it.

Samples are taken on simulated time, whatever the driver does meanwhile (waits for a reply that does not come, say),
from the true joint angles. Orders are read off the wire, so they are the same for every driver. Things can be made to
happen at a time: `at`. Its pictures are sketches (`sketch`), for rendering would cost more than all the rest.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from experiments.faults.sketch import Sketch
from so101_robot.bus.protocol import BROADCAST, Instruction
from so101_robot.bus.registers import BY_NAME
from so101_robot.errors import CameraError
from so101_robot.guard.kinematics import forward
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.servo.servo import Bridge
from so101_robot.mock.wire.wire import Reply
from so101_robot.state import Frame

if TYPE_CHECKING:
    from so101_robot.mock.cameras.render import Renderer

SAMPLE_US = 10_000

TORQUE = BY_NAME["Torque_Enable"].address
GOAL = BY_NAME["Goal_Position"].address


class Motion(NamedTuple):
    """Samples every 10 ms."""

    time_s: NDArray[np.float64]
    """(n,)"""
    joint_rad: NDArray[np.float64]
    """(n, 6) true angles."""
    able: NDArray[np.bool_]
    """(n, 6) the servo drives its joint and complains of nothing: the joint is where it was told to be."""
    free: NDArray[np.bool_]
    """(n, 6) without torque."""
    height_m: NDArray[np.float64]
    """(n, 7) of the origins of the links above the base."""


class Order(NamedTuple):
    """What a servo was told."""

    time_s: float
    what: str
    """`let go`, `torque` or `goal`."""
    joint: int


class TracedArm(MockArm):
    """See the module.

    Args:
        config: which arm.
        goals: note every goal (a run of hours has millions).
    """

    def __init__(self, config: MockConfig, goals: bool = False) -> None:
        self._samples: list[tuple[float, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]] = []
        self._next_us = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._goals = goals
        self.orders: list[Order] = []
        self.lenses: dict[str, str] = {}
        """Camera -> the camera whose picture it delivers, where that is another one."""
        self.gone: set[str] = set()
        """Cameras that are not there."""
        super().__init__(config)

    # what happened -----

    def motion(self) -> Motion:
        """The samples so far."""
        times, joints, able, free = zip(*self._samples, strict=True)
        joint_rad = np.array(joints)
        heights = np.array([forward(pose).position_m[:, 2] for pose in joint_rad])
        return Motion(np.array(times), joint_rad, np.array(able), np.array(free), heights)

    def forget(self) -> None:
        """Drop what happened so far, but for the last sample."""
        del self._samples[:-1]
        self.orders.clear()

    def forget_faults(self) -> None:
        """Drop the faults, which all have to be over: a plan of hundreds would be gone through every millisecond."""
        self._plan.faults.clear()
        self._plan.reset()
        self.wire.faults = None
        self._ticks_need_faults = False

    # what happens -----

    def at(self, time_s: float, event: Callable[[], None]) -> None:
        """Call `event` when simulated time gets there (to the next sample)."""
        heapq.heappush(self._due, (round(time_s * 1e6), next(self._numbers), event))

    def advance_to(self, time_us: int) -> None:
        while self._next_us <= time_us:
            super().advance_to(self._next_us)
            self._sample()
            while self._due and self._due[0][0] <= self._next_us:
                heapq.heappop(self._due)[2]()
            self._next_us += SAMPLE_US
        super().advance_to(time_us)

    def exchange(self, data: bytes, arrived_us: int | None = None) -> list[Reply]:
        self._note(data)
        return super().exchange(data, arrived_us)

    def frame(self, name: str) -> Frame:
        if name in self.gone:
            raise CameraError(f"camera {name!r} is gone")
        return super().frame(self.lenses.get(name, name))

    def _open_renderer(self) -> "Renderer":
        if self._renderer is None:
            self._renderer = cast("Renderer", Sketch(self.config.width, self.config.height))
        return self._renderer

    def _sample(self) -> None:
        bridge = np.asarray(self.bridge)
        complaints = [self.servos.get(index, "Status") for index in range(len(JOINTS))]
        able = (bridge == Bridge.DRIVE) & (np.array(complaints) == 0)
        self._samples.append((self._next_us * 1e-6, self.joint_rad.copy(), able, bridge == Bridge.FREE))

    def _note(self, data: bytes) -> None:
        """Torque and goals in a request."""
        if len(data) < 8 or data[4] not in (Instruction.WRITE, Instruction.SYNC_WRITE):
            return
        time_s, address = self.now_us * 1e-6, data[5]
        if address == TORQUE:
            for servo_id, value in _blocks(data, 1):
                self._add(Order(time_s, "torque" if value[0] else "let go", SERVO_IDS.index(servo_id)))
        elif address == GOAL and self._goals:
            for servo_id, _ in _blocks(data, 2):
                self._add(Order(time_s, "goal", SERVO_IDS.index(servo_id)))

    def _add(self, order: Order) -> None:
        self.orders.append(order)


def _blocks(data: bytes, size: int) -> list[tuple[int, bytes]]:
    """(id, bytes) of a WRITE or SYNC_WRITE of `size` bytes."""
    if data[2] != BROADCAST:
        return [(data[2], data[6 : 6 + size])] if data[2] in SERVO_IDS else []
    params = data[7:-1]
    step = size + 1
    pairs = [(params[k], params[k + 1 : k + step]) for k in range(0, len(params) - size, step)]
    return [(servo_id, block) for servo_id, block in pairs if servo_id in SERVO_IDS]
