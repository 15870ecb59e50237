"""How well a policy follows the scripted motion: closed loop on the mock arm, in numbers."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.arm import SO101
from so101_robot.demo.motion import LOOP_S, RISE_S, block_position, tip_position
from so101_robot.demo.recording import FPS, world_of


class Chunks(Protocol):
    """What is needed of a policy; `so101_policy.ActPolicy` has it."""

    n_action_steps: int

    def predict(self, state: ArrayLike, images: dict[str, NDArray[np.uint8]]) -> "HasActions": ...


class HasActions(Protocol):
    @property
    def actions(self) -> NDArray[np.float32]: ...


class Followed(NamedTuple):
    """What the arm did from the end of its rise on."""

    dips: int
    """Times that the tip went down to the block's height and up again."""
    misses_m: tuple[float, ...]
    """Horizontal distance between tip and block at the lowest point of each dip."""
    heights_m: tuple[float, ...]
    """Height of the tip there."""
    pan_deg: float
    """Range of the first joint."""


LOW_M, RAISED_M = 0.09, 0.13
"""A dip begins below the one and ends above the other."""


def follow(policy: Chunks, robot: SO101, loops: float = 2.0) -> Followed:
    """Drive `robot`, a connected mock arm in its start pose, by whole chunks of `n_action_steps`."""
    world = world_of(robot)
    ticks = round((RISE_S + loops * LOOP_S) * FPS)
    chunk = np.empty((0, 6), np.float32)
    path = np.empty((ticks, 3))
    pan_deg = np.empty(ticks)
    start_s = robot.clock.now_s()
    for tick in range(ticks):
        state = robot.read().position
        path[tick], pan_deg[tick] = tip_position(world), state[0]
        if tick % policy.n_action_steps == 0:
            images = {name: frame.image for name, frame in robot.frames().items()}
            chunk = policy.predict(state, images).actions
        robot.command(chunk[tick % policy.n_action_steps])
        robot.clock.sleep_until(start_s + (tick + 1) / FPS)
    risen = round(RISE_S * FPS)
    lowest = _dips(path[risen:, 2]) + risen
    off_m = np.linalg.norm(path[lowest, :2] - block_position(world)[:2], axis=1)
    return Followed(
        len(lowest), tuple(off_m.tolist()), tuple(path[lowest, 2].tolist()), float(np.ptp(pan_deg[risen:]))
    )


def _dips(height_m: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the lowest point of every dip that was left again."""
    lowest: list[int] = []
    best: int | None = None
    for tick, height in enumerate(height_m):
        if height < LOW_M and (best is None or height < height_m[best]):
            best = tick
        elif height > RAISED_M and best is not None:
            lowest.append(best)
            best = None
    return np.array(lowest, dtype=np.intp)
