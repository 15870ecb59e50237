"""Every setting of `lerobot-train`, and what becomes of it here: it is done, refused by name, or has no effect and that
is said. Nothing is accepted and dropped.

A setting that is in none of the tables is of a LeRobot newer than this list; whoever gives it is told so.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.errors import TrainError

GROUPS = {"": TrainPipelineConfig, "dataset.": DatasetConfig, "policy.": ACTConfig}
"""Beginnings of names -> whose fields they are. Other groups (`wandb.project`) are named as one."""

DONE = (
    *("dataset.repo_id", "dataset.root", "dataset.episodes", "dataset.image_transforms", "dataset.revision"),
    *("dataset.use_imagenet_stats", "dataset.video_backend", "dataset.eval_split"),
    *("output_dir", "job_name", "resume", "seed", "cudnn_deterministic", "batch_size", "steps", "log_freq"),
    *("eval_steps", "max_eval_samples", "tolerance_s", "save_checkpoint", "save_freq", "rename_map", "wandb"),
    *("use_policy_training_preset", "optimizer", "scheduler"),
    *("policy.n_obs_steps", "policy.input_features", "policy.device", "policy.pretrained_path"),
    *("policy.chunk_size", "policy.n_action_steps", "policy.normalization_mapping", "policy.vision_backbone"),
    *("policy.pretrained_backbone_weights", "policy.replace_final_stride_with_dilation", "policy.pre_norm"),
    *("policy.dim_model", "policy.n_heads", "policy.dim_feedforward", "policy.feedforward_activation"),
    *("policy.n_encoder_layers", "policy.n_decoder_layers", "policy.use_vae", "policy.latent_dim"),
    *("policy.n_vae_encoder_layers", "policy.temporal_ensemble_coeff", "policy.dropout", "policy.kl_weight"),
    *("policy.optimizer_lr", "policy.optimizer_weight_decay", "policy.optimizer_lr_backbone"),
)
"""As lerobot-train does it."""


class Refusal(NamedTuple):
    """A setting that is not done here."""

    harmless: tuple[Any, ...]
    """Values that ask for nothing."""
    instead: str
    """What to do."""


_LEROBOT = "lerobot-train does, with the same policy: --policy.type=regularized_act"
_NEWER = "it is newer than so101-train; drop it"

REFUSED: Mapping[str, Refusal] = {
    "env": Refusal((None,), "episodes are played with --eval.task. Afterwards: so101-eval run, lerobot-eval"),
    "reward_model": Refusal((None,), _LEROBOT),
    "peft": Refusal((None,), _LEROBOT),
    "sample_weighting": Refusal((None,), _LEROBOT),
    "job.target": Refusal((None, "local"), _LEROBOT),
    "dataset.streaming": Refusal((False,), _LEROBOT),
    "dataset.repo_type": Refusal(("dataset",), _LEROBOT),
    "save_checkpoint_to_hub": Refusal(
        (False,), "nothing is pushed. Afterwards: hf upload USER/NAME RUN/checkpoints"
    ),
    "policy.push_to_hub": Refusal(
        (False,),
        "nothing is pushed; --policy.push_to_hub=false. Afterwards: "
        "hf upload USER/NAME RUN/checkpoints/last/pretrained_model",
    ),
    "policy.use_amp": Refusal((False,), "--precision=bf16 trains in mixed precision"),
    "policy.use_peft": Refusal((False,), _LEROBOT),
    "policy.pretrained_revision": Refusal(
        (None,), "hf download USER/NAME --revision=... fetches it; give its folder: --policy.path"
    ),
    "checkpoint_format": Refusal(("safetensors",), _LEROBOT),
    "parallelism": Refusal((), "several GPUs: accelerate launch -m so101_policy.train"),
    "accelerator": Refusal((), "--precision=bf16, --compile=true; several GPUs: accelerate launch"),
    "ema": Refusal((), _LEROBOT),
    "dataset.exclude_episodes": Refusal((None, []), "--dataset.episodes=[...] names those to train on"),
}
"""The last five are in LeRobot after 0.6.1 only."""

_LOADER = "frames are decoded once and copied from memory, there is no data loader (--cache.jobs: threads that decode)"
_PLAYED = "episodes are played during training with --eval.task, in processes as so101-eval chooses"
_PUSHED = "nothing is pushed to the hub"

NO_EFFECT: Mapping[str, str] = {
    "num_workers": _LOADER,
    "prefetch_factor": _LOADER,
    "persistent_workers": _LOADER,
    "dataloader_multiprocessing_context": _LOADER,
    "dataset.return_uint8": "frames are kept as uint8 anyway",
    "dataset.depth_output_unit": "depth cameras are not used",
    "env_eval_freq": "no task is named, with whose episodes to play: --eval.task",
    "eval": f"{_PLAYED}; afterwards: so101-eval run, lerobot-eval",
    "job": "the run is on this machine",
    "policy.output_features": "they are the dataset's actions",
    "policy.fps": "it is the dataset's",
    "policy.start_pose": "it is where the dataset's episodes begin",
    "policy.repo_id": _PUSHED,
    "policy.private": _PUSHED,
    "policy.tags": _PUSHED,
    "policy.license": _PUSHED,
    "wandb.disable_artifact": "checkpoints are not uploaded to Weights & Biases",
}

PLAYED = ("eval.task", "eval.n_episodes", "env_eval_freq")
"""What has an effect where a task is named."""

BEFORE = {
    "eval_freq": "lerobot-train calls it --env_eval_freq now; here --eval_steps sets how often the loss on held-out "
    "episodes is computed",
    "offline_eval_freq": "here: --eval_steps",
    "training.offline_steps": "here: --steps",
}
"""What flags of LeRobot's are called that no longer exist."""


def settings() -> Iterator[str]:
    """Every setting of the installed `lerobot-train`, for ACT."""
    for prefix, of in GROUPS.items():
        yield from (f"{prefix}{f.name}" for f in dataclasses.fields(of) if f.init)


def given_on(command_line: Sequence[str]) -> dict[str, Any]:
    """Settings that are given by name, `--name=value`, and their values."""
    pairs = (word.removeprefix("--").partition("=") for word in command_line if word.startswith("--"))
    return {name: _read(value) for name, _, value in pairs}


def refuse(config: TrainPipelineConfig, given: Mapping[str, Any]) -> None:
    """
    Args:
        config: as parsed; the policy of `--policy.path` is not in it yet.
        given: see `given_on`.

    Raises:
        TrainError: something was asked for that is not done; names all of it.
    """
    found = {name: refusal.instead for name, refusal in REFUSED.items() if _is_asked(name, config, given)}
    if _pushes(config, given):
        found["policy.push_to_hub"] = REFUSED["policy.push_to_hub"].instead
    found |= dict.fromkeys(_unknown(config, given), _NEWER)
    if found:
        told = "; ".join(f"--{name}: {instead}" for name, instead in found.items())
        again = (
            ". A run that goes on keeps its settings; a new one from its weights: --policy.path"
            * config.resume
        )
        raise TrainError(f"so101-train does not do {told}{again}")


def without_effect(given: Collection[str]) -> list[str]:
    """A sentence for each setting that was given and changes nothing here."""
    return [
        f"--{flag} has no effect: {why}"
        for flag in given
        for name, why in NO_EFFECT.items()
        if _is_of(flag, name) and flag not in REFUSED and not (flag in PLAYED and PLAYED[0] in given)
    ]


def _is_asked(name: str, config: TrainPipelineConfig, given: Mapping[str, Any]) -> bool:
    harmless = REFUSED[name].harmless
    if any(_is_of(flag, name) and (flag != name or given[name] not in harmless) for flag in given):
        return True
    found = _value(config, name)
    return found not in (_ABSENT, *harmless) and found != _default(name)


def _pushes(config: TrainPipelineConfig, given: Mapping[str, Any]) -> bool:
    """Whether lerobot-train would push the policy: its default is to, for whoever names a place. What a resumed run
    was to push is not asked for again."""
    if "policy.push_to_hub" in given or config.resume:
        return False
    return "policy.repo_id" in given or bool(
        config.policy and config.policy.push_to_hub and config.policy.repo_id
    )


def _unknown(config: TrainPipelineConfig, given: Collection[str]) -> Iterator[str]:
    """Settings in none of the tables that were given, or that a file has set to something."""
    listed = {*DONE, *REFUSED, *NO_EFFECT, *(group.rstrip(".") for group in GROUPS)}
    for name in settings():
        asked = any(_is_of(flag, name) for flag in given)
        if name not in listed and (asked or _value(config, name) not in (_ABSENT, _default(name))):
            yield name


def _is_of(flag: str, name: str) -> bool:
    return flag == name or flag.startswith(f"{name}.")


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


_ABSENT = object()


def _value(config: TrainPipelineConfig, name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part, _ABSENT)
    return found


def _default(name: str) -> Any:
    """Of a dataclass's field, by LeRobot."""
    prefix, _, last = name.rpartition(".")
    of = GROUPS.get(f"{prefix}." if prefix else "")
    field = next((f for f in dataclasses.fields(of) if f.name == last), None) if of is not None else None
    if field is None:
        return _ABSENT
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
