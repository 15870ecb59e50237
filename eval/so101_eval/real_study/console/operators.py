"""Who operates at a sitting: a person, by browser and by keys, whichever comes first."""

import time
from collections.abc import Mapping, Sequence

from so101_eval.real_study.console.remote import ConsoleOperator
from so101_eval.real_study.console.terminal import TerminalOperator
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.hands import Hands
from so101_eval.real_study.session.operator import Operator
from so101_eval.real_study.session.view import Action, View
from so101_robot.state import Frame

POLL_S = 0.02


class Several:
    """All of them see the same; what any of them does counts."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators = tuple(operators)

    def show(self, view: View) -> None:
        for operator in self._operators:
            operator.show(view)

    def next(self, timeout_s: float) -> Action | None:
        until_s = time.monotonic() + timeout_s
        while True:
            for operator in self._operators:
                if (action := operator.next(POLL_S)) is not None:
                    return action
            if time.monotonic() >= until_s:
                return None

    def drives(self, control: Control | None) -> None:
        for operator in self._operators:
            operator.drives(control)

    def pictures(self, frames: Mapping[str, Frame]) -> None:
        for operator in self._operators:
            operator.pictures(frames)

    def close(self) -> None:
        for operator in self._operators:
            operator.close()


def make_operator(hands: Hands, *, port: int, lan: bool, console: bool) -> Operator:
    """A person. Raises `ConfigError` where the console does not start."""
    operators: list[Operator] = []
    if console:
        browser = ConsoleOperator(port, lan)
        browser.announce()
        operators.append(browser)
    operators.append(TerminalOperator())
    return Several(operators)
