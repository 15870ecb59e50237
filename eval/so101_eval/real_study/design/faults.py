"""Which faults void a trial, and which are the policy's failure: a table that is locked before the first trial.

A fault of the machine (cable, camera, host, supply) would have come whoever drove. What comes of how a policy drives
(overload, sag under load, what the guard refuses) is its failure. A table decides, so that nobody does who has seen
the outcome.
"""

from collections.abc import Iterable, Mapping
from typing import get_args

from so101_robot.faults.fault import Fault

VOID_REASONS: Mapping[str, str] = {
    "cable": "a cable of the arm, or its adapter",
    "camera": "a camera failed, or was moved",
    "power": "the supply failed",
    "bumped": "somebody bumped the rig",
    "wrong start": "the boxes were not where they should be",
}
"""What an operator may void a trial for."""

INTERRUPTED = "interrupted"
"""The runner ended in the middle of a trial: crash, kill, full disk."""

VOIDING: Mapping[str, str] = {
    "servo silent": "cable",
    "bus silent": "cable",
    "port gone": "cable",
    "encoder fault": "cable",
    "position leaps": "cable",
    "camera stalled": "camera",
    "camera frozen": "camera",
    "camera dark": "camera",
    "camera gone": "camera",
    "camera swapped": "camera",
}
"""Fault of the supervisor -> why the trial is void. All that is not here counts: overload, over-current, heat, voltage
that sags under load and servos that reboot from it, and whatever the policy asks for."""

FAULTS: tuple[str, ...] = get_args(Fault)


def void_reason(
    table: Mapping[str, str], fault: str | None, error: str | None, lasting: Iterable[str] = ()
) -> str | None:
    """Why the run of a trial is void; None: it counts.

    Args:
        table: of the study, fault -> reason.
        fault: that ended the run, if the supervisor ended it.
        error: what ended it, if something did.
        lasting: faults that were not over when it ended: a cable that is out when the time is up has ended it.
    """
    if fault is not None:
        return table.get(fault)
    if error is not None:
        return INTERRUPTED
    return next((table[name] for name in lasting if name in table), None)
