"""Ticks of a run that never was, with pictures and attention, for what shows a run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_policy.attention.shares import AttentionShares
from so101_robot.chunks.inference import Inference
from so101_robot.chunks.scheduler import Planned
from so101_robot.display.view import Title
from so101_robot.guard.guard import Verdict
from so101_robot.loop.tick import Tick
from so101_robot.state import ArmState, Frame, Health

POSE = np.array([-12.3, -61.2, 48.9, 71.0, -3.1, 42.0])
LIMITS = (np.array([-110.0, -100, -97, -95, -170, 0]), np.array([110.0, 100, 97, 95, 170, 100]))
TITLE = Title(
    policy="demo:recommended · act, 1.1 M parameters",
    arm="mock arm, scene palletize-1-small",
    cameras="front 96x96, wrist 96x96",
    chunks="asynchronous",
    answers_s=0.1,
)
SIZE = (48, 64)


SHARES = AttentionShares(
    0.112, 0.314, 0.0, 0.574, {"front": 0.38, "wrist": 0.194}, 0.81, 0.4,
    {"latent": 0.05, "state": 0.05, "front": 0.45, "wrist": 0.45},
)  # fmt: skip
MAPS = {
    "front": np.array([[0.0, 0.01, 0.0], [0.02, 0.2, 0.05]], np.float32),
    "wrist": np.full((2, 3), 0.03, np.float32),
}
HEALTH = Health(np.zeros(6), np.array([4.0, -31, 83, 12, 2, 0]), np.full(6, 11.8), np.array([31.0, 42, 57, 38, 30, 66]),
                np.zeros(6), np.zeros(6))  # fmt: skip


def frames(index: int, size: tuple[int, int] = SIZE) -> dict[str, Frame]:
    """A new picture of both cameras on every third tick."""
    brightness = 40 + 3 * (index // 3) % 200
    return {
        name: Frame(np.full((*size, 3), brightness, np.uint8), index / 30, index // 3, None)
        for name in ("front", "wrist")
    }


def make_tick(index: int = 0, *, pictures: dict[str, Frame] | None = None, **changes: Any) -> Tick:
    """A tick of a policy at 30 Hz whose answer comes on every tenth."""
    time_s = index / 30
    answer = Inference(np.zeros((50, 6)), SHARES, index, time_s, 0.1, 0.01, MAPS) if index % 10 == 0 else None
    answered: NDArray[np.bool_] = np.ones(6, np.bool_)
    parts: dict[str, Any] = {
        "index": index,
        "phase": "run",
        "time_s": time_s,
        "unix_s": 0.0,
        "late_s": 0.0002,
        "state": ArmState(time_s, POSE, answered, np.zeros(6, np.uint8), HEALTH),
        "frames": frames(index) if pictures is None else pictures,
        "planned": Planned(POSE, answer, "chunk", index % 10, 0, 0.1),
        "asked": POSE,
        "verdict": Verdict(POSE, (), None),
        "sent": POSE,
        "goal": POSE + 0.5,
        "stages_ms": {"read": 1.0, "plan": 3.0},
        "fault": None,
    }
    return Tick(**{**parts, **changes})
