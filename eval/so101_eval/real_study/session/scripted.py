"""An operator that is a script: reads the simulation's truth in place of looking at the table, and never tires."""

import time
from collections.abc import Mapping

from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.hands import Simulated
from so101_eval.real_study.session.view import Action, View
from so101_robot.state import Frame

NAME = "script"


class ScriptedOperator:
    """Answers every screen at once. Guesses nothing: it says "don't know"."""

    def __init__(self, hands: Simulated) -> None:
        self._hands = hands
        self._view: View | None = None
        self.views: list[View] = []
        """All that it was shown."""

    def show(self, view: View) -> None:
        self._view = view
        self.views.append(view)

    def next(self, timeout_s: float) -> Action | None:
        view = self._view
        if view is None:
            time.sleep(timeout_s)
            return None
        match view.screen:
            case "session" | "reset":
                return Action("start") if view.ready else Action("leave")
            case "rig":
                return Action("rig", {"reason": view.suggested or None})
            case "outcome":
                return Action("outcome", self._outcome(view))
            case "block":
                return Action("block", {"guess": "?", "preference": ""})
            case _:
                return None

    def drives(self, control: Control | None) -> None: ...

    def pictures(self, frames: Mapping[str, Frame]) -> None: ...

    def close(self) -> None: ...

    def _outcome(self, view: View) -> dict[str, object]:
        top = len(view.stages)
        score = None if self._hands.seen is None else self._hands.seen.score
        if score is None:
            stages, success = [0] * view.boxes, False
        else:
            # stages are passed in order, so their number says which
            stages = [sum(box.milestones.get(name) is not None for name in MILESTONES) for box in score.boxes]
            stages = [stage * top // len(MILESTONES) for stage in stages]  # a task of its own has others
            success = bool(score.success) and view.suggested != "fault"
        if success:
            stages = [top] * view.boxes
        return {"stages": stages, "success": success, "why": view.suggested, "note": ""}
