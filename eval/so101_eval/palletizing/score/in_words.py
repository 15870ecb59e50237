"""What became of the boxes, for the person who watched a run on the mock arm."""

from typing import Any

from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.score.record import BoxScore, Event, Score
from so101_eval.palletizing.score.score import Scorer
from so101_robot.mock.physics.world import World

WHAT_HAPPENED = {
    "never_moved": "the arm never moved",
    "missed_grasp": "the hand closed beside it",
    "slip": "it slipped in the hand",
    "drop": "it was dropped",
    "collision": "the arm pressed on something",
    "misplace": "it was put down in the wrong place",
    "topple": "it fell over",
    "timeout_progressing": "time was up while the arm was still at it",
    "timeout_stuck": "time was up, and nothing came of it any more",
    "nan": "the simulation broke down",
    "policy_raised": "the policy failed",
    "stopped": "the run was stopped",
}
"""Kind of failure -> words."""


class PalletizingWatch:
    """A `TaskWatch`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def look(self, time_s: float) -> None:
        self._scorer.observe(time_s)

    def in_words(self) -> list[str]:
        """A line for each box."""
        return in_words(self._scorer.result())

    def as_dict(self) -> dict[str, Any]:
        score = self._scorer.result()
        boxes = [
            {"good": box.good, "error_mm": box.error_mm, "yaw_deg": box.yaw_deg, "seconds": box.seconds}
            for box in score.boxes
        ]
        return {"name": score.task, "seed": score.seed, "success": score.success, "boxes": boxes}


def watch(world: World) -> PalletizingWatch | None:
    """For the entry point: of a palletizing scene that is laid out."""
    scene = world.scene
    if not isinstance(scene, PalletizingScene) or scene.current is None:
        return None
    return PalletizingWatch(Scorer(world, scene.current))


def in_words(score: Score) -> list[str]:
    """A line for each box: how exactly it was placed and when, or why not."""
    several = len(score.boxes) > 1
    return [
        _of_box(box, f"box {box.box + 1}" if several else "box", _reason(score, box))
        for box in score.boxes
        if box.milestones
    ]


def _of_box(box: BoxScore, name: str, reason: Event | None) -> str:
    if box.good and box.error_mm is not None and box.yaw_deg is not None:
        turned = abs(round(box.yaw_deg))
        degrees = f"{turned} degree{'' if turned == 1 else 's'}"
        return f"{name} placed: {box.error_mm:.0f} mm and {degrees} off, in {_released_s(box):.1f} s"
    if reason is None:
        return f"{name} not placed"
    return f"{name} not placed: {WHAT_HAPPENED[reason.kind]} (at {reason.time_s:.1f} s)"


def _released_s(box: BoxScore) -> float:
    return box.milestones["released"] or 0.0


def _reason(score: Score, box: BoxScore) -> Event | None:
    """What befell that box, else what ended the attempt."""
    return next((event for event in score.events if event.box == box.box), score.failure)
