"""Where the hand closed against the box, on the arm: how far a policy follows a box that lies elsewhere.

This is reliance on what the cameras see, measured where it counts: from where boxes lay and where the hand closed. No
input is exchanged, nothing is asked of the policy's inside.
"""

from typing import Any

import numpy as np

from so101_eval.report.data.table import Table
from so101_eval.statistics import following
from so101_eval.statistics.following import ASKED_M


def hand_data(table: Table) -> list[dict[str, Any]]:
    """By variant, where there are records of grasps; else nothing."""
    rows: list[dict[str, Any]] = []
    for variant in table.variants:
        records = [record for cell in table.cells for record in table.episodes(variant, cell) if record.grasp]
        if not records:
            continue
        closed = [record.grasp for record in records if record.grasp and "why_not" not in record.grasp]
        boxes, hands = ([(g[of][0] / 1000, g[of][1] / 1000) for g in closed] for of in ("box_mm", "hand_mm"))
        found = following(boxes, hands)
        rows.append({
            "variant": variant.name, "trials": len(records), "closed": len(closed), "asked_mm": 1000 * ASKED_M,
            "follows_mm": found.follows_mm, "interval": None if found.interval is None else list(found.interval),
            "why_not": found.why_not, "several_boxes": any(len(record.score["boxes"]) > 1 for record in records),
            "off_mm": float(np.median([g["off_mm"] for g in closed])) if closed else None,
        })  # fmt: skip
    return rows
