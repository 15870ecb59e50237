"""The score: geometry, what befalls a box, and whole attempts played without an arm's help."""

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from experiments.overhead_picture import overhead_picture
from so101_eval.errors import RecordError
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.reset_data import PalletStart, Reset
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, PALLET_PLACE_M, Slot
from so101_eval.palletizing.score.box_watch import BoxState, BoxWatch, Hand
from so101_eval.palletizing.score.contacts import Toucher
from so101_eval.palletizing.score.missed_grasp import JawWatch
from so101_eval.palletizing.score.placement import Placement, Pose, assign, in_world, measure, on_pallet
from so101_eval.palletizing.score.record import FAILURES, MILESTONES, BoxScore, Event, Score
from so101_eval.palletizing.score.score import Scorer
from so101_robot.mock.physics.world import HOME_POSE_RAD, World

PALLET = PalletStart(*PALLET_PLACE_M, 0.3, "wood")
SLOT = Slot(0.016, -0.019, 0)
TICK_S = 1 / 30
FAR = Hand(np.array([0.0, 0.0, 0.2]), np.eye(3), 0.3)


def resting(
    u_m: float, v_m: float, yaw_rad: float = 0.0, layer: int = 0, pallet: PalletStart = PALLET
) -> Pose:
    """A box on the pallet."""
    height_m = PALLET_M[2] + BOX_M * (layer + 0.5)
    return Pose((*in_world(pallet, u_m, v_m), height_m), pallet.yaw_rad + yaw_rad, 0.0)


# where boxes stand


@given(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_the_pallets_frame_and_the_worlds_are_each_others_inverse(u_m: float, v_m: float) -> None:
    assert on_pallet(PALLET, in_world(PALLET, u_m, v_m)) == pytest.approx((u_m, v_m), abs=1e-12)


def test_an_error_is_measured_along_the_pallet_and_a_quarter_turn_is_none() -> None:
    for quarter in range(4):
        placed = measure(resting(0.019, -0.023, 0.05 + quarter * math.pi / 2), BOX_M, SLOT, PALLET)
        assert placed.du_mm == pytest.approx(3.0)
        assert placed.dv_mm == pytest.approx(-4.0)
        assert placed.error_mm == pytest.approx(5.0)
        assert placed.yaw_deg == pytest.approx(math.degrees(0.05))
        assert placed.dz_mm == pytest.approx(0.0, abs=1e-9)
        assert placed.good


@pytest.mark.parametrize(
    ("pose", "what"),
    [
        (resting(0.016 - 0.0151, -0.019), "error_mm"),
        (resting(0.016, -0.019, math.radians(10.5)), "yaw_deg"),
        (resting(0.016, -0.019, layer=1), "dz_mm"),
        (resting(0.016, -0.019)._replace(tilt_rad=0.2), "tilt_deg"),
        (resting(0.0305, -0.019), "overhang_mm"),
    ],
)
def test_each_tolerance_counts(pose: Pose, what: str) -> None:
    placed = measure(pose, BOX_M, SLOT, PALLET)
    assert not placed.good
    assert abs(getattr(placed, what)) > 0


def test_overhang_is_how_far_the_farthest_corner_is_beyond_the_edge() -> None:
    edge_u_m = PALLET_M[0] / 2
    assert measure(resting(edge_u_m, 0.0), BOX_M, SLOT, PALLET).overhang_mm == pytest.approx(12.5)
    turned = measure(resting(edge_u_m, 0.0, math.pi / 4), BOX_M, SLOT, PALLET)
    assert turned.overhang_mm == pytest.approx(12.5 * math.sqrt(2))
    assert measure(resting(0.0, 0.0), BOX_M, SLOT, PALLET).overhang_mm == 0.0


def test_a_pose_reads_yaw_and_tilt_from_a_quaternion() -> None:
    yaw_rad, tilt_rad = 0.7, 0.3
    turn, lean = np.empty(4), np.empty(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0, 0, 1.0]), yaw_rad)
    mujoco.mju_axisAngle2Quat(lean, np.array([1.0, 0, 0]), tilt_rad)
    both = np.empty(4)
    mujoco.mju_mulQuat(both, turn, lean)
    pose = Pose.of([1, 2, 3, *both])
    assert pose.position_m == (1, 2, 3)
    assert (pose.yaw_rad, pose.tilt_rad) == (pytest.approx(yaw_rad), pytest.approx(tilt_rad))


def placement(error_mm: float) -> Placement:
    return Placement(error_mm, 0.0, 0.0, 0.0, 0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 1), st.randoms(use_true_random=False))
def test_the_assignment_is_the_best_of_all(boxes: int, spare: int, random: "np.random.Generator") -> None:
    table = [[placement(random.uniform(0, 40)) for _ in range(boxes + spare)] for _ in range(boxes)]

    def value(slots: Sequence[int]) -> tuple[int, float]:
        chosen = [row[slot] for row, slot in zip(table, slots, strict=True)]
        return -sum(p.good for p in chosen), sum(p.error_mm for p in chosen)

    found = assign(table)
    assert len(set(found)) == boxes
    best = min(value(slots) for slots in itertools.permutations(range(boxes + spare), boxes))
    assert value(found) == pytest.approx(best)


# what befalls a box


class Story:
    """A box told frame by frame: where it is and what touches it."""

    def __init__(self, fits: bool = True) -> None:
        self.start = draw("palletize-1", seed=1).boxes[0]
        self.pallet = PalletStart(*PALLET_PLACE_M, 0.0, "wood")
        self.watch = BoxWatch(0, self.start, self.pallet, lambda pose: fits)
        self.position = np.array([self.start.x_m, self.start.y_m, BOX_M / 2])
        self.tilt_rad = 0.0
        self.time_s = 0.0

    def stay(self, seconds: float, held: bool = False, near: bool = False, supported: bool = True) -> "Story":
        return self.go(self.position, seconds, held, near, supported)

    def shift(self, x_m: float, y_m: float, z_m: float, seconds: float = 1.0, **kinds: bool) -> "Story":
        """Move by that much."""
        return self.go(self.position + np.array([x_m, y_m, z_m]), seconds, **kinds)

    def go(
        self,
        to: Sequence[float] | NDArray[np.float64],
        seconds: float = 1.0,
        held: bool = False,
        near: bool = False,
        supported: bool = False,
        hand_stays: bool = False,
    ) -> "Story":
        ticks, begin, end = round(seconds / TICK_S), self.position.copy(), np.asarray(to, float)
        hand_m = self.position.copy()
        for tick in range(1, ticks + 1):
            self.position = begin + (end - begin) * tick / ticks
            x, y, z = self.position.tolist()
            pose = Pose((x, y, z), self.start.yaw_rad, self.tilt_rad)
            hand = FAR
            if held or near:
                hand = Hand(hand_m if hand_stays else self.position.copy(), np.eye(3), 0.1)
            self.time_s += TICK_S
            self.watch.see(self.time_s, BoxState(pose, held, held or near, supported), hand)
        return self

    def place(self, lift_m: float = 0.05, let_go_m: float = 0.001) -> "Story":
        """Everything right, but for the height from which it is let go."""
        slot = np.array([*PALLET_PLACE_M, PALLET_M[2] + BOX_M / 2])
        up = np.array([0, 0, lift_m])
        self.stay(0.5).stay(0.3, near=True).stay(0.3, held=True)
        self.go(self.position + up, held=True).go(slot + up, held=True)
        self.go(slot + np.array([0, 0, let_go_m]), held=True).go(slot, 0.1, near=True)
        return self

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.watch.events]


def test_a_box_that_is_brought_to_its_slot_passes_every_milestone_in_order() -> None:
    story = Story().place().stay(1.9)
    assert not story.watch.stable(story.time_s)
    story.stay(0.5)
    assert story.watch.stable(story.time_s)
    times = [story.watch.times[name] for name in MILESTONES[:5]]
    assert times == sorted(times)
    assert story.kinds == []
    assert story.watch.released_s is not None


@pytest.mark.parametrize(("height_m", "drops"), [(0.006, 0), (0.030, 1)])
def test_a_box_that_falls_farther_than_a_centimetre_was_dropped(height_m: float, drops: int) -> None:
    story = Story().place(let_go_m=height_m).stay(1.0)
    assert story.watch.drops == drops
    assert story.kinds == ["drop"] * drops


def test_a_box_that_is_lost_on_the_way_was_dropped_there() -> None:
    story = Story().stay(0.3, held=True)
    story.shift(0, -0.05, 0.05, held=True).shift(0, 0, -0.05, 0.15).stay(1.0)
    assert [(event.kind, event.phase) for event in story.watch.events] == [("drop", "carry")]


def test_a_box_that_is_let_go_where_it_does_not_belong_is_misplaced() -> None:
    assert Story(fits=False).place().stay(1.0).kinds == ["misplace"]


def test_jaws_that_open_before_the_lift_missed_the_grasp_and_a_box_lost_while_rising_slipped() -> None:
    assert Story().stay(0.3, held=True).stay(0.5, near=True).kinds == ["missed_grasp"]
    story = Story().stay(0.3, held=True)
    story.shift(0, 0, 0.006, 0.3, held=True).shift(0, 0, -0.006, 0.1)
    assert story.kinds == ["slip"]


def test_a_box_that_slides_in_the_jaws_on_the_way_slipped_but_not_one_that_is_pressed_down() -> None:
    for supported, kinds in ((False, ["slip"]), (True, [])):
        story = Story().stay(0.3, held=True)
        story.shift(0, 0, 0.05, held=True)
        story.shift(0, 0, 0.012, 0.5, held=True, supported=supported, hand_stays=True)
        assert story.kinds == kinds


def test_a_placed_box_that_somebody_runs_into_is_a_collision_and_has_to_stand_for_two_seconds_again() -> None:
    story = Story().place().stay(3.0)
    story.shift(0.012, 0, 0, 0.3).stay(1.0)
    assert story.kinds == ["collision"]
    assert not story.watch.stable(story.time_s)
    assert story.stay(1.5).watch.stable(story.time_s)


def test_a_nudge_of_a_millimetre_is_none() -> None:
    story = Story().place().stay(1.5)
    assert story.shift(0.001, 0, 0, 0.2).stay(0.5).watch.stable(story.time_s)


def test_a_waiting_box_that_is_pushed_between_the_jaws_is_a_try_and_else_a_collision() -> None:
    for near, kinds in ((True, []), (False, ["collision"])):
        story = Story().stay(0.5)
        story.shift(0.03, 0, 0, 0.5, near=near, supported=True).stay(1.0)
        assert story.kinds == kinds


def test_a_box_that_comes_to_lie_on_its_side_toppled() -> None:
    story = Story().place()
    story.tilt_rad = math.pi / 2
    assert story.stay(1.0).kinds == ["topple"]
    waiting = Story().stay(0.5)
    waiting.tilt_rad = math.pi / 2
    assert "topple" in waiting.stay(1.0).kinds


def test_touches_of_a_single_tick_are_neither_a_grasp_nor_a_release() -> None:
    story = Story().stay(0.2).stay(TICK_S, held=True).stay(0.2)
    assert "grasped" not in story.watch.times
    story.stay(0.3, held=True).stay(TICK_S).stay(0.2, held=True)
    assert story.watch.held
    assert story.kinds == []


def jaws(*frames: tuple[float, float, bool]) -> list[bool]:
    """(jaw angle, height, holding) -> whether a miss was noticed."""
    watch = JawWatch()
    return [
        watch.see(Hand(np.array([0.2, 0.1, z_m]), np.eye(3), jaw_rad), holding) is not None
        for jaw_rad, z_m, holding in frames
    ]


def test_jaws_that_close_low_and_rise_empty_missed() -> None:
    assert jaws((0.4, 0.1, False), (0.4, 0.02, False), (0.1, 0.02, False), (0.1, 0.06, False))[-1]
    assert not any(jaws((0.4, 0.02, False), (0.1, 0.02, False), (0.1, 0.02, True), (0.1, 0.06, True)))
    assert not any(jaws((0.4, 0.1, False), (0.1, 0.1, False), (0.1, 0.15, False)))  # closed in the air
    assert jaws((0.4, 0.02, False), (0.1, 0.02, False), (0.3, 0.02, False))[-1]  # opened again


# whole attempts


@pytest.fixture(scope="module")
def world() -> World:
    return World(PalletizingScene("palletize-2"))


def lay(world: World, reset: Reset) -> Scorer:
    assert isinstance(world.scene, PalletizingScene)
    world.scene.next = reset
    world.reset(0)
    return Scorer(world, reset)


def put(world: World, box: int, pose: Pose) -> None:
    world.data.joint(f"box/{box}").qpos[:] = (
        *pose.position_m,
        math.cos(pose.yaw_rad / 2), 0, 0, math.sin(pose.yaw_rad / 2),
    )  # fmt: skip


def look(world: World, scorer: Scorer, begin_s: float, seconds: float) -> float:
    """Frozen time: the world stays as it is and is looked at. Returns when it ended."""
    mujoco.mj_forward(world.model, world.data)
    ticks = round(seconds * 30)
    for tick in range(ticks):
        scorer.observe(begin_s + tick / 30)
    return begin_s + ticks / 30


def play(world: World, scorer: Scorer, reset: Reset, errors_mm: Sequence[float] = (1.0, 2.0)) -> float:
    """Bring every box to its slot by force of hand: joints set, jaws pretended. Returns the end."""
    time_s = look(world, scorer, 0.0, 0.5)
    world.data.qpos[world.joint_qpos[0]] += 0.5  # the arm does something
    for watch, slot, error_mm in zip(scorer.watches, scorer.task.slots, errors_mm, strict=True):
        lying = scorer.pose(watch.index)
        end = resting(slot.u_m + error_mm / 1000, slot.v_m, 0.02, pallet=reset.pallet)
        up = end._replace(position_m=(*end.position_m[:2], 0.06))
        for pose, held, seconds in ((lying, True, 0.2), (up, True, 1.0), (end, True, 0.2), (end, False, 0.5)):
            put(world, watch.index, pose)
            hand = Hand(np.array(pose.position_m), np.eye(3), 0.1) if held else FAR
            begin_s, time_s = time_s, time_s + seconds
            for tick in range(round(seconds * 30)):
                moment_s = begin_s + tick / 30
                scorer.observe(moment_s)
                watch.see(moment_s + 0.001, BoxState(pose, held, held, not held), hand)
                watch.see(moment_s + 0.002, BoxState(pose, held, held, not held), hand)
    return time_s


def test_two_boxes_in_their_slots_are_a_success_two_seconds_later(world: World) -> None:
    reset = draw("palletize-2", "randomised", 2, 9)
    scorer = lay(world, reset)
    end_s = play(world, scorer, reset)
    assert not scorer.done
    assert scorer.result().success is False  # the last box has not stood for two seconds
    look(world, scorer, end_s, 2.5)
    score = scorer.result()
    assert scorer.done
    assert score.success
    assert score.failure is None
    assert score.drops == 0
    assert [box.slot for box in score.boxes] == [0, 1]
    assert [box.error_mm for box in score.boxes] == [pytest.approx(1.0), pytest.approx(2.0)]
    assert [box.yaw_deg for box in score.boxes] == [pytest.approx(math.degrees(0.02))] * 2
    assert score.credit == 1.0
    assert score.seconds_per_box is not None
    assert score.boxes_per_hour == pytest.approx(3600 / score.seconds_per_box)
    assert Score.from_json(score.to_json()) == score


def test_a_box_beyond_the_tolerance_is_misplaced(world: World) -> None:
    reset = draw("palletize-2", seed=9)
    scorer = lay(world, reset)
    look(world, scorer, play(world, scorer, reset, (1.0, 12.0)), 2.5)
    assert scorer.result().success
    scorer = lay(world, reset)
    scorer.watches[0].events.append(Event(0.1, "missed_grasp", "grasp", 0))  # made good again: no failure
    look(world, scorer, play(world, scorer, reset, (1.0, 16.0)), 2.5)
    score = scorer.result()
    assert score.success is False
    assert [box.good for box in score.boxes] == [True, False]
    assert score.failure is not None
    assert (score.failure.kind, score.failure.phase, score.failure.box) == ("misplace", "place", 1)


def test_a_last_box_that_comes_after_the_time_limit_is_too_late(world: World) -> None:
    reset = draw("palletize-2", seed=9)
    scorer = lay(world, reset)
    end_s = play(world, scorer, reset)
    scorer.task = dataclasses.replace(scorer.task, time_limit_s=2.5)
    look(world, scorer, end_s, 2.5)
    score = scorer.result()
    assert score.success is False
    assert score.good_boxes == 2
    assert score.failure is not None
    assert score.failure.kind == "timeout_progressing"


def test_an_arm_that_never_moves_is_called_that_and_has_no_smoothness(world: World) -> None:
    scorer = lay(world, draw("palletize-2", seed=9))
    look(world, scorer, 0.0, 33.0)
    assert scorer.done
    score = scorer.result()
    assert score.success is False
    assert score.failure is not None
    assert score.failure.kind == "never_moved"
    assert score.credit == 0
    assert score.sparc is None
    assert "carried" in score.unmeasured["sparc"]


def test_an_arm_that_moves_and_reaches_nothing_is_stuck(world: World) -> None:
    scorer = lay(world, draw("palletize-2", seed=9))
    world.data.qpos[world.joint_qpos[0]] = -0.5
    look(world, scorer, 0.0, 33.0)
    failure = scorer.result().failure
    assert failure is not None
    assert (failure.kind, failure.phase) == ("timeout_stuck", "approach")


def test_a_state_that_is_not_a_number_ends_the_attempt_with_reasons_in_place_of_numbers(world: World) -> None:
    scorer = lay(world, draw("palletize-2", seed=9))
    look(world, scorer, 0.0, 1.0)
    world.data.qpos[world.joint_qpos[0]] = float("nan")
    scorer.observe(1.5)
    assert scorer.done
    score = scorer.result()
    assert score.success is False
    assert score.failure is not None
    assert score.failure.kind == "nan"
    assert score.boxes[0].error_mm is None
    assert Score.from_json(score.to_json()) == score


def test_an_action_that_is_not_a_number_is_reported_by_who_saw_it(world: World) -> None:
    scorer = lay(world, draw("palletize-2", seed=9))
    look(world, scorer, 0.0, 1.0)
    scorer.abort("nan", "action of joint 2")
    score = scorer.result()
    assert score.failure is not None
    assert (score.failure.kind, score.failure.detail) == ("nan", "action of joint 2")
    assert score.boxes[0].error_mm is not None


def test_a_catch_trial_has_no_success_and_says_why(world: World) -> None:
    reset = draw("palletize-2", "catch-trial", 2, 9)
    scorer = lay(world, reset)
    look(world, scorer, 0.0, 1.0)
    score = scorer.result()
    assert score.success is None
    assert "taken away" in score.unmeasured["success"]
    assert score.credit is None
    assert [box.unmeasured["error_mm"] for box in score.boxes] == ["taken away (catch trial)"] * 2
    assert score.failure is None
    assert Score.from_json(score.to_json()) == score


def test_a_null_without_a_reason_cannot_be_recorded(world: World) -> None:
    scorer = lay(world, draw("palletize-2", seed=9))
    look(world, scorer, 0.0, 0.5)
    score = scorer.result()
    with pytest.raises(RecordError, match="lacks sparc and does not say why"):
        dataclasses.replace(score, unmeasured={"ldlj": "no carry", "seconds_per_box": "no box"})
    with pytest.raises(RecordError, match="box 0 lacks du_mm"):
        dataclasses.replace(score.boxes[0], du_mm=None)
    with pytest.raises(RecordError, match="schema 9; this version reads 1"):
        Score.from_json(json.dumps({**json.loads(score.to_json()), "schema": 9}))
    with pytest.raises(RecordError, match="no event 'explosion'"):
        Event(0.0, "explosion", "carry")
    assert len(FAILURES) == 12


def test_a_record_of_the_real_arm_has_reasons_where_a_person_with_a_ruler_cannot_tell() -> None:
    unseen = "nobody watches the jaws"
    measured = BoxScore(
        box=0, slot=0, good=True, milestones={name: 3.0 + i for i, name in enumerate(MILESTONES)},
        du_mm=3.0, dv_mm=-4.0, error_mm=5.0, dz_mm=None, yaw_deg=2.0, tilt_deg=None, overhang_mm=0.0,
        seconds=8.0, drops=0, unmeasured={"dz_mm": "a ruler is too coarse", "tilt_deg": "seen to lie flat"},
    )  # fmt: skip
    lost = BoxScore(
        box=1, slot=None, good=False, milestones={**dict.fromkeys(MILESTONES), "reached": 11.0},
        du_mm=None, dv_mm=None, error_mm=None, dz_mm=None, yaw_deg=None, tilt_deg=None, overhang_mm=None,
        seconds=None, drops=1,
        unmeasured=dict.fromkeys(
            ("slot", "du_mm", "dv_mm", "error_mm", "dz_mm", "yaw_deg", "tilt_deg", "overhang_mm", "seconds"),
            "fell off the table",
        ),
    )  # fmt: skip
    score = Score(
        task="palletize-2", suite="v1", scenario="nominal", level=0, seed=7, backend="so101",
        success=False, credit=(measured.credit + lost.credit) / 2, boxes=(measured, lost),
        drops=1, collisions=None, empty_grasps=None, duration_s=31.0, robot_s=30.0,
        seconds_per_box=30.0, boxes_per_hour=120.0, sparc=None, ldlj=None,
        failure=Event(14.0, "drop", "carry", 1),
        unmeasured={
            "collisions": "no force is measured", "empty_grasps": unseen,
            "sparc": "boxes are not tracked", "ldlj": "boxes are not tracked",
        },
    )  # fmt: skip
    assert Score.from_json(score.to_json()) == score
    assert (measured.credit, lost.credit) == (1.0, pytest.approx(1 / 7))
    with pytest.raises(RecordError, match="lacks collisions and does not say why"):
        dataclasses.replace(score, unmeasured={**score.unmeasured, "collisions": ""})
    with pytest.raises(RecordError, match="box 1 lacks seconds"):
        dataclasses.replace(lost, unmeasured={**lost.unmeasured, "seconds": ""})


def test_contacts_are_seen_as_held_touched_supported_and_pressed(world: World) -> None:
    lay(world, draw("palletize-2", seed=9))
    toucher = Toucher(world, 2)
    for _ in range(20):
        mujoco.mj_step(world.model, world.data)
    touches = toucher.read()
    assert touches.held == touches.fingers == [False, False]
    assert touches.supported == [True, True]
    assert touches.press_n == 0
    world.place_arm((*HOME_POSE_RAD[:5], 0.115))  # jaws 25 mm apart
    mujoco.mj_forward(world.model, world.data)
    pads = [world.data.geom(name).xpos for name in ("fj_pad", "mj_pad")]
    grip = world.data.body("gripper")
    world.data.joint("box/0").qpos[:] = (*np.mean(pads, axis=0), *grip.xquat)
    mujoco.mj_forward(world.model, world.data)
    touches = toucher.read()
    assert touches.held == [True, False]
    assert touches.fingers == [True, False]
    assert touches.supported == [False, True]
    world.place_arm((0.0, 0.9, 0.4, 0.0, -1.571, 0.35))  # driven into the table
    mujoco.mj_forward(world.model, world.data)
    touches = toucher.read()
    assert touches.press_n > 10
    assert touches.partner.endswith(" on table")


def test_the_overhead_picture_shows_the_verdict_and_repeats(world: World) -> None:
    reset = draw("palletize-2", seed=9)
    scorer = lay(world, reset)
    look(world, scorer, play(world, scorer, reset), 2.5)
    good = overhead_picture(world, scorer.result())
    assert good.shape == (480, 1040, 3)
    assert good.dtype == np.uint8
    np.testing.assert_array_equal(good, overhead_picture(world, scorer.result()))
    put(world, 1, resting(0.03, 0.04, 0.4, pallet=reset.pallet))
    look(world, scorer, 12.0, 1.0)
    bad = overhead_picture(world, scorer.result())
    panel, green = slice(640, None), np.array([24, 128, 72])

    def greens(image: NDArray[np.uint8]) -> int:
        return int((np.abs(image[:, panel].astype(int) - green).max(axis=-1) < 40).sum())

    assert greens(bad) < greens(good)
