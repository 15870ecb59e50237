"""Fault plans: every kind does what it says, plans replay, mistakes are named."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from so101_robot.bus import protocol
from so101_robot.bus.protocol import Errors, parse_statuses
from so101_robot.errors import ConfigError
from so101_robot.mock.servo.servo import Bridge, Servos
from so101_robot.mock.wire.fault_kinds import KINDS, Level
from so101_robot.mock.wire.fault_plan import EXAMPLE, CameraState, FaultPlan, PortEvent
from so101_robot.mock.wire.wire import Reply, Wire

IDS = (1, 2, 3, 4, 5, 6)
OBSERVE = protocol.sync_read(56, 2, IDS)


class Arm:
    """Six servos on a faulty wire; nothing moves."""

    def __init__(self, *faults: dict[str, Any], seed: int = 0) -> None:
        self.plan = FaultPlan.from_yaml(yaml.safe_dump({"seed": seed, "faults": list(faults)}))
        self.servos = Servos(IDS)
        self.wire = Wire(self.servos, faults=self.plan)
        self.now_us = 0
        self.bridge = np.zeros(6, np.int8)
        self.run(1)

    def run(self, ticks: int) -> None:
        raw, duty = np.full(6, 2048, np.int32), np.zeros(6)
        volts, celsius, amps = np.full(6, 12.0), np.full(6, 30.0), np.zeros(6)
        for _ in range(ticks):
            self.wire.advance(self.now_us)
            self.servos.tick(raw, volts, celsius, amps, duty, self.bridge)
            self.now_us += 1000

    def replies(self, request: bytes = OBSERVE) -> list[Reply]:
        return self.wire.receive(request, self.now_us)

    def ask(self, request: bytes = OBSERVE) -> bytes:
        return b"".join(reply.data for reply in self.replies(request))

    def answering(self) -> list[int]:
        return [reply.servo_id for reply in parse_statuses(self.ask())[0]]


CLEAN = b"".join(protocol.status(servo_id, 0, b"\x00\x08") for servo_id in IDS)


# --- bytes


def test_the_example_plan_is_valid_and_its_kinds_exist() -> None:
    plan = FaultPlan.from_yaml(EXAMPLE)
    assert {fault.kind.level for fault in plan.faults} == set(Level)


def test_the_plan_on_the_page_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / "fault_plans.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    plan = FaultPlan.from_yaml(block)
    assert (plan.seed, len(plan.faults)) == (7, 5)


def test_an_empty_plan_changes_nothing() -> None:
    assert Arm().ask() == CLEAN
    assert len(CLEAN) == 48


def test_a_silent_servo_leaves_a_hole() -> None:
    arm = Arm({"fault": "silent_servo", "servo": 3})
    assert arm.answering() == [1, 2, 4, 5, 6]
    assert np.diff([reply.start_us for reply in arm.replies()]).tolist() == [110, 220, 110, 110]


def test_a_silent_bus_says_nothing() -> None:
    assert Arm({"fault": "silent_bus"}).ask() == b""


@pytest.mark.parametrize(
    "name", ["corrupt_reply", "corrupt_header", "truncated_reply", "wrong_length", "bad_error_byte", "bad_id"]
)
def test_a_damaged_frame_is_not_taken_for_a_reply_and_the_others_are(name: str) -> None:
    arm = Arm({"fault": name, "servo": 3})
    data = arm.ask()
    assert data != CLEAN
    assert 3 not in [reply.servo_id for reply in parse_statuses(data)[0]]
    assert arm.answering() == [1, 2, 4, 5, 6]


def test_options_have_their_effect() -> None:
    assert len(Arm({"fault": "truncated_reply", "bytes": 5}).ask()) == 43
    assert len(Arm({"fault": "noise", "bytes": 7, "servo": 1}).ask()) == 55
    assert Arm({"fault": "wrong_length", "length": 9, "servo": 1}).ask()[3] == 9


def test_noise_is_00_and_ff_before_a_frame_that_stays_sound() -> None:
    data = Arm({"fault": "noise", "servo": 1, "bytes": 4}).ask()
    assert set(data[:4]) <= {0, 0xFF}
    assert data[4:] == CLEAN


def test_replies_out_of_order_keep_their_slots() -> None:
    arm = Arm({"fault": "out_of_order"})
    replies = arm.replies()
    assert [reply.data[2] for reply in replies] == [2, 3, 4, 5, 6, 1]
    assert np.diff([reply.start_us for reply in replies]).tolist() == [110] * 5


def test_a_duplicate_comes_twice() -> None:
    assert Arm({"fault": "duplicate_reply", "servo": 2}).ask() == CLEAN[:16] + CLEAN[8:]


def test_an_overlapping_frame_is_garbled() -> None:
    arm = Arm({"fault": "id_collision", "servo": 4})
    assert 4 not in arm.answering()


def test_an_echo_comes_first() -> None:
    arm = Arm({"fault": "echo"})
    assert arm.ask() == OBSERVE + CLEAN
    assert arm.replies()[0].start_us == arm.now_us - 140


def test_a_late_reply_is_right_but_late() -> None:
    arm = Arm({"fault": "late_reply", "delay_ms": 80})
    replies = arm.replies()
    assert b"".join(reply.data for reply in replies) == CLEAN
    assert replies[0].start_us == arm.now_us + 15 + 80_000


def test_another_process_steals_bytes() -> None:
    data = Arm({"fault": "stolen_bytes", "servo": "all"}).ask()
    assert 5 < len(data) < 43


@pytest.mark.parametrize("name", ["lost_request", "corrupt_request"])
def test_a_lost_goal_write_leaves_the_old_goal_and_reads_go_on(name: str) -> None:
    arm = Arm({"fault": name, "instruction": "sync_write"})
    arm.ask(protocol.sync_write(42, {1: b"\x00\x08"}))
    assert arm.servos.get(0, "Torque_Enable") == 0
    assert arm.ask() == CLEAN


def test_a_request_fault_can_be_meant_for_one_servo() -> None:
    arm = Arm({"fault": "lost_request", "servo": 2})
    assert [len(arm.ask(protocol.read(servo_id, 56, 2))) for servo_id in (1, 2, 3)] == [8, 0, 8]


# --- servos


@pytest.mark.parametrize(
    ("fault", "ticks", "error"),
    [
        ({"fault": "overload"}, 1, Errors.OVERLOAD),
        ({"fault": "overcurrent"}, 2010, Errors.OVERCURRENT),
        ({"fault": "overheat"}, 51, Errors.OVERHEAT),
        ({"fault": "sag", "volts": 8.3}, 1, Errors.VOLTAGE),
        ({"fault": "overvoltage"}, 52, Errors.VOLTAGE),
        ({"fault": "encoder_fault"}, 1, Errors.ENCODER),
    ],
    ids=lambda value: value["fault"] if isinstance(value, dict) else None,
)
def test_what_a_servo_measures_trips_its_own_protection(
    fault: dict[str, Any], ticks: int, error: Errors
) -> None:
    arm = Arm({**fault, "servo": 5})
    arm.run(ticks)
    assert [reply.error for reply in parse_statuses(arm.ask())[0]] == [0, 0, 0, 0, error, 0]


def test_a_servo_fault_ends_and_the_servo_recovers() -> None:
    arm = Arm({"fault": "overload", "servo": 6, "at_s": 0.01, "for_s": 0.02})
    seen = []
    for _ in range(5):
        seen.append(bool(arm.servos.get(5, "Status")))
        arm.run(10)
    assert seen == [False, True, True, False, False]


def test_strains_add_up_and_each_ends_by_itself() -> None:
    arm = Arm(
        {"fault": "sag", "servo": 1, "volts": 2.0},
        {"fault": "sag", "servo": [1, 2], "volts": 1.0, "at_s": 0.0, "for_s": 0.05},
    )
    assert [arm.servos.get(index, "Present_Voltage") for index in range(3)] == [90, 110, 120]
    arm.run(60)
    assert [arm.servos.get(index, "Present_Voltage") for index in range(3)] == [100, 120, 120]


def test_a_broken_cable_takes_all_that_follow_and_they_come_back_limp() -> None:
    arm = Arm({"fault": "cable_break", "servo": 4, "at_s": 0.02, "for_s": 0.1})
    for servo_id in IDS:
        arm.ask(protocol.write(servo_id, 40, b"\x01"))
    arm.run(30)
    assert arm.answering() == [1, 2, 3]
    assert [Bridge(state) for state in arm.bridge] == [Bridge.DRIVE] * 3 + [Bridge.FREE] * 3
    arm.run(500)
    assert arm.answering() == list(IDS)
    assert [arm.servos.get(index, "Torque_Enable") for index in range(6)] == [1, 1, 1, 0, 0, 0]


def test_without_power_nobody_answers() -> None:
    assert Arm({"fault": "no_power"}).ask() == b""


def test_a_reboot_is_silence_then_torque_off() -> None:
    arm = Arm({"fault": "reboot", "servo": 2, "at_s": 0.01, "silent_ms": 50})
    arm.ask(protocol.write(2, 40, b"\x01"))
    arm.run(20)
    assert arm.answering() == [1, 3, 4, 5, 6]
    arm.run(60)
    assert arm.answering() == list(IDS)
    assert arm.servos.get(1, "Torque_Enable") == 0


@pytest.mark.parametrize(
    ("fault", "register", "value"),
    [
        ("wrong_model", "Model_Number", 2825),
        ("wrong_firmware", "Firmware_Minor_Version", 9),
        ("wrong_baud", "Baud_Rate", 1),
        ("wrong_id", "ID", 1),
        ("multi_turn", "Present_Position", 2048 + 4096),
    ],
)
def test_a_servo_that_is_not_what_it_should_be_becomes_it_again(
    fault: str, register: str, value: int
) -> None:
    arm = Arm({"fault": fault, "servo": 2, "at_s": 0.0, "for_s": 0.05})
    before = Arm().servos.get(1, register)
    arm.run(2)
    assert arm.servos.get(1, register) == value
    arm.run(60)
    assert arm.servos.get(1, register) == before


# --- when


def test_exact_times_hit_one_transaction_each() -> None:
    arm = Arm({"fault": "silent_bus", "at_s": [0.010, 0.030]})
    answered = []
    for _ in range(50):
        arm.run(1)
        answered.append(bool(arm.ask()))
    assert [k for k, ok in enumerate(answered) if not ok] == [
        8,
        28,
    ]  # at 10 and 30 ms; the first ask is at 2 ms


def test_a_time_with_a_duration_hits_all_transactions_within() -> None:
    arm = Arm({"fault": "silent_bus", "at_s": 0.010, "for_s": 0.005})
    silent = 0
    for _ in range(50):
        arm.run(1)
        silent += not arm.ask()
    assert silent == 5


def test_a_rate_is_kept_on_average() -> None:
    arm = Arm({"fault": "corrupt_reply", "every": 20})
    damaged = sum(arm.ask() != CLEAN for _ in range(2000))
    assert 60 < damaged < 145
    assert len(arm.plan.log) == damaged
    servos = [event.servo_id for event in arm.plan.log]
    assert set(servos) == set(IDS)


def test_a_drawn_servo_fault_lasts_as_long_as_it_says() -> None:
    arm = Arm({"fault": "overload", "servo": 1, "every": 50, "for_s": 0.01})
    states = []
    for _ in range(1000):
        arm.run(1)
        states.append(bool(parse_statuses(arm.ask())[0][0].error))
    begins = sum(now and not before for before, now in pairwise(states))
    assert 5 < begins < 40
    assert 8 < sum(states) / begins < 20


def traffic(seed: int) -> tuple[list[list[Reply]], list[Any], bytes]:
    arm = Arm(
        {"fault": "corrupt_reply", "every": 5},
        {"fault": "noise", "every": 7},
        {"fault": "overload", "every": 30, "for_s": 0.01, "servo": 2},
        {"fault": "lost_request", "every": 9},
        seed=seed,
    )
    replies = []
    for _ in range(100):
        arm.run(1)
        replies.append(arm.replies())
    return replies, list(arm.plan.log), arm.wire.state()


def test_the_same_plan_seed_and_traffic_give_the_same_faults() -> None:
    assert traffic(7) == traffic(7)
    assert traffic(7)[0] != traffic(8)[0]


def test_a_reset_plan_starts_over() -> None:
    arm = Arm({"fault": "silent_bus", "at_s": 0.0})
    assert [len(arm.ask()) for _ in range(2)] == [0, 48]
    arm.plan.reset()
    assert [len(arm.ask()) for _ in range(2)] == [0, 48]


def test_a_fault_can_be_added_later() -> None:
    arm = Arm()
    arm.plan.add({"fault": "silent_servo", "servo": 1})
    assert arm.answering() == [2, 3, 4, 5, 6]
    with pytest.raises(ConfigError, match="fault 2 of the plan"):
        arm.plan.add({"fault": "nonsense"})


def test_port_and_camera_faults_are_dates() -> None:
    plan = FaultPlan.from_yaml(
        """
        faults:
          - {fault: unplug, at_s: 1.0, for_s: 0.5}
          - {fault: stall, at_s: 1.2}
          - {fault: camera_dark, camera: wrist, at_s: [1.0, 3.0], for_s: 0.5}
          - {fault: camera_stall, at_s: 5.0}
        """
    )
    assert plan.port_events(999_999) == ()
    assert plan.port_events(1_300_000) == (
        PortEvent("unplug", 1_000_000, 1_500_000),
        PortEvent("stall", 1_200_000, None),
    )
    assert plan.camera_state("wrist", 3_200_000) == CameraState("dark", 3_000_000)
    assert plan.camera_state("front", 3_200_000) == CameraState("ok", 0)
    assert plan.camera_state("front", 6_000_000) == CameraState("stall", 5_000_000)


# --- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("faults: [{fault: gremlins}]", "no fault 'gremlins'; faults: lost_request"),
        ("faults: [{servo: 3}]", "fault 1 of the plan needs a field `fault`"),
        ("faults: [3]", "needs a field `fault`"),
        ("faults: [{fault: [noise]}]", r"no fault \['noise'\]"),
        ("faults: [{fault: noise, instruction: {}}]", "no instruction {}"),
        (
            "faults: [{fault: noise}, {fault: noise, volume: 3}]",
            r"fault 2 of the plan \(noise\) has no field 'volume'; .*bytes",
        ),
        ("faults: [{fault: noise, at_s: soon}]", "at_s is a number of at least 0, not 'soon'"),
        ("faults: [{fault: noise, at_s: -1}]", "at least 0"),
        ("faults: [{fault: noise, for_s: .nan}]", "at least 0"),
        ("faults: [{fault: noise, every: 0.5}]", "every is a number of at least 1"),
        ("faults: [{fault: noise, every: true}]", "every is a number"),
        (
            "faults: [{fault: noise, servo: elbow}]",
            "servo is an id from 1 to 253, a list of ids or all, not 'elbow'",
        ),
        ("faults: [{fault: noise, instruction: poke}]", "no instruction 'poke'; instructions: ping"),
        ("faults: [{fault: overload, every: 10}]", "`every` needs `for_s`"),
        ("faults: [{fault: unplug, every: 10}]", "no field 'every'; fields: fault, at_s, for_s"),
        ("faults: [{fault: cable_break}]", "needs `servo`"),
        ("faults: [{fault: wrong_baud, baud: 9600}]", "no servo has 9600 baud; possible: 1000000"),
        ("faults: [{fault: wrong_model, model: 70000}]", "Model_Number cannot hold 70000"),
        ("faults: [{fault: wrong_id, id: 255}]", "ID cannot hold 255; it holds 0 to 253"),
        ("faults: [{fault: wrong_id, id: 254}]", "ID cannot hold 254; it holds 0 to 253"),
        ("faults: [{fault: noise, bytes: 1.0e+8}]", r"\(noise\): bytes is a number of at most 4096"),
        ("fault: noise", "no field fault; fields: seed, faults"),
        ("seed: high", "seed a whole number"),
        ("faults: {fault: noise}", "faults is a list"),
        ("- 1", "has the fields seed and faults"),
        ("faults: [", "not YAML"),
        ("missing/plan.yaml", "cannot read the fault plan missing/plan.yaml"),
    ],
)
def test_a_mistake_in_a_plan_is_one_clear_message(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaultPlan.from_yaml(text)


def test_a_plan_comes_from_a_file_and_its_seed_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("seed: 3\nfaults: [{fault: noise}]\n")
    assert FaultPlan.from_yaml(path).seed == 3
    assert FaultPlan.from_yaml(str(path), seed=5).seed == 5


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.bend is not None])
@pytest.mark.parametrize("request_bytes", [OBSERVE, protocol.read(1, 56, 2), protocol.instruction(1, 1)])
def test_no_reply_fault_crashes_on_any_transaction(name: str, request_bytes: bytes) -> None:
    arm = Arm({"fault": name, "servo": "all"}, {"fault": name}, {"fault": name, "servo": "all"})
    for _ in range(20):
        arm.ask(request_bytes)
