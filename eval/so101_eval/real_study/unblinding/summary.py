"""What a study found, and how much it can be trusted: plain data, and lines for a terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from so101_eval.real_study.design.faults import INTERRUPTED
from so101_eval.real_study.design.sealing import Schedule
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.outcome import HUMAN
from so101_eval.real_study.events.state import State
from so101_eval.real_study.rule.rule import Compared, Verdict, look
from so101_eval.real_study.session.outcomes import outcomes_by_policy
from so101_eval.real_study.unblinding.real_records import counted
from so101_eval.statistics import cohen_kappa, raw_agreement, wilson


class OfPolicy(NamedTuple):
    """One policy's trials."""

    policy: str
    trials: int
    successes: int
    credit: float
    voids: int
    void_reasons: dict[str, int]
    interrupted: int
    dangers: int
    overridden: int = 0
    """Trials that began although a box was measured to lie elsewhere."""
    taken_over: int = 0
    """Trials in which a person took over: failures."""


class Blinding(NamedTuple):
    """What the operator guessed at the ends of blocks whose outcomes were the same, so that only other signs could
    tell: with two policies Bang's index, right minus wrong guesses, of all who were asked."""

    asked: int
    right: int
    wrong: int
    bangs_index: float | None
    """0: no better than chance; 1: always right."""


class Agreement(NamedTuple):
    """Of two judges of the same trials."""

    judges: str
    trials: int
    same: float
    kappa: float | None


@dataclass(frozen=True)
class Summary:
    """Of a study."""

    kind: str
    policies: tuple[str, ...]
    primary: str
    blocks: int
    planned: int
    stopped: str | None
    of_policies: tuple[OfPolicy, ...]
    verdict: Verdict
    worst_case: Verdict
    """Were all operator's voids of the better policy failures, and those of the first one successes?"""
    by_slot: tuple[float, ...]
    """Mean outcome by the place in the block: learning, heat, wear."""
    blinding: Blinding
    agreements: tuple[Agreement, ...]
    openings: int
    changed: int
    """Outcomes that were changed afterwards."""

    def lines(self) -> list[str]:
        """For a person."""
        head = "" if self.kind == "real" else "REHEARSAL on the mock arm, not a result. "
        lines = [
            f"{head}{self.blocks} of {self.planned} planned blocks; stopped: {self.stopped or 'not yet'}."
        ]
        for one in self.of_policies:
            low, high = wilson(one.successes, one.trials)
            voids = (
                f"; {one.voids} void ({', '.join(f'{n} {why}' for why, n in one.void_reasons.items())})"
                if one.voids
                else ""
            )
            lines.append(
                f"{one.policy}: {one.successes}/{one.trials} [{low:.2f}, {high:.2f}], "
                f"stage credit {one.credit:.2f}{voids}"
            )
        for name, found, worst in zip(
            self.policies[1:], self.verdict.compared, self.worst_case.compared, strict=False
        ):
            lines += [_sentence(name, self.policies[0], self.primary, found), _worst(found, worst)]
        lines.append(
            f"mean {self.primary} by place in the block: {', '.join(f'{x:.2f}' for x in self.by_slot)}"
        )
        if self.blinding.asked:
            index = "" if self.blinding.bangs_index is None else f", index {self.blinding.bangs_index:+.2f}"
            lines.append(
                f"blinding, {self.blinding.asked} blocks with equal outcomes: {self.blinding.right} right, "
                f"{self.blinding.wrong} wrong{index} (0: chance)"
            )
        for one in self.agreements:
            kappa = "not defined" if one.kappa is None else f"{one.kappa:.2f}"
            lines.append(f"{one.judges}: {one.same:.0%} of {one.trials} trials alike, kappa {kappa}")
        if sum(one.overridden for one in self.of_policies):
            by_policy = ", ".join(f"{one.policy} {one.overridden}" for one in self.of_policies)
            lines.append(f"begun although a box was measured to lie elsewhere (trials): {by_policy}")
        if sum(one.taken_over for one in self.of_policies):
            by_policy = ", ".join(f"{one.policy} {one.taken_over}" for one in self.of_policies)
            lines.append(f"a person took over, which counts as a failure (trials): {by_policy}")
        lines.append(f"the key was opened {self.openings} times; {self.changed} outcomes were changed later")
        return [line for line in lines if line]

    def as_data(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": self.kind, "policies": list(self.policies), "primary": self.primary, "blocks": self.blocks,
            "planned": self.planned, "stopped": self.stopped,
            "of_policies": [one._asdict() for one in self.of_policies],
            "compared": [_compared(found) for found in self.verdict.compared],
            "worst_case": [_compared(found) for found in self.worst_case.compared],
            "by_slot": list(self.by_slot), "blinding": self.blinding._asdict(),
            "agreements": [one._asdict() for one in self.agreements], "openings": self.openings,
            "changed": self.changed, "lines": self.lines(),
        }  # fmt: skip


def summarise(study: Study, schedule: Schedule, state: State, kind: str) -> Summary:
    """Of all blocks that are complete."""
    table = outcomes_by_policy(study, schedule, state, state.complete)
    names = tuple(policy.name for policy in study.policies)
    verdict = look(table, study.blocks, study.alpha)
    return Summary(
        kind,
        names,
        study.primary,
        len(table),
        study.blocks,
        state.stopped,
        tuple(_of_policy(name, number, schedule, state) for number, name in enumerate(names)),
        verdict,
        _worst_case(study, schedule, state, table, verdict),
        _by_slot(schedule, state, table),
        _blinding(schedule, state, table),
        _agreements(state),
        state.openings,
        sum(t.outcome != t.first_outcome for t in state.trials.values()),
    )


def _of_policy(name: str, number: int, schedule: Schedule, state: State) -> OfPolicy:
    own = [one.trial for one in counted(schedule, state) if one.policy == number]
    outcomes = [trial.outcome for trial in own if trial.outcome is not None]
    voided = [
        trial for trial in state.trials.values()
        if trial.void is not None and trial.block >= 0 and schedule.orders[trial.place][trial.slot] == number
    ]  # fmt: skip
    reasons = Counter(str(trial.void) for trial in voided)
    return OfPolicy(
        name,
        len(outcomes),
        sum(outcome.success for outcome in outcomes),
        sum(outcome.credit for outcome in outcomes) / max(1, len(outcomes)),
        len(voided),
        dict(reasons),
        reasons[INTERRUPTED],
        sum(outcome.why == "danger" for outcome in outcomes),
        sum(trial.overridden for trial in own),
        sum(outcome.why == HUMAN for outcome in outcomes),
    )


def _worst_case(
    study: Study, schedule: Schedule, state: State, table: list[list[float]], verdict: Verdict
) -> Verdict:
    """The blocks and, for each operator's void, one more in which it went against whoever is ahead."""
    more: list[list[float]] = []
    for trial in state.trials.values():
        if trial.void is None or trial.block < 0 or trial.rig is None or trial.rig["by"] != "operator":
            continue
        number = schedule.orders[trial.place][trial.slot]
        row = [0.5] * state.policies
        for other, found in enumerate(verdict.compared, 1):
            ahead = other if found.mean >= 0 else 0
            if number == ahead:  # its void was a failure, where the other succeeded
                row[number], row[0 if number else other] = 0.0, 1.0
        if row != [0.5] * state.policies:
            more.append(row)
    both = [*table, *more]
    return look(both, max(study.blocks, len(both)), study.alpha) if both else verdict


def _by_slot(schedule: Schedule, state: State, table: list[list[float]]) -> tuple[float, ...]:
    sums = [0.0] * state.policies
    for place, row in zip(state.complete, table, strict=True):
        for slot, number in enumerate(schedule.orders[place.index]):
            sums[slot] += row[number]
    return tuple(total / max(1, len(table)) for total in sums)


def _blinding(schedule: Schedule, state: State, table: list[list[float]]) -> Blinding:
    asked = right = wrong = 0
    for place, row in zip(state.complete, table, strict=True):
        if len(set(row)) > 1 or place.ended is None:
            continue  # the outcomes themselves are a hint
        asked += 1
        meant = 1 if state.policies == 2 else 0  # the new one of two, else the first
        guess = place.ended["guess"]
        if guess != "?":
            hit = schedule.orders[place.index][int(guess) - 1] == meant
            right, wrong = right + hit, wrong + (not hit)
    index = (right - wrong) / asked if asked and state.policies == 2 else None
    return Blinding(asked, right, wrong, index)


def _agreements(state: State) -> tuple[Agreement, ...]:
    """The operator against second raters, and against the camera."""
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for trial in state.trials.values():
        if trial.outcome is None or trial.void is not None or trial.first_outcome is None:
            continue
        for score in trial.scores:
            judges = f"operator and {score['rater']}"
            pairs.setdefault(judges, []).append(
                (trial.first_outcome.success, bool(score["outcome"]["success"]))
            )
        if trial.measured is not None and trial.measured["success"] is not None:
            pair = (trial.first_outcome.success, bool(trial.measured["success"]))
            pairs.setdefault("operator and camera", []).append(pair)
    return tuple(_agreement(judges, both) for judges, both in pairs.items())


def _agreement(judges: str, both: Sequence[tuple[bool, bool]]) -> Agreement:
    first, second = [a for a, _ in both], [b for _, b in both]
    return Agreement(judges, len(both), raw_agreement(first, second), cohen_kappa(first, second))


def _sentence(name: str, first: str, primary: str, found: Compared) -> str:
    low, high = (100 * end for end in found.interval)
    interval = f"interval {low:+.0f} to {high:+.0f}"
    numbers = f"{100 * found.mean:+.0f} points of {primary}, {interval}, E = {found.e_value:.3g}"
    if found.verdict == "open":
        p = "" if found.p_value is None else f", planned test p = {found.p_value:.2g}"
        return f"{name} against {first}: no difference was detected ({numbers}{p}). That does not make them equal."
    how = (
        f"by the e-value after {found.crossed_at} blocks"
        if found.crossed_at
        else f"by the planned test, p = {found.p_value:.2g}"
    )
    return f"{name} is {found.verdict} than {first}: {numbers}; decided {how}."


def _worst(found: Compared, worst: Compared) -> str:
    if found.verdict == "open" or worst.blocks == found.blocks:
        return ""
    stands = "stands" if worst.verdict == found.verdict else "does not stand"
    return f"were all operator's voids of the better policy failures: that {stands} ({100 * worst.mean:+.0f} points)."


def _compared(found: Compared) -> dict[str, Any]:
    return found._asdict() | {"interval": list(found.interval)}
