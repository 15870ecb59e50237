"""`so101-calibrate drift` as it is typed, on a LeRobotDataset and the mock arm's camera, and before a run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import camera_scenes as scenes
from so101_calibration.cameras import pictures
from so101_calibration.cli import CALIBRATE
from so101_calibration.drift import preflight as preflight_drift
from so101_calibration.drift import remembered
from so101_calibration.drift.judgement import Limits
from so101_calibration.drift.remembered import Remembered
from so101_calibration.errors import FileError
from so101_policy.registration.background import Background, sharpness
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.mock.config import MockConfig

cv2.setNumThreads(1)

WIDTH, HEIGHT = 160, 120
SCENE = ["--robot.port=mock", "--robot.mock.scene=palletize-2", "--robot.mock.seed=1",
         f"--robot.mock.width={WIDTH}", f"--robot.mock.height={HEIGHT}"]  # fmt: skip

Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def bench() -> Any:
    """As the mock arm renders it."""
    made = scenes.Bench(WIDTH, HEIGHT)
    made.LIGHT = 1.0
    return made


@pytest.fixture(scope="module")
def dataset(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of the front camera while arm and boxes move."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root, key = tmp_path_factory.mktemp("drift") / "boxes", "observation.images.front"
    features = {
        key: {"dtype": "image", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]}
    }
    made: Any = LeRobotDataset.create("local/boxes", 10, features, root=root, use_videos=False)
    rng = np.random.default_rng(7)
    for _ in range(2):
        for _ in range(10):
            made.add_frame({key: bench.picture(rng), "task": "stack"})
        made.save_episode()
    made.finalize()
    return root


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Exit code and all that was printed."""

    def run(*words: object) -> tuple[int, str]:
        code = CALIBRATE.main(["drift", *map(str, words)])
        captured = capsys.readouterr()
        text = " ".join((captured.out + captured.err).split())
        assert "Traceback" not in text
        return code, text

    return run


def test_the_mock_arms_camera_is_where_it_was_and_pictures_of_a_moved_one_are_refused(
    command: Command, bench: Any, dataset: Path, tmp_path: Path
) -> None:
    code, text = command("--dataset", dataset, *SCENE)
    assert code == 0, text
    assert "GO nothing to turn" in text
    assert "front against 20 pictures of" in text
    moved = tmp_path / "moved.png"
    pictures.write(moved, bench.picture(np.random.default_rng(3), turn=(0, 3.0, 0)))
    field = np.rad2deg(2 * np.arctan(WIDTH / 2 / bench.focal_px))
    overlay = tmp_path / "over.png"
    words = ("--dataset", dataset, "--image", moved, "--gamma=1", f"--field_deg={field:.3f}")
    code, text = command(*words, "--overlay", overlay)
    assert code == 4
    assert "NO-GO turn the camera 3.0 deg to the right" in text
    assert pictures.read(overlay).shape[1] == 960
    code, text = command(*words, "--warn_px=2", "--no_go_px=50", "--json")
    assert code == 3
    found = json.loads(text)
    assert found["answer"] == "warn"
    assert found["angle_deg"] == pytest.approx(3, abs=0.1)
    assert found["instruction"] == "turn the camera 3.0 deg to the right"


def test_a_dataset_once_remembered_need_not_be_there_again(
    command: Command, bench: Any, dataset: Path, tmp_path: Path
) -> None:
    robot = ["--robot.id=rig", f"--robot.calibration_dir={tmp_path}"]
    code, text = command("--dataset", dataset, *SCENE, *robot, "--remember", "--no_go_px=6")
    assert code == 0, text
    place = tmp_path / "rig.background.front.png"
    assert f"remembered in {place}" in text
    moved = tmp_path / "moved.png"
    pictures.write(moved, bench.picture(np.random.default_rng(3), turn=(0, 0.8, 0)))
    code, text = command("--image", moved, *robot, "--json")
    found = json.loads(text)
    assert found["dataset"] == str(dataset)
    assert 2 < found["shift_px"] < 5
    assert code == 3
    assert command("--image", moved, *robot, "--no_go_px=2")[0] == 4
    assert remembered.read(place).limits == Limits(no_go_px=6)


def test_mistakes_get_one_message(command: Command, dataset: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    pictures.write(small, np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "empty").mkdir()
    for message, words in (
        ("give --image=FILE, or the robot", ["--dataset", dataset]),
        ("nothing to compare with", ["--image", small]),
        ("--remember needs --robot.id", ["--dataset", dataset, "--image", small, "--remember"]),
        ("rig.background.front.png; `so101-calibrate drift --remember` makes it",
         ["--image", small, "--robot.id=rig", f"--robot.calibration_dir={tmp_path}"]),
        ("80x60, the dataset's are 160x120", ["--dataset", dataset, "--image", small]),
        ("has no camera 'side'; it has front", ["--dataset", dataset, "--image", small, "--camera=side"]),
        ("is not a LeRobotDataset", ["--dataset", tmp_path / "empty", "--image", small]),
        ("a repository id is written USER/NAME", ["--dataset", tmp_path / "nowhere", "--image", small]),
        ("there is no picture", ["--dataset", dataset, "--image", tmp_path / "none.png"]),
        ("5 to 170 degrees", ["--dataset", dataset, "--image", small, "--field_deg=200"]),
        ("--gamma=0", ["--dataset", dataset, "--image", small, "--gamma=0"]),
        ("--frames=0", ["--dataset", dataset, "--image", small, "--frames=0"]),
        ("3 frames; at least 8", ["--dataset", dataset, "--image", small, "--frames=3"]),
        ("warn at 9, no-go at 5", ["--dataset", dataset, "--image", small, "--warn_px=9"]),
    ):  # fmt: skip
        code, text = command(*words)
        assert code == 2
        assert message in text, text


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SO101]:
    mock = MockConfig(scene="palletize-2", seed=1, width=WIDTH, height=HEIGHT, realtime_factor=0)
    made = SO101(
        SO101Config(id="rig", calibration_dir=tmp_path_factory.mktemp("rig"), port="mock", mock=mock)
    )
    with made:
        yield made


def background_of(robot: SO101, shift_px: int = 0, size: int = 1) -> Remembered:
    """What the front camera sees now, as if it had been `shift_px` farther to the right."""
    image = np.roll(robot.frames()["front"].image, shift_px, axis=1)[::size, ::size]
    static = np.zeros(image.shape[:2], bool)
    static[:, abs(shift_px) : static.shape[1] - abs(shift_px)] = True
    seen = Background(np.ascontiguousarray(image), static, 1.0, 48, static)
    sharp = sharpness(seen.image, static)
    return Remembered(seen._replace(sharpness=sharp), "me/boxes", "2026-03-01", 1.0, None, Limits())


def test_before_a_run_the_cameras_that_are_remembered_are_compared(robot: SO101) -> None:
    place = remembered.path_of(robot.calibration_fpath, "front")
    (nothing,) = preflight_drift.check(robot)
    assert (nothing.level, nothing.found) == ("ok", "no camera is compared with a dataset")
    before = robot.read().position
    for shift_px, level in ((0, "ok"), (3, "warn"), (6, "stop")):
        remembered.write(place, background_of(robot, shift_px))
        (finding,) = preflight_drift.check(robot)
        assert (finding.level, finding.subject, finding.asked) == (level, "front", "as in me/boxes"), finding
        assert f"moved {shift_px}." in finding.found
        assert ("turn the camera" in finding.possible) == (level != "ok")
    wider = Limits(warn_px=4.0, no_go_px=8.0)
    remembered.write(place, background_of(robot, 3)._replace(limits=wider))
    (finding,) = preflight_drift.check(robot)
    assert finding.level == "ok", "the limits that are remembered decide"
    remembered.write(place, background_of(robot, size=2))
    (finding,) = preflight_drift.check(robot)
    assert finding.level == "stop"
    assert "the live picture is 160x120, the dataset's are 80x60" in finding.found
    place.write_bytes(b"no picture")
    (finding,) = preflight_drift.check(robot)
    assert finding.level == "stop"
    assert "is not a remembered background" in finding.found
    np.testing.assert_allclose(robot.read().position, before, atol=0.5)


def test_what_is_remembered_comes_back_and_other_files_are_refused(robot: SO101, tmp_path: Path) -> None:
    kept = background_of(robot, 4)
    path = remembered.path_of(tmp_path / "my.arm.json", "front")
    assert path.name == "my.arm.background.front.png"
    remembered.write(path, kept)
    found = remembered.read(path)
    np.testing.assert_array_equal(found.background.image, kept.background.image)
    np.testing.assert_array_equal(found.background.static, kept.background.static)
    assert found[1:] == kept[1:]
    assert found.background[2:4] == kept.background[2:4]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    Image.fromarray(kept.background.image).save(path)
    with pytest.raises(FileError, match="is not a remembered background"):
        remembered.read(path)
    with pytest.raises(FileError, match="there is no"):
        remembered.read(tmp_path / "none.png")
