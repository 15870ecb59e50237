"""A study's policies in half precision and with a card each: what comes with the package.

python -m experiments.ship_demo_policies outputs/study --out DIR \\
       --policies regularized=isolation-band:0 baseline=baseline:0

Halved are the weights; they are read back into single precision, so what computes is the same. How far that moves the
actions is measured on held-out frames and stands on the card, beside what the study found out about the policy.
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

from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation.records import EpisodeRecord, read_episodes
from so101_eval.evaluation.run_folder import EPISODES
from so101_eval.statistics.intervals import wilson
from so101_eval.study.command import Place
from so101_eval.study.design import DESIGN, VARIANTS, Design
from so101_eval.study.probing import Findings, probe
from so101_eval.study.training import TrainRun, command, runs_of
from so101_policy.checkpoint.folder import TRAINED_ON
from so101_policy.errors import PolicyError
from so101_policy.files.whole_files import write_text
from so101_policy.frames.dataset import open_dataset
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.train.data import start_pose

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PROCESSORS = ("policy_preprocessor", "policy_postprocessor")
CARD = "README.md"
COMPARED = 200
"""Held-out frames on which halved and full weights are compared."""


class Shipped(NamedTuple):
    """A policy as it is given away."""

    folder: Path
    size_bytes: int
    moved: float
    """Largest difference of an action because of the halved weights [deg, percent of the gripper]."""


def ship(study: Path, policy: str, folder: Path) -> Shipped:
    """Write the policy `variant:seed` of a study to `folder`, whole or not at all.

    Raises:
        ConfigError: the study has no such policy, or the folder exists.
        PolicyError: its checkpoint is damaged.
        OSError: the folder cannot be written.
    """
    if not (study / DESIGN).is_file():
        raise ConfigError(
            f"{study} is no study: it has no {DESIGN}; expected the folder of so101-study --out"
        )
    design = Design.from_json((study / DESIGN).read_text())
    run = _run(design, study, policy)
    if folder.exists():
        raise ConfigError(f"{folder} exists; remove it, or choose another place")
    place = Place(study.resolve())
    making = folder.with_name(f".{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    _copy_halved(run.checkpoint, making, _start(run.checkpoint, place.demonstrations))
    moved = _moved(run.checkpoint, making, place.demonstrations)
    evaluated = [x for x in _records(place.evaluation) if x.policy == run.policy]
    card = _card(run, design, probe(run, place.demonstrations), evaluated, moved)
    write_text(making / CARD, card)
    making.rename(folder)
    return Shipped(folder, sum(file.stat().st_size for file in folder.iterdir()), moved)


def _run(design: Design, study: Path, policy: str) -> TrainRun:
    runs = {run.policy: run for run in runs_of(design, study)}
    if policy not in runs:
        raise ConfigError(f"{study} has no policy {policy}; possible: {', '.join(runs)}")
    if not runs[policy].checkpoint.exists():
        raise ConfigError(f"{policy} is not trained yet: there is no {runs[policy].checkpoint}")
    return runs[policy]


def _start(checkpoint: Path, data: Path) -> list[float] | None:
    """Where the demonstrations began, also of a checkpoint that does not say it."""
    config = json.loads((checkpoint / CONFIG).read_text())
    if known := config.get("start_pose"):
        return known
    dataset = open_dataset(f"study/{data.name}", data, None)
    return start_pose(dataset, range(dataset.meta.total_episodes))


def _copy_halved(source: Path, folder: Path, start: list[float] | None) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(source / WEIGHTS)
    halved = {name: x.half() if x.dtype is torch.float32 else x for name, x in weights.items()}
    if broken := [name for name, x in halved.items() if not x.isfinite().all()]:
        raise ConfigError(f"{broken[0]} of {source} does not fit into half precision")
    save_file(halved, folder / WEIGHTS)
    config = json.loads((source / CONFIG).read_text()) | {"start_pose": start, "device": "cpu"}
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    for file in sorted(source.iterdir()):
        if file.name.startswith(PROCESSORS) or file.name == TRAINED_ON:
            shutil.copyfile(file, folder / file.name)


def _moved(full: Path, halved: Path, data: Path) -> float:
    """Largest difference between the actions of two checkpoints, on frames spread over the last episodes."""
    dataset: Any = open_dataset(f"study/{data.name}", data, None)
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


def _records(evaluation: Path) -> list[EpisodeRecord]:
    file = evaluation / EPISODES
    return read_episodes(file) if file.exists() else []


def _card(
    run: TrainRun, design: Design, findings: Findings, episodes: Sequence[EpisodeRecord], moved: float
) -> str:
    arguments = " ".join(command(run._replace(folder=Path("FOLDER")), design, Path("DEMONSTRATIONS"), None))
    demos = (
        f"so101-demos --task {design.task} --fps {design.demo_fps} --recovery {design.recovery:g} "
        f"--episodes {design.demonstrations} --output_dir DEMONSTRATIONS"
    )
    reliance = findings.value("reliance", "any", "executed")
    return f"""\
---
library_name: lerobot
license: apache-2.0
tags: [robotics, so101, act, simulation]
---

# {run.policy}: {VARIANTS[run.variant].says}

A small ACT for the task `{design.task}` on the simulated SO-101: two cameras of {design.image_px}x{design.image_px},
{design.demo_fps} actions a second. It was trained in simulation only and is there to be looked at; it has never seen
a real picture.

**Data**: {design.demonstrations} demonstrations of the scripted expert, {design.recovery:.0%} of them begun off their
way; the last tenth was not trained on.

    {demos}

**Training**:

    so101-train {arguments}

**Where it looks**: {findings.share("vision"):.0%} of the decoder's cross-attention goes to the cameras,
{findings.share("state"):.0%} to the joint state. **What it goes by**: its reliance on the joint state is {reliance:.2f}
(0: the cameras alone decide about the action, 1: the joints alone).

**Weights** are in half precision. In {COMPARED} frames that moved no action by more than {moved:.2g} degrees
(or percent of the gripper).

{_results(design, episodes)}"""


def _results(design: Design, episodes: Sequence[EpisodeRecord]) -> str:
    if not episodes:
        return "It has not been evaluated.\n"
    lines = [
        f"**Success** at `{design.task}`, level {design.level}, with 95 % Wilson intervals:",
        "",
        "| scenario | success | 95 % |",
        "|---|---:|---|",
    ]
    for scenario in dict.fromkeys(x.scenario for x in episodes):
        known = [x.success for x in episodes if x.scenario == scenario and x.success is not None]
        interval = wilson(sum(known), len(known))
        lines.append(
            f"| {scenario} | {sum(known)}/{len(known)} | {interval.low:.2f} to {interval.high:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.ship_demo_policies",
        description=__doc__.splitlines()[0] if __doc__ else None,
    )
    parser.add_argument("study", type=Path, help="folder of so101-study")
    parser.add_argument("--policies", nargs="+", required=True, metavar="NAME=VARIANT:SEED")
    parser.add_argument("--out", type=Path, required=True, help="a folder NAME is made in it for each policy")
    options = parser.parse_args(arguments)
    try:
        for asked in options.policies:
            name, equals, policy = asked.partition("=")
            if not (name and equals and policy):
                raise ConfigError(f"--policies {asked}: expected NAME=VARIANT:SEED, e.g. baseline=baseline:0")
            shipped = ship(options.study, policy, options.out / name)
            print(
                f"{shipped.folder}: {shipped.size_bytes / 1e6:.1f} MB, actions moved by at most {shipped.moved:.2g}"
            )
    except (EvalError, PolicyError, OSError) as error:
        print(f"shipping: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
