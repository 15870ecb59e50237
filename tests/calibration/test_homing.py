"""The mathematics of homing, against the servo's own formula and LeRobot's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so101_calibration.homing import Track, full_turn_joint, homing_for, joint_from_range, roll_ends
from so101_robot.bus.calibration import DEG_PER_STEP, JointCalibration, end_shifts_deg, raw_of, zero_shift_deg


def present(raw: int, offset: int) -> int:
    """What the servo reads: Feetech's formula, written a second time."""
    return (raw - offset) % 4096


@given(st.integers(0, 4095), st.integers(2, 4000))
def test_no_range_of_up_to_4000_steps_crosses_the_wrap_once_it_is_homed(low: int, width: int) -> None:
    joint = joint_from_range(1, low, low + width)
    assert abs(joint.homing_offset) <= 2047
    assert 0 <= joint.range_min < joint.range_max <= 4095
    readings = [present((low + k) % 4096, joint.homing_offset) for k in range(width + 1)]
    assert readings == list(range(joint.range_min, joint.range_max + 1))


@given(st.integers(0, 4095), st.integers(2, 4000), st.integers(-20, 20))
def test_the_middle_of_the_range_is_zero_degrees_whatever_turn_it_was_counted_in(
    low: int, width: int, turns: int
) -> None:
    joint = joint_from_range(1, low + 4096 * turns, low + width + 4096 * turns)
    reading = present((low + width // 2) % 4096, joint.homing_offset)
    assert abs(reading - joint.middle) <= 0.5
    assert reading in (2046, 2047)


@pytest.mark.parametrize(("raw", "reads"), [(2047, 2047), (0, 2047), (4094, 2047), (4095, 2046)])
def test_the_half_turn_that_stops_lerobot_costs_one_step(raw: int, reads: int) -> None:
    """LeRobot's own formula, raw - 2047, gives 2048 at 4095, which 11 bits do not hold."""
    assert present(raw, homing_for(raw)) == reads


@given(st.integers(0, 4095), st.integers(-2047, 2047))
def test_the_bare_encoder_is_recovered_from_what_is_read(raw: int, offset: int) -> None:
    assert raw_of(present(raw, offset), offset) == raw
    assert raw_of(raw, offset, mode=1) == raw  # velocity mode reads it bare


def test_a_wrist_roll_has_the_whole_turn_around_its_pose() -> None:
    assert full_turn_joint(5, 3000) == JointCalibration(5, 0, 953, 0, 4095)


def test_an_offset_that_moved_with_its_range_means_the_same_angles() -> None:
    ours = JointCalibration(1, 0, 100, 1000, 3000)
    assert zero_shift_deg(ours, JointCalibration(1, 0, 150, 950, 2950)) == 0
    assert end_shifts_deg(ours, JointCalibration(1, 0, 150, 950, 2950)) == (0, 0)


def test_an_offset_alone_shifts_the_angles_by_its_steps() -> None:
    ours, theirs = JointCalibration(1, 0, 100, 1000, 3000), JointCalibration(1, 0, 60, 1000, 3000)
    raw = 2222
    angle = [(present(raw, j.homing_offset) - j.middle) * DEG_PER_STEP for j in (ours, theirs)]
    assert zero_shift_deg(ours, theirs) == pytest.approx(angle[1] - angle[0])


def follow(positions: list[int], every_s: float = 0.02) -> Track:
    track = Track()
    for k, position in enumerate(positions):
        track.add(k * every_s, position % 4096)
    return track


def test_a_track_goes_on_counting_over_the_wrap() -> None:
    track = follow([*range(3900, 4500, 20), *[4500] * 10, *range(4500, 3900, -20), *[3900] * 10])
    assert (track.low, track.high) == (3900, 4500)
    assert not track.jumped


def test_a_spring_back_and_a_single_bad_reading_are_no_end() -> None:
    track = follow([*[2000] * 10, *range(2000, 2500, 25), 2540, 2548, *[2500] * 10, 1800, *[2500] * 5])
    assert (track.low, track.high) == (2000, 2500)
    assert track.travel_deg > track.span_deg + 10


def test_a_joint_that_outran_the_readings_is_noticed() -> None:
    assert follow([0, 500, 1600]).jumped


def test_a_new_beginning_keeps_the_count_and_forgets_the_ends() -> None:
    track = follow([*range(4000, 4200, 20), *[4200] * 10])
    track.begin()
    for k in range(10):
        track.add(1 + k * 0.02, 110)
    assert (track.low, track.high, track.travel_deg) == (4200 + 6, 4200 + 6, 6 * DEG_PER_STEP)


@pytest.mark.parametrize("zero", [0, 1000, 2047, 4095, 9000])
def test_the_ends_of_the_roll_are_angles_from_its_zero(zero: int) -> None:
    row = full_turn_joint(5, zero % 4096)
    ends = roll_ends(row, zero, zero - 1800, zero + 1850)
    assert ends is not None
    angles = [(present(zero + k, row.homing_offset) - row.middle) * DEG_PER_STEP for k in (-1800, 1850)]
    assert [ends.lower_deg, ends.upper_deg] == pytest.approx(angles)


@pytest.mark.parametrize("span", [(-600, 600), (100, 3500), (-3000, 3000)])
def test_a_roll_that_met_no_stops_has_no_ends(span: tuple[int, int]) -> None:
    assert roll_ends(full_turn_joint(5, 2000), 2000, 2000 + span[0], 2000 + span[1]) is None
