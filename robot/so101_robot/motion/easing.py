"""Slow motion along a straight line in joint space: how much of the way is done at which time.

The share of the way at time t of T is (1 - cos(pi t / T)) / 2: the motion starts and stops softly, and its speed peaks
at pi/2 of its mean. Loads nothing large: the watchdog process goes home by it too.
"""

import math


def duration_s(distance: float, speed: float) -> float:
    """How long a way takes whose speed peaks at `speed`; in the unit of the distance, per second."""
    return math.pi / 2 * distance / speed


def share_done(going_s: float, whole_s: float) -> float:
    """Share of the way, 0 to 1, that is done after `going_s` of `whole_s`; a way that takes no time is done."""
    progress = min(1.0, going_s / whole_s) if whole_s > 0 else 1.0
    return 0.5 - 0.5 * math.cos(math.pi * progress)
