"""A study's session without an arm: trials take no time and end as a table says. For the order of things and kills.

python tests/support/real_sessions.py FOLDER EVENTS     runs the session and kills itself after so many events
"""

import hashlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from so101_eval.palletizing.scene.draw import Reset
from so101_eval.real_study.design.lock import writing
from so101_eval.real_study.design.sealing import unseal
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import Event, Journal
from so101_eval.real_study.events.state import Kind, State
from so101_eval.real_study.measurement.nothing import Nothing
from so101_eval.real_study.measurement.protocol import Measurement
from so101_eval.real_study.session.bench import Health, Ran
from so101_eval.real_study.session.contenders import Ready
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.runner import Session, Settings
from so101_eval.real_study.session.view import Action, View
from so101_policy.files.plain_data import Plain
from so101_robot.runs.log import RUN, TICKS


class Number:
    """A policy that is known by its number alone."""

    chunks = "none"

    def __init__(self, number: int) -> None:
        self.number = number


class PretendBench:
    """An arm that is nowhere."""

    def __init__(self, fault: Callable[[int, int], str | None]) -> None:
        self.block, self.number, self._fault = 0, 0, fault
        self.driven: list[tuple[int, int]] = []
        """(block, policy) of every trial."""
        self.signal: str | None = None

    config = type("Config", (), {"ticks_per_s": 30.0})
    zero_deg = (0.0,) * 6

    def frames(self) -> Mapping[str, Any]:
        return {}

    def pictures(self) -> Mapping[str, Any]:
        return {}

    def health(self) -> Health:
        return Health(30.0, 12.0)

    def check(self) -> list[Any]:
        return []

    def drive(
        self,
        contender: Number,
        least_s: float,
        folder: Path,
        code: str,
        watching: Sequence[Any],
        control: Control,
    ) -> Ran:
        self.number = contender.number
        self.driven.append((self.block, self.number))
        (folder / RUN).write_text('{"started": "2026-01-01T00:00:00+00:00", "versions": {"so101": "1"}}')
        (folder / TICKS).write_text("")
        for each in watching:
            each.close()
        fault = self._fault(self.block, self.number)
        why = "fault" if fault else "done"
        return Ran("time is up", why, fault, fault, (), 450, 12.0, True, "", self.signal, None)


class PretendHands:
    """Tells the bench which start it is."""

    def __init__(self, bench: PretendBench, first_seed: int) -> None:
        self._bench, self._first_seed = bench, first_seed

    def place(self, reset: Reset) -> None:
        self._bench.block = reset.seed - self._first_seed

    def watch(self, control: Control) -> list[Any]:
        return []


class Table:
    """An operator who knows how each trial ends: by block and policy, whatever the order."""

    def __init__(
        self,
        trial: Callable[[], tuple[int, int]],
        succeeds: Callable[[int, int], bool],
        void: str | None = None,
    ) -> None:
        """`trial`: block and policy of the one that was played last, perhaps by a process that was killed since."""
        self._trial, self._succeeds, self.void = trial, succeeds, void
        self.views: list[View] = []
        self.answers: dict[str, list[Action]] = {}
        """By screen: what is done first there, before the usual."""

    def show(self, view: View) -> None:
        self.views.append(view)

    def next(self, timeout_s: float) -> Action | None:
        view = self.views[-1]
        if self.answers.get(view.screen):
            return self.answers[view.screen].pop(0)
        match view.screen:
            case "session":
                return Action("start") if view.ready else Action("operator", {"name": "anna"})
            case "reset":
                return Action("start")
            case "rig":
                return Action("rig", {"reason": self.void})
            case "outcome":
                success = self._succeeds(*self._trial()) and view.suggested != "fault"
                data = {"stages": [7 if success else 2], "success": success, "why": view.suggested}
                return Action("outcome", data)
            case "block":
                return Action("block", {"guess": "?", "preference": ""})
            case _:
                return None

    def drives(self, control: Control | None) -> None: ...

    def pictures(self, frames: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def by_chance(block: int, policy: int) -> bool:
    """The same whenever it is asked, and nothing to do with the order."""
    return hashlib.sha256(f"{block} {policy}".encode()).digest()[0] < (90 if policy == 0 else 200)


def never(block: int, policy: int) -> str | None:
    return None


class Sitting:
    """A session on a locked study, without an arm."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        journal: Journal,
        succeeds: Callable[[int, int], bool] = by_chance,
        fault: Callable[[int, int], str | None] = never,
        settings: Settings | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        self.bench = PretendBench(fault)
        self.operator = Table(self._last, succeeds)
        ready = Ready(tuple(Number(n) for n in range(len(study.policies))), 0.0, 0.0)  # type: ignore[arg-type]
        self.schedule = unseal(folder, study)
        self.session = Session(
            study, folder, journal, self.schedule, self.bench, ready, self.operator,  # type: ignore[arg-type]
            PretendHands(self.bench, study.first_seed), measurement or Nothing(),
            settings or Settings(countdown_s=0.0, operator="anna"),
        )  # fmt: skip

    def run(self) -> State:
        return self.session.run()

    def _last(self) -> tuple[int, int]:
        trial = list(self.session._state.trials.values())[-1]
        return trial.block, self.schedule.orders[trial.place][trial.slot]


class KillingJournal(Journal):
    """Kills its own process after so many events, without a goodbye."""

    def __init__(self, path: Path, sha256: str, left: int) -> None:
        super().__init__(path, sha256)
        self._left = left

    def append(self, kind: str, data: Mapping[str, Plain] | None = None) -> Event:
        event = super().append(kind, data)
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return event


def play(folder: Path, left: int = -1) -> State:
    """The study to its end, or to the kill."""
    with (
        writing(folder) as (study, journal),
        KillingJournal(journal._lines.path, study.sha256, left) as killing,
    ):
        killing.append(Kind.KEY_OPENED, {"by": "run"})
        return Sitting(study, folder, killing).run()
