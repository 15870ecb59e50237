"""The settings of `so101-train`: LeRobot's `TrainPipelineConfig` and what this trainer adds to it.

A run is described by one dataclass that is written beside every checkpoint, so a run can be resumed, repeated and
compared. What LeRobot can do and this trainer cannot is refused here, before anything is read or written.
"""

import logging
import math
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

import draccus
from lerobot.configs import PreTrainedConfig, parser
from lerobot.configs.train import TrainPipelineConfig
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.checkpoint.fields import objections_to_settings
from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import look_at
from so101_policy.errors import TrainError
from so101_policy.frames.corrections import ALL, USES
from so101_policy.frames.dataset import video_backend
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig, check_backbone
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.train.augmentation import AugmentationConfig, amounts_of
from so101_policy.train.settings.lerobot_settings import given_on, refuse
from so101_policy.train.settings.numbers import objections_to_numbers
from so101_policy.train.settings.settings_file import write_settings
from so101_policy.train.validation.episodes import PlayedConfig, require_task

HELD_OUT = 0.1
"""Fraction of the episodes that are held out unless the user says otherwise."""

WARMUP_STEPS, WARMUP_SHARE = 500, 0.05
"""The small model's warm-up: that many steps, or that share of a short run."""

PRECISIONS = ("fp32", "bf16")
TRACKERS = ("tensorboard", "wandb", "trackio")
EXPORTS = ("act",)
VIDEO_BACKENDS = ("torchcodec", "pyav")
MOST_NAMED = 4
"""Objections in one message."""
OPTIMIZERS = ("adam", "adamw", "sgd")
"""Of LeRobot's those that take the parameters as ACT gives them."""

_log = logging.getLogger(__name__)


@dataclass
class CacheConfig:
    """The frame cache: the dataset's frames, decoded once."""

    size: str | None = None
    """HEIGHTxWIDTH [px] of the frames in the cache and in training, such as 96x96; null: as recorded."""
    folder: Path | None = None
    """Where caches are; null: $SO101_CACHE, else $XDG_CACHE_HOME/so101/frames, else ~/.cache/so101/frames."""
    jobs: int | None = None
    """Threads that decode; null: one per core."""

    @property
    def height_width(self) -> tuple[int, int] | None:
        """`size` as numbers.

        Raises:
            TrainError: `size` is not HEIGHTxWIDTH.
        """
        if self.size is None:
            return None
        height, _, width = self.size.partition("x")
        if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) > 0):
            raise TrainError(f"--cache.size={self.size}: write HEIGHTxWIDTH in pixels, as 96x96 or 240x320")
        return int(height), int(width)


@dataclass
class ShiftedConfig:
    """A second dataset, recorded where something has moved: its loss shows whether the policy would notice."""

    repo_id: str | None = None
    """Its name; null: local/<name of the folder>."""
    root: str | None = None
    """Its folder; null: the hub's."""


@dataclass
class CorrectionsConfig:
    """A dataset with takeovers, whose column `intervention` says where a person drove."""

    use: str = ALL
    """What is trained on: all: every frame alike; only: frames on which a person drove; weighted: every frame, those
    corrections.weight times as often."""
    weight: int = 4
    """With corrections.use=weighted: how often a correction is drawn in an epoch."""


@dataclass
class SO101TrainConfig(TrainPipelineConfig):
    """`lerobot-train`'s settings, with other defaults where a fast trainer wants others, and a few more."""

    log_freq: int = 50
    """A line of metrics every so many steps; only then does the processor wait for a GPU."""
    eval_steps: int = 1000
    """Held-out L1 every so many steps and at the end; 0: never."""
    max_eval_samples: int = 1024
    """Most frames of a set that a held-out L1 looks at, spread evenly; 0: all of them."""
    save_freq: int = 5000
    """A checkpoint every so many steps and at the end; 0: at the end only."""

    eval: PlayedConfig = field(default_factory=PlayedConfig)  # pyright: ignore[reportIncompatibleVariableOverride]
    """Episodes in simulation while it trains (`eval.task`)."""
    env_eval_freq: int = 0
    """With `eval.task`: episodes every so many steps; 0: with every checkpoint."""

    model: str = "default"
    """Size of a new policy, by name: "small" trains on a laptop's processor. Single flags win over it."""
    fused: bool = True
    """The faster training forward and optimizer: same loss, other random draws of dropout. false: LeRobot's, number for
    number."""
    precision: str = "fp32"
    """"fp32" or "bf16" (autocast; for GPUs)."""
    compile: bool = False
    """torch.compile the training forward (for GPUs; the first steps take minutes)."""
    held_out: float | None = None
    """Fraction of the episodes kept for evaluation, the last ones of every task, as dataset.eval_split (which
    it sets); 0: none. null: dataset.eval_split if given, else 0.1."""
    shifted: ShiftedConfig = field(default_factory=ShiftedConfig)
    """A second dataset, where something has moved: its L1 is reported too."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """Where decoded frames are kept, and at which size."""
    corrections: CorrectionsConfig = field(default_factory=CorrectionsConfig)
    """Which frames of a dataset with takeovers are trained on."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """How far pictures are varied, a batch at a time."""
    device_cache: bool | None = None
    """Keep the frames on the GPU: true, false, or null: if they fit."""
    use_degrees: bool | None = None
    """Units of the recorded joints, for whoever plays the policy: true: degrees; false: LeRobot's -100..100 of the
    calibrated range; null: degrees where a joint goes beyond 100, else not known."""
    trackers: str = "tensorboard"
    """Where metrics go besides metrics.jsonl, comma-separated: tensorboard, wandb, trackio; or "none"."""
    export: str | None = None
    """"act": at the end also write a checkpoint that stock LeRobot loads without a plugin."""

    @property
    def act(self) -> ACTConfig:
        """The policy's settings, which `validate` has found to be an ACT's."""
        assert isinstance(self.policy, ACTConfig)
        return self.policy

    @property
    def run_folder(self) -> Path:
        """The run's folder, which `validate` has settled."""
        assert self.output_dir is not None
        return self.output_dir

    @property
    def resumes_from(self) -> Path:
        """The checkpoint that a resumed run continues from, which `validate` has found."""
        assert self.checkpoint_path is not None
        return self.checkpoint_path

    @property
    def tracker_names(self) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self.trackers.split(",") if name.strip() not in ("", "none"))
        return (*names, "wandb") if self.wandb.enable and "wandb" not in names else names

    def validate(self) -> None:
        """Settle what depends on something else; LeRobot's checks and this trainer's.

        Raises:
            TrainError: what was asked for, and what is possible.
        """
        given = given_on(sys.argv[1:])
        refuse(self, given)
        self._check_numbers()
        self._check_choices()
        if self.resume and "dataset.video_backend" not in given:
            self.dataset.video_backend = video_backend()  # the run may have been on another machine
        if self.held_out is None:
            self.held_out = self.dataset.eval_split or HELD_OUT
        self.dataset.eval_split = self.held_out
        if self.held_out == 0:
            self.eval_steps = 0
        optimizer, scheduler = self.optimizer, self.scheduler
        super().validate()
        if self.use_policy_training_preset and not self.resume:
            self.optimizer = optimizer or self.optimizer
            self.scheduler = scheduler or self.scheduler or self._scheduler_of_size()
        if self.resume and self.checkpoint_path is not None:
            self.checkpoint_path = self.checkpoint_path.resolve()
            self.output_dir = self.checkpoint_path.parent.parent
            look_at(find_checkpoint(self.checkpoint_path))
        self._check_policy()

    def _resolve_pretrained_from_cli(self) -> None:
        path = parser.get_path_arg("policy")
        if not path or not self._as_regularized(path):
            super()._resolve_pretrained_from_cli()
        if self.policy is not None:
            if self.resume and self.policy.push_to_hub and self.policy.repo_id:
                _log.warning(
                    "the policy is not pushed to %s: so101-train pushes nothing", self.policy.repo_id
                )
            self.policy.push_to_hub = False
            if isinstance(self.policy, RegularizedACTConfig):
                self.policy.fused = self.fused

    def _as_regularized(self, path: str) -> bool:
        """A checkpoint of LeRobot's ACT to be fine-tuned with a regularizer becomes a `regularized_act`."""
        flags = parser.get_yaml_overrides("policy") + (parser.get_cli_overrides("policy") or [])
        wanted = [flag.replace("--regularizer.", "--") for flag in flags if flag.startswith("--regularizer.")]
        folder = find_checkpoint(path)
        if look_at(folder)["type"] != "act" or not wanted:  # before LeRobot reads it
            return False
        others = [flag for flag in flags if not flag.startswith("--regularizer.")]
        act = PreTrainedConfig.from_pretrained(folder, cli_overrides=others)
        kept = {f.name: getattr(act, f.name) for f in fields(ACTConfig) if f.init}
        regularizer = draccus.parse(RegularizerConfig, args=wanted)
        self.policy = RegularizedACTConfig(**kept, regularizer=regularizer)
        self.policy.pretrained_path = folder
        return True

    def _scheduler_of_size(self) -> CosineAnnealingWithWarmupSchedulerConfig | None:
        if self.model == "default":
            return None
        return CosineAnnealingWithWarmupSchedulerConfig(
            min(WARMUP_STEPS, math.ceil(WARMUP_SHARE * self.steps))
        )

    def _check_numbers(self) -> None:
        if found := objections_to_numbers(self):
            raise TrainError("; ".join(found[:MOST_NAMED]))

    def _check_choices(self) -> None:
        _one_of("--precision", self.precision, PRECISIONS)
        _one_of("--export", self.export, (None, *EXPORTS))
        _one_of("--corrections.use", self.corrections.use, USES)
        _one_of("--dataset.video_backend", self.dataset.video_backend, VIDEO_BACKENDS)
        if self.optimizer is not None:
            _one_of("--optimizer.type", self.optimizer.type, OPTIMIZERS)
        for name in self.tracker_names:
            _one_of("--trackers", name, TRACKERS)
        if self.shifted.root is not None and self.shifted.repo_id is None:
            self.shifted.repo_id = f"local/{Path(self.shifted.root).name}"
        _ = self.cache.height_width, amounts_of(self.augmentation)
        if self.eval.task is not None:
            require_task(self.eval.task)
            if not self.save_checkpoint:
                raise TrainError("--eval.task plays checkpoints, and --save_checkpoint=false writes none")

    def _check_policy(self) -> None:
        if not isinstance(self.policy, ACTConfig):
            kind = self.policy.type if self.policy is not None else "nothing"
            raise TrainError(
                f"so101-train's own trainer trains ACT: --policy.type=regularized_act or act. The settings ask for a "
                f"{kind}: give the same flags to lerobot-train"
            )
        if found := objections_to_settings(draccus.encode(self.policy)):
            raise TrainError("; ".join(f"--policy.{objection}" for objection in found))
        check_backbone(self.policy)
        if self.policy.use_amp:
            _log.warning(
                "the policy is marked for mixed precision (use_amp), and is trained in %s", self.precision
            )

    def _save_pretrained(self, save_directory: Path) -> None:
        write_settings(save_directory, self.to_dict())


def _one_of(flag: str, value: str | None, possible: tuple[str | None, ...]) -> None:
    if value not in possible:
        raise TrainError(f"{flag}={value}: possible are {', '.join(str(p) for p in possible if p)}")
