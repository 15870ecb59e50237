"""What happens on the table while the arm works: somebody moves a box or the pallet, or bumps into a camera.

Looked at once per control tick, before anything is measured on it. What is moved is there between one tick and the
next, at rest, and in the cameras' next pictures.
"""

import dataclasses
import math
from collections.abc import Callable

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.moves import STAYS
from so101_eval.palletizing.scene.reset_data import PalletStart, Reset
from so101_eval.palletizing.scene.scene import shift_camera
from so101_robot.mock.physics.world import World

TOUCHED_M = 0.004
"""A box this far from where it was laid out has been touched: it is left alone."""
IN_HAND_M = 0.030
"""From the middle between the pads to the middle of a box that is being brought."""
LIFTED_M = 0.010

type Vector = NDArray[np.float64]


class Happenings:
    """Of one attempt.

    Args:
        world: laid out with `reset`.
        reset: says what is going to happen.
        box_moved: told the index of a box that was moved.
        pallet_moved: told where the pallet is now.
    """

    def __init__(
        self,
        world: World,
        reset: Reset,
        box_moved: Callable[[int], None],
        pallet_moved: Callable[[PalletStart], None],
    ) -> None:
        self._world, self._reset = world, reset
        self._box_moved, self._pallet_moved = box_moved, pallet_moved
        self._pads = [world.model.geom(name).id for name in ("fj_pad", "mj_pad")]
        self.happened: dict[str, float] = {}
        """What happened, and when [s since the attempt began]."""

    def tick(self, time_s: float) -> None:
        """The moment `time_s` after the attempt began."""
        bump, moves = self._reset.bump, self._reset.moves
        if bump is not None and time_s >= bump.at_s and not self.happened:
            shift_camera(self._world.model, bump.camera, bump.shift)
            self._note(f"camera {bump.camera} bumped", time_s)
        if moves is None or self.happened:
            return
        if moves.pallet_m is None:
            movable = (i for i in self._untouched() if moves.boxes_m[i] != STAYS)
            near = next((i for i in movable if self._hand_to(i) < moves.near_m), None)
            if near is not None:
                self._move_box(near, moves.boxes_m[near])
                self._note(f"box {near} moved", time_s)
        elif self._brings_first_box(moves.near_m):
            self._move_pallet(moves.pallet_m)
            self._note("pallet moved", time_s)

    def _note(self, what: str, time_s: float) -> None:
        self.happened[what] = time_s
        mujoco.mj_kinematics(self._world.model, self._world.data)

    def _hand(self) -> Vector:
        """(3,) the middle between the pads."""
        return self._world.data.geom_xpos[self._pads].mean(axis=0)

    def _box(self, index: int) -> Vector:
        return self._world.data.joint(f"box/{index}").qpos[:3]

    def _hand_to(self, index: int) -> float:
        return math.dist(self._hand(), self._box(index))

    def _untouched(self) -> list[int]:
        return [
            i
            for i, box in enumerate(self._reset.boxes)
            if box.present and math.dist(self._box(i), (box.x_m, box.y_m, box.edge_m / 2)) < TOUCHED_M
        ]

    def _brings_first_box(self, near_m: float) -> bool:
        """Nothing stands on the pallet yet, and the hand comes with a box."""
        pallet, boxes = self._reset.pallet, self._reset.boxes
        if math.dist(self._hand()[:2], (pallet.x_m, pallet.y_m)) >= near_m:
            return False
        touched = [i for i, box in enumerate(boxes) if box.present and i not in self._untouched()]
        return len(touched) == 1 and (
            self._hand_to(touched[0]) < IN_HAND_M
            and self._box(touched[0])[2] > boxes[touched[0]].edge_m / 2 + LIFTED_M
        )

    def _move_box(self, index: int, way_m: tuple[float, float]) -> None:
        joint = self._world.data.joint(f"box/{index}")
        joint.qpos[:2] += way_m
        joint.qvel[:] = 0.0
        self._box_moved(index)

    def _move_pallet(self, way_m: tuple[float, float]) -> None:
        self._world.model.body("pallet").pos[:2] += way_m
        self._pallet_moved(pallet_now(self._world, self._reset))


def pallet_now(world: World, reset: Reset) -> PalletStart:
    """The pallet where it is; it is never turned."""
    x_m, y_m = world.model.body("pallet").pos[:2].tolist()
    return dataclasses.replace(reset.pallet, x_m=x_m, y_m=y_m)
