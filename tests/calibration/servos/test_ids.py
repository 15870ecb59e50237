"""Servos with wrong ids and speeds: found, told, put right; never two with one id on the way."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from so101_calibration.errors import ImplausibleError
from so101_calibration.servos import bus_scan, ids
from so101_calibration.servos.bus_scan import FoundServo, Write
from so101_calibration.servos.line import Line
from so101_calibration.servos.steps import Step
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm

from ..conftest import Scripted


def alone(arm: MockArm, index: int) -> None:
    """Only this motor is connected."""
    for other in range(6):
        if other != index:
            arm.servos.reboot(other, 10**9)


def repair(line: Line, operator: Scripted) -> int:
    found = ids.report(line, operator)
    return ids.repair(line, bus_scan.assign(found), found, operator)


def test_a_right_arm_is_left_alone(arm: MockArm, line: Line, operator: Scripted) -> None:
    before = arm.servos.saved.tobytes()
    assert repair(line, operator) == 0
    assert "Servos 1 to 6 answer at 1000000 baud" in operator.text
    assert arm.servos.saved.tobytes() == before


def test_a_stray_id_at_another_speed_is_found_told_and_put_right(
    arm: MockArm, line: Line, operator: Scripted
) -> None:
    arm.servos.set(3, "ID", 77)
    arm.servos.set(3, "Baud_Rate", 5)
    assert repair(line, operator) == 0
    assert "id 77 at 76800 baud: STS3215, firmware 3.10" in operator.text
    said = operator.text.index("ID 77 -> 4, Baud_Rate 76800 -> 1000000")
    assert said < operator.text.index("Write this?") < operator.text.index("done:")
    arm.servos.boot(3)
    assert (arm.servos.get(3, "ID"), arm.servos.get(3, "Baud_Rate"), arm.servos.get(3, "Lock")) == (4, 0, 1)


def test_an_exchange_of_ids_that_was_cut_off_is_not_guessed(
    arm: MockArm, line: Line, operator: Scripted
) -> None:
    arm.servos.set(3, "ID", bus_scan.TEMPORARY_ID)
    before = arm.servos.saved.tobytes()
    assert repair(line, operator) == 1
    assert "Missing: 4 (wrist_flex); not assigned: 100 - `--identify`" in operator.text
    assert arm.servos.saved.tobytes() == before


def test_a_no_leaves_the_servos_as_they_are(arm: MockArm, line: Line) -> None:
    arm.servos.set(3, "ID", 77)
    before = arm.servos.saved.tobytes()
    assert repair(line, Scripted(answer=False)) == 1
    assert arm.servos.saved.tobytes() == before


def test_two_servos_with_one_id_are_told_and_not_written_to(
    arm: MockArm, line: Line, operator: Scripted
) -> None:
    arm.servos.set(4, "ID", 2)
    arm.servos.set(4, "Present_Position", 1000)  # they stand differently, as two servos do
    before = arm.servos.saved.tobytes()
    assert repair(line, operator) == 1
    assert "answer as id 2" in operator.text
    assert "--motor" in operator.text
    assert arm.servos.saved.tobytes() == before


def test_one_motor_at_a_time_becomes_the_joints(arm: MockArm, line: Line, operator: Scripted) -> None:
    arm.servos.set(5, "ID", 1)  # from the factory
    alone(arm, 5)
    assert ids.set_up(line, "gripper", operator) == 0
    assert arm.servos.saved[5, 5] == 6


def test_with_several_motors_connected_none_is_made_a_joints(line: Line, operator: Scripted) -> None:
    with pytest.raises(ImplausibleError, match=r"6 servos answer.*connect only that one"):
        ids.set_up(line, "gripper", operator)


def test_another_model_is_not_given_an_id(arm: MockArm, line: Line, operator: Scripted) -> None:
    arm.servos.set(5, "Model_Number", 2825)
    arm.servos.set(5, "ID", 9)
    with pytest.raises(ImplausibleError, match="model 2825"):
        repair(line, operator)


def test_nobody_there_is_said(arm: MockArm, line: Line, operator: Scripted) -> None:
    for index in range(6):
        arm.servos.reboot(index, 10**9)
    with pytest.raises(ImplausibleError, match=r"no servo answers.*power supply"):
        ids.report(line, operator)


def test_swapped_ids_are_found_by_moving_the_joints_and_changed(arm: MockArm, line: Line) -> None:
    arm.servos.set(2, "ID", 4)
    arm.servos.set(3, "ID", 3)

    def act(step: Step, k: int) -> None:
        if step.joint is None:
            return
        arm.plant._steps[JOINTS.index(step.joint)] = 2047 + min(k, 50) * 20  # type: ignore[attr-defined]
        arm.advance_to(arm.now_us + 20_000)

    operator = Scripted(act=act)
    found = ids.report(line, operator)
    assert ids.repair(line, ids.identify(line, found, operator), found, operator) == 0
    assert arm.servos.saved[:, 5].tolist() == list(SERVO_IDS)


def test_a_move_that_could_be_either_joint_is_not_believed(arm: MockArm, line: Line) -> None:
    def act(step: Step, k: int) -> None:
        for index in (0, 1):
            arm.plant._steps[index] = 2047 + min(k, 50) * 20  # type: ignore[attr-defined]
        arm.advance_to(arm.now_us + 20_000)

    operator = Scripted(act=act)
    with pytest.raises(ImplausibleError, match="not clear which it is"):
        ids.identify(line, ids.report(line, operator), operator)


def simulate(found: list[FoundServo], writes: list[Write]) -> list[int]:
    """Ids, servo by servo, after the writes; no two may ever be equal."""
    now = [servo.servo_id for servo in found]
    for write in writes:
        now[now.index(write.old_id)] = write.new_id
        assert len(set(now)) == len(now)
    return now


@given(st.permutations(SERVO_IDS), st.lists(st.booleans(), min_size=6, max_size=6))
def test_no_two_servos_ever_share_an_id_while_ids_change_places(targets: list[int], slow: list[bool]) -> None:
    found = [FoundServo(500_000 if slow[i] else 1_000_000, i + 1, False, None) for i in range(6)]
    writes = bus_scan.plan(dict(zip(targets, found, strict=True)), found)
    assert simulate(found, writes) == targets
    bauds = {(write.old_baud, write.old_id) for write in writes}
    assert all((500_000, i + 1) in bauds for i in range(6) if slow[i])


def test_a_swap_with_a_stranger_on_the_line_leaves_the_stranger_alone() -> None:
    found = [FoundServo(1_000_000, servo_id, False, None) for servo_id in (1, 2, bus_scan.TEMPORARY_ID)]
    for a, b in permutations((0, 1)):
        writes = bus_scan.plan({1: found[a], 2: found[b]}, found)
        assert simulate(found, writes)[2] == bus_scan.TEMPORARY_ID


def test_of_a_leader_each_motor_is_named_with_its_gear_and_a_followers_limits_are_noted(
    arm: MockArm, line: Line, operator: Scripted
) -> None:
    assert ids.parser().parse_args(["--robot.port=mock", "--leader", "--all"]).leader
    connected: list[str] = []

    def act(step: Step, look: int) -> None:
        if look == 0 and step.joint is not None:
            connected.append(step.text)
            for index, joint in enumerate(JOINTS):
                arm.servos.reboot(index, *(() if joint == step.joint else (10**9,)))
            arm.advance_to(arm.now_us + 1_000_000)

    operator.act = act
    for index in range(6):
        arm.servos.set(index, "ID", 1)
    assert ids.set_up_all(line, operator, leader=True) == 0
    gears = [text.partition("gear 1:")[2].partition(".")[0] for text in connected]
    assert gears == ["147", "147", "147", "191", "345", "191"], "the trigger's first"
    for index in range(6):
        arm.servos.boot(index)
    arm.advance_to(arm.now_us + 1_000_000)
    ids._note_a_follower(bus_scan.scan(line), operator)
    assert "limits that LeRobot gives to followers" not in operator.text
    for register, value in (("Max_Torque_Limit", 500), ("Protection_Current", 250), ("Overload_Torque", 25)):
        arm.servos.set(5, register, value)
    ids._note_a_follower(bus_scan.scan(line), operator)
    assert "limits that LeRobot gives to followers" in operator.text
