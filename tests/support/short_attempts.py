"""Attempts that end after a second, for tests to which it does not matter how they end."""

from dataclasses import replace

import pytest

from so101_eval.palletizing.scene.tasks import TASKS

LIMIT_S = 1.0


def hurry(monkeypatch: pytest.MonkeyPatch, task: str = "palletize-1") -> None:
    """Of that task, in this process."""
    monkeypatch.setitem(TASKS, task, replace(TASKS[task], time_limit_s=LIMIT_S))
