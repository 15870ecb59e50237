"""What a run trains on: the dataset and its split, whether it fits the policy, and its frames, decoded once.

Everything that can be asked of descriptions is asked before frames are decoded and before anything is written.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.configs.default import DatasetConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.utils.constants import ACTION, IMAGENET_STATS, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features
from numpy.typing import NDArray

from so101_policy.checkpoint.trained_on import SCALED_BY, SCENE, Colour, TrainedOn
from so101_policy.command_line.console import Console
from so101_policy.dataset_check.description import flattened
from so101_policy.dataset_check.look import TOLERANCE_S
from so101_policy.errors import TrainError
from so101_policy.files.plain_data import parse_json
from so101_policy.findings import Finding
from so101_policy.frames import corrections
from so101_policy.frames.cache import open_cache
from so101_policy.frames.dataset import INFO, camera_shapes, open_checked
from so101_policy.frames.samples import Samples
from so101_policy.names import camera_name
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.units import Span, Units, units_of

Size = tuple[int, int]

DEMONSTRATIONS = Path("meta") / "so101_episodes.jsonl"
"""What so101-demos writes: a line for each episode."""

_log = logging.getLogger(__name__)
_UNITS = {None: None, True: Units.DEGREES, False: Units.RANGE}
"""What `use_degrees` means."""


class Description(NamedTuple):
    """A dataset as a policy would see it."""

    dataset: LeRobotDataset
    """LeRobot's, all episodes."""
    place: str
    """Where it is, for messages."""
    features: dict[str, PolicyFeature]
    """LeRobot's policy features; images at the size of training."""
    joints: tuple[str, ...]
    """Names of the action's entries; empty where the dataset has none."""
    statistics: dict[str, dict[str, Any]]
    """Of the episodes that are trained on; colours as `use_imagenet_stats` says."""
    colours: dict[str, Colour]
    """Camera -> the mean of its pictures; without those of which it is not known."""
    trained: list[int]
    """Those episodes."""
    doubtful: list[Finding]
    """What a person should know of the dataset."""

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed."""
        return {
            "joints": list(self.joints),
            "cameras": {key: list(shape) for key, shape in sorted(_cameras(self.features).items())},
            "episodes": self.dataset.meta.total_episodes,
            "frames": self.dataset.meta.total_frames,
            "fps": self.dataset.meta.fps,
        }


class TrainingData(NamedTuple):
    """Samples of a run: those of the dataset, of which some frames are trained on and others held out."""

    samples: Samples
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    shifted: Samples | None


def describe(
    repo_id: str,
    root: str | Path | None,
    size: Size | None,
    config: DatasetConfig,
    tolerance_s: float = TOLERANCE_S,
    episodes: Sequence[int] | None = None,
    held_out: float = 0.0,
) -> Description:
    """Look at a dataset and open it, without its frames.

    Args:
        tolerance_s: by which the times of frames may differ from 1/fps.
        episodes: to train on and to hold out; None: all.
        held_out: the share of them that is held out.

    Raises:
        PolicyError: there is no such dataset, or something in it is wrong.
    """
    dataset, seen = open_checked(
        *(repo_id, root, config.revision),
        used=episodes,
        tolerance_s=tolerance_s,
        video_backend=config.video_backend,
    )
    meta: Any = dataset.meta
    features = dataset_to_policy_features(without_depth(meta))
    if ACTION not in features:
        raise TrainError(
            f"the dataset {meta.root} has no {ACTION}; its features are {', '.join(meta.features)}"
        )
    if size is not None:
        features = {
            key: PolicyFeature(f.type, (3, *size)) if f.type is FeatureType.VISUAL else f
            for key, f in features.items()
        }
    train, _ = split(meta, episodes, held_out)
    trained = seen.statistics_of(train)
    statistics: dict[str, dict[str, Any]] = dict(trained.statistics)
    means = {camera_name(key): statistics.get(key, {}).get("mean") for key in _cameras(features)}
    colours = {name: found for name, mean in means.items() if (found := _colour(mean)) is not None}
    if config.use_imagenet_stats:
        for key in _cameras(features):
            imagenet = {name: torch.tensor(value) for name, value in IMAGENET_STATS.items()}
            statistics[key] = {**statistics.get(key, {}), **imagenet}
    joints = flattened(meta.features[ACTION].get("names"))
    return Description(
        *(dataset, str(root or repo_id), features, joints, statistics, colours, train),
        [*seen.doubtful, *trained.notes],
    )


def _colour(mean: Any) -> Colour | None:
    """A mean of pictures as LeRobot keeps it, (3, 1, 1), rounded; None: there is none that can be one."""
    numbers = np.asarray([] if mean is None else mean, np.float64).ravel()
    if numbers.shape != (3,) or not ((numbers >= 0) & (numbers <= 1)).all():
        return None
    red, green, blue = (round(float(part), 4) for part in numbers)
    return red, green, blue


def without_depth(meta: LeRobotDatasetMetadata) -> dict[str, Any]:
    """The dataset's features that an ACT can take: it sees colours, and no depth."""
    if depth := [key for key in meta.features if key in meta.depth_keys]:
        _log.warning("depth cameras are not trained on: %s", ", ".join(depth))
    return {key: feature for key, feature in meta.features.items() if key not in depth}


def start_pose(dataset: LeRobotDataset, episodes: Sequence[int]) -> list[float] | None:
    """The median of the joint states with which `episodes` begin; None for a dataset without states."""
    meta = dataset.meta
    if OBS_STATE not in meta.features or not episodes:
        return None
    table: Any = meta.episodes
    starts = table["dataset_from_index"]
    first = dataset.hf_dataset.select([starts[episode] for episode in episodes])[OBS_STATE]
    return [round(float(value), 3) for value in np.median(np.stack(list(first)), axis=0)]


def trained_on(config: SO101TrainConfig, data: Description) -> TrainedOn:
    """What a checkpoint says to whoever plays it.

    Args:
        config: its policy has its inputs.

    Raises:
        TrainError: the joints are not in the units that `--use_degrees` says.
    """
    meta = data.dataset.meta
    inverse = {new: old for old, new in config.rename_map.items()}
    trained = {inverse.get(key, key): _size(feature) for key, feature in config.act.image_features.items()}
    recorded = camera_shapes(data.dataset, list(trained)) if trained else {}
    spans = [Span.of(_numbers(data.statistics.get(key, {}))) for key in (ACTION, OBS_STATE)]
    units = [found for span in spans if (found := units_of(span)) is not None]
    if config.use_degrees is False and units:
        raise TrainError(
            f"--use_degrees=false, but a joint of {data.place} goes to {max(s.reach for s in spans if s):.0f}: "
            "expected values up to 100; drop the flag"
        )
    return TrainedOn(
        fps=float(meta.fps),
        units=units[0] if config.use_degrees is None and units else _UNITS[config.use_degrees],
        joints=data.joints,
        recorded={camera_name(key): size for key, size in recorded.items()},
        trained={camera_name(key): size for key, size in trained.items()},
        colours={name: colour for name, colour in data.colours.items() if name in map(camera_name, trained)},
        scaled_by=SCALED_BY if recorded != trained else None,
        statistics={
            "from": "the episodes that were trained on",
            "imagenet": config.dataset.use_imagenet_stats,
        },
        dataset={
            "repo_id": config.dataset.repo_id,
            "episodes": meta.total_episodes,
            "frames": meta.total_frames,
            "info_sha256": hashlib.sha256((Path(data.dataset.root) / INFO).read_bytes()).hexdigest(),
            **({} if (scene := _scene(Path(data.dataset.root))) is None else {SCENE: scene}),
        },
    )


def _scene(root: Path) -> str | None:
    """Of demonstrations in simulation, all of which are of one task; None: others, or it cannot be read."""
    try:
        with (root / DEMONSTRATIONS).open(encoding="utf-8") as lines:
            first: Any = parse_json(next(lines))
        return str(first["reset"]["task"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def split(
    meta: LeRobotDatasetMetadata, asked: Sequence[int] | None, fraction: float
) -> tuple[list[int], list[int]]:
    """Episodes to train on and to hold out: the last of every task, as `lerobot-train` splits.

    Raises:
        TrainError: there are no such episodes, or none are left to train on.
    """
    count = meta.total_episodes
    episodes = list(range(count)) if asked is None else list(asked)
    if wrong := [episode for episode in episodes if not 0 <= episode < count]:
        raise TrainError(f"--dataset.episodes asks for {wrong}; the dataset has episodes 0 to {count - 1}")
    if fraction == 0:
        return episodes, []
    tasks: dict[str, list[int]] = {}
    table: Any = meta.episodes
    names = table["tasks"]
    for episode in episodes:
        tasks.setdefault(names[episode][0] if names[episode] else "", []).append(episode)
    train: list[int] = []
    held_out: list[int] = []
    for of_task in tasks.values():
        kept = len(of_task) - math.ceil(len(of_task) * fraction)
        train += of_task[:kept]
        held_out += of_task[kept:]
    if not train:
        raise TrainError(
            f"--held_out={fraction} of {len(episodes)} episodes leaves none to train on; "
            "take --held_out=0, or record more"
        )
    return train, held_out


def check_fits(
    policy: ACTConfig, data: Description, renamed: Mapping[str, str], joints: Sequence[str] | None = None
) -> None:
    """Whether a policy that has its inputs already (from a checkpoint) can learn from this dataset.

    Args:
        renamed: dataset's key -> policy's key.
        joints: the names that the checkpoint was trained with, where they are known.

    Raises:
        TrainError: all misfits, with what is possible.
    """
    there = {renamed.get(key, key): feature for key, feature in data.features.items()}
    misfits = [*_input_misfits(policy, there), *_joint_misfits(policy, there, data.joints, joints)]
    if misfits:
        raise TrainError(f"the dataset {data.place} does not fit the policy:\n  - " + "\n  - ".join(misfits))


def check_alike(shifted: Description, data: Description) -> None:
    """Raises TrainError where the shifted dataset is of another robot or other cameras than the one trained on."""
    ours, theirs = _shapes(data.features), _shapes(shifted.features)
    differing = {key for key in ours if theirs.get(key) != ours[key]}
    if differing or data.joints != shifted.joints:
        what = "; ".join(f"{key}: {theirs.get(key, 'missing')}, not {ours[key]}" for key in sorted(differing))
        what = what or f"its joints are {', '.join(shifted.joints)}, not {', '.join(data.joints)}"
        raise TrainError(f"the shifted dataset {shifted.place} does not match {data.place}: {what}")


def load(
    config: SO101TrainConfig, data: Description, shifted: Description | None, console: Console | None
) -> TrainingData:
    """Decode the frames, or find them in the cache.

    Raises:
        PolicyError: cameras of different sizes, no room, a damaged video.
    """
    train, held_out = split(data.dataset.meta, config.dataset.episodes, config.held_out or 0)
    inverse = {new: old for old, new in config.rename_map.items()}
    cameras = [inverse.get(key, key) for key in config.act.image_features]

    def samples(of: Description, episodes: Sequence[int] | None) -> Samples:
        place, jobs = config.cache.folder, config.cache.jobs
        cache = open_cache(of.dataset, config.cache.height_width, place, jobs, console, cameras)
        return Samples(of.dataset, cache, config.act.chunk_size, episodes)

    ours = samples(data, train + held_out)
    is_held_out = np.isin(ours.episode_of[ours.indices], held_out)
    of_shifted = samples(shifted, None) if shifted else None
    ours_train, ours_held_out = ours.indices[~is_held_out], ours.indices[is_held_out]
    use = config.corrections.use
    if use != corrections.ALL:
        is_N = corrections.is_correction(ours)
        ours_train = corrections.drawn(ours_train, is_N, use, config.corrections.weight)
        if use == corrections.ONLY:
            ours_held_out = corrections.drawn(ours_held_out, is_N, use, 1)
            ours.end_at(corrections.ends_of(is_N, ours.last_N))
    return TrainingData(ours, ours_train, ours_held_out, of_shifted)


def _input_misfits(policy: ACTConfig, there: Mapping[str, PolicyFeature]) -> Iterator[str]:
    cameras = _cameras(there)
    found = ", ".join(f"{camera_name(key)} ({w}x{h})" for key, (h, w) in cameras.items()) or "no camera"
    for key, feature in policy.image_features.items():
        height, width = feature.shape[1:]
        if key not in cameras:
            yield (
                f"the policy uses the camera {camera_name(key)}, which the dataset does not have; it has {found}. "
                f'If one of them is meant: --rename_map=\'{{"observation.images.OTHER": "{key}"}}\''
            )
        elif cameras[key] != (height, width):
            h, w = cameras[key]
            yield (
                f"camera {camera_name(key)}: the policy was trained with {width}x{height} pixels, the frames are "
                f"{w}x{h}. Give --cache.size={height}x{width}"
            )
    if policy.env_state_feature and "observation.environment_state" not in there:
        yield "the policy needs an environment state (observation.environment_state), which the dataset lacks"


def _joint_misfits(
    policy: ACTConfig, there: Mapping[str, PolicyFeature], names: Sequence[str], trained: Sequence[str] | None
) -> Iterator[str]:
    for what, feature, key in (
        ("joint positions", policy.robot_state_feature, OBS_STATE),
        ("joint targets", policy.action_feature, ACTION),
    ):
        if feature is None:
            continue
        size = there[key].shape[0] if key in there else 0
        if size != feature.shape[0]:
            yield f"the policy has {feature.shape[0]} {what}, the dataset has {size}: {', '.join(names)}"
    if trained and names and tuple(trained) != tuple(names):
        yield (
            f"the policy was trained for the joints {', '.join(trained)}; the dataset's are {', '.join(names)}: "
            "another robot, or another order"
        )


def _cameras(features: Mapping[str, PolicyFeature]) -> dict[str, Size]:
    return {key: _size(f) for key, f in features.items() if f.type is FeatureType.VISUAL}


def _size(feature: PolicyFeature) -> Size:
    return int(feature.shape[1]), int(feature.shape[2])


def _numbers(statistics: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(values, np.float64) for name, values in statistics.items()}


def _shapes(features: Mapping[str, PolicyFeature]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(feature.shape) for key, feature in features.items()}
