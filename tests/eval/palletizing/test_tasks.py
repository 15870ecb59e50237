"""Patterns and tasks as data."""

import math

import pytest

from so101_eval.errors import ConfigError, EvalError
from so101_eval.palletizing.scene.tasks import (
    BOX_M,
    PALLET_M,
    PALLET_PLACE_M,
    PAN_AXIS_M,
    PICK_AREA,
    PITCH_U_M,
    PITCH_V_M,
    POSITION_TOLERANCE_MM,
    TASKS,
    Pattern,
    Slot,
    load_task,
)

JAW_ROOM_M = 0.006  # two thin finger tips between neighbours


@pytest.mark.parametrize("name", TASKS)
def test_every_slot_holds_a_box_inside_the_pallet_and_apart_from_its_neighbours(name: str) -> None:
    slots = load_task(name).slots
    for slot in slots:
        assert abs(slot.u_m) + BOX_M / 2 <= PALLET_M[0] / 2
        assert abs(slot.v_m) + BOX_M / 2 <= PALLET_M[1] / 2
    for i, slot in enumerate(slots):
        for other in slots[:i]:
            gap_m = max(abs(slot.u_m - other.u_m), abs(slot.v_m - other.v_m)) - BOX_M
            assert slot.layer != other.layer or gap_m > JAW_ROOM_M


@pytest.mark.parametrize("name", TASKS)
def test_layers_are_filled_from_below_and_each_from_the_far_side(name: str) -> None:
    def azimuth_rad(slot: Slot) -> float:
        return math.atan2(
            PALLET_PLACE_M[1] + slot.v_m - PAN_AXIS_M[1], PALLET_PLACE_M[0] + slot.u_m - PAN_AXIS_M[0]
        )

    slots = load_task(name).slots
    order = [(slot.layer, azimuth_rad(slot)) for slot in slots]
    assert order == sorted(order)
    for slot in slots:  # nothing hangs in the air
        assert slot.layer == 0 or slot._replace(layer=slot.layer - 1) in slots


def test_there_is_a_task_for_each_number_of_boxes_up_to_eight() -> None:
    assert {task.boxes for task in TASKS.values()} == set(range(1, 9))
    assert all(task.time_limit_s > 0 and task.name == name for name, task in TASKS.items())


def test_the_patterns_of_the_issue_exist() -> None:
    assert {task.pattern.name for task in TASKS.values()} >= {"1x1", "2x1", "1x2", "2x2", "1x2x2", "2x2x2"}
    assert Pattern(2, 2).slots[0] == Slot(-PITCH_U_M / 2, -PITCH_V_M / 2, 0)
    assert load_task("palletize-4-layers").slots[2].bottom_m == BOX_M


def test_a_box_at_the_tolerance_covers_its_own_slot_more_than_any_other() -> None:
    assert min(PITCH_U_M, PITCH_V_M) / 2 > POSITION_TOLERANCE_MM / 1000


def test_an_unknown_task_names_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"no task 'palletize-9'; available: palletize-1, .*palletize-8"
    ) as caught:
        load_task("palletize-9")
    assert isinstance(caught.value, EvalError)
    assert isinstance(caught.value, ValueError)


def test_the_distance_from_the_pick_area_is_negative_inside_and_grows_outwards() -> None:
    radius_m, azimuth_rad = 0.18, 0.6

    def at(radius_m: float, azimuth_rad: float) -> float:
        return PICK_AREA.beyond_m(
            PAN_AXIS_M[0] + radius_m * math.cos(azimuth_rad), PAN_AXIS_M[1] + radius_m * math.sin(azimuth_rad)
        )

    assert at(radius_m, azimuth_rad) == pytest.approx(-0.045)
    assert at(PICK_AREA.radius_m[1] + 0.02, azimuth_rad) == pytest.approx(0.02)
    assert at(PICK_AREA.radius_m[0] - 0.01, azimuth_rad) == pytest.approx(0.01)
    assert at(radius_m, PICK_AREA.azimuth_rad[1] + 0.1) == pytest.approx(0.1 * radius_m)
    assert at(radius_m, PICK_AREA.azimuth_rad[0] - 0.1) == pytest.approx(0.1 * radius_m)
