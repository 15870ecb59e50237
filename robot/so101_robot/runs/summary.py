"""What a run amounts to, from the lines of its `ticks.jsonl`: also from what a killed run has left.

`in_words` tells it to a person. Times are seconds of the robot's clock, `*_ms` milliseconds.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from so101_robot.chunks.turns import Turns, followed, spans

PERCENTILES = (50, 95, 99)

PARTS = ("first third", "second third", "last third")
"""Of the time that the policy drives, by its answers."""

TOLD_TURNS = 12
"""Of who drove when, in words: the last ones; the summary has them all."""

ARM = "arm"
"""Stands for the joint of an intervention that has to do with none."""

Record = Mapping[str, Any]


def summarise(records: Iterable[Record]) -> dict[str, Any]:
    """What a run's ticks amount to.

    While the policy drives: rate, percentiles of each stage, starved ticks, interventions, latency, shares. Over the
    whole run: time in each phase and mode, faults, attention alarms.

    A tick is *starved* when there was no action to play after the first chunk had arrived.
    """
    course, driving = _Course(), _Driving()
    for record in records:
        if "tick" not in record:
            continue  # last words
        course.see(record)
        if record["phase"] == "run":
            driving.see(record)
        else:
            driving.pause(record)
    return {
        **driving.figures(),
        **course.figures(),
        "shares_by_phase": _by_phase(course.answers, driving.times),
    }


class _Driving:
    """The ticks on which the policy drives."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._before: Record | None = None
        """The tick before, of whatever phase."""
        self._intervals = 0
        self._duration_s = self._wall_s = 0.0
        """Between ticks that follow each other; the way to the first pose is not the policy's time."""
        self._stages: dict[str, list[float]] = {}
        self._latencies: list[float] = []
        self._shares: list[Record] = []
        self._spreads: list[float] = []
        self._counts: Counter[str] = Counter()
        self._stops: Counter[str] = Counter()
        self._changes: dict[str, Counter[str]] = {}
        self._changed: Counter[str] = Counter()
        self._playing = False

    def pause(self, record: Record) -> None:
        """A tick on which the policy does not drive."""
        self._before = record

    def see(self, record: Record) -> None:
        if (before := self._before) is not None:
            self._counts["missed"] += record["tick"] - before["tick"] - 1
            if before["phase"] == "run":
                self._intervals += 1
                self._duration_s += record["t"] - before["t"]
                self._wall_s += record["unix_s"] - before["unix_s"]
        self._before = record
        self.times.append(record["t"])
        for stage, value in {**record["stages_ms"], "late": record["late_ms"]}.items():
            self._stages.setdefault(stage, []).append(value)
        self._playing = self._playing or record["chunk"]["source"] == "chunk"
        by_policy = record.get("driver", "policy") == "policy"
        self._counts["starved"] += self._playing and by_policy and record["chunk"]["source"] == "hold"
        self._counts["faults"] += "fault" in record
        if (inference := record.get("inference")) is not None:
            self._latencies.append(inference["latency_ms"])
            if "spread" in inference:
                self._spreads.append(inference["spread"])
            if inference["shares"] is not None:
                self._shares.append(inference["shares"])
        if isinstance(guard := record["guard"], Mapping):
            self._judged(guard)

    def _judged(self, guard: Record) -> None:
        self._counts["stopped"] += "stop" in guard
        self._stops.update([guard["stop"]] if "stop" in guard else [])
        changes = {(str(i["rule"]), str(i["joint"] or ARM)) for i in guard.get("interventions", ())}
        self._changed.update(sorted({rule for rule, _ in changes}))
        for rule, where in sorted(changes):
            self._changes.setdefault(rule, Counter())[where] += 1

    def figures(self) -> dict[str, Any]:
        duration_s = self._duration_s
        spread = {"spread": percentiles(self._spreads)} if self._spreads else {}
        return spread | {
            "ticks": len(self.times),
            "duration_s": _round(duration_s, 3),
            "wall_s": _round(self._wall_s, 3),
            "rate_hz": _round(self._intervals / duration_s, 3) if duration_s > 0 else None,
            "missed_ticks": self._counts["missed"],
            "starved_ticks": self._counts["starved"],
            "stopped_ticks": self._counts["stopped"],
            "stops": dict(self._stops.most_common(10)),
            "ticks_with_interventions": dict(self._changed),
            "interventions": {rule: dict(where) for rule, where in self._changes.items()},
            "ticks_with_bus_faults": self._counts["faults"],
            "stages_ms": {stage: percentiles(values) for stage, values in self._stages.items()},
            "inferences": len(self._latencies),
            "latency_ms": percentiles(self._latencies),
            "shares_mean": mean_shares(self._shares),
        }


class _Course:
    """The run as a whole. What a tick says lasts until the next one."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, float, Record]] = []
        """(phase, time, shares) of every answer."""
        self._before: Record | None = None
        self._ticks: Counter[str] = Counter()
        self._phases_s: defaultdict[str, float] = defaultdict(float)
        self._drivers_s: defaultdict[str, float] = defaultdict(float)
        self._turns: Turns = ()
        self._takeovers = 0
        self._policy_drove = True
        """Since a person drove last: a leader that was silent for a moment in between is no second takeover."""
        self._modes_s: defaultdict[str, float] = defaultdict(float)
        self._faults: Counter[str] = Counter()
        self._faults_s: defaultdict[str, float] = defaultdict(float)
        self._alarms = 0
        self._alarms_s = 0.0

    def see(self, record: Record) -> None:
        before = self._before or {}
        self._before = record
        lasted_s = record["t"] - before["t"] if before else 0.0
        self._ticks[record["phase"]] += 1
        self._phases_s[before.get("phase", record["phase"])] += lasted_s
        if (mode := before.get("mode", record.get("mode"))) is not None:
            self._modes_s[mode] += lasted_s
        if (driver := before.get("driver")) is not None:
            self._drivers_s[driver] += lasted_s
        self._turns = followed(self._turns, record.get("driver"), record["t"])
        match record.get("driver"):
            case "human":
                self._takeovers += self._policy_drove
                self._policy_drove = False
            case "policy":
                self._policy_drove = True
            case _:
                pass
        for fault in before.get("faults", ()):
            self._faults_s[fault] += lasted_s
        self._faults.update(set(record.get("faults", ())) - set(before.get("faults", ())))
        self._alarms += "blind" in record and "blind" not in before
        self._alarms_s += lasted_s if "blind" in before else 0.0
        inference = record.get("inference")
        if inference is not None and inference["shares"] is not None:
            self.answers.append((record["phase"], record["t"], inference["shares"]))

    def figures(self) -> dict[str, Any]:
        return {
            "home_ticks": self._ticks["home"],
            "phases": {
                phase: {"ticks": count, "duration_s": _round(self._phases_s[phase], 3)}
                for phase, count in self._ticks.items()
            },
            "modes_s": {mode: _round(value, 3) for mode, value in self._modes_s.items()},
            "drivers_s": {driver: _round(value, 3) for driver, value in self._drivers_s.items()},
            "timeline": self._timeline(),
            "takeovers": self._takeovers,
            "faults": {
                fault: {"times": times, "lasted_s": _round(self._faults_s[fault], 3)}
                for fault, times in self._faults.most_common()
            },
            "blind": {"alarms": self._alarms, "lasted_s": _round(self._alarms_s, 3)},
        }

    def _timeline(self) -> list[list[Any]]:
        """[driver, from [s], to [s]] of each turn."""
        end_s = self._before["t"] if self._before else 0.0
        return [
            [driver, _round(from_s, 2), _round(to_s, 2)] for driver, from_s, to_s in spans(self._turns, end_s)
        ]


def _by_phase(answers: Sequence[tuple[str, float, Record]], times: Sequence[float]) -> dict[str, Any]:
    """Mean shares on the way to the first pose (there is one answer) and in each third of the policy's time; parts
    without an answer are left out. On the way home no policy is asked."""
    parts: dict[str, list[Record]] = {}
    for phase, time_s, shares in answers:
        part = phase
        if phase == "run":
            progress = (time_s - times[0]) / (times[-1] - times[0]) if times[-1] > times[0] else 0.0
            part = PARTS[min(len(PARTS) - 1, int(progress * len(PARTS)))]
        parts.setdefault(part, []).append(shares)
    return {part: {"inferences": len(of), "mean": mean_shares(of)} for part, of in parts.items()}


def percentiles(values: Sequence[float]) -> dict[str, float | None] | None:
    """p50, p95, p99 and max, or None of nothing."""
    if not values:
        return None
    at = np.percentile(np.asarray(values, dtype=np.float64), [*PERCENTILES, 100])
    return dict(
        zip([*(f"p{p}" for p in PERCENTILES), "max"], (_round(v, 3) for v in at.tolist()), strict=True)
    )


def mean_shares(shares: Sequence[Record]) -> dict[str, Any] | None:
    """Mean over inferences of every number in the shares, keys as they are; per-head lists are left out."""
    if not shares:
        return None
    mean: dict[str, Any] = {}
    for key, example in shares[0].items():
        if isinstance(example, Mapping):
            mean[key] = mean_shares([share[key] for share in shares])
        elif isinstance(example, int | float):
            mean[key] = _round(float(np.mean([share[key] for share in shares])), 4)
    return mean


def _round(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


Summary = Mapping[str, Any]

STAGES = ("read", "frames", "plan", "guard", "send", "observers", "late")
"""In the order of a tick; what comes last is how long after its due time a tick began."""


def in_words(summary: Summary) -> str:
    """A summary for the terminal."""
    if not summary["ticks"]:
        return "no tick was run"
    return "\n".join([*_course(summary), *_work(summary), *_attention(summary)])


def _course(summary: Summary) -> Iterator[str]:
    """How long, how fast, in which modes, with which faults."""
    rate = f" ({summary['rate_hz']:.2f} Hz)" if summary["rate_hz"] else ""
    yield f"{summary['ticks']} ticks in {summary['duration_s']:.1f} s{rate}" + "".join(
        f", {summary[key]} {what}"
        for key, what in (
            ("starved_ticks", "starved"),
            ("missed_ticks", "missed"),
            ("stopped_ticks", "held by the guard"),
            ("ticks_with_bus_faults", "with bus faults"),
        )
        if summary[key]
    )
    ways = {phase: at["duration_s"] for phase, at in summary["phases"].items() if phase != "run"}
    modes = {mode: time_s for mode, time_s in summary["modes_s"].items() if mode != "parking" and time_s}
    parts = [f"{phase} {time_s:.1f} s" for phase, time_s in ways.items()]
    if set(modes) - {"running"}:
        parts += [f"{mode} {time_s:.1f} s" for mode, time_s in modes.items()]
    if parts:
        yield "of all the time: " + ", ".join(parts)
    if takeovers := summary["takeovers"]:
        drove = ", ".join(f"{driver} {time_s:.1f} s" for driver, time_s in summary["drivers_s"].items())
        yield f"a person took over {_times(takeovers)}: {drove}"
        timeline = summary.get("timeline", ())
        last = [f"{driver} to {to_s:.1f} s" for driver, _, to_s in timeline[-TOLD_TURNS:]]
        yield f"who drove{', in the end' if len(timeline) > TOLD_TURNS else ''}: {', '.join(last)}"
    for fault, at in summary["faults"].items():
        yield f"fault {fault}: {_times(at['times'])}, {at['lasted_s']:.1f} s in all"
    for rule, ticks in summary["ticks_with_interventions"].items():
        where = [f"{name} {n}" for name, n in summary["interventions"][rule].items() if name != ARM]
        yield f"guard changed {rule}: {ticks} tick{'s' * (ticks > 1)}" + (
            f" ({', '.join(where)})" if where else ""
        )


def _work(summary: Summary) -> Iterator[str]:
    """What a tick and an inference took."""
    stages = {stage: summary["stages_ms"][stage] for stage in STAGES if stage in summary["stages_ms"]}
    yield "stages in ms, median/p99: " + ", ".join(
        f"{stage} {at['p50']:.1f}/{at['p99']:.1f}" for stage, at in stages.items()
    )
    if (latency := summary["latency_ms"]) is not None and "answers_take_s" in summary:
        answers_ms = summary["answers_take_s"] * 1e3
        yield f"{summary['inferences']} inferences; simulated time, answers take {answers_ms:.0f} ms by setting"
    elif latency is not None:
        yield (
            f"{summary['inferences']} inferences, latency {latency['p50']:.0f} ms "
            f"(p99 {latency['p99']:.0f}, max {latency['max']:.0f})"
        )


def _attention(summary: Summary) -> Iterator[str]:
    """Where the policy looked, altogether and in parts of the run."""
    if (why := summary.get("no_shares")) is not None:
        yield f"no shares of attention: {why}"
    if (spread := summary.get("spread")) is not None:
        yield f"spread over samples {spread['p50']:.1f} (p99 {spread['p99']:.1f}) degrees"
    if (shares := summary["shares_mean"]) is not None:
        base = shares["uniform"]
        yield "looked at " + ", ".join(
            f"{name} {share:.1%} (uniform {base[name]:.1%})" for name, share in _parts(shares).items()
        )
    by_phase = {phase: at["mean"] for phase, at in summary["shares_by_phase"].items()}
    if len(by_phase) > 1:
        for phase, mean in by_phase.items():
            looks = ", ".join(f"{name} {share:.1%}" for name, share in _parts(mean).items())
            yield f"  {phase}: {looks}"
    if alarms := summary["blind"]["alarms"]:
        yield (
            f"attention alarm: {_times(alarms)}, {summary['blind']['lasted_s']:.1f} s in all with the joint state "
            "above --blind.share; a hint that the policy may be blind, so101-reliance measures it"
        )


def _parts(shares: Summary) -> dict[str, float]:
    """Name -> share of each part that the model has."""
    own = {name: shares[name] for name in ("latent", "state", "environment") if shares["uniform"].get(name)}
    return {**own, **shares["cameras"]}


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"
