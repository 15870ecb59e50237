"""What both drivers have in common: the arm, a policy that swings it in the air, and what can be done to them."""

import contextlib
import math
import resource
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.cameras import CameraConfig
from lerobot.cameras.opencv import OpenCVCameraConfig
from numpy.typing import NDArray

from experiments.faults.traced import TracedArm
from experiments.faults.webcams import UsbHost, Webcam
from so101_robot.mock.config import MockConfig

FPS = 30.0
RAISED = np.array([0.0, -35.0, 32.0, 45.0, 0.0, 30.0])
"""Hand in the air, some 20 cm above the table."""
SWING = np.array([20.0, 5.0, 5.0, 8.0, 15.0, 10.0])
USB_CAMERAS = {"front": 0, "wrist": 2}
"""Camera -> number of its device."""
PERIOD_S = 2.0
"""The fastest joint moves at 63 degrees per second at most."""
CHUNK = 30

Spoiler = Callable[[NDArray[np.float64], float], NDArray[np.float64]]
"""(actions (n, 6), time) -> the actions as the policy answers them; may raise."""


class Stage:
    """One repetition.

    Args:
        seed: of pose, phase and arm.
        usb: the cameras are LeRobot's `OpenCVCamera` on USB cameras that fail. Their threads know no simulated time, so
            the repetition goes on in real time.
    """

    def __init__(self, seed: int, usb: bool = False) -> None:
        self.rng = np.random.default_rng((seed, 6))
        self.arm = TracedArm(
            MockConfig(seed=seed, width=32, height=24, renderer="ray", realtime_factor=1.0 if usb else 0.0)
        )
        self.usb: UsbHost | None = None
        self._has_usb = usb
        self._base = RAISED + self.rng.uniform(-5.0, 5.0, 6)
        self._phase = self.rng.uniform(0.0, 2 * math.pi, 6)
        self.spoilers: list[Spoiler] = []
        self.delays: list[tuple[float, float, float]] = []
        """(from, until, how long): answers to what is asked then take so long."""
        self.stalls: list[tuple[float, float]] = []
        """(when, how long) the program stands still; each once."""
        self.observer_fails: tuple[str, float] | None = None
        self._limit: tuple[int, int] | None = None
        self.log_size: Callable[[], int] = lambda: 0

    def now_s(self) -> float:
        return self.arm.now_us * 1e-6

    def pose(self, time_s: float) -> NDArray[np.float64]:
        """(6,) where the policy wants the arm at that time."""
        return self._base + SWING * np.sin(2 * math.pi / PERIOD_S * time_s + self._phase)

    def answer(self, now_s: float) -> NDArray[np.float64]:
        """(CHUNK, 6) the policy's answer, spoilt as the row says."""
        actions = np.array([self.pose(now_s + k / FPS) for k in range(CHUNK)])
        for spoil in self.spoilers:
            actions = spoil(actions, now_s)
        return actions

    def latency_s(self, now_s: float) -> float:
        """How long an answer takes that is asked for now, beyond what is usual."""
        return max((late for begin, end, late in self.delays if begin <= now_s < end), default=0.0)

    def stand_still(self) -> None:
        """The program does nothing for a while, if it is time for that."""
        for stall in [stall for stall in self.stalls if stall[0] <= self.now_s()]:
            self.stalls.remove(stall)
            self.arm.advance_to(self.arm.now_us + round(stall[1] * 1e6))

    def fill_disk(self) -> None:
        """No file of this process may grow any more: writes are cut short, then fail, as on a full disk."""
        if self._limit is None:
            self._limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.log_size() + 100, self._limit[1]))

    def cameras(self) -> dict[str, CameraConfig]:
        """The USB cameras; empty: the arm has its own."""
        if self.usb is None:
            return {}
        return {
            name: OpenCVCameraConfig(index_or_path=number, width=96, height=96, fps=30)
            for name, number in USB_CAMERAS.items()
        }

    def webcam(self, name: str) -> Webcam:
        """The USB camera of that name."""
        assert self.usb is not None
        return self.usb.named[name]

    @contextmanager
    def open(self) -> Generator["Stage"]:
        """Leaves the process as it was, and the arm's renderer closed."""
        with ExitStack() as stack:
            if self._has_usb:
                self.usb = UsbHost(Path(stack.enter_context(tempfile.TemporaryDirectory())))
                for number, name in enumerate(USB_CAMERAS):
                    self.usb.plug_in(Webcam(seed=number), USB_CAMERAS[name], f"1.{number + 1}", name)
                stack.enter_context(self.usb.installed())
            yield from self._open()

    def _open(self) -> Generator["Stage"]:
        try:
            yield self
        finally:
            if self._limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, self._limit)
            self.arm.close()

    def live(self, seconds: float) -> None:
        """Let time pass with nobody driving."""
        with contextlib.suppress(Exception):  # what was to happen to the driver
            self.arm.advance_to(self.arm.now_us + round(seconds * 1e6))


def as_prediction(actions: NDArray[np.float64]) -> Any:
    """What a worker takes for a policy's answer."""
    from types import SimpleNamespace

    return SimpleNamespace(actions=actions, shares=None, maps=None)
