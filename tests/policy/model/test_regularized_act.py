"""With everything off it is LeRobot's ACT to the last bit; with something on it trains, saves, loads and runs."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from torch import Tensor

from so101_policy import AttentionProbe
from so101_policy.model.configuration_regularized_act import ModelError, RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy, from_act
from so101_policy.regularizer.config import PRESETS, RegularizerConfig

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]
STOCK: dict[str, Any] = {"vision_backbone": "resnet18", "size": (32, 32)}


def pair(make_config: MakeConfig, **options: Any) -> tuple[ACTPolicy, RegularizedACTPolicy]:
    """LeRobot's and ours from the same seed."""
    policies: list[Any] = []
    for kind, policy_class in ((ACTConfig, ACTPolicy), (RegularizedACTConfig, RegularizedACTPolicy)):
        torch.manual_seed(0)
        policies.append(policy_class(make_config(kind, **STOCK | options)))
    return policies[0], policies[1]


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_with_everything_off_loss_gradients_and_random_numbers_are_stock(
    use_vae: bool, training: bool, make_config: MakeConfig, make_batch: MakeBatch
):
    stock, ours = pair(make_config, use_vae=use_vae)
    batch = make_batch(stock.config)
    assert [*stock.state_dict()] == [*ours.state_dict()]
    results: list[Any] = []
    for policy in (stock, ours):
        torch.manual_seed(1)
        loss, figures = policy.train(training)(batch)
        loss.backward()
        results.append((loss.item(), figures, torch.get_rng_state().tolist()))
    assert results[0] == results[1]
    for (name, p), q in zip(stock.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(p, q), name
        assert p.grad is None or torch.equal(p.grad, q.grad if q.grad is not None else torch.empty(0)), name


@pytest.mark.parametrize("use_vae", [True, False])
def test_with_everything_off_the_terms_add_up_to_the_stock_loss(
    use_vae: bool, make_config: MakeConfig, make_batch: MakeBatch
):
    _, ours = pair(make_config, use_vae=use_vae)
    batch = make_batch(ours.config)
    for training in (True, False):
        ours.train(training)
        torch.manual_seed(1)
        asked, _ = ours(batch)
        torch.manual_seed(1)
        terms = ours.loss_terms(batch)
        assert torch.equal(terms.loss(ours.config.kl_weight), asked)
        assert terms.valid_count.item() == (~batch["action_is_pad"]).sum().item() * 3
        assert terms.attention_loss is None
        assert terms.figures == {}


def test_inference_without_isolation_is_stock_whatever_the_regularizer(
    make_config: MakeConfig, make_batch: MakeBatch
):
    regularizer = RegularizerConfig(preset="phase3", state_dropout=0.5, state_noise=0.3, camera_dropout=0.2)
    stock, _ = pair(make_config)
    ours = RegularizedACTPolicy(make_config(**STOCK, regularizer=regularizer))
    ours.load_state_dict(stock.state_dict(), strict=False)
    batch = make_batch(ours.config)
    assert torch.equal(stock.predict_action_chunk(batch), ours.predict_action_chunk(batch))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_a_step_with_figures(preset: str, make_config: MakeConfig, make_batch: MakeBatch):
    torch.manual_seed(0)
    config = make_config(regularizer=RegularizerConfig(preset=preset), fused=True)
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-3)
    losses: list[float] = []
    for _ in range(3):
        loss, figures = policy(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        policy.update()
        losses.append(loss.item())
    policy.observe_heldout(0.3)
    assert all(torch.tensor(losses).isfinite())
    assert all(isinstance(x, float) for x in figures.values())
    assert {"l1_loss", "kld_loss", "share_state", "share_vision", "share_front"} <= set(figures)
    shares = figures["share_latent"] + figures["share_state"] + figures["share_vision"]
    assert shares == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rollout", [False, True])
def test_a_ceiling_pulls_the_share_down(rollout: bool, make_config: MakeConfig, make_batch: MakeBatch):
    torch.manual_seed(0)
    wish: dict[str, Any] = {"attention": "rollout"} if rollout else {}
    regularizer = RegularizerConfig(isolation=True, weight=5.0, ceiling=0.02, **wish)
    config = make_config(regularizer=regularizer, dropout=0.0, use_vae=False)
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    ratios: list[Tensor] = []
    for _ in range(30):
        terms = policy.loss_terms(batch)
        terms.loss(0).backward()
        optimizer.step()
        optimizer.zero_grad()
        ratios.append(terms.figures["ratio"])
    assert ratios[-1] < 0.5 * ratios[0]
    assert terms.attention_loss is not None


def test_figures_cost_nothing_where_nobody_asks(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(regularizer=RegularizerConfig(preset="recommended"), dropout=0.0)
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config)
    terms: list[Any] = []
    for figures in (True, False):
        torch.manual_seed(2)
        terms.append(policy.loss_terms(batch, figures))
    assert terms[1].figures == {}
    assert torch.equal(terms[0].loss(10.0), terms[1].loss(10.0))


def test_padded_actions_and_samples_without_state_have_no_part_in_the_attention_loss(
    make_config: MakeConfig, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
):
    config = make_config(
        regularizer=RegularizerConfig(preset="phase3", state_dropout=0.5, camera_dropout=0.4)
    )
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config, samples=16)
    seen: list[Any] = []
    monkeypatch.setattr(
        policy.attention_regularizer, "forward", lambda record, figures: seen.append(record) or (0, {})
    )
    torch.manual_seed(0)
    done = policy._training_forward(batch, figures=True)  # pyright: ignore[reportPrivateUsage]
    policy._attention(done, batch["action_is_pad"], True)  # pyright: ignore[reportPrivateUsage]
    assert done.losses is not None
    blind_B = done.losses.cameras_BC.all(-1) | done.losses.state_B
    assert blind_B.any()
    assert torch.equal(seen[0].valid_BQ, ~batch["action_is_pad"] & ~blind_B[:, None])


def test_a_checkpoint_carries_the_regularizer_and_its_state(
    make_config: MakeConfig, make_batch: MakeBatch, tmp_path: Path
):
    regularizer = RegularizerConfig(preset="isolation_band_dropout", warmup_end=10)
    config = make_config(regularizer=regularizer, use_vae=False)
    policy, batch = RegularizedACTPolicy(config).train(), make_batch(config)
    policy(batch)
    for _ in range(4):
        policy.update()
    policy.save_pretrained(tmp_path)

    read = PreTrainedConfig.from_pretrained(tmp_path)
    assert isinstance(read, RegularizedACTConfig)
    assert read.regularizer == regularizer
    loaded = RegularizedACTPolicy.from_pretrained(tmp_path, strict=True).train()
    copied = copy.deepcopy(policy)
    figures: list[dict[str, float]] = []
    for each in (policy, loaded, copied):
        torch.manual_seed(0)
        figures.append(each(batch)[1])
    assert figures[0]["lambda"] == pytest.approx(0.4)
    assert figures[0] == figures[1] == figures[2]


@pytest.mark.parametrize("source", ["policy", "folder"])
def test_an_act_checkpoint_is_fine_tuned_with_a_regularizer(
    source: str, make_config: MakeConfig, make_batch: MakeBatch, tmp_path: Path
):
    torch.manual_seed(0)
    act = ACTPolicy(make_config(ACTConfig, **STOCK)).eval()
    act.save_pretrained(tmp_path)
    policy = from_act(
        act if source == "policy" else tmp_path,
        RegularizerConfig(state_dropout=0.3),
        fused=True,
        optimizer_lr=3e-5,
    )
    batch = make_batch(policy.config)
    assert torch.equal(policy.eval().predict_action_chunk(batch), act.predict_action_chunk(batch))
    assert policy.config.type == "regularized_act"
    assert (policy.config.fused, policy.config.optimizer_lr) == (True, 3e-5)
    assert policy.model.modality_dropout is not None
    assert policy.model.modality_dropout.state_token is not None
    loss, _ = policy.train()(batch)
    loss.backward()
    assert loss.isfinite()


def test_overrides_that_do_not_fit_the_weights_are_refused(make_config: MakeConfig):
    act = ACTPolicy(make_config(ACTConfig, **STOCK))
    with pytest.raises(ModelError, match="do not fit the overrides"):
        from_act(act, RegularizerConfig(), chunk_size=9)
    with pytest.raises(ModelError, match="do not fit the overrides"):
        from_act(act, RegularizerConfig(), vision_backbone="resnet_thin_gn")


@pytest.mark.parametrize(("isolation", "warnings"), [(False, 1), (True, 0)])
def test_a_loss_on_attention_without_isolation_warns_once(
    isolation: bool, warnings: int, make_config: MakeConfig, caplog: pytest.LogCaptureFixture
):
    regularizer = RegularizerConfig(weight=1.0, ceiling=0.2, isolation=isolation)
    with caplog.at_level(logging.WARNING):
        RegularizedACTPolicy(make_config(regularizer=regularizer))
    assert [("steers where the decoder looks" in r.message) for r in caplog.records] == [True] * warnings


def test_the_probe_reads_it_and_the_queue_serves_it(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(regularizer=RegularizerConfig(preset="recommended"))
    policy, batch = RegularizedACTPolicy(config), make_batch(config)
    chunk_BTA = policy.predict_action_chunk(batch)
    with AttentionProbe(policy.eval()) as probe:
        actions = [policy.select_action(batch) for _ in range(config.n_action_steps)]
    assert torch.equal(torch.stack(actions, dim=1), chunk_BTA[:, : config.n_action_steps])
    assert probe.shares is not None
    assert set(probe.shares.cameras) == {"front", "wrist"}


def test_lerobot_finds_policy_and_processors_by_name(make_config: MakeConfig):
    assert get_policy_class("regularized_act") is RegularizedACTPolicy
    config = make_config()
    statistics = {k: {"mean": torch.zeros(1), "std": torch.ones(1)} for k in config.input_features or {}}
    preprocess, _ = make_pre_post_processors(config, dataset_stats=statistics)  # pyright: ignore
    assert [type(step).__name__ for step in preprocess.steps][-1] == "NormalizerProcessorStep"
