"""A configuration resolves its preset, survives being saved, and refuses what contradicts itself."""

import itertools
import json
from dataclasses import dataclass, field, fields, replace
from typing import Any

import draccus
import pytest

from so101_policy.errors import PolicyError, RegularizerError
from so101_policy.regularizer.config import CHOICES, PRESETS, RegularizerConfig


@dataclass
class Run:
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_leaves_no_field_open(preset: str) -> None:
    config = RegularizerConfig(preset=preset)
    assert all(getattr(config, x.name) is not None for x in fields(config))
    for name, value in PRESETS[preset].items():
        assert getattr(config, name) == value


def test_nothing_is_the_default() -> None:
    config = RegularizerConfig()
    assert config.is_off
    assert not any((config.wants_attention, config.wants_encoder_attention, config.touches_inputs))
    assert not any((config.has_ceiling, config.has_floor))


def test_what_is_given_wins_over_the_preset_and_the_rest_is_the_presets() -> None:
    config = RegularizerConfig(preset="phase3", ceiling=0.3)
    assert (config.ceiling, config.floor, config.weight, config.floor_weight) == (0.3, 0.10, 0.005, 0.5)
    assert not RegularizerConfig(preset="isolation_band", isolation=False).isolation
    assert RegularizerConfig(preset="recommended", state_dropout=0.0).state_dropout == 0


def test_the_seed_ideas_numbers_are_in_their_presets() -> None:
    assert RegularizerConfig("phase1").state_dropout == 0.3
    phase2 = RegularizerConfig("phase2")
    assert (phase2.weight, phase2.ceiling, phase2.has_floor) == (0.005, 0.35, False)
    assert RegularizerConfig("phase3").floor == 0.10
    adaptive = RegularizerConfig("adaptive")
    assert (adaptive.ceiling, adaptive.adaptive_step, adaptive.warmup_end) == (0.30, 0.10, 10_000)


def test_the_arms_of_the_ablation_differ_by_one_thing_each() -> None:
    def differences(one: str, other: str) -> set[str]:
        configs = RegularizerConfig(one), RegularizerConfig(other)
        return {
            x.name for x in fields(RegularizerConfig) if len({getattr(c, x.name) for c in configs}) > 1
        } - {"preset"}

    arms = ["none", "isolation", "isolation_ceiling", "isolation_band", "isolation_band_dropout"]
    expected = [{"isolation"}, {"weight", "ceiling"}, {"floor"}, {"state_dropout"}]
    assert [differences(*pair) for pair in itertools.pairwise(arms)] == expected


def test_a_recommended_regularizer_isolates_and_has_a_band() -> None:
    config = RegularizerConfig("recommended")
    assert config.isolation
    assert config.has_ceiling
    assert config.has_floor


@pytest.mark.parametrize(
    ("options", "attention", "encoder", "inputs", "off"),
    [
        ({}, False, False, False, True),
        ({"state_noise": 0.1}, False, False, True, False),
        ({"isolation": True}, False, False, False, False),
        ({"weight": 1.0, "ceiling": 0.2}, True, False, False, False),
        ({"weight": 1.0, "ceiling": 0.2, "attention": "rollout"}, True, True, False, False),
        ({"attention": "rollout", "ceiling": 0.2}, False, False, False, True),
    ],
)
def test_a_configuration_says_what_it_needs(
    options: dict[str, Any], attention: bool, encoder: bool, inputs: bool, off: bool
) -> None:
    config = RegularizerConfig(**options)
    found = (config.wants_attention, config.wants_encoder_attention, config.touches_inputs, config.is_off)
    assert found == (attention, encoder, inputs, off)


def test_flags_of_a_command_reach_it() -> None:
    flags = ["--regularizer.preset=recommended", "--regularizer.ceiling=0.3", "--regularizer.isolation=false"]
    config = draccus.parse(Run, args=[*flags, "--regularizer.warmup_end=10"]).regularizer
    assert config == RegularizerConfig("recommended", ceiling=0.3, isolation=False, warmup_end=10)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_comes_back_from_a_file_as_it_was(preset: str) -> None:
    config = Run(RegularizerConfig(preset=preset, state_noise=0.05))
    text = json.dumps(draccus.encode(config), allow_nan=False)
    assert json.loads(text)["regularizer"]["state_noise"] == 0.05
    assert draccus.decode(Run, json.loads(text)) == config


def test_in_log_odds_zero_is_a_threshold_like_any_other() -> None:
    config = RegularizerConfig(threshold_unit="log_odds", weight=1.0, ceiling=1.0, floor=0.0)
    assert config.has_ceiling
    assert config.has_floor
    config = RegularizerConfig(threshold_unit="log_odds", weight=1.0, ceiling=-2.0)
    assert config.has_ceiling
    assert not config.has_floor


def test_the_adaptive_ceiling_must_leave_room_to_rise() -> None:
    with pytest.raises(RegularizerError, match=r"0\.95 \+ 0\.1; it must stay below 1"):
        RegularizerConfig("adaptive", ceiling=0.95)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"preset": "phase4"}, r"'phase4' is unknown; possible: none, phase1, phase2"),
    *(
        ({name: "no"}, f"{name}='no' is unknown; possible: {possible[0]}")
        for name, possible in CHOICES.items()
    ),
    ({"state_dropout": 1.1}, r"state_dropout=1.1 is out of range; possible: \[0, 1\]"),
    ({"state_dim_dropout": -0.1}, r"state_dim_dropout=-0.1 is out of range"),
    ({"camera_dropout": float("nan")}, r"camera_dropout=nan is out of range"),
    ({"state_noise": float("inf")}, r"state_noise=inf is out of range"),
    ({"weight": -1.0, "ceiling": 0.2}, r"weight=-1.0 is out of range"),
    ({"cvar_fraction": 0.0}, r"cvar_fraction=0.0 is out of range; possible: \(0, 1\]"),
    ({"weight": 1.0, "ceiling": 0.1, "floor": 0.2}, r"ceiling 0.1 is not above the floor 0.2"),
    ({"weight": 1.0, "ceiling": 0.2, "floor": 0.2}, r"ceiling 0.2 is not above the floor 0.2"),
    ({"weight": 1.0, "ceiling": 1.1}, r"ceiling=1.1 is out of range; possible: \[0, 1\]"),
    ({"weight": 1.0, "ceiling": 0.0, "space": "logit"}, r"ceiling 0 is not above the floor 0"),
    ({"weight": 1.0}, r"none of its terms is on; give at least one of ceiling, floor"),
    ({"weight": 1.0, "entropy_floor": 0.5, "entropy_weight": 0.0}, r"none of its terms is on"),
    ({"warmup_start": 10, "warmup_end": 5}, r"ends at step 5, before it starts at step 10"),
    ({"warmup_start": -1}, r"warmup_start=-1 is out of range"),
    ({"adaptive_low": 1.4}, r"1 <= low < high"),
    ({"weight": 1.0, "floor": 0.1, "weight_schedule": "pi"}, r"'pi' moves a ceiling, but there is none"),
    ({"weight": 1.0, "floor": 0.1, "threshold_schedule": "adaptive"}, r"'adaptive' moves a ceiling"),
    ({"preset": "adaptive", "adaptive_step": 0.0}, r"adaptive_step=0.0 is out of range"),
    ({"preset": "phase3", "threshold_unit": "log_odds"}, r"has its ceiling and floor as a share"),
    ({"preset": "phase3", "threshold_unit": "log_odds", "ceiling": 1.0}, r"give floor too"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_a_mistake_is_refused_with_what_is_possible(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RegularizerError, match=message) as caught:
        RegularizerConfig(**options)
    assert isinstance(caught.value, PolicyError)
    assert isinstance(caught.value, ValueError)


def test_changing_a_resolved_configuration_checks_it_again() -> None:
    with pytest.raises(RegularizerError, match="not above the floor"):
        replace(RegularizerConfig("phase3"), floor=0.4)
