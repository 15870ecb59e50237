"""Scenes of the mock arm with a calibration board in them, so that `so101-calibrate cameras` can be tried without one.

`board-front`: a hand that is not seen shows the board to the front camera, all over the picture and tilted to all
sides, and rests in every pose. `board-table`: the board lies face up on the table (`BOARD_MM`), and whenever the
servos are free a hand moves the arm, so that the wrist camera sees the board from many sides.

The pictures are OpenGL's (or rays), not those of `rendered`, and share no code with the detection but the drawing of
the squares. Lenses of the mock are pinholes: a calibration finds no distortion, and knows that.
"""

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.poses import Matrix, board_on_table, transform
from so101_robot.joints import JOINTS
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.physics.hand_script import joint_rad
from so101_robot.mock.physics.table import dress
from so101_robot.mock.physics.world import Scene

FRONT, TABLE = "board-front", "board-table"

BOARD_MM = (300.0, 126.0, -90.0)
"""`--board_mm` of the board on the table: its first corner, and its turn. Its long side lies across the arm."""
LIFTED_M = 0.001
"""Over the table, where a board glued on a plate is."""
PIXELS_PER_MM = 3.0
MARGIN_MM = 10.0
"""White paper round the squares."""
INK, PAPER = 30, 235
"""Grey levels."""

ARM_MOVE_S = 1.5
REST_S, MOVE_S = 1.2, 0.6
"""In a pose, longer than a capture waits for a still board, and from one to the next."""

PLACES = [(0.0, 0.0), (-0.55, -0.5), (0.0, -0.55), (0.55, -0.5), (-0.6, 0.0), (0.6, 0.0), (-0.55, 0.5), (0.0, 0.55),
          (0.55, 0.5)]  # fmt: skip
"""Of the board's middle in the picture, from its middle to its edges."""
TILTS_DEG = (32.0, 22.0, 38.0)
DISTANCES_M = (0.36, 0.30, 0.33)
ROLLS_DEG = (0.0, 12.0, -10.0, 20.0)
POSES = 27

ARM_POSES: tuple[tuple[float, ...], ...] = (
    (-15, -53, 52, 66, -15, 5),
    (-14, -35, 35, 70, 48, 5),
    (19, -36, 23, 82, -53, 5),
    (0, -48, 16, 90, -25, 5),
    (18, -13, -7, 87, -8, 5),
    (6, -32, 12, 85, -31, 5),
    (8, -66, 57, 77, -77, 5),
    (31, -49, 33, 91, -63, 5),
    (-5, -63, 25, 89, -76, 5),
    (-21, -29, 24, 94, -18, 5),
    (0, -50, 41, 82, 35, 5),
    (17, -68, 34, 84, -72, 5),
    (-6, -65, 43, 80, 12, 5),
    (3, -45, 30, 91, 12, 5),
    (-21, -31, 35, 76, -29, 5),
    (-4, -4, -2, 91, 74, 5),
    (12, -57, 23, 82, -19, 5),
    (-31, -72, 33, 89, 1, 5),
    (15, -50, 41, 82, 75, 5),
    (22, -31, 35, 76, -60, 5),
    (-24, -65, 43, 80, -45, 5),
    (-18, -32, 12, 85, 50, 5),
)
"""Joint values in LeRobot's units, clear of the table. In the first 18, found by trying 60,000 at random, the wrist
camera sees 18 corners at least and no two are alike; the others are there because a hand's arm sags a little."""


class BoardScene:
    """An empty bench with a board.

    Args:
        name: see above.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._next = 0

    def build(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec()
        dress(spec)
        add_board(spec)
        return spec

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        self._next = 0
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self.attend(model, data, None, 0.0)

    def attend(self, model: mujoco.MjModel, data: mujoco.MjData, hand: Hand | None, time_s: float) -> None:
        """Put the board where it is at that time, and let the hand move on.

        Args:
            hand: of the arm, whose servos are free; None: they hold it.
            time_s: on the arm's clock.
        """
        if self.name == FRONT:
            put(data, front_camera(model, data) @ shown(time_s))
            return
        x, y, turn = BOARD_MM
        put(data, board_on_table(x / 1000, y / 1000, turn, LIFTED_M))
        if hand is not None and not hand.busy:
            pose = ARM_POSES[self._next % len(ARM_POSES)]
            targets = {joint: joint_rad(joint, value) for joint, value in zip(JOINTS, pose, strict=True)}
            hand.move(targets, ARM_MOVE_S)
            hand.move(targets, REST_S)
            self._next += 1


def add_board(spec: mujoco.MjSpec, board: Board | None = None) -> None:
    """A sheet `board` that nothing touches, placed by the first mocap body."""
    board = board or Board()
    margin = round(MARGIN_MM * PIXELS_PER_MM)
    squares = np.pad(board.picture(PIXELS_PER_MM), margin, constant_values=255) > 127
    grey = np.where(squares, PAPER, INK).astype(np.uint8)
    texture = spec.add_texture(name="board", type=mujoco.mjtTexture.mjTEXTURE_2D, width=grey.shape[1],
                               height=grey.shape[0], nchannel=3)  # fmt: skip
    texture.data = np.repeat(grey[..., None], 3, axis=2).tobytes()
    paper = spec.add_material(name="board", texrepeat=[1, 1], specular=0.0)
    paper.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "board"
    body = spec.worldbody.add_body(name="board", mocap=True)
    width, height = (side / 2000 + MARGIN_MM / 1000 for side in board.size_mm)
    sheet = body.add_geom(name="board", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[width, height, 0.01])
    sheet.material, sheet.contype, sheet.conaffinity = "board", 0, 0


def put(data: mujoco.MjData, X_world_board: Matrix, board: Board | None = None) -> None:
    """The sheet's frame is in its middle, x to the right, y up, z out of the paper."""
    middle = np.array([*((board or Board()).size_mm), 0.0]) / 2000
    X_world_sheet = X_world_board @ transform(np.diag([1.0, -1.0, -1.0]), middle)
    data.mocap_pos[0] = X_world_sheet[:3, 3]
    mujoco.mju_mat2Quat(data.mocap_quat[0], X_world_sheet[:3, :3].ravel())


def front_camera(model: mujoco.MjModel, data: mujoco.MjData) -> Matrix:
    """X_world_camera, as OpenCV counts: z into the picture, y down."""
    index = model.camera("front").id
    return transform(data.cam_xmat[index].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0]), data.cam_xpos[index])


def shown(time_s: float) -> Matrix:
    """X_camera_board at that time: at rest in one pose after the other, and straight from one to the next."""
    step, within_s = divmod(time_s, REST_S + MOVE_S)
    share = max(0.0, within_s - REST_S) / MOVE_S
    one, other = (_pose(int(step) + more) for more in (0, 1))
    return _board(one + share * (other - one))


def _pose(number: int) -> NDArray[np.float64]:
    """Of the board's middle: x, y (in half pictures), distance [m], tilts about x and y, roll [rad]."""
    number %= POSES
    x, y = PLACES[number % len(PLACES)]
    about = 2.4 * number  # the golden angle: to all sides
    tilt = np.deg2rad(TILTS_DEG[number // len(PLACES) % len(TILTS_DEG)])
    return np.array([x, y, DISTANCES_M[number % len(DISTANCES_M)], tilt * np.cos(about), tilt * np.sin(about),
                     np.deg2rad(ROLLS_DEG[number % len(ROLLS_DEG)])])  # fmt: skip


def _board(pose: NDArray[np.float64]) -> Matrix:
    x, y, distance_m, *turn = pose.tolist()
    half = np.tan(np.deg2rad(20.0))  # of the front camera's 40 degrees
    middle = np.array([x * half * 4 / 3, y * half, 1.0]) * distance_m
    rolled = transform(np.array([0.0, 0.0, turn[2]]), np.zeros(3))
    tilted = transform(np.array([turn[0], turn[1], 0.0]), middle)
    corner = transform(np.eye(3), -np.array([*Board().size_mm, 0.0]) / 2000)
    return tilted @ rolled @ corner


def front_scene() -> Scene:
    """Entry point `board-front`."""
    return BoardScene(FRONT)


def table_scene() -> Scene:
    """Entry point `board-table`."""
    return BoardScene(TABLE)
