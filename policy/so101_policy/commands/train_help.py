"""The help of so101-train, made from the words under the fields of `SO101TrainConfig`, of the regularizer and of
LeRobot's configurations."""

from lerobot.configs.default import DatasetConfig
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.cli import TRAIN
from so101_policy.commands.help_texts import COMMON, Flag, flags_of, paragraph, section
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.train.augmentation import AugmentationConfig
from so101_policy.train.settings.config import SO101TrainConfig

EXAMPLES = """\
Examples:
  so101-train --dataset.repo_id=me/boxes --dataset.root=data/boxes \\
      --model=small --regularizer.preset=recommended --steps=8000 \\
      --output_dir=outputs/train/boxes
      A small policy from scratch, with isolation, a band and state dropout;
      runs on a laptop.

  so101-train --dataset.repo_id=me/boxes --regularizer.preset=phase1 \\
      --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
      --steps=5000 --output_dir=outputs/train/cured
      Fine-tune an ACT checkpoint of LeRobot with a regularizer.

  so101-train --resume=true --config_path=outputs/train/boxes
      Go on where a run stopped, exactly.

  accelerate launch --num_processes=2 -m so101_policy.train \\
      --dataset.repo_id=me/boxes ...
      Several GPUs; --batch_size is per process.
"""

ENDING = "Ctrl-C saves a checkpoint and says how to go on."

WORDS = {
    "dataset.repo_id": (
        "USER/NAME",
        "the dataset's name; with --dataset.root a local folder, else the hub's",
    ),
    "dataset.root": ("DIR", "its folder"),
    "dataset.episodes": ('"[0,1,2]"', "only these"),
    "dataset.use_imagenet_stats": (
        "true",
        "scale images by ImageNet's mean and spread; false: the dataset's",
    ),
    "augmentation.preset": (
        "none",
        "pictures varied as on a desk, a batch at a time: light (light, colour, blur), camera (bumped), "
        "desk (both, and something in view)",
    ),
    "dataset.image_transforms.enable": (
        "false",
        "lerobot-train's augmentation, done on the device, picture by picture: most of a step of a small model",
    ),
    "recipe": (
        "NAME",
        "recommended: the small model, batch 16, 9000 steps, no regularizer, as the package's baseline was trained; "
        "stock: every extra off. Single flags win over it",
    ),
    "policy.path": ("PATH", "start from a checkpoint (a folder, or a hub id) instead"),
    "policy.type": ("regularized_act", "or act: LeRobot's own"),
    "policy.device": ("null", "cpu, cuda, cuda:1, mps; null: the best there is"),
    "policy.chunk_size": ("100", "actions of a chunk"),
    "policy.n_action_steps": ("100", "actions of a chunk that are played before the policy is asked again"),
    "policy.dim_model": ("512", "width of the transformer"),
    "policy.use_vae": ("true", "the variational encoder of ACT"),
    "policy.vision_backbone": ("resnet18", "of torchvision, or a small one of --model=small"),
    "policy.replace_final_stride_with_dilation": (
        "false",
        "finer tokens: each stands for 16 pixels in place of 32. A step takes several times as long",
    ),
    "policy.optimizer_lr": ("1e-05", "learning rate"),
    "policy.optimizer_lr_backbone": ("1e-05", "learning rate of the vision backbone"),
    "regularizer.preset": ("none", "none, phase1, phase2, phase3, adaptive, isolation, recommended, ..."),
    "regularizer.warmup_start": ("null", "step at which the loss on attention begins"),
    "regularizer.adaptive_step": ("null", "the most that the ceiling rises at once"),
    "regularizer.adaptive_low": ("null", "from this times the best held-out loss on the ceiling rises"),
    "regularizer.adaptive_high": ("null", "up to this times the best held-out loss the ceiling rises"),
    "steps": ("100000", "of the optimizer"),
    "batch_size": ("8", "frames in a step, per process"),
    "seed": ("1000", "of everything that is drawn"),
    "job_name": ("NAME", "of the run, in its folder's name and for trackers; null: the policy's type"),
    "output_dir": ("DIR", "null: outputs/train/<date>/<time>_<name>"),
    "resume": ("false", "with --config_path=RUN: go on with that run, also with one of lerobot-train"),
    "config_path": ("FILE", "settings from a file, or of a run's folder; flags win"),
    "scheduler.type": (
        "NAME",
        "constant_with_warmup, cosine_annealing_with_warmup, ...; --model=small: cosine with warm-up, else none, as "
        "LeRobot's ACT",
    ),
    "scheduler.num_warmup_steps": ("N", "steps of warm-up"),
    "wandb.project": ("NAME", "and wandb's other settings, as lerobot-train's"),
    "shifted.root": ("DIR", "a second dataset, where something has moved: its L1 is reported too"),
    "shifted.repo_id": ("USER/NAME", "its name"),
}
"""Value and words of flags whose fields are LeRobot's, or whose default says nothing."""

FIRST = (
    "dataset.repo_id",
    "dataset.root",
    "output_dir",
    "recipe",
    "model",
    "regularizer.preset",
    "policy.path",
    "steps",
    "batch_size",
    "policy.device",
    "resume",
)
"""The flags that matter first."""

SECTIONS = {
    "data": (
        "dataset.episodes",
        "dataset.use_imagenet_stats",
        "augmentation.preset",
        "dataset.image_transforms.enable",
        "use_degrees",
        "held_out",
        "corrections.use",
        "corrections.weight",
        "shifted.root",
        "shifted.repo_id",
        "cache.size",
        "cache.folder",
        "cache.jobs",
        "device_cache",
    ),
    "policy": (
        "policy.type",
        "policy.chunk_size",
        "policy.n_action_steps",
        "policy.dim_model",
        "policy.use_vae",
        "policy.vision_backbone",
        "policy.replace_final_stride_with_dilation",
    ),
    "training": (
        "seed",
        "policy.optimizer_lr",
        "policy.optimizer_lr_backbone",
        "scheduler.type",
        "scheduler.num_warmup_steps",
        "fused",
        "precision",
        "compile",
        "config_path",
    ),
    "what is written": (
        "log_freq",
        "eval_steps",
        "max_eval_samples",
        "eval.task",
        "eval.n_episodes",
        "env_eval_freq",
        "save_freq",
        "trackers",
        "wandb.project",
        "export",
        "job_name",
    ),
}

SPOKEN_OF = {*FIRST, *(name for names in SECTIONS.values() for name in names)}
"""Flags that have their place."""


def help_text() -> str:
    """The whole of it."""
    flags = train_flags()
    parts = [
        paragraph(f"{TRAIN.name}: {TRAIN.about}."),
        EXAMPLES,
        paragraph(ENDING),
        section("most used", (flags[name] for name in FIRST)),
        *(section(title, (flags[name] for name in names)) for title, names in SECTIONS.items()),
        section(
            "regularizer (these win over the preset; null: as the preset says)",
            of_group(flags, "regularizer"),
        ),
        section(
            "augmentation (these win over its preset; null: as the preset says)",
            of_group(flags, "augmentation"),
        ),
        paragraph(
            "Every other flag of lerobot-train that concerns ACT is understood, and every field of LeRobot's ACT. "
            "What is not done here is refused by its name."
        ),
        COMMON,
    ]
    return "\n".join(parts)


def train_flags() -> dict[str, Flag]:
    """Name -> flag."""
    known = {
        **flags_of(SO101TrainConfig),
        **flags_of(DatasetConfig, "dataset."),
        **flags_of(ACTConfig, "policy."),
        **flags_of(RegularizerConfig, "regularizer."),
        **flags_of(AugmentationConfig, "augmentation."),
    }
    named = {name: Flag(f"--{name}", value, words) for name, (value, words) in WORDS.items()}
    return known | named


def of_group(flags: dict[str, Flag], group: str) -> list[Flag]:
    """All of a group but its preset."""
    return [flag for name, flag in flags.items() if name.startswith(f"{group}.") and name not in SPOKEN_OF]
