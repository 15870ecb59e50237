"""A mock arm on a pseudo-terminal, served by a thread of the test's own process."""

import threading
from types import SimpleNamespace
from typing import Any

from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.mock.serve.terminal import PtyServer


class Terminal:
    """Only the arm's own registers and port are touched from outside, by `do`.

    Args:
        arm: one without physics, if it is not given.
        options: of the server.
    """

    def __init__(self, arm: MockArm | None = None, **options: Any) -> None:
        self.arm = arm or MockArm(MockConfig(), plant=IdealPlant())
        self.arm.advance_to(10_000)
        self.server = PtyServer(self.arm, **options)
        self._orders: list[Any] = []
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop:
            self.server.step()
            while self._orders:
                self._orders.pop(0)()

    def do(self, order: Any) -> None:
        """Let the thread do it, and wait until it is done."""
        done = threading.Event()
        self._orders += [order, done.set]
        assert done.wait(20.0)

    @property
    def expected(self) -> dict[str, Any]:
        """The arm's calibration, as LeRobot has it."""
        return {joint: SimpleNamespace(**fields) for joint, fields in self.arm.calibration_fields.items()}

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.server.close()
