"""What augmentation adds to a training step: ours, a batch at a time, against LeRobot's transforms, picture by picture.

All sides take turns in one process: the step of `bench_step.py` (fused), each preset of `--augmentation.preset` on the
pictures of a step, and LeRobot's image transforms on the same ones. CPU ms (one thread), medians over rounds.

Expected, for the small model (96x96, two cameras, batch 16): light and camera under 10 % of a step, desk about that;
LeRobot's two thirds of a step and more.

    python tests/benchmarks/bench_augmentation.py [--rounds 15]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.transforms import ImageTransforms, ImageTransformsConfig

sys.path.insert(0, str(Path(__file__).parent))
from bench_step import BATCH, Step, measure, sides

from so101_policy.train.augmentation import PRESETS, Augmentation, AugmentationConfig

CAMERAS = 2


def augmentations(size: str) -> dict[str, Step]:
    pictures = torch.randint(0, 256, (BATCH[size], 3, 96, 96), dtype=torch.uint8)
    lerobot = ImageTransforms(ImageTransformsConfig(enable=True))

    def by_lerobot() -> None:
        for _ in range(CAMERAS):
            torch.stack([lerobot(picture) for picture in pictures])

    def ours(preset: str) -> Step:
        augmentation = Augmentation(AugmentationConfig(preset=preset))

        def vary() -> None:
            for _ in range(CAMERAS):
                augmentation(pictures)

        return vary

    return {name: ours(name) for name in PRESETS if name != "none"} | {"LeRobot's": by_lerobot}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = {"a step": sides("small")["fused"]} | augmentations("small")
    times_ms = measure(steps, options.rounds)
    for name, column_ms in zip(steps, times_ms.T, strict=True):
        share = np.median(column_ms / times_ms[:, 0])
        print(f"{name:12} {np.median(column_ms):8.1f} ms   {share:6.1%} of a step")


if __name__ == "__main__":
    main()
