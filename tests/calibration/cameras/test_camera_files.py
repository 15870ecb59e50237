"""The rig's camera file, locks, captures and CSVs: what is kept comes back, what is wrong gets one message."""

from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

import camera_scenes as scenes
from so101_calibration import files
from so101_calibration.cameras import lock_settings as locks
from so101_calibration.cameras import pictures, rig_file
from so101_calibration.cameras.capture import JOINTS_FILE, capture, read_joints, read_touches, read_views
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.lock_settings import Lock
from so101_calibration.cameras.poses import Placed, transform
from so101_calibration.cameras.rendered import draw
from so101_calibration.cameras.rig_file import CameraPose
from so101_calibration.errors import FileError, ImplausibleError, UsageError
from so101_robot.joints import JOINTS
from so101_robot.state import Frame

LENS, BOARD = scenes.LENS, scenes.BOARD
cv2.setNumThreads(1)

NOW = datetime(2026, 3, 1, 12, 0, 0)
KNOWN = Intrinsics(
    (640, 480), 612.5, 609.25, 325.4, 236.2, 0.09, -0.21, 0.0011, -0.0008,
    (0.5, 0.5, 0.4, 0.3, 0.001, 0.01, 0.0001, 0.0002), 0.21, (0.2, 0.22),
)  # fmt: skip
POSE = CameraPose(
    "base",
    Placed(
        transform(np.array([0.3, -2.0, 0.4]), np.array([0.4, -0.1, 0.55])),
        np.array([0.2, 0.3, 0.4]),
        np.array([0.01, 0.02, 0.03]),
        0.25,
        3,
    ),
)
HELD = Lock("exposure", 120.0, 120.0, True, "")


def test_what_is_kept_of_a_camera_comes_back(tmp_path: Path) -> None:
    path = rig_file.path_of(files.path_of("my.arm", tmp_path))
    assert path == tmp_path / "my.arm.cameras.yaml"
    assert rig_file.load(path) == {}
    rig_file.update(path, "front", NOW, intrinsics=KNOWN)
    rig_file.update(path, "front", NOW, pose=POSE, locks=(HELD,))
    found = rig_file.load(path)["front"]
    assert found.intrinsics == KNOWN
    assert found.locks == (HELD,)
    assert found.dates == dict.fromkeys(("intrinsics", "pose", "locks"), "2026-03-01 12:00:00")
    assert found.pose is not None
    assert found.pose.frame == "base"
    np.testing.assert_allclose(found.pose.placed.X, POSE.placed.X, atol=1e-6)
    np.testing.assert_allclose(found.pose.placed.sd_mm, POSE.placed.sd_mm)
    np.testing.assert_allclose(found.pose.placed.sd_deg, POSE.placed.sd_deg)


def test_one_camera_is_changed_and_the_file_before_is_kept(tmp_path: Path) -> None:
    path = rig_file.path_of(files.path_of("arm", tmp_path))
    rig_file.update(path, "front", NOW, intrinsics=KNOWN)
    before = path.read_text()
    rig_file.update(path, "wrist", NOW + timedelta(days=1), locks=(HELD,))
    assert set(rig_file.load(path)) == {"front", "wrist"}
    (backup,) = (tmp_path / "backups").iterdir()
    assert backup.read_text() == before
    assert yaml.safe_load(path.read_text())["cameras"]["front"]["intrinsics"]["fx"]["value"] == 612.5


def test_a_new_lens_drops_the_pose_that_was_made_with_the_old_one(tmp_path: Path) -> None:
    path = rig_file.path_of(files.path_of("arm", tmp_path))
    rig_file.update(path, "front", NOW, intrinsics=KNOWN, pose=POSE)
    found = rig_file.update(path, "front", NOW, intrinsics=KNOWN)
    assert found.pose is None
    assert "pose" not in found.dates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("version: 2\ncameras: {}", "version 2; this program knows version 1"),
        ("[1, 2]", "not a file of cameras"),
        ("version: 1\ncameras: {front: {intrinsics: {date: x, fx: 1}}}", "not a file of cameras"),
        ("version: 1\ncameras: {front: {pose: {date: x, frame: world}}}", "frame 'world'; possible are"),
    ],
)
def test_a_file_that_is_none_of_ours_gets_one_message_and_is_left_as_it_is(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "arm.cameras.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as raised:
        rig_file.update(path, "front", NOW, intrinsics=KNOWN)
    assert "\n" not in str(raised.value)
    assert path.read_text() == text


def test_a_lens_scales_with_the_picture_and_not_with_a_cut() -> None:
    half = KNOWN.scaled((320, 240))
    assert half.fx == KNOWN.fx / 2
    assert half.cx == (KNOWN.cx + 0.5) / 2 - 0.5
    with pytest.raises(ImplausibleError, match="another shape"):
        KNOWN.scaled((640, 360))


class Driver:
    """A camera's driver: some properties it has, some it rounds, some it refuses."""

    def __init__(self, values: dict[int, float], fixed: set[int], step: float = 1.0) -> None:
        self.values, self.fixed, self.step = dict(values), fixed, step

    def get(self, propId: int, /) -> float:
        return self.values.get(propId, -1.0)

    def set(self, propId: int, value: float, /) -> bool:
        if propId not in self.values:
            return False
        if propId not in self.fixed:
            self.values[propId] = round(value / self.step) * self.step
        return True


REGULATING = {
    cv2.CAP_PROP_AUTO_EXPOSURE: 3.0,
    cv2.CAP_PROP_EXPOSURE: 157.0,
    cv2.CAP_PROP_GAIN: 32.0,
    cv2.CAP_PROP_AUTO_WB: 1.0,
    cv2.CAP_PROP_WB_TEMPERATURE: 4600.0,
}


def test_settings_are_locked_at_what_they_are_and_what_is_missing_is_said() -> None:
    driver = Driver(REGULATING, set())
    found = {lock.name: lock for lock in locks.lock(driver)}
    assert [name for name, lock in found.items() if lock.held] == ["exposure", "gain", "white_balance"]
    assert driver.values[cv2.CAP_PROP_AUTO_EXPOSURE] == locks.MANUAL_EXPOSURE
    assert driver.values[cv2.CAP_PROP_AUTO_WB] == 0
    assert found["exposure"].value == 157
    assert found["focus"].refused == "the camera does not have it"
    assert locks.in_words(list(found.values()))[3] == "focus: NOT locked, the camera does not have it"


def test_a_driver_that_ignores_what_it_is_told_is_not_believed() -> None:
    driver = Driver(REGULATING, {cv2.CAP_PROP_AUTO_WB, cv2.CAP_PROP_GAIN})
    found = {lock.name: lock for lock in locks.lock(driver, {"gain": 10.0, "exposure": 200.0})}
    assert found["exposure"] == Lock("exposure", 200.0, 200.0, True, "")
    assert found["white_balance"].refused == "its automatic mode cannot be switched off"
    assert found["gain"].refused == "asked for 10, it stays at 32"
    assert not found["gain"].held


def test_captured_views_are_written_at_once_with_the_joints_of_the_moment(tmp_path: Path) -> None:
    shown = [
        draw(BOARD, LENS, scenes.tilted(x, 240, 0.4, 0.7, 20, 5), np.random.default_rng(0), blur_px=0.5)
        for x in (250, 400)
    ]
    blank = np.full((480, 640), 120, np.uint8)
    order = [blank, shown[0], shown[0], shown[0], shown[1], shown[1]]
    frames = [Frame(picture, 0.4 * k, k, None) for k, picture in enumerate(order)]
    said, joint = list[str](), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    folder = tmp_path / "hand"
    with pytest.raises(
        ImplausibleError, match=r"1 of 2 views within 300 s; the last frame: (moving|hold still)"
    ):
        capture(frames, BOARD, folder, 2, said.append, joints=lambda: joint)
    assert said[0] == "no board in sight"
    assert any(text.startswith("captured 1 of 2;") for text in said)
    assert list(read_joints(folder / JOINTS_FILE)) == ["view_00.png"]
    np.testing.assert_array_equal(read_joints(folder / JOINTS_FILE)["view_00.png"], joint)
    (view,), without = read_views([folder], BOARD)
    assert view.name == "view_00.png"
    assert without == []
    with pytest.raises(UsageError, match="an earlier capture"):
        capture(frames, BOARD, folder, 2, said.append)


def test_csv_files_that_are_none_get_one_message(tmp_path: Path) -> None:
    path = tmp_path / "joints.csv"
    header = ",".join(("picture", *JOINTS))
    for text, message in (
        ("a,b\n", "the first line must be picture,shoulder_pan"),
        (f"{header}\nv.png,1,2,3\n", "v.png has 3 joint values; expected are 6"),
        (f"{header}\nv.png,1,2,3,4,5,x\n", "'x' is not a number"),
        (f"{header}\nv.png,1,2,3,4,5,nan\n", "'nan' is not a finite number"),
    ):
        path.write_text(text)
        with pytest.raises(FileError, match=message):
            read_joints(path)
    touches = tmp_path / "touches.csv"
    touches.write_text("corner,x_mm,y_mm,z_mm\n0,100,20,1\n7,120,20,1.5\n")
    corners, touched_m = read_touches(touches)
    assert corners == [0, 7]
    np.testing.assert_allclose(touched_m, [[0.1, 0.02, 0.001], [0.12, 0.02, 0.0015]])
    for text in ("", "corner,x_mm,y_mm\n", "corner,x_mm,y_mm,z_mm\n1,2,3\n"):
        touches.write_text(text)
        with pytest.raises(FileError, match="four numbers a line"):
            read_touches(touches)
    with pytest.raises(FileError, match="cannot be read"):
        read_touches(tmp_path / "none.csv")


def test_pictures_come_back_as_they_were_and_other_files_are_refused(tmp_path: Path) -> None:
    picture: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    pictures.write(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.png"), picture)
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(FileError, match="is not a picture that can be read"):
        pictures.read(tmp_path / "b.png")
    with pytest.raises(FileError, match="there is no picture"):
        pictures.read(tmp_path / "c.png")
    with pytest.raises(FileError, match="are possible"):
        pictures.write(tmp_path / "d.doc", picture)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no pictures in"):
        pictures.find([tmp_path / "empty"])
