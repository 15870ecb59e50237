"""The session: which screen comes when, and what is written about it. The only place that knows who drives.

    rig check -> (reset -> countdown -> trial -> did the rig fail? -> outcome -> measurement) x policies -> end of block

Every step is an event on the disk before the next one begins; what comes next is always read off the state, so a
session that was killed anywhere goes on there. Between two trials the arm is at home, let go.
"""

import math
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from so101_eval.errors import ConfigError, RecordError
from so101_eval.real_study.design.faults import INTERRUPTED, void_reason
from so101_eval.real_study.design.sealing import Schedule, draw_code
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import Event, Journal
from so101_eval.real_study.events.outcome import HUMAN, Outcome, tags_of
from so101_eval.real_study.events.state import Kind, Place, State, Trial, after, fold
from so101_eval.real_study.measurement.protocol import Measurement, Offset, Pictures
from so101_eval.real_study.rule.rule import look
from so101_eval.real_study.session.bench import Bench
from so101_eval.real_study.session.contenders import Ready
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.hands import Hands
from so101_eval.real_study.session.kept_pictures import load, save
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.outcomes import outcomes_by_policy
from so101_eval.real_study.session.showing import Showing
from so101_eval.real_study.session.start_gate import StartGate
from so101_eval.real_study.session.view import Action, Line, View
from so101_policy.files.plain_data import Plain
from so101_policy.files.typed_data import typed
from so101_robot.preflight.findings import Level
from so101_robot.runs.clip import CLIP, Film

TRIALS = "trials"
"""Folder of the run folders."""
CHECK_EVERY = 10
"""Blocks between two checks of the rig."""
LOOK_S = 0.1
"""How often a screen that waits looks at the pictures again: ten a second."""


class LeaveError(Exception):
    """The operator ends the session; the study goes on another time."""


@dataclass(frozen=True)
class Settings:
    """How a session is held."""

    countdown_s: float = 2.0
    """0: a script's session, which does not wait for a still picture either."""
    rehearsal: bool = False
    operator: str = ""
    """Who it is; empty: asked for."""


class Session:
    """One sitting.

    Args:
        study: as locked.
        folder: of the study.
        journal: open for writing.
        schedule: from the sealed key; its opening is an event of the caller's.
        bench: the connected arm.
        ready: the policies, warm.
        operator: sees and decides.
        hands: puts the boxes down.
        measurement: the camera's part.
        settings: of the sitting.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        journal: Journal,
        schedule: Schedule,
        bench: Bench,
        ready: Ready,
        operator: Operator,
        hands: Hands,
        measurement: Measurement,
        settings: Settings,
    ) -> None:
        self._study, self._folder, self._journal = study, folder, journal
        self._schedule, self._bench, self._ready = schedule, bench, ready
        self._operator, self._hands, self._measurement = operator, hands, measurement
        self._settings = settings
        self._state = fold(journal.events)
        self._before: Pictures = {}
        self._measured_words = ""

    @property
    def state(self) -> State:
        """After the last event."""
        return self._state

    def run(self) -> State:
        """Until the study is over or the operator leaves. Raises what the arm or the disk raises."""
        self._void_what_was_interrupted()
        try:
            self._open()
            while (place := self._state.now) is not None:
                self._step(place)
            self._operator.show(self._view("over", text="The study is over: so101-bench unblind", stop=True))
            self._write(Kind.SESSION_CLOSED, {"why": "over"})
        except LeaveError:
            self._write(Kind.SESSION_CLOSED, {"why": "left"})
        return self._state

    # steps -----

    def _void_what_was_interrupted(self) -> None:
        for trial in tuple(self._state.trials.values()):
            if trial.in_flight:
                self._void(trial, INTERRUPTED, "machine", None)

    def _open(self) -> None:
        name = self._settings.operator
        view = self._view("session", text="Who operates? Check the rig, then start.")
        while not name:
            self._operator.show(view)
            action = self._next()
            if action is not None and action.kind == "operator":
                name = str(action.data.get("name", "")).strip()[:60]
        self._write(
            Kind.SESSION_OPENED,
            {
                "operator": name,
                "host": platform.node(),
                "rehearsal": self._settings.rehearsal,
                "least_s": round(self._ready.least_s, 4),
                "spread_s": None if self._study.latency == "slowest" else round(self._ready.spread_s, 4),
            },
        )

    def _step(self, place: Place) -> None:
        """The next thing to do at this place of the queue."""
        checked = self._state.rig_checked_at
        last = self._state.trials[place.trials[-1]] if place.trials else None
        if last is not None and last.open:
            self._settle(last)
        elif len(place.trials) == self._state.policies:
            self._end_block(place)
        elif checked is None or (not place.trials and self._state.over - checked >= CHECK_EVERY):
            self._check_rig()
        elif place.index >= len(self._schedule.orders):
            raise ConfigError(
                f"{self._folder}: {self._state.over} blocks were played or voided, more than the sealed schedule has "
                "room for. Unblind what there is, find out why so many are void, and make another study"
            )
        else:
            self._play(place)

    def _check_rig(self) -> None:
        while True:
            found = [*self._bench.check(), *self._measurement.rig_check(self._bench.pictures())]
            health = self._bench.health()
            ok = all(finding.level != Level.STOP for finding in found)
            lines = tuple(Line(str(finding.level), f"{finding.check}: {finding.text}") for finding in found)
            text = "All is well: start." if ok else "Red has to be put right first; then check again."
            self._operator.show(self._view("session", text=text, findings=lines, ready=ok))
            action = self._until("start", "check")
            if action.kind == "start" and ok:
                levels: dict[str, Plain] = {finding.check: str(finding.level) for finding in found}
                self._write(Kind.RIG_CHECKED, {"ok": True, "findings": levels, **health._asdict()})
                return

    def _play(self, place: Place) -> None:
        """Reset, countdown, trial."""
        slot, study = len(place.trials), self._study
        reset = study.reset(place.block)
        self._hands.place(reset)
        if (offsets := self._wait_for_start(place, slot)) is None:
            return  # an outcome was changed: the screen comes again
        code = draw_code()
        while code in self._state.trials:
            code = draw_code()
        folder = self._folder / TRIALS / code
        folder.mkdir(parents=True)
        self._before = self._bench.pictures()
        save(self._before, folder, "reset")
        self._write(
            Kind.TRIAL_STARTED,
            {
                "trial": code,
                "place": place.index,
                "block": place.block,
                "slot": slot,
                "start": study.start(place.block)._asdict(),
                "offsets": [asdict(offset) for offset in offsets],
                "zero_deg": self._bench.zero_deg,
                **self._bench.health()._asdict(),
            },
        )
        control = Control()
        view = self._view("trial", place=place, slot=slot, code=code, limit_s=study.limit_s)
        showing = Showing(self._operator, view, control)
        self._operator.drives(control)
        try:
            ran = self._bench.drive(
                self._ready.contenders[self._schedule.orders[place.index][slot]],
                self._ready.least_s,
                folder,
                code,
                [*self._hands.watch(control), Film(folder / CLIP, self._bench.config.ticks_per_s), showing],
                control,
            )
        finally:
            self._operator.drives(None)
        save(self._bench.pictures(), folder, "end")
        self._write(
            Kind.TRIAL_ENDED,
            {
                "trial": code,
                **asdict(ran),
                "void": void_reason(study.voids, ran.fault, ran.error, ran.lasting),
                **self._bench.health()._asdict(),
            },
        )
        if ran.held:
            raise ConfigError(
                f"the arm is held in the air after trial {code} ({ran.held}): put a hand under it, switch its supply "
                "off, and see to it; the study goes on from here"
            )
        if ran.signal:
            raise LeaveError

    def _wait_for_start(self, place: Place, slot: int) -> list[Offset] | None:
        """Until every box is where it should be and the operator starts; None: an outcome was changed instead."""
        quick = self._settings.countdown_s <= 0
        gate = StartGate(
            self._study,
            self._study.reset(place.block),
            self._measurement,
            hurried=quick or not self._measurement.available,
            trusted=quick and self._settings.rehearsal,
        )
        last = self._state.last
        can_undo = last is not None and last.outcome is not None and last.void is None
        shown: View | None = None
        while True:
            seen = gate.look(self._bench.pictures(), self._bench.health().hottest_c, time.monotonic())
            view = self._view(
                "reset", place=place, slot=slot, text=seen.text, targets=seen.targets, ready=seen.ready,
                can_override=seen.can_override, can_undo=can_undo, measured=self._measured_words,
            )  # fmt: skip
            if view != shown:
                self._operator.show(view)
                shown = view
            self._operator.pictures(self._bench.frames())
            action = self._next()
            if action is not None and action.kind == "undo" and can_undo:
                assert last is not None  # or it could not be undone
                self._ask_outcome(last, last.outcome)
                return None
            if action is not None and action.kind == "override" and seen.can_override:
                self._write(
                    Kind.START_OVERRIDDEN,
                    {"place": place.index, "slot": slot, "words": [t.words for t in seen.targets]},
                )
                break
            if action is not None and action.kind == "start" and seen.ready:
                break
        self._measured_words = ""
        if self._settings.countdown_s > 0:
            self._operator.show(self._view("countdown", place=place, slot=slot, text="Hands off."))
            clock = self._bench.robot.clock
            clock.sleep_until(clock.now_s() + self._settings.countdown_s)
        return seen.offsets

    def _settle(self, trial: Trial) -> None:
        """Did the rig fail, the outcome, then what the camera says."""
        assert trial.ended is not None  # or it was voided as interrupted
        if trial.rig is None:
            trial = self._ask_rig(trial)
        self._ask_outcome(trial, None)

    def _ask_rig(self, trial: Trial) -> Trial:
        """Before the outcome is asked for. What the table of faults voids is void, whatever the operator thinks."""
        assert trial.ended is not None  # asked by `_settle`
        machine = trial.ended["void"]
        reason: str | None = machine
        by = "machine"
        if machine is None:
            by = "operator"
            reasons = self._study.void_reasons
            view = self._view("rig", trial=trial, text="Did the rig fail?", reasons=reasons)
            self._operator.show(view)
            while True:
                reason = self._until("rig").data.get("reason")
                if reason is None or reason in reasons:
                    break
        self._write(Kind.RIG_ANSWERED, {"trial": trial.code, "reason": reason, "by": by})
        return self._state.trials[trial.code]

    def _ask_outcome(self, trial: Trial, before: Outcome | None) -> None:
        assert trial.ended is not None  # asked by `_settle`, or it has an outcome
        text = (
            ("What became of the boxes?" if self._study.own is None else "How far did each of them get?")
            if before is None
            else "Change the outcome; the first one is kept, too."
        )
        if trial.ended["why"] == HUMAN:
            text = f"A person took over, so the trial is a failure. {text}"
        self._operator.show(self._view("outcome", trial=trial, text=text, suggested=trial.ended["why"]))
        while True:
            data = self._until("outcome").data
            try:
                said: dict[str, Any] = {
                    "tags": tags_of(str(data.get("note", ""))),
                    "of": len(self._study.stages),
                }
                if trial.ended["why"] == HUMAN:
                    said["why"] = HUMAN
                outcome = typed(Outcome, {**data, **said, "by": self._state.operator or ""})
                if len(outcome.stages) != len(self._study.objects):
                    raise RecordError(f"{len(outcome.stages)} boxes, expected {len(self._study.objects)}")
                break
            except ValueError as problem:
                again = self._view("outcome", trial=trial, text=str(problem), suggested=trial.ended["why"])
                self._operator.show(again)
        reason = None if trial.rig is None else trial.rig["reason"]
        if reason is not None:
            assert trial.rig is not None  # it has a reason
            self._void(trial, reason, trial.rig["by"], outcome)
            return
        self._write(
            Kind.OUTCOME, {"trial": trial.code, "outcome": asdict(outcome), "change": before is not None}
        )
        if before is None:
            self._measure(trial)

    def _measure(self, trial: Trial) -> None:
        """Only after the verdict is on the disk."""
        folder = self._folder / TRIALS / trial.code
        before, after = load(folder, "reset"), load(folder, "end")
        found = self._measurement.placement(before, after, self._study.reset(trial.block))
        self._write(Kind.MEASURED, {"trial": trial.code, **asdict(found)})
        known = [box for box in found.boxes if box.du_mm is not None and box.dv_mm is not None]
        self._measured_words = "; ".join(
            f"{self._study.objects[box.box]}: {math.hypot(box.du_mm or 0.0, box.dv_mm or 0.0):.0f} mm off"
            for box in known
        )

    def _end_block(self, place: Place) -> None:
        policies = self._state.policies
        question = (
            "Which trial was the new policy?"
            if policies == 2
            else f"Which trial was the first policy of the {policies}?"
        )
        self._operator.show(self._view("block", place=place, question=question, trials=policies))
        possible = (*map(str, range(1, policies + 1)), "?")
        while True:
            said = self._until("block").data
            if said.get("guess") in possible:
                break
        stop = None if place.practice else self._decides(place)
        self._write(
            Kind.BLOCK_ENDED,
            {"place": place.index, "guess": said["guess"], "preference": str(said.get("preference", ""))[:500],
             "stop": stop},
        )  # fmt: skip

    # what only the runner knows -----

    def _decides(self, ended: Place) -> str | None:
        """Why there are no more blocks after this one."""
        table = outcomes_by_policy(self._study, self._schedule, self._state, (*self._state.complete, ended))
        dangers = [0] * self._state.policies
        for trial in self._state.trials.values():
            if trial.outcome is not None and trial.outcome.why == "danger" and trial.void is None:
                dangers[self._schedule.orders[trial.place][trial.slot]] += 1
        if max(dangers) >= self._study.dangers:
            return "danger"
        return look(table, self._study.blocks, self._study.alpha).stop

    # events and screens -----

    def _void(self, trial: Trial, reason: str, by: str, outcome: Outcome | None) -> None:
        said = None if outcome is None else asdict(outcome)
        self._write(Kind.TRIAL_VOIDED, {"trial": trial.code, "reason": reason, "by": by, "outcome": said})

    def _write(self, kind: Kind, data: Mapping[str, Plain]) -> Event:
        event = self._journal.append(kind, data)
        self._state = after(self._state, event)
        return event

    def _next(self) -> Action | None:
        """What the operator does within a moment. Raises `LeaveError`."""
        action = self._operator.next(LOOK_S)
        if action is not None and action.kind == "leave":
            raise LeaveError
        return action

    def _until(self, *kinds: str) -> Action:
        """The next action of one of these kinds. Raises `LeaveError`."""
        while True:
            action = self._next()
            if action is not None and action.kind in kinds:
                return action

    def _view(
        self,
        screen: Any,
        *,
        place: Place | None = None,
        slot: int = 0,
        trial: Trial | None = None,
        **more: Any,
    ) -> View:
        state, study = self._state, self._study
        if trial is not None:
            place, slot = state.queue[trial.place], trial.slot
        view = View(
            screen,
            operator=state.operator or "",
            blocks=study.blocks,
            trials=state.policies,
            trial=slot + 1,
            code="" if trial is None else trial.code,
            boxes=len(study.objects),
            objects=study.objects,
            stages=study.stages,
        )
        if place is not None:
            view = replace(view, block=0 if place.practice else len(state.complete) + 1)
        return replace(view, **more)
