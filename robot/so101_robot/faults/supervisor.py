"""What happens to a run when something goes wrong: five modes, and one written rule for every fault.

    running    all is well
    degraded   something is wrong that its rule tolerates: the policy drives on
    holding    torque on at the last good pose, the plan waits; back to work when the fault is over
    parking    the run is over: slowly home, within limits
    released   torque off, servo by servo

A fault is tolerated for `tolerate_s`, then the arm holds for at most `hold_s`, then it parks. It counts as over
once it has not been seen for `clear_s`. Of several faults the most serious one decides. `FAULT_RULES` is all
there is to know about it; it is data, and a run may have another.

`Supervisor` is pure: on every tick it gets what was seen (`symptoms.py`) and what could not be seen, and returns the
mode. It reads no clock and touches no arm, so the same symptoms give the same modes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from so101_robot.faults.fault import Fault, Mode, Symptom
from so101_robot.message import Message, Severity

SAME_TIME_S = 1e-6
"""Times of ticks are sums of floating-point periods."""

GRIP_AGAIN_S = 0.5
"""How often the arm is told to hold where it is, while a fault lasts that needs it."""


@dataclass(frozen=True)
class Rule:
    """What is done about one kind of fault."""

    tolerate_s: float = 0.0
    """The policy drives on for this long."""
    hold_s: float | None = None
    """Then the arm holds for at most this long before it parks; None: as the run's `max_stop_s` says."""
    clear_s: float = 0.0
    """The fault is over when it has not been seen for this long."""
    grip: bool = False
    """Hold the arm where it is now, as it may not be where it was sent: the joint has sagged, or its own goal
    overloads it."""


FAULT_RULES: Mapping[Fault, Rule] = {
    # Bus. A lost reply now and then is normal. While a servo is silent the guard lets nothing pass, so the
    # servos keep the goal they have; a servo that boots is silent for some 0.3 s.
    "servo silent": Rule(tolerate_s=0.1, hold_s=5.0, clear_s=0.1),
    "bus silent": Rule(tolerate_s=0.1, hold_s=5.0, clear_s=0.1),
    "port gone": Rule(hold_s=30.0),
    "servo rebooted": Rule(hold_s=5.0, clear_s=0.2, grip=True),
    # Servos. An overloaded joint has a fifth of its force, one with over-current none: the goal comes to them.
    "overload": Rule(hold_s=2.0, clear_s=0.3, grip=True),
    # LeRobot sets the gripper's protection so low that gripping a box for two seconds is an overload.
    "gripper overload": Rule(tolerate_s=inf),
    "over-current": Rule(hold_s=2.0, clear_s=0.3, grip=True),
    "too hot": Rule(hold_s=2.0, clear_s=1.0),
    "warm": Rule(tolerate_s=inf),
    "voltage": Rule(tolerate_s=0.5, hold_s=5.0, clear_s=0.5),
    # The guard's budgets of load and heat recover within seconds while the arm stands.
    "servo strained": Rule(hold_s=10.0),
    "encoder fault": Rule(hold_s=2.0, clear_s=0.3, grip=True),
    "position leaps": Rule(hold_s=2.0, clear_s=0.1),
    # Cameras. The policy drives on what it sees, so it does not drive without.
    "camera stalled": Rule(hold_s=10.0),
    "camera frozen": Rule(tolerate_s=0.3, hold_s=10.0),
    "camera dark": Rule(tolerate_s=0.3, hold_s=10.0),
    "camera gone": Rule(hold_s=10.0),
    "camera swapped": Rule(tolerate_s=0.1, hold_s=10.0),
    # Policy. The guard clamps what is out of range or jumps; a policy that means it is not driven on for long.
    "policy late": Rule(tolerate_s=1.0, hold_s=30.0),
    "policy raises": Rule(),
    "policy server gone": Rule(hold_s=30.0),
    "policy answers no pose": Rule(),
    "policy out of range": Rule(tolerate_s=1.0, clear_s=0.2),
    "policy far out of range": Rule(clear_s=0.2),
    "policy jumps": Rule(tolerate_s=0.5, clear_s=0.2),
    "guard refuses the policy": Rule(tolerate_s=0.1),
    "guard stops": Rule(tolerate_s=0.1),
    # Leader. Misses of a tenth of a second are none (`leader.source`). A cable is put back within seconds; a hand that
    # has led too far comes back by itself.
    "leader silent": Rule(hold_s=5.0),
    "leader far out": Rule(hold_s=5.0, clear_s=0.2),
}

POLICY_FAULTS: frozenset[Fault] = frozenset(
    (
        "policy raises",
        "policy server gone",
        "policy answers no pose",
        "policy out of range",
        "policy far out of range",
        "policy jumps",
        "guard refuses the policy",
    )
)
"""Faults of an answer: only another answer shows that they are over."""


SEVERITY_OF_MODE = {
    Mode.RUNNING: Severity.RECOVERED,
    Mode.DEGRADED: Severity.WARNING,
    Mode.HOLDING: Severity.ERROR,
    Mode.PARKING: Severity.ERROR,
    Mode.RELEASED: Severity.INFO,
}
"""Of the message that the mode has changed to this one."""


class Judgement(NamedTuple):
    """What the supervisor says on one tick."""

    mode: Mode
    words: str
    """Why; empty while running."""
    cause: Symptom | None
    """The fault that decides."""
    since_s: float
    """When that fault was first seen."""
    grip: bool
    """Hold the arm where it is: when a fault begins whose rule says so, and now and then while it lasts."""
    news: tuple[Message, ...]
    """What changed on this tick, in words: faults that began and ended, and the mode."""
    faults: dict[str, str]
    """All that is wrong now: `fault: where` -> words."""


class _Case(NamedTuple):
    """A fault that is not over."""

    symptom: Symptom
    since_s: float
    seen_s: float


class Supervisor:
    """Follows the faults of one run.

    Args:
        rules: a rule for every fault.
        max_stop_s: how long the arm is held for faults whose rule does not say.
    """

    def __init__(self, rules: Mapping[Fault, Rule] = FAULT_RULES, max_stop_s: float = 1.0) -> None:
        self.mode = Mode.RUNNING
        self._rules = rules
        self._max_stop_s = max_stop_s
        self._cases: dict[tuple[Fault, str], _Case] = {}
        self._gripped_s: dict[tuple[Fault, str], float] = {}

    def judge(
        self, now_s: float, symptoms: Iterable[Symptom], unknown: Collection[Fault] = frozenset()
    ) -> Judgement:
        """The mode on this tick.

        Args:
            now_s: on the robot's clock.
            symptoms: what is wrong on this tick.
            unknown: faults of which this tick tells nothing: those that were there are taken to go on.
        """
        seen: dict[tuple[Fault, str], Symptom] = {
            (symptom.fault, symptom.where): symptom for symptom in symptoms
        }
        news = self._follow(now_s, seen, unknown)
        worst, cause = Mode.RUNNING, None
        for case in self._cases.values():
            mode = self._mode_of(case)
            if _RANK[mode] > _RANK[worst]:
                worst, cause = mode, case
        if self.mode in (Mode.PARKING, Mode.RELEASED):  # there is no way back
            worst = self.mode
        words = "" if cause is None else cause.symptom.words
        if worst is not self.mode:
            news.append(Message(f"{worst}: {words}" if words else worst, SEVERITY_OF_MODE[worst]))
        self.mode = worst
        return Judgement(
            worst,
            words,
            None if cause is None else cause.symptom,
            now_s if cause is None else cause.since_s,
            self._grips(now_s),
            tuple(news),
            {_name(case.symptom): case.symptom.words for case in self._cases.values()},
        )

    def park(self) -> None:
        """The run ends, for whatever reason."""
        self.mode = Mode.PARKING

    def released(self) -> None:
        """The arm was let go."""
        self.mode = Mode.RELEASED

    def _follow(
        self, now_s: float, seen: Mapping[tuple[Fault, str], Symptom], unknown: Collection[Fault]
    ) -> list[Message]:
        news: list[Message] = []
        for key, symptom in seen.items():
            case = self._cases.get(key)
            if case is None:
                news.append(Message(f"{_name(symptom)} ({symptom.words})", Severity.WARNING))
            self._cases[key] = _Case(symptom, now_s if case is None else case.since_s, now_s)
        for key, case in list(self._cases.items()):
            if key in seen:
                continue
            if case.symptom.fault in unknown:
                self._cases[key] = case._replace(seen_s=now_s)
            elif now_s - case.seen_s >= self._rules[case.symptom.fault].clear_s - SAME_TIME_S:
                del self._cases[key]
                text = f"{_name(case.symptom)} is over after {now_s - case.since_s:.1f} s"
                news.append(Message(text, Severity.RECOVERED))
        return news

    def _mode_of(self, case: _Case) -> Mode:
        """By how long the fault had lasted when it was last seen: one that has gone grows no worse."""
        rule = self._rules[case.symptom.fault]
        age_s = case.seen_s - case.since_s + SAME_TIME_S
        if age_s < rule.tolerate_s:
            return Mode.DEGRADED
        hold_s = self._max_stop_s if rule.hold_s is None else rule.hold_s
        return Mode.HOLDING if age_s < rule.tolerate_s + hold_s else Mode.PARKING

    def _grips(self, now_s: float) -> bool:
        """Whether there is a fault for which the arm has to be taken where it is, now or again: a servo that let
        go because of its current does so once more while that is too high."""
        wanted = {key: case for key, case in self._cases.items() if self._rules[key[0]].grip}
        due = [
            key
            for key, case in wanted.items()
            if key not in self._gripped_s
            or (case.seen_s == now_s and now_s - self._gripped_s[key] >= GRIP_AGAIN_S - SAME_TIME_S)
        ]
        self._gripped_s = {key: time_s for key, time_s in self._gripped_s.items() if key in wanted}
        self._gripped_s.update(dict.fromkeys(due, now_s))
        return bool(due)


_RANK = {mode: place for place, mode in enumerate(Mode)}


def _name(symptom: Symptom) -> str:
    return f"{symptom.fault}: {symptom.where}" if symptom.where else symptom.fault
