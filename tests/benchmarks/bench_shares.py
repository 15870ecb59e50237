"""What attention shares cost: LeRobot's whole `predict_action_chunk`, watched and not, interleaved.

A default ACT (51.6 M parameters, random weights), two cameras of 96x96 and of 480x640, batch 1. Both sides
take turns on the same inputs, so load from elsewhere falls on both. Times are CPU ms of the process, the
difference is the median over pairs with a 95 % bootstrap interval. The probe's own work (hooks on and off,
shares from weights of that size) is timed by itself too, where the noise of a forward pass does not hide it.
Expected: within 1 %.

    python tests/benchmarks/bench_shares.py [--pairs 40] [--threads 1]
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_STATE

from so101_policy import AttentionProbe, TokenLayout
from so101_policy.attention.shares import shares_of

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


class Cost(NamedTuple):
    """CPU ms of a forward pass alone and watched, of the probe's own work, and the difference in % of the
    pass.
    """

    alone_ms: float
    watched_ms: float
    own_ms: float
    percent: float
    percent_low: float
    percent_high: float


def measure(policy: ACTPolicy, pairs: int) -> Cost:
    features = policy.config.input_features or {}
    batch = {key: torch.randn(1, *feature.shape) for key, feature in features.items()}
    probe = AttentionProbe(policy)

    def alone() -> None:
        policy.predict_action_chunk(batch)

    def watched() -> None:
        with probe:
            policy.predict_action_chunk(batch)

    times_ms = np.array([_pair_ms(alone, watched, swap=bool(k % 2)) for k in range(pairs + 2)])[
        2:
    ]  # 2 warm up
    difference_ms = times_ms[:, 1] - times_ms[:, 0]
    draws = np.random.default_rng(0).choice(difference_ms, (2000, pairs))
    low_ms, high_ms = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    forward_ms = float(np.median(times_ms[:, 0]))
    return Cost(
        alone_ms=forward_ms,
        watched_ms=float(np.median(times_ms[:, 1])),
        own_ms=_own_ms(policy, probe),
        percent=100 * float(np.median(difference_ms)) / forward_ms,
        percent_low=100 * float(low_ms) / forward_ms,
        percent_high=100 * float(high_ms) / forward_ms,
    )


def _pair_ms(alone: Callable[[], None], watched: Callable[[], None], swap: bool) -> tuple[float, float]:
    """CPU ms of both, run back to back; every other pair the other way round."""
    if swap:
        watched_ms = _cpu_ms(watched)
        return _cpu_ms(alone), watched_ms
    return _cpu_ms(alone), _cpu_ms(watched)


def _cpu_ms(run: Callable[[], None]) -> float:
    started_s = time.process_time()
    run()
    return (time.process_time() - started_s) * 1e3


def _own_ms(policy: ACTPolicy, probe: AttentionProbe, repeats: int = 200) -> float:
    cameras = policy.config.image_features
    tokens = {key: math.ceil(f.shape[1] / 32) * math.ceil(f.shape[2] / 32) for key, f in cameras.items()}
    layout = TokenLayout.of(policy.config, tokens)
    shape = (1, policy.config.n_heads, policy.config.chunk_size, layout.total)
    weights_BHQS = torch.softmax(torch.randn(shape), dim=-1)

    def own() -> None:
        with probe:
            shares_of([weights_BHQS], layout)

    return float(np.median([_cpu_ms(own) for _ in range(repeats)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40, help="pairs per image size")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("Share telemetry against none: whole forward pass, batch 1, interleaved, CPU ms")
    for height, width in SIZES:
        policy = default_act(height, width)
        millions = sum(p.numel() for p in policy.parameters()) / 1e6
        cost = measure(policy, options.pairs if height < 200 else max(options.pairs // 2, 5))
        print(
            f"  two cameras {width}x{height}, {millions:.1f} M: alone {cost.alone_ms:.1f}, "
            f"watched {cost.watched_ms:.1f}: {cost.percent:+.2f} % [{cost.percent_low:+.2f}, "
            f"{cost.percent_high:+.2f}]; the probe by itself {cost.own_ms:.2f} = "
            f"{100 * cost.own_ms / cost.alone_ms:.2f} %"
        )


if __name__ == "__main__":
    main()
