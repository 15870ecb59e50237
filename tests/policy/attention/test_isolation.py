"""An isolated encoder keeps the state out of the vision tokens, exactly, and the decoder still gets it."""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.utils.constants import OBS_ENV_STATE, OBS_IMAGES, OBS_STATE
from torch import Tensor, nn

from so101_policy import AttentionProbe
from so101_policy.attention.isolation import isolation_mask
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.model.training_forward import training_forward
from so101_policy.regularizer.config import RegularizerConfig

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]
Sharpen = Callable[[nn.Module], nn.Module]

N_ALONE = 3
"""Latent, joint state, environment state."""


@pytest.fixture
def isolated(make_config: MakeConfig, sharpen: Sharpen) -> RegularizedACTPolicy:
    torch.manual_seed(0)
    config = make_config(env=2, regularizer=RegularizerConfig(isolation=True), dropout=0.0)
    policy = sharpen(RegularizedACTPolicy(config))
    assert isinstance(policy, RegularizedACTPolicy)
    return policy.eval()


def encoder_output(policy: RegularizedACTPolicy, batch: dict[str, Tensor]) -> Tensor:
    """(B, S, D)"""
    found: list[Tensor] = []
    handle = policy.model.encoder.register_forward_hook(lambda m, a, out: found.append(out))
    policy.model(batch | {OBS_IMAGES: [batch[key] for key in policy.config.image_features]})
    handle.remove()
    return found[0].transpose(0, 1)


def reach(policy: RegularizedACTPolicy, batch: dict[str, Tensor], token: slice, key: str) -> float:
    """Largest |d(these tokens behind the encoder) / d(input)|."""
    batch = batch | {key: batch[key].clone().requires_grad_()}
    out = encoder_output(policy, batch)[:, token]
    (gradient,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), batch[key], allow_unused=True)
    return 0.0 if gradient is None else float(gradient.abs().max())


def test_each_group_sees_itself_only():
    seen = ~isolation_mask(5, 2)
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
    ]


def test_no_gradient_goes_from_state_to_vision_or_from_vision_to_state(
    isolated: RegularizedACTPolicy, make_batch: MakeBatch
):
    batch, image = make_batch(isolated.config), "observation.images.front"
    vision, latent, state, env = slice(N_ALONE, None), slice(0, 1), slice(1, 2), slice(2, 3)
    for key in (OBS_STATE, OBS_ENV_STATE):
        assert reach(isolated, batch, vision, key) == 0
        assert reach(isolated, batch, latent, key) == 0
    for token in (latent, state, env):
        assert reach(isolated, batch, token, image) == 0
    assert reach(isolated, batch, state, OBS_STATE) > 1e-3
    assert reach(isolated, batch, env, OBS_STATE) == 0
    assert reach(isolated, batch, vision, image) > 1e-3


def test_without_isolation_the_state_is_copied_into_the_vision_tokens(
    make_config: MakeConfig, make_batch: MakeBatch, sharpen: Sharpen
):
    policy: Any = sharpen(RegularizedACTPolicy(make_config(env=2))).eval()
    assert reach(policy, make_batch(policy.config), slice(N_ALONE, None), OBS_STATE) > 1e-3


def test_the_latent_does_not_reach_the_vision_tokens(isolated: RegularizedACTPolicy, make_batch: MakeBatch):
    batch = make_batch(isolated.config)
    before = encoder_output(isolated, batch)
    with torch.no_grad():
        isolated.model.encoder_latent_input_proj.bias.add_(1.0)
    after = encoder_output(isolated, batch)
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.equal(before[:, :1], after[:, :1])


def test_the_decoder_still_sees_the_state(isolated: RegularizedACTPolicy, make_batch: MakeBatch):
    batch = make_batch(isolated.config)
    other = batch | {OBS_STATE: batch[OBS_STATE] + 1}
    with AttentionProbe(isolated) as probe:
        actions = isolated.predict_action_chunk(batch)
    assert (actions - isolated.predict_action_chunk(other)).abs().max() > 1e-3
    assert probe.shares is not None
    assert probe.shares.state > 0


@pytest.mark.parametrize("with_encoder_attention", [False, True])
def test_training_and_inference_use_the_same_mask(
    with_encoder_attention: bool, isolated: RegularizedACTPolicy, make_batch: MakeBatch
):
    isolated.config.use_vae = False  # so that both see a latent of zeros
    batch = make_batch(isolated.config)
    done = training_forward(
        isolated.model, batch, isolated=True, with_encoder_attention=with_encoder_attention
    )
    torch.testing.assert_close(done.actions_BTA, isolated.predict_action_chunk(batch))
    for p_BSS in done.encoder:
        assert (p_BSS[:, isolation_mask(p_BSS.shape[-1], N_ALONE)] == 0).all()
        torch.testing.assert_close(p_BSS.sum(-1), torch.ones(p_BSS.shape[:2]))


def test_training_is_isolated_as_inference_is(isolated: RegularizedACTPolicy, make_batch: MakeBatch):
    isolated.config.use_vae = False  # so that both see a latent of zeros
    batch = make_batch(isolated.config)
    expected = isolated.loss_terms(batch).l1_sum
    isolated.train()
    torch.testing.assert_close(isolated.loss_terms(batch).l1_sum, expected)


def test_it_is_on_in_evaluation_of_the_loss_and_in_gradients_of_training(
    isolated: RegularizedACTPolicy, make_batch: MakeBatch
):
    batch = make_batch(isolated.config)
    batch["observation.images.front"].requires_grad_()
    asked, _ = isolated(batch)
    isolated.train()
    loss, figures = isolated(batch)
    assert asked.item() > 0
    assert figures["share_state"] > 0
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in isolated.parameters())


def test_a_deep_copy_and_a_loaded_checkpoint_are_isolated_too(
    isolated: RegularizedACTPolicy, make_batch: MakeBatch, tmp_path: Path
):
    batch = make_batch(isolated.config)
    isolated.save_pretrained(tmp_path)
    loaded = RegularizedACTPolicy.from_pretrained(tmp_path, strict=True)
    copied = copy.deepcopy(isolated)
    actions = [x.predict_action_chunk(batch) for x in (isolated, copied, loaded, copy.deepcopy(loaded))]
    assert all(torch.equal(a, b) for a, b in pairwise(actions))
    for policy in (copied, loaded):
        assert reach(policy, batch, slice(N_ALONE, None), OBS_STATE) == 0
        hooks = [layer.self_attn._forward_pre_hooks for layer in policy.model.encoder.layers]  # pyright: ignore
        assert [len(x) for x in hooks] == [1, 1]


def test_weights_have_the_names_they_have_without(isolated: RegularizedACTPolicy, make_config: MakeConfig):
    plain = RegularizedACTPolicy(make_config(env=2))
    names = {n for n in isolated.state_dict() if not n.startswith("attention_regularizer.")}
    assert names == set(plain.state_dict())
