"""Who touches whom in the simulated scene, a tick at a time."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.mock.physics.world import World

JAWS = ("gripper", "moving_jaw")
COLLISION_N = 10.0
"""[N] between the arm and the bench or the pallet: most of what the shoulder presses with when it stalls at a
reach of 0.25 m (2.94 Nm). A fingertip that brushes the table while the jaws close stays below."""

_OTHER, _FIXED_JAW, _MOVING_JAW, _ARM, _BENCH, _BOX_0 = range(6)  # a box i is _BOX_0 + i


@dataclass
class Touches:
    """Contacts of one moment."""

    held: list[bool]
    """Boxes between both jaws."""
    fingers: list[bool]
    """Boxes that some part of the arm touches."""
    supported: list[bool]
    """Boxes that touch the bench, the pallet or another box."""
    press_n: float = 0.0
    """Largest normal force between the arm and the bench or the pallet."""
    partner: str = ""
    """What the arm presses on."""


class Toucher:
    """Reads a world's contacts. `boxes` are those named `box/0` ..."""

    def __init__(self, world: World, boxes: int) -> None:
        self._model, self._data, self._count = world.model, world.data, boxes
        model = world.model
        self._kind: NDArray[np.int64] = np.zeros(model.ngeom, np.int64)
        arm = _descendants(model, model.body("base").id)
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if body in arm:
                self._kind[geom] = _ARM
        for name, kind in zip(JAWS, (_FIXED_JAW, _MOVING_JAW), strict=True):
            self._kind[model.geom_bodyid == model.body(name).id] = kind
        for name in ("table", "pallet"):
            self._kind[model.geom(name).id] = _BENCH
        for i in range(boxes):
            self._kind[model.geom(f"box/{i}").id] = _BOX_0 + i

    def read(self) -> Touches:
        """What touches now."""
        contact = self._data.contact
        fixed, moving = [False] * self._count, [False] * self._count
        touches = Touches([False] * self._count, [False] * self._count, [False] * self._count)
        kinds = np.sort(self._kind[contact.geom], axis=1).tolist() if len(contact.geom) else []
        active = (contact.efc_address >= 0).tolist() if kinds else []
        for i, (low, high) in enumerate(kinds):
            if not active[i] or low == _OTHER:
                continue
            if high >= _BOX_0:
                box = high - _BOX_0
                fixed[box] |= low == _FIXED_JAW
                moving[box] |= low == _MOVING_JAW
                touches.fingers[box] |= low in (_FIXED_JAW, _MOVING_JAW, _ARM)
                touches.supported[box] |= low >= _BENCH
                if low >= _BOX_0:
                    touches.supported[low - _BOX_0] = True
            elif high == _BENCH and low in (_FIXED_JAW, _MOVING_JAW, _ARM):
                self._press(touches, i)
        touches.held = [a and b for a, b in zip(fixed, moving, strict=True)]
        return touches

    def _press(self, touches: Touches, contact: int) -> None:
        force = np.zeros(6)
        mujoco.mj_contactForce(self._model, self._data, contact, force)
        if force[0] > touches.press_n:
            names = [self._model.geom(g).name for g in self._data.contact.geom[contact].tolist()]
            touches.press_n, touches.partner = float(force[0]), " on ".join(sorted(names, key=_bench_last))


def _bench_last(name: str) -> bool:
    return name in ("table", "pallet")


def _descendants(model: mujoco.MjModel, root: int) -> set[int]:
    """A body and all that hang on it."""
    found = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in found:
            found.add(body)
    return found
