"""The terms of the attention loss: published numbers, finite differences, brute force, and what must not matter.

A is a row of attention over (latent, state | two vision tokens); its numbers were worked out apart from this code.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from so101_policy.attention.shares import TokenLayout
from so101_policy.errors import RegularizerError
from so101_policy.regularizer.terms import (
    Band,
    Split,
    entropy,
    entropy_shortfall,
    hinge,
    identity,
    log_mass,
    log_mass_of_cameras,
    logit_share,
    normalised_entropy,
    reduced,
    rolled_out_logit_share,
    threshold_in_space,
)
from token_layouts import layout_of

A = [0.05, 0.70, 0.15, 0.10]
REDUCTIONS = ("pooled", "head", "query", "cvar")
Phi = Callable[[Tensor], Tensor]


def row(p: list[float]) -> Tensor:
    """(1, 1, 1, S) log-probabilities in double precision."""
    return torch.tensor(p, dtype=torch.float64).log()[None, None, None]


def attention(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits.log_softmax(-1)


def everything(x_BHQ: Tensor) -> Tensor:
    return torch.ones(x_BHQ.shape[0], x_BHQ.shape[2], dtype=torch.bool)


def share(log_p: Tensor, group: str = "state", layout: TokenLayout | None = None) -> Tensor:
    layout = layout or layout_of(log_p.shape[-1] - 2)
    return logit_share(log_p, Split.of(layout, group)).sigmoid()


def ceiling(tau: float, beta: float = 0.0) -> Band:
    return Band(tau, None, 1.0, beta)


def floor(rho: float, gamma: float = 1.0, beta: float = 0.0) -> Band:
    return Band(None, rho, gamma, beta)


def grad_of(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    logits = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits.log_softmax(-1)), logits)
    return gradient


@pytest.mark.parametrize(("group", "expected"), [("state_and_latent", 0.75), ("state", 0.736842)])
def test_the_share_of_a_row_is_group_over_group_and_rest(group: str, expected: float) -> None:
    assert share(row(A), group).item() == pytest.approx(expected, abs=1e-6)


def test_the_hinges_of_a_share() -> None:
    r = torch.tensor(0.75, dtype=torch.float64)
    assert hinge(r - 0.35, 0).item() == pytest.approx(0.40)
    assert hinge(r - 0.35, 0.1).item() == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("r", "value", "slope"), [(0.305, 0.000125, 0.05), (0.35, 0.0125, 0.5), (0.40, 0.05, 1), (0.75, 0.40, 1)]
)
def test_a_smooth_hinge_is_a_parabola_and_then_a_line(r: float, value: float, slope: float) -> None:
    x = torch.tensor(r, dtype=torch.float64, requires_grad=True)
    loss = hinge(x - 0.30, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(value)
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(slope)


def test_the_entropy_of_the_vision_part() -> None:
    log_p_vision = row(A)[..., 2:]
    assert entropy(log_p_vision).item() == pytest.approx(0.673012, abs=1e-6)
    assert normalised_entropy(log_p_vision).item() == pytest.approx(0.970951, abs=1e-6)


def test_log_odds_per_token_of_a_row() -> None:
    split = Split.of(layout_of(2), "state")
    assert (logit_share(row(A), split) - split.log_chance).item() == pytest.approx(1.722767, abs=1e-6)
    assert math.log(0.70 / 0.125) == pytest.approx(1.722767, abs=1e-6)


def test_the_gradients_of_a_ceiling_with_respect_to_logits() -> None:
    prob = grad_of(lambda log_p: ceiling(0.35)(share(log_p, "state_and_latent")).sum(), row(A)).flatten()
    assert prob.tolist() == pytest.approx([0.0125, 0.175, -0.1125, -0.075])
    assert prob.sum().item() == pytest.approx(0, abs=1e-15)

    split = Split.of(layout_of(2), "state_and_latent")
    tau = threshold_in_space(0.35, "share", "logit", split.log_chance)
    assert ceiling(float(tau))(logit_share(row(A), split)).item() == pytest.approx(1.717651, abs=1e-6)
    logit = grad_of(lambda log_p: ceiling(float(tau))(logit_share(log_p, split)).sum(), row(A)).flatten()
    assert logit.tolist() == pytest.approx([0.066667, 0.933333, -0.6, -0.4], abs=1e-6)


@pytest.mark.parametrize(
    ("r", "phi", "value", "slope"),
    [
        (0.38, ceiling(0.35), 0.03, 1),
        (0.38, ceiling(0.35, 0.1), 0.0045, 0.3),
        (0.04, floor(0.10, 0.5), 0.03, -0.5),
        (0.04, floor(0.10, 0.5, 0.1), 0.009, -0.3),
        (0.20, Band(0.35, 0.10, 0.5, 0), 0, 0),
        (0.20, Band(0.35, 0.10, 0.5, 0.1), 0, 0),
    ],
)
def test_ceiling_floor_and_band_have_these_values_and_slopes(
    r: float, phi: Phi, value: float, slope: float
) -> None:
    x = torch.tensor(r, dtype=torch.float64, requires_grad=True)
    loss = phi(x)
    loss.backward()
    assert x.grad is not None
    if value:
        assert loss.item() == pytest.approx(value)
        assert x.grad.item() == pytest.approx(slope)
    else:  # exactly
        assert loss.item() == 0
        assert x.grad.item() == 0


def test_the_floor_pushes_up_where_the_seed_idea_pushed_down() -> None:
    def seed(x: Tensor) -> Tensor:
        return -0.5 * torch.relu(0.10 - x)

    def after_descent(phi: Phi) -> float:
        z = torch.tensor(0.08, dtype=torch.float64).logit().requires_grad_()
        for _ in range(400):
            (gradient,) = torch.autograd.grad(phi(z.sigmoid()), z)
            z = (z - 5 * gradient).detach().requires_grad_()
        return z.sigmoid().item()

    assert after_descent(seed) == pytest.approx(0.001, abs=5e-4)
    assert after_descent(floor(0.10, 0.5)) == pytest.approx(0.1146, abs=5e-4)


@pytest.mark.parametrize(("as_heads", "expected"), [(False, (0, 0, 0.2, 0.4)), (True, (0, 0.2, 0.2, 0.4))])
def test_the_reductions_of_two_queries_or_two_heads(as_heads: bool, expected: tuple[float, ...]) -> None:
    x = torch.tensor([0.9, 0.1], dtype=torch.float64)
    x_BHQ = x[None, :, None] if as_heads else x[None, None]
    for reduction, value in zip(REDUCTIONS, expected, strict=True):
        loss = reduced(x_BHQ, everything(x_BHQ), ceiling(0.5), reduction, 0.5)
        assert loss.item() == pytest.approx(value, abs=1e-12), reduction


@pytest.mark.parametrize(("mask", "value"), [((0, 1), 0), ((1, 0), 0.4), ((1, 1), 0.2), ((0, 0), 0)])
def test_only_queries_that_count_are_in_the_mean(mask: tuple[int, int], value: float) -> None:
    x_BHQ = torch.tensor([[[0.9, 0.1]]], dtype=torch.float64)
    assert reduced(x_BHQ, torch.tensor([mask]).bool(), ceiling(0.5), "query").item() == pytest.approx(value)


@pytest.mark.parametrize(
    ("p", "value"),
    [
        ([1 / 2] * 2, 1),
        ([1 / 18] * 18, 1),
        ([1 / 600] * 600, 1),
        ([1.0, 0.0, 0.0], 0),
        ([0.5, 0.25, 0.25], 0.946395),
        ([0.0] * 18, 0),
        ([1.0], 0),
        ([1e-12] * 18, 1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_normalised_entropies(p: list[float], value: float, dtype: torch.dtype) -> None:
    log_p = row(p).to(dtype).requires_grad_()
    found = normalised_entropy(log_p)
    assert found.item() == pytest.approx(value, abs=2e-6)
    if len(p) > 1:
        (gradient,) = torch.autograd.grad(found.sum(), log_p)
        assert gradient.isfinite().all()


# --- gradients against finite differences ---

EDGES = {"ceiling": ceiling(0.15), "smooth": ceiling(0.15, 0.1), "band": Band(0.5, 0.3, 0.5, 0.05)}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("space", ["prob", "logit"])
def test_gradients_are_those_of_finite_differences(name: str, reduction: str, space: str) -> None:
    logits = attention(2, 2, 3, 6).requires_grad_()
    valid_BQ = torch.tensor([[True, True, False], [True, True, True]])
    split = Split.of(layout_of(2, 2), "state")

    def loss(logits: Tensor) -> Tensor:
        z = logit_share(logits.log_softmax(-1), split)
        x = z.sigmoid() if space == "prob" else z
        return reduced(x, valid_BQ, EDGES[name], reduction, 0.37)

    assert torch.autograd.gradcheck(loss, (logits,), eps=1e-7, atol=1e-6)


def test_gradients_of_entropies_are_those_of_finite_differences() -> None:
    layout = layout_of(3, 2)
    logits = attention(2, 2, 3, 7).requires_grad_()

    def vision(logits: Tensor) -> Tensor:
        return entropy(logits.log_softmax(-1)[..., layout.vision])

    def cameras(logits: Tensor) -> Tensor:
        return normalised_entropy(log_mass_of_cameras(logits.log_softmax(-1), layout))

    assert torch.autograd.gradcheck(vision, (logits,))
    assert torch.autograd.gradcheck(cameras, (logits,))


def test_the_gradient_of_a_rollout_is_that_of_finite_differences_in_encoder_and_decoder() -> None:
    split = Split.of(layout_of(2, 1), "state")
    logits = attention(2, 1, 2, 5).requires_grad_()
    first, second = (attention(2, 5, 5, seed=seed).requires_grad_() for seed in (1, 2))

    def z(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
        layers = [first.softmax(-1), second.softmax(-1)]
        return rolled_out_logit_share(logits.log_softmax(-1), layers, split)

    assert torch.autograd.gradcheck(z, (logits, first, second))


@pytest.mark.parametrize("group", ["state", "state_and_latent"])
def test_a_rollout_by_two_vectors_is_the_one_by_full_matrices(group: str) -> None:
    layout = layout_of(3, 2, environment=True)
    split, S = Split.of(layout, group), layout.total
    log_p_BHQS = attention(2, 3, 4, S)
    encoder = [attention(2, S, S, seed=seed).exp() for seed in (1, 2, 3)]

    mixing_BSS = torch.eye(S, dtype=torch.float64).expand(2, S, S)
    for a_BSS in encoder:
        mixing_BSS = (0.5 * torch.eye(S, dtype=torch.float64) + 0.5 * a_BSS) @ mixing_BSS
    p_BHQS = torch.einsum("bhqs,bst->bhqt", log_p_BHQS.exp(), mixing_BSS)
    torch.testing.assert_close(p_BHQS.sum(-1), torch.ones(2, 3, 4, dtype=torch.float64))

    rolled = rolled_out_logit_share(log_p_BHQS, encoder, split)
    torch.testing.assert_close(rolled, logit_share(p_BHQS.log(), split))
    assert (rolled - rolled_out_logit_share(log_p_BHQS, encoder[::-1], split)).abs().max() > 1e-3


def test_a_rollout_through_an_encoder_that_mixes_nothing_is_the_cross_attention() -> None:
    split = Split.of(layout_of(3), "state")
    log_p_BHQS = attention(2, 3, 4, 5)
    identity = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    rolled = rolled_out_logit_share(log_p_BHQS, [identity, identity], split)
    torch.testing.assert_close(rolled, logit_share(log_p_BHQS, split))


# --- what must not matter, and what must ---

sizes = st.tuples(*[st.integers(1, 3)] * 3, st.integers(2, 6))
seeds = st.integers(0, 10_000)
shares = st.floats(0.05, 0.9)


@settings(max_examples=40, deadline=None)
@given(sizes, seeds, shares, st.sampled_from([0.0, 0.1]), st.sampled_from(["state", "state_and_latent"]))
def test_each_reduction_is_at_least_as_strict_as_the_one_before(
    size: tuple[int, ...], seed: int, tau: float, beta: float, group: str
) -> None:
    B, H, Q, V = size
    r_BHQ = share(attention(B, H, Q, V + 2, seed=seed), group)
    valid_BQ = torch.rand(B, Q, generator=torch.Generator().manual_seed(seed)) < 0.7
    losses = [
        reduced(r_BHQ, valid_BQ, Band(tau, tau / 2, 0.5, beta), name, 0.3).item() for name in REDUCTIONS
    ]
    for lax, strict in itertools.pairwise(losses):
        assert lax <= strict + 1e-12


@settings(max_examples=40, deadline=None)
@given(sizes, seeds, shares, st.sampled_from(REDUCTIONS))
def test_counting_twice_and_order_change_nothing(
    size: tuple[int, ...], seed: int, tau: float, reduction: str
) -> None:
    B, H, Q, V = size
    r = share(attention(B, H, Q, V + 2, seed=seed))
    valid = torch.rand(B, Q, generator=torch.Generator().manual_seed(seed)) < 0.7
    order = torch.randperm(Q, generator=torch.Generator().manual_seed(seed))

    def loss(r_BHQ: Tensor, valid_BQ: Tensor) -> float:
        return reduced(r_BHQ, valid_BQ, ceiling(tau), reduction, 0.3).item()

    once = loss(r, valid)
    assert loss(r.repeat(2, 1, 1), valid.repeat(2, 1)) == pytest.approx(once, abs=1e-12)  # batch
    assert loss(r.repeat(1, 2, 1), valid) == pytest.approx(once, abs=1e-12)  # heads
    assert loss(r[..., order], valid[:, order]) == pytest.approx(once, abs=1e-12)  # queries


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(REDUCTIONS), st.sampled_from(["prob", "logit"]))
def test_above_the_ceiling_the_state_loses_and_below_the_floor_it_gains(
    seed: int, reduction: str, space: str
) -> None:
    split = Split.of(layout_of(4), "state")
    logits = attention(2, 2, 3, 6, seed=seed)

    def pushed_by(phi: Phi) -> Tensor:
        def loss(log_p: Tensor) -> Tensor:
            z = logit_share(log_p, split)
            return reduced(z if space == "logit" else z.sigmoid(), everything(z), phi, reduction, 1.0)

        return grad_of(loss, logits)

    lowest, highest = (0.0, 1.0) if space == "prob" else (-30.0, 30.0)
    for phi, sign in ((ceiling(lowest), 1), (floor(highest), -1)):
        gradient = pushed_by(phi)
        assert (sign * gradient[..., 1] > 0).all()
        assert (sign * gradient[..., split.rest] < 0).all()
        torch.testing.assert_close(gradient.sum(-1), torch.zeros(2, 2, 3, dtype=torch.float64))
    assert (pushed_by(Band(highest, lowest, 1.0, 0.0)) == 0).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_queries_that_do_not_count_have_no_gradient_and_none_that_counts_is_an_exact_zero(
    reduction: str,
) -> None:
    logits = attention(2, 2, 3, 6)
    split = Split.of(layout_of(4), "state")
    valid_BQ = torch.tensor([[True, False, True], [False, False, True]])

    def loss(log_p: Tensor, valid_BQ: Tensor) -> Tensor:
        return reduced(logit_share(log_p, split).sigmoid(), valid_BQ, Band(0.01, 0.005, 1, 0), reduction)

    gradient = grad_of(lambda log_p: loss(log_p, valid_BQ), logits)
    assert (gradient.transpose(1, 2)[~valid_BQ] == 0).all()
    assert (gradient.transpose(1, 2)[valid_BQ] != 0).any()
    none = torch.zeros_like(valid_BQ)
    assert loss(logits.log_softmax(-1), none).item() == 0
    assert (grad_of(lambda log_p: loss(log_p, none), logits) == 0).all()


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 5))
def test_splitting_vision_tokens_changes_no_share_and_doubling_all_tokens_changes_no_log_odds(
    seed: int, k: int
) -> None:
    log_p = attention(2, 2, 3, 5, seed=seed)
    split = Split.of(layout_of(3), "state")
    z = logit_share(log_p, split)

    finer = torch.cat([log_p[..., :2], (log_p[..., 2:] - math.log(k)).repeat_interleave(k, -1)], -1)
    torch.testing.assert_close(logit_share(finer, Split.of(layout_of(3 * k), "state")), z)

    doubled = (log_p - math.log(2)).repeat_interleave(2, -1)  # two latent tokens, two of state, six of vision
    twice = Split(slice(2, 4), slice(4, 10))
    torch.testing.assert_close(logit_share(doubled, twice) - twice.log_chance, z - split.log_chance)


@pytest.mark.parametrize("vision", [18, 600])
@pytest.mark.parametrize("group", ["state", "state_and_latent"])
@pytest.mark.parametrize("space", ["prob", "logit"])
def test_uniform_attention_has_log_odds_of_exactly_chance(vision: int, group: str, space: str) -> None:
    layout = layout_of(vision // 2, vision // 2)
    split = Split.of(layout, group)
    uniform = torch.zeros(1, 1, 1, layout.total).log_softmax(-1)
    z = logit_share(uniform, split)
    assert (z - split.log_chance).item() == pytest.approx(0, abs=2e-6)
    assert z.sigmoid().item() == pytest.approx(split.chance, rel=1e-5)
    if group == "state_and_latent":
        assert split.chance == pytest.approx({18: 0.1, 600: 0.0033}[vision], abs=5e-5)
    x = (z if space == "logit" else z.sigmoid()).item()
    assert threshold_in_space(0.0, "log_odds", space, split.log_chance) == pytest.approx(x, rel=1e-5)


@pytest.mark.parametrize(("unit", "value"), [("share", 0.2), ("log_odds", 1.3)])
def test_a_threshold_is_the_same_one_in_either_space_as_a_number_or_a_tensor(unit: str, value: float) -> None:
    in_logit = threshold_in_space(value, unit, "logit", -2.0)
    in_prob = threshold_in_space(value, unit, "prob", -2.0)
    assert 1 / (1 + math.exp(-float(in_logit))) == pytest.approx(float(in_prob))
    for space, expected in (("logit", in_logit), ("prob", in_prob)):
        moving = threshold_in_space(torch.tensor(value, dtype=torch.float64), unit, space, -2.0)
        assert float(moving) == pytest.approx(float(expected))


@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("environment", [True, False])
def test_the_parts_of_a_layout_are_a_partition(state: bool, environment: bool) -> None:
    layout = layout_of(3, 2, state=state, environment=environment)
    log_p = attention(2, 2, 3, layout.total)
    parts = [layout.latent, layout.state, layout.environment, *layout.cameras.values()]
    masses = [log_mass(log_p, part).exp() for part in parts if part is not None]
    torch.testing.assert_close(torch.stack(masses).sum(0), torch.ones(2, 2, 3, dtype=torch.float64))
    if state or environment:
        split = Split.of(layout, "state")
        assert list(range(layout.total))[split.group] == [*range(1, 1 + state + environment)]
        assert split.rest == layout.vision
        inside = log_mass(log_p, split.group).exp() + log_mass(log_p, split.rest).exp()
        torch.testing.assert_close(inside, 1 - log_p[..., 0].exp())
    if state:
        split = Split.of(layout, "state_and_latent")
        assert split == Split(slice(0, 2), slice(2, layout.total))


@pytest.mark.parametrize(
    ("layout", "group"),
    [
        (layout_of(3, state=False), "state"),
        (layout_of(3, state=False, environment=True), "state_and_latent"),
        (layout_of(), "state"),
        (layout_of(), "state_and_latent"),
    ],
)
def test_a_share_of_nothing_or_against_nothing_is_refused(layout: TokenLayout, group: str) -> None:
    with pytest.raises(RegularizerError, match=r"this model has no .*weight=0"):
        Split.of(layout, group)


def test_a_pooled_hinge_lets_heads_collapse_and_one_per_query_does_not() -> None:
    """Gradient descent on head shares .993 and .622 against a ceiling of .35."""

    def heads_after(reduction: str) -> Tensor:
        z = torch.tensor([0.993] * 4 + [0.622] * 4, dtype=torch.float64).logit()[None, :, None]
        for _ in range(600):
            z.requires_grad_()
            loss = reduced(z.sigmoid(), everything(z), ceiling(0.35), reduction)
            (gradient,) = torch.autograd.grad(loss, z)
            z = (z - 10 * gradient).detach()
        return z.sigmoid().flatten()

    pooled, query = heads_after("pooled"), heads_after("query")
    assert pooled.mean() <= 0.35
    assert pooled.max() > 0.6
    assert pooled.min() < 0.1
    assert query.max() <= 0.35
    assert query.min() > 0.25


def test_the_worst_part_is_the_mean_of_the_largest_by_brute_force() -> None:
    x_BHQ = attention(3, 2, 5, 1, scale=1).squeeze(-1) + attention(3, 2, 5, 7).exp()[..., 0]
    valid_BQ = torch.tensor([[True, True, False, True, True]] * 3)
    kept = sorted((x for b, q in valid_BQ.nonzero().tolist() for x in x_BHQ[b, :, q].tolist()), reverse=True)
    for fraction in (0.01, 0.25, 0.5, 1.0):
        whole, part = divmod(fraction * len(kept), 1)
        worst = sum(kept[: int(whole)]) + (part * kept[int(whole)] if part else 0)
        found = reduced(x_BHQ, valid_BQ, identity, "cvar", fraction)
        assert found.item() == pytest.approx(worst / (fraction * len(kept)))


def test_a_floor_on_entropy_weighs_queries_by_what_they_spend_on_vision() -> None:
    narrow = [0.97, 0.01, 0.01, 0.01]
    row_of = {mass: row([1 - mass, 0, *(mass * p for p in narrow)])[..., 2:] for mass in (0.9, 0.001)}
    lone = {mass: entropy_shortfall(log_p, 0.5, everything(log_p[..., 0])) for mass, log_p in row_of.items()}
    missing = 0.5 - normalised_entropy(row(narrow)).item()
    assert lone[0.9].item() == pytest.approx(0.9 * missing)
    assert lone[0.001].item() == pytest.approx(0.001 * missing)
    assert entropy_shortfall(row([0.25] * 4), 0.99, torch.ones(1, 1, dtype=torch.bool)).item() == 0


def test_the_gradient_of_a_floor_on_entropy_is_that_with_the_mass_held_fixed() -> None:
    layout, logits, valid_BQ = layout_of(5), attention(2, 2, 3, 7), torch.ones(2, 3, dtype=torch.bool)
    fixed_BHQ = logits.log_softmax(-1)[..., layout.vision].exp().sum(-1)

    def held(log_p: Tensor) -> Tensor:
        p_BHQV = log_p[..., layout.vision].exp()
        q_BHQV = p_BHQV / p_BHQV.sum(-1, keepdim=True)
        normalised = -(q_BHQV * q_BHQV.log()).sum(-1) / math.log(5)
        return (fixed_BHQ * (0.8 - normalised).clamp_min(0)).mean()

    found = grad_of(lambda x: entropy_shortfall(x[..., layout.vision], 0.8, valid_BQ), logits)
    torch.testing.assert_close(found, grad_of(held, logits))
    assert found.abs().max() > 1e-3


def test_a_floor_on_entropy_spreads_attention_within_vision_and_takes_none_of_it_away() -> None:
    logits = row([0.3, 0.2, 0.47, 0.02, 0.01])
    gradient = grad_of(
        lambda log_p: entropy_shortfall(log_p[..., 2:], 0.9, torch.ones(1, 1, dtype=torch.bool)), logits
    ).flatten()
    assert gradient[:2].abs().max() < 1e-12
    assert gradient[2] > 0
    assert (gradient[3:] < 0).all()


def test_a_query_that_ignores_vision_has_the_true_entropy_not_one_of_an_epsilon() -> None:
    log_p = torch.full((1, 1, 1, 18), math.log(1e-8 / 18))
    assert entropy(log_p).item() == pytest.approx(math.log(18), rel=1e-5)  # p / (sum p + 1e-8) would say 1.79
