"""A camera that moved is put back, and one of which that is not certain is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from lerobot.processor import ProcessorStepRegistry
from numpy.typing import NDArray

from moved_pictures import Picture, TextureBench
from so101_policy.errors import RegistrationError
from so101_policy.registration.background import Background
from so101_policy.registration.correction import find_correction
from so101_policy.registration.corrector import CameraMovedError, Corrector
from so101_policy.registration.files import name_of, write_background
from so101_policy.registration.homography import mapped
from so101_policy.registration.processor_step import CameraCorrectionStep
from so101_policy.registration.warp import Warp

cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def bench() -> TextureBench:
    return TextureBench(96, 96)


@pytest.fixture(scope="module")
def background(bench: TextureBench) -> Background:
    return bench.background()


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def difference(background: Background, picture: Picture, seen: NDArray[np.bool_]) -> float:
    """Mean, of 255, over what stays the same and is seen."""
    where = background.static & seen
    return float(np.abs(picture[where].astype(float) - background.image[where]).mean())


@pytest.mark.parametrize(("share", "turn_deg"), [(0.01, 0.5), (0.03, -1.0), (0.08, 2.0), (0.13, -3.0)])
def test_a_camera_that_moved_is_put_back(
    bench: TextureBench, background: Background, share: float, turn_deg: float
) -> None:
    H = bench.moved(share, turn_deg)
    live = bench.picture(rng(), H)
    found = find_correction(background, live)
    assert found.H is not None
    points = background.points(background.seldom_hidden)
    true_px = np.linalg.norm(mapped(H, points) - points, axis=1).mean()
    assert found.moved_px == pytest.approx(true_px, abs=0.3)
    assert np.linalg.norm(mapped(found.H, points) - mapped(H, points), axis=1).mean() < 0.35
    assert found.left_px < 0.3
    warp = Warp(found.H, found.gain, background.image)
    assert difference(background, warp(live), warp.seen) < 0.4 * difference(background, live, warp.seen)


def test_a_camera_that_stands_is_left_alone_to_the_bit(bench: TextureBench, background: Background) -> None:
    corrector = Corrector({"front": background})
    live, other = bench.picture(rng()), bench.picture(rng(6))
    corrector.register({"front": live})
    assert corrector.corrections["front"].in_words() == "not moved"
    images = {"front": live, "wrist": other}
    put_back = corrector(images)
    assert put_back["front"] is live
    assert put_back["wrist"] is other, "a camera without a background is nobody's business"


def test_what_the_moved_camera_does_not_see_is_taken_from_the_recordings(
    bench: TextureBench, background: Background
) -> None:
    found = find_correction(background, bench.picture(rng(), bench.moved(0.1)))
    warp = Warp(found.H, 1.0, background.image)
    put_back = warp(np.zeros_like(background.image))
    outside = np.asarray(cv2.erode((~warp.seen).astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
    assert 0.02 < outside.mean() < 0.3
    np.testing.assert_array_equal(put_back[outside], background.image[outside])
    assert put_back[warp.seen].max() == 0


def test_light_is_levelled_and_is_no_move(bench: TextureBench, background: Background) -> None:
    live = bench.picture(rng(), light=0.6)
    found = find_correction(background, live)
    assert found.H is None
    assert found.gain == pytest.approx(0.6, abs=0.02)
    assert found.in_words() == "not moved; light 60 %, levelled"
    warp = Warp(found.H, found.gain, background.image)
    assert difference(background, warp(live), warp.seen) < 3
    with pytest.raises(RegistrationError, match=r"% as bright as the recordings, expected is 33 to 300 %"):
        find_correction(background, bench.picture(rng(), light=0.28))


def test_a_larger_picture_that_is_no_square_is_put_back_too() -> None:
    bench = TextureBench(320, 240)
    background, H = bench.background(), bench.moved(0.06, 1.5)
    found = find_correction(background, bench.picture(rng(), H))
    assert found.H is not None
    points = background.points(background.seldom_hidden)
    assert np.linalg.norm(mapped(found.H, points) - mapped(H, points), axis=1).mean() < 0.35


@pytest.mark.parametrize("which", ["another bench", "noise", "one grey", "upside down"])
def test_a_picture_of_another_scene_is_refused(
    bench: TextureBench, background: Background, which: str
) -> None:
    width, height = bench.size
    live = {
        "another bench": lambda: TextureBench(width, height, seed=9).picture(rng()),
        "noise": lambda: rng().integers(0, 256, (height, width, 3), dtype=np.uint8),
        "one grey": lambda: np.full((height, width, 3), 90, np.uint8),
        "upside down": lambda: np.ascontiguousarray(bench.picture(rng())[::-1, ::-1]),
    }[which]()
    with pytest.raises(RegistrationError):
        find_correction(background, live)


def test_a_shift_beyond_what_was_shown_to_work_is_refused(
    bench: TextureBench, background: Background
) -> None:
    with pytest.raises(RegistrationError, match=r"has moved by \d+ px, and .* shown to work up to|not found"):
        find_correction(background, bench.picture(rng(), bench.moved(0.2)))


@pytest.mark.parametrize("limit", ["LEAST_SHARE", "LEAST_LIKENESS"])
def test_a_registration_below_what_is_certain_is_refused(
    bench: TextureBench, background: Background, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture is put back by the limits as they are, and by none that it does not reach."""
    live = bench.picture(rng(), bench.moved(0.03, -1.0))
    assert find_correction(background, live).H is not None
    monkeypatch.setattr(f"so101_policy.registration.correction.{limit}", 1.01)
    with pytest.raises(RegistrationError, match="it is not certain how the camera has moved"):
        find_correction(background, live)


def test_a_camera_that_moves_during_a_run_is_noticed_and_registered_again(
    bench: TextureBench, background: Background
) -> None:
    told: list[str] = []
    corrector = Corrector({"front": background}, told.append)
    corrector.register({"front": bench.picture(rng(1), bench.moved(0.02))})
    for seed in range(2, 6):
        corrector({"front": bench.picture(rng(seed), bench.moved(0.02))})
    bumped = bench.picture(rng(7), bench.moved(0.05, 1.0))
    with pytest.raises(CameraMovedError, match=r"camera front has moved by \d"):
        corrector({"front": bumped})
    assert told == []
    corrector({"front": bumped})
    assert corrector.corrections["front"].moved_px == pytest.approx(0.05 * bench.size[0], rel=0.15)
    assert "corrected" in told[0]
    with pytest.raises(CameraMovedError, match="looks elsewhere"):
        corrector({"front": TextureBench(*bench.size, seed=9).picture(rng())})
    with pytest.raises(RegistrationError, match="camera front: "):
        corrector({"front": TextureBench(*bench.size, seed=9).picture(rng())})


def test_a_hand_before_the_lens_is_no_move(bench: TextureBench, background: Background) -> None:
    corrector = Corrector({"front": background})
    corrector.register({"front": bench.picture(rng(1))})
    width, height = bench.size
    hand = bench.picture(rng(2), hides=(0, height // 2, width // 2, height))
    assert corrector({"front": hand})["front"] is hand


def test_a_background_of_another_size_is_scaled(background: Background, bench: TextureBench) -> None:
    width, height = bench.size
    half = background.resized((width // 2, height // 2))
    assert half.size_px == (width // 2, height // 2)
    assert half.static.mean() == pytest.approx(background.static.mean(), abs=0.1)
    assert background.resized(bench.size) is background


def test_lerobots_own_programs_have_it_as_a_processor_step(
    bench: TextureBench, background: Background, tmp_path: Path
) -> None:
    assert ProcessorStepRegistry.get("so101_camera_correction") is CameraCorrectionStep
    with pytest.raises(RegistrationError, match="has no so101_background"):
        CameraCorrectionStep(folder=str(tmp_path))
    write_background(tmp_path / name_of("front"), background, "me/boxes")
    step = CameraCorrectionStep(folder=str(tmp_path))
    live = bench.picture(rng(), bench.moved(0.05))
    for key in ("front", "observation.images.front"):
        step.reset()
        seen = step.observation({key: live, "shoulder_pan.pos": 3.0})
        assert seen["shoulder_pan.pos"] == 3.0
        everywhere = np.ones(background.static.shape, bool)
        assert difference(background, seen[key], everywhere) < 0.5 * difference(background, live, everywhere)
    assert CameraCorrectionStep(**step.get_config()).get_config() == step.get_config()
    step.reset()
    with pytest.raises(RegistrationError):
        step.observation({"front": np.full_like(live, 90)})
