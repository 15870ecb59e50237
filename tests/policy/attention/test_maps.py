"""Attention maps are the weights behind the shares, laid out as the pictures lie, and are made only on request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor, nn

from so101_policy import ActPolicy, PolicyError, TokenLayout
from so101_policy.attention import maps as attention_maps
from so101_policy.attention.maps import maps_of
from so101_policy.inference import act_policy as checkpoint
from so101_policy.inference import engine

CAMERAS = {"front": (64, 96), "wrist": (96, 32)}
GRIDS = {"front": (2, 3), "wrist": (3, 1)}


@pytest.fixture
def saved(tmp_path: Path, sharpen: Callable[[nn.Module], nn.Module]) -> Path:
    """A checkpoint of two decoder layers and two cameras, neither of them square."""
    inputs = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, *size))
        for name, size in CAMERAS.items()
    }
    inputs[OBS_STATE] = PolicyFeature(FeatureType.STATE, (6,))
    small: dict[str, Any] = {"dim_model": 32, "n_heads": 4, "dim_feedforward": 64, "n_encoder_layers": 1}
    small |= {"n_vae_encoder_layers": 1, "n_decoder_layers": 2, "chunk_size": 5, "n_action_steps": 5}
    config = ACTConfig(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
        device="cpu",
        pretrained_backbone_weights=None,
        **small,
    )
    torch.manual_seed(0)
    policy = ACTPolicy(config)
    sharpen(policy)
    policy.save_pretrained(tmp_path / "act")
    shapes = {key: (3, 1, 1) if "images" in key else (6,) for key in (*inputs, ACTION)}
    scales = {key: {"mean": torch.zeros(shape), "std": torch.ones(shape)} for key, shape in shapes.items()}
    for processor in make_act_pre_post_processors(config, scales):
        processor.save_pretrained(tmp_path / "act")
    return tmp_path / "act"


def observe(seed: int = 0) -> tuple[NDArray[np.float64], dict[str, NDArray[np.uint8]]]:
    rng = np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for name, size in CAMERAS.items()}
    return rng.uniform(-1, 1, 6), images


def check(policy: ActPolicy) -> None:
    """Two answers: the first may be LeRobot's own, to compare with."""
    plain = ActPolicy.load(policy.path, maps=True)
    for seed in (1, 2):
        found, wanted = policy.predict(*observe(seed)), plain.predict(*observe(seed))
        assert found.maps is not None
        assert wanted.maps is not None
        assert found.shares is not None
        assert {name: cells.shape for name, cells in found.maps.items()} == GRIDS
        for name, share in found.shares.cameras.items():
            assert float(found.maps[name].sum()) == pytest.approx(share, abs=1e-6)
            np.testing.assert_allclose(found.maps[name], wanted.maps[name], atol=2e-6)
        assert np.ptp(found.maps["front"]) > 0.01  # or any layout would do


def test_a_cameras_map_sums_to_its_share_in_lerobots_own_forward(saved: Path):
    policy = ActPolicy.load(saved, maps=True)
    check(policy)
    assert policy.engine is None


def test_the_torch_engine_gives_the_same_maps(saved: Path):
    policy = ActPolicy.load(saved, maps=True, engine="torch")
    check(policy)
    assert policy.engine is not None
    assert policy.engine.name == "torch"  # its maps were part of the verification, and it passed


@pytest.mark.timeout(600)  # the exporter takes 5 s of a free core
def test_onnx_runtime_gives_the_same_maps(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.delenv("SO101_CACHE", raising=False)  # it would win
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    policy = ActPolicy.load(saved, maps=True, engine="onnx")
    check(policy)
    assert policy.engine is not None
    assert policy.engine.name == "onnx"


@pytest.mark.parametrize("name", ["plain", "torch"])
def test_nothing_is_computed_that_nobody_asked_for(saved: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    def never(*args: Any) -> None:
        raise AssertionError("maps were made")

    for module in (attention_maps, checkpoint, engine):
        monkeypatch.setattr(module, "maps_of", never)
    policy = ActPolicy.load(saved, engine=name)
    assert [policy.predict(*observe(seed)).maps for seed in (1, 2)] == [None, None]


def test_a_cell_is_the_token_of_that_place_in_the_picture(saved: Path):
    """LeRobot's encoder gets a camera's tokens row by row, so that is how they are laid out again."""
    policy = ActPolicy.load(saved).policy
    features: list[Tensor] = []
    tokens: list[Tensor] = []
    model: Any = policy.model
    model.backbone.register_forward_hook(lambda m, a, output: features.append(output["feature_map"]))
    model.encoder.register_forward_pre_hook(lambda m, args: tokens.append(args[0]))
    batch = {key: torch.randn(1, *x.shape) for key, x in policy.config.input_features.items()}  # pyright: ignore[reportOptionalMemberAccess]
    with torch.no_grad():
        policy.eval().predict_action_chunk(batch)
        projected = [model.encoder_img_feat_input_proj(feature)[0] for feature in features]
    layout = TokenLayout.of(policy.config, {name: r * c for name, (r, c) in GRIDS.items()})
    numbered = torch.arange(layout.total, dtype=torch.float32)[None, None, None]
    maps = maps_of([numbered], layout, GRIDS)
    for feature, (name, (rows, columns)) in zip(projected, GRIDS.items(), strict=True):
        for row in range(rows):
            for column in range(columns):
                token = tokens[0][round(float(maps[name][row, column])), 0]
                torch.testing.assert_close(token, feature[:, row, column])


def test_a_map_is_the_mean_over_layers_heads_and_queries():
    layout = TokenLayout(slice(0, 1), None, None, {"front": slice(1, 5)}, 5)
    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.dirichlet(np.ones(5), (1, 2, 3))).float() for _ in range(2)]
    cells = maps_of(weights, layout, {"front": (2, 2)})["front"]
    by_hand = np.mean([x.numpy() for x in weights], axis=(0, 1, 2, 3))[1:]
    np.testing.assert_allclose(cells, by_hand.reshape(2, 2), atol=1e-6)


def test_a_grid_that_is_not_the_cameras_is_refused():
    layout = TokenLayout(slice(0, 1), None, None, {"front": slice(1, 5)}, 5)
    with pytest.raises(PolicyError, match="does not fit maps"):
        maps_of([torch.full((1, 1, 1, 5), 0.2)], layout, {"front": (2, 3)})
    with pytest.raises(PolicyError, match="attention to 4 tokens"):
        maps_of([torch.full((1, 1, 1, 4), 0.25)], layout, {"front": (2, 2)})
