"""For the rooms of the robot."""

from typing import Any

import pytest

from so101_robot.arm.arm import SO101


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What moves an arm, or holds it, or lets it go: in a test with this, nothing may."""
    calls: list[str] = []
    for name in ("command", "hold", "release"):

        def note(self: SO101, *values: Any, name: str = name) -> Any:
            calls.append(name)
            raise AssertionError(f"{name} although the arm must not be touched")

        monkeypatch.setattr(SO101, name, note)
    return calls
