"""The arm as a whole: bytes, physics, cameras, time and seeds together."""

from pathlib import Path

import numpy as np
import pytest

from so101_robot.bus import protocol
from so101_robot.errors import CameraError, ConfigError
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import CAMERAS, MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepLink
from so101_robot.mock.physics import ticks
from so101_robot.mock.physics.plant import HOME_RAD, IdealPlant


def fast(**changes: object) -> MockConfig:
    return MockConfig(realtime_factor=0, width=32, height=24, **changes)  # type: ignore[arg-type]


def positions(link: LockstepLink) -> list[int]:
    statuses, _ = protocol.parse_statuses(link.transact(protocol.sync_read(56, 2, SERVO_IDS), 48, 0.05))
    return [int.from_bytes(status.params, "little") for status in statuses]


def goals(steps: dict[int, int]) -> bytes:
    return protocol.sync_write(
        42, {servo_id: value.to_bytes(2, "little") for servo_id, value in steps.items()}
    )


@pytest.fixture(scope="module")
def arm():
    arm = MockArm(fast())
    yield arm
    arm.close()


@pytest.fixture
def fresh(arm: MockArm) -> MockArm:
    arm.reset()
    return arm


def test_a_goal_on_the_wire_moves_the_joint_by_as_many_steps(fresh: MockArm) -> None:
    link = LockstepLink(fresh)
    before = positions(link)
    angle = fresh.joint_rad[0]
    link.send(goals({1: before[0] + 400}))
    fresh.advance_to(fresh.now_us + 1_500_000)
    moved = positions(link)[0] - before[0]
    assert abs(moved - 400) < 30
    assert fresh.joint_rad[0] - angle == pytest.approx(
        moved * 2 * np.pi / 4096, abs=0.03
    )  # half the backlash


def test_time_is_counted_in_microseconds_and_lived_in_milliseconds(fresh: MockArm) -> None:
    fresh.advance_to(999)
    state = fresh.servos.state()
    fresh.advance_to(1000)
    assert fresh.now_us == 1000
    assert fresh.servos.state() != state
    fresh.advance_to(500)
    assert fresh.now_us == 1000


def test_many_small_steps_end_where_one_large_step_ends(arm: MockArm) -> None:
    ends = []
    for stride_us in (1_000_000, 777):
        arm.reset(seed=3)
        link = LockstepLink(arm)
        link.send(goals(dict.fromkeys(SERVO_IDS, 2200)))
        for time_us in range(arm.now_us, 300_001, stride_us):
            arm.advance_to(time_us)
        arm.advance_to(300_000)
        ends.append(arm.state_hash())
    assert ends[0] == ends[1]


def test_reset_with_the_same_seed_gives_the_same_arm_and_another_seed_another(arm: MockArm) -> None:
    hashes = []
    for seed in (5, 6, 5):
        arm.reset(seed=seed)
        arm.advance_to(50_000)
        hashes.append(arm.state_hash())
    assert hashes[0] == hashes[2] != hashes[1]


def test_the_state_hash_notices_time_registers_and_half_a_frame_on_the_wire(fresh: MockArm) -> None:
    hashes = [fresh.state_hash()]
    fresh.advance_to(1)
    hashes.append(fresh.state_hash())
    fresh.servos.set(2, "P_Coefficient", 17)
    hashes.append(fresh.state_hash())
    fresh.exchange(b"\xff\xff\x01")
    hashes.append(fresh.state_hash())
    assert len(set(hashes)) == 4


def test_a_calibrated_arm_reads_the_middle_when_it_is_in_the_middle() -> None:
    arm = MockArm(fast(random_mount=True, seed=11))
    arm.hand.middle(0.5)
    arm.advance_to(1_500_000)
    assert arm.joint_rad == pytest.approx(np.array(HOME_RAD), abs=0.05)
    assert positions(LockstepLink(arm)) == pytest.approx([2047] * 6, abs=35)
    assert len(set(arm.mount_offset_steps)) == 6


def test_the_calibration_is_what_the_eeprom_says() -> None:
    arm = MockArm(fast(random_mount=True, seed=11))
    for index, name in enumerate(JOINTS):
        calibration = arm.calibration[name]
        assert calibration.id == SERVO_IDS[index]
        assert calibration.homing_offset == arm.servos.get(index, "Homing_Offset")
        assert calibration.range_min == arm.servos.get(index, "Min_Position_Limit")
        assert calibration.range_max == arm.servos.get(index, "Max_Position_Limit")
    arm.servos.boot(2)
    assert arm.servos.get(2, "Homing_Offset") == arm.calibration["elbow_flex"].homing_offset, "not saved"


def test_an_uncalibrated_arm_has_factory_registers() -> None:
    arm = MockArm(fast(calibrated=False, random_mount=True, seed=11))
    assert [arm.servos.get(index, "Homing_Offset") for index in range(6)] == [0] * 6
    assert [arm.servos.get(index, "Max_Position_Limit") for index in range(6)] == [4095] * 6


def test_frames_come_at_their_capture_instants_whatever_the_polling(fresh: MockArm) -> None:
    for time_us in (0, 33_332, 33_333, 40_000, 66_666, 66_667, 1_000_000):
        fresh.advance_to(time_us)
        frame = fresh.frame("front")
        expected = max(k for k in range(31) if round(k * 1e6 / 30) <= time_us)
        assert frame.sequence == expected
        assert frame.captured_s == pytest.approx(expected / 30, abs=1e-6)
        assert frame.image.shape == (24, 32, 3)
        assert frame.image.dtype == np.uint8
        assert frame.renderer in ("egl", "osmesa", "ray")


def test_a_frame_shows_the_arm_as_it_was_when_it_was_captured(fresh: MockArm) -> None:
    link = LockstepLink(fresh)
    link.send(goals(dict.fromkeys(SERVO_IDS, 2047)))
    fresh.advance_to(400_000)
    early = fresh.frame("wrist").image.copy()
    fresh.advance_to(410_000)  # no new capture: the arm has moved on, the picture has not
    late = fresh.frame("wrist")
    assert np.array_equal(early, late.image)
    fresh.advance_to(800_000)
    assert not np.array_equal(early, fresh.frame("wrist").image)
    assert np.array_equal(early, late.image), "a frame that was handed out must not change"


def test_both_cameras_see_something_and_not_the_same(fresh: MockArm) -> None:
    front, wrist = (fresh.frame(name).image for name in CAMERAS)
    assert front.std() > 5
    assert wrist.std() > 5
    assert not np.array_equal(front, wrist)


def test_a_stalled_camera_keeps_its_last_frame_with_its_true_time(fresh: MockArm) -> None:
    fresh.advance_to(500_000)
    fresh.add_fault({"fault": "camera_stall", "camera": "front", "for_s": 0.5})
    last = fresh.frame("front").sequence
    fresh.advance_to(900_000)
    assert fresh.frame("front").sequence == last
    assert fresh.frame("front").captured_s == pytest.approx(last / 30)
    assert fresh.frame("wrist").sequence == 27
    fresh.advance_to(1_100_000)
    assert fresh.frame("front").sequence == 33


def test_a_frozen_camera_shows_the_old_picture_under_a_new_time(fresh: MockArm) -> None:
    link = LockstepLink(fresh)
    fresh.advance_to(500_000)
    before = fresh.frame("wrist")
    fresh.add_fault({"fault": "camera_freeze", "camera": "wrist", "for_s": 0.5})
    link.send(goals(dict.fromkeys(SERVO_IDS, 2047)))
    fresh.advance_to(900_000)
    frozen = fresh.frame("wrist")
    assert frozen.sequence == 27
    assert np.array_equal(frozen.image, before.image)
    fresh.advance_to(1_100_000)
    assert not np.array_equal(fresh.frame("wrist").image, before.image)


def test_a_dark_camera_is_black_and_on_time(fresh: MockArm) -> None:
    fresh.add_fault({"fault": "camera_dark"})
    fresh.advance_to(500_000)
    for name in CAMERAS:
        assert fresh.frame(name).image.max() == 0
        assert fresh.frame(name).sequence == 15


def test_a_servo_fault_with_a_time_acts_without_traffic_and_is_gone_after_a_reset(arm: MockArm) -> None:
    arm.reset()
    arm.add_fault({"fault": "overheat", "servo": 3, "at_s": 0.1, "for_s": 0.2})
    arm.advance_to(250_000)
    assert arm.complaints() == "elbow_flex: too hot"
    assert [event.fault for event in arm.fault_log()] == ["overheat"]
    arm.reset()
    arm.advance_to(250_000)
    assert arm.complaints() == "no errors"


def test_a_fault_plan_replays_with_the_seed_and_differs_with_another(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("seed: 1\nfaults: [{fault: corrupt_reply, every: 3}]")

    def heard(seed: int) -> bytes:
        arm = MockArm(MockConfig(faults=plan, seed=seed), plant=IdealPlant())
        link = LockstepLink(arm)
        return b"".join(link.transact(protocol.sync_read(56, 2, SERVO_IDS), 48, 0.01) for _ in range(20))

    assert heard(0) == heard(0) != heard(1)


def test_an_unknown_camera_is_an_error_that_names_those_that_exist(fresh: MockArm) -> None:
    with pytest.raises(CameraError, match=r"'top'.*front, wrist"):
        fresh.frame("top")


def test_an_unknown_scene_is_an_error_that_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'moon'.*table"):
        MockArm(fast(scene="moon"))


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"camera_fps": 0.0}, {"camera_fps": 2000.0}, {"realtime_factor": -1.0}]
)
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MockConfig(**change)  # type: ignore[arg-type]


def test_an_arm_without_physics_has_no_cameras() -> None:
    arm = MockArm(fast(), plant=IdealPlant())
    arm.advance_to(100_000)
    with pytest.raises(CameraError, match="it has none"):
        arm.frame("front")


def test_many_ticks_in_one_call_are_the_same_ticks_to_the_last_bit(
    fresh: MockArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ticks.STEP  # else both sides would be the slow one
    ends: list[str] = []
    for step in (ticks.STEP, 0):
        monkeypatch.setattr(ticks, "STEP", step)
        fresh.reset(seed=3)
        start_rad = fresh.joint_rad.copy()
        LockstepLink(fresh).send(goals(dict.fromkeys(SERVO_IDS, 2200)))
        for time_us in (5_000, 8_000, 11_500, 401_000):  # even and odd numbers of ticks, pictures between
            fresh.advance_to(time_us)
        assert abs(fresh.joint_rad - start_rad).max() > 0.05  # it moved
        ends.append(fresh.state_hash())
    assert ends[0] == ends[1]
