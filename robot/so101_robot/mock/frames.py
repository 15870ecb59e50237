"""Frames of the mock arm's cameras, as the arm reads them."""

from typing import TYPE_CHECKING

from so101_robot.state import Frame

if TYPE_CHECKING:
    from so101_robot.mock.arm import MockArm


class MockFrames:
    """A camera of the mock arm: exact capture times, drawn at once, or when somebody looks (`MockConfig.draw_late`).

    Args:
        name: `front` or `wrist`.
        arm: the mock arm.
    """

    def __init__(self, name: str, arm: "MockArm") -> None:
        self._name = name
        self._arm = arm

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self._arm.config.height, self._arm.config.width, 3)

    def connect(self) -> None:
        """Nothing: the mock arm's cameras are always on."""

    def latest(self, now_s: float) -> Frame:
        return (
            self._arm.frame(self._name)
            if not self._arm.config.draw_late
            else self._arm.frame_later(self._name)
        )

    def disconnect(self) -> None:
        """Nothing: the arm closes its renderer."""
