"""The fused training forward gives LeRobot's loss and gradients; its dropout is dropout."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES
from torch import Tensor, nn

from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.model.training_forward import training_forward
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.transformer_layers import attend, attend_to_a_constant, dropout

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]
Sharpen = Callable[[nn.Module], nn.Module]

CASES: list[dict[str, Any]] = [
    {},
    {"use_vae": False},
    {"n_decoder_layers": 2},
    {"pre_norm": True, "n_decoder_layers": 2},
    {"pre_norm": True, "n_vae_encoder_layers": 1},
    {"cameras": 1},
    {"env": 4},
    {"env": 4, "cameras": 0},
    {"feedforward_activation": "gelu", "vision_backbone": "resnet18"},
]


def gradients(policy: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(3)  # the latent's draw
    policy.zero_grad()
    loss, _ = policy.train()(batch)
    loss.backward()
    return loss, {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in policy.named_parameters()
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_are_lerobots(
    case: dict[str, Any], make_config: MakeConfig, make_batch: MakeBatch, sharpen: Sharpen
):
    config = make_config(dropout=0.0, **case)
    policy = sharpen(RegularizedACTPolicy(config))
    batch = make_batch(config)
    asked, asked_gradients = gradients(policy, batch)
    config.fused = True
    found, found_gradients = gradients(policy, batch)

    torch.testing.assert_close(found, asked, rtol=1e-5, atol=1e-5)
    for name, gradient in asked_gradients.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            found_gradients[name] / scale, gradient / scale, rtol=0, atol=1e-5, msg=name
        )


def test_cameras_of_different_sizes_are_seen_one_by_one(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(dropout=0.0, fused=True)
    config.input_features["observation.images.wrist"].shape = (3, 64, 64)  # pyright: ignore[reportOptionalSubscript]
    policy, batch = RegularizedACTPolicy(config), make_batch(config)
    found, _ = gradients(policy, batch)
    config.fused = False
    torch.testing.assert_close(found, gradients(policy, batch)[0])


@pytest.mark.parametrize("decoder_layers", [1, 2])
def test_the_recorded_attention_is_that_of_lerobots_layers(
    decoder_layers: int, make_config: MakeConfig, make_batch: MakeBatch, sharpen: Sharpen
):
    config = make_config(dropout=0.0, n_decoder_layers=decoder_layers, use_vae=False)
    policy = sharpen(RegularizedACTPolicy(config)).eval()
    batch = make_batch(config)
    seen: dict[str, Tensor] = {}
    for name, module in policy.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(
                lambda m, a, k: (a, k | {"average_attn_weights": False}), with_kwargs=True
            )
            module.register_forward_hook(lambda m, a, out, name=name: seen.update({name: out[1]}))
    with torch.no_grad():
        done = training_forward(policy.model, batch, explain=True, explain_encoder=True)
        actions_BTA = policy.predict_action_chunk(batch)
    torch.testing.assert_close(done.actions_BTA, actions_BTA)
    for index, log_BHTS in enumerate(done.cross):
        assert log_BHTS.dtype == torch.float32
        torch.testing.assert_close(log_BHTS.exp(), seen[f"model.decoder.layers.{index}.multihead_attn"])
    for index, p_BSS in enumerate(done.encoder):
        torch.testing.assert_close(p_BSS, seen[f"model.encoder.layers.{index}.self_attn"].mean(1))
    assert len(done.cross) == decoder_layers
    assert len(done.encoder) == config.n_encoder_layers
    assert list(done.layout.cameras) == ["front", "wrist"]
    assert done.layout.total == 2 + 2 * 2


def test_asking_for_the_attention_changes_no_number(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(dropout=0.0, use_vae=False)
    model, batch = RegularizedACTPolicy(config).model.train(), make_batch(config)
    plain, explained = training_forward(model, batch), training_forward(model, batch, explain=True)
    assert plain.cross == []
    torch.testing.assert_close(plain.actions_BTA, explained.actions_BTA)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_that_many_and_keeps_the_mean(p: float):
    torch.manual_seed(0)
    x = torch.ones(300, 1001, requires_grad=True)
    y = dropout(x, p)
    kept = y > 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.003)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)), rtol=2e-5, atol=0)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    rows, columns = kept.float().mean(0), kept.float().mean(1)
    assert rows.var().item() == pytest.approx(p * (1 - p) / 300, rel=0.2)  # as independent draws have it
    assert columns.var().item() == pytest.approx(p * (1 - p) / 1001, rel=0.35)


def test_dropout_follows_the_seed_and_is_nothing_at_zero():
    x = torch.randn(7, 5)
    assert dropout(x, 0.0) is x
    draws: list[Tensor] = []
    for _ in range(2):
        torch.manual_seed(4)
        draws.append(dropout(x, 0.3))
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], dropout(x, 0.3))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_with_dropout_the_decoders_first_self_attention_is_lerobots_in_distribution(
    pre_norm: bool, make_config: MakeConfig, sharpen: Sharpen
):
    config = make_config(dropout=0.4, pre_norm=pre_norm, n_heads=2)
    attention = sharpen(RegularizedACTPolicy(config).model.train()).decoder.layers[0].self_attn  # pyright: ignore
    torch.manual_seed(1)
    position_1TD, value_11D = torch.randn(1, 6, 16), torch.randn(1, 1, 16)
    samples = 20_000
    with torch.no_grad():
        found_BTD = attend_to_a_constant(attention, position_1TD + value_11D, value_11D, 0.4, samples)
        query_TBD = (position_1TD + value_11D).transpose(0, 1).expand(-1, samples, -1)
        asked_TBD = attention(query_TBD, query_TBD, value_11D.expand(6, samples, -1))[0]
    asked_BTD = asked_TBD.transpose(0, 1)
    spread = asked_BTD.std(0)
    assert spread.min() > 0.01  # dropout is at work on a constant too
    noise = 5 * spread / samples**0.5
    assert ((found_BTD.mean(0) - asked_BTD.mean(0)).abs() < 2**0.5 * noise).all()
    torch.testing.assert_close(found_BTD.std(0), spread, rtol=0.05, atol=0)


def test_attention_with_dropout_has_the_mean_of_attention_without():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, dropout=0.3)
    query_BQD, key_BKD, value_BKD = torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    with torch.no_grad():
        exact, log_p = attend(attention, query_BQD, key_BKD, value_BKD, 0.0, explain=True)
        many = [x.expand(20_000, -1, -1) for x in (query_BQD, key_BKD, value_BKD)]
        for explain in (False, True):
            noisy, log_noisy = attend(attention, *many, 0.3, explain=explain)
            torch.testing.assert_close(noisy.mean(0), exact[0], rtol=0, atol=0.02)
            assert noisy.std(0).min() > 0.01
    assert log_p is not None
    assert log_noisy is not None
    torch.testing.assert_close(log_noisy[:1], log_p)  # recorded before dropout


def test_with_dropout_the_whole_model_has_lerobots_mean_and_spread(
    make_config: MakeConfig, make_batch: MakeBatch, sharpen: Sharpen
):
    config = make_config(dropout=0.3, use_vae=False, n_encoder_layers=1, cameras=1, size=(32, 32))
    policy = sharpen(RegularizedACTPolicy(config)).train()
    one = make_batch(config, samples=1)
    batch = {key: value.expand(800, *value.shape[1:]) for key, value in one.items()}
    images = [batch[key] for key in config.image_features]
    torch.manual_seed(2)
    with torch.no_grad():
        found_BTA = training_forward(policy.model, batch).actions_BTA
        asked_BTA = policy.model(batch | {OBS_IMAGES: images})[0]
    noise = asked_BTA.std(0) / 800**0.5
    assert ((found_BTA.mean(0) - asked_BTA.mean(0)).abs() < 6 * noise).all()
    torch.testing.assert_close(found_BTA.std(0), asked_BTA.std(0), rtol=0.2, atol=0)


def test_it_trains_lerobots_own_policy_too(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(ACTConfig, dropout=0.0, size=(32, 32))
    policy, batch = ACTPolicy(config).train(), make_batch(config)
    torch.manual_seed(3)
    asked, figures = policy(batch)
    torch.manual_seed(3)
    done = training_forward(policy.model, batch)
    valid_BT1 = ~batch["action_is_pad"].unsqueeze(-1)
    error = ((done.actions_BTA - batch[ACTION]).abs() * valid_BT1).sum() / (valid_BT1.sum() * 3)
    assert error.item() == pytest.approx(figures["l1_loss"], abs=1e-5)
    assert asked.requires_grad


@pytest.mark.parametrize("preset", ["recommended", "phase3"])
def test_half_precision_gives_nearly_the_same_and_a_record_in_full(
    preset: str, make_config: MakeConfig, make_batch: MakeBatch
):
    torch.manual_seed(0)
    config = make_config(dropout=0.0, regularizer=RegularizerConfig(preset=preset, state_dropout=0.3))
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config)
    losses: list[Tensor] = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = policy.loss_terms(batch)
            losses.append(terms.loss(10.0))
        assert all(x.dtype == torch.float32 for x in terms.figures.values())
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.02)
    losses[1].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
