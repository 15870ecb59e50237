"""Going on with a run: only as the same run.

What decides about the losses must be as it was; everything else (how long, how often, where to) may change.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import draccus
from lerobot.utils.constants import PRETRAINED_MODEL_DIR

from so101_policy.checkpoint.folder import TRAIN_CONFIG, file_in
from so101_policy.errors import TrainError
from so101_policy.train.augmentation import AugmentationConfig
from so101_policy.train.checkpoints import Progress
from so101_policy.train.settings.config import CacheConfig, CorrectionsConfig, SO101TrainConfig
from so101_policy.train.settings.settings_file import read_settings

MAY_DIFFER = (
    *("steps", "log_freq", "eval_steps", "max_eval_samples", "save_freq", "save_checkpoint", "env_eval_freq"),
    *("resume", "checkpoint_path", "output_dir", "job_name", "config_path", "export", "trackers", "wandb"),
    *("num_workers", "prefetch_factor", "persistent_workers", "dataloader_multiprocessing_context"),
    *("cache.folder", "cache.jobs", "device_cache", "dataset.root", "dataset.video_backend", "shifted"),
    *("policy.pretrained_path", "policy.device", "policy.push_to_hub", "policy.repo_id", "policy.private"),
    *("policy.tags", "policy.license", "policy.pretrained_backbone_weights", "eval", "job"),
    *("save_checkpoint_to_hub", "env", "cudnn_deterministic", "tolerance_s", "use_degrees"),
)
"""Settings, or groups of them, that may differ: they do not touch what is learned. (With a schedule on steps, other
`steps` bend the rest of it; that is what the user asks for.)"""

ABSENT = "not set"

OWN_DEFAULTS: Mapping[str, Any] = {
    "model": "default",
    "fused": True,
    "precision": "fp32",
    "compile": False,
    "cache": draccus.encode(CacheConfig()),
    "corrections": draccus.encode(CorrectionsConfig()),
    "augmentation": draccus.encode(AugmentationConfig()),
}
"""Of settings that a run of lerobot-train does not have."""

type Scalar = str | float | bool | None
type Json = Scalar | Sequence[Json] | Mapping[str, Json]


def check_same_run(config: SO101TrainConfig, checkpoint: Path) -> None:
    """Raises TrainError with every setting that differs from the checkpoint's and matters."""
    path = checkpoint / PRETRAINED_MODEL_DIR / TRAIN_CONFIG
    before = {**OWN_DEFAULTS, **read_settings(file_in(path.parent, path.name), resume=True)}
    now = json.loads(json.dumps(config.to_dict(), default=str))
    if found := list(_differences(dict(_flat(before)), dict(_flat(now)))):
        raise TrainError(
            f"a resumed run keeps its settings, and these differ from {path}:\n  - "
            + "\n  - ".join(found)
            + "\nDrop them, or begin a new run from the weights: --policy.path="
            + str(checkpoint / PRETRAINED_MODEL_DIR)
        )


def check_same_data(progress: Progress, identity: Mapping[str, Json], batch: int) -> None:
    """Raises TrainError where the data or the joint batch are not those of the run."""
    if progress.data and (found := list(_differences(dict(_flat(progress.data)), dict(_flat(identity))))):
        raise TrainError("the dataset is not the one that this run began with:\n  - " + "\n  - ".join(found))
    if progress.batch not in (0, batch):
        raise TrainError(
            f"the run has {progress.batch} samples per step (of {progress.processes} processes), now "
            f"{batch}; choose --batch_size and --num_processes so that their product stays the same"
        )


def _differences(before: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if any(name == free or name.startswith(f"{free}.") for free in MAY_DIFFER):
            continue
        was, wanted = before.get(name, ABSENT), now.get(name, ABSENT)
        if was != wanted and {was, wanted} not in ({ABSENT, None}, {ABSENT, ""}):
            yield f"{name}: was {was}, now {wanted}"


def _flat(value: Json, name: str = "") -> Iterator[tuple[str, Scalar]]:
    """Nested settings as dotted.name -> value; lists as their text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
