"""The reader of checkpoints: found, looked at, then read, or one readable `CheckpointError`.

Every command reads checkpoints here, from a folder or from the hub's cache. What is read is read by LeRobot's own
classes. What is added is looking before. LeRobot imports and calls what a processor's description names, leaves a
feature without statistics unscaled, fills missing weights with random ones, fetches backbone weights from the network
only to overwrite them, and answers a damaged file with a stack trace.
"""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import draccus
import torch
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import get_policy_class
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import (
    AbsoluteActionsProcessorStep,
    PolicyAction,
    PolicyProcessorPipeline,
    ProcessorStep,
    RelativeActionsProcessorStep,
)
from lerobot.processor.converters import (
    batch_to_transition,
    policy_action_to_transition,
    transition_to_batch,
    transition_to_policy_action,
)
from lerobot.utils.constants import ACTION
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors import SafetensorError
from safetensors.torch import load_file

from so101_policy.checkpoint import types
from so101_policy.checkpoint.backgrounds import read_backgrounds
from so101_policy.checkpoint.fields import objections
from so101_policy.checkpoint.folder import (
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
    PROCESSORS,
    WEIGHTS,
    file_in,
    look_at_files,
)
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.checkpoint.scaling import check_scaling
from so101_policy.checkpoint.steps import Description, read_description
from so101_policy.checkpoint.tensors import MOST_NAMED, Tensor, check_tensors, read_tensors
from so101_policy.checkpoint.trained_on import read_trained_on
from so101_policy.command_line.installed import line_to_install
from so101_policy.errors import CheckpointError, first_line, printable, shown
from so101_policy.files.plain_data import Plain

Preprocessor = PolicyProcessorPipeline[dict[str, Any], dict[str, Any]]
"""LeRobot's: a raw observation -> normalised, a batch of one, on the policy's device."""

Postprocessor = PolicyProcessorPipeline[PolicyAction, PolicyAction]
"""LeRobot's: normalised actions -> the robot's units, on the processor."""

SCHEDULES = "attention_regularizer."
"""Of the names of what the regularizer keeps between steps of training."""

NO_MODEL = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError)
"""What building a model ends in where its configuration contradicts itself. (NotImplementedError is a RuntimeError.)"""


def check_device(device: str) -> None:
    """Raises CheckpointError, naming the devices of this machine, where torch cannot use `device`."""
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise CheckpointError(f"there is no device {device!r}; {_devices()}") from error
    backend = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.mps}.get(asked.type)
    if asked.type != "cpu" and (backend is None or (asked.index or 0) >= backend.device_count()):
        raise CheckpointError(f"device {device!r} is not available; {_devices()}")


def look_at(folder: Path, act_only: bool = True) -> dict[str, Any]:
    """All that can be found out about a checkpoint without loading it; returns the fields of its configuration.

    For callers that hand the folder to LeRobot. What this module reads, it has looked at.

    Args:
        folder: of the checkpoint.
        act_only: whether another type than ACT is refused.

    Raises:
        CheckpointError: see `fields`, `steps`, `scaling`, `trained_on` and `backgrounds`.
    """
    look_at_files(folder)
    fields = read_fields(folder, act_only)
    read_trained_on(folder, fields)
    read_backgrounds(folder)
    for name in PROCESSORS:
        check_scaling(folder, name, read_description(folder, name), fields)
    return fields


def read_fields(folder: Path, act_only: bool = True) -> dict[str, Any]:
    """config.json, every field found right by itself: of an ACT or of a plugin's subclass of it or, unless `act_only`,
    of another type (`types.py`).

    Raises:
        CheckpointError: names the fields that are not, and what is expected.
    """
    path = file_in(folder, CONFIG)
    fields = read_json(path)
    kind = fields.get("type")
    is_act = _check_type(folder, kind, act_only)
    if found := objections(fields) if is_act else types.objections(fields):
        more = f" (and {len(found) - MOST_NAMED} more)" if len(found) > MOST_NAMED else ""
        raise CheckpointError(f"{path}: {'; '.join(found[:MOST_NAMED])}{more}")
    return fields


def is_act(folder: Path) -> bool:
    """Whether it is a checkpoint of ACT or of a subclass of it. Raises CheckpointError for what cannot be played."""
    return _check_type(folder, read_json(file_in(folder, CONFIG)).get("type"), act_only=False)


def read_config(folder: Path, device: str) -> ACTConfig:
    """The policy's configuration, of ACT or of a plugin's subclass of it, set to `device`."""
    return cast(ACTConfig, _decoded(folder, read_fields(folder), device))


def read_any_config(folder: Path, device: str) -> PreTrainedConfig:
    """The same of a policy of any type that is played."""
    fields = read_fields(folder, act_only=False)
    if fields.get("use_peft"):
        raise CheckpointError(
            f"{folder} is an adapter (use_peft), not a whole policy: expected one whose adapter was merged into it"
        )
    config: Any = _decoded(folder, fields, device)
    if hasattr(config, "load_vlm_weights"):
        config.load_vlm_weights = False  # as above
    return config


def _decoded(folder: Path, fields: dict[str, Any], device: str) -> PreTrainedConfig:
    kind = fields.pop("type")
    fields["device"] = device
    config_class = PreTrainedConfig.get_choice_class(kind)
    try:
        config: Any = draccus.decode(config_class, fields)
        config.validate_features()
    except (DraccusException, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} is not a valid configuration of type {kind}: {_reason(error)}"
        ) from error
    if config.action_feature is None:
        raise CheckpointError(f"{folder / CONFIG} has no output {ACTION!r}")
    if hasattr(config, "pretrained_backbone_weights"):
        config.pretrained_backbone_weights = None  # they are in the file; LeRobot would download them first
    return config


def read_weights(folder: Path, config: ACTConfig) -> ACTPolicy:
    """As `read_any_weights`, of an ACT."""
    return cast(ACTPolicy, read_any_weights(folder, config))


def read_any_weights(folder: Path, config: PreTrainedConfig) -> PreTrainedPolicy:
    """The policy with its weights, every one of them from the file and finite, in eval mode.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another size, or not finite; or no model can be built.
    """
    path = file_in(folder, WEIGHTS)
    policy_class = cast(Any, get_policy_class(config.type))
    policy = _without_memory(folder, policy_class, config)
    found = read_tensors(path)
    check_tensors(path, found, _expected(policy, found))
    try:
        if _has_only_weights(policy) and found.keys() == policy.state_dict().keys():
            policy.to_empty(device="cpu")
            policy.load_state_dict(load_file(path))
            policy.to(str(config.device)).eval()
        else:
            # LeRobot prints here, into whatever is on the screen
            with contextlib.redirect_stdout(io.StringIO()):
                policy = policy_class.from_pretrained(folder, config=config, strict=True)
    except (*NO_MODEL, SafetensorError, OSError) as error:
        reason = printable(" ".join(str(error).split())[:300])
        raise CheckpointError(f"{path} does not fit the {CONFIG} beside it: {reason}") from error
    if wrong := [name for name, weight in _acting(policy).items() if not _is_finite(weight)]:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise CheckpointError(f"{path}: weights are not finite: {', '.join(wrong[:MOST_NAMED])}{more}")
    return policy


def read_processors(
    folder: Path, config: PreTrainedConfig, device: str
) -> tuple[Preprocessor, Postprocessor]:
    """LeRobot's pre- and postprocessor with the statistics of the dataset, all of them there.

    They are built from descriptions that were looked at (`steps.py`), in memory: LeRobot opens no file and looks
    nothing up, so nothing else can be meant than what was looked at.

    Raises:
        CheckpointError: a step that may not be, statistics that are missing or are no numbers.
    """
    wanted = _sides(config)
    found = {name: read_description(folder, name) for name in PROCESSORS}
    for name, description in found.items():
        check_scaling(folder, name, description, wanted)
    try:
        preprocess = PolicyProcessorPipeline[dict[str, Any], dict[str, Any]].from_config(
            found[PREPROCESSOR].raw,
            state_dict=_states(found[PREPROCESSOR]),
            overrides={"device_processor": {"device": device}},
            to_transition=batch_to_transition,
            to_output=transition_to_batch,
        )
        postprocess = PolicyProcessorPipeline[PolicyAction, PolicyAction].from_config(
            found[POSTPROCESSOR].raw,
            state_dict=_states(found[POSTPROCESSOR]),
            overrides={"device_processor": {"device": "cpu"}},
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        )
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise CheckpointError(
            f"the processors of {folder} cannot be read: {printable(first_line(error))}"
        ) from error
    for relative in steps_of(preprocess, RelativeActionsProcessorStep):
        for absolute in steps_of(postprocess, AbsoluteActionsProcessorStep):
            absolute.relative_step = relative  # their files cannot say that they belong together
    return preprocess, postprocess


def _reason(error: BaseException) -> str:
    """Where it was wrong, and what was wrong at the bottom: draccus says one in the first error and one in the last."""
    lines = [first_line(error)]
    while isinstance(error, DraccusException) and error.__cause__ is not None:
        error = error.__cause__
    if (last := first_line(error)) not in lines[0]:
        lines.append(last)
    return printable(": ".join(lines))


def _sides(config: Any) -> dict[str, Any]:
    """A configuration's features and scaling as its file has them."""
    return {
        "normalization_mapping": {
            str(getattr(k, "value", k)): mode.name for k, mode in config.normalization_mapping.items()
        },
        **{
            side: {
                k: {"type": x.type.name, "shape": list(x.shape)}
                for k, x in (getattr(config, side) or {}).items()
            }
            for side in ("input_features", "output_features")
        },
    }


def _states(description: Description) -> dict[str, dict[str, torch.Tensor]]:
    return {
        step.state_file.stem: load_file(step.state_file)
        for step in description.steps
        if step.state_file is not None
    }


def _without_memory(folder: Path, policy_class: Any, config: PreTrainedConfig) -> PreTrainedPolicy:
    """A model of this configuration without memory for its numbers, so without random ones that the file replaces."""
    try:
        with (
            torch.device("meta"),
            contextlib.redirect_stdout(io.StringIO()),
        ):  # some types print about themselves
            return policy_class(config)
    except (*NO_MODEL, ImportError, OSError) as error:
        raise CheckpointError(
            f"no model can be built from {folder / CONFIG}: {printable(first_line(error))}"
        ) from error


def _expected(policy: PreTrainedPolicy, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the file has to hold. A tensor that a model has under two names is saved under one of them."""
    state = policy.state_dict(keep_vars=True)
    saved = {id(weight) for name, weight in state.items() if name in found}
    return {
        name: Tensor(tuple(weight.shape), weight.dtype.is_floating_point)
        for name, weight in state.items()
        if name in found or id(weight) not in saved
    }


def _has_only_weights(policy: PreTrainedPolicy) -> bool:
    """Whether the file fills all of a model that was built without memory. It does not where numbers are kept aside:
    in a buffer that is not saved, or in an attribute, as LeRobot's temporal ensembling does."""
    saved = policy.state_dict().keys()
    if any(name not in saved for name, _ in (*policy.named_parameters(), *policy.named_buffers())):
        return False
    kept = [value for module in policy.modules() for value in vars(module).values()]
    kept += [inner for value in kept if hasattr(value, "__dict__") for inner in vars(value).values()]
    return not any(isinstance(value, torch.Tensor) and value.is_meta for value in kept)


def _acting(policy: PreTrainedPolicy) -> dict[str, torch.Tensor]:
    """The weights that decide about actions. (A schedule of training begins at infinity.)"""
    return {name: weight for name, weight in policy.state_dict().items() if not name.startswith(SCHEDULES)}


def _is_finite(weight: torch.Tensor) -> bool:
    """Without a copy of it: NaN and infinity are in its ends."""
    if not weight.numel() or not weight.dtype.is_floating_point:
        return True
    low, high = torch.aminmax(weight)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def steps_of[S: ProcessorStep](pipeline: Preprocessor | Postprocessor, kind: type[S]) -> list[S]:
    """The steps of a LeRobot processor that are of one class."""
    return [step for step in pipeline.steps if isinstance(step, kind)]


def _devices() -> str:
    found = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    found += [f"xpu:{index}" for index in range(torch.xpu.device_count())]
    return f"this machine has {', '.join(found)}"


def _check_type(folder: Path, kind: Plain, act_only: bool) -> bool:
    """Whether it is an ACT; raises CheckpointError for a type that cannot be played here, or is none."""
    if kind is not None and not isinstance(kind, str):
        raise CheckpointError(
            f"{folder / CONFIG}: type is {shown(kind)}, expected the name of a policy's type"
        )
    about, what = types.type_of(kind), f"{folder} is a checkpoint of type {shown(kind)}"
    if kind not in PreTrainedConfig.get_known_choices():
        register_third_party_plugins()
    if kind is None or kind not in PreTrainedConfig.get_known_choices():
        raise CheckpointError(
            f"{what}, which neither LeRobot nor an installed plugin knows; known are {', '.join(types.played())}"
        )
    if not act_only and about.refused:
        raise CheckpointError(f"{what}, which is not played: {about.refused}")
    if not act_only and (missing := about.missing):
        raise CheckpointError(
            f"{what}, which needs {', '.join(about.packages)}; missing: {', '.join(missing)}. "
            + line_to_install(f"lerobot[{about.extra}]")
        )
    try:
        is_act = issubclass(get_policy_class(kind), ACTPolicy)
    except (ImportError, ValueError) as error:  # its own dependencies are not installed: then it is not ACT
        raise CheckpointError(f"{what}: {first_line(error)}") from error
    if act_only and not is_act:
        raise CheckpointError(f"{what}, not of ACT or a subclass of it")
    return is_act
