"""The guard: what it clamps, what it stops, and that nothing whatsoever gets an unsafe action past it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from so101_robot.arm import ArmState
from so101_robot.errors import ConfigError, UnsafeActionError
from so101_robot.guard import Guard, GuardLimits, Verdict

LOWER = np.array([-110.0, -100.0, -97.0, -95.0, -180.0, 0.0])
UPPER = np.array([110.0, 100.0, 97.0, 95.0, 180.0, 100.0])
HOME = np.array([0.0, -90.0, 80.0, 60.0, 0.0, 10.0])
TICK_S = 1 / 30


def state(time_s: float = 0.0, **changes: Any) -> ArmState:
    whole = ArmState(time_s, HOME.copy(), np.ones(6, np.bool_), np.zeros(6, np.uint8), None)
    return whole._replace(**changes)


def guard(limits: GuardLimits | None = None) -> Guard:
    new = Guard(limits or GuardLimits(), LOWER, UPPER)
    new.reset(HOME)
    return new


def judge(action: Any, ages_s: dict[str, float] | None = None, now_s: float = 0.0, **changes: Any) -> Verdict:
    return guard().check(action, state()._replace(**changes), ages_s or {}, now_s)


def test_an_ordinary_action_passes_unchanged():
    asked = HOME + np.array([1.0, -2.0, 3.0, 0.5, 5.0, -4.0])
    verdict = judge(asked, ages_s={"front": 0.05})
    assert verdict.ok
    assert verdict.action is not None
    np.testing.assert_array_equal(verdict.action, asked)


def test_a_fast_demonstration_at_30_hz_never_meets_the_guard():
    one = guard()
    for tick in range(300):  # 0.5 Hz, 100 degrees peak to peak: 157 degrees per second
        time_s = tick * TICK_S
        sway = 50 * math.sin(math.pi * time_s)
        action = np.array([sway, -sway, sway / 2, 0.9 * sway, sway, 50 + 0.4 * sway])
        if tick == 0:
            one.reset(action)
        assert one.check(action, state(time_s), {}, time_s).ok


def test_a_goal_beyond_the_calibrated_range_is_cut_to_it():
    one = guard()
    one.reset([0, -99.0, 0, 0, 0, 2.0])
    verdict = one.check([0, -103.0, 0, 0, 0, -1.0], state(), {}, 0.0)
    assert verdict.action is not None
    assert verdict.action[1] == -100.0
    assert verdict.action[5] == 0.0
    assert [(i.rule, i.joint, i.asked, i.allowed) for i in verdict.interventions] == [
        ("limit", "shoulder_lift", -103.0, -100.0),
        ("limit", "gripper", -1.0, 0.0),
    ]


def test_the_margin_keeps_joints_off_their_ends_but_lets_the_gripper_close():
    one = guard(GuardLimits(margin_deg=3.0))
    one.reset([0, -96.0, 0, 0, 0, 1.0])
    verdict = one.check([0, -99.0, 0, 0, 0, 0.0], state(), {}, 0.0)
    assert verdict.action is not None
    assert verdict.action[1] == -97.0
    assert verdict.action[5] == 0.0


def test_a_leap_is_cut_to_the_speed_limit_against_the_last_command_not_the_measured_position():
    lagging = HOME - 30
    verdict = judge(HOME + np.array([90, 0, 0, 0, 0, 0]), position=lagging)
    assert verdict.action is not None
    assert verdict.action[0] == pytest.approx(180 / 30)
    assert [i.rule for i in verdict.interventions] == ["speed"]


def test_after_a_pause_a_command_goes_no_farther_than_one_step():
    one = guard()
    assert one.check(HOME, state(), {}, 0.0).ok
    verdict = one.check(HOME + np.array([90, 0, 0, 0, 0, 60]), state(5.0), {}, 5.0)
    assert verdict.action is not None
    assert verdict.action[0] == 12.0
    assert verdict.action[5] == 30.0
    assert [i.rule for i in verdict.interventions] == ["step", "step"]


def test_a_clock_that_stands_still_or_runs_backwards_gives_no_room():
    one = guard()
    assert one.check(HOME, state(1.0), {}, 1.0).ok
    for now_s in (1.0, 0.95):
        verdict = one.check(HOME + 5, state(now_s), {}, now_s)
        assert verdict.action is not None
        np.testing.assert_array_equal(verdict.action, HOME)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_stops(poison: float):
    action = HOME.copy()
    action[3] = poison
    verdict = judge(action)
    assert verdict.action is None
    assert verdict.stop is not None
    assert verdict.stop.startswith("action is not finite: wrist_flex")
    assert not verdict.ok


@pytest.mark.parametrize(
    "action", [HOME[:5], np.zeros((1, 6)), 3.0, [], None, "six", [[1], [2, 3]], [10**400] * 6]
)
def test_an_action_of_another_shape_stops(action: Any):
    assert judge(action).action is None


def test_old_data_stops_and_says_how_old():
    assert judge(HOME, time_s=-0.15).stop == "state too old (0.15, allowed 0.1)"
    assert judge(HOME, ages_s={"front": 0.1, "wrist": 0.6}).stop == "frame too old: wrist (0.6, allowed 0.5)"


@pytest.mark.parametrize("age_s", [math.nan, math.inf, -math.inf, -0.7])
def test_an_age_that_makes_no_sense_counts_as_old(age_s: float):
    assert judge(HOME, ages_s={"front": age_s}).action is None
    assert judge(HOME, time_s=age_s).action is None


def test_a_servo_that_does_not_answer_stops():
    answered = np.array([True, True, True, False, True, True])
    assert judge(HOME, answered=answered).stop == "servo does not answer: wrist_flex"


def test_a_stop_leaves_the_last_command_where_it_was():
    one = guard()
    first = one.check(HOME + 1, state(), {}, 0.0)
    assert one.check([math.nan] * 6, state(TICK_S), {}, TICK_S).action is None
    assert one.last_command is not None
    assert first.action is not None
    np.testing.assert_array_equal(one.last_command, first.action)


def test_without_a_known_pose_nothing_passes():
    assert Guard(GuardLimits(), LOWER, UPPER).check(HOME, state(), {}, 0.0).action is None


def test_an_arm_that_stands_outside_its_range_is_not_started():
    one = guard()
    one.reset(HOME + np.array([0, -13.0, 0, 0, 0, 0]))
    assert one.last_command is not None
    assert one.last_command[1] == -100.0
    with pytest.raises(
        UnsafeActionError, match=r"shoulder_lift stands at -120\.0, outside its calibrated range"
    ):
        one.reset(HOME + np.array([0, -30.0, 0, 0, 0, 0]))
    assert one.check(HOME, state(), {}, 0.0).action is None
    with pytest.raises(UnsafeActionError, match="cannot start"):
        one.reset([math.nan] * 6)


def test_limits_that_leave_no_room_or_are_no_numbers_are_refused():
    with pytest.raises(ConfigError, match="no room"):
        Guard(GuardLimits(margin_deg=120.0), LOWER, UPPER)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="joint_speed_deg_s"):
            GuardLimits(joint_speed_deg_s=bad)


anything = st.floats(allow_nan=True, allow_infinity=True)
mostly_poses = st.lists(
    st.one_of(st.floats(-400, 400), st.floats(-400, 400), anything), min_size=6, max_size=6
)
hostile_tick = st.tuples(
    st.one_of(mostly_poses, mostly_poses, st.lists(anything, max_size=8)),
    st.one_of(st.floats(-0.1, 0.3), anything),
    st.one_of(st.floats(0, 0.6), anything),
    st.one_of(st.floats(0, 0.12), anything),
    st.lists(st.booleans(), min_size=6, max_size=6) | st.just([True] * 6),
)
hostile_limits = st.builds(
    GuardLimits,
    joint_speed_deg_s=st.floats(1e-3, 1e4),
    gripper_speed_percent_s=st.floats(1e-3, 1e4),
    joint_step_deg=st.floats(1e-3, 300),
    gripper_step_percent=st.floats(1e-3, 100),
    margin_deg=st.floats(0, 40),
)


@settings(max_examples=200)
@given(
    hostile_limits,
    st.lists(st.floats(-300, 300), min_size=6, max_size=6),
    st.lists(hostile_tick, max_size=20),
)
def test_no_sequence_of_inputs_gets_an_unsafe_action_out(
    limits: GuardLimits, start: list[float], ticks: list[tuple[list[float], float, float, float, list[bool]]]
):
    one = Guard(limits, LOWER, UPPER)
    one.reset(np.clip(start, one.lower, one.upper))
    step = np.array([limits.joint_step_deg] * 5 + [limits.gripper_step_percent])
    speed = np.array([limits.joint_speed_deg_s] * 5 + [limits.gripper_speed_percent_s])
    now_s, passed_s = 0.0, None
    for action, pause_s, frame_age_s, state_age_s, answered in ticks:
        now_s += pause_s
        before = one.last_command
        assert before is not None
        given_state = state(now_s - state_age_s, answered=np.array(answered))
        with np.errstate(all="raise"):
            verdict = one.check(action, given_state, {"front": frame_age_s}, now_s)
        if verdict.action is None:
            assert verdict.stop
            assert one.last_command is not None
            np.testing.assert_array_equal(one.last_command, before)
            continue
        elapsed_s = TICK_S if passed_s is None else min(max(now_s - passed_s, 0.0), 1e6)
        passed_s = now_s
        moved = np.abs(verdict.action - before)
        assert np.isfinite(verdict.action).all()
        assert (verdict.action >= LOWER).all()
        assert (verdict.action <= UPPER).all()
        assert (moved <= np.minimum(step, speed * elapsed_s) + 1e-9).all()
        assert all(answered)
        assert now_s - given_state.time_s <= limits.max_state_age_s
        assert frame_age_s <= limits.max_frame_age_s
        assert verdict.ok == bool((verdict.action == np.array(action)).all())
