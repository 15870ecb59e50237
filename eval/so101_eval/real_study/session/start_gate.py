"""When a trial may begin: every box near its place, nothing moving in the picture, no servo too warm.

A measured offset may be wrong: a box under glare, a thing beside it of the same colour. The operator may begin all the
same, and that is an event of its own; the report says of which policies' trials it was.
"""

from typing import NamedTuple

from so101_eval.palletizing.scene.draw import Reset
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.measurement.camera import FRONT
from so101_eval.real_study.measurement.protocol import Measurement, Offset, Pictures
from so101_eval.real_study.measurement.still import Still
from so101_eval.real_study.session.view import Target
from so101_eval.real_study.session.words import put_down, where

HOTTEST_C = 55.0
"""Of a servo at the start of a trial: warmer, it is waited."""


class Seen(NamedTuple):
    """The table, a moment ago."""

    offsets: list[Offset]
    targets: tuple[Target, ...]
    text: str
    """What the operator does now."""
    ready: bool
    can_override: bool
    """Nothing but a measured offset keeps it from beginning."""


class StartGate:
    """Of one trial.

    Args:
        study: whose tolerances count.
        reset: where everything has to lie.
        measurement: of the offsets.
        hurried: it is not waited until nothing moves in the picture.
        trusted: the hands are exact, whatever is measured: a script's.
    """

    def __init__(
        self, study: Study, reset: Reset, measurement: Measurement, hurried: bool, trusted: bool
    ) -> None:
        self._study, self._reset, self._measurement, self._trusted = study, reset, measurement, trusted
        self._still = Still(FRONT, 0.0 if hurried else study.tolerances.still_s)

    def look(self, pictures: Pictures, hottest_c: float | None, now_s: float) -> Seen:
        """At the newest pictures."""
        study, most = self._study, self._study.tolerances
        offsets = self._measurement.reset_offsets(pictures, self._reset)
        outlines = self._measurement.outlines(self._reset)
        near = [offset.within(most.reset_mm, most.reset_deg) for offset in offsets]
        hot = hottest_c is not None and hottest_c > HOTTEST_C
        rested = self._still.seen(pictures, now_s) and not hot
        right = self._trusted or all(ok is not False for ok in near)
        starts = self._reset.boxes
        targets = tuple(
            Target(offset.box, outlines.get(offset.box, ()), ok, where(study, offset, starts[offset.box]))
            for offset, ok in zip(offsets, near, strict=True)
        )
        text = f"A servo has {hottest_c:.0f} degrees C; wait." if hot else put_down(outlines)
        return Seen(offsets, targets, text, rested and right, rested and not right)
