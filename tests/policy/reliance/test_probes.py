"""The probes answer what is known beforehand: hand-built policies that read what they are told to read."""

import math

import numpy as np
import pytest
import torch
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from so101_policy import PolicyError
from so101_policy.reliance.intervals import Bootstrap
from so101_policy.reliance.phases import PHASES
from so101_policy.reliance.probes import (
    Donors,
    Figures,
    Predict,
    Probe,
    Views,
    cue_conflict,
    draw_donors,
    figures_of,
    probes_of,
    run_probe,
)

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
T, STEPS = 8, 6
HEADLINES = [("reliance", kind, window) for kind in ("any", "phase") for window in ("executed", "first_5")]


def make_views(F: int = 96, episodes: int = 8, seed: int = 0) -> Views:
    """Frames whose state and pictures are independent: per picture one random grey level."""
    rng = np.random.default_rng(seed)
    pictures = {
        key: torch.from_numpy(rng.integers(0, 256, (2 * F + episodes, 1, 1, 1), dtype=np.uint8)).expand(
            -1, 3, 4, 4
        )
        for key in (FRONT, WRIST)
    }
    episode = np.repeat(np.arange(episodes), F // episodes)
    return Views(
        state_FS=torch.from_numpy(rng.random((F, 6), dtype=np.float32)),
        pictures=pictures,
        now_F=np.arange(F),
        first_F=2 * F + episode,
        earlier_F=F + np.arange(F),
        action_FTA=torch.zeros(F, STEPS, 6),
        is_pad_FT=torch.zeros(F, STEPS, dtype=torch.bool),
        episode_F=episode,
        phase_F=rng.integers(0, len(PHASES), F),
    )


def of_state(batch: dict[str, Tensor]) -> Tensor:
    return batch[OBS_STATE][:, None].expand(-1, T, -1)


def of_camera(key: str) -> Predict:
    return lambda batch: batch[key].mean((1, 2, 3))[:, None, None].expand(-1, T, 6)


def of_images(batch: dict[str, Tensor]) -> Tensor:
    return of_camera(FRONT)(batch) + of_camera(WRIST)(batch).square()


def mixed(state: float, front: float) -> Predict:
    """Linear: one joint and one camera."""
    return lambda batch: state * of_state(batch)[..., :1] + front * of_camera(FRONT)(batch)[..., :1]


def figures(predict: Predict, views: Views | None = None, seed: int = 0) -> Figures:
    views = views or make_views()
    donors = draw_donors(views, seed)
    actions = {probe: run_probe(predict, views, donors, probe) for probe in probes_of(views)}
    return figures_of(actions, views, donors, STEPS, Bootstrap(views.episode_F, resamples=200))


def value(found: Figures, *path: str) -> float:
    return found[path].value


@pytest.mark.parametrize(("predict", "reliance", "vci"), [(of_state, 1.0, 0.0), (of_images, 0.0, 1.0)])
def test_a_policy_that_reads_one_thing_is_told_exactly(predict: Predict, reliance: float, vci: float):
    found = figures(predict)
    for path in HEADLINES:
        estimate = found[path].estimate()
        assert (estimate.value, estimate.low, estimate.high) == (reliance, reliance, reliance)
    for window in ("executed", "first_5"):
        assert value(found, "cue_conflict", window) == pytest.approx(vci, abs=1e-6)
    phases = [path[1] for path in found if path[0] == "phases" and path[2] == "reliance"]
    assert phases == list(PHASES)
    assert [value(found, "phases", phase, "reliance") for phase in phases] == [reliance] * len(PHASES)


def test_attention_is_no_part_of_it():
    """A model that attends to nothing but the state and uses nothing but the image follows the image."""

    def deceiving(batch: dict[str, Tensor]) -> Tensor:
        attention_BK = torch.tensor([1.0, 0.0])
        values_BK = torch.stack([torch.zeros(len(batch[OBS_STATE])), of_camera(FRONT)(batch)[:, 0, 0]], dim=1)
        residual = of_camera(FRONT)(batch)[..., :1]
        return residual + (values_BK @ attention_BK)[:, None, None]

    assert value(figures(deceiving), "reliance", "any", "executed") == 0.0


def test_a_linear_policy_has_the_reliance_of_its_weights():
    # x, x' uniform on [0, 1]: E|x - x'| = 1/3 for state and (grey level / 255) alike, so rho = s / (s + c).
    views = make_views(F=2400, episodes=60)
    assert value(figures(mixed(1, 1), views), *HEADLINES[0]) == pytest.approx(1 / 2, abs=0.02)
    assert value(figures(mixed(3, 1), views), *HEADLINES[2]) == pytest.approx(3 / 4, abs=0.02)


def test_half_and_half_follows_image_and_state_equally_in_a_conflict():
    # For a sum f(I) + g(q) with f and g of one distribution, <f_A - f_B, d> + <g_A - g_B, d> = |d|^2, so E VCI = 1/2.
    found = figures(mixed(1, 1), make_views(F=2400, episodes=60))
    assert value(found, "cue_conflict", "executed") == pytest.approx(0.5, abs=0.05)


def test_reliance_equals_a_loop_over_the_donors():
    views, predict = make_views(), mixed(0.7, 1.9)
    donors = draw_donors(views, 3)
    state = views.state_FS[:, 0].double().numpy()
    grey = views.pictures[FRONT][:96, 0, 0, 0].double().numpy() / 255
    moved = [0.7 * abs(state[i] - state[j]) for i, j in enumerate(donors.any_F)]
    seen = [1.9 * abs(grey[i] - grey[j]) for i, j in enumerate(donors.any_F)]
    expected = sum(moved) / (sum(moved) + sum(seen))
    found = figures(predict, views, seed=3)
    assert value(found, "reliance", "any", "executed") == pytest.approx(expected, abs=1e-5)
    assert value(found, "change", "any", "state") == pytest.approx(np.mean(moved), abs=1e-5)


def test_a_camera_moves_the_action_as_far_as_it_is_read():
    found = figures(of_camera(WRIST))
    assert value(found, "change", "any", FRONT) == 0.0
    assert value(found, "change", "any", WRIST) == value(found, "change", "any", "images") > 0


def test_frozen_and_delayed_images_are_those_of_the_start_and_of_before():
    views = make_views()
    donors = draw_donors(views)
    for kind, rows in (("frozen", views.first_F), ("delayed", views.earlier_F)):
        actions = run_probe(of_camera(FRONT), views, donors, Probe(kind))
        expected = views.pictures[FRONT][torch.from_numpy(rows), 0, 0, 0].float() / 255
        torch.testing.assert_close(actions[:, 0, 0], expected)


@pytest.mark.parametrize("seed", range(5))
def test_no_donor_is_of_the_same_episode_and_phase_matched_ones_are_of_the_same_phase(seed: int):
    views = make_views(seed=seed)
    donors = draw_donors(views, seed)
    assert (donors.any_F >= 0).all()
    assert (views.episode_F[donors.any_F] != views.episode_F).all()
    there = donors.phase_F >= 0
    assert (views.episode_F[donors.phase_F] != views.episode_F)[there].all()
    assert (views.phase_F[donors.phase_F] == views.phase_F)[there].all()


def test_donors_depend_on_the_seed_and_on_nothing_else():
    views = make_views()
    np.testing.assert_array_equal(draw_donors(views, 1).any_F, draw_donors(views, 1).any_F)
    assert (draw_donors(views, 1).any_F != draw_donors(views, 2).any_F).any()


def test_a_phase_of_one_episode_has_no_donor_and_is_left_out():
    views = make_views()
    views = views._replace(phase_F=np.where(views.episode_F == 0, 1, 0))
    found = figures(mixed(1, 1), views)
    assert found["reliance", "phase", "executed"].frames == 84
    assert found["reliance", "any", "executed"].frames == 96
    assert found["phases", "grasp", "reliance"].estimate().value is None
    assert found["phases", "grasp", "error"].frames == 12


def test_a_policy_that_always_does_the_same_cannot_be_told():
    found = figures(lambda batch: torch.ones(len(batch[OBS_STATE]), T, 6))
    assert found["reliance", "any", "executed"].estimate().value is None
    assert found["cue_conflict", "executed"].estimate().value is None
    assert value(found, "error", "clean") == 1.0


def test_only_executed_steps_count():
    def later(batch: dict[str, Tensor]) -> Tensor:
        actions = of_images(batch).clone()
        actions[:, 5:STEPS] += of_state(batch)[:, 5:STEPS]  # executed, not among the first five
        actions[:, STEPS:] += 100 * of_state(batch)[:, STEPS:]
        return actions

    found = figures(later)
    assert value(found, "reliance", "any", "first_5") == 0.0
    assert 0.0 < value(found, "reliance", "any", "executed") < 0.5


def test_the_error_leaves_out_what_is_after_the_end():
    views = make_views()
    views.action_FTA[:] = 2.0
    views.action_FTA[:, 3:] = 50.0
    views.is_pad_FT[:, 3:] = True
    found = figures(lambda batch: torch.full((len(batch[OBS_STATE]), T, 6), 1.5), views)
    assert value(found, "error", "clean") == 0.5


def test_pairs_without_direction_are_dropped_from_the_conflict():
    clean = torch.tensor([0.0, 10.0, 10.0 + 1e-3, 20.0])[:, None, None]
    donors = Donors(np.array([1, 0, 1, 0]), np.array([1, 0, 1, -1]))
    exchanged = torch.tensor([5.0, 5.0, 5.0, math.nan])[:, None, None]
    actions = {Probe("clean"): clean, Probe("phase", "state"): exchanged, Probe("phase", "images"): exchanged}
    np.testing.assert_allclose(cue_conflict(actions, donors, 1), [0.5, 0.5, math.nan, math.nan])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_actions_that_are_no_numbers_are_an_error(bad: float):
    def broken(batch: dict[str, Tensor]) -> Tensor:
        return torch.full((len(batch[OBS_STATE]), T, 6), bad)

    with pytest.raises(PolicyError, match="no numbers"):
        figures(broken)
