"""The regularizer as a module: what it adds to a loss, what it reports, and that it goes on where it was."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from so101_policy.attention.shares import TokenLayout, shares_of
from so101_policy.errors import RegularizerError
from so101_policy.regularizer.config import PRESETS, RegularizerConfig
from so101_policy.regularizer.figures import attention_figures, percentile
from so101_policy.regularizer.loss import AttentionRecord, AttentionRegularizer
from so101_policy.regularizer.terms import Split
from token_layouts import layout_of

A = [0.05, 0.70, 0.15, 0.10]
Options = dict[str, Any]


LAYOUT = layout_of(3, 2)


def record_of(
    *logits: Tensor, layout: TokenLayout = LAYOUT, valid: Tensor | None = None, encoder: int = 0
) -> AttentionRecord:
    B, _, Q, S = logits[0].shape
    mixing = [random(B, S, S, seed=10 + layer).softmax(-1) for layer in range(encoder)]
    valid = torch.ones(B, Q, dtype=torch.bool) if valid is None else valid
    return AttentionRecord([x.log_softmax(-1) for x in logits], mixing, layout, valid)


def random(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def row(p: list[float]) -> Tensor:
    return torch.tensor(p).log()[None, None, None]


def regularizer_of(preset: str = "none", n_action_steps: int = 2, **options: Any) -> AttentionRegularizer:
    return AttentionRegularizer(RegularizerConfig(preset=preset, **options), n_action_steps)


def loss_of(record: AttentionRecord, preset: str = "none", **options: Any) -> float:
    loss, figures = regularizer_of(preset, **options)(record)
    assert figures["attention_loss"].item() == loss.item()
    return loss.item()


EVERY_TERM: list[Options] = [
    {"ceiling": 0.1},
    {"ceiling": 0.1, "beta": 0.1, "space": "logit"},
    {"ceiling": 0.6, "floor": 0.5, "reduction": "head"},
    {"ceiling": -1.0, "floor": -3.0, "threshold_unit": "log_odds", "reduction": "cvar"},
    {"ceiling": 0.1, "reduction": "pooled", "group": "state_and_latent"},
    {"ceiling": 0.1, "attention": "rollout"},
    {"entropy_floor": 0.9, "camera_balance": 0.95},
    {"entropy_bonus": 0.5, "floor": 0.5},
    {"ceiling": 0.1, "weight_schedule": "pi", "floor": 0.05},
    {"ceiling": 0.1, "threshold_schedule": "adaptive"},
]


def test_the_seed_ideas_loss_is_reproduced() -> None:
    """relu(.75 - .35) - .5 * .673012, which the seed computes with an epsilon of 1e-8."""
    loss = loss_of(record_of(row(A), layout=layout_of(2)), "phase2", weight=1.0)
    assert loss == pytest.approx(0.063494, abs=1e-6)
    assert loss_of(record_of(row(A), layout=layout_of(2)), "phase2") == pytest.approx(
        0.005 * 0.063494, abs=1e-8
    )


def test_phase3_punishes_a_share_below_its_floor_where_the_seed_rewards_it() -> None:
    logits = row([0.01, 0.03, 0.5, 0.46]).requires_grad_()
    loss, _ = regularizer_of("phase3", weight=1.0)(record_of(logits, layout=layout_of(2)))
    assert loss.item() == pytest.approx(0.5 * (0.10 - 0.04), abs=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[..., :2] < 0).all()  # descent raises the state's logits
    assert (logits.grad[..., 2:] > 0).all()


@pytest.mark.parametrize("preset", ["isolation_band", "recommended", "phase3"])
def test_inside_a_band_loss_and_gradient_are_exactly_zero(preset: str) -> None:
    logits = row([0.1, 0.1, 0.5, 0.3]).requires_grad_()
    loss, _ = regularizer_of(preset)(record_of(logits, layout=layout_of(2)))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("options", [x for x in EVERY_TERM if "camera_balance" not in x])
def test_the_gradient_of_every_term_is_that_of_finite_differences(options: Options) -> None:
    regularizer = regularizer_of(weight=1.0, **options)
    regularizer.pi.integral.fill_(0.7)
    logits, direction = random(2, 2, 3, 7), random(2, 2, 3, 7, seed=5)

    def loss(logits: Tensor) -> Tensor:
        return regularizer(record_of(logits, encoder=2), figures=False)[0]

    leaf = logits.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    slope = (loss(logits + 1e-3 * direction) - loss(logits - 1e-3 * direction)) / 2e-3
    assert (leaf.grad * direction).sum().item() == pytest.approx(slope.item(), abs=2e-3, rel=2e-3)
    assert leaf.grad.abs().max() > 1e-5
    torch.testing.assert_close(leaf.grad.sum(-1), torch.zeros(2, 2, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", EVERY_TERM)
def test_half_precision_is_as_good_as_single_with_128_samples(options: Options) -> None:
    regularizer = regularizer_of(weight=1.0, **options)
    regularizer.pi.integral.fill_(0.7)
    record = record_of(random(128, 8, 40, 7), encoder=1)
    expected, wanted = regularizer(record)
    for dtype in (torch.float16, torch.bfloat16):
        half = record._replace(
            cross=[x.to(dtype) for x in record.cross], encoder=[x.to(dtype) for x in record.encoder]
        )
        loss, figures = regularizer(half)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected.item(), abs=5e-3)
        for name, value in figures.items():
            assert value.item() == pytest.approx(wanted[name].item(), abs=0.02), name


def test_autocast_does_not_reach_it() -> None:
    regularizer = regularizer_of("isolation_ceiling", attention="rollout")
    record = record_of(random(2, 2, 3, 7), encoder=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = regularizer(record)[0]
    assert torch.equal(inside, regularizer(record)[0])


@pytest.mark.parametrize("preset", [name for name in PRESETS if not RegularizerConfig(name).wants_attention])
def test_without_a_weight_the_loss_is_an_exact_zero_and_no_random_number_is_drawn(preset: str) -> None:
    before = torch.random.get_rng_state()
    regularizer = regularizer_of(preset)
    for figures in (True, False):
        loss, named = regularizer(record_of(random(2, 2, 3, 7)), figures=figures)
        assert loss.item() == 0
        assert not loss.requires_grad
        assert bool(named) is figures
    l1 = torch.tensor(0.123456789)
    assert torch.equal(l1 + loss, l1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_term_draws_a_random_number() -> None:
    before = torch.random.get_rng_state()
    for options in EVERY_TERM:
        regularizer_of(weight=1.0, **options)(record_of(random(2, 2, 3, 7), encoder=1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("options", EVERY_TERM)
def test_a_batch_in_which_nothing_counts_gives_an_exact_zero_with_its_graph(options: Options) -> None:
    regularizer = regularizer_of(weight=1.0, **options)
    regularizer.pi.integral.fill_(0.7)
    logits = random(2, 2, 3, 7).requires_grad_()
    record = record_of(logits, encoder=1, valid=torch.zeros(2, 3, dtype=torch.bool))
    loss, figures = regularizer(record)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
    assert all(x.isfinite() for x in figures.values())


@pytest.mark.parametrize("options", EVERY_TERM)
def test_padded_and_dropped_queries_count_for_nothing(options: Options) -> None:
    regularizer = regularizer_of(weight=1.0, **options)
    regularizer.pi.integral.fill_(0.7)
    logits = random(2, 2, 3, 7)
    valid = torch.tensor([[True, True, False], [False] * 3])
    changed = logits + 5 * ~valid[:, None, :, None] * random(2, 2, 3, 7, seed=3)
    records = [record_of(x, encoder=1, valid=valid) for x in (logits, changed)]
    (one, figures), (other, figures_of_other) = (regularizer(record) for record in records)
    assert torch.equal(one, other)
    assert all(torch.equal(x, figures_of_other[name]) for name, x in figures.items())
    alone = record_of(logits[:1, :, :2], encoder=1)
    first = alone._replace(encoder=[x[:1] for x in records[0].encoder])
    assert regularizer(first)[0].item() == pytest.approx(one.item(), abs=1e-6)


def test_only_the_executed_actions_count_where_that_is_asked() -> None:
    logits = random(2, 2, 5, 7)
    executed = loss_of(record_of(logits), "isolation_ceiling", queries="executed")
    assert executed == loss_of(record_of(logits[:, :, :2]), "isolation_ceiling")
    assert executed != loss_of(record_of(logits), "isolation_ceiling")


@pytest.mark.parametrize("reduction", ["pooled", "head", "query"])
def test_decoder_layers_are_averaged(reduction: str) -> None:
    one, two = random(2, 2, 3, 7), random(2, 2, 3, 7, seed=1)
    losses = [loss_of(record_of(x), "isolation_ceiling", reduction=reduction) for x in (one, two)]
    both = loss_of(record_of(one, two), "isolation_ceiling", reduction=reduction)
    assert both == pytest.approx(sum(losses) / 2)


def test_training_and_evaluation_see_the_same_share() -> None:
    regularizer = regularizer_of("isolation_ceiling")
    record = record_of(random(2, 2, 3, 7))
    assert torch.equal(regularizer.train()(record)[0], regularizer.eval()(record)[0])


# --- figures ---


@pytest.mark.parametrize("environment", [True, False])
def test_the_figures_are_the_shares_that_inference_reports(environment: bool) -> None:
    layout = layout_of(3, 2, environment=environment)
    logits = random(2, 2, 5, layout.total), random(2, 2, 5, layout.total, seed=1)
    record = record_of(*logits, layout=layout)
    _, figures = regularizer_of("isolation_band")(record)
    shares = shares_of([x.exp() for x in record.cross], layout)
    for name in ("latent", "state", "environment", "vision"):
        if name != "environment" or environment:
            assert figures[f"share_{name}"].item() == pytest.approx(getattr(shares, name), abs=1e-6)
    for name, value in shares.cameras.items():
        assert figures[f"share_{name}"].item() == pytest.approx(value, abs=1e-6)
    assert figures["share_state_p95"].item() == pytest.approx(shares.state_p95)
    assert figures["entropy"].item() == pytest.approx(shares.entropy, abs=1e-6)
    parts = ["latent", "state", "vision"] + ["environment"] * environment
    assert sum(figures[f"share_{name}"].item() for name in parts) == pytest.approx(1)


def test_the_figures_name_the_ratio_its_chance_and_its_log_odds() -> None:
    layout = layout_of(2)
    loss, figures = regularizer_of("isolation_ceiling")(record_of(row(A), layout=layout))
    assert figures["ratio"].item() == pytest.approx(0.736842, abs=1e-6)
    assert figures["chance"].item() == pytest.approx(1 / 3)
    assert figures["log_odds"].item() == pytest.approx(1.722767, abs=1e-5)
    assert figures["lambda"].item() == 1
    assert figures["ceiling"].item() == pytest.approx(0.2)
    assert figures["attention_loss"].item() == loss.item() == pytest.approx(0.536842, abs=1e-6)
    assert not any(x.requires_grad for x in figures.values())
    assert all(x.shape == () for x in figures.values())


def test_a_model_without_state_still_has_its_shares_reported() -> None:
    layout = layout_of(3, 2, state=False)
    loss, figures = regularizer_of("phase1")(record_of(random(1, 2, 3, layout.total), layout=layout))
    assert loss.item() == 0
    assert "share_vision" in figures
    assert "ratio" not in figures


def test_a_percentile_is_by_nearest_rank_over_what_counts() -> None:
    x_BHQ = torch.arange(1.0, 41.0).reshape(2, 2, 10)
    valid = torch.ones(2, 10, dtype=torch.bool)
    assert percentile(x_BHQ, valid, 0.95).item() == 38
    valid[1] = False
    assert percentile(x_BHQ, valid, 0.95).item() == 19
    assert percentile(x_BHQ, ~valid & False, 0.95).item() == 0


def test_figures_of_a_batch_in_which_nothing_counts_are_zero() -> None:
    record = record_of(random(2, 2, 3, 7), valid=torch.zeros(2, 3, dtype=torch.bool))
    assert all(x.item() == 0 for x in attention_figures(record.cross, record.valid_BQ, LAYOUT).values())


# --- schedules, and going on ---


def test_warm_up_counts_optimizer_steps_and_not_calls() -> None:
    record = record_of(row(A), layout=layout_of(2))
    regularizer = regularizer_of("isolation_ceiling", weight=0.01, warmup_start=5_000, warmup_end=10_000)
    full = loss_of(record, "isolation_ceiling", weight=0.01)
    for step, part in ((0, 0), (4999, 0), (5000, 0), (7500, 0.5), (10_000, 1), (20_000, 1)):
        regularizer.step.fill_(step)
        regularizer(record)
        loss, figures = regularizer(record)
        assert loss.item() == pytest.approx(part * full)
        assert figures["lambda"].item() == pytest.approx(part * 0.01)
    regularizer.update()
    assert regularizer.step.item() == 20_001


def test_the_controllers_weight_follows_its_error_once_an_optimizer_step() -> None:
    record = record_of(row(A), layout=layout_of(2))
    regularizer = regularizer_of(
        "isolation_ceiling", ceiling=0.736842 - 0.1, weight_schedule="pi", pi_kp=0.5, pi_ki=0.01
    )
    for n in range(5):
        regularizer(record)  # gradient accumulation: two calls a step
        loss, figures = regularizer(record)
        expected = 0.05 + 0.001 * n if n else 0
        assert figures["lambda"].item() == pytest.approx(expected, abs=1e-6)
        assert loss.item() == pytest.approx(expected * 0.736842, abs=1e-6)  # the share, not a hinge
        regularizer.update()


def test_evaluation_moves_no_controller() -> None:
    regularizer = regularizer_of("isolation_ceiling", weight_schedule="pi").eval()
    regularizer(record_of(row(A), layout=layout_of(2)))
    regularizer.update()
    assert regularizer.pi.value.item() == 0


def test_the_controller_waits_for_the_warm_up_and_for_queries_that_count() -> None:
    regularizer = regularizer_of("isolation_ceiling", weight_schedule="pi", warmup_start=2, warmup_end=3)
    record = record_of(row(A), layout=layout_of(2))
    moved: list[bool] = []
    for valid in (True, True, False, True):
        regularizer(record._replace(valid_BQ=torch.tensor([[valid]])))
        before = regularizer.pi.value.item()
        regularizer.update()
        moved.append(regularizer.pi.value.item() != before)
    assert moved == [False, False, False, True]


@pytest.mark.parametrize("space", ["prob", "logit"])
@pytest.mark.parametrize("unit", ["share", "log_odds"])
def test_the_controllers_error_is_one_of_shares_in_any_unit_and_space(space: str, unit: str) -> None:
    split = Split.of(layout_of(2), "state")
    tau = 0.35 if unit == "share" else math.log(0.35 / 0.65) - split.log_chance
    options: Options = {"ceiling": tau, "threshold_unit": unit, "space": space}
    regularizer = regularizer_of("isolation_ceiling", **options, weight_schedule="pi", pi_kp=0.5, pi_ki=0.01)
    regularizer(record_of(row(A), layout=layout_of(2)))
    regularizer.update()
    assert regularizer.pi.value.item() == pytest.approx(0.51 * (0.736842 - 0.35), abs=1e-6)


@pytest.mark.parametrize("space", ["prob", "logit"])
def test_the_ceiling_gives_way_to_a_held_out_loss_that_suffers(space: str) -> None:
    record = record_of(row([0.1, 0.5, 0.2, 0.2]), layout=layout_of(2))  # share 5/9
    regularizer = regularizer_of("adaptive", ceiling=0.5, beta=0.0, warmup_start=0, warmup_end=0, space=space)
    tight = regularizer(record)[0].item()
    assert tight > 0
    regularizer.observe_heldout(1.0)
    for _ in range(20):
        regularizer.observe_heldout(2.0)
    loss, figures = regularizer(record)
    assert figures["ceiling"].item() == pytest.approx(0.6)
    assert loss.item() == 0


def trained(regularizer: AttentionRegularizer, steps: range) -> list[float]:
    weights: list[float] = []
    for step in steps:
        _, figures = regularizer(record_of(random(2, 2, 3, 7, seed=step)))
        weights += [figures["lambda"].item(), figures["ceiling"].item()]
        regularizer.update()
        if step % 3 == 0:
            regularizer.observe_heldout(1.0 + 0.1 * step)
    return weights


CONTROLLED: Options = {"weight_schedule": "pi", "pi_kp": 0.5, "warmup_start": 2, "warmup_end": 6}
BOTH: Options = CONTROLLED | {"threshold_schedule": "adaptive", "ceiling": 0.1}


def test_a_resumed_run_goes_on_with_the_same_weights() -> None:
    through = regularizer_of("isolation_ceiling", **BOTH)
    expected = trained(through, range(20))
    assert len(set(expected)) > 20  # both schedules moved

    first = regularizer_of("isolation_ceiling", **BOTH)
    begun = trained(first, range(9))
    second = regularizer_of("isolation_ceiling", **BOTH)
    missing, unexpected = second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert not missing
    assert not unexpected
    assert begun + trained(second, range(9, 20)) == expected


def test_a_copy_is_independent_and_holds_no_graph() -> None:
    regularizer = regularizer_of("isolation_ceiling", **BOTH)
    logits = random(2, 2, 3, 7).requires_grad_()
    regularizer(record_of(logits))  # between forward and update
    twin = copy.deepcopy(regularizer)
    regularizer.update()
    assert twin.step.item() == 0
    twin.update()
    assert all(torch.equal(x, twin.state_dict()[name]) for name, x in regularizer.state_dict().items())
    assert not any(x.requires_grad for x in regularizer.buffers())


def test_its_state_is_plain_buffers_and_no_parameter_is_trained() -> None:
    regularizer = regularizer_of("recommended")
    assert not list(regularizer.parameters())
    assert {"step", "pi.integral", "pi.error.total", "relaxation.best"} <= set(regularizer.state_dict())


def share_errors(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    regularizer = regularizer_of("isolation_ceiling", weight_schedule="pi")
    batch = record_of(random(4, 2, 3, 7), valid=torch.tensor([[True] * 3, [True, False, False]] * 2))
    part = slice(0, 1) if rank == 0 else slice(1, 4)
    regularizer(batch._replace(cross=[batch.cross[0][part]], valid_BQ=batch.valid_BQ[part]))
    regularizer.update()
    Path(folder, f"{rank}").write_text(f"{regularizer.pi.value.item()}")
    distributed.destroy_process_group()


def test_two_processes_move_the_controller_as_one_with_the_joint_batch(tmp_path: Path) -> None:
    alone = regularizer_of("isolation_ceiling", weight_schedule="pi")
    alone(record_of(random(4, 2, 3, 7), valid=torch.tensor([[True] * 3, [True, False, False]] * 2)))
    alone.update()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=share_errors, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    for rank in ("0", "1"):
        assert float((tmp_path / rank).read_text()) == pytest.approx(alone.pi.value.item(), rel=1e-6)


# --- mistakes ---


@pytest.mark.parametrize(
    ("options", "record", "message"),
    [
        (
            {"ceiling": 0.2},
            record_of(random(1, 1, 2, 6), layout=layout_of(3, 2, state=False)),
            "no such state",
        ),
        ({"ceiling": 0.2}, record_of(random(1, 1, 2, 6)), "attends to 6 tokens, but the layout has 7"),
        ({"ceiling": 0.2, "attention": "rollout"}, record_of(random(1, 1, 2, 7)), "the record has none"),
        ({"camera_balance": 0.5}, record_of(random(1, 1, 2, 5), layout=layout_of(3)), "has only one"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    options: Options, record: AttentionRecord, message: str
) -> None:
    with pytest.raises(RegularizerError, match=message):
        regularizer_of(weight=1.0, **options)(record)


@pytest.mark.parametrize(("term", "never"), [("entropy_floor", "entropy_shortfall"), ("ceiling", "reduced")])
def test_a_term_that_is_not_asked_for_is_not_computed(
    term: str, never: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError(never)

    monkeypatch.setattr(f"so101_policy.regularizer.loss.{never}", refuse)
    other: Options = {"ceiling": 0.2} if term == "entropy_floor" else {"entropy_floor": 0.9}
    record = record_of(random(2, 2, 3, 7))
    assert regularizer_of(weight=1.0, **other)(record, figures=False)[0] > 0
