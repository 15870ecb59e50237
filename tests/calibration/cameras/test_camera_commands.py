"""`so101-calibrate cameras` as it is typed: pictures of a rendered board in, a rig's file and a table out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import camera_scenes as scenes
import camera_shown as shown
from so101_calibration.cameras import board_scenes, live, pictures, rig_file
from so101_calibration.cameras.board_views import detect
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.capture import HEADER, hand_pose, read_joints
from so101_calibration.cameras.poses import board_on_table, inverse, pose_difference, transform
from so101_calibration.cameras.rendered import draw
from so101_calibration.cli import CALIBRATE
from so101_robot.arm.arm import SO101
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import MockConfig
from so101_robot.mock.physics.world import World

cv2.setNumThreads(1)
BOARD: Board = scenes.BOARD
LENS = scenes.LENS.scaled((320, 240))
X_CAMERA_BOARD = scenes.tilted(320, 240, 0.4, 0.1, 35, 3)
X_BASE_BOARD = board_on_table(0.12, 0.1, turn_deg=-90)

Command = Callable[..., tuple[int, str]]


def render(path: Path, X_camera_board: Any, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    pictures.write(path, draw(BOARD, LENS, X_camera_board, rng, blur_px=0.4))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board shown all over the picture, 14 times, and one picture without it."""
    folder = tmp_path_factory.mktemp("views")
    for k, X in enumerate(scenes.hand_held(14, np.random.default_rng(3))):
        render(folder / f"v{k:02d}.png", X, k)
    pictures.write(folder / "v99.png", np.full((240, 320), 100, np.uint8))
    return folder


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("intrinsics", ...)` gives the exit code and all that was printed; the rig's file is in tmp_path."""

    def run(part: str, *words: object, rig: bool = True) -> tuple[int, str]:
        robot = ["--robot.id=rig", f"--robot.calibration_dir={tmp_path}"] if rig else []
        code = CALIBRATE.main(["cameras", part, *robot, *map(str, words)])
        captured = capsys.readouterr()
        text = " ".join((captured.out + captured.err).split())
        assert "Traceback" not in text
        return code, text

    return run


def kept(tmp_path: Path, camera: str = "front") -> rig_file.RigCamera:
    return rig_file.load(tmp_path / "rig.cameras.yaml")[camera]


def test_pictures_of_a_board_give_a_lens_a_map_and_a_file(
    command: Command, views: Path, tmp_path: Path
) -> None:
    code, text = command("intrinsics", "--images", views)
    assert code == 0
    assert "no board in v99.png" in text
    assert "shows the board as an earlier view does" in text
    assert "re-projection error [px]: v00.png 0." in text
    assert "% of the picture: |" in text
    assert f"kept in {tmp_path}/rig.cameras.yaml" in text
    lens = kept(tmp_path).intrinsics
    assert lens is not None
    assert lens.fx == pytest.approx(LENS.fx, rel=0.005)
    assert "no camera is calibrated" not in command("show")[1]


def test_the_front_camera_is_placed_by_a_board_that_lies_and_by_touched_corners(
    command: Command, views: Path, tmp_path: Path
) -> None:
    command("intrinsics", "--images", views)
    render(tmp_path / "place.png", X_CAMERA_BOARD)
    truth = X_BASE_BOARD @ inverse(X_CAMERA_BOARD)
    code, text = command("front", "--images", tmp_path / "place.png", "--board_mm", 120, 100, -90)
    assert code == 0, text
    lies = kept(tmp_path).pose
    assert lies is not None
    assert pose_difference(lies.placed.X, truth)[0] < 2
    rows = ["corner,x_mm,y_mm,z_mm"]
    for corner, offset in ((0, 0.3), (7, -0.3), (32, -0.3), (39, 0.3)):
        x, y, z = ((X_BASE_BOARD @ np.array([*BOARD.corners_m[corner], 1]))[:3] * 1000).tolist()
        rows.append(f"{corner},{x:.3f},{y:.3f},{z + offset:.3f}")
    touches = tmp_path / "touches.csv"
    touches.write_text("\n".join(rows))
    code, text = command("front", "--images", tmp_path / "place.png", "--touches", touches)
    assert code == 0, text
    assert "board from 4 touched corners, 0.30 mm residual" in text
    touched = kept(tmp_path).pose
    assert touched is not None
    assert pose_difference(touched.placed.X, truth)[0] < 3
    assert np.linalg.norm(touched.placed.sd_mm) > np.linalg.norm(lies.placed.sd_mm)


def test_a_camera_is_placed_by_pictures_of_another_size_than_its_lens_was_calibrated_with(
    command: Command, views: Path, tmp_path: Path
) -> None:
    command("intrinsics", "--images", views)
    render(tmp_path / "small.png", X_CAMERA_BOARD)
    large = cv2.resize(pictures.read(tmp_path / "small.png"), (640, 480), interpolation=cv2.INTER_CUBIC)
    pictures.write(tmp_path / "large.png", np.asarray(large, np.uint8))
    code, text = command("front", "--images", tmp_path / "large.png", "--board_mm", 120, 100, -90)
    assert code == 0, text
    pose = kept(tmp_path).pose
    assert pose is not None
    assert pose_difference(pose.placed.X, X_BASE_BOARD @ inverse(X_CAMERA_BOARD))[0] < 4


def test_the_wrist_camera_is_placed_on_the_hand_from_pictures_and_joints(
    command: Command, views: Path, tmp_path: Path
) -> None:
    command("intrinsics", "--camera=wrist", "--images", views)
    X_hand_camera = transform(np.array([0.3, -0.1, 0.05]), np.array([0.01, -0.06, -0.03]))
    ahead = scenes.tilted(320, 240, 0.3, 0.3, 15, 0)
    X_base_board = hand_pose(np.array([0, 0, 0, 60, 0, 5.0])) @ X_hand_camera @ ahead
    rng, rows = np.random.default_rng(1), [HEADER]
    for k in range(10):
        bent = rng.uniform(-15, 15, 4)
        joint = np.array([*bent[:3], 60 + bent[3], 40 * (k % 3 - 1), 5.0])
        render(tmp_path / "hand" / f"h{k}.png", inverse(hand_pose(joint) @ X_hand_camera) @ X_base_board, k)
        rows.append(f"h{k}.png," + ",".join(f"{value:.4f}" for value in joint))
    (tmp_path / "hand" / "joints.csv").write_text("\n".join(rows) + "\n")
    code, text = command("wrist", "--images", tmp_path / "hand")
    assert code == 0, text
    assert "the board in the base frame" in text
    pose = kept(tmp_path, "wrist").pose
    assert pose is not None
    assert pose.frame == "hand"
    assert pose_difference(pose.placed.X, X_hand_camera)[0] < 1.5
    (tmp_path / "hand" / "joints.csv").write_text("\n".join(rows[:-1]) + "\n")
    assert "no joint values for h9.png" in command("wrist", "--images", tmp_path / "hand")[1]


@pytest.fixture
def camera(views: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A live camera that shows the views, a second each."""
    monkeypatch.setattr(shown.ShownCamera, "clock", shown.FakeClock())
    monkeypatch.setattr(live, "WallClock", lambda: shown.ShownCamera.clock)
    return f"--robot.cameras={{front: {{type: shown, folder: {views}, width: 320, height: 240, fps: 4}}}}"


def test_a_live_camera_takes_the_views_by_itself_when_the_board_is_still(
    command: Command, camera: str, tmp_path: Path
) -> None:
    code, text = command("intrinsics", camera, "--views", 10, "--keep", tmp_path / "taken")
    assert code == 0, text
    for told in (
        "moving",
        "hold still",
        "captured 1 of 10;",
        "captured 10 of 10;",
        "as an earlier view does",
    ):
        assert told in text
    assert len(list((tmp_path / "taken").glob("view_*.png"))) == 10
    lens = kept(tmp_path).intrinsics
    assert lens is not None
    assert len(lens.view_rms_px) == 10
    again = command("intrinsics", "--images", tmp_path / "taken")
    assert again[0] == 0
    assert kept(tmp_path).intrinsics == lens
    assert "earlier capture" in command("intrinsics", camera, "--keep", tmp_path / "taken")[1]


def test_the_wrist_camera_is_captured_with_the_joints_of_an_arm_that_a_hand_can_move(
    command: Command, camera: str, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, arms, torque = SO101.connect, list[SO101](), [1]

    def connected(arm: SO101, calibrate: bool = False) -> None:
        arm.config.mock = MockConfig(realtime_factor=0)
        connect(arm, calibrate)
        arms.append(arm)
        assert arm.mock is not None
        arm.mock.servos.set(2, "Torque_Enable", torque[0])
        monkeypatch.setattr(shown.ShownCamera, "clock", arm.clock)

    monkeypatch.setattr(SO101, "connect", connected)
    command("intrinsics", "--camera=wrist", "--images", views)
    words = ("--robot.port=mock", camera.replace("front", "wrist"), "--views=8")
    code, text = command("wrist", *words, "--keep", tmp_path / "hand")
    assert code == 2
    assert "servos 3 hold the arm" in text
    torque[0] = 0
    code, text = command("wrist", *words, "--keep", tmp_path / "hand")
    assert "captured 8 of 8;" in text
    assert "the hand hardly turned about a second axis" in text  # for nobody moved this arm
    joints = read_joints(tmp_path / "hand" / "joints.csv")
    assert len(joints) == 8
    assert np.ptp(list(joints.values()), axis=0).max() < 10
    assert not any(arm.is_connected for arm in arms)


def test_the_settings_of_a_camera_are_locked_kept_and_set_again(
    command: Command, camera: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("so101_calibration.cameras.live_capture.time.sleep", lambda seconds: None)

    class Driver:
        values: dict[int, float] = {cv2.CAP_PROP_AUTO_EXPOSURE: 3, cv2.CAP_PROP_EXPOSURE: 157}  # noqa: RUF012

        def get(self, propId: int, /) -> float:
            return self.values.get(propId, -1.0)

        def set(self, propId: int, value: float, /) -> bool:
            known = propId in self.values
            self.values |= {propId: value} if known else {}
            return known

    monkeypatch.setattr(shown.ShownCamera, "driver", Driver())
    assert command("lock", camera, "--again")[1].startswith(
        "so101-calibrate: nothing was locked of camera 'front'"
    )
    code, text = command("lock", camera, "--exposure=120")
    assert code == 1  # something was refused
    assert "exposure: locked at 120" in text
    assert "focus: NOT locked, the camera does not have it" in text
    Driver.values[cv2.CAP_PROP_EXPOSURE] = 33  # plugged in again
    assert "exposure: locked at 120" in command("lock", camera, "--again")[1]
    assert Driver.values[cv2.CAP_PROP_EXPOSURE] == 120
    exposure, *others = kept(tmp_path).locks
    assert exposure.held
    assert not any(lock.held for lock in others)


def test_mistakes_get_one_message_and_nothing_is_kept(command: Command, views: Path, tmp_path: Path) -> None:
    few = [views / "v00.png", views / "v01.png"]
    for message, part, words in (
        ("2 different views of the board; at least 10", "intrinsics", ["--images", *few]),
        ("there is no picture nowhere", "intrinsics", ["--images", "nowhere"]),
        (
            "the lens of camera 'front' is not calibrated",
            "front",
            ["--images", few[0], "--board_mm", 0, 0, 0],
        ),
        ("either --board_mm X Y TURN_DEG or --touches FILE", "front", ["--images", few[0]]),
        ("a marker must be smaller than its square", "intrinsics", ["--marker_mm=40", "--images", views]),
        ("no marker dictionary", "intrinsics", ["--dictionary=DICT_X", "--images", views]),
        ("the robot has no camera 'side'", "intrinsics", ["--robot.port=mock", "--camera=side"]),
        ("--views=0: expected a number of views", "intrinsics", ["--robot.port=mock", "--views=0"]),
        ("is not opened through OpenCV", "lock", ["--robot.port=mock"]),
        ("written as .pdf or .png", "board", ["--output=board.svg"]),
        ("invalid choice: 'lens'", "lens", []),
    ):
        code, text = command(part, *words, rig=part not in ("board", "lens"))
        assert code == 2
        assert message in text, text
    code, text = command("intrinsics", "--images", views, rig=False)
    assert "give --robot.id=NAME" in text
    assert not (tmp_path / "rig.cameras.yaml").exists()
    assert "no camera is calibrated" in command("show")[1]


def test_a_board_is_drawn_as_asked(command: Command, tmp_path: Path) -> None:
    code, text = command(
        "board", f"--output={tmp_path}/board.pdf", "--page=a3", "--columns=12", "--rows=8", rig=False
    )
    assert code == 0
    assert "12 x 8 squares of 28 mm" in text
    assert (tmp_path / "board.pdf").read_bytes().startswith(b"%PDF")


def board_error_px(scene: str, camera: str, X_camera_board: Any, time_s: float = 0.0) -> float:
    """Of a scene with a board, drawn by rays: the largest distance of a corner that is found from where it is."""
    arm = MockArm(MockConfig(scene=scene, width=320, height=240, renderer="ray"))
    arm.advance_to(round(1e6 * time_s))
    assert arm.world is not None
    view = detect(arm.frame(camera).image, BOARD)
    assert view is not None
    focal_px = 120 / np.tan(np.deg2rad(arm.world.model.camera(camera).fovy[0] / 2))
    arm.close()
    points = (X_camera_board @ np.column_stack((BOARD.corners_m, np.ones(len(BOARD.corners_m)))).T)[
        :3, view.ids
    ]
    return float(
        np.abs((points[:2] / points[2] * focal_px).T + np.array((159.5, 119.5)) - view.corners_px).max()
    )


def test_the_boards_of_the_simulated_arm_are_where_they_are_said_to_be():
    assert board_error_px(board_scenes.FRONT, "front", board_scenes.shown(2.0), 2.0) < 1.0
    world = World(board_scenes.BoardScene(board_scenes.TABLE))
    x, y, turn_deg = board_scenes.BOARD_MM
    X_base_camera = board_scenes.front_camera(world.model, world.data)
    X_base_board = board_on_table(x / 1000, y / 1000, turn_deg, board_scenes.LIFTED_M)
    assert board_error_px(board_scenes.TABLE, "front", inverse(X_base_camera) @ X_base_board) < 1.0


@pytest.mark.slow
def test_the_cameras_of_the_simulated_arm_are_calibrated_from_end_to_end(command: Command, tmp_path: Path):
    size = ["--robot.port=mock", "--robot.mock.width=320", "--robot.mock.height=240"]
    board = [*size, f"--robot.mock.scene={board_scenes.TABLE}"]
    shown = [*size, f"--robot.mock.scene={board_scenes.FRONT}", "--views=14", f"--keep={tmp_path / 'lens'}"]
    code, text = command("intrinsics", *shown)
    assert code == 0, text
    code, text = command(
        "front", *board, f"--keep={tmp_path / 'place'}", "--board_mm", *board_scenes.BOARD_MM
    )
    assert code == 0, text
    code, text = command(
        "intrinsics", *board, "--camera=wrist", "--views=17", f"--keep={tmp_path / 'lens_of_wrist'}"
    )
    assert code == 0, text
    code, text = command("wrist", *board, "--views=12", f"--keep={tmp_path / 'hand'}")
    assert code == 0, text
    world = World(board_scenes.BoardScene(board_scenes.TABLE))
    rig = rig_file.load(tmp_path / "rig.cameras.yaml")
    front, wrist = rig["front"], rig["wrist"]
    assert front.intrinsics is not None
    assert front.intrinsics.fx == pytest.approx(120 / np.tan(np.deg2rad(20)), rel=0.01)
    assert front.pose is not None
    assert wrist.pose is not None
    truth = board_scenes.front_camera(world.model, world.data)
    assert pose_difference(front.pose.placed.X, truth)[0] < 5.0  # [mm]
    index = world.model.camera("wrist").id
    assert np.linalg.norm(wrist.pose.placed.X[:3, 3] - world.model.cam_pos[index]) < 0.01
