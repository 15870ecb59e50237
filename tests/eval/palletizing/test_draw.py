"""Resets: pure, replayable, and one factor never moves another."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_eval.errors import ConfigError, LayoutError, RecordError
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, EVAL_SEEDS, check_seed, draw, stream
from so101_eval.palletizing.scene.layout import lay_out_boxes, may_lie
from so101_eval.palletizing.scene.moves import STAYS
from so101_eval.palletizing.scene.reset_data import Reset
from so101_eval.palletizing.scene.scenarios import SCENARIOS, load_scenario
from so101_eval.palletizing.scene.tasks import (
    PALLET_PLACE_M,
    PAN_AXIS_M,
    PICK_AREA,
    SMALL_PICK_AREA,
    TASKS,
    load_task,
)
from so101_robot.guard.collision import Geometry
from so101_robot.guard.kinematics import RAD_PER_UNIT, ZERO_RAD

CELLS = st.tuples(
    st.sampled_from(sorted(TASKS)),
    st.sampled_from(sorted(SCENARIOS)),
    st.integers(0, 3),
    st.sampled_from([EVAL_SEEDS, DEMO_SEEDS]).flatmap(lambda seeds: st.integers(seeds.start, seeds.stop - 1)),
)

CHANGES: dict[str, set[str]] = {
    "light-intensity": {"light.gain"},
    "light-direction": {"light.turn_rad"},
    "light-colour": {"light.tint"},
    "camera-pose": {"cameras"},
    "camera-moved": {"cameras"},
    "camera-bumped": {"bump"},
    "camera-pose-plain": {"cameras", "table_look"},
    "table-texture": {"table_look"},
    "pallet-texture": {"pallet.look"},
    "box-colour": {"boxes.rgb"},
    "box-texture": {"boxes.look"},
    "distractors": {"distractors"},
    "box-start-inside": {"boxes.x_m", "boxes.y_m"},
    "box-start-edge": {"boxes.x_m", "boxes.y_m"},
    "box-start-outside": {"boxes.x_m", "boxes.y_m"},
    "box-everywhere": {"boxes.x_m", "boxes.y_m"},
    "box-moved": {"moves"},
    "pallet-moved": {"moves"},
    "pallet-shift": {"pallet.x_m", "pallet.y_m"},
    "pallet-yaw": {"pallet.yaw_rad"},
    "box-size": {"boxes.edge_m"},
    "box-mass": {"boxes.mass_kg"},
    "friction": {"boxes.friction", "surface_friction"},
    "home-pose": {"arm_rad"},
    "joint-noise": {"senses.joint_noise_deg"},
    "start-anywhere": {"arm_rad"},
    "calibration-error": {"zero_error_rad"},
    "sensor-bias": {"senses.joint_bias_deg"},
    "joint-stuck": {"senses.stuck_s"},
    "joint-delay": {"senses.joint_delay_ticks"},
    "image-blur": {"senses.blur"},
    "image-exposure": {"senses.exposure_stops"},
    "image-drop": {"senses.frame_drop"},
    "image-delay": {"senses.image_delay_ticks"},
    "image-black": {"senses.black_share"},
    "action-latency": {"senses.action_latency_s"},
    "catch-trial": {"boxes.present"},
    "randomised": {
        *("boxes.mass_kg", "boxes.friction", "surface_friction", "servo_strength", "arm_rad"),
        *("pallet.x_m", "pallet.y_m", "pallet.yaw_rad"),
    },
}
"""What each scenario may change in a reset, and must."""


def differences(one: Reset, other: Reset) -> set[str]:
    """Names of the fields that differ, one level deep."""
    found: set[str] = set()
    a, b = dataclasses.asdict(one), dataclasses.asdict(other)
    for name in set(a) - {"scenario", "level"}:
        if a[name] == b[name]:
            continue
        nested: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if name == "boxes":
            nested = list(zip(a[name], b[name], strict=True))
        elif name in ("pallet", "light", "senses"):
            nested = [(a[name], b[name])]
        found |= {f"{name}.{key}" for x, y in nested for key in x if x[key] != y[key]} or {name}
    return found


@settings(max_examples=60, deadline=None)
@given(CELLS)
def test_a_reset_survives_json_to_the_last_bit_and_is_drawn_equal_twice(
    cell: tuple[str, str, int, int],
) -> None:
    reset = draw(*cell)
    assert Reset.from_json(reset.to_json()) == reset
    assert draw(*cell) == reset


def test_seeds_draw_different_starts() -> None:
    starts = {draw("palletize-2", seed=seed).boxes for seed in range(50)}
    assert len(starts) == 50


def test_the_suite_draws_what_it_drew_when_it_got_its_name() -> None:
    first = draw("palletize-4", "randomised", 2, 7)
    places_mm = [(round(box.x_m * 1e3, 2), round(box.y_m * 1e3, 2)) for box in first.boxes]
    assert places_mm == GOLDEN_PLACES_MM
    assert [round(box.yaw_rad, 3) for box in first.boxes] == GOLDEN_YAWS
    assert (round(first.pallet.x_m * 1e3, 3), round(first.pallet.yaw_rad, 5)) == GOLDEN_PALLET


GOLDEN_PLACES_MM = [(201.31, 139.1), (154.48, 109.5), (227.13, 74.73), (185.48, 38.21)]
GOLDEN_YAWS = [1.034, -0.987, -2.917, -1.775]
GOLDEN_PALLET = (196.214, -0.18908)


@pytest.mark.parametrize("scenario", CHANGES)
def test_a_scenario_changes_what_it_says_and_nothing_else(scenario: str) -> None:
    found: set[str] = set()
    for seed in range(12):
        nominal = draw("palletize-4", seed=seed)
        assert draw("palletize-4", scenario, 0, seed) == dataclasses.replace(nominal, scenario=scenario)
        changes = differences(nominal, draw("palletize-4", scenario, 3, seed))
        assert changes <= CHANGES[scenario]
        found |= changes
    assert found == CHANGES[scenario]


def test_every_scenario_is_held_to_what_it_says() -> None:
    combinations = {name for name, scenario in SCENARIOS.items() if " + " in scenario.source}
    assert set(CHANGES) == set(SCENARIOS) - combinations - {"nominal"}
    for name in combinations:
        allowed = set[str]().union(*(CHANGES[part] for part in load_scenario(name).source.split(" + ")))
        assert differences(draw("palletize-4", seed=3), draw("palletize-4", name, 3, 3)) <= allowed


def test_two_factors_together_are_drawn_as_each_alone() -> None:
    both = draw("palletize-4", "moved-bench", 2, 11)
    assert both.arm_rad == draw("palletize-4", "home-pose", 2, 11).arm_rad
    assert both.pallet.yaw_rad == draw("palletize-4", "pallet-yaw", 2, 11).pallet.yaw_rad
    assert both.pallet.x_m == draw("palletize-4", "pallet-shift", 2, 11).pallet.x_m


def test_levels_go_the_same_way_farther_each() -> None:
    for seed in range(20):
        turns = [draw("palletize-2", "pallet-yaw", level, seed).pallet.yaw_rad for level in (1, 2, 3)]
        assert np.all(np.diff(np.abs(turns)) > 0)
        assert len({math.copysign(1, turn) for turn in turns}) == 1
        shifts = [
            draw("palletize-2", "camera-pose", level, seed).cameras["front"].shift_m for level in (1, 2, 3)
        ]
        np.testing.assert_allclose(np.array(shifts[2]) / 0.020, np.array(shifts[0]) / 0.005, atol=1e-12)
        masses = [
            draw("palletize-2", "box-mass", level, seed).boxes[0].mass_kg - 0.020 for level in (1, 2, 3)
        ]
        assert np.all(np.diff(np.abs(masses)) > 0)


@pytest.mark.parametrize("task", TASKS)
def test_boxes_lie_apart_in_the_pick_area_and_can_always_be_laid_out(task: str) -> None:
    area = load_task(task).pick_area
    for seed in range(40):
        places = [(box.x_m, box.y_m) for box in draw(task, seed=seed).boxes]
        assert all(area.beyond_m(*place) <= 0 for place in places)
        gaps_m = [math.dist(a, b) for i, a in enumerate(places) for b in places[:i]]
        assert all(gap_m >= area.separation_m for gap_m in gaps_m)


@pytest.mark.parametrize("task", ["palletize-1", "palletize-4", "palletize-8"])
def test_start_bands_lie_inside_at_and_outside_of_the_border(task: str) -> None:
    area = load_task(task).pick_area

    def beyond_m(scenario: str, level: int) -> list[float]:
        resets = [draw(task, scenario, level, seed) for seed in range(15)]
        return [area.beyond_m(box.x_m, box.y_m) for reset in resets for box in reset.boxes[:2]]

    assert max(beyond_m("box-start-inside", 3)) <= -0.012
    assert max(np.abs(beyond_m("box-start-edge", 2))) <= 0.005
    assert min(beyond_m("box-start-outside", 1)) >= 0.005
    assert min(beyond_m("box-start-outside", 3)) >= 0.030


def test_boxes_that_do_not_fit_are_an_error_and_not_an_endless_loop() -> None:
    with pytest.raises(LayoutError, match="12 boxes do not fit 48 mm apart"):
        lay_out_boxes(PICK_AREA, 12, stream("layout", 0))


def test_a_pallet_that_is_shifted_is_off_by_as_much_as_it_says() -> None:
    for seed in range(30):
        pallet = draw("palletize-4", "pallet-shift", 3, seed).pallet
        assert math.dist((pallet.x_m, pallet.y_m), PALLET_PLACE_M) == pytest.approx(0.040)
        around = draw("palletize-4", "randomised", 2, seed).pallet
        assert abs(around.x_m - PALLET_PLACE_M[0]) <= 0.012
        assert abs(around.yaw_rad) <= 0.2


def test_demonstration_and_evaluation_seeds_are_disjoint_and_that_is_checked() -> None:
    assert not set(EVAL_SEEDS) & set(DEMO_SEEDS)
    assert check_seed(EVAL_SEEDS.start, "eval") == EVAL_SEEDS.start
    assert check_seed(DEMO_SEEDS.start, "demo") == DEMO_SEEDS.start
    with pytest.raises(ConfigError, match=r"seed 5 is not for demo; demo seeds are 1000000 to 1999999"):
        check_seed(5, "demo")
    with pytest.raises(ConfigError, match="is not for eval"):
        check_seed(DEMO_SEEDS.start, "eval")
    with pytest.raises(ConfigError, match="not for 'training'"):
        check_seed(5, "training")


def test_what_cannot_be_drawn_says_what_can() -> None:
    with pytest.raises(ConfigError, match=r"seed -1: possible are 0 to 1999999"):
        draw("palletize-2", seed=-1)
    with pytest.raises(ConfigError, match=r"no suite 'v0'; this version draws v1 and v2"):
        draw("palletize-2", suite="v0")
    with pytest.raises(ConfigError, match="no level -1"):
        draw("palletize-2", "friction", -1)


def test_the_first_suite_is_still_drawn_as_it_was() -> None:
    for scenario in ("nominal", "camera-pose", "joint-bias"):
        before = draw("palletize-2", scenario, 2, 7, suite="v1")
        assert (before.suite, before.scenario) == ("v1", scenario)
        now = {"camera-pose": "camera-moved", "joint-bias": "sensor-bias"}.get(scenario, scenario)
        again = dataclasses.replace(draw("palletize-2", now, 2, 7), suite="v1", scenario=scenario)
        assert before == again
    assert np.linalg.norm(draw("palletize-2", "camera-pose", 2, 7, "v1").cameras["front"].shift_m) == (
        pytest.approx(0.050)
    )
    assert np.linalg.norm(draw("palletize-2", "camera-pose", 2, 7).cameras["front"].shift_m) == (
        pytest.approx(0.010)
    )


def test_a_zero_error_is_as_large_as_it_says_in_every_joint_and_goes_either_way() -> None:
    errors_deg = np.degrees(
        [draw("palletize-2", "calibration-error", 3, seed).zero_error_rad for seed in range(20)]
    )
    np.testing.assert_allclose(np.abs(errors_deg), 2.0)
    assert (np.sign(errors_deg).min(axis=0) == -1).all()
    assert (np.sign(errors_deg).max(axis=0) == 1).all()


@pytest.mark.parametrize("task", ["palletize-1-small", "palletize-1", "palletize-4", "palletize-8"])
def test_what_is_moved_ends_where_the_arm_can_deal_with_it(task: str) -> None:
    area = load_task(task).pick_area
    for seed in range(20):
        for level, length_m in ((1, 0.015), (3, 0.040)):
            reset = draw(task, "box-moved", level, seed)
            assert reset.moves is not None
            assert 0.060 <= reset.moves.near_m <= 0.090
            for i, (box, way_m) in enumerate(zip(reset.boxes, reset.moves.boxes_m, strict=True)):
                if way_m == STAYS:
                    assert len(reset.boxes) == 8  # no room
                    continue
                end = box.x_m + way_m[0], box.y_m + way_m[1]
                assert math.hypot(*way_m) == pytest.approx(length_m)
                others = [(b.x_m, b.y_m) for k, b in enumerate(reset.boxes) if k != i]
                assert may_lie(area, end, others)
                if level == 1 and not others:
                    assert area.beyond_m(*end) <= 0
            pallet = draw(task, "pallet-moved", level, seed)
            assert pallet.moves is not None
            assert pallet.moves.pallet_m is not None
            assert math.hypot(*pallet.moves.pallet_m) == pytest.approx(length_m)


def test_any_safe_pose_is_clear_of_table_and_arm_and_not_always_the_same() -> None:
    geometry = Geometry(0.05, None, -0.002)
    poses = [
        draw("palletize-1", "start-anywhere", level, seed).arm_rad for seed in range(30) for level in (1, 3)
    ]
    for pose_rad in poses:
        assert not geometry.violations((np.array(pose_rad) - ZERO_RAD) / RAD_PER_UNIT)
    assert np.ptp([pose[0] for pose in poses]) > 1.0  # the arm looks to both sides
    assert np.ptp([pose[3] for pose in poses]) > 1.0  # and does not always point down


@pytest.mark.parametrize("damage", ["cut", "missing", "unknown", "kind", "word"])
def test_a_damaged_record_is_one_clear_error(damage: str) -> None:
    text = draw("palletize-1").to_json()
    record = json.loads(text)
    if damage == "cut":
        text = text[:-20]
    elif damage == "word":
        text = '"palletize-1"'
    elif damage == "missing":
        del record["pallet"]
        text = json.dumps(record)
    elif damage == "unknown":
        text = json.dumps({**record, "wind": 3})
    else:
        text = json.dumps({**record, "arm_rad": "home"})
    with pytest.raises(RecordError, match="not a stored reset"):
        Reset.from_json(text)


def test_straight_boxes_point_away_from_the_arm_and_lie_where_turned_ones_do():
    for seed in range(40):
        straight, turned = draw("palletize-1-straight", seed=seed), draw("palletize-1", seed=seed)
        (box,), (other,) = straight.boxes, turned.boxes
        assert (box.x_m, box.y_m) == (other.x_m, other.y_m)
        radial_rad = math.atan2(box.y_m - PAN_AXIS_M[1], box.x_m - PAN_AXIS_M[0])
        assert abs(box.yaw_rad - radial_rad) <= math.radians(20.0)
    assert max(abs(draw("palletize-1", seed=seed).boxes[0].yaw_rad) for seed in range(40)) > 2.0


def test_the_small_pick_area_is_the_middle_of_the_large_one():
    boxes = [draw("palletize-1-small", seed=seed).boxes[0] for seed in range(60)]
    assert all(SMALL_PICK_AREA.beyond_m(box.x_m, box.y_m) <= 0 for box in boxes)
    assert max(PICK_AREA.beyond_m(box.x_m, box.y_m) for box in boxes) < -0.015
    for pick in (lambda box: box.x_m, lambda box: box.y_m):
        assert np.ptp([pick(box) for box in boxes]) > 0.04
    outside = draw("palletize-1-small", "box-start-outside", level=2, seed=3).boxes[0]
    assert 0.015 <= SMALL_PICK_AREA.beyond_m(outside.x_m, outside.y_m) <= 0.030
