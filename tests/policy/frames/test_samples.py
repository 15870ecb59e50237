"""Samples: the batches and the order of LeRobot's own data loader, in less time."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lerobot.datasets import EpisodeAwareSampler
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch import Tensor
from torch.utils.data import DataLoader

from so101_policy.errors import PolicyError
from so101_policy.frames.cache import FrameCache, open_cache
from so101_policy.frames.dataset import open_dataset
from so101_policy.frames.samples import Position, SampleOrder, Samples, share

CHUNK = 5
CAMERAS = ("observation.images.front", "observation.images.wrist")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


def lerobots(root: Path, episodes: list[int] | None = None) -> LeRobotDataset:
    """With action chunks, and uint8 frames where they are videos, as its trainer asks for them."""
    chunks = {"action": [step / 10 for step in range(CHUNK)]}
    return open_dataset("local/tiny", root, episodes=episodes, delta_timestamps=chunks, return_uint8=True)


def ours(root: Path, caches: Path, episodes: list[int] | None = None) -> Samples:
    dataset = open_dataset("local/tiny", root)
    return Samples(dataset, open_cache(dataset, folder=caches), CHUNK, episodes)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Any]) -> None:
    assert set(ours) == set(theirs) - {"task"}
    for key, mine in ours.items():
        other: Tensor = theirs[key]
        if key in CAMERAS and other.dtype == torch.float32:  # pictures of tables: k / 255
            mine = mine.float() / 255
        assert mine.dtype == other.dtype, key
        assert torch.equal(mine, other), key


@pytest.mark.parametrize("episodes", [None, [2, 0], [1]])
def test_batches_and_their_order_are_those_of_lerobots_data_loader(
    stored: Path, caches: Path, episodes: list[int] | None
):
    dataset = lerobots(stored, episodes)
    table: Any = dataset.meta.episodes
    sampler = EpisodeAwareSampler(
        *(table["dataset_from_index"], table["dataset_to_index"]),
        episode_indices_to_use=episodes,
        shuffle=True,
        seed=7,
        absolute_to_relative_idx=dataset.absolute_to_relative_idx,
    )
    loader = DataLoader(cast(Any, dataset), batch_size=4, sampler=sampler)
    samples = ours(stored, caches, episodes)
    order, position = SampleOrder(samples.indices, seed=7), Position()
    padded = 0
    for _epoch in range(2):
        for theirs in loader:
            indices, position = order.take(position, 4)
            batch = samples.batch(indices)
            assert_same(batch, theirs)
            padded += int(batch["action_is_pad"].sum())
    assert position == (2, 0)
    assert padded == 2 * len(samples.episodes) * sum(range(CHUNK))


def test_images_are_channels_last_in_memory_and_no_copy_of_the_dataset(videos: Path, caches: Path):
    samples = ours(videos, caches)
    image = samples.batch(np.array([3, 1]))[CAMERAS[0]]
    assert image.shape == (2, 3, 32, 48)
    assert image.is_contiguous(memory_format=torch.channels_last)
    image.fill_(0)  # the batch is the caller's
    assert samples.batch(np.array([3]))[CAMERAS[0]].any()


def test_samples_know_their_episodes_and_keep_to_them(videos: Path, caches: Path):
    samples = ours(videos, caches, [2, 0])
    assert samples.episodes.tolist() == [0, 2]
    assert samples.indices.tolist() == [*range(9), *range(16, 28)]
    assert len(samples) == 21
    assert samples.episode_of.tolist() == [0] * 9 + [1] * 7 + [2] * 12
    for outside in (9, 28):
        with pytest.raises(IndexError):
            samples.batch(np.array([0, outside]))
    dataset = open_dataset("local/tiny", videos, episodes=[1])
    assert Samples(dataset, open_cache(dataset, folder=caches), CHUNK).episodes.tolist() == [1]


def test_what_cannot_be_chosen_is_refused(videos: Path, caches: Path, tmp_path: Path):
    with pytest.raises(PolicyError, match="no episode 3, 9; it has 0 to 2"):
        ours(videos, caches, [0, 3, 9])
    with pytest.raises(PolicyError, match=r"no episode of .* was chosen"):
        ours(videos, caches, [])
    with pytest.raises(PolicyError, match="no samples"):
        SampleOrder(np.array([], dtype=np.int64))


def test_a_cache_of_another_dataset_is_refused(videos: Path, caches: Path, record: Any, tmp_path: Path):
    dataset = open_dataset("local/tiny", videos)
    other = open_dataset("local/tiny", record(tmp_path / "other", lengths=(9, 7, 12), seed=1))
    with pytest.raises(PolicyError, match="another dataset"):
        Samples(other, open_cache(dataset, folder=caches), CHUNK)


def test_batches_are_the_same_with_all_frames_in_memory(
    videos: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
):
    samples = ours(videos, caches)
    indices = np.array([27, 0, 8, 9])
    mapped = samples.batch(indices)
    moved = samples.to("meta")
    assert not moved.on_device  # nobody knows how much fits there: frames are sent batch by batch
    assert moved.batch(indices)[CAMERAS[0]].device.type == "meta"
    if torch.cuda.is_available():
        samples = ours(videos, caches).to("cuda")
        assert samples.on_device
        there = samples.batch(indices)
        assert all(value.is_cuda and torch.equal(value.cpu(), mapped[key]) for key, value in there.items())
        monkeypatch.setattr(FrameCache, "to", lambda *_: None)
        sent = ours(videos, caches).to("cuda")
        assert not sent.on_device
        assert all(torch.equal(value.cpu(), mapped[key]) for key, value in sent.batch(indices).items())


@pytest.mark.parametrize("size", [1, 4, 21, 30])
def test_order_goes_on_from_any_sample(size: int):
    indices = np.arange(5, 26)
    order = SampleOrder(indices, seed=3)
    straight = np.concatenate([order.epoch(epoch) for epoch in range(3)])
    position, taken = Position(), list[int]()
    for step in range(12):
        assert order.position(step, size) == position
        joint, position = SampleOrder(indices, seed=3).take(position, size)
        taken += joint.tolist()
    upto = min(len(taken), len(straight))
    assert taken[:upto] == straight[:upto].tolist()
    assert sorted(order.epoch(5)) == indices.tolist()
    assert order.epoch(0).tolist() != order.epoch(1).tolist()
    assert SampleOrder(indices, seed=4).epoch(0).tolist() != order.epoch(0).tolist()


def test_a_training_may_go_on_with_another_batch_size():
    order = SampleOrder(np.arange(21), seed=3)
    _, position = order.take(Position(), 5)
    rest, position = order.take(position, 16)
    assert rest.tolist() == order.epoch(0)[5:].tolist()
    assert position == (1, 0)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_of_all_processes_are_the_joint_batch(processes: int):
    order = SampleOrder(np.arange(21), seed=3)
    position = Position()
    for _ in range(4):
        joint, position = order.take(position, 8)
        shares = [share(joint, rank, processes) for rank in range(processes)]
        assert np.concatenate(shares).tolist() == joint.tolist()
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
