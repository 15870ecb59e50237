"""What a training takes that is over in a second: a tiny ACT, and pictures of an SO-101 in tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from checkpoints import POSE
from so101_policy.names import SO101_JOINTS

ACT: dict[str, object] = {
    "dim_model": 16,
    "n_heads": 2,
    "dim_feedforward": 24,
    "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1,
    "latent_dim": 4,
    "chunk_size": 5,
    "n_action_steps": 3,
    "device": "cpu",
}
"""With LeRobot's backbone, a ResNet-18."""
THIN: dict[str, object] = ACT | {"vision_backbone": "resnet_thin_gn"}

JOINTS = tuple(f"{name}.pos" for name in SO101_JOINTS)


def policy_flags(settings: Mapping[str, object] = THIN) -> list[str]:
    """`--policy.NAME=VALUE`, for so101-train."""
    return [f"--policy.{name}={value}" for name, value in settings.items()]


def record_boxes(root: Path, *, episodes: int, size: tuple[int, int], frames: int = 6) -> Path:
    """Episodes at 10 fps near `POSE`, noise in front of two cameras of `size` (height, width). Returns `root`."""
    rng = np.random.default_rng(0)
    numbers = {"dtype": "float32", "shape": (6,), "names": list(JOINTS)}
    image = {"dtype": "image", "shape": (*size, 3), "names": ["height", "width", "channels"]}
    pictures = {f"observation.images.{name}": image for name in ("front", "wrist")}
    features: dict[str, Any] = {"observation.state": numbers, "action": numbers, **pictures}
    made: Any = LeRobotDataset.create("local/boxes", 10, features, root=root, use_videos=False)
    for _ in range(episodes):
        for _ in range(frames):
            joints = (np.array(POSE) + rng.normal(0, 5, 6)).astype(np.float32)
            frame = {name: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for name in pictures}
            made.add_frame(frame | {"observation.state": joints, "action": joints, "task": "wave"})
        made.save_episode()
    made.finalize()
    return root
