"""What is moved in the middle of an attempt: when, where to, and that nobody is blamed for it."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.episode.episode import Attempt, Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.expert.expert import Expert, run_expert
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.happenings import pallet_now
from so101_robot.loop.tick import Tick
from so101_robot.mock.arm import MockConfig

TASK, SEED = "palletize-1-small", 3


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(TASK, MockConfig(width=48, height=48, realtime_factor=0.0)) as stage:
        yield stage


@pytest.fixture(scope="module")
def two() -> Iterator[Stage]:
    with Stage("palletize-2") as stage:
        yield stage


class Seen:
    """What stood where on every tick."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.boxes: list[NDArray[np.float64]] = []
        self.pallets: list[tuple[float, float]] = []
        self.hands: list[NDArray[np.float64]] = []
        self.pictures: list[NDArray[np.uint8]] = []

    def __call__(self, tick: Tick) -> None:
        world = self.stage.world
        self.boxes.append(world.data.joint("box/0").qpos[:3].copy())
        self.pallets.append(tuple(world.model.body("pallet").pos[:2].tolist()))
        pads = [world.model.geom(name).id for name in ("fj_pad", "mj_pad")]
        self.hands.append(world.data.geom_xpos[pads].mean(axis=0))
        self.pictures.append(tick.frames["front"].image.copy())


def play(stage: Stage, scenario: str, level: int, seed: int = SEED) -> tuple[Attempt, Seen]:
    reset, seen = draw(stage.task, scenario, level, seed), Seen(stage)
    return stage.attempt(reset, lambda stage: Scripted(Expert(stage.world, stage.robot, reset)), seen), seen


def test_a_box_is_moved_once_while_the_hand_comes_near_and_the_expert_goes_after_it(stage: Stage):
    attempt, seen = play(stage, "box-moved", 3)
    moves = attempt.reset.moves
    assert moves is not None
    ((what, at_s),) = attempt.happened.items()
    tick = round(at_s * 30)
    assert what == "box 0 moved"
    before, after = seen.boxes[tick - 1], seen.boxes[tick]
    np.testing.assert_allclose((after - before)[:2], moves.boxes_m[0], atol=5e-4)
    assert math.dist(seen.hands[tick], before) < moves.near_m <= math.dist(seen.hands[tick - 1], before)
    # how it ended: nobody pushed it, and it stands where it belongs
    assert attempt.score.success, attempt.score.failure
    assert attempt.score.collisions == 0


def test_the_pallet_is_moved_while_the_box_is_brought_and_is_where_the_score_looks(stage: Stage):
    attempt, seen = play(stage, "pallet-moved", 3)
    moves = attempt.reset.moves
    assert moves is not None
    assert moves.pallet_m is not None
    ((what, at_s),) = attempt.happened.items()
    tick = round(at_s * 30)
    assert what == "pallet moved"
    assert seen.boxes[tick][2] > 0.03  # in the air
    way_m = np.subtract(seen.pallets[tick], seen.pallets[tick - 1])
    np.testing.assert_allclose(way_m, moves.pallet_m)
    pallet = pallet_now(stage.world, attempt.reset)
    assert (pallet.x_m, pallet.y_m) == seen.pallets[-1]
    assert pallet.yaw_rad == attempt.reset.pallet.yaw_rad
    assert attempt.score.success, attempt.score.failure
    error_mm = attempt.score.boxes[0].error_mm
    assert error_mm is not None
    assert error_mm < 5.0


def test_who_does_not_follow_the_pallet_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Expert, "_pallet", property(lambda self: self._reset.pallet))  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
    attempt, _ = play(stage, "pallet-moved", 3)
    assert not attempt.score.success
    (box,) = attempt.score.boxes
    assert box.error_mm is not None
    assert box.error_mm > 15.0


def test_with_two_boxes_the_pallet_is_moved_before_anything_stands_on_it(two: Stage):
    attempt = run_expert("palletize-2", "pallet-moved", 2, 4, two)
    first_s = min(box.milestones["released"] or 0.0 for box in attempt.score.boxes)
    assert attempt.happened["pallet moved"] < first_s
    assert attempt.score.success, attempt.score.failure


def test_a_bumped_camera_stays_where_it_was_bumped_to_until_the_next_attempt(stage: Stage):
    seed = next(seed for seed in range(20) if _bumped_camera(seed) == "front")
    nominal, straight = play(stage, "nominal", 0, seed)
    camera = stage.world.model.camera("front")
    before = camera.pos.copy(), camera.quat.copy()
    attempt, crooked = play(stage, "camera-bumped", 3, seed)
    ((what, at_s),) = attempt.happened.items()
    tick = round(at_s * 30)
    assert what == "camera front bumped"
    assert np.linalg.norm(camera.pos - before[0]) == pytest.approx(0.020)
    np.testing.assert_array_equal(crooked.pictures[tick - 1], straight.pictures[tick - 1])
    for later in (tick + 1, -1):
        assert not np.array_equal(crooked.pictures[later], straight.pictures[later])
    assert attempt.state_hash == nominal.state_hash  # the arm goes on as if nothing had happened
    stage.lay_out(draw(TASK, seed=seed))
    np.testing.assert_array_equal(camera.pos, before[0])
    np.testing.assert_array_equal(camera.quat, before[1])


def _bumped_camera(seed: int) -> str:
    bump = draw(TASK, "camera-bumped", 3, seed).bump
    assert bump is not None
    return bump.camera


def test_nothing_happens_in_a_scene_in_which_nothing_should(stage: Stage):
    attempt, seen = play(stage, "nominal", 0)
    assert attempt.happened == {}
    assert len(set(seen.pallets)) == 1


def test_a_zero_that_is_off_shifts_what_is_measured_and_what_is_commanded(stage: Stage):
    nominal, off = (draw(TASK, scenario, 3, SEED) for scenario in ("nominal", "calibration-error"))

    def measured_and_true(reset: Any, target: NDArray[np.float64] | None = None) -> tuple[Any, Any]:
        """Where the joints are said to be, and are [deg, the gripper in percent / deg], after they went to `target`."""
        script = Scripted(lambda observation: target if len(rows) < 60 else None)
        rows: list[NDArray[np.float64]] = []
        stage.attempt(reset, lambda _: script, lambda tick: rows.append(tick.state.position))
        return rows[-1][:5], np.degrees(stage.mock.joint_rad[:5])

    start, _ = measured_and_true(nominal)
    error_deg = np.degrees(off.zero_error_rad[:5])
    target = np.array([*start, 20.0])
    for reset, expected in ((nominal, 0.0), (off, error_deg)):
        measured, true = measured_and_true(reset, target)
        np.testing.assert_allclose(measured - true, expected, atol=0.2)
    # the same command brings the arm elsewhere: by the error, but for what gravity and play do to it
    here, there = (measured_and_true(reset, target)[1] for reset in (nominal, off))
    np.testing.assert_allclose(here - there, error_deg, atol=0.8)


@pytest.mark.parametrize("scenario", ["calibration-error", "sensor-bias", "start-anywhere", "box-everywhere"])
def test_the_expert_does_the_task_all_the_same(scenario: str, stage: Stage):
    assert run_expert(TASK, scenario, 3, SEED, stage).score.success
