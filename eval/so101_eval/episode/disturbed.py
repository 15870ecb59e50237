"""The arm of an episode: a robot whose joints, pictures and actions pass through a scenario's disturbances.

For the loop it is an `Arm` like any other: what it reports is noisy, late or stuck, its pictures are blurred, lost or
black, and what it is told takes effect late. Physics and wire behind it are untouched. Pictures are drawn when
somebody looks at them. Those of a scenario that loses, delays or blackens pictures are drawn on every tick from the
first time that somebody looks: such pictures depend on the ones before, and the loop's supervisor has to see each.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.disturbances import Disturbances, Images
from so101_eval.palletizing.scene.reset_data import SensorDisturbance
from so101_robot.arm.arm import SO101
from so101_robot.state import ArmState, Frame


class DisturbedArm:
    """A connected robot on the mock arm, disturbed.

    Args:
        robot: connected; it stays the caller's.
        disturbance: what disturbs it.
        fps: ticks per second; noise and delays are drawn by the tick.
        before_read: told the time since the first reading [s], before each one: what happens around the arm.
    """

    def __init__(
        self,
        robot: SO101,
        disturbance: SensorDisturbance,
        fps: float,
        before_read: Callable[[float], None] = lambda _: None,
    ) -> None:
        if robot.mock is None:
            raise ConfigError("only the mock arm can be disturbed")
        self._robot, self._mock, self._fps, self._before_read = robot, robot.mock, fps, before_read
        self._disturbances = Disturbances(disturbance)
        self._every_tick = bool(
            disturbance.image_delay_ticks or disturbance.frame_drop or disturbance.black_share
        )
        self._looked_at = False
        self._begin_s: float | None = None
        self._time_s = 0.0
        self.measured: ArmState | None = None
        """The newest reading as it is, undisturbed; None before the first."""
        self.in_force: NDArray[np.float64] | None = None
        """(6,) the goal that the servos were told last, LeRobot units; None before the first."""

    @property
    def home(self) -> NDArray[np.float64]:
        return self._robot.home

    def read(self) -> ArmState:
        """As `SO101.read`, with disturbed positions. The first reading is time zero of the disturbances."""
        now_s = self._robot.clock.now_s()
        if self._begin_s is None:
            self._begin_s = now_s
        self._time_s = round((now_s - self._begin_s) * self._fps) / self._fps
        self._before_read(self._time_s)
        self.measured = state = self._robot.read()
        return state._replace(position=self._disturbances.joints(self._time_s, state.position))

    def frames(self) -> dict[str, Frame]:
        """The newest frames; each has the time stamp of the camera's newest capture, as a camera whose pictures come
        late does not know it."""
        captures, time_s = self._mock.captures(), self._time_s

        @cache
        def pictures() -> Images:
            self._looked_at = True
            taken = {name: self._mock.draw(name, capture).image for name, capture in captures.items()}
            return self._disturbances.pictures(time_s, taken)

        def picture(name: str) -> NDArray[np.uint8]:
            return pictures()[name]

        frames = {
            name: Frame(partial(picture, name), capture.time_us * 1e-6, capture.sequence, None)
            for name, capture in captures.items()
        }
        if self._every_tick and self._looked_at:
            for frame in frames.values():
                _ = frame.image
        return frames

    def command(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `SO101.command`; under a latency it takes effect that much later, which the sender does not see."""
        due = self._disturbances.act(self._time_s, np.asarray(position, np.float64))
        if due is not None:
            self.in_force = self._robot.command(due)
        return position if due is None or self._disturbances.settings.action_latency_s else self._sent

    def hold(self) -> NDArray[np.float64]:
        """As `SO101.hold`, at once."""
        self.in_force = held = self._robot.hold()
        return held

    def restore(self, joint: int) -> bool:
        """As `SO101.restore`."""
        return self._robot.restore(joint)

    def release(self) -> dict[str, str | None]:
        """As `SO101.release`."""
        return self._robot.release()

    @property
    def _sent(self) -> NDArray[np.float64]:
        assert self.in_force is not None  # something was sent
        return self.in_force
