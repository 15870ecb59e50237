"""`meta/info.json`: what a dataset says about itself, checked field by field before anything is built from it.

The rules are those that LeRobot's reader needs to get through without a traceback, and a few that keep it inside the
folder: names of features become folders, and the templates of paths are filled in by `str.format`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from so101_policy.dataset_check.folder import INFO, read_object
from so101_policy.errors import DatasetError, shown
from so101_policy.files.plain_data import Plain
from so101_policy.names import SO101_JOINTS

ACTION, STATE = "action", "observation.state"
PICTURES = ("image", "video")
TEXT = ("string", "language")
NUMBERS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "float16",
    "float32",
    "float64",
)
COUNTERS = {
    "timestamp": "float",
    "frame_index": "int",
    "episode_index": "int",
    "index": "int",
    "task_index": "int",
}
"""Columns of every LeRobotDataset, and the kind of number in them."""

MOST_FEATURES, MOST_NAME, MOST_SIZE = 256, 200, 1_000_000
MOST_FPS = 1000
MOST_FRAMES = 1_000_000_000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

_FIELD = re.compile(r"\{(?:video_key|(?:chunk_index|file_index)(?::0?\d?d)?)\}")


class Feature(NamedTuple):
    """One column, or one camera."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Of the entries of a vector; empty where there are none."""

    @property
    def is_numbers(self) -> bool:
        return self.dtype in NUMBERS

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of a camera's pictures."""
        first = self.names[:1] and self.names[0].startswith("channel")
        return (self.shape[1], self.shape[2]) if first else (self.shape[0], self.shape[1])

    def entry(self, index: int) -> str:
        """What an entry is called in messages."""
        return self.names[index] if index < len(self.names) else f"entry {index}"


class Description(NamedTuple):
    """What `info.json` says, checked."""

    root: Path
    fps: float
    episodes: int
    frames: int
    tasks: int
    features: Mapping[str, Feature]
    data_path: str
    video_path: str

    @property
    def videos(self) -> list[str]:
        """Features that are stored as videos."""
        return [key for key, feature in self.features.items() if feature.dtype == "video"]

    @property
    def cameras(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature.dtype in PICTURES]

    @property
    def is_so101(self) -> bool:
        """Whether the action is that of the six joints of an SO-101 (or SO-100), in any order."""
        return ACTION in self.features and set(bare(self.features[ACTION].names)) == set(SO101_JOINTS)


def bare(names: tuple[str, ...]) -> tuple[str, ...]:
    """Joint names without LeRobot's suffix."""
    return tuple(name.removesuffix(".pos") for name in names)


def read_description(root: Path) -> Description:
    """Raises DatasetError: it is not there, is damaged, or has fields that cannot be; all of them in one message."""
    data = read_object(root, INFO)
    version = data.get("codebase_version")
    if not isinstance(version, str) or not re.fullmatch(r"v3\.\d+", version):
        raise DatasetError(_other_version(root, version))
    if found := list(_objections(data)):
        raise DatasetError(f"{root / INFO} is damaged: {'; '.join(found[:5])}")
    features = {
        key: Feature(value["dtype"], tuple(value["shape"]), flattened(value.get("names")))
        for key, value in data["features"].items()
    }
    return Description(
        root,
        fps=float(data["fps"]),
        episodes=data.get("total_episodes", 0),
        frames=data.get("total_frames", 0),
        tasks=data.get("total_tasks", 0),
        features=features,
        data_path=data.get("data_path", DATA_PATH),
        video_path=data.get("video_path") or VIDEO_PATH,
    )


def flattened(names: Plain) -> tuple[str, ...]:
    """LeRobot's names of entries: none, a list, or lists by group."""
    if isinstance(names, Mapping):
        groups = list(cast(Mapping[str, Any], names).values())
        return tuple(
            str(name) for group in groups for name in (group if isinstance(group, list) else [group])
        )
    return tuple(map(str, cast(list[Any], names))) if isinstance(names, list) else ()


def _other_version(root: Path, version: Plain) -> str:
    found = f"{root / INFO}: the dataset is in LeRobot's format {shown(version)}, expected v3.0"
    if version == "v2.1":
        return (
            f"{found} - convert it: python -m lerobot.scripts.convert_dataset_v21_to_v30 "
            f"--repo-id=local/{root.resolve().name} --root={root.resolve()} --push-to-hub=false"
        )
    if isinstance(version, str) and version.startswith(("v1", "v2")):
        return f"{found} - convert it to v2.1 with an older LeRobot first"
    return f"{found} - it may be of a newer LeRobot than the one that is installed"


def _objections(data: Mapping[str, Any]) -> Iterator[str]:
    fps: Any = data.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= MOST_FPS:
        yield f"fps is {shown(fps)}, expected a number above 0 and up to {MOST_FPS}"
    for name in ("total_episodes", "total_frames", "total_tasks"):
        if not _is_count(value := data.get(name, 0), 0, MOST_FRAMES):
            yield f"{name} is {shown(value)}, expected a count"
    for name in ("chunks_size", "data_files_size_in_mb", "video_files_size_in_mb"):
        if not _is_count(value := data.get(name, 1), 1, MOST_FRAMES):
            yield f"{name} is {shown(value)}, expected a whole number above 0"
    for name, fallback in (("data_path", DATA_PATH), ("video_path", VIDEO_PATH)):
        value = data.get(name, fallback)
        if not (_is_inside(value) or (name == "video_path" and value is None)):
            yield f"{name} is {shown(value)}, expected a path inside the folder, as {fallback}"
    if not isinstance(robot := data.get("robot_type"), str | None):
        yield f"robot_type is {shown(robot)}, expected a name"
    if not isinstance(splits := data.get("splits", {}), dict):
        yield f"splits is {shown(splits)}, expected names of splits with ranges"
    features = data.get("features")
    if not isinstance(features, dict) or not 0 < len(cast(dict[str, Any], features)) <= MOST_FEATURES:
        yield f"features is {shown(features)}, expected the columns by name"
        return
    for key, feature in cast(dict[str, Any], features).items():
        yield from _feature_objections(key, feature)
    for key, kind in COUNTERS.items():
        if key not in features:
            yield f"features has no {key}, which every LeRobotDataset has"
        elif isinstance(given := features[key], dict):
            dtype, shape = cast(dict[str, Any], given).get("dtype"), cast(dict[str, Any], given).get("shape")
            if not str(dtype).startswith(kind) or shape != [1]:
                yield f"features.{key} is {shown(dtype)} of {shown(shape)}, expected {kind} of [1]"


def _feature_objections(key: str, feature: Plain) -> Iterator[str]:
    where = f"features.{shown(key)}"
    if (
        not key
        or len(key) > MOST_NAME
        or not key.isprintable()
        or key.startswith(".")
        or set(key) & set("/\\{}")
    ):
        yield f"{where} is not a name that can be a folder's"
        return
    if not isinstance(feature, dict):
        yield f"{where} is {shown(feature)}, expected dtype and shape"
        return
    fields = cast(dict[str, Any], feature)
    dtype, shape, names, info = (fields.get(name) for name in ("dtype", "shape", "names", "info"))
    if not isinstance(dtype, str) or dtype not in (*PICTURES, *TEXT, *NUMBERS):
        yield f"{where}.dtype is {shown(dtype)}, expected one of {', '.join((*PICTURES, *TEXT, *NUMBERS))}"
        return
    if not isinstance(shape, list) or not all(
        _is_count(size, 1, MOST_SIZE) for size in cast(list[Any], shape)
    ):
        yield f"{where}.shape is {shown(shape)}, expected a list of sizes"
        return
    sizes = cast(list[int], shape)
    expected = (3,) if dtype in PICTURES else (1, 2, 3, 4, 5)
    if len(sizes) not in expected and dtype not in TEXT:
        yield f"{where}.shape is {shown(shape)}, expected {'three sizes' if dtype in PICTURES else '1 to 5 sizes'}"
        return
    if not isinstance(info, dict | None):
        yield f"{where}.info is {shown(info)}, expected settings by name"
    yield from _names_objections(where, key, sizes, dtype, names)


def _names_objections(where: str, key: str, shape: list[int], dtype: str, names: Plain) -> Iterator[str]:
    flat = flattened(names)
    if not isinstance(names, list | dict | None) or not all(
        name.isprintable() and len(name) <= MOST_NAME for name in flat
    ):
        yield f"{where}.names is {shown(names)}, expected names of its entries"
    elif dtype in PICTURES and len(flat) != 3:
        yield f"{where}.names is {shown(names)}, expected height, width and channels in the order of the shape"
    elif dtype in PICTURES and (flat[0] if flat[2][:7] != "channel" else flat[2])[:7] != "channel":
        yield f"{where}.names is {shown(names)}, expected channels first or last"
    elif key in (ACTION, STATE):
        if len(shape) != 1:
            yield f"{where}.shape is {shown(shape)}, expected one size: a number per joint"
        elif flat and len(flat) != shape[0]:
            yield f"{where} has {shape[0]} entries and {len(flat)} names, expected a name per entry"
        elif len(set(flat)) != len(flat):
            yield f"{where}.names has a name twice: {shown(names)}"


def _is_inside(path: Plain) -> bool:
    """Whether a template of a path stays in the folder and asks for nothing but its own fields."""
    if not isinstance(path, str) or not path.isprintable() or "\\" in path or len(path) > MOST_NAME:
        return False
    parts = PurePosixPath(path).parts
    plain = _FIELD.sub("", path)
    return (
        bool(parts) and not path.startswith(("/", "~")) and ".." not in parts and not set(plain) & set("{}")
    )


def _is_count(value: Plain, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
