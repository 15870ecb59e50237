"""The trial on the operator's screen: timer, pictures, and whether the arm is held. It shows no policy's inner life."""

from dataclasses import replace

from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.view import View
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

EVERY = 3
"""Ticks between two pictures: ten a second."""


class Showing:
    """Observer of one trial."""

    name = "console"

    def __init__(self, operator: Operator, view: View, control: Control) -> None:
        self._operator, self._view, self._control = operator, view, control
        self._ticks = 0
        operator.show(view)

    def on_tick(self, tick: Tick) -> None:
        running = self._control.running and tick.phase == "run"
        if (running, self._control.held) != (self._view.running, self._view.held):
            self._view = replace(self._view, running=running, held=self._control.held)
            self._operator.show(self._view)
        if self._ticks % EVERY == 0 and tick.frames:
            self._operator.pictures(tick.frames)
        self._ticks += 1

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...
