"""A checkpoint's files: found, checked and read, or one readable `CheckpointError`.

What is read is read by LeRobot's own classes. What is added here is looking before: LeRobot leaves a feature
without statistics unscaled, fills missing weights with random ones, fetches backbone weights from the network
only to overwrite them, and answers a damaged file with a stack trace.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import draccus
import torch
from draccus.utils import DraccusException
from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.processor import NormalizerProcessorStep, UnnormalizerProcessorStep
from lerobot.processor.pipeline import ProcessorMigrationError
from lerobot.utils.constants import ACTION
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors import SafetensorError, safe_open

from so101_policy.errors import CheckpointError, first_line

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
INSIDE = ("", "pretrained_model", "last/pretrained_model", "checkpoints/last/pretrained_model")
"""Where in a folder a checkpoint may lie: itself, a step's, checkpoints/, what `lerobot-train` writes."""

STATISTICS = {
    NormalizationMode.IDENTITY: (),
    NormalizationMode.MEAN_STD: ("mean", "std"),
    NormalizationMode.MIN_MAX: ("min", "max"),
    NormalizationMode.QUANTILES: ("q01", "q99"),
    NormalizationMode.QUANTILE10: ("q10", "q90"),
}
"""What LeRobot's normalizer needs of a feature, mode by mode."""


def find_checkpoint(path: str | Path) -> Path:
    """The folder with config.json that `path` means: that folder, one inside it, or a hub id `user/name`.

    Raises:
        CheckpointError: nothing is there; names what is nearest.
    """
    given = Path(path).expanduser()
    if given.is_file():
        given = given.parent
    if given.is_dir():
        return _checkpoint_inside(given)
    if _may_be_hub_id(path):
        return _from_hub(str(path))
    raise CheckpointError(f"there is no checkpoint {given}{_nearest(given)}")


def check_device(device: str) -> None:
    """Raises CheckpointError, naming the devices of this machine, where torch cannot use `device`."""
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise CheckpointError(f"there is no device {device!r}; {_devices()}") from error
    backend = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.mps}.get(asked.type)
    if asked.type != "cpu" and (backend is None or (asked.index or 0) >= backend.device_count()):
        raise CheckpointError(f"device {device!r} is not available; {_devices()}")


def read_config(folder: Path, device: str) -> PreTrainedConfig:
    """The policy's configuration, of ACT or of a plugin's subclass of it, set to `device`."""
    fields = _read_json(folder / CONFIG)
    kind = fields.pop("type", None)
    _check_type(folder, kind)
    fields["device"] = device
    config_class = cast(type[PreTrainedConfig], PreTrainedConfig.get_choice_class(kind))
    try:
        config: Any = draccus.decode(config_class, fields)
        config.validate_features()
    except (DraccusException, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{folder / CONFIG} is no valid {kind}: {first_line(error)}") from error
    if config.action_feature is None:
        raise CheckpointError(f"{folder / CONFIG} names no output {ACTION!r}")
    config.pretrained_backbone_weights = None  # they are in the file; LeRobot would download them first
    return config


def read_weights(folder: Path, config: PreTrainedConfig) -> ACTPolicy:
    """The policy with its weights, every one of them from the file, in eval mode."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}")
    try:
        with safe_open(weights, framework="pt"):  # checks the header against the size of the file
            pass
    except (SafetensorError, OSError) as error:
        size = weights.stat().st_size
        raise CheckpointError(
            f"{weights} is damaged or cut short ({size} bytes): {first_line(error)}"
        ) from error
    policy_class = cast(type[ACTPolicy], get_policy_class(config.type))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # LeRobot prints here, into whatever is on the screen
            return policy_class.from_pretrained(folder, config=config, strict=True)
    except (RuntimeError, ValueError, AttributeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{weights} does not fit the {CONFIG} beside it: {reason}") from error


def read_processors(folder: Path, config: Any, device: str) -> tuple[Any, Any]:
    """LeRobot's pre- and postprocessor with the statistics of the dataset, all of them there."""
    for name in PROCESSORS:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}, so the scale of its inputs is unknown; for a checkpoint "
                "from before LeRobot 0.4 `python -m lerobot.processor.migrate_policy_normalization` makes it"
            )
        _read_json(folder / name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            preprocess, postprocess = make_pre_post_processors(
                config, str(folder), preprocessor_overrides={"device_processor": {"device": device}}
            )
    except (
        *(OSError, ValueError, TypeError, KeyError, AttributeError, ImportError),
        *(SafetensorError, ProcessorMigrationError),
    ) as error:
        raise CheckpointError(f"the processors of {folder} cannot be read: {first_line(error)}") from error
    _check_statistics(folder, config.input_features, steps_of(preprocess, NormalizerProcessorStep))
    _check_statistics(folder, config.output_features, steps_of(postprocess, UnnormalizerProcessorStep))
    return preprocess, postprocess


def steps_of(pipeline: Any, kind: type[Any]) -> list[Any]:
    """The steps of a LeRobot processor that are of one class."""
    return [step for step in pipeline.steps if isinstance(step, kind)]


def _checkpoint_inside(given: Path) -> Path:
    candidates = [given / place for place in INSIDE]
    for steps in (given, given / "checkpoints"):  # without `last`: the highest step, 000500/pretrained_model
        numbered = sorted((p for p in _children(steps) if p.name.isdigit()), key=lambda p: -int(p.name))
        candidates += [p / "pretrained_model" for p in numbered]
    for folder in candidates:
        if (folder / CONFIG).is_file():
            return folder
    raise CheckpointError(
        f"no checkpoint in {given}: looked for {CONFIG} there, in pretrained_model and in checkpoints/last; "
        f"the folder holds {_list(_children(given))}"
    )


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _list(paths: Sequence[Path], most: int = 8) -> str:
    names = sorted(path.name for path in paths)
    return ", ".join(names[:most] + ["..."] * (len(names) > most)) or "nothing"


def _nearest(path: Path) -> str:
    """What a person may have meant: like-named neighbours in the last folder of `path` that exists."""
    missing = path.absolute()
    while not missing.parent.is_dir():
        missing = missing.parent
    neighbours = [p for p in _children(missing.parent) if not p.name.startswith(".")]
    if close := get_close_matches(missing.name, [p.name for p in neighbours], n=3, cutoff=0.5):
        return "; did you mean " + " or ".join(str(missing.parent / name) for name in close) + "?"
    return f"; {missing.parent} holds {_list(neighbours)}"


def _may_be_hub_id(path: str | Path) -> bool:
    """`user/name`, where no local folder `user` suggests a slip in a path instead."""
    user, _, name = str(path).partition("/")
    return bool(user and name) and "/" not in name and user[0] not in ".~" and not Path(user).exists()


def _from_hub(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, HFValidationError) as error:  # the hub's other errors derive from OSError
        raise CheckpointError(
            f"there is no folder {repo_id}, and as a hub id it is neither in the local cache nor to be had: "
            f"{first_line(error)}"
        ) from error


def _devices() -> str:
    found = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    found += [f"xpu:{index}" for index in range(torch.xpu.device_count())]
    return f"this machine has {', '.join(found)}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {first_line(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it holds a {type(data).__name__}, not an object")
    return cast(dict[str, Any], data)


def _check_type(folder: Path, kind: Any) -> None:
    if kind not in PreTrainedConfig.get_known_choices():
        register_third_party_plugins()
    if kind not in PreTrainedConfig.get_known_choices():
        raise CheckpointError(
            f"{folder} is a checkpoint of type {kind!r}, which neither LeRobot nor an installed plugin knows"
        )
    try:
        is_act = issubclass(get_policy_class(kind), ACTPolicy)
    except (ImportError, ValueError) as error:  # its own dependencies are not installed: then it is not ACT
        raise CheckpointError(f"{folder} is a checkpoint of type {kind!r}: {first_line(error)}") from error
    if not is_act:
        raise CheckpointError(f"{folder} is a checkpoint of type {kind!r}, not of ACT or a subclass of it")


def _check_statistics(folder: Path, features: Mapping[str, Any], steps: Sequence[Any]) -> None:
    if not steps:
        raise CheckpointError(f"the processors of {folder} do not scale {', '.join(features)}")
    for name, feature in features.items():
        for step in steps:
            needed = STATISTICS[step.norm_map.get(feature.type, NormalizationMode.IDENTITY)]
            statistics = step.stats or {}
            if lacking := [key for key in needed if key not in statistics.get(name, {})]:
                raise CheckpointError(
                    f"the processors of {folder} have no {' and '.join(lacking)} of {name}, so its scale is "
                    f"unknown; there are statistics of: {', '.join(statistics) or 'nothing'}"
                )
