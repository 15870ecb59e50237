"""Scenarios as data: complete, ordered, and honest about what is visual."""

from dataclasses import fields

import pytest

from so101_eval.errors import ConfigError
from so101_eval.evaluation.plan import parse_cells
from so101_eval.palletizing.scene.scenarios import LEVELS, SCENARIOS, Knobs, changed, load_scenario

AXES_OF_THE_ISSUE = {
    *("light-intensity", "light-direction", "light-colour", "camera-pose", "camera-pose-plain"),
    *("table-texture", "pallet-texture", "box-colour", "box-texture", "distractors"),
    *("box-start-inside", "box-start-edge", "box-start-outside", "pallet-shift", "pallet-yaw"),
    *("box-size", "box-mass", "friction", "home-pose"),
    *("camera-moved", "camera-bumped", "box-moved", "pallet-moved", "box-everywhere"),
    *("start-anywhere", "calibration-error"),
    *("joint-noise", "sensor-bias", "joint-stuck", "joint-delay"),
    *("image-blur", "image-exposure", "image-drop", "image-delay", "image-black"),
    *("action-latency", "catch-trial", "randomised"),
}


def test_every_axis_exists_and_a_few_combinations() -> None:
    assert set(SCENARIOS) >= AXES_OF_THE_ISSUE
    assert len(set(SCENARIOS) - AXES_OF_THE_ISSUE - {"nominal"}) >= 3


def test_every_knob_is_turned_by_some_scenario() -> None:
    turned = {
        knob for scenario in SCENARIOS.values() for level in LEVELS for knob in changed(scenario.knobs(level))
    }
    assert turned == {field.name for field in fields(Knobs)}


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - {"nominal"}))
def test_level_0_is_nominal_and_every_level_turns_the_same_knobs_farther(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.knobs(0) == Knobs()
    rows = [changed(scenario.knobs(level)) for level in (1, 2, 3)]
    assert rows[0]
    assert rows[0].keys() == rows[1].keys() == rows[2].keys()
    assert rows[0] != rows[1] != rows[2]
    for knob in rows[0]:
        if knob in ("start_band_m", "start_band_boxes") or isinstance(rows[0][knob], bool):
            continue
        reaches = [_reach(row[knob]) for row in rows]
        assert reaches == sorted(reaches)


def _reach(value: float | tuple[float, float]) -> float:
    return value[1] - value[0] if isinstance(value, tuple) else value


def test_a_combination_turns_the_knobs_of_its_parts_at_the_same_level() -> None:
    for name in ("another-room", "other-boxes", "moved-bench", "bad-senses"):
        combination = load_scenario(name)
        parts = [load_scenario(part) for part in combination.source.split(" + ")]
        for level in LEVELS:
            expected: dict[str, object] = {}
            for part in parts:
                expected |= changed(part.knobs(level))
            assert changed(combination.knobs(level)) == expected
        assert combination.visual == all(part.visual for part in parts)


def test_what_no_arm_can_be_in_has_a_name_that_says_so_and_is_not_played_by_default() -> None:
    assert load_scenario("joint-bias") is load_scenario("sensor-bias")
    assert [name for name, scenario in SCENARIOS.items() if not scenario.possible] == ["sensor-bias"]
    assert "arms do not do this" in load_scenario("sensor-bias").description
    played = [name for name, _ in parse_cells("all")]
    assert set(SCENARIOS) - set(played) == {"sensor-bias"}
    assert parse_cells("joint-bias") == (("sensor-bias", 2),)


def test_an_unknown_scenario_and_a_level_that_does_not_exist_say_what_does() -> None:
    with pytest.raises(
        ConfigError, match=r"no scenario 'fog'; available: nominal, light-intensity, .*catch-trial"
    ):
        load_scenario("fog")
    with pytest.raises(ConfigError, match=r"'distractors' has no level 4; possible are 0, 1, 2, 3"):
        load_scenario("distractors").knobs(4)


def test_domain_randomisation_is_what_was_agreed() -> None:
    knobs = load_scenario("randomised").knobs(2)
    assert (knobs.friction, knobs.servo_strength, knobs.box_mass) == ((0.6, 1.3), (0.85, 1.15), (0.5, 2.0))
    assert (knobs.pallet_shift_m, knobs.pallet_yaw_rad, knobs.start_pose_rad) == (0.012, 0.2, 0.03)
    assert knobs.pallet_shift_within
    assert knobs.pallet_yaw_within
    assert knobs.start_pose_within
