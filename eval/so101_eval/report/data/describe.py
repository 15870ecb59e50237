"""What a variant's episodes in a cell were like: times, throughput, milestones, placement, failures. Figures with n and
95 % intervals; those of several training seeds are of these checkpoints together."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.palletizing.scene.tasks import PALLET_M, Slot, is_own, load_task
from so101_eval.palletizing.score.record import FAILURES, MILESTONES
from so101_eval.statistics import ALPHA, garwood, wilson

SECONDS_PER_HOUR = 3600.0
RATES = (
    ("boxes per hour", "good", "robot_s", SECONDS_PER_HOUR),
    ("drops per 100 boxes", "drops", "boxes", 100.0),
    ("collisions per 100 boxes", "collisions", "boxes", 100.0),
    ("grasps of nothing per 100 boxes", "empty_grasps", "boxes", 100.0),
)
"""What is counted, per how much of what."""


def judged(records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """Those with a verdict."""
    return [record for record in records if record.success is not None]


def times(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Seconds to success, sorted, of how many episodes: what a curve of time to success is drawn from."""
    known = judged(records)
    seconds = sorted(
        float(record.score["robot_s"])
        for record in known
        if record.success and record.score["robot_s"] is not None
    )
    median = _order_interval(seconds)
    return {"seconds": seconds, "episodes": len(known), "median_s": median}


def throughput(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Rates of `RATES` with Garwood's interval, from episodes in which all of it was measured."""
    rows: list[dict[str, Any]] = []
    for name, events_of, exposure_of, scale in RATES:
        counted = [(_count(record, events_of), _count(record, exposure_of)) for record in judged(records)]
        known = [
            (events, exposure) for events, exposure in counted if events is not None and exposure is not None
        ]
        events, exposure = sum(int(x) for x, _ in known), sum(x for _, x in known)
        if exposure > 0:
            low, high = garwood(events, exposure)
            value = [scale * events / exposure, scale * low, scale * high]
            rows.append({"name": name, "value": value, "events": events, "episodes": len(known)})
    return rows


def _count(record: EpisodeRecord, what: str) -> float | None:
    boxes: list[dict[str, Any]] = record.score["boxes"]
    if what == "boxes":
        return float(len(boxes))
    if what == "good":
        return float(sum(bool(box["good"]) for box in boxes))
    value = record.score[what]
    return None if value is None else float(value)


def milestones(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Of all boxes the share that passed each milestone, with Wilson's interval. Boxes of other tasks have none."""
    boxes = [box for record in judged(records) for box in record.score["boxes"] if box["milestones"]]
    rows: list[dict[str, Any]] = []
    for name in MILESTONES:
        passed = sum(box["milestones"][name] is not None for box in boxes)
        share = passed / len(boxes) if boxes else None
        rows.append({"name": name, "passed": passed, "boxes": len(boxes), "share": share,
                     "interval": list(wilson(passed, len(boxes)))})  # fmt: skip
    return rows


def placement(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Where boxes ended, in millimetres on the pallet, and how far from their slots those ended that stand for one.

    A box farther from its slot than the pallet is long is counted, not drawn.
    """
    points: list[list[float | int]] = []
    errors: list[float] = []
    away = unmeasured = 0
    for record in judged(records):
        slots = _slots(record.task)
        for box in record.score["boxes"]:
            if box["du_mm"] is None or box["dv_mm"] is None or box["slot"] is None:
                unmeasured += 1
            elif max(abs(box["du_mm"]), abs(box["dv_mm"])) > 1000 * max(PALLET_M[:2]):
                away += 1
            else:
                slot = slots[box["slot"]]
                at = 1000 * slot.u_m + box["du_mm"], 1000 * slot.v_m + box["dv_mm"]
                points.append([round(at[0], 2), round(at[1], 2), int(bool(box["good"])), slot.layer])
                if box["good"]:
                    errors.append(float(box["error_mm"]))
    return {"points": sorted(points), "away": away, "unmeasured": unmeasured, "good": len(errors),
            "median_mm": _order_interval(sorted(errors)), "p95_mm": _quantile(errors, 0.95)}  # fmt: skip


def _slots(task: str) -> Sequence[Slot]:
    """None of a task of one's own: its boxes are not measured on a pallet."""
    return [] if is_own(task) else load_task(task).slots


def failures(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Of all episodes the share that ended in each class of failure, most frequent first.

    Episodes that the loop ended are classes of their own (`policy_raised`, `stopped`); `causes` counts them by the
    exception or the fault behind it.
    """
    known = judged(records)
    causes = Counter(
        (record.score["failure"]["kind"], record.exception or record.fault)
        for record in known
        if record.score["failure"] and record.fault
    )
    found: list[dict[str, Any]] = [record.score["failure"] for record in known if record.score["failure"]]
    kinds = Counter(str(failure["kind"]) for failure in found)
    phases = Counter((failure["kind"], failure["phase"]) for failure in found)
    return [
        {"kind": kind, "count": kinds[kind], "episodes": len(known), "interval": list(wilson(kinds[kind], len(known))),
         "phases": {phase: count for (name, phase), count in sorted(phases.items()) if name == kind},
         "causes": {cause: count for (name, cause), count in sorted(causes.items()) if name == kind}}
        for kind in sorted(kinds, key=lambda kind: (-kinds[kind], FAILURES.index(kind)))
    ]  # fmt: skip


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _order_interval(ordered: Sequence[float]) -> list[float] | None:
    """Median and an interval that holds it with 95 % or more, whatever the distribution; None where n < 6.

    From the k-th smallest to the k-th largest, the largest k with P(Binomial(n, 1/2) < k) <= alpha / 2. Source:
    Conover, Practical nonparametric statistics, 1999, section 3.2.
    """
    n = len(ordered)
    within = [k for k in range(1, n // 2 + 1) if special.bdtr(k - 1, n, 0.5) <= ALPHA / 2]
    if not within:
        return None
    return [float(np.median(ordered)), ordered[within[-1] - 1], ordered[n - within[-1]]]
