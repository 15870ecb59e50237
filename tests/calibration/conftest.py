"""Arms without physics for what only needs registers, and people who say what a test wants them to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.steps import Step
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant


class Scripted:
    """Says what it was told to; `act` moves the arm when a step is asked for, `looks` times looked at."""

    def __init__(
        self, answer: bool = True, act: Callable[[Step, int], None] = lambda step, look: None
    ) -> None:
        self.answer, self.act = answer, act
        self.said: list[str] = []
        self.looks = 60

    def say(self, what: RenderableType) -> None:
        console = Console(width=200, highlight=False)
        with console.capture() as capture:
            console.print(what)
        self.said.append(capture.get())

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        self.said.append(step.text)
        for k in range(self.looks):
            self.act(step, k)
            look()

    def confirm(self, question: str) -> bool:
        self.said.append(question)
        return self.answer

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture
def arm() -> MockArm:
    """Six servos on shafts without load; time passes on the wire only."""
    return MockArm(MockConfig(realtime_factor=0), plant=IdealPlant())


@pytest.fixture
def line(arm: MockArm) -> Iterator[Line]:
    with open_line("mock", arm) as line:
        yield line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arm.json"


@pytest.fixture
def talk() -> Scripted:
    return Scripted()
