"""The processors of a checkpoint, as its files describe them: looked at before LeRobot builds them.

LeRobot makes a step from its registered name or, without one, imports and calls whatever `class` says: a checkpoint of
JSON alone can run any command. So a description may have registered names of a written list and nothing else, with the
settings that these steps write themselves, and the files that they name are in the checkpoint's folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from so101_policy.checkpoint.fields import features, is_number, modes
from so101_policy.checkpoint.folder import CONFIG, POSTPROCESSOR, PREPROCESSOR, file_in
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.checkpoint.types import setting_is_plain, type_of
from so101_policy.errors import CheckpointError, shown
from so101_policy.files.plain_data import Plain

RENAME, BATCH, DEVICE = "rename_observations_processor", "to_batch_processor", "device_processor"
NORMALIZE, UNNORMALIZE = "normalizer_processor", "unnormalizer_processor"

NEEDED: Mapping[str, tuple[str, ...]] = {
    PREPROCESSOR: (BATCH, DEVICE, NORMALIZE),
    POSTPROCESSOR: (UNNORMALIZE, DEVICE),
}
"""Steps without which a processor does not prepare what an ACT takes, or gives what it means."""
ALLOWED: Mapping[str, tuple[str, ...]] = {
    PREPROCESSOR: (RENAME, BATCH, DEVICE, NORMALIZE),
    POSTPROCESSOR: (UNNORMALIZE, DEVICE),
}
"""LeRobot's registered names of the steps that its processors of an ACT have. (`regularized_act` has the same; what
other types have beside them is in `types.py`.)"""

MOST_EPS = 1e-2
"""Of the normaliser: more would change how an input is scaled."""


class Step(NamedTuple):
    """One step, found to be harmless."""

    name: str
    config: dict[str, Any]
    state_file: Path | None


class Description(NamedTuple):
    """A processor that may be built."""

    raw: dict[str, Any]
    """As LeRobot takes it."""
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step of a name that a processor must have."""
        return next(step for step in self.steps if step.name == name)


def read_description(folder: Path, file: str) -> Description:
    """What the file says of a processor.

    Raises:
        CheckpointError: it is not there, or has a step that may not be, or lacks one, or names a file elsewhere.
    """
    path = folder / file
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(
            f"{folder} has no {file}, so the scale of its inputs is unknown; for a checkpoint "
            "from before LeRobot 0.4 `python -m lerobot.processor.migrate_policy_normalization` makes this file"
        )
    data = read_json(file_in(folder, file))
    listed = data.get("steps")
    if not isinstance(listed, list):
        raise CheckpointError(f"{path} is damaged: its steps are {shown(listed)}, expected a list of steps")
    if not isinstance(data.get("name", ""), str):
        raise CheckpointError(f"{path} is damaged: its name is {shown(data['name'])}, expected a name")
    allowed = (*ALLOWED[file], *_more(folder, file))
    steps = tuple(_step(folder, file, step, allowed) for step in cast(list[Any], listed))
    _check_order(path, [step.name for step in steps], steps)
    raw = {"name": data.get("name", "processor"), "steps": [_as_lerobot_takes_it(step) for step in steps]}
    return Description(raw, steps)


def _more(folder: Path, file: str) -> tuple[str, ...]:
    """Steps that a processor of this type may have beside those of an ACT."""
    about = type_of(read_json(file_in(folder, CONFIG)).get("type"))
    return about.before if file == PREPROCESSOR else about.after


def _step(folder: Path, file: str, entry: Plain, allowed: Sequence[str]) -> Step:
    path = folder / file
    if not isinstance(entry, dict):
        raise CheckpointError(f"{path} has a step {shown(entry)}, expected a registry_name and a config")
    step = cast(dict[str, Any], entry)
    possible = f"expected registered names alone, of {', '.join(allowed)}"
    if "class" in step:
        raise CheckpointError(
            f"{path} asks for the class {shown(step['class'])}: a class by its path can be any program, so it is not "
            f"loaded; {possible}"
        )
    name = step.get("registry_name")
    if not isinstance(name, str) or name not in allowed:
        raise CheckpointError(f"{path} asks for the step {shown(name)}, which is not known here; {possible}")
    if unknown := step.keys() - {"registry_name", "config", "state_file"}:
        raise CheckpointError(f"{path}, step {name}: {shown(min(unknown))} is not known here")
    config = step.get("config", {})
    objections = (
        list(_objections(name, cast(dict[str, Any], config))) if isinstance(config, dict) else [shown(config)]
    )
    if objections:
        raise CheckpointError(f"{path}, step {name}: {'; '.join(objections[:4])}")
    state = step.get("state_file")
    if state is None:
        return Step(name, cast(dict[str, Any], config), None)
    if (
        not isinstance(state, str)
        or not state.endswith(".safetensors")
        or name not in (NORMALIZE, UNNORMALIZE)
    ):
        raise CheckpointError(
            f"{path}, step {name}: state_file is {shown(state)}, expected statistics, *.safetensors"
        )
    return Step(name, cast(dict[str, Any], config), file_in(folder, state))


def _objections(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    if (rules := _SETTINGS.get(name)) is None:  # of a type that is no ACT: LeRobot says what it takes
        for key, value in config.items():
            if not setting_is_plain(value):
                yield f"{shown(key)} is {shown(value)}, expected plain words and numbers"
        return
    for key in config.keys() - rules.keys():
        yield f"the setting {shown(key)} is not known here; possible: {', '.join(rules) or 'none'}"
    for key, rule in rules.items():
        if key in config:
            yield from rule(config[key], key)


def _renames(value: Plain, key: str) -> list[str]:
    right = isinstance(value, dict) and all(
        isinstance(new, str) and new.isprintable() and old.isprintable()
        for old, new in cast(dict[str, Any], value).items()
    )
    return [] if right else [f"{key} is {shown(value)}, expected old names with new ones"]


def _device(value: Plain, key: str) -> list[str]:
    right = isinstance(value, str) and value.isprintable() and len(value) < 32
    return [] if right else [f"{key} is {shown(value)}, expected a device such as cpu"]


def _float_type(value: Plain, key: str) -> list[str]:
    return [] if value in (None, "float32") else [f"{key} is {shown(value)}, expected null or float32"]


def _eps(value: Plain, key: str) -> list[str]:
    right = is_number(value) and 0 < value <= MOST_EPS
    return [] if right else [f"{key} is {shown(value)}, expected a number above 0 and up to {MOST_EPS:g}"]


_SCALING = {"eps": _eps, "features": features, "norm_map": modes}
_SETTINGS: Mapping[str, Mapping[str, Callable[[Any, str], list[str]]]] = {
    RENAME: {"rename_map": _renames},
    BATCH: {},
    DEVICE: {"device": _device, "float_dtype": _float_type},
    NORMALIZE: _SCALING,
    UNNORMALIZE: _SCALING,
}
"""What LeRobot's steps write about themselves."""


def _check_order(path: Path, names: Sequence[str], steps: Sequence[Step]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CheckpointError(f"{path} has the step {twice[0]} twice")
    if lacking := [name for name in NEEDED[path.name] if name not in names]:
        raise CheckpointError(f"{path} has no step {lacking[0]}: inputs or actions would go unprepared")
    renames = any(step.name == RENAME and step.config.get("rename_map") for step in steps)
    if renames and names.index(RENAME) > names.index(NORMALIZE):
        raise CheckpointError(f"{path} scales before it renames, so what is renamed would go unscaled")


def _as_lerobot_takes_it(step: Step) -> dict[str, Any]:
    entry: dict[str, Any] = {"registry_name": step.name, "config": step.config}
    return entry if step.state_file is None else entry | {"state_file": step.state_file.name}
