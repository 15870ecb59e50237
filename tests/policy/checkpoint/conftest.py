"""A checkpoint that fits into a test: a thin network, two small cameras, actions that do not vanish."""

from pathlib import Path

import pytest

from checkpoints import untrained
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed: copy it."""
    return untrained(
        tmp_path_factory.mktemp("valid"),
        px=32,
        config=RegularizedACTConfig,
        policy=RegularizedACTPolicy,
        says_fps=30.0,
        vision_backbone="resnet_thin_gn",
        chunk_size=6,
        n_action_steps=4,
        fps=30.0,
        start_pose=[0.0, -60.0, 60.0, 50.0, 0.0, 30.0],
    )
