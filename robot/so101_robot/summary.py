"""What a run amounts to, from the lines of its `ticks.jsonl`: also from what a killed run has left."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

PERCENTILES = (50, 95, 99)


def summarise(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run's ticks amount to: rate, percentiles of each stage, starved ticks, interventions, faults,
    mean shares.

    A tick is *starved* when there was no action to play after the first chunk had arrived.
    """
    stages: dict[str, list[float]] = {}
    times: list[float] = []
    wall: list[float] = []
    shares: list[Mapping[str, Any]] = []
    latencies: list[float] = []
    counts: Counter[str] = Counter()
    interventions: Counter[str] = Counter()
    stops: Counter[str] = Counter()
    first = last = -1
    playing = False
    for record in records:
        if record.get("phase") != "run":
            counts["ticks going home"] += record.get("phase") == "home"
            continue
        first = record["tick"] if first < 0 else first
        last = record["tick"]
        times.append(record["t"])
        wall.append(record["unix_s"])
        for stage, value in {**record["stages_ms"], "late": record["late_ms"]}.items():
            stages.setdefault(stage, []).append(value)
        playing = playing or record["chunk"]["source"] == "chunk"
        counts["starved"] += playing and record["chunk"]["source"] == "hold"
        counts["faults"] += "fault" in record
        if (inference := record.get("inference")) is not None:
            latencies.append(inference["latency_ms"])
            if inference["shares"] is not None:
                shares.append(inference["shares"])
        if isinstance(guard := record["guard"], Mapping):
            counts["stopped"] += "stop" in guard
            stops.update([guard["stop"]] if "stop" in guard else [])
            interventions.update(sorted({str(i["rule"]) for i in guard.get("interventions", ())}))
    duration_s = times[-1] - times[0] if times else 0.0
    wall_s = wall[-1] - wall[0] if wall else 0.0
    return {
        "ticks": len(times),
        "duration_s": _round(duration_s, 3),
        "wall_s": _round(wall_s, 3),
        "rate_hz": _round((len(times) - 1) / duration_s, 3) if duration_s > 0 else None,
        "missed_ticks": last - first + 1 - len(times) if times else 0,
        "starved_ticks": counts["starved"],
        "stopped_ticks": counts["stopped"],
        "stops": dict(stops.most_common(10)),
        "ticks_with_interventions": dict(interventions),
        "ticks_with_bus_faults": counts["faults"],
        "home_ticks": counts["ticks going home"],
        "stages_ms": {stage: percentiles(values) for stage, values in stages.items()},
        "inferences": len(latencies),
        "latency_ms": percentiles(latencies),
        "shares_mean": mean_shares(shares),
    }


def percentiles(values: Sequence[float]) -> dict[str, float | None] | None:
    """p50, p95, p99 and max, or None of nothing."""
    if not values:
        return None
    at = np.percentile(np.asarray(values, dtype=np.float64), [*PERCENTILES, 100])
    return dict(
        zip([*(f"p{p}" for p in PERCENTILES), "max"], (_round(v, 3) for v in at.tolist()), strict=True)
    )


def mean_shares(shares: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
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


def in_words(summary: Mapping[str, Any]) -> str:
    """A summary for the terminal, a few lines."""
    if not summary["ticks"]:
        return "no tick was run"
    rate = f" ({summary['rate_hz']:.2f} Hz)" if summary["rate_hz"] else ""
    lines = [f"{summary['ticks']} ticks in {summary['duration_s']:.1f} s{rate}"]
    lines[0] += "".join(
        f", {summary[key]} {what}"
        for key, what in (
            ("starved_ticks", "starved"),
            ("missed_ticks", "missed"),
            ("stopped_ticks", "held by the guard"),
            ("ticks_with_bus_faults", "with bus faults"),
        )
        if summary[key]
    )
    if changed := summary["ticks_with_interventions"]:
        lines.append(
            "guard changed " + ", ".join(f"{rule}: {count} ticks" for rule, count in changed.items())
        )
    if (latency := summary["latency_ms"]) is not None:
        lines.append(
            f"{summary['inferences']} inferences, latency {latency['p50']:.0f} ms "
            f"(p99 {latency['p99']:.0f}, max {latency['max']:.0f})"
        )
    if (shares := summary["shares_mean"]) is not None:
        parts = {
            name: shares[name] for name in ("latent", "state", "environment") if shares["uniform"].get(name)
        }
        looks = {**parts, **shares["cameras"]}
        base = shares["uniform"]
        lines.append(
            "looked at "
            + ", ".join(f"{name} {share:.1%} (uniform {base[name]:.1%})" for name, share in looks.items())
        )
    return "\n".join(lines)


def _round(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
