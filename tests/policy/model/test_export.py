"""An exported policy is a plain ACT that acts the same; what cannot be one is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.configs import FeatureType, PreTrainedConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import load_file
from torch import Tensor

from moved_pictures import TextureBench
from so101_policy import ActPolicy, CheckpointError
from so101_policy.model.configuration_regularized_act import ModelError, RegularizedACTConfig
from so101_policy.model.export import export_as_act
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.registration.files import name_of, write_background
from so101_policy.regularizer.config import RegularizerConfig

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]


def save(folder: Path, config: RegularizedACTConfig) -> RegularizedACTPolicy:
    torch.manual_seed(0)
    policy = RegularizedACTPolicy(config).eval()
    policy.save_pretrained(folder)
    features = (config.input_features or {}) | (config.output_features or {})
    shapes = {k: (3, 1, 1) if x.type is FeatureType.VISUAL else x.shape for k, x in features.items()}
    statistics = {k: {"mean": torch.full(s, 2.0), "std": torch.full(s, 3.0)} for k, s in shapes.items()}
    for processor in make_pre_post_processors(config, dataset_stats=statistics):  # pyright: ignore
        processor.save_pretrained(folder)
    return policy


@pytest.fixture
def trained(tmp_path: Path, make_config: MakeConfig) -> Path:
    regularizer = RegularizerConfig(preset="phase3", state_dropout=0.3, camera_dropout=0.1)
    config = make_config(vision_backbone="resnet18", size=(32, 32), regularizer=regularizer)
    save(tmp_path / "trained", config)
    return tmp_path / "trained"


def test_stock_lerobot_loads_it_and_acts_the_same(trained: Path, tmp_path: Path, make_batch: MakeBatch):
    ours = RegularizedACTPolicy.from_pretrained(trained, strict=True)
    out = export_as_act(trained, tmp_path / "new" / "act")
    config = PreTrainedConfig.from_pretrained(out)
    assert type(config).__name__ == "ACTConfig"
    config.pretrained_backbone_weights = None  # pyright: ignore[reportAttributeAccessIssue]
    stock = ACTPolicy.from_pretrained(out, config=config, strict=True)
    batch = make_batch(ours.config)
    assert torch.equal(stock.predict_action_chunk(batch), ours.predict_action_chunk(batch))
    assert set(load_file(out / "model.safetensors")) == set(stock.state_dict())


def test_its_rate_comes_along_though_a_stock_configuration_has_none(tmp_path: Path, make_config: MakeConfig):
    config = make_config(vision_backbone="resnet18", size=(32, 32), fps=10.0)
    save(tmp_path / "trained", config)
    out = export_as_act(tmp_path / "trained", tmp_path / "act")
    assert "fps" not in json.loads((out / "config.json").read_text())
    policy = ActPolicy.load(out)
    assert (policy.type, policy.fps, policy.trained_on.stated) == ("act", 10.0, True)


def test_the_processors_and_backgrounds_come_along(trained: Path, tmp_path: Path):
    write_background(trained / name_of("front"), TextureBench(32, 32).background(8), "local/tiny")
    out = export_as_act(trained, tmp_path / "act")
    assert {p.name for p in out.iterdir()} == {p.name for p in trained.iterdir()}
    policy, exported = ActPolicy.load(trained), ActPolicy.load(out)
    images: Any = {name: torch.zeros(32, 32, 3, dtype=torch.uint8).numpy() for name in ("front", "wrist")}
    state = [1.0, 2, 3, 4, 5]
    assert exported.type == "act"
    assert (policy.predict(state, images).actions == exported.predict(state, images).actions).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vision_backbone": "resnet18", "regularizer": {"isolation": True}}, "isolation"),
        ({}, "resnet_thin_gn, which a stock ACT cannot build"),
    ],
)
def test_a_policy_that_stock_act_would_not_repeat_is_refused(
    options: dict[str, Any], reason: str, tmp_path: Path, make_config: MakeConfig
):
    options = options | {"regularizer": RegularizerConfig(**options.get("regularizer", {}))}
    save(tmp_path / "trained", make_config(size=(32, 32), **options))
    with pytest.raises(ModelError, match=reason):
        export_as_act(tmp_path / "trained", tmp_path / "act")
    assert [p.name for p in tmp_path.iterdir()] == ["trained"]


def test_what_is_there_is_not_overwritten_and_what_is_missing_is_said(trained: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="exists"):
        export_as_act(trained, trained)
    (trained / "policy_preprocessor.json").unlink()
    with pytest.raises(ModelError, match=r"no policy_preprocessor\.json"):
        export_as_act(trained, tmp_path / "act")
    with pytest.raises(CheckpointError):
        export_as_act(tmp_path / "nowhere", tmp_path / "act")


def test_an_act_needs_no_export(trained: Path, tmp_path: Path):
    out = export_as_act(trained, tmp_path / "act")
    assert json.loads((out / "config.json").read_text())["type"] == "act"
    with pytest.raises(ModelError, match="needs no export"):
        export_as_act(out, tmp_path / "again")
