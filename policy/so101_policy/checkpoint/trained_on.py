"""What a checkpoint was trained on, as far as whoever plays it must know: rate, units, joints, cameras, scaling.

`so101-train` writes it beside the weights, as `so101_trained_on.json`. LeRobot writes none of it, so of a checkpoint
without that file it is looked up: in the training state beside the policy's folder, and in the dataset that
`train_config.json` names, if that is on this machine. Nothing is fetched for it. What cannot be found out is None, and
`TrainedOn.unknown` says where it was looked for; a command then asks for it and does not guess.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from lerobot.utils.constants import HF_LEROBOT_HOME, HF_LEROBOT_HUB_CACHE

from so101_policy.checkpoint.fields import (
    LEAST_PX,
    MOST_FPS,
    MOST_JOINTS,
    MOST_NAME,
    MOST_NAMES,
    MOST_PX,
    is_number,
)
from so101_policy.checkpoint.folder import TRAIN_CONFIG, TRAINED_ON, file_in
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.errors import CheckpointError, shown
from so101_policy.files.plain_data import Plain
from so101_policy.units import Units

SCHEMA = 1
SCALED_BY = "bilinear_antialias"
"""What scales frames in training now (`frames/resizing.py`); `--cache.size` has had no other."""
SCALINGS = (SCALED_BY,)

LEAST_FPS = 0.1
INFO = Path("meta") / "info.json"
TRAINING_STATE = Path("training_state") / "so101_training.json"
PICTURES = "observation.images."
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")

SCENE = "scene"
"""Of the dataset, where so101-demos made it: the simulated arm's scene."""

type Size = tuple[int, int]
"""(height, width) [px]."""

type Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 1."""

OPTIONAL = {"colours"}
"""What a file of an earlier version does not have."""


@dataclass(frozen=True)
class TrainedOn:
    """What is known."""

    fps: float | None = None
    """Frames per second of the recordings, so actions per second."""
    units: Units | None = None
    """Of the joints; None: not known."""
    joints: tuple[str, ...] = ()
    """The action's entries in their order, the dataset's names; empty: not known."""
    recorded: Mapping[str, Size] = field(default_factory=dict[str, Size])
    """Camera -> size of the recorded pictures; empty: not known."""
    trained: Mapping[str, Size] = field(default_factory=dict[str, Size])
    """The same of training's; empty: config.json has them."""
    colours: Mapping[str, Colour] = field(default_factory=dict[str, Colour])
    """Camera -> the mean of its recorded pictures; empty: not known."""
    scaled_by: str | None = None
    """What made training's frames of them, one of `SCALINGS`; None: nothing, they are as recorded."""
    statistics: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    """Where those of the processors come from."""
    dataset: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    """Name, extent, `info_sha256` of its description, and `SCENE` where that is known."""
    stated: bool = False
    """The rate is in the checkpoint itself and not looked up elsewhere."""
    unknown: str = ""
    """Where the rate was looked for in vain."""


def to_json(known: TrainedOn) -> str:
    """As in the file; without cameras where the size of their recordings is not known."""
    cameras = {
        name: {"recorded": list(known.recorded[name]), "trained": list(size)}
        for name, size in known.trained.items()
    }
    data = {
        "schema": SCHEMA,
        "fps": known.fps,
        "units": known.units,
        "joints": list(known.joints),
        "cameras": cameras,
        "colours": {name: list(colour) for name, colour in known.colours.items()},
        "scaled_by": known.scaled_by,
        "statistics": dict(known.statistics),
        "dataset": dict(known.dataset),
    }
    return json.dumps(data, indent=2) + "\n"


def find_trained_on(folder: Path, config: Mapping[str, Any]) -> TrainedOn:
    """What the checkpoint says, else what is found out about it.

    Args:
        config: the fields of its config.json, found right (`fields.py`).

    Raises:
        CheckpointError: the file is damaged or contradicts the configuration. What is beside the checkpoint is not its
            own: where that is damaged it tells nothing.
    """
    if (own := read_trained_on(folder, config)) is not None:
        return own
    own_fps: Any = config.get("fps")
    stated = float(own_fps) if is_fps(own_fps) else None
    vain: list[str] = []
    found = _by_training_state(folder, vain) or TrainedOn()
    dataset = _by_dataset(folder, vain)
    fps = stated or found.fps or dataset.fps
    return TrainedOn(
        fps=fps,
        joints=found.joints or dataset.joints,
        recorded=dataset.recorded,
        scaled_by=dataset.scaled_by,
        stated=stated is not None,
        unknown="" if fps else "; ".join(vain),
    )


def read_trained_on(folder: Path, config: Mapping[str, Any]) -> TrainedOn | None:
    """The checkpoint's own file; None where it has none. Raises as `find_trained_on`."""
    if not (folder / TRAINED_ON).exists() and not (folder / TRAINED_ON).is_symlink():
        return None
    path = file_in(folder, TRAINED_ON)
    data = read_json(path)
    if objections := list(_objections(data)) or list(_contradictions(data, config)):
        raise CheckpointError(f"{path}: {'; '.join(objections[:4])}")
    recorded, trained = (
        {name: _size(sizes[which]) for name, sizes in data["cameras"].items()}
        for which in ("recorded", "trained")
    )
    return TrainedOn(
        fps=float(data["fps"]),
        units=None if data["units"] is None else Units(data["units"]),
        joints=tuple(data["joints"]),
        recorded=recorded,
        trained=trained,
        colours={name: _colour(colour) for name, colour in data.get("colours", {}).items()},
        scaled_by=data["scaled_by"],
        statistics=data["statistics"],
        dataset=data["dataset"],
        stated=True,
    )


def scene_of(folder: Path) -> str | None:
    """The scene of the simulated arm in which its recordings were made, by the checkpoint's own file; None: not said.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not (folder / TRAINED_ON).is_file():
        return None
    dataset = read_json(file_in(folder, TRAINED_ON)).get("dataset")
    scene = cast(dict[str, Any], dataset).get(SCENE) if isinstance(dataset, dict) else None
    return scene if _are_names([scene], 1) else None


def _objections(data: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the file by itself."""
    if data.get("schema") != SCHEMA:
        yield f"schema is {shown(data.get('schema'))}, this version reads {SCHEMA}"
        return
    expected = {"schema", "fps", "units", "joints", "cameras", "scaled_by", "statistics", "dataset"}
    if wrong := sorted(expected ^ (data.keys() - OPTIONAL)):
        yield f"missing or not known here: {', '.join(map(shown, wrong[:4]))}"
        return
    if not is_fps(data["fps"]):
        yield f"fps is {shown(data['fps'])}, expected a number from {LEAST_FPS:g} to {MOST_FPS:g}"
    if data["units"] is not None and data["units"] not in tuple(Units):
        yield f"units is {shown(data['units'])}, expected one of {', '.join(Units)} or null"
    if not _are_names(data["joints"], MOST_JOINTS):
        yield f"joints is {shown(data['joints'])}, expected their names"
    if data["scaled_by"] is not None and data["scaled_by"] not in SCALINGS:
        yield f"scaled_by is {shown(data['scaled_by'])}, expected one of {', '.join(SCALINGS)} or null"
    if not isinstance(data["cameras"], dict) or len(cast(dict[str, Any], data["cameras"])) > MOST_NAMES:
        yield f"cameras is {shown(data['cameras'])}, expected names with sizes"
    else:
        for name, sizes in cast(dict[str, Any], data["cameras"]).items():
            if not (
                _are_names([name], 1)
                and isinstance(sizes, dict)
                and cast(dict[str, Any], sizes).keys() == {"recorded", "trained"}
                and all(map(_is_size, cast(dict[str, Any], sizes).values()))
            ):
                yield f"camera {shown(name)} is {shown(sizes)}, expected recorded and trained, [height, width] each"
    colours = data.get("colours", {})
    if not isinstance(colours, dict) or not (
        _are_names(list(cast(dict[str, Any], colours)), MOST_NAMES)
        and all(map(_is_colour, cast(dict[str, Any], colours).values()))
    ):
        yield f"colours is {shown(colours)}, expected names of cameras with three numbers from 0 to 1"
    for key in ("statistics", "dataset"):
        if not isinstance(data[key], dict):
            yield f"{key} is {shown(data[key])}, expected names with values"
    if isinstance(data["dataset"], dict):
        digest = cast(dict[str, Any], data["dataset"]).get("info_sha256")
        if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            yield f"info_sha256 of the dataset is {shown(digest)}, expected 64 hexadecimal digits"


def _contradictions(data: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """Where the file and the configuration beside it say different things."""
    if (own := config.get("fps")) is not None and abs(own - data["fps"]) > 1e-6:
        yield f"fps is {data['fps']:g}, config.json says {own:g}"
    count = config["output_features"]["action"]["shape"][0]
    if data["joints"] and len(data["joints"]) != count:
        yield f"it names {len(data['joints'])} joints, the policy has {count}"
    sizes = sorted(f["shape"][1:] for f in config["input_features"].values() if f["type"] == "VISUAL")
    if (
        data["cameras"]
        and (named := sorted(camera["trained"] for camera in data["cameras"].values())) != sizes
    ):
        yield f"it has cameras of {shown(named)}, config.json of {shown(sizes)} pixels (height, width)"
    for name, camera in data["cameras"].items():
        if data["scaled_by"] is None and camera["recorded"] != camera["trained"]:
            yield f"camera {name} was recorded with {camera['recorded']}, trained with {camera['trained']}: by what?"


# What is beside a checkpoint


def _by_training_state(folder: Path, vain: list[str]) -> TrainedOn | None:
    """From what `so101-train` keeps for going on."""
    path = folder.parent / TRAINING_STATE
    if folder.name != "pretrained_model" or not path.is_file():
        return None
    try:
        data = read_json(file_in(path.parent, path.name)).get("data")
    except CheckpointError as problem:
        vain.append(str(problem))
        return None
    if not isinstance(data, dict) or not is_fps(cast(dict[str, Any], data).get("fps")):
        return None
    about = cast(dict[str, Any], data)
    joints: Any = about.get("joints")
    return TrainedOn(fps=float(about["fps"]), joints=tuple(joints) if _are_names(joints, MOST_JOINTS) else ())


def _by_dataset(folder: Path, vain: list[str]) -> TrainedOn:
    """From the dataset that the training names, and how that scaled its frames."""
    try:
        settings = read_json(file_in(folder, TRAIN_CONFIG))
    except CheckpointError as problem:
        vain.append(str(problem))
        return TrainedOn()
    dataset, cache = settings.get("dataset"), settings.get("cache")
    if not isinstance(dataset, dict):
        vain.append(f"{folder / TRAIN_CONFIG} names no dataset")
        return TrainedOn()
    where = cast(dict[str, Any], dataset)
    info = read_info(where.get("root"), where.get("repo_id"), vain)
    scales = isinstance(cache, dict) and cast(dict[str, Any], cache).get("size") is not None
    return replace(info, scaled_by=SCALED_BY) if scales else info


def read_info(root: Plain, repo_id: Plain, vain: list[str]) -> TrainedOn:
    """What the description of a dataset on this machine says: rate, joints, cameras.

    Args:
        root: its folder.
        repo_id: its name, to be looked for where LeRobot keeps datasets, if there is no root.
        vain: is told where there is nothing to be found.
    """
    paths = list(_infos(root, repo_id))
    found: list[TrainedOn] = []
    for path in paths:
        try:
            if path.is_file():
                found.append(_of_info(read_json(path)))
        except CheckpointError as problem:
            vain.append(str(problem))
    rates = {one.fps for one in found if one.fps is not None}
    if len(rates) == 1:
        return next(one for one in reversed(found) if one.fps is not None)
    name = shown(root if isinstance(root, str) else repo_id)
    vain.append(
        f"the dataset {name} is on this machine in versions of {', '.join(f'{fps:g}' for fps in sorted(rates))} fps"
        if rates
        else f"the dataset {name} is not on this machine"
    )
    return TrainedOn()


def _infos(root: Plain, repo_id: Plain) -> Iterator[Path]:
    if isinstance(root, str) and root.isprintable():
        yield Path(root).expanduser() / INFO
    elif isinstance(repo_id, str) and _REPO_ID.fullmatch(repo_id) and ".." not in repo_id:
        yield HF_LEROBOT_HOME / repo_id / INFO
        snapshots = HF_LEROBOT_HUB_CACHE / f"datasets--{repo_id.replace('/', '--')}" / "snapshots"
        yield from sorted(snapshots.glob(f"*/{INFO}"))


def _of_info(info: Mapping[str, Any]) -> TrainedOn:
    fps: Any = info.get("fps")
    features = info.get("features")
    about = cast(dict[str, Any], features) if isinstance(features, dict) else {}
    recorded = {
        key.removeprefix(PICTURES): size
        for key, feature in about.items()
        if key.startswith(PICTURES) and (size := _recorded(feature)) is not None
    }
    action = about.get("action")
    names = cast(dict[str, Any], action).get("names") if isinstance(action, dict) else None
    return TrainedOn(
        fps=float(fps) if is_fps(fps) else None,
        joints=tuple(cast(list[str], names)) if _are_names(names, MOST_JOINTS) else (),
        recorded=recorded,
    )


def _recorded(feature: Plain) -> Size | None:
    """(height, width) of a camera as LeRobot describes it: channels last, or first in datasets of before."""
    about = cast(dict[str, Any], feature) if isinstance(feature, dict) else {}
    shape = about.get("shape")
    if not isinstance(shape, list) or len(cast(list[Any], shape)) != 3:
        return None
    first = cast(list[Any], shape)[0] == 3
    size = cast(list[Any], shape)[1:] if first else cast(list[Any], shape)[:2]
    return _size(size) if _is_size(size) else None


def is_fps(value: Plain) -> bool:
    """A rate that can be."""
    return is_number(value) and LEAST_FPS <= value <= MOST_FPS


def _is_size(value: Plain) -> bool:
    return (
        isinstance(value, list)
        and len(cast(list[Any], value)) == 2
        and all(type(px) is int and LEAST_PX <= px <= MOST_PX for px in cast(list[Any], value))
    )


def _size(value: Sequence[int]) -> Size:
    height, width = value
    return height, width


def _is_colour(value: Plain) -> bool:
    return (
        isinstance(value, list)
        and len(cast(list[Any], value)) == 3
        and all(is_number(part) and 0 <= part <= 1 for part in cast(list[Any], value))
    )


def _colour(value: Sequence[float]) -> Colour:
    red, green, blue = value
    return float(red), float(green), float(blue)


def _are_names(value: Plain, most: int) -> bool:
    return (
        isinstance(value, list)
        and len(cast(list[Any], value)) <= most
        and all(
            isinstance(name, str) and 0 < len(name) <= MOST_NAME and name.isprintable()
            for name in cast(list[Any], value)
        )
    )
