"""A study as a person watches it: its stages, what is done now, and about how long the rest takes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from so101_eval.study.hours import told

type Show = Callable[[dict[str, Any]], None]
"""Takes parts of a view, see `progress.html`."""


class StudyWatching:
    """Makes the view of a study.

    Args:
        stages: their names, in order.
        left: hours of each stage that are left now, by the files that are there.
        show: see `Show`.
    """

    def __init__(self, stages: Iterable[str], left: Callable[[], Mapping[str, float]], show: Show) -> None:
        self._stages, self._left, self._show = list(stages), left, show
        self._now = ""
        self._hours: Mapping[str, float] = {}

    def enter(self, stage: str) -> None:
        """That one begins."""
        self._now, self._hours = stage, self._left()
        at = self._stages.index(stage)
        rest = sum(self._hours.get(name, 0.0) for name in self._stages[at:])
        self._show({"now": f"{stage}; about {told(rest)} left of all", "total": None})
        self.detail("")

    def detail(self, words: str) -> None:
        """What is done now within the stage."""
        at = self._stages.index(self._now)
        self._show({
            "stages": [
                {
                    "name": name,
                    "state": "done" if index < at else "now" if index == at else "later",
                    "words": words if index == at and words else self._hours_of(name) if index >= at else "",
                }
                for index, name in enumerate(self._stages)
            ]
        })  # fmt: skip

    def _hours_of(self, stage: str) -> str:
        return f"about {told(self._hours[stage])}" if stage in self._hours else ""
