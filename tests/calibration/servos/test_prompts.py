"""The whole guided flow at real prompts: on a pseudo-terminal, from a script, and left at every one of them."""

import io
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from so101_calibration import files
from so101_calibration.errors import InputEndedError
from so101_calibration.servos import command as servos
from so101_calibration.servos import compare, terminal
from so101_calibration.servos.journal import journal_path
from so101_calibration.servos.line import Line
from so101_calibration.servos.steps import Step
from so101_calibration.servos.terminal import Terminal
from so101_robot.mock.arm import MockArm

from .test_guided import sweeping

LOOKS = 60
PROMPTS = 10
"""Hold the arm, the middle, six joints, the closed jaws, and the question."""


class AtTheArm:
    """A person with both hands: moves the shafts while the terminal asks, then presses ENTER; leaves at one prompt."""

    def __init__(
        self,
        arm: MockArm,
        ours: int,
        asks: Terminal,
        leave_at: int = 0,
        leave: Callable[[], None] | None = None,
    ) -> None:
        self._arm, self._ours, self._terminal = arm, ours, asks
        self._act = sweeping(arm).act
        self._leave_at, self._leave = leave_at, leave
        self.asked = 0
        self.said: list[RenderableType] = []

    def say(self, what: RenderableType) -> None:
        self.said.append(what)
        self._terminal.say(what)

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        looks = 0

        def moving() -> RenderableType:
            nonlocal looks
            self._act(step, looks)
            looks += 1
            if looks == LOOKS // 2:
                self._maybe_leave()
            if looks == LOOKS:
                os.write(self._ours, b"\n")
            return look()

        self.asked += 1
        self._terminal.until_done(step, moving)

    def confirm(self, question: str) -> bool:
        self.asked += 1
        later = threading.Timer(0.1, self._answer)
        later.start()
        try:
            return self._terminal.confirm(question)
        finally:
            later.join()

    def _answer(self) -> None:
        if self._leave_at == self.asked:
            self._maybe_leave()
        else:
            os.write(self._ours, b"y\n")

    def _maybe_leave(self) -> None:
        if self._leave_at == self.asked and self._leave is not None:
            self._leave()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal looks at keys and servos without a pause."""
    monkeypatch.setattr(terminal, "POLL_S", 0.0005)


@pytest.mark.parametrize("place", [os.openpty, os.pipe])
def test_the_whole_flow_is_answered_at_a_terminal_and_from_a_script(
    arm: MockArm, line: Line, path: Path, place: Callable[[], tuple[int, int]]
) -> None:
    line.command([2047] * 6)
    ours, theirs = place() if place is os.openpty else reversed(place())
    screen = io.StringIO()
    asks = Terminal(Console(file=screen, force_terminal=place is os.openpty, width=100), fd=theirs)
    assert asks.interactive == (place is os.openpty)
    person = AtTheArm(arm, ours, asks)
    assert servos.calibrate(line, path, person, set()) == 0
    assert person.asked == PROMPTS
    assert compare.stored(line.rows()) == files.read(path)
    assert "> wrist_roll" in screen.getvalue()
    assert "12.0 V" in screen.getvalue()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("prompt", range(1, PROMPTS + 1))
def test_a_script_that_ends_at_any_prompt_leaves_servos_and_files_as_they_were(
    arm: MockArm, line: Line, path: Path, prompt: int
) -> None:
    theirs, ours = os.pipe()
    asks = Terminal(Console(file=io.StringIO()), fd=theirs)
    left_alone(arm, line, path, AtTheArm(arm, ours, asks, prompt, lambda: os.close(ours)), InputEndedError)
    os.close(theirs)


@pytest.mark.parametrize("prompt", [1, 3])
def test_ctrl_c_at_a_terminals_prompt_leaves_servos_and_files_as_they_were(
    arm: MockArm, line: Line, path: Path, prompt: int
) -> None:
    ours, theirs = os.openpty()
    asks = Terminal(Console(file=io.StringIO(), force_terminal=True), fd=theirs)
    person = AtTheArm(arm, ours, asks, prompt, lambda: os.kill(os.getpid(), signal.SIGINT))
    left_alone(arm, line, path, person, KeyboardInterrupt)
    os.close(ours)
    os.close(theirs)


def left_alone(arm: MockArm, line: Line, path: Path, person: AtTheArm, error: type[BaseException]) -> None:
    """Run the flow until the person leaves; nothing may have changed but the torque, which is off once it was said."""
    path.write_text("the old calibration")
    line.command([2047] * 6)
    before = arm.servos.saved.tobytes()
    with pytest.raises(error):
        servos.calibrate(line, path, person, set())
    assert arm.servos.saved.tobytes() == before
    assert path.read_text() == "the old calibration"
    assert not journal_path(path).exists()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    held = sum(arm.servos.get(index, "Torque_Enable") for index in range(6))
    assert held == (6 if person.asked == 1 else 0)
