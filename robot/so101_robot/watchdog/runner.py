"""The process that is watched: whether it is dead, and its death. Never another process that got its number.

Linux gives a descriptor for a process (`pidfd_open`), macOS a queue that says when one ends (`kqueue`, NOTE_EXIT).
"""

import contextlib
import os
import select
import signal
import sys


class Runner:
    """A process that runs now.

    Args:
        pid: its number.

    Raises:
        ProcessLookupError: there is none.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        if sys.platform == "darwin":
            self._queue = select.kqueue()
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            self._queue.control([event], 0)
            self.fd = self._queue.fileno()
        else:
            self.fd = os.pidfd_open(pid)
        """Readable when it is dead; it stays so."""

    def kill(self, within_s: float) -> bool:
        """Kill it; true when it is dead. A process that waits for a broken disk may not die."""
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "darwin":
                if not self._is_dead(0.0):
                    os.kill(self._pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        return self._is_dead(within_s)

    def _is_dead(self, within_s: float) -> bool:
        return bool(select.select([self.fd], (), (), within_s)[0])
