"""Who drove when: the turns of a run that a person may take over, followed tick by tick. Pure."""

from typing import NamedTuple

MOST = 1000
"""Turns that are kept; the oldest go."""


class Turn(NamedTuple):
    """It lasts until the next one begins."""

    driver: str | None
    """policy, human, handover or hold (`scheduler.Driver`); None: nobody of these, as on the way home."""
    from_s: float


Turns = tuple[Turn, ...]


def followed(turns: Turns, driver: str | None, time_s: float) -> Turns:
    """The turns with a further tick; unchanged where the same drives on, or where nobody can take over."""
    before = turns[-1].driver if turns else None
    return turns if driver == before else (*turns[1 - MOST :], Turn(driver, time_s))


def spans(turns: Turns, end_s: float) -> list[tuple[str, float, float]]:
    """(driver, from [s], to [s]) of each, those of nobody left out; the last one ends at `end_s`."""
    ends = [*(turn.from_s for turn in turns), end_s][1:]
    return [
        (turn.driver, turn.from_s, to_s)
        for turn, to_s in zip(turns, ends, strict=True)
        if turn.driver is not None
    ]
