"""What whoever plays a checkpoint must know: as written, as looked up, and what cannot be is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as vision

from checkpoints import untrained
from so101_policy import ActPolicy, CheckpointError
from so101_policy.checkpoint import trained_on
from so101_policy.checkpoint.folder import TRAIN_CONFIG, TRAINED_ON
from so101_policy.checkpoint.trained_on import SCALED_BY, TrainedOn, find_trained_on, to_json
from so101_policy.errors import PolicyError
from so101_policy.units import Span, Units, looks_like_range, units_of, why_not_joints

JOINTS = [
    f"{name}.pos"
    for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
]
KNOWN = TrainedOn(
    fps=30.0,
    units=Units.DEGREES,
    joints=tuple(JOINTS),
    recorded={"front": (48, 64), "wrist": (32, 32)},
    trained={"front": (32, 32), "wrist": (32, 32)},
    scaled_by=SCALED_BY,
    statistics={"from": "meta/stats.json", "imagenet": True},
    dataset={"repo_id": "me/boxes", "episodes": 3, "frames": 36, "info_sha256": "0" * 64},
)


@pytest.fixture
def copy(valid: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(valid, tmp_path / "copy")
    (folder / TRAINED_ON).write_text(to_json(KNOWN))
    return folder


def test_what_is_written_is_what_is_read(copy: Path):
    read = ActPolicy.load(copy).trained_on
    assert read.stated
    assert to_json(read) == to_json(KNOWN)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "this version reads 1"),
        ({"fps": 0}, "fps is 0, expected"),
        ({"fps": True}, "fps is True"),
        ({"fps": "30"}, "fps is '30'"),
        ({"fps": 1e308}, "fps is 1e+308"),
        ({"fps": 15}, "fps is 15, config.json says 30"),
        ({"units": "radians"}, "expected one of degrees, -100..100"),
        ({"units": ["degrees"]}, "units is"),
        ({"joints": JOINTS[:5]}, "it names 5 joints, the policy has 6"),
        ({"joints": ["a\x1b[2J"] * 6}, "joints is"),
        ({"joints": "shoulder"}, "joints is"),
        ({"scaled_by": "nearest"}, "expected one of bilinear_antialias"),
        ({"scaled_by": None}, "by what?"),
        ({"cameras": {"front": {"recorded": [48, 64], "trained": [32, 32]}}}, "config.json of"),
        ({"cameras": {"front": {"recorded": [10**9, 64], "trained": [32, 32]}}}, "[height, width] each"),
        ({"cameras": {"front": {"recorded": [48], "trained": [32, 32]}}}, "[height, width] each"),
        ({"cameras": [1]}, "expected names with sizes"),
        ({"dataset": {"info_sha256": "../../etc"}}, "64 hexadecimal digits"),
        ({"dataset": None}, "dataset is None"),
        ({"statistics": 7}, "statistics is 7"),
        ({"color": "blue"}, "not known here: 'color'"),
        ({"colours": {"front": [0.5, 0.5]}}, "three numbers from 0 to 1"),
        ({"colours": {"front": [0.5, 0.5, 127]}}, "three numbers from 0 to 1"),
        ({"colours": {"a\x1b[2J": [0.5, 0.5, 0.5]}}, "names of cameras"),
        ({"colours": "blue"}, "colours is 'blue'"),
    ],
)
def test_what_cannot_be_is_one_message_that_names_the_file(copy: Path, changes: dict[str, Any], words: str):
    data = json.loads((copy / TRAINED_ON).read_text())
    (copy / TRAINED_ON).write_text(json.dumps(data | changes))
    with pytest.raises(CheckpointError) as caught:
        ActPolicy.load(copy)
    message = str(caught.value)
    assert TRAINED_ON in message
    assert words in message
    assert message.isprintable()
    assert "\n" not in message


@pytest.mark.parametrize(
    "key", ["schema", "fps", "units", "joints", "cameras", "scaled_by", "statistics", "dataset"]
)
def test_a_key_that_is_missing_is_named(copy: Path, key: str):
    data = json.loads((copy / TRAINED_ON).read_text())
    del data[key]
    (copy / TRAINED_ON).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=key):
        ActPolicy.load(copy)


def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path):
    shutil.move(copy / TRAINED_ON, tmp_path / "elsewhere.json")
    (copy / TRAINED_ON).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CheckpointError, match="link out"):
        ActPolicy.load(copy)


def test_joints_in_another_order_do_not_fit_the_arm(copy: Path):
    data = json.loads((copy / TRAINED_ON).read_text())
    (copy / TRAINED_ON).write_text(json.dumps(data | {"joints": JOINTS[::-1]}))
    with pytest.raises(PolicyError, match="names and order must be the same"):
        ActPolicy.load(copy).check_robot(JOINTS, {"front": (48, 64), "wrist": (32, 32)})


# Frames


def test_frames_as_recorded_give_the_actions_of_the_scaled_frame(copy: Path):
    """Scaled by torchvision, as the one way that is not ours."""
    policy, rng = ActPolicy.load(copy), np.random.default_rng(0)
    state = np.array([0.0, -60.0, 60.0, 50.0, 0.0, 30.0])
    recorded = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    wrist = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    small = vision.resize(torch.from_numpy(recorded).permute(2, 0, 1), [32, 32], antialias=True)
    by_hand = np.ascontiguousarray(small.permute(1, 2, 0).numpy())
    expected = policy.predict(state, {"front": by_hand, "wrist": wrist}).actions
    np.testing.assert_array_equal(
        policy.predict(state, {"front": recorded, "wrist": wrist}).actions, expected
    )
    nearest = np.ascontiguousarray(recorded[::2, ::2][:24, :32])
    other = np.zeros((32, 32, 3), np.uint8)
    other[:24] = nearest
    assert not np.array_equal(policy.predict(state, {"front": other, "wrist": wrist}).actions, expected)


def test_a_robot_may_give_the_recordings_size_or_trainings_and_no_other(copy: Path):
    policy = ActPolicy.load(copy)
    for size in ((48, 64), (32, 32)):
        policy.check_robot(JOINTS, {"front": size, "wrist": (32, 32)})
    with pytest.raises(
        PolicyError, match=r"scaled from 64x48, the robot gives 128x96.*width to 64 and its height to 48"
    ):
        policy.check_robot(JOINTS, {"front": (96, 128), "wrist": (32, 32)})
    with pytest.raises(PolicyError, match=r"images of \(48, 64, 3\) or \(32, 32, 3\)"):
        policy.predict(np.zeros(6), {"front": np.zeros((96, 128, 3), np.uint8)})


# Looked up


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """LeRobot's ACT, as `lerobot-train` lays it out; its configuration has no rate."""
    return untrained(tmp_path / "checkpoints" / "000010" / "pretrained_model", px=32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where LeRobot keeps datasets."""
    monkeypatch.setattr(trained_on, "HF_LEROBOT_HOME", tmp_path / "home")
    monkeypatch.setattr(trained_on, "HF_LEROBOT_HUB_CACHE", tmp_path / "home" / "hub")
    return tmp_path / "home"


def info(root: Path, fps: Any = 15, size: tuple[int, int] = (32, 32)) -> Path:
    """The description of a dataset; returns the dataset's folder."""
    image = {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    features = {"action": {"dtype": "float32", "shape": [6], "names": JOINTS}}
    features |= {f"observation.images.{name}": image for name in ("front", "wrist")}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps({"fps": fps, "features": features}))
    return root


def trained(checkpoint: Path, **settings: Any) -> ActPolicy:
    """The checkpoint, with what a training writes of its settings."""
    (checkpoint / TRAIN_CONFIG).write_text(json.dumps(settings))
    return ActPolicy.load(checkpoint)


def test_a_local_dataset_tells_the_rate(stock: Path, tmp_path: Path, home: Path):
    root = info(tmp_path / "boxes")
    policy = trained(stock, dataset={"root": str(root), "repo_id": "me/boxes"})
    assert (policy.fps, policy.trained_on.stated) == (15.0, False)
    assert policy.recorded == {}


@pytest.mark.parametrize("place", ["me/boxes", "hub/datasets--me--boxes/snapshots/abc"])
def test_a_dataset_where_lerobot_keeps_it_tells_the_rate(stock: Path, home: Path, place: str):
    info(home / place, fps=25)
    assert trained(stock, dataset={"root": None, "repo_id": "me/boxes"}).fps == 25.0


def test_two_versions_of_a_dataset_that_differ_tell_nothing(stock: Path, home: Path):
    for number, fps in enumerate((25, 30)):
        info(home / "hub" / "datasets--me--boxes" / "snapshots" / str(number), fps=fps)
    policy = trained(stock, dataset={"root": None, "repo_id": "me/boxes"})
    assert policy.fps is None
    assert "versions of 25, 30 fps" in policy.trained_on.unknown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dataset": {"root": "/not/there", "repo_id": "me/boxes"}}, "'/not/there' is not on this machine"),
        ({"dataset": {"repo_id": "me/boxes"}}, "'me/boxes' is not on this machine"),
        ({"dataset": {"repo_id": "../../etc"}}, "not on this machine"),
        ({"dataset": {"repo_id": ["x"], "root": 7}}, "not on this machine"),
        ({"dataset": [1]}, "names no dataset"),
        ({}, "names no dataset"),
    ],
)
def test_what_is_not_to_be_found_is_not_guessed(stock: Path, home: Path, settings: Any, words: str):
    policy = trained(stock, **settings)
    assert policy.fps is None
    assert words in policy.trained_on.unknown


def test_without_any_settings_it_says_where_it_looked(stock: Path):
    assert f"has no {TRAIN_CONFIG}" in ActPolicy.load(stock).trained_on.unknown


@pytest.mark.parametrize("fps", [0, -3, "30", None, 1e9, True, [30]])
def test_a_rate_that_cannot_be_is_none(stock: Path, tmp_path: Path, fps: Any):
    root = info(tmp_path / "boxes", fps=fps)
    assert trained(stock, dataset={"root": str(root)}).fps is None


def test_a_damaged_description_of_a_dataset_tells_nothing(stock: Path, tmp_path: Path):
    root = info(tmp_path / "boxes")
    (root / "meta" / "info.json").write_text('{"fps": ' + "[" * 5000)
    policy = trained(stock, dataset={"root": str(root)})
    assert policy.fps is None
    assert "info.json" in policy.trained_on.unknown


def test_a_checkpoint_of_so101_train_before_this_file_tells_its_rate_and_scaling(stock: Path, tmp_path: Path):
    """`--policy.type=act` of version 0.1.0: the rate is in the training state, the size in its settings."""
    state = stock.parent / "training_state"
    state.mkdir()
    about = {"fps": 10, "joints": JOINTS, "cameras": {"observation.images.front": [32, 32]}}
    (state / "so101_training.json").write_text(json.dumps({"step": 10, "data": about}))
    policy = trained(stock, cache={"size": "32x32"}, dataset={"root": "/gone"})
    assert (policy.fps, policy.trained_on.unknown) == (10.0, "")
    assert policy.recorded == {}  # the recordings are gone, so their size is not known
    root = info(tmp_path / "boxes", fps=10, size=(48, 64))
    policy = trained(stock, cache={"size": "32x32"}, dataset={"root": str(root)})
    assert policy.recorded == {"front": (48, 64), "wrist": (48, 64)}


def test_a_damaged_training_state_is_no_part_of_a_checkpoint(stock: Path, tmp_path: Path):
    state = stock.parent / "training_state"
    state.mkdir()
    (state / "so101_training.json").write_text("{")
    assert trained(stock, dataset={"root": str(info(tmp_path / "boxes"))}).fps == 15.0


def test_a_rate_in_the_configuration_is_the_checkpoints_own(valid: Path):
    known = find_trained_on(valid, json.loads((valid / "config.json").read_text()))
    assert (known.fps, known.stated) == (30.0, True)


# Units


def span(lowest: list[float], highest: list[float]) -> Span:
    return Span(np.array(lowest), np.array(highest), True)


RANGE = span([-58.2, -99.7, -24.6, -6.3, -61.0, 0.9], [61.4, 38.5, 99.5, 99.2, 54.1, 71.3])
"""Published statistics of an arm that was recorded with LeRobot's `use_degrees=false`."""


def test_joints_that_end_at_a_hundred_look_like_a_range():
    assert looks_like_range(RANGE)
    assert units_of(RANGE) is None
    assert why_not_joints(RANGE) is None


def test_one_joint_beyond_a_hundred_makes_it_degrees():
    beyond = RANGE._replace(highest=np.array([61.4, 38.5, 99.5, 99.2, 104.0, 71.3]))
    assert units_of(beyond) is Units.DEGREES
    assert not looks_like_range(beyond)


def test_one_end_alone_is_chance_and_the_grippers_do_not_count():
    assert not looks_like_range(span([-50, -99.7, 0, 0, 0, 0], [50, 0, 80, 80, 90, 100]))
    assert looks_like_range(span([-50, -99.7, 0, 0, 0, 0], [50, 0, 99.1, 80, 90, 100]))


def test_means_alone_decide_nothing():
    assert units_of(Span(np.full(6, -170.0), np.full(6, 170.0), False)) is None
    assert not looks_like_range(RANGE._replace(exact=False))


@pytest.mark.parametrize(
    ("factor", "words"), [(np.pi / 180, "radians"), (1 / 100, "-1 to 1"), (4096 / 90, "encoder steps")]
)
def test_other_numbers_are_no_joints(factor: float, words: str):
    assert words in (why_not_joints(Span(RANGE.lowest * factor, RANGE.highest * factor, True)) or "")
