"""The shares are those of the weights that made the action, and watching changes nothing."""

import copy
import math
from typing import Any

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn

from so101_policy import AttentionProbe, PolicyError, TokenLayout
from so101_policy.attention.shares import shares_of

CAMERAS = {"front": (32, 32), "wrist": (64, 96)}
"""Different sizes: 1 token and 2 x 3 tokens behind a ResNet that divides by 32."""

TINY: dict[str, Any] = {"device": "cpu", "chunk_size": 7, "n_action_steps": 7, "dim_model": 32, "n_heads": 4}
TINY |= {"dim_feedforward": 64, "n_encoder_layers": 1, "n_vae_encoder_layers": 1}
TINY |= {"pretrained_backbone_weights": None}


def make_policy(
    cameras: dict[str, tuple[int, int]] = CAMERAS, env: int = 0, state: int = 6, **options: Any
) -> ACTPolicy:
    torch.manual_seed(0)
    inputs = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, *size))
        for name, size in cameras.items()
    }
    if state:
        inputs[OBS_STATE] = PolicyFeature(FeatureType.STATE, (state,))
    if env:
        inputs[OBS_ENV_STATE] = PolicyFeature(FeatureType.ENV, (env,))
    config = ACTConfig(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (6,))},
        **TINY | options,
    )
    policy = ACTPolicy(config).eval()
    for attention in cross_attentions(
        policy
    ):  # sharper than at birth, so that shares differ from their base rates
        nn.init.normal_(attention.in_proj_weight, std=0.3)
        nn.init.normal_(attention.in_proj_bias, std=0.3)
    return policy


def make_batch(policy: ACTPolicy, size: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    batch = {
        key: torch.randn(size, *feature.shape, generator=generator)
        for key, feature in policy.config.input_features.items()
    }
    return batch | {
        ACTION: torch.randn(size, policy.config.chunk_size, 6, generator=generator),
        "action_is_pad": torch.zeros(size, policy.config.chunk_size, dtype=torch.bool),
    }


def cross_attentions(policy: ACTPolicy) -> list[nn.MultiheadAttention]:
    return [layer.multihead_attn for layer in policy.model.decoder.layers]


def softmax_of_inputs(policy: ACTPolicy, batch: dict[str, Tensor]) -> list[Tensor]:
    """(B, H, Q, S) per layer, the second way: softmax(QK^T / sqrt d) from inputs and in_proj weights."""
    captured: list[Tensor] = []

    def keep(attention: nn.MultiheadAttention, args: Any, kwargs: dict[str, Tensor]) -> None:
        width, heads = attention.embed_dim, attention.num_heads
        q_QBD = nn.functional.linear(
            kwargs["query"], attention.in_proj_weight[:width], attention.in_proj_bias[:width]
        )
        k_SBD = nn.functional.linear(
            kwargs["key"],
            attention.in_proj_weight[width : 2 * width],
            attention.in_proj_bias[width : 2 * width],
        )
        q_BHQD = q_QBD.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3).double()
        k_BHSD = k_SBD.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3).double()
        captured.append(torch.softmax(q_BHQD @ k_BHSD.transpose(-1, -2) / math.sqrt(width // heads), dim=-1))

    handles = [
        attention.register_forward_pre_hook(keep, with_kwargs=True) for attention in cross_attentions(policy)
    ]
    with torch.no_grad():
        policy.predict_action_chunk(batch)
    for handle in handles:
        handle.remove()
    return captured


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_decoder_layers": 3},
        {"pre_norm": True, "n_decoder_layers": 2},
        {"env": 4},
        {"env": 4, "cameras": {}},
        {"cameras": {"only": (96, 96)}},
        {"use_vae": False},
    ],
)
def test_shares_equal_an_independent_softmax_over_the_attention_inputs(
    options: dict[str, Any],
):
    policy = make_policy(**options)
    batch = make_batch(policy, size=1 if options == {} else 3)
    attention_BHQS = torch.cat(softmax_of_inputs(policy, batch), dim=1)

    with AttentionProbe(policy, per_head=True) as probe:
        policy.predict_action_chunk(batch)
    shares = probe.shares
    assert shares is not None
    assert shares.heads is not None

    order = ["latent"] + ["state"] * (options.get("state", 6) > 0) + ["environment"] * ("env" in options)
    sizes = [(name, 1) for name in order]
    cameras = options.get("cameras", CAMERAS)
    sizes += [(name, math.ceil(h / 32) * math.ceil(w / 32)) for name, (h, w) in cameras.items()]
    assert attention_BHQS.shape[-1] == sum(size for _, size in sizes)
    at = 0
    for name, size in sizes:
        mass_BHQ = attention_BHQS[..., at : at + size].sum(-1)
        found = shares.cameras[name] if name in cameras else getattr(shares, name)
        assert found == pytest.approx(mass_BHQ.mean().item(), abs=1e-5)
        assert shares.heads[name] == pytest.approx(mass_BHQ.mean((0, 2)).tolist(), abs=1e-5)
        assert shares.uniform[name] == pytest.approx(size / attention_BHQS.shape[-1])
        if name == "state":
            assert shares.state_p95 == pytest.approx(
                torch.quantile(mass_BHQ, 0.95, interpolation="higher").item(), abs=1e-5
            )
        at += size
    vision_BHQV = attention_BHQS[..., len(order) :]
    if vision_BHQV.shape[-1] > 1:
        p_BHQV = vision_BHQV / vision_BHQV.sum(-1, keepdim=True)
        entropy = torch.special.entr(p_BHQV).sum(-1).mean().item() / math.log(vision_BHQV.shape[-1])
        assert shares.entropy == pytest.approx(entropy, abs=1e-5)
    assert shares.latent + shares.state + shares.environment + shares.vision == pytest.approx(1, abs=1e-5)
    assert sum(shares.cameras.values()) == pytest.approx(shares.vision, abs=1e-6)


def test_shares_equal_the_weights_that_multihead_attention_returns_per_head():
    policy = make_policy()
    batch, inputs = make_batch(policy), []
    (attention,) = cross_attentions(policy)
    handle = attention.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.append(kwargs), with_kwargs=True
    )
    policy.predict_action_chunk(batch)
    handle.remove()
    with torch.no_grad():
        _, weights_BHQS = attention(**inputs[0], need_weights=True, average_attn_weights=False)

    with AttentionProbe(policy, per_head=True) as probe:
        policy.predict_action_chunk(batch)

    assert probe.shares is not None
    assert probe.shares.heads is not None
    assert probe.shares.heads["state"] == pytest.approx(weights_BHQS[0, :, :, 1].mean(-1).tolist(), abs=1e-6)


def test_watching_leaves_the_actions_bit_identical():
    policy = make_policy(n_decoder_layers=2)
    batch = make_batch(policy)
    before = policy.predict_action_chunk(batch)
    with AttentionProbe(policy):
        watched = policy.predict_action_chunk(batch)
    after = policy.predict_action_chunk(batch)
    assert torch.equal(before, watched)
    assert torch.equal(before, after)


def test_nothing_stays_on_the_modules_after_leaving():
    policy = make_policy()
    before = {name: set(vars(module)) for name, module in policy.named_modules()}
    with AttentionProbe(policy) as probe:
        policy.predict_action_chunk(make_batch(policy))
    assert {name: set(vars(module)) for name, module in policy.named_modules()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in policy.modules())
    shares = probe.shares
    policy.predict_action_chunk(make_batch(policy))
    assert probe.shares is shares


def test_hooks_are_removed_when_the_forward_pass_fails():
    policy = make_policy()
    with pytest.raises(RuntimeError), AttentionProbe(policy):
        policy.predict_action_chunk({key: value[..., :3] for key, value in make_batch(policy).items()})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in policy.modules())


def test_a_failed_forward_pass_leaves_nothing_to_the_next():
    policy = make_policy()
    batch = make_batch(policy)
    with AttentionProbe(policy) as probe:
        policy.predict_action_chunk(batch)
        expected = probe.shares
        with pytest.raises(RuntimeError):
            policy.predict_action_chunk(batch | {"observation.images.wrist": torch.zeros(1, 5, 64, 96)})
        assert probe.shares is None
        policy.predict_action_chunk(batch)
    assert probe.shares == expected


def test_training_is_left_alone_and_gives_no_shares():
    policy = make_policy()
    batch = make_batch(policy)

    def loss_and_gradients() -> list[Tensor]:
        policy.train().zero_grad()
        torch.manual_seed(3)
        loss, _ = policy.forward(batch)
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in policy.parameters() if p.grad is not None)]

    alone = loss_and_gradients()
    with AttentionProbe(policy) as probe:
        watched = loss_and_gradients()
        assert probe.shares is None
    assert len(alone) == len(watched)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))


def test_a_model_can_be_deep_copied_while_watched_and_the_copy_is_not_watched():
    policy = make_policy()
    batch = make_batch(policy)
    expected = policy.predict_action_chunk(batch)
    with AttentionProbe(policy) as probe:
        policy.predict_action_chunk(batch)
        shares = probe.shares
        twin = copy.deepcopy(policy)
        assert torch.equal(twin.predict_action_chunk(batch), expected)
        assert probe.shares is shares
    later = copy.deepcopy(policy)
    assert torch.equal(twin.predict_action_chunk(batch), expected)
    assert torch.equal(later.predict_action_chunk(batch), expected)
    assert probe.shares is shares


def test_equal_keys_give_the_base_rates_and_full_entropy():
    policy = make_policy()
    (attention,) = cross_attentions(policy)
    with torch.no_grad():  # no key weights, so every key is the same
        attention.in_proj_weight[32:64] = 0
    with AttentionProbe(policy, per_head=True) as probe:
        policy.predict_action_chunk(make_batch(policy, 2))
    shares = probe.shares
    assert shares is not None
    assert shares.heads is not None
    found = {"latent": shares.latent, "state": shares.state, "environment": shares.environment}
    found |= {"vision": shares.vision, "entropy": shares.entropy} | shares.cameras
    assert found == pytest.approx(shares.uniform, abs=1e-6)
    assert set(shares.heads) == set(shares.uniform)
    assert shares.uniform["vision"] == pytest.approx(7 / 9)
    assert shares.state_p95 == pytest.approx(1 / 9)


LAYOUT = TokenLayout(slice(0, 1), slice(1, 2), None, {"front": slice(2, 3), "wrist": slice(3, 4)}, 4)


def shares_of_row(*row: float, layout: TokenLayout = LAYOUT):
    return shares_of([torch.tensor(row).reshape(1, 1, 1, -1)], layout)


def test_a_row_worked_out_by_hand():
    shares = shares_of_row(0.05, 0.70, 0.15, 0.10)
    assert shares.entropy == pytest.approx(0.970951, abs=1e-6)  # H(.6, .4) = .673012 nat, over log 2
    assert shares[:4] == pytest.approx((0.05, 0.70, 0.0, 0.25))
    assert shares.cameras == pytest.approx({"front": 0.15, "wrist": 0.10})


@pytest.mark.parametrize(
    ("vision", "entropy"),
    [
        ((0.5, 0.5), 1.0),
        ((1.0, 0.0), 0.0),
        ((0.0, 0.0), 0.0),
        ((5e-9, 5e-9), 1.0),
        ((6e-20, 4e-20), 0.970951),
    ],
)
def test_entropy_is_finite_and_right_at_its_edges(vision: tuple[float, float], entropy: float):
    assert shares_of_row(0.5, 0.5, *vision).entropy == pytest.approx(entropy, abs=1e-5)


@pytest.mark.parametrize("count", [2, 18, 600])
def test_uniform_vision_has_entropy_one_whatever_the_number_of_tokens(count: int):
    layout = TokenLayout(slice(0, 1), slice(1, 2), None, {"front": slice(2, 2 + count)}, 2 + count)
    row = torch.full((1, 2, 3, 2 + count), 1 / (2 + count))
    assert shares_of([row], layout).entropy == pytest.approx(1, abs=1e-5)


def test_a_single_vision_token_has_no_entropy():
    layout = TokenLayout(slice(0, 1), slice(1, 2), None, {"front": slice(2, 3)}, 3)
    shares = shares_of_row(0.2, 0.3, 0.5, layout=layout)
    assert shares.entropy == 0
    assert shares.uniform["entropy"] == 0


def test_the_95th_percentile_shows_the_head_that_the_mean_hides():
    weights = torch.tensor([[0.1, 0.0, 0.5, 0.4]] * 9 + [[0.0, 0.98, 0.01, 0.01]]).reshape(1, 10, 1, 4)
    shares = shares_of([weights], LAYOUT)
    assert shares.state == pytest.approx(0.098)
    assert shares.state_p95 > 0.5


def test_half_precision_weights_are_summed_in_single_precision():
    weights = torch.full((128, 8, 100, 4), 0.25, dtype=torch.float16)  # its sum, 102400, is beyond float16
    assert shares_of([weights], LAYOUT).state == pytest.approx(0.25)


def test_a_log_line_is_plain_data_and_names_heads_only_on_request():
    weights = torch.full((1, 2, 1, 4), 0.25)
    assert "heads" not in shares_of([weights], LAYOUT).as_dict()
    data = shares_of([weights], LAYOUT, per_head=True).as_dict()
    assert data["heads"]["wrist"] == [0.25, 0.25]
    assert data["uniform"]["state"] == 0.25


def test_weights_that_do_not_fit_the_layout_are_refused():
    with pytest.raises(PolicyError, match="attends to 5 tokens, but the inputs give 4"):
        shares_of([torch.full((1, 1, 1, 5), 0.2)], LAYOUT)


def test_a_module_that_is_no_act_is_refused_by_name():
    with pytest.raises(PolicyError, match="Linear"):
        AttentionProbe(nn.Linear(2, 2))


def test_a_probe_watches_once_at_a_time():
    probe = AttentionProbe(make_policy())
    with probe, pytest.raises(PolicyError, match="already watching"), probe:
        pass


def test_two_probes_agree_and_leave_in_any_order():
    policy = make_policy()
    first, second = AttentionProbe(policy), AttentionProbe(policy.model)
    first.__enter__()
    second.__enter__()
    policy.predict_action_chunk(make_batch(policy))
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert first.shares == second.shares is not None
