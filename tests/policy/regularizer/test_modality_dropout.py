"""Samples lose modalities as often as asked, never all of them, and everywhere the modality is read."""

from collections.abc import Callable

import pytest
import torch
from lerobot.utils.constants import OBS_STATE
from torch import Tensor, nn

from so101_policy.errors import RegularizerError
from so101_policy.model.configuration_regularized_act import ModelError, RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.model.training_forward import training_forward
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.regularizer.modality_dropout import Losses, ModalityDropout, draw_losses, keep_one

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]
Sharpen = Callable[[nn.Module], nn.Module]
CPU = torch.device("cpu")


def draw(
    samples: int = 20_000, joints: int = 5, cameras: int = 2, spare: bool = False, **chances: float
) -> Losses:
    torch.manual_seed(0)
    return draw_losses(RegularizerConfig(**chances), samples, joints, cameras, spare, CPU)  # pyright: ignore


def rate(lost: Tensor) -> list[float]:
    return lost.float().mean(0).flatten().tolist()


def test_whole_states_joints_and_cameras_are_lost_as_often_as_asked():
    assert rate(draw(state_dropout=0.3).state_B) == pytest.approx([0.3], abs=0.01)
    assert rate(draw(state_dim_dropout=0.2).joints_BP) == pytest.approx([0.2] * 5, abs=0.01)
    assert rate(draw(camera_dropout=0.1).cameras_BC) == pytest.approx([0.1] * 2, abs=0.01)
    nothing = draw()
    assert not nothing.joints_BP.any()
    assert not nothing.cameras_BC.any()


def test_losses_are_independent_of_each_other():
    losses = draw(state_dropout=0.3, camera_dropout=0.4, joints=4, spare=True)
    for one, other in ((losses.state_B, losses.cameras_BC[:, 0]), losses.cameras_BC.unbind(1)):
        assert rate(one & other)[0] == pytest.approx(rate(one)[0] * rate(other)[0], abs=0.01)


@pytest.mark.parametrize("cameras", [0, 1, 2])
def test_no_sample_loses_everything(cameras: int):
    losses = draw(state_dropout=0.8, state_dim_dropout=0.5, camera_dropout=0.8, cameras=cameras)
    assert not (losses.joints_BP.all(-1) & losses.cameras_BC.all(-1)).any()
    assert torch.equal(losses.state_B, losses.joints_BP.all(-1))
    if cameras:
        assert (losses.state_B & ~losses.cameras_BC.all(-1)).any()
        assert (~losses.state_B & losses.cameras_BC.all(-1)).any()  # either may be the one that stays


def test_with_an_environment_state_to_spare_everything_else_may_go():
    losses = draw(state_dropout=0.8, camera_dropout=0.8, spare=True)
    assert rate(losses.state_B & losses.cameras_BC.all(-1)) == pytest.approx([0.8**3], abs=0.02)


def test_the_one_that_stays_is_any_of_them_alike():
    torch.manual_seed(0)
    lost_BM = keep_one(torch.ones(9000, 3, dtype=torch.bool))
    assert rate(~lost_BM) == pytest.approx([1 / 3] * 3, abs=0.02)
    some_BM = torch.tensor([[True, False, True]])
    assert torch.equal(keep_one(some_BM), some_BM)


def test_samples_left_with_one_side_are_marked():
    losses = Losses(
        joints_BP=torch.zeros(4, 2, dtype=torch.bool),
        state_B=torch.tensor([True, False, False, False]),
        cameras_BC=torch.tensor([[False, False], [True, True], [True, False], [False, False]]),
    )
    assert losses.one_sided.tolist() == [True, True, False, False]
    assert not Losses(losses.joints_BP, torch.zeros(4).bool(), torch.zeros(4, 0).bool()).one_sided.any()


class _FirstLosesState(ModalityDropout):
    """Not by chance: sample 0 loses its state, sample 1 its second camera, sample 2 joint 0."""

    def draw(self, samples: int, device: torch.device) -> Losses:
        joints_BP = torch.zeros(samples, 5, dtype=torch.bool)
        cameras_BC = torch.zeros(samples, 2, dtype=torch.bool)
        joints_BP[0] = cameras_BC[1, 1] = joints_BP[2, 0] = True
        return Losses(joints_BP, joints_BP.all(-1), cameras_BC)


def outcome(policy: RegularizedACTPolicy, batch: dict[str, Tensor]) -> Tensor:
    """Actions and, with a VAE, the latent's mean: everything that an input can reach. (B, ...)"""
    torch.manual_seed(1)
    done = training_forward(policy.model, batch, masking=policy.model.modality_dropout)
    actions = done.actions_BTA.flatten(1)
    return actions if done.mean_BL is None else torch.cat([actions, done.mean_BL], dim=1)


@pytest.mark.parametrize("fill", ["mask_token", "mean_pose"])
@pytest.mark.parametrize("use_vae", [False, True])
def test_what_is_lost_has_no_influence_and_what_is_kept_has(
    fill: str, use_vae: bool, make_config: MakeConfig, make_batch: MakeBatch, sharpen: Sharpen
):
    regularizer = RegularizerConfig(state_dropout=0.3, state_dropout_fill=fill, camera_dropout=0.2)
    config = make_config(use_vae=use_vae, regularizer=regularizer, dropout=0.0)
    policy = sharpen(RegularizedACTPolicy(config))
    assert isinstance(policy, RegularizedACTPolicy)
    policy.model.modality_dropout = _FirstLosesState(config)
    batch = make_batch(config)

    def moved(key: str, where: tuple[slice, ...]) -> list[bool]:
        other = batch[key].clone()
        other[where] += 1.0
        with torch.no_grad():
            return (outcome(policy, batch) != outcome(policy, batch | {key: other})).any(1).tolist()

    everywhere = (slice(None),)
    first_joint = (slice(None), slice(0, 1))
    assert moved(OBS_STATE, everywhere) == [False, True, True, True]
    assert moved(OBS_STATE, first_joint) == [False, True, False, True]
    assert moved("observation.images.wrist", everywhere) == [True, False, True, True]
    assert moved("observation.images.front", everywhere) == [True] * 4


def test_the_mean_pose_is_the_normalised_zero(make_config: MakeConfig, make_batch: MakeBatch):
    regularizer = RegularizerConfig(state_dropout=0.3, state_dropout_fill="mean_pose")
    config = make_config(regularizer=regularizer, dropout=0.0)
    policy = RegularizedACTPolicy(config)
    policy.model.modality_dropout = _FirstLosesState(config)
    batch = make_batch(config)
    masked = outcome(policy, batch)
    policy.model.modality_dropout = None
    by_hand = outcome(policy, batch | {OBS_STATE: batch[OBS_STATE] * torch.tensor([[0.0], [1], [1], [1]])})
    torch.testing.assert_close(masked[0], by_hand[0])


def test_mask_tokens_are_learnt_and_only_those_exist_that_can_be_needed(
    make_config: MakeConfig, make_batch: MakeBatch
):
    def tokens(use_vae: bool = True, **chances: float | str) -> set[str]:
        config = make_config(use_vae=use_vae, regularizer=RegularizerConfig(**chances))  # pyright: ignore
        policy = RegularizedACTPolicy(config).train()
        policy.model.modality_dropout = _FirstLosesState(config)
        policy(make_batch(config))[0].backward()
        mine = policy.model.modality_dropout.named_parameters()
        return {name for name, p in mine if p.grad is not None and p.grad.abs().max() > 0}

    assert tokens(state_dropout=0.3) == {"state_token", "vae_state_token"}
    assert tokens(use_vae=False, state_dim_dropout=0.3, camera_dropout=0.1) == {
        "state_token",
        "camera_tokens",
    }
    assert tokens(state_dropout=0.3, state_dropout_fill="mean_pose") == set()
    assert tokens(state_noise=0.1) == set()


def test_noise_has_the_asked_spread_and_spares_lost_joints(make_config: MakeConfig):
    masking = ModalityDropout(
        make_config(regularizer=RegularizerConfig(state_noise=0.2, state_dim_dropout=0.5))
    )
    torch.manual_seed(0)
    losses = masking.draw(5000, CPU)
    noisy_BP = masking.state(torch.full((5000, 5), 3.0), losses)
    assert (noisy_BP[losses.joints_BP] == 0).all()
    kept = noisy_BP[~losses.joints_BP]
    assert kept.mean().item() == pytest.approx(3.0, abs=0.01)
    assert kept.std().item() == pytest.approx(0.2, abs=0.01)


def test_nothing_is_dropped_in_eval_mode(make_config: MakeConfig, make_batch: MakeBatch):
    config = make_config(
        regularizer=RegularizerConfig(state_dropout=0.9, state_noise=1.0, camera_dropout=0.5)
    )
    policy, batch = RegularizedACTPolicy(config).eval(), make_batch(config)
    state = torch.get_rng_state()
    assert torch.equal(policy(batch)[0], policy(batch)[0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize(
    ("preset", "hidden", "seen"),
    [
        ("no_state", OBS_STATE, "observation.images.front"),
        ("no_images", "observation.images.front", OBS_STATE),
    ],
)
def test_a_control_never_sees_what_it_has_to_do_without(
    preset: str,
    hidden: str,
    seen: str,
    training: bool,
    use_vae: bool,
    make_config: MakeConfig,
    make_batch: MakeBatch,
    sharpen: Sharpen,
):
    config = make_config(use_vae=use_vae, regularizer=RegularizerConfig(preset=preset), dropout=0.0)
    policy = sharpen(RegularizedACTPolicy(config)).train(training)
    assert isinstance(policy, RegularizedACTPolicy)
    batch = make_batch(config)

    def loss(changed: str | None) -> float:
        torch.manual_seed(1)
        other = {} if changed is None else {changed: batch[changed] + 1.0}
        with torch.no_grad():
            return policy(batch | other)[0].item()

    assert loss(hidden) == loss(None) != loss(seen)
    assert not list(policy.model.modality_dropout.parameters())  # pyright: ignore


def test_a_control_that_sees_nothing_is_refused():
    with pytest.raises(RegularizerError, match="nothing to act on"):
        RegularizerConfig(state_dropout=1.0, camera_dropout=1.0)


def test_a_policy_without_that_modality_refuses(make_config: MakeConfig):
    with pytest.raises(ModelError, match="has no camera"):
        RegularizedACTPolicy(make_config(cameras=0, env=3, regularizer=RegularizerConfig(camera_dropout=0.1)))
    with pytest.raises(ModelError, match="joint state, but this policy has none"):
        RegularizedACTPolicy(make_config(state=0, regularizer=RegularizerConfig(state_noise=0.1)))
