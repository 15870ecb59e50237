"""How a run is asked to end: by a person, by the system, or by what it plays."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """Requests to end the run: the first asks for the safe ending, one more during that ending for release
    at once."""

    def __init__(self) -> None:
        self.count = 0
        """How often a person, or the system, has asked."""
        self.reason = ""
        self._finished = False

    def request(self, reason: str) -> None:
        self.count += 1
        self.reason = self.reason or reason

    def finish(self, reason: str) -> None:
        """The run is over of its own accord: an ordinary end, and nobody has asked for anything yet."""
        self._finished = True
        self.reason = self.reason or reason

    @property
    def requested(self) -> bool:
        """The run shall end."""
        return self._finished or self.count > 0


@contextmanager
def stop_on_signals() -> Generator[StopRequests]:
    """Ctrl-C, SIGTERM and SIGHUP become stop requests while inside; only in the main thread."""
    requests = StopRequests()
    names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

    def handle(number: int, frame: FrameType | None) -> None:
        requests.request(names[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in names}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
