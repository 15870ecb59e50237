"""Who decides at the bench: a person at a console or a terminal, or a script in a rehearsal."""

from collections.abc import Mapping
from typing import Protocol

from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.view import Action, View
from so101_robot.state import Frame


class Operator(Protocol):
    """Sees views, gives actions."""

    def show(self, view: View) -> None:
        """This is the screen now. Returns at once."""
        ...

    def next(self, timeout_s: float) -> Action | None:
        """What the operator did next; None: nothing within that time."""
        ...

    def drives(self, control: Control | None) -> None:
        """A trial runs: stop, hold and open go to `control` at once, without `next`. None: it is over."""
        ...

    def pictures(self, frames: Mapping[str, Frame]) -> None:
        """The newest pictures. Returns at once, and may drop them."""
        ...

    def close(self) -> None: ...
