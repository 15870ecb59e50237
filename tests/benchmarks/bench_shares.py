"""What attention shares cost: LeRobot's whole `predict_action_chunk`, watched and not, interleaved.

A default ACT (51.6 M parameters, random weights), two cameras of 96x96 and of 480x640, batch 1. Both sides take
turns on the same inputs, so load from elsewhere falls on both; the difference is the median over pairs, with a
bootstrap interval. What the probe adds by itself (hooks, shares) is timed too, without the noise of the forward pass:
it is what is expected to stay within 1 %.

    python tests/benchmarks/bench_shares.py [--pairs 40] [--threads 1]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from so101_policy import AttentionProbe

SIZES = ((96, 96), (480, 640))
"""Two cameras each, (height, width) [px]."""


def default_act(height: int, width: int) -> ACTPolicy:
    cameras = {f"observation.images.{name}": (3, height, width) for name in ("front", "wrist")}
    torch.manual_seed(0)
    return ACTPolicy(
        ACTConfig(
            input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
            | {key: PolicyFeature(FeatureType.VISUAL, shape) for key, shape in cameras.items()},
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
            device="cpu",
            pretrained_backbone_weights=None,
        )
    ).eval()


def measure(height: int, width: int, pairs: int) -> dict[str, float]:
    """Medians [ms] of both sides, and the difference [ms, % of the forward pass] with its 95 % interval."""
    policy = default_act(height, width)
    features = policy.config.input_features or {}
    batch = {key: torch.randn(1, *feature.shape) for key, feature in features.items()}
    probe = AttentionProbe(policy)

    def alone() -> None:
        policy.predict_action_chunk(batch)

    def watched() -> None:
        with probe:
            policy.predict_action_chunk(batch)

    times_ms = np.array([_pair(alone, watched, swap=bool(k % 2)) for k in range(pairs + 2)])[
        2:
    ]  # two warm up
    difference_ms = times_ms[:, 1] - times_ms[:, 0]
    draws = np.random.default_rng(0).choice(difference_ms, (2000, pairs))
    low_ms, high_ms = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    forward_ms = float(np.median(times_ms[:, 0]))
    return {
        "parameters_m": sum(p.numel() for p in policy.parameters()) / 1e6,
        "alone_ms": forward_ms,
        "watched_ms": float(np.median(times_ms[:, 1])),
        "difference_ms": float(np.median(difference_ms)),
        "percent": 100 * float(np.median(difference_ms)) / forward_ms,
        "percent_low": 100 * float(low_ms) / forward_ms,
        "percent_high": 100 * float(high_ms) / forward_ms,
    }


def _pair(alone: Callable[[], None], watched: Callable[[], None], swap: bool) -> tuple[float, float]:
    """Milliseconds of both, run back to back; every other pair the other way round."""
    taken_ms = {}
    for side in (watched, alone) if swap else (alone, watched):
        started_s = time.perf_counter()
        side()
        taken_ms[side] = (time.perf_counter() - started_s) * 1e3
    return taken_ms[alone], taken_ms[watched]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40, help="pairs per image size")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("Share telemetry against none, whole forward pass, batch 1, interleaved")
    for height, width in SIZES:
        r = measure(height, width, options.pairs if height < 200 else max(options.pairs // 2, 5))
        print(
            f"  2 cameras {width}x{height}, {r['parameters_m']:.1f} M: {r['alone_ms']:.1f} ms alone, "
            f"{r['watched_ms']:.1f} ms watched; difference {r['difference_ms']:+.2f} ms = {r['percent']:+.2f} % "
            f"[{r['percent_low']:+.2f}, {r['percent_high']:+.2f}]"
        )


if __name__ == "__main__":
    main()
