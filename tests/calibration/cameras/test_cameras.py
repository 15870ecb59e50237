"""Lens and poses from rendered views of the board: the truth is known and the rendering shares no code with the fit."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import camera_scenes as scenes
from so101_calibration.cameras.board_views import AutoCapture, View, coverage_share, detect, distinct
from so101_calibration.cameras.boards import Board, write_board
from so101_calibration.cameras.hand_eye import camera_on_hand
from so101_calibration.cameras.intrinsics import PARAMETERS, Calibrated, calibrate
from so101_calibration.cameras.placing import board_from_touches, camera_in_base
from so101_calibration.cameras.poses import board_on_table, inverse, pose_difference, transform
from so101_calibration.cameras.rendered import draw
from so101_calibration.errors import ImplausibleError, UsageError

LENS, BOARD = scenes.LENS, scenes.BOARD
cv2.setNumThreads(1)


def exact(X: Any, rng: np.random.Generator, name: str = "", noise_px: float = 0.05) -> View:
    """A view without a picture: corners projected, with noise."""
    turn = cv2.Rodrigues(X[:3, :3])[0]
    corners = cv2.projectPoints(BOARD.corners_m, turn, X[:3, 3], LENS.matrix, LENS.distortion)[0].reshape(
        -1, 2
    )
    inside = ((corners > 5) & (corners < np.array(LENS.size_px) - 6)).all(1)
    noisy = corners[inside] + rng.normal(0, noise_px, corners[inside].shape)
    return View(noisy, np.flatnonzero(inside).astype(np.int32), LENS.size_px, 1.0, name)


@pytest.fixture(scope="module")
def rendered() -> list[View]:
    rng = np.random.default_rng(3)
    return scenes.seen(scenes.hand_held(16, rng), rng)


@pytest.fixture(scope="module")
def calibrated(rendered: list[View]) -> Calibrated:
    return calibrate(rendered, BOARD)


def test_corners_are_found_where_they_were_drawn() -> None:
    X = scenes.tilted(320, 240, 0.4, 0.7, 20, 5)
    view = detect(draw(BOARD, LENS, X, np.random.default_rng(0), blur_px=0.5), BOARD)
    assert view is not None
    truth = exact(X, np.random.default_rng(0), noise_px=0).corners_px[view.ids]
    error = view.corners_px - truth
    assert np.abs(error.mean(0)).max() < 0.03  # half a pixel with the convention of OpenCV's detector
    assert np.abs(error).max() < 0.2


def test_the_lens_is_recovered_from_rendered_views(calibrated: Calibrated) -> None:
    found = calibrated.intrinsics
    assert abs(found.fx / LENS.fx - 1) < 0.005
    assert abs(found.fy / LENS.fy - 1) < 0.005
    assert np.hypot(found.cx - LENS.cx, found.cy - LENS.cy) < 1.5
    rays = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.37, 0.37, 7), [1.0]), -1).reshape(
        -1, 3
    )
    zero = np.zeros(3)
    bent = [cv2.projectPoints(rays, zero, zero, lens.matrix, lens.distortion)[0] for lens in (found, LENS)]
    assert np.abs(bent[0] - bent[1]).max() < 0.8  # of a picture, corners and all; without distortion 5 px
    assert found.rms_px < 0.12


def test_the_stated_uncertainty_of_the_lens_is_what_repetition_shows() -> None:
    scores: list[float] = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        views = [exact(X, rng, f"{k}", 0.1) for k, X in enumerate(scenes.hand_held(14, rng))]
        found = calibrate(views, BOARD).intrinsics
        scores += [
            (getattr(found, name) - getattr(LENS, name)) / sd
            for name, sd in zip(PARAMETERS, found.sd, strict=True)
        ]
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.4


def test_too_few_views_are_refused(rendered: list[View]) -> None:
    with pytest.raises(ImplausibleError, match=r"6 different views.*at least 10"):
        calibrate(rendered[:6], BOARD)


def test_the_same_view_again_teaches_nothing(rendered: list[View]) -> None:
    kept, refused = distinct([rendered[0]] * 12)
    assert len(kept) == 1
    assert len(refused) == 11
    assert "as an earlier view" in refused[0]
    with pytest.raises(ImplausibleError, match="1 different views"):
        calibrate([rendered[0]] * 12, BOARD)


def test_views_that_leave_half_of_the_picture_empty_are_refused() -> None:
    rng = np.random.default_rng(0)
    views = [
        exact(scenes.tilted(rng.uniform(120, 200), rng.uniform(100, 380), 0.5, k, 30, 20 * k), rng, f"{k}")
        for k in range(14)
    ]
    assert coverage_share(views) < 0.6
    with pytest.raises(ImplausibleError, match="of the picture; at least 60 %"):
        calibrate(views, BOARD)


def test_views_without_tilt_are_refused_because_the_focal_length_is_not_known() -> None:
    rng = np.random.default_rng(0)
    flat = [
        exact(scenes.tilted(*scenes.PLACES[k % 9], 0.42 + 0.002 * k, 0, 0.5, 8 * k), rng, f"{k}", 0.3)
        for k in range(12)
    ]
    with pytest.raises(ImplausibleError, match=r"focal length is uncertain.*tilted"):
        calibrate(flat, BOARD)


def test_a_view_that_does_not_fit_is_left_out_by_name() -> None:
    rng = np.random.default_rng(0)
    views = [exact(X, rng, f"view {k}") for k, X in enumerate(scenes.hand_held(14, rng))]
    views[4] = views[4]._replace(corners_px=views[4].corners_px + rng.normal(0, 2, views[4].corners_px.shape))
    found = calibrate(views, BOARD)
    assert "view 4" not in [view.name for view in found.views]
    assert any(reason.startswith("view 4: corners are") for reason in found.refused)


def test_pictures_of_several_cameras_are_not_mixed(rendered: list[View]) -> None:
    with pytest.raises(ImplausibleError, match="320x240, 640x480"):
        calibrate([rendered[0]._replace(size_px=(320, 240)), *rendered], BOARD)


@pytest.mark.parametrize("tilt_deg", [25, 45])
def test_the_front_camera_is_placed_within_a_millimetre_at_half_a_metre(
    calibrated: Calibrated, tilt_deg: float
) -> None:
    X_camera_board = scenes.tilted(320, 240, 0.5, 0.1, tilt_deg, 3)
    X_base_board = board_on_table(0.12, 0.1, turn_deg=-90)
    truth = X_base_board @ inverse(X_camera_board)
    view = detect(draw(BOARD, LENS, X_camera_board, np.random.default_rng(5), blur_px=0.5), BOARD)
    assert view is not None
    found = camera_in_base([view], [X_base_board], calibrated.intrinsics, BOARD)
    error_mm, error_deg = pose_difference(found.X, truth)
    assert error_mm < 1.0
    assert error_deg < 0.2
    assert 0.05 < np.linalg.norm(found.sd_mm) < 3


def test_the_uncertainty_of_a_place_is_what_repetition_shows() -> None:
    X_camera_board, X_base_board = scenes.tilted(320, 240, 0.5, 0.1, 35, 3), board_on_table(0.1, 0.1)
    truth = X_base_board @ inverse(X_camera_board)
    scores: list[float] = []
    for seed in range(40):
        view = exact(X_camera_board, np.random.default_rng(seed), noise_px=0.2)
        found = camera_in_base([view], [X_base_board], LENS, BOARD)
        scores += ((found.X[:3, 3] - truth[:3, 3]) * 1000 / found.sd_mm).tolist()
    assert 0.75 < np.sqrt(np.mean(np.square(scores))) < 1.3


def test_touched_corners_place_the_board_and_a_wrong_corner_is_noticed() -> None:
    rng, X = np.random.default_rng(0), board_on_table(0.2, -0.05, turn_deg=30)
    corners = BOARD.corners_m[[0, 7, 32, 39, 20]]
    touched = corners @ X[:3, :3].T + X[:3, 3] + rng.normal(0, 0.0005, (5, 3))
    found = board_from_touches(corners, touched)
    assert pose_difference(found.X, X)[0] < 1.5
    assert 0.1 < found.rms < 1.5
    with pytest.raises(ImplausibleError, match="do not fit the board"):
        board_from_touches(BOARD.corners_m[[0, 7, 32, 39, 21]], touched)
    with pytest.raises(ImplausibleError, match="not in one line"):
        board_from_touches(BOARD.corners_m[:4], touched[:4])


def hand_views(rng: np.random.Generator, joint_deg: float) -> tuple[list[View], list[Any], Any, Any]:
    """Views from the hand, where the hand was said to be, and the truth: X_hand_camera, X_base_board."""
    X_hand_camera = transform(np.array([0.2, -0.1, 0.05]), np.array([0.01, -0.06, 0.03]))
    X_base_board = board_on_table(0.15, 0.09, turn_deg=-80)
    views, hands = list[View](), list[Any]()
    for k, X_camera_board in enumerate(scenes.hand_held(14, rng)):
        views.append(exact(X_camera_board, rng, f"{k}"))
        turn = np.deg2rad(rng.normal(0, joint_deg, (2, 3)))
        wobble = transform(turn[0], 0.25 * turn[1])  # joints turn the hand and, by their distance, shift it
        hands.append(X_base_board @ inverse(X_camera_board) @ inverse(X_hand_camera) @ wobble)
    return views, hands, X_hand_camera, X_base_board


def test_hand_eye_finds_the_camera_on_the_hand_and_says_how_well() -> None:
    scores: list[float] = []
    for seed in range(8):
        views, hands, X_hand_camera, _ = hand_views(np.random.default_rng(seed), joint_deg=0.3)
        found, _ = camera_on_hand(views, hands, LENS, BOARD)
        assert pose_difference(found.X, X_hand_camera)[0] < 4
        scores += ((found.X[:3, 3] - X_hand_camera[:3, 3]) * 1000 / found.sd_mm).tolist()
    assert 0.5 < np.sqrt(np.mean(np.square(scores))) < 1.7


def test_hand_eye_with_perfect_joints_is_exact() -> None:
    views, hands, X_hand_camera, X_base_board = hand_views(np.random.default_rng(1), joint_deg=0)
    found, lies = camera_on_hand(views, hands, LENS, BOARD)
    assert pose_difference(found.X, X_hand_camera)[0] < 0.3
    assert pose_difference(lies.X, X_base_board)[0] < 0.3


def test_a_hand_that_turns_about_one_axis_only_is_refused() -> None:
    views, hands, _, _ = hand_views(np.random.default_rng(1), 0)
    one = [transform(np.array([0, 0, 0.1 * k]), hand[:3, 3]) for k, hand in enumerate(hands)]
    with pytest.raises(ImplausibleError, match="second axis"):
        camera_on_hand(views, one, LENS, BOARD)
    with pytest.raises(ImplausibleError, match="at least 8"):
        camera_on_hand(views[:5], hands[:5], LENS, BOARD)


def test_automatic_capture_waits_until_the_board_is_still_and_elsewhere() -> None:
    rng, taking = np.random.default_rng(0), AutoCapture()
    here, there = (exact(scenes.tilted(x, 240, 0.4, 0, 20, 0), rng) for x in (240, 420))
    told = [
        taking.feed(view, t) for view, t in ((None, 0), (here, 0.1), (here, 0.4), (there, 0.5), (there, 0.9))
    ]
    assert told == ["no board in sight", "moving", "hold still", "moving", "hold still"]
    assert taking.feed(there, 1.01) == "captured"
    assert taking.feed(there, 1.2).startswith("shows the board as an earlier view does")
    assert taking.feed(here._replace(edge=0.3), 2.0) == "moving"
    assert taking.feed(here._replace(edge=0.3), 2.6).startswith("blurred")
    assert len(taking.views) == 1


def test_the_printed_board_is_the_board_that_is_detected(tmp_path: Path) -> None:
    write_board(BOARD, tmp_path / "board.png", dots_per_inch=127)  # 5 pixels a millimetre
    page = cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE)
    assert page is not None
    assert page.shape == (1050, 1485)
    view = detect(np.asarray(page, np.uint8), BOARD)
    assert view is not None
    assert len(view.ids) == len(BOARD.corners_m)
    across = view.corners_px[np.argmax(view.ids == 7)] - view.corners_px[np.argmax(view.ids == 0)]
    np.testing.assert_allclose(across, (7 * BOARD.square_mm * 5, 0), atol=0.3)


def test_the_pdf_has_the_size_of_the_page_in_points(tmp_path: Path) -> None:
    write_board(BOARD, tmp_path / "board.pdf")
    text = (tmp_path / "board.pdf").read_bytes()
    assert b"/MediaBox [ 0 0 841.88" in text  # A4: 297 mm are 841.89 points
    with pytest.raises(UsageError, match="does not fit on a4"):
        write_board(Board(columns=12), tmp_path / "large.pdf")
    with pytest.raises(UsageError, match=r"\.pdf or \.png"):
        write_board(BOARD, tmp_path / "board.svg")
    with pytest.raises(UsageError, match="must be smaller"):
        Board(marker_mm=30)
