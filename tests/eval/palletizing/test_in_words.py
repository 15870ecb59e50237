"""What became of the boxes in words: by the score's own figures, a line for each box."""

from collections.abc import Callable

import pytest

from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.score.in_words import WHAT_HAPPENED, in_words, watch
from so101_eval.palletizing.score.record import FAILURES, MILESTONES, BoxScore, Event, Score
from so101_robot.mock.physics.table import TableScene
from so101_robot.mock.physics.world import World


def box(index: int, good: bool, error_mm: float = 2.2, yaw_deg: float = -1.2) -> BoxScore:
    times = dict.fromkeys(MILESTONES, 7.4 if good else None)
    return BoxScore(index, index, good, times, 1.0, 2.0, error_mm, 0.0, yaw_deg, 0.0, 0.0, 7.4, 0)


@pytest.fixture
def score() -> Callable[..., Score]:
    def make(*boxes: BoxScore, failure: Event | None = None, events: tuple[Event, ...] = ()) -> Score:
        return Score(
            "palletize-2", "v2", "nominal", 0, 7, "mujoco", failure is None, 1.0, boxes, 0, 0, 0, 20.0, 7.4, 7.4,
            480.0, -2.0, -9.0, failure, events,
        )  # fmt: skip

    return make


def test_a_box_that_was_placed(score: Callable[..., Score]):
    assert in_words(score(box(0, True))) == ["box placed: 2 mm and 1 degree off, in 7.4 s"]
    assert in_words(score(box(0, True, 0.4, 3.6))) == ["box placed: 0 mm and 4 degrees off, in 7.4 s"]


def test_of_several_boxes_each_has_its_line_and_its_own_reason(score: Callable[..., Score]):
    dropped, stuck = Event(5.0, "drop", "carry", 1), Event(17.5, "timeout_stuck", "approach")
    lines = in_words(score(box(0, True), box(1, False), box(2, False), failure=stuck, events=(dropped,)))
    assert lines[0].startswith("box 1 placed: ")
    assert lines[1] == "box 2 not placed: it was dropped (at 5.0 s)"
    assert lines[2] == "box 3 not placed: time was up, and nothing came of it any more (at 17.5 s)"


def test_every_failure_has_words():
    assert set(WHAT_HAPPENED) == set(FAILURES)


def test_it_watches_palletizing_scenes_and_no_others():
    assert watch(World(TableScene())) is None
    scene = PalletizingScene("palletize-1-small")
    scene.next = draw("palletize-1-small", seed=3)
    found = watch(World(scene))
    assert found is not None
    found.look(0.0)
    assert found.as_dict()["seed"] == 3
    assert found.in_words() == ["box not placed: the arm never moved (at 0.0 s)"]
