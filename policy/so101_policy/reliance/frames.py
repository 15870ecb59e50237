"""The frames that are probed, read from a LeRobotDataset v3: some of every episode, spread over its length.

Nothing is written and nothing is fetched where a local folder is named.

Shapes: F frames, N frames of the chosen episodes, P pictures, S joints, T chunk, A action.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.dataset_check.look import TOLERANCE_S
from so101_policy.errors import PolicyError, first_line
from so101_policy.findings import Finding
from so101_policy.frames.dataset import open_checked
from so101_policy.names import camera_name
from so101_policy.reliance.phases import JawLevels, phases_of
from so101_policy.reliance.probes import Indices, Views
from so101_policy.train.data import split

MIN_EPISODES = 2
"""Episodes: a donor comes from another one."""


class Recordings(NamedTuple):
    """A dataset's chosen episodes, opened."""

    dataset: LeRobotDataset
    episodes: list[int]
    doubtful: list[Finding]
    """What a person should know of them."""

    @property
    def name(self) -> str:
        return str(self.dataset.repo_id)

    @property
    def fps(self) -> float:
        return float(self.dataset.meta.fps)

    @property
    def joints(self) -> list[str]:
        """Names of the action's columns, without LeRobot's suffix."""
        feature = self.dataset.meta.features[ACTION]
        names = feature.get("names")
        if not isinstance(names, list) or len(names) != feature["shape"][0]:
            return [f"joint_{index}" for index in range(1, feature["shape"][0] + 1)]
        return [str(name).removesuffix(".pos") for name in names]

    @property
    def cameras(self) -> list[str]:
        return [camera_name(key) for key in self.dataset.meta.camera_keys]


def open_recordings(
    repo_id: str | None, root: Path | None, episodes: str = "all", tolerance_s: float = TOLERANCE_S
) -> Recordings:
    """Open a dataset.

    Args:
        repo_id: hub id; with `root` only a name.
        root: local folder.
        episodes: see `chosen_episodes`.
        tolerance_s: by which the times of frames may differ from 1/fps.

    Raises:
        PolicyError: there is no such dataset, it is damaged, or it has too few episodes.
    """
    if repo_id is None and root is None:
        raise PolicyError("no dataset is named; give --dataset.root=FOLDER, or --dataset.repo_id=USER/NAME")
    name = repo_id or (root.resolve().name if root else "")
    whole, _ = open_checked(name, root, used=(), tolerance_s=tolerance_s)  # values of those that are chosen
    chosen = chosen_episodes(episodes, whole.meta)
    for key in (ACTION, OBS_STATE):
        if key not in whole.meta.features:
            raise PolicyError(f"{name} has no {key}; it has {', '.join(whole.meta.features)}")
    dataset, seen = open_checked(name, root, episodes=chosen, return_uint8=True, tolerance_s=tolerance_s)
    return Recordings(dataset, chosen, seen.doubtful)


def chosen_episodes(asked: str, meta: LeRobotDatasetMetadata) -> list[int]:
    """Episodes of a dataset with LeRobot's `meta` that `asked` means.

    "all", "0:16" with ends as in Python's slices, "last:16", numbers "0,3,8", or "held-out:0.1": those that
    `so101-train --held_out=0.1` does not train on.

    Raises:
        PolicyError: not understood, not there, or fewer than two.
    """
    total = int(meta.total_episodes)
    if asked == "all":
        chosen = list(range(total))
    elif match := re.fullmatch(r"held-out:(0?\.\d+)", asked):
        _, chosen = split(meta, None, float(match[1]))
    elif match := re.fullmatch(r"last:(\d+)", asked):
        chosen = list(range(max(0, total - int(match[1])), total))
    elif match := re.fullmatch(r"(\d*):(\d*)", asked):
        chosen = list(range(int(match[1] or 0), int(match[2] or total)))
    elif re.fullmatch(r"\d+(,\d+)*", asked):
        chosen = sorted({int(number) for number in asked.split(",")})
    else:
        raise PolicyError(
            f"--episodes {asked!r} is not understood; possible: all, 0:16, last:16, held-out:0.1 or 0,3,8"
        )
    if beyond := [episode for episode in chosen if episode >= total]:
        raise PolicyError(
            f"--episodes {asked}: there is no episode {beyond[0]}; the dataset has {total}, counted from 0"
        )
    if len(chosen) < MIN_EPISODES:
        raise PolicyError(
            f"{len(chosen)} episode{'' if len(chosen) == 1 else 's'} of {total} chosen; expected {MIN_EPISODES} or "
            "more, because what replaces a frame's images or state comes from another episode"
        )
    return chosen


def read_views(
    recordings: Recordings,
    cameras: Sequence[str],
    *,
    frames: int,
    steps: int,
    delay: int,
    seed: int = 0,
    advance: Callable[[int, int], object] | None = None,
) -> Views:
    """Read `frames` frames and all that the probes show instead of them.

    Args:
        recordings: of the chosen episodes.
        cameras: names of the cameras to read.
        frames: how many, spread evenly over episodes and over each episode's length.
        steps: demonstrated actions to read from each on.
        delay: of the delayed images, in frames.
        seed: which frames.
        advance: called with (pictures read, of how many).

    Raises:
        PolicyError: a video is damaged.
    """
    wanted = ["episode_index", OBS_STATE, ACTION]
    columns = recordings.dataset.hf_dataset.select_columns(wanted).with_format("numpy")[:]
    episode_N = np.asarray(columns["episode_index"], dtype=np.int64)
    state_NS, action_NA = (np.asarray(columns[key], dtype=np.float32) for key in wanted[1:])
    now_F = pick_frames(episode_N, frames, np.random.default_rng(seed))
    first_N, last_N = _bounds(episode_N)
    first_F, last_F = first_N[now_F], last_N[now_F]
    earlier_F = np.maximum(first_F, now_F - delay)
    rows_P = np.unique(np.concatenate([now_F, first_F, earlier_F]))
    later_FT = now_F[:, None] + np.arange(steps)
    return Views(
        state_FS=torch.from_numpy(state_NS[now_F]),
        pictures=_pictures(recordings.dataset, cameras, rows_P, advance),
        now_F=np.searchsorted(rows_P, now_F),
        first_F=np.searchsorted(rows_P, first_F),
        earlier_F=np.searchsorted(rows_P, earlier_F),
        action_FTA=torch.from_numpy(action_NA[np.minimum(later_FT, last_F[:, None])]),
        is_pad_FT=torch.from_numpy(later_FT > last_F[:, None]),
        episode_F=episode_N[now_F],
        phase_F=_phases(episode_N, action_NA, recordings)[now_F],
    )


def pick_frames(episode_N: Indices, frames: int, generator: np.random.Generator) -> Indices:
    """One frame at random from each of equally long stretches of each episode; as many stretches an episode."""
    numbers, starts, lengths = np.unique(episode_N, return_index=True, return_counts=True)
    shares = np.full(len(numbers), frames // len(numbers))
    shares[generator.permutation(len(numbers))[: frames % len(numbers)]] += 1
    picked: list[NDArray[np.int64]] = []
    for start, length, share in zip(starts, lengths, np.minimum(shares, lengths), strict=True):
        edges = np.arange(share + 1) * length // max(share, 1)
        picked.append(start + generator.integers(edges[:-1], edges[1:]))
    return np.concatenate(picked)


def _bounds(episode_N: Indices) -> tuple[Indices, Indices]:
    """(N,) first and last frame of each frame's episode; each episode is one run of frames."""
    _, start, inverse, count = np.unique(
        episode_N, return_index=True, return_inverse=True, return_counts=True
    )
    return start[inverse], (start + count - 1)[inverse]


def _phases(episode_N: Indices, action_NA: NDArray[np.float32], recordings: Recordings) -> Indices:
    """(N,) phase of every frame; without a joint named gripper the last one is taken for the jaws."""
    names = recordings.joints
    jaws = names.index("gripper") if "gripper" in names else len(names) - 1
    arm_NJ, jaws_N = np.delete(action_NA, jaws, axis=1), action_NA[:, jaws]
    levels, phase_N = JawLevels.of(jaws_N), np.zeros_like(episode_N)
    for episode in np.unique(episode_N):
        inside = episode_N == episode
        phase_N[inside] = phases_of(jaws_N[inside], arm_NJ[inside], recordings.fps, levels)
    return phase_N


def _pictures(
    dataset: LeRobotDataset,
    cameras: Sequence[str],
    rows_P: Indices,
    advance: Callable[[int, int], object] | None,
) -> dict[str, Tensor]:
    keys = [f"{OBS_IMAGES}.{name}" for name in cameras]
    pictures: dict[str, list[Tensor]] = {key: [] for key in keys}
    for done, row in enumerate(rows_P.tolist(), start=1):
        try:
            item = cast(dict[str, Tensor], dataset[row])
        except Exception as error:  # whatever the decoder says
            raise PolicyError(
                f"frame {row} of the chosen episodes of {dataset.root} cannot be decoded: {first_line(error)}"
            ) from error
        for key in keys:
            picture = item[key]
            pictures[key].append(picture if picture.dtype == torch.uint8 else (picture * 255).round().byte())
        if advance:
            advance(done, len(rows_P))
    return {key: torch.stack(frames) for key, frames in pictures.items()}
