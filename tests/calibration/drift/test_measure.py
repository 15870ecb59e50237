"""Drift of a camera that is moved, turned, relit and defocused in the simulator, while arm and boxes move."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import camera_scenes as scenes
from so101_calibration.drift.judgement import Drift, Limits
from so101_calibration.drift.measure import measure
from so101_calibration.drift.overlay import ARROW, OUTLINE, PANEL_WIDTH, instruction, overlay
from so101_calibration.errors import ImplausibleError, UsageError
from so101_policy.errors import RegistrationError
from so101_policy.registration.background import Background, learn
from so101_robot.preflight.findings import Level

cv2.setNumThreads(1)

type Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def bench() -> Any:
    return scenes.Bench()


@pytest.fixture(scope="module")
def background(bench: Any) -> Background:
    rng = np.random.default_rng(7)
    return learn([bench.picture(rng) for _ in range(24)])


@pytest.fixture(scope="module")
def now(bench: Any) -> Picture:
    """The unmoved camera, later."""
    return bench.picture(np.random.default_rng(99))


def compared(bench: Any, background: Background, picture: Picture, limits: Limits | None = None) -> Drift:
    return measure(background, picture, limits, bench.focal_px, gamma=1.0)


def test_an_unmoved_camera_raises_no_alarm_while_arm_and_boxes_move(
    bench: Any, background: Background
) -> None:
    assert 0.3 < background.static.mean() < 0.9
    for seed in range(8):
        drift = compared(bench, background, bench.picture(np.random.default_rng(1000 + seed)))
        assert drift.level is Level.OK
        assert drift.reasons == ()
        assert drift.shift_px < 0.2
        assert drift.angle_deg < 0.05
        assert instruction(drift) == "nothing to turn"


@pytest.mark.parametrize("px", [0.5, 3.0, 5.0, 12.0, 40.0])
@pytest.mark.parametrize("kind", ["turn", "carried"])
def test_a_camera_that_moved_the_picture_is_measured_and_refused_from_five_pixels_on(
    bench: Any, background: Background, kind: str, px: float
) -> None:
    rng = np.random.default_rng(int(10 * px))
    change = bench.moving(background.static, kind, px, rng.uniform(0, 2 * np.pi))
    drift = compared(bench, background, bench.picture(rng, **change))
    assert abs(drift.shift_px - px) < 0.1 + 0.02 * px
    expected = Level.OK if px < 2 else Level.WARN if px < 5 else Level.STOP
    assert drift.level is expected
    if px >= 2:
        assert f"has moved by {drift.shift_px:.1f} px" in drift.reasons[0]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ((1.5, 0, 0), "1.5 deg down"),
        ((0, 2.0, 0), "2.0 deg to the right"),
        ((0, -2.0, 0), "2.0 deg to the left"),
        ((0, 0, 4.0), "4.0 deg clockwise"),
        ((0, 0, -5.0), "5.0 deg counter-clockwise"),
    ],
)
def test_a_turn_is_measured_in_degrees_and_the_way_back_is_said(
    bench: Any, background: Background, turn: tuple[float, float, float], words: str
) -> None:
    """In the simulator a camera turns to the right-hand rule about: right, up, back."""
    drift = compared(bench, background, bench.picture(np.random.default_rng(5), turn=turn))
    assert drift.angle_deg == pytest.approx(np.linalg.norm(turn), abs=0.05)
    assert drift.unexplained_px < 0.3
    assert instruction(drift) == f"turn the camera {words}"


def test_a_camera_that_was_carried_leaves_what_no_turn_explains(bench: Any, background: Background) -> None:
    drift = compared(bench, background, bench.picture(np.random.default_rng(5), carried=(0, 0, -0.05)))
    assert drift.zoom > 1.03  # forwards
    assert drift.unexplained_px > 1
    assert drift.level is not Level.OK


@pytest.mark.parametrize(
    ("light", "level"),
    [
        (0.5, Level.STOP),
        (0.75, Level.WARN),
        (0.93, Level.OK),
        (1.1, Level.OK),
        (1.4, Level.WARN),
        (2.0, Level.STOP),
    ],
)
def test_light_is_measured_and_is_not_taken_for_motion(
    bench: Any, background: Background, light: float, level: Level
) -> None:
    drift = compared(bench, background, bench.picture(np.random.default_rng(5), light=light))
    assert drift.light == pytest.approx(light, rel=0.02)
    assert drift.level is level
    assert drift.shift_px < 0.3


def test_grey_levels_of_a_camera_are_no_light_until_its_gamma_is_undone(
    background: Background, now: Picture
) -> None:
    darker = np.rint(now * 0.8).astype(np.uint8)
    drift = measure(background, darker, gamma=2.2)
    assert drift.brightness == pytest.approx(0.8, rel=0.02)
    assert drift.light == pytest.approx(0.8**2.2, rel=0.04)


def test_another_colour_of_light_is_named(bench: Any, background: Background, now: Picture) -> None:
    warm = np.clip(now * np.array([1.0, 1.0, 0.8]), 0, 255).astype(np.uint8)
    drift = compared(bench, background, warm)
    assert drift.colour[0] == pytest.approx(0, abs=0.03)
    assert drift.colour[1] == pytest.approx(-0.2, abs=0.04)
    assert drift.level is Level.WARN
    assert any("blue is -" in reason for reason in drift.reasons)


def test_a_lens_out_of_focus_is_noticed_without_being_taken_for_motion(
    bench: Any, background: Background, now: Picture
) -> None:
    slightly, much = (
        compared(bench, background, np.asarray(cv2.GaussianBlur(now, (0, 0), sigma), np.uint8))
        for sigma in (0.7, 2.5)
    )
    assert 0.5 < slightly.sharpness < 0.85
    assert slightly.level is Level.WARN
    assert much.sharpness < 0.5
    assert much.level is Level.STOP
    assert slightly.shift_px < 0.5
    assert all("sharp" in drift.reasons[0] for drift in (slightly, much))


def test_a_view_of_something_else_is_not_found_and_refused(bench: Any, background: Background) -> None:
    rng = np.random.default_rng(0)
    noise = np.asarray(
        cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3)).astype(np.uint8), (0, 0), 2), np.uint8
    )
    for elsewhere in (np.zeros((240, 320, 3), np.uint8), noise):
        drift = compared(bench, background, elsewhere)
        assert drift.level is Level.STOP
        assert drift.H is None
        assert "was not found in the live picture" in drift.reasons[0]
        assert instruction(drift) == "the background was not found"
        assert overlay(background, elsewhere, drift).shape[1] == 2 * PANEL_WIDTH


def test_half_a_picture_that_is_covered_does_not_move_the_rest(
    bench: Any, background: Background, now: Picture
) -> None:
    covered = now.copy()
    covered[:, 200:] = 90
    drift = compared(bench, background, covered)
    assert drift.shift_px < 0.5
    assert drift.found < 0.8


def test_the_same_pictures_give_the_same_answer(bench: Any, background: Background, now: Picture) -> None:
    first, second = (compared(bench, background, now) for _ in range(2))
    assert first.shift_px == second.shift_px
    assert first.shift_sd_px == second.shift_sd_px


def test_pictures_of_another_size_and_limits_out_of_order_are_refused(
    bench: Any, background: Background, now: Picture
) -> None:
    with pytest.raises(ImplausibleError, match="160x120, the dataset's are 320x240"):
        compared(bench, background, now[::2, ::2])
    with pytest.raises(UsageError, match="drift limits for px: warn at 5, no-go at 2"):
        Limits(warn_px=5, no_go_px=2)
    with pytest.raises(UsageError, match="for light"):
        Limits(warn_light=0.9)


def test_a_background_needs_frames_of_one_camera_that_stood_still(bench: Any, now: Picture) -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(RegistrationError, match="3 frames; at least 8"):
        learn([now] * 3)
    with pytest.raises(RegistrationError, match=r"several sizes: .*120, 160.*240, 320"):
        learn([now] * 8 + [now[::2, ::2]])
    noise = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(10)]
    with pytest.raises(RegistrationError, match="0 % of the picture stays the same"):
        learn(noise)


def test_a_lamp_that_changed_while_recording_is_not_taken_for_motion(now: Picture) -> None:
    rng = np.random.default_rng(3)
    frames = [
        np.clip(now * rng.uniform(0.7, 1.4) + rng.normal(0, 1, now.shape), 0, 255).astype(np.uint8)
        for _ in range(10)
    ]
    assert learn(frames).static.mean() > 0.9


def test_the_overlay_shows_where_things_belong_and_points_there(
    bench: Any, background: Background, now: Picture
) -> None:
    turned = bench.picture(np.random.default_rng(5), turn=(0, 2.0, 0))
    drift = compared(bench, background, turned)
    picture = overlay(background, turned, drift)
    right = picture[:, PANEL_WIDTH:]
    arrows = (right == ARROW).all(-1)
    assert arrows.sum() > 200
    assert (right == OUTLINE).all(-1).sum() > 200
    assert not (picture[:, :PANEL_WIDTH] == OUTLINE).all(-1).any()
    still = overlay(background, now, compared(bench, background, now))
    assert not (still[:, PANEL_WIDTH:] == ARROW).all(-1).any()
