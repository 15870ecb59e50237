"""What an engine saves: LeRobot's `predict_action_chunk` against `engine.py`, from bytes to normalised actions.

Two models, the default ACT (51.6 M parameters) and `small` (for which LeRobot's side is its forward around our
backbone), random weights, two cameras of 96x96, 224x224 and 480x640, batch 1. Every side starts from the same uint8
pictures and joint values and ends with actions and attention shares:

- LeRobot: its preparation, its processor, its forward, watched by `AttentionProbe`; and the same unwatched;
- engine torch, and engines onnx and openvino (where they are installed).

Sides take turns on the same observation, so load from elsewhere falls on all of them. Times are CPU ms of the process
(one thread, unless --threads says otherwise), medians; ratios are medians over rounds with a 95 % bootstrap interval.
The largest difference of an action is printed beside. Expected of the default ACT, against LeRobot watched: torch 1.7x,
1.3x, 1.3x; onnx 3x, 1.7x, 1.5x.

    python tests/benchmarks/bench_engine.py [--rounds 15] [--size default|small] [--picture 96x96] [--short]
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.attention.shares import AttentionProbe
from so101_policy.command_line.extras import ONNX, OPENVINO
from so101_policy.inference.engine import PolicyInputs, PolicyOutputs, make_engine
from so101_policy.model.configuration_regularized_act import MODEL_SIZES, RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy

PICTURES = {"96x96": (96, 96), "224x224": (224, 224), "480x640": (480, 640)}
"""Height x width [px]."""

EXTRAS = {"onnx": ONNX, "openvino": OPENVINO}

Side = Callable[[], Tensor]


def policy_of(size: str, height: int, width: int) -> ACTPolicy:
    cameras = {f"observation.images.{name}": (3, height, width) for name in ("front", "wrist")}
    kind: Any = ACTConfig if size == "default" else RegularizedACTConfig
    config = kind(
        input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
        | {key: PolicyFeature(FeatureType.VISUAL, shape) for key, shape in cameras.items()},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
        **{"device": "cpu", "pretrained_backbone_weights": None} | MODEL_SIZES[size],
    )
    torch.manual_seed(0)
    return (ACTPolicy if size == "default" else RegularizedACTPolicy)(config).eval()


def processor_of(policy: ACTPolicy) -> Any:
    features = (policy.config.input_features or {}) | (policy.config.output_features or {})
    statistics: dict[str, dict[str, Tensor]] = {}
    for key, feature in features.items():
        shape = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        scale = 0.25 if feature.type is FeatureType.VISUAL else 40.0
        statistics[key] = {"mean": torch.full(shape, 2 * scale), "std": torch.full(shape, scale)}
    return make_act_pre_post_processors(policy.config, statistics)[0]


def sides(policy: ACTPolicy, height: int, width: int) -> dict[str, Side]:
    """By name, the first is what the others are compared with."""
    generator = torch.Generator().manual_seed(1)
    images = {
        key: torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
        for key in policy.config.image_features
    }
    observation = PolicyInputs({OBS_STATE: 100 * torch.rand(6, generator=generator)}, images)
    preprocess = processor_of(policy)
    probe = AttentionProbe(policy)

    def lerobot() -> Tensor:
        pictures = {key: (x.float() / 255).permute(2, 0, 1).contiguous() for key, x in images.items()}
        return policy.predict_action_chunk(preprocess(pictures | observation.vectors))[0]

    def watched() -> PolicyOutputs:
        with probe, torch.no_grad():
            return PolicyOutputs(lerobot(), probe.shares)

    def normalise(raw: Mapping[str, Tensor]) -> Any:
        return preprocess(dict(raw))

    found: dict[str, Side] = {"LeRobot watched": lambda: watched().actions_TA, "LeRobot": lerobot}
    for name in ["torch", *(name for name, extra in EXTRAS.items() if not extra.missing)]:
        started_s = time.perf_counter()
        engine = make_engine(name, policy, normalise)
        assert engine is not None
        engine(observation, watched)
        if engine.name != name:
            raise SystemExit(f"engine {name} was dismissed: {engine.verification}")
        print(f"  engine {name}: made and verified in {time.perf_counter() - started_s:.1f} s")
        found[f"engine {name}"] = lambda engine=engine: engine(observation, watched).actions_TA
    return found


def measure(found: dict[str, Side], rounds: int) -> NDArray[np.float64]:
    """CPU ms, (rounds, sides); the order turns from round to round, two rounds to warm up are left out."""
    names, times_ms = list(found), []
    for index in range(rounds + 2):
        turn = index % len(names)
        row_ms = dict.fromkeys(names, 0.0)
        for name in names[turn:] + names[:turn]:
            started_s = time.process_time()
            found[name]()
            row_ms[name] = (time.process_time() - started_s) * 1e3
        times_ms.append([row_ms[name] for name in names])
    return np.array(times_ms[2:])


def report(found: dict[str, Side], times_ms: NDArray[np.float64]) -> None:
    draws = np.random.default_rng(0).integers(len(times_ms), size=(2000, len(times_ms)))
    actions_TA = next(iter(found.values()))()
    for name, run, column_ms in zip(found, found.values(), times_ms.T, strict=True):
        ratios = times_ms[:, 0] / column_ms
        low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
        difference = float((run() - actions_TA).abs().max())
        print(
            f"  {name:16} {np.median(column_ms):8.1f} ms (best {column_ms.min():.1f})  "
            f"{np.median(ratios):.2f}x [{low:.2f}, {high:.2f}]  largest difference {difference:.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", choices=list(MODEL_SIZES), action="append", help="default: both")
    parser.add_argument("--picture", choices=list(PICTURES), action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="three rounds, small model, 96x96")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = options.size or (["small"] if options.short else list(MODEL_SIZES))
    pictures = options.picture or (["96x96"] if options.short else list(PICTURES))
    rounds = 3 if options.short else options.rounds
    for size in sizes:
        for picture in pictures:
            policy = policy_of(size, *PICTURES[picture])
            millions = sum(p.numel() for p in policy.parameters()) / 1e6
            print(f"{size} ({millions:.1f} M), two cameras {picture}, {rounds} rounds, CPU ms:")
            found = sides(policy, *PICTURES[picture])
            report(found, measure(found, rounds))


if __name__ == "__main__":
    main()
