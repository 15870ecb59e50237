"""The guard: what it clamps, what it stops, and that nothing whatsoever gets an unsafe action past it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_robot.errors import ConfigError, UnsafeActionError
from so101_robot.guard.guard import Guard, GuardLimits, Verdict
from so101_robot.guard.rig import DEFAULT_JOINTS, Rig
from so101_robot.state import ArmState, Health

LOWER = np.array([-110.0, -100.0, -97.0, -95.0, -180.0, 0.0])
UPPER = np.array([110.0, 100.0, 97.0, 95.0, 180.0, 100.0])
HOME = np.array([0.0, -90.0, 80.0, 60.0, 0.0, 10.0])
TICK_S = 1 / 30


def state(time_s: float = 0.0, **changes: Any) -> ArmState:
    whole = ArmState(time_s, HOME.copy(), np.ones(6, np.bool_), np.zeros(6, np.uint8), None)
    return whole._replace(**changes)


def guard(limits: GuardLimits | None = None, rig: Rig | None = None) -> Guard:
    """Of an arm that is not there: most states here are of one that stands still."""
    new = Guard(limits or GuardLimits(), LOWER, UPPER, rig, measures=False)
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


@pytest.mark.parametrize(
    ("calibrated", "in_file", "allowed"),
    [((-180.0, 180.0), None, 160.0), ((-150.0, 150.0), None, 150.0), ((-180.0, 180.0), 165.0, 165.0)],
    ids=["LeRobot's whole turn", "measured", "in the rig's file"],
)
def test_the_wrist_roll_is_not_led_onto_its_printed_stop(
    calibrated: tuple[float, float], in_file: float | None, allowed: float
):
    lower, upper = LOWER.copy(), UPPER.copy()
    lower[4], upper[4] = calibrated
    roll = replace(DEFAULT_JOINTS["wrist_roll"], lower=in_file and -in_file, upper=in_file)
    one = Guard(GuardLimits(), lower, upper, Rig(joints={**DEFAULT_JOINTS, "wrist_roll": roll}))
    assert (one.lower[4], one.upper[4]) == (-allowed, allowed)
    start = HOME.copy()
    start[4] = allowed - 1
    one.reset(start)
    passed = one.check(start + np.array([0, 0, 0, 0, 5.0, 0]), state(), {}, 0.0).action
    assert passed is not None
    assert passed[4] == allowed


def test_a_wrist_that_stands_beyond_may_come_back():
    one = guard()
    one.reset(HOME + np.array([0, 0, 0, 0, 172.0, 0]))
    for tick, (asked, allowed) in enumerate(((175.0, 172.0), (170.0, 170.0))):
        time_s = tick * TICK_S
        passed = one.check(HOME + np.array([0, 0, 0, 0, asked, 0]), state(time_s), {}, time_s).action
        assert passed is not None
        assert passed[4] == allowed


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


def test_the_goal_of_an_arm_that_does_not_follow_goes_on_slowly_and_that_of_an_imagined_one_does_not():
    commands: dict[bool, float] = {}
    for measures in (True, False):
        one = Guard(GuardLimits(), LOWER, UPPER, measures=measures)
        one.reset(HOME)
        far = HOME + np.array([90.0, 0, 0, 0, 0, 0])
        verdicts = [one.check(far, state(tick * TICK_S), {}, tick * TICK_S) for tick in range(15)]
        assert verdicts[-1].action is not None
        commands[measures] = float(verdicts[-1].action[0])
    assert commands[True] == pytest.approx(
        HOME[0] + 20 + 180 / 30, abs=5
    )  # 2 deg and 0.1 s, and then a twentieth
    assert commands[False] == pytest.approx(HOME[0] + 90)


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
    for now_s in (1.0, 0.96):
        verdict = one.check(HOME + 5, state(1.0), {}, now_s)
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
    with pytest.raises(UnsafeActionError, match=r"shoulder_lift is at -120\.0, outside its calibrated range"):
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


def rig_with(joint: str | None = None, changes: dict[str, float] | None = None, **other: Any) -> Rig:
    """The defaults with some changes, in one joint or in all."""
    wanted = {
        name: replace(rules, **(changes or {})) if joint in (None, name) else rules
        for name, rules in DEFAULT_JOINTS.items()
    }
    return Rig(joints=wanted, **other)


def passed(one: Guard, action: Any, now_s: float, **changes: Any) -> np.ndarray:
    verdict = one.check(action, state(now_s, **changes), {}, now_s)
    assert verdict.action is not None, verdict.stop
    return verdict.action


def health(**values: float) -> Health:
    """The same of every joint: 10 percent, 12 V, 30 degrees, 100 mA, but for what is given."""
    usual = {"load_percent": 10.0, "voltage_v": 12.0, "temperature_c": 30.0, "current_ma": 100.0, **values}
    return Health(np.zeros(6), *(np.full(6, value) for value in usual.values()), np.zeros(6))


# acceleration, flags and file


@pytest.mark.parametrize("rate_hz", [30, 60, 200])
def test_speed_grows_by_the_acceleration_at_any_rate_and_stops_at_once(rate_hz: int):
    one = guard(
        rig=rig_with(changes={"acceleration": 600.0, "step": 90.0}, table_m=None, self_collision=False)
    )
    one.reset(np.zeros(6))
    far, last, reached_s = np.array([100.0, 0, 0, 0, 0, 0]), 0.0, None
    for tick in range(rate_hz):
        verdict = one.check(far, state(tick / rate_hz), {}, tick / rate_hz)
        assert verdict.action is not None
        speed = (verdict.action[0] - last) * (30 if tick == 0 else rate_hz)
        last = verdict.action[0]
        assert speed <= 600 * (tick / rate_hz + 1 / 30) + 1e-6 + 1 / 30 * 600
        if speed > 179.9 and reached_s is None:
            reached_s = tick / rate_hz
        if tick == 2:
            assert [i.rule for i in verdict.interventions] == ["acceleration"]
        if last > 60:
            break
    assert reached_s == pytest.approx(180 / 600 - 1 / 30, abs=0.08)
    now_s = (tick + 1) / rate_hz
    stopped = np.array([last, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(passed(one, stopped, now_s), stopped)


def test_a_flag_beats_the_file_and_the_file_beats_the_default():
    slow = rig_with("elbow_flex", {"speed": 60.0})
    target = HOME + np.array([0, 0, -90, 90, 0, 0])
    moved = passed(guard(rig=slow), target, 0.0) - HOME
    assert (moved[2], moved[3]) == pytest.approx((-2.0, 6.0))
    moved = passed(guard(GuardLimits(joint_speed_deg_s=90.0), slow), target, 0.0) - HOME
    assert (moved[2], moved[3]) == pytest.approx((-3.0, 3.0))


def test_the_file_narrows_a_joint_and_a_joint_that_stands_outside_may_only_come_back():
    one = guard(rig=rig_with("shoulder_pan", {"lower": -30.0, "upper": 20.0}))
    assert passed(one, HOME + np.array([25.0, 0, 0, 0, 0, 0]), 0.0)[0] == pytest.approx(6.0)
    for tick in range(1, 6):
        last = passed(one, HOME + np.array([25.0, 0, 0, 0, 0, 0]), tick * TICK_S)
    assert last[0] == 20.0
    one.reset(HOME + np.array([50.0, 0, 0, 0, 0, 0]))
    assert passed(one, HOME + np.array([55.0, 0, 0, 0, 0, 0]), 1.0)[0] == 50.0
    assert passed(one, HOME + np.array([48.0, 0, 0, 0, 0, 0]), 1.1)[0] == 48.0
    assert passed(one, HOME + np.array([50.0, 0, 0, 0, 0, 0]), 1.2)[0] == 48.0
    one.reset(HOME - np.array([50.0, 0, 0, 0, 0, 0]))
    assert passed(one, HOME - np.array([55.0, 0, 0, 0, 0, 0]), 1.3)[0] == -50.0
    with pytest.raises(ConfigError, match="no room"):
        guard(rig=rig_with("shoulder_pan", {"lower": 120.0, "upper": 130.0}))


# table, workspace, itself


def test_what_stands_in_the_way_is_named_with_its_depth():
    one = guard(rig=Rig(table_m=0.05))
    down = HOME + np.array([0, 70.0, -20.0, 0, 0, 0])
    for tick in range(40):
        verdict = one.check(down, state(tick * TICK_S), {}, tick * TICK_S)
    assert [i.rule for i in verdict.interventions if i.rule not in ("speed", "step")] == ["table"]
    found = verdict.interventions[-1]
    assert found.joint in {"fixed finger's tip", "moving finger's tip"}
    assert found.asked < -1
    assert found.allowed == pytest.approx(0, abs=0.5)
    assert one.last_command is not None
    assert one.objections(one.last_command) == []
    assert "mm too far (table)" in one.objections(down)[0]
    assert (
        "shoulder_lift at 140.0 is not within" in one.objections(HOME + np.array([0, 230.0, 0, 0, 0, 0]))[0]
    )


# budgets


def run_hot(one: Guard, seconds: float, begin_s: float = 0.0, **values: float) -> Verdict:
    """Half a degree a tick asked of the pan, with the same health all the time."""
    verdict = None
    for tick in range(round(seconds / TICK_S)):
        now_s = begin_s + tick * TICK_S
        verdict = one.check(HOME, state(now_s, health=health(**values)), {}, now_s)
        if verdict.action is None:
            break
    assert verdict is not None
    return verdict


def test_a_short_overload_is_tolerated_and_a_long_one_slows_then_stops():
    assert run_hot(guard(), 0.9, current_ma=2700.0).ok
    one = guard()
    assert run_hot(one, 1.5, current_ma=-2700.0).ok  # whatever its sign
    verdict = one.check(HOME + 40, state(1.5, health=health(current_ma=2700.0)), {}, 1.5)
    assert verdict.action is not None
    assert 1.2 < verdict.action[0] < 4.0
    cause = verdict.interventions[-1]
    assert (cause.rule, cause.joint, cause.allowed) == ("overload (current)", "shoulder_pan", 50.0)
    assert 70 < cause.asked < 80
    stopped = run_hot(one, 2.0, begin_s=1.55, current_ma=2700.0)
    assert stopped.stop == "overload (current): shoulder_pan (100, allowed 100)"
    assert run_hot(guard(), 3600.0 / 30, current_ma=890.0).ok


def test_a_servo_that_pushes_with_all_its_duty_is_an_overload_too():
    verdict = run_hot(guard(), 4.0, load_percent=-98.0)
    assert verdict.stop is not None
    assert verdict.stop.startswith("overload (load): shoulder_pan")
    assert run_hot(guard(), 4.0, load_percent=65.0).ok


def test_after_the_overload_the_arm_goes_on_slowly_and_recovers():
    one = guard()
    assert run_hot(one, 3.0, current_ma=2700.0).action is None
    aside = HOME + np.array([60.0, 0, 0, 0, 0, 0])
    before = passed(one, aside, 4.0, health=health())
    moved = passed(one, aside, 4.0 + TICK_S, health=health()) - before
    assert 0.2 * 6.0 <= moved[0] < 0.4 * 6.0
    assert run_hot(one, 20.0, begin_s=4.1).action is not None
    one.reset(HOME)
    assert passed(one, HOME + 40, 30.0, health=health())[0] == pytest.approx(6.0)


def test_a_hot_servo_slows_the_arm_and_a_very_hot_one_stops_it():
    assert run_hot(guard(), 0.2, temperature_c=60.0).ok
    verdict = guard().check(HOME + 40, state(health=health(temperature_c=63.0)), {}, 0.0)
    assert verdict.action is not None
    assert verdict.action[0] == pytest.approx(6.0 * 0.6)
    assert verdict.interventions[-1][:2] == ("temperature", "shoulder_pan")
    assert run_hot(guard(), 0.2, temperature_c=66.0).stop == "temperature: shoulder_pan (66, allowed 66)"


def test_the_way_home_is_slowed_but_not_stopped():
    one = guard()
    assert run_hot(one, 0.2, temperature_c=68.0).action is None
    one.park(HOME)
    assert passed(one, HOME + 40, 1.0, health=health(temperature_c=68.0))[0] == pytest.approx(6.0 * 0.2)
    one.reset(HOME)
    assert one.check(HOME, state(1.1, health=health(temperature_c=68.0)), {}, 1.1).action is None


def test_ticks_without_health_and_servos_without_answer_change_no_budget():
    one = guard()
    run_hot(one, 1.5, current_ma=2700.0)
    unknown = health(current_ma=math.nan, temperature_c=math.nan, load_percent=math.nan)
    with np.errstate(all="raise", under="ignore"):
        slow = passed(one, HOME + 40, 1.5, health=unknown)
    assert slow[0] < 4.0
    further = passed(one, HOME + 40, 1.5 + TICK_S)  # without any health: as slow as before
    assert further[0] - slow[0] == pytest.approx(slow[0], rel=0.01)


# time stamps


def test_a_state_whose_time_runs_backwards_or_lies_ahead_is_stale():
    one = guard()
    passed(one, HOME, 1.0)
    assert one.check(HOME, state(0.95), {}, 1.03).stop == "state runs backwards (-0.05, allowed 0)"
    assert one.check(HOME, state(1.2), {}, 1.06).stop == "state from the future (-0.14, allowed -0.05)"
    assert one.check(HOME, state(1.08), {}, 1.07).ok  # read after the tick began


def test_data_that_stays_the_same_although_ticks_go_by_is_stale_also_to_a_clock_that_stands():
    one = guard()
    verdicts = [one.check(HOME, state(1.0), {}, 1.0) for _ in range(30)]
    assert verdicts[19].ok
    assert verdicts[-1].stop == "state does not get newer (29, allowed 20)"
    one = guard()
    for tick in range(15):  # a camera at 10 pictures a second, a loop at 30
        now_s = tick * TICK_S
        assert one.check(HOME, state(now_s), {"front": now_s - math.floor(now_s * 10) / 10}, now_s).ok


def test_a_camera_whose_pictures_run_backwards_is_stale_and_the_other_one_is_not():
    one = guard()
    assert one.check(HOME, state(1.0), {"front": 0.05, "wrist": 0.05}, 1.0).ok
    verdict = one.check(HOME, state(1.03), {"front": 0.05, "wrist": 0.2}, 1.03)
    assert verdict.stop == "frame runs backwards: wrist (-0.12, allowed 0)"
    assert one.check(HOME, state(1.06), {"front": 0.05, "wrist": 0.05}, 1.06).ok


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


@settings(max_examples=200, deadline=None)
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
        with np.errstate(all="raise", under="ignore"):
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
