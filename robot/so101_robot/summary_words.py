"""A run's summary (`summary.py`) as a few lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

from .summary import ARM

Summary = Mapping[str, Any]

STAGES = ("read", "frames", "plan", "guard", "send", "observers", "late")
"""In the order of a tick; what comes last is how long after its due time a tick began."""


def in_words(summary: Summary) -> str:
    """A summary for the terminal."""
    if not summary["ticks"]:
        return "no tick was run"
    return "\n".join([*_course(summary), *_work(summary), *_looks(summary)])


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
    if (latency := summary["latency_ms"]) is not None:
        yield (
            f"{summary['inferences']} inferences, latency {latency['p50']:.0f} ms "
            f"(p99 {latency['p99']:.0f}, max {latency['max']:.0f})"
        )


def _looks(summary: Summary) -> Iterator[str]:
    """Where the policy looked, altogether and in parts of the run."""
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
