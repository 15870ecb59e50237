"""Pieces of a pool of playing processes.

Playing processes do not hear Ctrl-C, which a terminal sends to everybody: the parent answers it, once. A handler of
their own would come too late, after seconds of imports, and each would print a traceback.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
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


def as_they_end[K, T](keys: Iterable[K], submit: Callable[[K], Future[T]], most: int) -> Generator[T]:
    """Results in the order in which they end; `most` episodes are in work, or waiting next to it."""
    waiting, running = iter(keys), set[Future[T]]()
    while True:
        while len(running) < most and (key := next(waiting, None)) is not None:
            running.add(submit(key))
        if not running:
            return
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future.result()


def one_thread() -> None:
    """Processes share the cores; threads that wait for each other on busy ones cost more than they bring."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def end_with_parent() -> None:
    """Waits for the end of the parent process, by kill -9 even, and ends this one; for a thread of a player."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
