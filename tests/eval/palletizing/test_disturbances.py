"""What stands between the robot and who drives it, sense by sense."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.palletizing.scene.disturbances import Disturbances
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.reset_data import SensorDisturbance
from so101_robot.joints import JOINTS

FPS = 30.0
NOMINAL = draw("palletize-1", seed=3).senses


def disturbed(**changes: Any) -> SensorDisturbance:
    return dataclasses.replace(NOMINAL, **changes)


def images(value: int = 100, size: int = 32) -> dict[str, NDArray[np.uint8]]:
    return {name: np.full((size, size, 3), value, np.uint8) for name in ("front", "wrist")}


def ramp(ticks: int = 120) -> NDArray[np.float64]:
    """Positions (ticks, 6) that tell the tick."""
    return np.arange(ticks)[:, None] + np.zeros(6)


def sensed(disturbances: Disturbances, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(
        [disturbances.sense(tick / FPS, position, {}).position for tick, position in enumerate(positions)]
    )


def test_nominal_senses_let_everything_through_as_it_is() -> None:
    disturbances, position, pictures = Disturbances(NOMINAL), np.arange(6.0), images()
    result = disturbances.sense(0.0, position, pictures)
    assert result.position is position
    assert all(result.images[name] is pictures[name] for name in pictures)
    assert disturbances.act(0.0, position) is position


def test_noise_has_the_spread_it_says_and_repeats_with_the_seed() -> None:
    noisy = sensed(Disturbances(disturbed(joint_noise_deg=2.0)), np.zeros((2000, 6)))
    assert noisy.std() == pytest.approx(2.0, rel=0.03)
    assert abs(noisy.mean()) < 0.1
    np.testing.assert_array_equal(
        noisy, sensed(Disturbances(disturbed(joint_noise_deg=2.0)), np.zeros((2000, 6)))
    )
    other = sensed(Disturbances(disturbed(joint_noise_deg=2.0, seed=NOMINAL.seed + 1)), np.zeros((2000, 6)))
    assert not np.array_equal(noisy, other)


def test_a_bias_is_constant_and_as_drawn() -> None:
    biased = draw("palletize-1", "sensor-bias", 3, 3).senses
    assert np.abs(biased.joint_bias_deg).tolist() == [4.0] * 6
    np.testing.assert_allclose(
        sensed(Disturbances(biased), ramp()) - ramp(), np.tile(biased.joint_bias_deg, (120, 1))
    )


def test_one_encoder_stands_still_for_a_while_and_then_goes_on() -> None:
    stuck = sensed(Disturbances(disturbed(stuck_joint="elbow_flex", stuck_from_s=1.0, stuck_s=2.0)), ramp())
    joint = JOINTS.index("elbow_flex")
    expected = ramp()
    expected[30:90, joint] = 30
    np.testing.assert_array_equal(stuck, expected)


def test_late_joints_are_so_many_ticks_old() -> None:
    late = sensed(Disturbances(disturbed(joint_delay_ticks=3)), ramp())
    np.testing.assert_array_equal(late[:, 0], np.maximum(np.arange(120) - 3, 0))


def test_late_pictures_are_so_many_ticks_old() -> None:
    disturbances = Disturbances(disturbed(image_delay_ticks=5))
    seen = [disturbances.pictures(tick / FPS, images(tick))["wrist"][0, 0, 0] for tick in range(30)]
    np.testing.assert_array_equal(seen, np.maximum(np.arange(30) - 5, 0))


def test_pictures_that_do_not_come_are_the_last_ones_again() -> None:
    disturbances = Disturbances(disturbed(frame_drop=0.3))
    seen = np.array(
        [disturbances.pictures(t / FPS, images(t % 250))["front"][0, 0, 0] for t in range(1000)], int
    )
    fresh = seen == np.arange(1000) % 250
    assert fresh[0]
    assert fresh.mean() == pytest.approx(0.7, abs=0.05)
    repeated = np.flatnonzero(~fresh)
    np.testing.assert_array_equal(seen[repeated], seen[repeated - 1])


def test_blur_spreads_a_point_and_keeps_its_light() -> None:
    picture = {"front": np.zeros((96, 96, 3), np.uint8)}
    picture["front"][40:56, 40:56] = 200
    blurred = Disturbances(disturbed(blur=0.03)).pictures(0.0, picture)["front"]
    assert blurred.dtype == np.uint8
    assert blurred[48, 37].max() > 0
    assert blurred.sum() == pytest.approx(picture["front"].sum(), rel=0.02)
    assert np.all(picture["front"][40:56, 40:56] == 200)  # the camera's own picture is left alone


@pytest.mark.parametrize(("stops", "value"), [(1.0, 137), (-1.0, 73), (4.0, 255)])
def test_exposure_doubles_the_light_and_clips(stops: float, value: int) -> None:
    seen = Disturbances(disturbed(exposure_stops=stops)).pictures(0.0, images(100))["front"]
    assert np.all(np.abs(seen.astype(int) - value) <= 1)  # 100 * 2^(stops / 2.2)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_one_camera_is_black_for_its_share_of_the_time(share: float) -> None:
    disturbances = Disturbances(disturbed(black_share=share, black_camera="wrist"))
    seen = [disturbances.pictures(float(second), images()) for second in range(40)]
    black = [not picture["wrist"].any() for picture in seen]
    assert np.mean(black) == share
    assert all(picture["front"].all() for picture in seen)


def test_actions_reach_the_robot_late() -> None:
    disturbances = Disturbances(disturbed(action_latency_s=0.1))
    arrived = [disturbances.act(tick / FPS, np.full(6, float(tick))) for tick in range(20)]
    assert arrived[:3] == [None, None, None]
    assert [action[0] for action in arrived[3:] if action is not None] == list(range(17))


def test_a_latency_between_ticks_is_rounded_up() -> None:
    disturbances = Disturbances(disturbed(action_latency_s=0.05))
    arrived = [disturbances.act(tick / FPS, np.full(6, float(tick))) for tick in range(5)]
    assert arrived[1] is None
    assert arrived[2] is not None
    assert arrived[2][0] == 0
