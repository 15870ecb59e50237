"""What a training batch needs of a dataset, gathered at once: columns in memory, frames from the cache.

A batch holds the numbers that LeRobot's data loader gives for the same indices (frames as uint8, as LeRobot's do when
asked for `return_uint8`), without text. The order of samples is LeRobot's too, so a training can be compared with
`lerobot-train` step by step.

Shapes: N frames of the dataset, B batch, T chunk, A action, C colours.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.errors import PolicyError
from so101_policy.frames.cache import FrameCache
from so101_policy.frames.dataset import AnyDataset, complete_dataset, fingerprint

NOT_NUMBERS = ("image", "video", "string", "language")
"""Types of features that are no columns of numbers."""


class Samples:
    """The frames of some episodes as training samples.

    Attributes:
        indices: (n,) frames of the chosen episodes, as numbered in the dataset, ascending.
        episode_of: (N,) the episode of every frame of the dataset.
        episodes: those that were chosen, ascending.
        on_device: whether frames are on the device that batches come on.
    """

    def __init__(
        self,
        dataset: AnyDataset,
        cache: FrameCache,
        chunk_size: int,
        episodes: Sequence[int] | None = None,
        device: str | torch.device = "cpu",
    ):
        """
        Args:
            dataset: a LeRobotDataset, or its metadata.
            cache: of the same dataset.
            chunk_size: actions per sample.
            episodes: None: those that `dataset` was opened with.
            device: see `to`.

        Raises:
            PolicyError: there is no such episode, or the cache is of another dataset.
        """
        plain = complete_dataset(dataset)
        if cache.manifest.fingerprint != fingerprint(plain.root):
            raise PolicyError(f"the cache {cache.folder} is of another dataset than {plain.root}")
        self.episodes = _chosen(
            plain, dataset.episodes if episodes is None and isinstance(dataset, LeRobotDataset) else episodes
        )
        self.chunk_size = chunk_size
        self._cache = cache
        self._columns = _columns(plain)
        table: Any = plain.meta.episodes
        lengths = np.array(table["dataset_to_index"]) - np.array(table["dataset_from_index"])
        self.episode_of: NDArray[np.int64] = np.repeat(np.arange(len(lengths)), lengths)
        self._is_chosen = np.isin(self.episode_of, self.episodes)
        self.indices: NDArray[np.int64] = np.flatnonzero(self._is_chosen)
        self._last_N = torch.from_numpy(np.repeat(np.array(table["dataset_to_index"]) - 1, lengths))
        self._place(torch.device(device))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """Every numeric column of the dataset, (N, ...)."""
        return self._columns

    @property
    def last_N(self) -> NDArray[np.int64]:  # noqa: N802 (a shape)
        """(N,) the frame with which each frame's chunk ends at the latest: the last of its episode."""
        return self._last_N.cpu().numpy()

    def end_at(self, last_N: NDArray[np.int64]) -> None:
        """Let the chunk of every frame end at `last_N` (N,) at the latest, in place of its episode's end."""
        self._last_N = torch.from_numpy(np.array(last_N)).to(self.device)

    def to(self, device: str | torch.device) -> Self:
        """Batches on `device` from now on. Frames are kept there too where they fit, shared by all samples of one
        cache; otherwise they are gathered on the computer and sent over.
        """
        self._place(torch.device(device))
        return self

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """The samples of frames `indices`, in that order.

        Returns:
            Every numeric column of the dataset under its name, of them `action` (B, T, A); `action_is_pad` (B, T), true
            past the end of an episode, where the last action is repeated; every camera (B, C, H, W) uint8, channels
            last in memory.

        Raises:
            IndexError: a frame is not of the chosen episodes.
        """
        if not self._is_chosen[indices].all():
            raise IndexError("some of the frames asked for are not in the chosen episodes")
        at_B = torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64))
        images = {camera: self._gather(frames, at_B) for camera, frames in self._frames.items()}
        at_B = at_B.to(self.device, non_blocking=True)
        wanted_BT = at_B[:, None] + self._steps_T
        last_B1 = self._last_N[at_B][:, None]
        batch = {key: column[at_B] for key, column in self._columns.items() if key != ACTION}
        batch[ACTION] = self._columns[ACTION][torch.minimum(wanted_BT, last_B1)]
        batch[f"{ACTION}_is_pad"] = wanted_BT > last_B1
        return batch | images

    def _place(self, device: torch.device) -> None:
        self.device = device
        self._columns = {key: column.to(device) for key, column in self._columns.items()}
        self._last_N = self._last_N.to(device)
        self._steps_T = torch.arange(self.chunk_size, device=device)
        frames = None if device.type == "cpu" else self._cache.to(device)
        self.on_device = frames is not None or device.type == "cpu"
        self._frames = frames or {camera: _mapped(image) for camera, image in self._cache.images.items()}

    def _gather(self, frames_NHWC: Tensor, at_B: Tensor) -> Tensor:
        if frames_NHWC.device.type != "cpu":
            frames_BHWC = frames_NHWC.index_select(0, at_B.to(frames_NHWC.device, non_blocking=True))
        else:
            pinned = self.device.type == "cuda"
            frames_BHWC = torch.empty(
                (len(at_B), *frames_NHWC.shape[1:]), dtype=torch.uint8, pin_memory=pinned
            )
            torch.index_select(frames_NHWC, 0, at_B, out=frames_BHWC)
            frames_BHWC = frames_BHWC.to(self.device, non_blocking=True)
        return frames_BHWC.permute(0, 3, 1, 2)


class Position(NamedTuple):
    """How far a training has come in its data: LeRobot's sampler state."""

    epoch: int = 0
    sample: int = 0
    """Samples of the epoch that were taken."""


class SampleOrder:
    """Which samples come when: a pure function of seed and position, on every process the same.

    An epoch is shuffled as LeRobot's `EpisodeAwareSampler(shuffle=True, seed=seed)` does, by `torch.randperm` seeded
    from (seed, epoch). A training can continue from any sample, also with another batch size or number of processes.
    """

    def __init__(self, indices: NDArray[np.int64], seed: int = 0):
        """`indices`: frames to draw from, ascending, such as `Samples.indices`."""
        if len(indices) == 0:
            raise PolicyError("there are no samples to train on")
        self._indices, self._seed = indices, seed
        self._shuffled: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._indices)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """All samples in the order of an epoch."""
        if self._shuffled is None or self._shuffled[0] != epoch:
            words = np.random.SeedSequence([self._seed, epoch]).generate_state(1, dtype=np.uint64)
            generator = torch.Generator().manual_seed(int(words[0]))
            order = torch.randperm(len(self._indices), generator=generator).numpy()
            self._shuffled = epoch, self._indices[order]
        return self._shuffled[1]

    def take(self, position: Position, size: int) -> tuple[NDArray[np.int64], Position]:
        """The joint batch of all processes at `position`, and where the next one begins.

        A batch ends with the epoch, as LeRobot's in one process does, so the last of an epoch may be short.
        """
        taken = self.epoch(position.epoch)[position.sample : position.sample + size]
        stop = position.sample + len(taken)
        return taken, Position(position.epoch, stop) if stop < len(self) else Position(position.epoch + 1)

    def position(self, step: int, size: int) -> Position:
        """Where joint batch number `step` of `size` begins, counted from the beginning of a training."""
        epoch, batches = divmod(step, -(-len(self) // size))
        return Position(epoch, batches * size)


def split_batch(joint: NDArray[np.int64], rank: int, processes: int) -> NDArray[np.int64]:
    """What process `rank` does of a joint batch: the shares, one after the other, are the joint batch.

    They differ by one sample at most; of a batch with fewer samples than processes the last ones get none.
    """
    return np.array_split(joint, processes)[rank]


def _chosen(dataset: LeRobotDataset, episodes: Sequence[int] | None) -> NDArray[np.int64]:
    there = dataset.meta.total_episodes
    chosen = np.arange(there) if episodes is None else np.unique(np.array(episodes, dtype=np.int64))
    if len(chosen) == 0:
        raise PolicyError(f"no episode of {dataset.root} was chosen; it has 0 to {there - 1}")
    if chosen[0] < 0 or chosen[-1] >= there:
        wrong = ", ".join(str(number) for number in chosen[(chosen < 0) | (chosen >= there)])
        raise PolicyError(f"the dataset {dataset.root} has no episode {wrong}; it has 0 to {there - 1}")
    return chosen


def _columns(dataset: LeRobotDataset) -> dict[str, Tensor]:
    """Every column of numbers, with the types that LeRobot's loader gives them."""
    keys = [key for key, feature in dataset.meta.features.items() if feature["dtype"] not in NOT_NUMBERS]
    if ACTION not in keys:
        raise PolicyError(
            f"the dataset {dataset.root} has no {ACTION}; it has {', '.join(dataset.meta.features)}"
        )
    rows = dataset.hf_dataset.with_format("numpy", columns=keys)[:]
    return {key: torch.from_numpy(np.array(rows[key])) for key in keys}


def _mapped(image: NDArray[np.uint8]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written
        return torch.from_numpy(np.asarray(image))
