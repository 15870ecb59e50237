"""An evaluation as a person watches it: done of all, time left, success by policy and cell, the latest failures."""

import math
import shlex
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from so101_eval.errors import ConfigError
from so101_eval.evaluation.plan import Plan
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.html.progress_page import WEB, ProgressPage
from so101_eval.statistics import wilson
from so101_policy.command_line.next_steps import as_typed

LATEST = 8
"""Failures that are listed."""
FROM = 3
"""Episodes of this sitting after which a time is told: the first ones bear the loading."""


class Watcher(Protocol):
    """Is told of episodes that are already on the disk."""

    def begin(self, records: Iterable[EpisodeRecord]) -> None:
        """Those that were there."""
        ...

    def add(self, record: EpisodeRecord) -> None:
        """A new one."""
        ...


class Watching:
    """Makes the view of an evaluation.

    Args:
        plan: what is played.
        folder: of the run.
        show: takes parts of a view, see `progress.html`.
        now_s: real time.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        show: Callable[[dict[str, Any]], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._folder, self._show, self._now_s = plan, folder, show, now_s
        self._total = len(list(plan.keys()))
        self._good, self._known = Counter[tuple[str, str, int]](), Counter[tuple[str, str, int]]()
        self._failures = deque[dict[str, Any]](maxlen=LATEST)
        self._done = self._played = 0
        self._began_s = 0.0
        self._again = as_typed(f"so101-eval replay {shlex.quote(str(folder))}")

    def begin(self, records: Iterable[EpisodeRecord]) -> None:
        for record in records:
            self._count(record)
        self._began_s = self._now_s()
        self._show(self.view())

    def add(self, record: EpisodeRecord) -> None:
        self._count(record)
        self._played += 1
        self._show(self.view())

    def view(self) -> dict[str, Any]:
        """Of now."""
        return {
            "unit": "episodes",
            "done": self._done,
            "total": self._total,
            "left_s": self._left_s(),
            "folder": str(self._folder),
            "cells": [
                {
                    "name": f"{scenario}:{level}",
                    "policies": [self._cell(policy.name, scenario, level) for policy in self._plan.policies],
                }
                for scenario, level in self._plan.cells
            ],
            "failures": list(self._failures),
            "again": self._again,
        }

    def _count(self, record: EpisodeRecord) -> None:
        self._done += 1
        cell = (record.policy, record.scenario, record.level)
        self._known[cell] += record.success is not None
        self._good[cell] += bool(record.success)
        if record.success is False:
            self._failures.appendleft(_failure(record))

    def _cell(self, policy: str, scenario: str, level: int) -> dict[str, Any]:
        cell = (policy, scenario, level)
        low, high = wilson(self._good[cell], self._known[cell])
        return {
            "name": policy,
            "good": self._good[cell],
            "known": self._known[cell],
            "low": low,
            "high": high,
        }

    def _left_s(self) -> float | None:
        """By the pace of this sitting, loading included; None: not known yet."""
        if self._done >= self._total:
            return 0.0
        if self._played < FROM:
            return None
        return (self._now_s() - self._began_s) / self._played * (self._total - self._done)


def _failure(record: EpisodeRecord) -> dict[str, Any]:
    event: dict[str, Any] = record.score["failure"] or {}
    time_s = event.get("time_s")
    return {
        "policy": record.policy,
        "cell": f"{record.scenario}:{record.level}",
        "seed": record.seed,
        "kind": str(event.get("kind") or "not done").replace("_", " "),
        "phase": str(event.get("phase") or ""),
        "time_s": time_s if isinstance(time_s, int | float) and math.isfinite(time_s) else None,
        "episode": f"{record.policy},{record.scenario}:{record.level},{record.seed}",
    }


@contextmanager
def page(
    display: str, command: str, title: str, folder: Path, say: Callable[[str], None]
) -> Generator[ProgressPage | None]:
    """The page of a command, if one is asked for. However the command ends, the page is told.

    Args:
        display: off or web.
        command: its name.
        title: what it works on.
        folder: where it writes.
        say: see `ProgressPage`.

    Raises:
        ConfigError: what the page needs is not installed.
    """
    if display != "web":
        yield None
        return
    if missing := WEB.missing:
        raise ConfigError(f"--display=web {WEB.complaint(missing)}; --display=off does without")
    shown = ProgressPage(command, title, say)
    try:
        yield shown
    finally:
        shown.finish(
            ("It ended before it was done; the terminal says why. The same command goes on.",), folder
        )
