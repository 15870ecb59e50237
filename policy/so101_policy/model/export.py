"""A trained `regularized_act` as a plain ACT: a checkpoint that stock LeRobot loads with no plugin.

The regularizer works in training; what it leaves behind is an ordinary ACT, unless the encoder is isolated (a mask
that stock ACT does not apply) or the backbone is one of ours (which stock ACT cannot build). Then there is no such
checkpoint, and the export says so instead of writing one that would act differently.

    export_as_act("outputs/train/checkpoints/last", "outputs/act")
"""

import json
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path

from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from so101_policy.checkpoint.backgrounds import background_files
from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.folder import CONFIG, PROCESSORS, READ, TRAINED_ON, WEIGHTS
from so101_policy.checkpoint.reader import look_at, read_config, read_fields
from so101_policy.checkpoint.tensors import system_error
from so101_policy.checkpoint.trained_on import find_trained_on, to_json
from so101_policy.model.configuration_regularized_act import (
    GROUP_NORM_BACKBONES,
    ModelError,
    RegularizedACTConfig,
)

TRAINING_ONLY = ("model.modality_dropout.", "attention_regularizer.")
"""Weights that inference does not use and stock ACT does not know."""


def export_as_act(folder: str | Path, out: str | Path) -> Path:
    """Write the policy in `folder` as an ACT checkpoint `out`, with identical actions.

    `out` appears whole or not at all.

    Raises:
        CheckpointError: `folder` holds no usable checkpoint.
        ModelError: this policy cannot be a plain ACT, or `out` exists.
        OSError: it cannot be written; nothing is left of it.
    """
    source, target = find_checkpoint(folder), Path(out).expanduser()
    config = read_config(source, "cpu")
    _refuse_what_stock_cannot_do(source, config)
    if target.exists():
        raise ModelError(f"{target} exists; an export does not overwrite: remove it, or give another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        written = Path(scratch) / "act"
        written.mkdir()
        _write_config(source, written)
        weights = load_file(source / WEIGHTS)
        acting = {n: x for n, x in weights.items() if not n.startswith(TRAINING_ONLY)}
        try:
            save_file(acting, written / WEIGHTS)
        except SafetensorError as problem:
            raise system_error(problem, target / WEIGHTS) from problem
        for file in source.glob("policy_*processor*"):
            if file.suffix in READ:  # these were looked at
                shutil.copy2(file, written)
        for file in background_files(source).values():
            shutil.copy2(file, written)
        known = find_trained_on(source, read_fields(source))
        if known.fps is not None:  # a stock configuration has no place for it
            (written / TRAINED_ON).write_text(to_json(known), encoding="utf-8")
        written.rename(target)
    return target


def _refuse_what_stock_cannot_do(source: Path, config: PreTrainedConfig) -> None:
    if not isinstance(config, RegularizedACTConfig):
        raise ModelError(
            f"{source} is of type {config.type!r} and needs no export; only regularized_act does"
        )
    if config.regularizer.isolation:
        raise ModelError(
            f"{source} was trained with encoder isolation, which is also active at inference; a stock ACT has no such "
            "mask and would act differently. Run it as it is, with this plugin installed"
        )
    if config.regularizer.hides_state or config.regularizer.hides_images:
        unseen = "the state" if config.regularizer.hides_state else "pictures"
        raise ModelError(f"{source} is a control that never sees {unseen}; a stock ACT would")
    if config.image_features and config.vision_backbone in GROUP_NORM_BACKBONES:
        raise ModelError(
            f"{source} uses the backbone {config.vision_backbone}, which a stock ACT cannot build; run it as it is, "
            "with this plugin installed"
        )
    for name in (WEIGHTS, *PROCESSORS):
        if not (source / name).is_file():
            raise ModelError(f"{source} has no {name}, so an export would be incomplete")
    look_at(source)


def _write_config(source: Path, written: Path) -> None:
    known = {field.name for field in fields(ACTConfig)}
    asked = read_fields(source)
    stock = {"type": "act"} | {name: value for name, value in asked.items() if name in known}
    (written / CONFIG).write_text(json.dumps(stock, indent=4) + "\n", encoding="utf-8")
