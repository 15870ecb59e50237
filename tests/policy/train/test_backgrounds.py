"""so101-train keeps the background of every camera that stands with its checkpoints, and of no other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from moved_pictures import TextureBench
from so101_policy.checkpoint.backgrounds import read_backgrounds
from so101_policy.checkpoint.reader import look_at
from so101_policy.frames.spread import spread_frames

JOINTS = ("a.pos", "b.pos", "c.pos")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes: before the front camera something small moves, the wrist camera sees something else every time."""
    root = tmp_path_factory.mktemp("standing") / "data"
    numbers = {"dtype": "float32", "shape": (3,), "names": list(JOINTS)}
    picture = {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    features: dict[str, Any] = {"observation.state": numbers, "action": numbers}
    features |= {f"observation.images.{name}": picture for name in ("front", "wrist")}
    dataset: Any = LeRobotDataset.create("local/tiny", 10, features, root=root, use_videos=False)
    bench, rng = TextureBench(32, 32), np.random.default_rng(0)
    for _ in range(4):
        for _ in range(8):
            state = rng.normal(size=3).astype(np.float32)
            dataset.add_frame(
                {
                    "observation.images.front": bench.picture(rng),
                    "observation.images.wrist": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
                    "observation.state": state,
                    "action": 30 * state + 5,
                    "task": "wave",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return root


def test_a_checkpoint_has_the_background_of_the_camera_that_stands(
    train: Any, standing: Path, tmp_path: Path
) -> None:
    out = train(tmp_path / "out", "--cache.size=16x16", root=standing)
    model = out / "checkpoints" / "last" / "pretrained_model"
    look_at(model.resolve())
    (found,) = read_backgrounds(model.resolve()).items()
    camera, background = found
    assert camera == "front"
    assert background.size_px == (32, 32), "as recorded, not as trained"
    assert background.frames == 24, "the episode that is held out is not looked at"
    still = TextureBench(32, 32).picture(np.random.default_rng(9))
    assert np.abs(background.image[background.static].astype(int) - still[background.static]).mean() < 3


def test_pictures_are_spread_over_the_episodes_that_are_asked_for(standing: Path) -> None:
    dataset = LeRobotDataset("local/tiny", root=standing)
    key = "observation.images.wrist"
    frames = spread_frames(dataset, [key], [1, 3], count=4)[key]
    assert len(frames) == 4
    assert frames[0].dtype == np.uint8
    wanted = [np.rint(255 * dataset[i][key].numpy().transpose(1, 2, 0)) for i in (8, 13, 26, 31)]
    for frame, exact in zip(frames, wanted, strict=True):
        np.testing.assert_array_equal(frame, exact)
