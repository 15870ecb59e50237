"""What a training step costs: LeRobot's ACT against ours, and ours with the regularizer on against off.

A step is forward, backward, clipping and AdamW, on random data, in the model's training mode with its dropout. Sides
take turns on the same batch, so load from elsewhere falls on all of them. Times are CPU ms of the process (one thread),
medians; ratios are medians over rounds with a 95 % bootstrap interval. Two cameras of 96x96. Three sides:

- LeRobot: its forward, its AdamW as its trainer makes it (for `small`, whose backbone stock ACT cannot build, this is
  LeRobot's forward around our backbone);
- fused: `training_forward.py` with everything off, torch's fused AdamW;
- regularized: the same with the preset `recommended`, no figures; and with the figures that a log wants.

Expected: fused at least 1.25x as fast as LeRobot; the regularizer within 3 %.

    python tests/benchmarks/bench_step.py [--rounds 15] [--size default|small] [--short]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.model.configuration_regularized_act import MODEL_SIZES, RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.regularizer.config import RegularizerConfig

BATCH = {"default": 8, "small": 16}
CLIP = 10.0
"""LeRobot's gradient clipping."""

Step = Callable[[], None]


def config_of(size: str, kind: type[Any] = RegularizedACTConfig, **options: Any) -> Any:
    cameras = {f"observation.images.{name}": (3, 96, 96) for name in ("front", "wrist")}
    fields = MODEL_SIZES[size] if kind is RegularizedACTConfig else {}
    return kind(
        input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
        | {key: PolicyFeature(FeatureType.VISUAL, shape) for key, shape in cameras.items()},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
        **{"device": "cpu", "pretrained_backbone_weights": None} | fields | options,
    )


def batch_of(policy: ACTPolicy, samples: int) -> dict[str, Tensor]:
    features = policy.config.input_features or {}
    batch = {key: torch.randn(samples, *feature.shape) for key, feature in features.items()}
    batch[ACTION] = torch.randn(samples, policy.config.chunk_size, 6)
    return batch | {"action_is_pad": torch.zeros(samples, policy.config.chunk_size, dtype=torch.bool)}


def sides(size: str) -> dict[str, Step]:
    stock = (
        ACTPolicy(config_of(size, ACTConfig)) if size == "default" else RegularizedACTPolicy(config_of(size))
    )
    fused = RegularizedACTPolicy(config_of(size, fused=True))
    recommended = RegularizerConfig(preset="recommended")
    regularized = RegularizedACTPolicy(config_of(size, fused=True, regularizer=recommended))
    batch = batch_of(stock, BATCH[size])
    return {
        "LeRobot": step_of(stock, lambda: stock(batch)[0], fused=False),
        "fused": step_of(fused, lambda: fused.loss_terms(batch, figures=False).loss(10.0), fused=True),
        "regularized": step_of(
            regularized, lambda: regularized.loss_terms(batch, figures=False).loss(10.0), fused=True
        ),
        "with figures": step_of(regularized, lambda: regularized.loss_terms(batch).loss(10.0), fused=True),
    }


def step_of(policy: ACTPolicy, loss_of: Callable[[], Tensor], *, fused: bool) -> Step:
    policy.train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-5, weight_decay=1e-4, fused=fused)

    def step() -> None:
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if isinstance(policy, RegularizedACTPolicy):
            policy.update()

    return step


def measure(steps: dict[str, Step], rounds: int) -> NDArray[np.float64]:
    """CPU ms, (rounds, sides); the order turns from round to round, two rounds to warm up are left out."""
    names, times_ms = list(steps), []
    for index in range(rounds + 2):
        turn = index % len(names)
        row_ms = dict.fromkeys(names, 0.0)
        for name in names[turn:] + names[:turn]:
            started_s = time.process_time()
            steps[name]()
            row_ms[name] = (time.process_time() - started_s) * 1e3
        times_ms.append([row_ms[name] for name in names])
    return np.array(times_ms[2:])


def report(size: str, steps: dict[str, Step], times_ms: NDArray[np.float64]) -> None:
    medians_ms = np.median(times_ms, axis=0)
    print(f"{size}, batch {BATCH[size]}, {len(times_ms)} rounds; CPU ms per step (best)")
    for name, column_ms in zip(steps, times_ms.T, strict=True):
        print(f"  {name:14} {np.median(column_ms):8.1f} ({column_ms.min():.1f})")
    draws = np.random.default_rng(0).integers(len(times_ms), size=(2000, len(times_ms)))
    for over, under in ((0, 1), (0, 2), (2, 1), (3, 1)):
        ratios = times_ms[:, over] / times_ms[:, under]
        low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
        names = list(steps)
        print(f"  {names[over]} / {names[under]}: {np.median(ratios):.3f} [{low:.3f}, {high:.3f}]")
    print(
        f"  steps per second of one core: {1e3 / medians_ms[1]:.1f} fused, {1e3 / medians_ms[2]:.1f} regularized"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", choices=list(MODEL_SIZES), action="append", help="default: both")
    parser.add_argument("--short", action="store_true", help="three rounds, small model only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for size in options.size or (["small"] if options.short else list(MODEL_SIZES)):
        steps = sides(size)
        report(size, steps, measure(steps, 3 if options.short else options.rounds))


if __name__ == "__main__":
    main()
