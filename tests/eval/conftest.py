"""Checkpoints that are made in a second and drive the arm near one pose, and a finished run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from so101_eval.cli import EVAL
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy

POSE = (10.0, -60.0, 60.0, 50.0, 0.0, 30.0)
GREY = (0.25, 0.5, 0.75)
"""The mean colour of what they were trained on: 64, 128, 191 of 255."""

MakeAct = Callable[..., Path]

torch.set_num_threads(1)  # threads that wait for each other cost these small tensors more than they save


def make_act(
    folder: Path,
    *,
    cameras: tuple[str, ...] = ("front", "wrist"),
    size: tuple[int, int] = (24, 24),
    joints: int = 6,
    seed: int = 0,
    fps: float | None = 10.0,
) -> Path:
    """A tiny untrained ACT; its statistics keep its actions near `POSE`."""
    inputs = {OBS_STATE: PolicyFeature(FeatureType.STATE, (joints,))}
    inputs |= {f"observation.images.{c}": PolicyFeature(FeatureType.VISUAL, (3, *size)) for c in cameras}
    options: dict[str, Any] = {"dim_model": 16, "n_heads": 2, "dim_feedforward": 24, "latent_dim": 4}
    config = RegularizedACTConfig(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (joints,))},
        n_encoder_layers=1, n_vae_encoder_layers=1, chunk_size=8, n_action_steps=8, fps=fps, device="cpu",
        vision_backbone="resnet_thin_gn", pretrained_backbone_weights=None, **options,
    )  # fmt: skip
    numbers = {"mean": torch.tensor((*POSE, 0.0)[:joints]), "std": torch.full((joints,), 5.0)}
    pictures = {"mean": torch.tensor(GREY).reshape(3, 1, 1), "std": torch.full((3, 1, 1), 0.25)}
    statistics = {name: pictures if "images" in name else numbers for name in (*inputs, ACTION)}
    torch.manual_seed(seed)
    RegularizedACTPolicy(config).save_pretrained(folder)
    for processor in make_act_pre_post_processors(config, statistics):
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make() -> MakeAct:
    """`make(folder, cameras=("front", "wrist"), size=(24, 24), joints=6, seed=0, fps=10.0)`."""
    return make_act


@pytest.fixture(scope="session")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of 24x24 pictures, ten actions a second. Not to be changed."""
    return make_act(tmp_path_factory.mktemp("act"))


@pytest.fixture(scope="session")
def finished(act: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: the expert, an arm that stays and the checkpoint `mine` in two scenes. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    policies = ["--policies", "expert", "hold", f"mine={act}"]
    asked = ["--task", "palletize-1", "--episodes", "2", "--num_workers", "1", "--output_dir", str(out)]
    assert EVAL.main(["run", *policies, *asked]) == 0
    return out
