"""Backbones for training from scratch: ResNets by name, size and stride, normalised without a batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from so101_policy.model import backbones
from so101_policy.model.backbones import BACKBONES, GroupNormResNet
from so101_policy.model.configuration_regularized_act import (
    GROUP_NORM_BACKBONES,
    MODEL_SIZES,
    ModelError,
    RegularizedACTConfig,
    check_fresh_backbone,
)
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]

COSTS = {
    row[0]: (float(row[1].removesuffix(" M")), float(row[2]))
    for row in (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in (backbones.__doc__ or "").splitlines()
        if line.startswith("| resnet")
    )
}
"""The table in the module's docstring: name -> million parameters, MFLOP of one 96x96 image."""


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_and_work_are_those_of_the_documented_table(name: str):
    backbone = GroupNormResNet(name)
    millions = sum(p.numel() for p in backbone.parameters()) / 1e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.zeros(1, 3, 96, 96))
    assert millions == pytest.approx(COSTS[name][0], abs=0.01)
    assert counter.get_total_flops() / 1e6 == pytest.approx(COSTS[name][1], rel=0.03)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (32, 64), (100, 130)])
def test_a_token_stands_for_32_pixels_as_with_torchvisions(height: int, width: int):
    thin = GroupNormResNet("resnet_thin_gn")
    with torch.no_grad():
        maps_NCHW = thin(torch.zeros(2, 3, height, width))["feature_map"]
    assert maps_NCHW.shape == (2, thin.out_channels, -(-height // 32), -(-width // 32))


@pytest.mark.parametrize(("height", "width"), [(96, 96), (32, 64), (100, 130)])
def test_dilated_a_token_stands_for_16_pixels_and_weights_stay_the_same(height: int, width: int):
    dilated, thin = GroupNormResNet("resnet_thin_gn", dilated=True), GroupNormResNet("resnet_thin_gn")
    dilated.load_state_dict(thin.state_dict())
    with torch.no_grad():
        maps_NCHW = dilated(torch.zeros(2, 3, height, width))["feature_map"]
    assert maps_NCHW.shape == (2, thin.out_channels, -(-height // 16), -(-width // 16))


def test_a_policy_has_four_times_the_tokens_of_its_cameras_where_it_asks_for_it(
    make_config: MakeConfig, make_batch: MakeBatch
):
    config = make_config(
        size=(96, 96), state=6, **MODEL_SIZES["small"], fused=True, replace_final_stride_with_dilation=True
    )
    policy = RegularizedACTPolicy(config).train()
    done = policy._training_forward(make_batch(config, samples=1), figures=False)  # pyright: ignore
    assert done.layout.total == 2 * 36 + 2


def test_a_sample_is_not_changed_by_its_neighbours_in_the_batch():
    torch.manual_seed(0)
    backbone = GroupNormResNet("resnet_thin_gn").train()
    image_NCHW = torch.randn(3, 3, 64, 64)
    alone, together = backbone(image_NCHW[:1])["feature_map"], backbone(image_NCHW)["feature_map"]
    torch.testing.assert_close(alone[0], together[0])


def test_its_features_keep_their_size_however_bright_the_image():
    torch.manual_seed(0)
    backbone = GroupNormResNet("resnet_thin_gn")
    image_NCHW = torch.randn(2, 3, 64, 64)
    dim, bright = backbone(image_NCHW)["feature_map"], backbone(100 * image_NCHW)["feature_map"]
    torch.testing.assert_close(dim, bright, rtol=1e-2, atol=1e-2)


def test_the_configuration_and_the_module_know_the_same_names():
    assert GROUP_NORM_BACKBONES == BACKBONES
    assert all(name.startswith("resnet") for name in BACKBONES)


def test_an_unknown_backbone_is_refused_with_what_is_possible(make_config: MakeConfig):
    with pytest.raises(ModelError, match=r"no backbone 'resnet_thick'.*resnet18.*resnet_thin_gn"):
        make_config(vision_backbone="resnet_thick")


def test_frozen_batch_norm_with_random_weights_is_refused_with_a_reason(make_config: MakeConfig):
    with pytest.raises(ModelError, match=r"normalises nothing.*resnet_thin_gn"):
        check_fresh_backbone(make_config(vision_backbone="resnet18"))
    weights = "ResNet18_Weights.IMAGENET1K_V1"
    check_fresh_backbone(make_config(vision_backbone="resnet18", pretrained_backbone_weights=weights))
    check_fresh_backbone(make_config())
    check_fresh_backbone(make_config(vision_backbone="resnet18", cameras=0, env=3))
    loaded = make_config(vision_backbone="resnet18")
    loaded.pretrained_path = "somewhere"  # pyright: ignore[reportAttributeAccessIssue]
    check_fresh_backbone(loaded)


def test_a_policy_takes_its_backbone_in_acts_place(make_config: MakeConfig, make_batch: MakeBatch):
    policy = RegularizedACTPolicy(make_config())
    frozen, whole = policy.get_optim_params()
    assert len(whole["params"]) == len(list(policy.model.backbone.parameters()))
    assert len(frozen["params"]) + len(whole["params"]) == len(list(policy.parameters()))
    policy.train()(make_batch(policy.config))[0].backward()
    stem = policy.model.backbone.stem[0]
    assert isinstance(stem, nn.Conv2d)
    assert stem.weight.grad is not None
    assert stem.weight.grad.abs().max() > 0


def test_the_small_size_is_a_million_parameters_and_twenty_tokens(
    make_config: MakeConfig, make_batch: MakeBatch
):
    config = make_config(size=(96, 96), state=6, **MODEL_SIZES["small"], fused=True)
    policy = RegularizedACTPolicy(config).train()
    assert 0.9e6 < sum(p.numel() for p in policy.parameters()) < 1.3e6
    done = policy._training_forward(make_batch(config, samples=1), figures=False)  # pyright: ignore
    assert done.layout.total == 20
    check_fresh_backbone(config)
