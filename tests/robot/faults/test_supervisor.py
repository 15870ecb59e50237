"""The supervisor's rules, tick by tick, and the symptoms that it is told."""

from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so101_robot.bus.protocol import Errors
from so101_robot.faults.fault import Fault, Mode, Symptom
from so101_robot.faults.supervisor import FAULT_RULES, POLICY_FAULTS, Judgement, Rule, Supervisor
from so101_robot.faults.symptoms import (
    LeapCheck,
    PictureCheck,
    action_symptoms,
    guard_symptoms,
    servo_symptoms,
)
from so101_robot.guard.guard import Guard, GuardLimits, GuardRule, Intervention, Verdict
from so101_robot.joints import JOINTS
from so101_robot.message import Message, Severity
from so101_robot.motion.slow_motion import SlowMotion
from so101_robot.state import Frame

SILENT = Symptom("servo silent", "elbow_flex", "servo 3 (elbow_flex) does not answer")
RULES: dict[Fault, Rule] = {
    **FAULT_RULES,
    "servo silent": Rule(tolerate_s=0.2, hold_s=1.0, clear_s=0.1),
    "overload": Rule(hold_s=1.0, clear_s=0.1, grip=True),
}


def judged(supervisor: Supervisor, time_s: float, *symptoms: Symptom, unknown: Any = ()) -> Judgement:
    return supervisor.judge(time_s, symptoms, unknown)


def modes(supervisor: Supervisor, times_s: Any, *symptoms: Symptom) -> list[str]:
    return [str(judged(supervisor, time_s, *symptoms).mode) for time_s in times_s]


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor(RULES)


def test_there_is_a_rule_for_every_fault():
    assert set(FAULT_RULES) == set(get_args(Fault))
    assert set(FAULT_RULES) >= POLICY_FAULTS


def test_a_fault_is_borne_then_holds_then_parks(supervisor: Supervisor):
    times_s = [0.0, 0.1, 0.19, 0.2, 0.7, 1.19, 1.2]
    expected = ["degraded"] * 3 + ["holding"] * 3 + ["parking"]
    assert modes(supervisor, times_s, SILENT) == expected


def test_a_fault_that_goes_lets_the_arm_work_again_once_it_stays_away(supervisor: Supervisor):
    judged(supervisor, 0.0, SILENT)
    assert judged(supervisor, 0.3, SILENT).mode is Mode.HOLDING
    assert judged(supervisor, 0.35).mode is Mode.HOLDING
    assert judged(supervisor, 0.39).mode is Mode.HOLDING
    back = judged(supervisor, 0.4)
    assert back.mode is Mode.RUNNING
    assert back.words == ""
    assert back.faults == {}


def test_a_fault_that_has_gone_grows_no_worse_while_it_is_waited_for(supervisor: Supervisor):
    judged(supervisor, 0.0, SILENT)
    judged(supervisor, 0.19, SILENT)
    assert judged(supervisor, 0.28).mode is Mode.DEGRADED


def test_a_flickering_fault_is_one_fault(supervisor: Supervisor):
    seen = [judged(supervisor, 0.05 * tick, *([SILENT] if tick % 2 == 0 else [])).mode for tick in range(26)]
    assert Mode.RUNNING not in seen
    assert seen[-1] is Mode.PARKING


def test_the_worst_of_several_faults_decides_and_all_are_told(supervisor: Supervisor):
    warm = Symptom("warm", "gripper", "servo 6 (gripper) is at 61 degrees")
    overload = Symptom("overload", "elbow_flex", "overload")
    assert judged(supervisor, 0.0, warm).mode is Mode.DEGRADED
    both = judged(supervisor, 0.1, warm, overload)
    assert (both.mode, both.words, both.cause) == (Mode.HOLDING, "overload", overload)
    assert set(both.faults) == {"warm: gripper", "overload: elbow_flex"}


def test_what_is_borne_without_end_never_holds(supervisor: Supervisor):
    grip = Symptom("gripper overload", "gripper", "overload")
    assert set(modes(supervisor, range(0, 10_000, 100), grip)) == {"degraded"}


def test_faults_without_a_patience_of_their_own_have_that_of_the_run():
    broken = Symptom("policy answers no pose", "", "nan")
    assert modes(Supervisor(FAULT_RULES, 0.5), [0, 0.4, 0.5], broken) == ["holding", "holding", "parking"]
    assert modes(Supervisor(FAULT_RULES, 2.0), [0, 1.9, 2.0], broken) == ["holding", "holding", "parking"]


def test_what_a_tick_cannot_tell_goes_on_as_it_was(supervisor: Supervisor):
    broken = Symptom("policy answers no pose", "", "nan")
    judged(supervisor, 0.0, broken)
    assert judged(supervisor, 0.5, unknown=POLICY_FAULTS).mode is Mode.HOLDING
    assert judged(supervisor, 1.0, unknown=POLICY_FAULTS).mode is Mode.PARKING
    assert judged(Supervisor(RULES), 0.0, unknown=POLICY_FAULTS).mode is Mode.RUNNING


def test_an_answer_that_is_good_again_ends_the_hold_at_once(supervisor: Supervisor):
    judged(supervisor, 0.0, Symptom("policy answers no pose", "", "nan"))
    judged(supervisor, 0.4, unknown=POLICY_FAULTS)
    assert judged(supervisor, 0.5).mode is Mode.RUNNING


def test_there_is_no_way_back_from_parking_and_released(supervisor: Supervisor):
    supervisor.park()
    assert judged(supervisor, 0.0).mode is Mode.PARKING
    supervisor.released()
    assert judged(supervisor, 0.0, SILENT).mode is Mode.RELEASED


def test_the_arm_is_gripped_when_a_fault_begins_that_asks_for_it(supervisor: Supervisor):
    first, second = Symptom("overload", "elbow_flex", "o"), Symptom("overload", "wrist_flex", "o")
    grips = [
        judged(supervisor, 0.1 * tick, *symptoms).grip
        for tick, symptoms in enumerate(
            [[SILENT], [first], [first], [first, second], [second], [], [], [first]]
        )
    ]
    assert grips == [False, True, False, True, False, False, False, True]


def test_the_arm_is_gripped_again_while_the_fault_lasts(supervisor: Supervisor):
    overload = Symptom("overload", "elbow_flex", "o")
    grips = [judged(supervisor, 0.1 * tick, overload).grip for tick in range(9)]
    assert grips == [True, False, False, False, False, True, False, False, False]


def test_every_beginning_and_end_and_change_of_mode_is_news_once(supervisor: Supervisor):
    news = [judged(supervisor, time_s, SILENT).news for time_s in (0.0, 0.1, 0.2, 0.3)]
    news += [judged(supervisor, time_s).news for time_s in (0.35, 0.45, 0.5)]
    who = "servo silent: elbow_flex"
    assert news == [
        (
            Message(f"{who} ({SILENT.words})", Severity.WARNING),
            Message(f"degraded: {SILENT.words}", Severity.WARNING),
        ),
        (),
        (Message(f"holding: {SILENT.words}", Severity.ERROR),),
        (),
        (),
        (
            Message(f"{who} is over after 0.5 s", Severity.RECOVERED),
            Message("running", Severity.RECOVERED),
        ),
        (),
    ]


SYMPTOMS = st.lists(st.sampled_from([Symptom(fault, "", fault) for fault in FAULT_RULES]), max_size=3)


@given(st.lists(st.tuples(st.floats(0.001, 1.0), SYMPTOMS), max_size=40))
def test_the_same_symptoms_give_the_same_modes_and_only_known_ways_are_gone(story: list[Any]):
    both = Supervisor(), Supervisor()
    time_s, before = 0.0, Mode.RUNNING
    for step_s, symptoms in story:
        time_s += step_s
        one, other = (judged(supervisor, time_s, *symptoms) for supervisor in both)
        assert one == other
        assert (before is Mode.PARKING) <= (one.mode is Mode.PARKING)
        assert one.mode is not Mode.RELEASED
        assert bool(one.faults) == (one.mode is not Mode.RUNNING) or one.mode is Mode.PARKING
        before = one.mode


# symptoms


def state(
    position: Any = (0.0,) * 6, time_s: float = 0.0, answered: Any = (True,) * 6, errors: Any = (0,) * 6
) -> Any:
    return SimpleNamespace(
        time_s=time_s,
        position=np.array(position, np.float64),
        answered=np.array(answered),
        errors=np.array(errors, np.uint8),
        health=None,
        turned=None,
    )


def test_every_error_bit_of_every_servo_is_a_fault():
    seen = servo_symptoms(state(errors=(0x01, 0x02, 0x04, 0x08, 0x20, 0x20)))
    assert [(symptom.fault, symptom.where) for symptom in seen] == list(
        zip(
            ["voltage", "encoder fault", "too hot", "over-current", "overload", "gripper overload"],
            JOINTS,
            strict=True,
        )
    )
    both = servo_symptoms(state(errors=(Errors.OVERLOAD | Errors.OVERHEAT, 0, 0, 0, 0, 0)))
    assert {symptom.fault for symptom in both} == {"overload", "too hot"}


def test_silence_and_heat_are_told_by_joint():
    one = state(answered=(True, True, False, True, True, True))
    one.health = SimpleNamespace(temperature_c=np.array([30.0, 60.0, np.nan, 40, 40, 40]))
    assert [(s.fault, s.where) for s in servo_symptoms(one)] == [
        ("servo silent", "elbow_flex"),
        ("warm", "shoulder_lift"),
    ]


@pytest.mark.parametrize(
    ("rule", "asked", "fault"),
    [
        ("servo does not answer", True, "servo silent"),
        ("state too old", True, "bus silent"),
        ("state does not get newer", True, "bus silent"),
        ("frame too old", True, "camera stalled"),
        ("action is not finite", True, "policy answers no pose"),
        ("overload (load)", True, "servo strained"),
        ("limit", True, "guard refuses the policy"),
        ("limit", False, "guard stops"),
    ],
)
def test_what_the_guard_says_has_a_rule(rule: str, asked: bool, fault: str):
    verdict = Verdict(None, (Intervention(GuardRule(rule), "front", 1.0, 2.0),), rule)
    assert [s.fault for s in guard_symptoms(verdict, np.zeros(6) if asked else None)] == [fault]
    assert guard_symptoms(Verdict(np.zeros(6), (), None), None) == []


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(GuardLimits(), [-100.0] * 5 + [0.0], [100.0] * 6)


def test_actions_that_jump_or_are_far_out_of_range_are_told(guard: Guard):
    goal = np.zeros(6)
    assert action_symptoms(np.array([40.0, 0, 0, 0, 0, 100.0]), goal, guard) == []
    assert [s.fault for s in action_symptoms(np.array([0, -50.0, 0, 0, 0, 0]), goal, guard)] == [
        "policy jumps"
    ]
    out = action_symptoms(np.array([129.0, 0, 0, 0, 0, 0]), np.array([100.0, 0, 0, 0, 0, 0]), guard)
    assert [s.fault for s in out] == ["policy out of range"]
    far = action_symptoms(np.array([130.0, 0, 0, 0, 0, 0]), np.array([100.0, 0, 0, 0, 0, 0]), guard)
    assert [s.fault for s in far] == ["policy far out of range"]
    assert action_symptoms(np.array([110.0, 0, 0, 0, 0, 0]), np.array([100.0, 0, 0, 0, 0, 0]), guard) == []


def test_a_wrapped_encoder_leaps_until_it_is_back():
    leaps = LeapCheck()
    assert not leaps.see(state([0, 0, 0, 0, 170.0, 50], 0.0)).any()
    assert not leaps.see(state([5, 0, 0, 0, 179.0, 50], 0.033)).any()
    assert leaps.see(state([5, 0, 0, 0, -179.0, 50], 0.067)).tolist() == [False] * 4 + [True, False]
    assert leaps.see(state([5, 0, 0, 0, -179.0, 50], 60.0))[4]
    assert not leaps.see(state([5, 0, 0, 0, 178.0, 50], 60.1)).any()


def test_a_joint_that_fell_while_it_was_not_seen_does_not_leap():
    leaps = LeapCheck()
    leaps.see(state([0.0] * 6, 0.0))
    leaps.see(state([0.0] * 6, 0.4, answered=(True, True, False, True, True, True)))
    assert not leaps.see(state([0.0, 0, 90.0, 0, 0, 0], 0.43)).any()
    assert leaps.see(state([0.0, 0, 45.0, 0, 0, 0], 0.46)).any()


def frame(sequence: int, image: Any) -> dict[str, Frame]:
    return {"front": Frame(np.array(image, np.uint8), 0.0, sequence, None)}


def test_the_same_picture_again_is_frozen_only_when_the_arm_has_moved():
    picture = np.random.default_rng(0).integers(50, 255, (48, 64, 3))
    pictures = PictureCheck()
    moved = np.array([20.0, 0, 0, 0, 0, 0])
    assert pictures.see(frame(0, picture), np.zeros(6)) == []
    assert pictures.see(frame(1, picture), np.zeros(6)) == []
    assert pictures.see(frame(2, picture), np.array([0, 0, 0, 0, 0, 90.0])) == []
    assert [s.fault for s in pictures.see(frame(3, picture), moved)] == ["camera frozen"]
    assert [s.fault for s in pictures.see(frame(3, picture), np.zeros(6))] == ["camera frozen"]
    picture[7, 8] -= 1
    assert pictures.see(frame(4, picture), moved) == []


def test_a_picture_that_is_drawn_into_the_same_array_is_a_new_one():
    picture = np.full((8, 8, 3), 100, np.uint8)
    pictures = PictureCheck()
    pictures.see({"front": Frame(picture, 0.0, 0, None)}, np.zeros(6))
    picture[:] = 101
    assert pictures.see({"front": Frame(picture, 0.1, 1, None)}, np.full(6, 90.0)) == []


def test_dark_is_what_was_bright_before():
    pictures, black, grey = PictureCheck(), np.zeros((8, 8, 3)), np.full((8, 8, 3), 90)
    assert pictures.see(frame(0, black), np.zeros(6)) == []
    assert pictures.see(frame(1, grey), np.zeros(6)) == []
    assert [s.fault for s in pictures.see(frame(2, black), np.zeros(6))] == ["camera dark"]
    assert [s.fault for s in pictures.see(frame(3, black), np.zeros(6))] == ["camera dark"]
    assert pictures.see(frame(4, grey), np.zeros(6)) == []


@given(st.lists(st.floats(-100, 100), min_size=12, max_size=12), st.floats(1.0, 90.0))
def test_slow_motion_starts_and_ends_where_it_should_and_keeps_its_speed(ends: list[float], speed: float):
    motion = SlowMotion.between(ends[:6], ends[6:], speed)
    np.testing.assert_allclose(motion.at(0.0) if motion.duration_s else motion.at(1.0), ends[:6], atol=1e-9)
    np.testing.assert_allclose(motion.at(motion.duration_s + 1), ends[6:], atol=1e-9)
    way = np.array(
        [motion.at(float(t)) for t in np.arange(0, motion.duration_s, motion.duration_s / 200 or 1)]
    )
    if len(way) > 1:
        fastest = np.abs(np.diff(way, axis=0)).max() / (motion.duration_s / 200)
        assert fastest <= speed * 1.001


def test_every_rule_of_the_guard_has_one_fault():
    known = {
        rule: guard_symptoms(Verdict(None, (Intervention(rule, None, 1.0, 2.0),), rule), None)
        for rule in GuardRule
    }
    stops = [rule for rule, symptoms in known.items() if symptoms[0].fault == "guard stops"]
    assert stops == [
        *("limit", "speed", "acceleration", "step", "table", "workspace", "self-collision"),
        GuardRule.NO_START,
    ]
