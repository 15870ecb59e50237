"""Cameras that exchange their pictures are found, and nothing else is taken for it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.faults.camera_swap import PATIENCE, CameraSwapCheck
from so101_robot.faults.fault import Symptom
from so101_robot.state import Frame

RNG = np.random.default_rng(0)
FRONT = RNG.uniform(60, 180, (48, 64, 3))
WRIST = RNG.uniform(60, 180, (24, 32, 3))
Picture = NDArray[np.float64]


class Watched:
    def __init__(self) -> None:
        self.swaps, self.sequence = CameraSwapCheck(), 0

    def see(self, **pictures: Picture) -> list[Symptom]:
        """New pictures with a little noise."""
        self.sequence += 1
        frames = {
            name: Frame(
                (picture + RNG.uniform(-3, 3, picture.shape)).astype(np.uint8), 0.0, self.sequence, None
            )
            for name, picture in pictures.items()
        }
        return self.swaps.see(frames)


@pytest.fixture
def watched() -> Watched:
    one = Watched()
    for _ in range(5):
        assert one.see(front=FRONT, wrist=WRIST) == []
    return one


def test_exchanged_pictures_are_seen_until_they_are_back(watched: Watched):
    for _ in range(3 * PATIENCE):
        seen = watched.see(front=WRIST, wrist=FRONT)
        assert [(symptom.fault, symptom.where) for symptom in seen] == [("camera swapped", "front, wrist")]
    assert watched.see(front=FRONT, wrist=WRIST) == []


def test_it_is_seen_though_one_camera_delivers_later(watched: Watched):
    assert watched.see(front=WRIST, wrist=WRIST) == []
    assert len(watched.see(front=WRIST, wrist=FRONT)) == 1


def test_a_camera_that_alone_sees_what_another_sees_is_no_swap(watched: Watched):
    for _ in range(3 * PATIENCE):
        assert watched.see(front=FRONT, wrist=FRONT) == []


def test_a_wrist_camera_that_turns_away_is_no_swap(watched: Watched):
    for _ in range(20):
        assert watched.see(front=FRONT, wrist=RNG.uniform(0, 255, WRIST.shape)) == []


def test_dark_pictures_of_both_are_no_swap(watched: Watched):
    assert watched.see(front=FRONT * 0, wrist=WRIST * 0 + 4) == []
    assert watched.see(front=FRONT, wrist=WRIST) == []
