"""Policies of the study of levers in half precision and with a card each: what comes with the package.

python -m experiments.ship_demo_policies outputs/levers --out DIR --policies recommended=recovery:11 stock=stock:11 \\
       [--evaluation RUN] [--corrected RUN]

The runs are of `so101-eval run` with the same names: as the pictures come, and with `--camera_correction=auto`. Halved
are the weights; they are read back into single precision, so what computes is the same. How far that moves the actions
is measured on held-out frames and stands on the card, beside what the policy goes by.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.levers import levers
from experiments.levers.levers import LEVERS, Lever
from experiments.levers.run import Stage
from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.records import EpisodeRecord, read_episodes
from so101_eval.evaluation.run_folder import EPISODES
from so101_eval.report.data.reliance import read_reliance
from so101_eval.statistics.intervals import wilson
from so101_policy.checkpoint.folder import TRAINED_ON
from so101_policy.errors import PolicyError
from so101_policy.files.whole_files import write_text
from so101_policy.frames.dataset import open_dataset
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.reliance import command as reliance_command
from so101_policy.train.data import start_pose

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ALONG = ("policy_preprocessor", "policy_postprocessor", "so101_background", TRAINED_ON)
"""How the names of the other files begin that a policy needs."""
CARD = "README.md"
COMPARED = 200
"""Held-out frames on which halved and full weights are compared."""


class Trained(NamedTuple):
    """A policy of the study."""

    name: str
    """As it is given away."""
    lever: str
    seed: int
    checkpoint: Path
    demonstrations: Path


class Shipped(NamedTuple):
    """A policy as it is given away."""

    folder: Path
    size_bytes: int
    moved: float
    """Largest difference of an action because of the halved weights [deg, percent of the gripper]."""


class Evaluated(NamedTuple):
    """What is known of its success."""

    as_it_comes: Sequence[EpisodeRecord]
    corrected: Sequence[EpisodeRecord]
    """With the picture of a moved camera put back."""

    def of(self, name: str) -> "Evaluated":
        """One policy's part."""
        return Evaluated(*([x for x in records if x.policy == name] for records in self))


def trained(study: Path, asked: str) -> Trained:
    """`NAME=LEVER:SEED` of a folder of the study.

    Raises:
        ConfigError: there is no such policy, or it is not trained yet.
    """
    name, equals, policy = asked.partition("=")
    key, _, seed = policy.partition(":")
    own = [known for known, lever in LEVERS.items() if not lever.of]
    if not (name and equals and key in own and seed.isdigit()):
        raise ConfigError(
            f"--policies {asked}: expected NAME=LEVER:SEED, e.g. stock=stock:11; levers: {', '.join(own)}"
        )
    stage = Stage("screening", study, [key], jobs=1)
    checkpoint = stage.checkpoint(key, int(seed))
    if not (checkpoint / WEIGHTS).exists():
        raise ConfigError(f"{policy} is not trained yet: there is no {checkpoint}")
    return Trained(name, key, int(seed), checkpoint, stage.data(LEVERS[key].data))


def ship(policy: Trained, evaluated: Evaluated, folder: Path) -> Shipped:
    """Write a policy to `folder`, whole or not at all.

    Raises:
        ConfigError: the folder exists.
        PolicyError: its checkpoint is damaged.
        OSError: the folder cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists; remove it, or choose another place")
    making = folder.with_name(f".{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    _copy_halved(policy, making)
    moved = _moved(policy.checkpoint, making, policy.demonstrations)
    write_text(making / CARD, _card(policy, _probes(policy), evaluated.of(policy.name), moved))
    making.rename(folder)
    return Shipped(folder, sum(file.stat().st_size for file in folder.iterdir()), moved)


def _start(policy: Trained) -> list[float] | None:
    """Where the demonstrations began, also of a checkpoint that does not say it."""
    config = json.loads((policy.checkpoint / CONFIG).read_text())
    if known := config.get("start_pose"):
        return known
    dataset = open_dataset(f"local/{policy.demonstrations.name}", policy.demonstrations, None)
    return start_pose(dataset, range(dataset.meta.total_episodes))


def _copy_halved(policy: Trained, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    source = policy.checkpoint
    weights = load_file(source / WEIGHTS)
    halved = {name: x.half() if x.dtype is torch.float32 else x for name, x in weights.items()}
    if broken := [name for name, x in halved.items() if not x.isfinite().all()]:
        raise ConfigError(f"{broken[0]} of {source} does not fit into half precision")
    save_file(halved, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # it comes as its owner's alone
    config = json.loads((source / CONFIG).read_text()) | {"start_pose": _start(policy), "device": "cpu"}
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    for file in sorted(source.iterdir()):
        if file.name.startswith(ALONG):
            shutil.copyfile(file, folder / file.name)


def _moved(full: Path, halved: Path, data: Path) -> float:
    """Largest difference between the actions of two checkpoints, on frames spread over the last episodes."""
    dataset: Any = open_dataset(f"local/{data.name}", data, None)
    policies = [ActPolicy.load(folder) for folder in (full, halved)]
    count = len(dataset)
    worst = 0.0
    for index in np.linspace(count * 0.9, count - 1, min(COMPARED, count // 10), dtype=int):
        frame = dataset[int(index)]
        state = frame["observation.state"].numpy()
        images = {name: _pixels(frame[f"observation.images.{name}"]) for name in policies[0].cameras}
        first, second = (policy.predict(state, images).actions for policy in policies)
        worst = max(worst, float(np.abs(first - second).max()))
    return worst


def _pixels(image_CHW: Any) -> NDArray[np.uint8]:
    return np.rint(image_CHW.numpy().transpose(1, 2, 0) * 255.0).astype(np.uint8)


def _probes(policy: Trained) -> dict[str, Any]:
    """What it goes by, on the held-out frames; found out once."""
    folder = policy.checkpoint.parents[2] / "reliance"
    file = folder / "reliance.json"
    if not file.exists():
        flags = [
            f"--policy.path={policy.name}={policy.checkpoint}",
            f"--dataset.root={policy.demonstrations}",
        ]
        flags += ["--episodes=held-out:0.1", "--frames=320", "--no_picture", f"--output_dir={folder}"]
        reliance_command.main(flags)
    [found] = read_reliance(file)["policies"]
    return found


def _card(policy: Trained, probes: dict[str, Any], evaluated: Evaluated, moved: float) -> str:
    lever = LEVERS[policy.lever]
    demos = " ".join(levers.demonstration_flags(lever.data, Path("DEMONSTRATIONS")))
    flags = levers.training_flags(lever, policy.seed, Path("DEMONSTRATIONS"), Path("FOLDER"))
    shares, reliance = probes["attention"]["shares"], probes["reliance"]["any"]["executed"]["value"]
    return f"""\
---
library_name: lerobot
license: apache-2.0
tags: [robotics, so101, act, simulation]
---

# {policy.name}: {_says(lever)}

A small ACT for the task `{levers.TASK}` on the simulated SO-101: two cameras of 96x96, {levers.FPS} actions a
second. It was trained in simulation only and is there to be looked at; it has never seen a real picture.

**Data**: {levers.DEMONSTRATIONS} demonstrations of the scripted expert; the last tenth was not trained on.

    so101-demos {demos}

**Training**:

    so101-train {" ".join(flags)}

**Where it looks**: {shares["vision"]:.0%} of the decoder's cross-attention goes to the cameras, {shares["state"]:.0%}
to the joint state. **What it goes by**: its reliance on the joint state is {reliance:.2f} (0: the cameras alone decide
about the action, 1: the joints alone).

**Weights** are in half precision. In {COMPARED} frames that moved no action by more than {moved:.2g} degrees
(or percent of the gripper).

{_results(evaluated)}"""


def _says(lever: Lever) -> str:
    return lever.says[0].lower() + lever.says[1:] if not lever.says.startswith("LeRobot") else lever.says


def _results(evaluated: Evaluated) -> str:
    columns = [records for records in evaluated if records]
    if not columns:
        return "It has not been evaluated.\n"
    heads = [
        head
        for head, records in zip(("as it comes", "moved cameras put back"), evaluated, strict=True)
        if records
    ]
    lines = [
        f"**Success** at `{levers.TASK}`, with 95 % Wilson intervals:",
        "",
        f"| scenario | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
    ]
    for cell in dict.fromkeys((x.scenario, x.level) for records in columns for x in records):
        counts = [_count([x for x in records if (x.scenario, x.level) == cell]) for records in columns]
        lines.append(f"| {cell[0]}:{cell[1]} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def _count(records: Sequence[EpisodeRecord]) -> str:
    known = [bool(x.success) for x in records if x.success is not None]
    if not known:
        return ""
    interval = wilson(sum(known), len(known))
    return f"{sum(known)}/{len(known)} [{interval.low:.2f}, {interval.high:.2f}]"


def _records(run: Path | None) -> list[EpisodeRecord]:
    return [] if run is None else read_episodes(run / EPISODES)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.ship_demo_policies",
        description=__doc__.splitlines()[0] if __doc__ else None,
    )
    parser.add_argument("study", type=Path, help="folder of experiments.levers.run")
    parser.add_argument("--policies", nargs="+", required=True, metavar="NAME=LEVER:SEED")
    parser.add_argument("--evaluation", type=Path, help="a run folder of so101-eval, for the cards")
    parser.add_argument("--corrected", type=Path, help="another, with --camera_correction=auto")
    parser.add_argument("--out", type=Path, required=True, help="a folder NAME is made in it for each policy")
    options = parser.parse_args(arguments)
    try:
        evaluated = Evaluated(_records(options.evaluation), _records(options.corrected))
        for policy in [trained(options.study, asked) for asked in options.policies]:
            shipped = ship(policy, evaluated, options.out / policy.name)
            print(
                f"{shipped.folder}: {shipped.size_bytes / 1e6:.1f} MB, actions moved by at most {shipped.moved:.2g}"
            )
    except (EvalError, PolicyError, OSError) as error:
        print(f"shipping: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
