"""The file of `--config_path`: found, read within bounds, and handed to LeRobot's parser.

A checkpoint has two such files. `train_config.json` has what lerobot-train knows, so that it can go on with the run;
`so101_train_config.json` beside it has the rest. Settings that lerobot-train cannot do and that change what is learned
are in both: then lerobot-train refuses them by name, instead of going on as another run.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lerobot.configs.default import EvalConfig
from lerobot.configs.train import TrainPipelineConfig

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.folder import TRAIN_CONFIG, file_in
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.errors import TrainError, first_line
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_policy.lerobot_compat import version

OURS = "so101_train_config.json"

LEROBOTS = frozenset(field.name for field in dataclasses.fields(TrainPipelineConfig))
EVAL = "eval"
"""A group with settings of both."""
LEROBOTS_EVAL = frozenset(field.name for field in dataclasses.fields(EvalConfig))


def find_settings(path: str, resume: bool) -> Path:
    """The file that `--config_path` means: itself; or the train_config.json of a run, of a checkpoint, or of a hub id.

    Raises:
        CheckpointError: there is none.
        TrainError: a run cannot go on in the hub's cache.
    """
    if Path(path).expanduser().is_file():
        return Path(path).expanduser()
    folder = find_checkpoint(path)
    if resume and not Path(path).expanduser().is_dir():
        raise TrainError(
            f"--config_path={path} is on the hub, and a run goes on in its own folder: "
            f"hf download {path} --local-dir RUN, then --config_path=RUN"
        )
    return file_in(folder, TRAIN_CONFIG)


def read_settings(path: Path, resume: bool = False) -> dict[str, Any]:
    """All settings of a file, ours beside it included.

    Args:
        resume: a run of lerobot-train is to go on: settings of ours that it does not have are as it worked.

    Raises:
        CheckpointError, TrainError: it is damaged, too large or nested too deep, or has settings that do not exist.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return _read_yaml(path)
    settings = read_json(path)
    if path.name == TRAIN_CONFIG:
        if (path.parent / OURS).is_file():
            ours = read_json(file_in(path.parent, OURS))
            played = {**_group(settings, EVAL), **_group(ours, EVAL)}
            settings |= ours | ({EVAL: played} if played else {})
        elif resume and LEROBOTS.issuperset(settings):
            settings |= {"fused": False, "held_out": _eval_split(settings)}
    return settings


def require_known(path: Path, settings: Mapping[str, Any], known: type[TrainPipelineConfig]) -> None:
    """Raises TrainError for settings that this version does not have."""
    names = {field.name for field in dataclasses.fields(known)}
    if unknown := sorted(settings.keys() - names):
        raise TrainError(
            f"{path} has settings that do not exist here: {', '.join(unknown)}. It is of another version of LeRobot "
            f"(here: {version.installed()}) or of this package"
        )


def split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """For the two files: LeRobot's, ours."""
    ours = {name: value for name, value in settings.items() if name not in LEROBOTS}
    theirs = {n: value for n, value in settings.items() if n in LEROBOTS or _lerobot_cannot(n, value)}
    if EVAL in theirs:
        played = _group(theirs, EVAL)
        ours[EVAL] = {name: value for name, value in played.items() if name not in LEROBOTS_EVAL}
        theirs[EVAL] = {name: value for name, value in played.items() if name in LEROBOTS_EVAL}
    return theirs, ours


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Both files, into a checkpoint's folder."""
    for name, part in zip((TRAIN_CONFIG, OURS), split_settings(settings), strict=True):
        (folder / name).write_text(json.dumps(part, indent=4, default=str) + "\n", encoding="utf-8")


def _lerobot_cannot(name: str, value: Any) -> bool:
    """A setting of ours that changes what is learned, with a value with which lerobot-train would do something else."""
    return (name == "cache" and value["size"] is not None) or (name == "precision" and value != "fp32")


def _group(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = settings.get(name)
    return cast(Mapping[str, Any], found) if isinstance(found, dict) else {}


def _eval_split(settings: Mapping[str, Any]) -> Any:
    dataset = settings.get("dataset")
    return dataset.get("eval_split", 0.0) if isinstance(dataset, dict) else 0.0


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = parse_yaml(read_text(path))
    except (OSError, ValueError) as problem:
        raise TrainError(f"{path}: {first_line(problem)}") from problem
    if not isinstance(settings, dict):
        raise TrainError(f"{path} is expected to have settings, one a line, as steps: 1000")
    return cast(dict[str, Any], settings)
