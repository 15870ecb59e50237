"""Playing processes do not hear Ctrl-C, which a terminal sends to everybody: the parent answers it, once.

A handler of their own would come too late, after seconds of imports, and each would print a traceback.
"""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def deaf_to_ctrl_c() -> Generator[None]:
    """Processes that are begun in here inherit a blocked signal. In the parent it is only late."""
    resource_tracker.ensure_running()  # beginning it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
