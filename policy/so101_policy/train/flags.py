"""The command line of `so101-train`: its help, and from arguments to a `SO101TrainConfig`.

The flags are `lerobot-train`'s, read by LeRobot's own parser, so `--policy.path`, `--config_path` and `--resume`
mean what they mean there. Added are short names for what this project is about. The help is a text, so that it
comes at once: LeRobot and torch take seconds to import.
"""

import contextlib
import io
import re
import sys
from collections.abc import Generator, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from so101_policy.errors import PolicyError, TrainError

if TYPE_CHECKING:
    from so101_policy.train.config import SO101TrainConfig

HELP = """\
so101-train: train an ACT policy that uses its cameras, on any LeRobotDataset v3.

  so101-train --dataset.repo_id=me/boxes --dataset.root=data/boxes --model=small \\
              --regularizer.preset=recommended --steps=8000 --output_dir=outputs/train/boxes
      A small policy from scratch, with isolation, a band and state dropout; runs on a laptop.

  so101-train --dataset.repo_id=me/boxes --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
              --regularizer.preset=phase1 --steps=5000 --output_dir=outputs/train/cured
      Fine-tune an ACT checkpoint of LeRobot with a regularizer.

  so101-train --config_path=outputs/train/boxes/checkpoints/last/pretrained_model/train_config.json --resume=true
      Go on where a run stopped, exactly.

  accelerate launch --num_processes=2 -m so101_policy.train --dataset.repo_id=me/boxes ...
      Several GPUs; --batch_size is per process.

Ctrl-C saves a checkpoint and says how to go on. Every flag of lerobot-train that concerns ACT is understood.

data
  --dataset.repo_id=USER/NAME     the dataset's name; with --dataset.root a local folder, else the hub's
  --dataset.root=DIR              its folder
  --dataset.episodes="[0,1,2]"    only these
  --dataset.use_imagenet_stats=true         scale images by ImageNet's mean and spread; false: the dataset's
  --dataset.image_transforms.enable=false   augmentation, as lerobot-train's, done on the device
  --held_out=0.1                  fraction of the episodes kept for evaluation; 0: none
  --shifted.root=DIR              a second dataset, where something has moved: its L1 is reported too
  --shifted.repo_id=USER/NAME
  --cache.size=HEIGHTxWIDTH       train on smaller frames, as 96x96; none: as recorded
  --cache.folder=DIR              where decoded frames are kept; none: $SO101_CACHE or ~/.cache/so101/frames
  --cache.jobs=N                  processes that decode, once per dataset and size
  --device_cache=null             true, false: keep the frames on the GPU; null: if they fit

policy
  --policy.type=regularized_act   or act: LeRobot's own
  --policy.path=PATH              start from a checkpoint instead (a folder, or a hub id)
  --model=default                 small: 1 to 5 million parameters, trained from scratch
  --policy.chunk_size=100         --policy.n_action_steps=100     --policy.dim_model=512
  --policy.use_vae=true           --policy.vision_backbone=...    and every other field of LeRobot's ACT
  --policy.device=null            cpu, cuda, cuda:1, mps; null: the best there is
  --regularizer.preset=none       none, phase1, phase2, phase3, adaptive, isolation, recommended, ...
  --regularizer.state_dropout=P   and every other field of the regularizer; they win over the preset

training
  --steps=100000                  --batch_size=8                  --seed=1000
  --policy.optimizer_lr=1e-5      --policy.optimizer_lr_backbone=1e-5
  --scheduler.type=NAME           constant_with_warmup, cosine_annealing_with_warmup, ...
  --scheduler.num_warmup_steps=N  (--model=small: cosine with warm-up, else none, as LeRobot's ACT)
  --fused=true                    faster forward and optimizer; false: LeRobot's, number for number
  --precision=fp32                or bf16 (GPU)
  --compile=false                 torch.compile (GPU)

what is written
  --output_dir=DIR                none: outputs/train/<date>/<time>_<name>
  --log_freq=50                   --eval_steps=1000               --save_freq=5000
  --max_eval_samples=1024         most frames of a held-out L1; 0: all
  --trackers=tensorboard          and wandb, trackio, comma-separated; none: only metrics.jsonl
  --wandb.project=NAME            and wandb's other settings, as lerobot-train's
  --export=act                    at the end also a checkpoint that stock LeRobot loads without a plugin

going on
  --config_path=FILE              settings from a file; flags win
  --resume=true                   with --config_path=.../train_config.json of a checkpoint

  -v, --verbose                   show tracebacks and what the libraries log
  -h, --help
"""

FLAGS = tuple(sorted(set(re.findall(r"--[a-z][\w.]*\w(?==)", HELP))))
"""The flags of the help, to name the nearest one when a flag does not exist."""

SWITCHES = ("--resume", "--compile", "--fused", "--device_cache")
"""Flags that may stand without a value."""

DEFAULT_POLICY = "regularized_act"


def wants_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def parse(arguments: Sequence[str]) -> "SO101TrainConfig":
    """The configuration that the arguments amount to, checked as far as settings alone allow.

    Raises:
        PolicyError: a flag that does not exist, a value that does not fit, settings that contradict each other.
    """
    with _spoken(), _as_command_line(for_lerobot(arguments)), _without_help_texts():
        config = _lerobots_parser()()
        config.validate()
    return config


def for_lerobot(arguments: Sequence[str]) -> list[str]:
    """The arguments in the words of LeRobot's parser: short names spelled out, sizes expanded.

    Raises:
        TrainError: a value without a flag, or a flag without a value.
    """
    flags = {_spelled_out(flag): value for flag, value in _pairs(arguments)}
    if not {"--policy.path", "--policy.type", "--config_path"} & flags.keys():
        flags["--policy.type"] = DEFAULT_POLICY
    regularized = [flag for flag in flags if flag.startswith("--policy.regularizer.")]
    if flags.get("--policy.type") == "act" and regularized:
        raise TrainError(
            f"{regularized[0].replace('policy.', '')} with --policy.type=act: LeRobot's ACT has no regularizer; "
            f"drop --policy.type or say --policy.type={DEFAULT_POLICY}"
        )
    flags = _of_size(flags) | flags
    return [f"{flag}={value}" for flag, value in flags.items()]


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--"):
            raise TrainError(
                f"what does {flag!r} belong to? every argument is a flag: --flag=value; see --help"
            )
        if not equals:
            has_value = bool(rest) and not rest[0].startswith("--")
            if not has_value and flag not in SWITCHES:
                raise TrainError(f"{flag} needs a value: {flag}=...")
            value = rest.pop(0) if has_value else "true"
        yield flag, value


def _spelled_out(flag: str) -> str:
    if flag.startswith("--regularizer."):
        return f"--policy.{flag.removeprefix('--')}"
    return {"--policy.fused": "--fused"}.get(flag, flag)


def _of_size(flags: dict[str, str]) -> dict[str, str]:
    """The policy's fields that `--model` stands for."""
    size = flags.get("--model", "default")
    if size == "default" or "--config_path" in flags:
        return {}
    if "--policy.path" in flags:
        raise TrainError(f"--model={size} with --policy.path: the checkpoint has its size already; drop one")
    from so101_policy.model.configuration_regularized_act import MODEL_SIZES

    if size not in MODEL_SIZES:
        raise TrainError(f"--model={size}: possible are {', '.join(MODEL_SIZES)}")
    return {f"--policy.{name}": _as_argument(value) for name, value in MODEL_SIZES[size].items()}


def _as_argument(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _lerobots_parser() -> Any:
    """A function that reads the command line by LeRobot's rules. The policies' types are registered first."""
    from importlib import import_module

    from lerobot.configs import parser

    import_module("lerobot.policies.act.configuration_act")
    import_module("so101_policy.model.configuration_regularized_act")
    from so101_policy.train.config import SO101TrainConfig

    def given(config: SO101TrainConfig) -> SO101TrainConfig:
        return config

    given.__annotations__ = {"config": SO101TrainConfig}
    return parser.wrap()(given)


@contextlib.contextmanager
def _as_command_line(arguments: list[str]) -> Generator[None]:
    """LeRobot's parser looks at sys.argv, more than once."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _without_help_texts() -> Generator[None]:
    """draccus searches the sources of every registered dataclass for help texts that nobody will see, which is half of
    the time from the command to the first step of a tiny run."""
    from draccus.wrappers import docstring

    real = docstring.get_attribute_docstring
    docstring.get_attribute_docstring = lambda *_: docstring.AttributeDocString()  # pyright: ignore
    try:
        yield
    finally:
        docstring.get_attribute_docstring = real


@contextlib.contextmanager
def _spoken() -> Generator[None]:
    """What draccus, argparse and LeRobot print or raise about wrong flags, as one `TrainError`."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except PolicyError:
        raise
    except SystemExit as problem:
        raise _policy_error_behind(problem) or TrainError(_in_words(printed.getvalue())) from problem
    except Exception as problem:  # draccus, argparse, yaml, LeRobot and the dataclasses raise a dozen kinds
        said = _in_words(str(problem) or type(problem).__name__)
        raise _policy_error_behind(problem) or TrainError(said) from problem


def _policy_error_behind(problem: BaseException | None) -> PolicyError | None:
    while problem is not None:
        if isinstance(problem, PolicyError):
            return problem
        problem = problem.__cause__ or problem.__context__
    return None


def _in_words(text: str) -> str:
    """The last thing that a parser said, with the flag in front, and the nearest flag to an unknown one."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    said = re.sub(r"^(\S+: )?error: ", "", lines[-1]) if lines else "the flags could not be read"
    if unknown := re.search(r"unrecognized arguments: (--[\w.]+)", said):
        close = get_close_matches(unknown[1], FLAGS, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"there is no flag {unknown[1]}{hint} See --help"
    if match := re.match(r"`([\w.]+)`: (.*)", said):
        return f"--{match[1]}: {match[2]}"
    return said
