"""Work spread over processes of this machine.

Workers begin with the first task, use one thread each, and keep what `begin` made from task to task. Ctrl-C, which a
terminal sends to everybody, is the parent's to answer, once: a worker's own handler would come too late, after seconds
of imports, and each would print a traceback. When the parent is gone, by kill -9 even, its workers end too.
"""

import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol

import cv2
import torch

STOP_S = 120.0
"""How long an interrupted command may take to save what it has."""


class Submit(Protocol):
    """Hands a task to a worker."""

    def __call__[A, T](self, function: Callable[[A], T], argument: A, /) -> Future[T]: ...


@contextmanager
def deaf_to_ctrl_c() -> Generator[None]:
    """Processes that are begun in here inherit a blocked signal. In the parent it is only late."""
    resource_tracker.ensure_running()  # beginning it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def workers[*A](jobs: int, begin: Callable[[*A], None], *arguments: *A) -> Generator[Submit]:
    """`jobs` processes, each of which calls `begin(*arguments)` before its first task.

    Raises:
        BrokenProcessPool: a worker was killed.
    """
    # spawned, not forked: MuJoCo's, torch's and LeRobot's libraries have threads by the time they are imported
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (begin, arguments))

    def submit[B, T](function: Callable[[B], T], argument: B, /) -> Future[T]:
        with deaf_to_ctrl_c():
            return pool.submit(function, argument)

    try:
        yield submit
        pool.shutdown()
    except BaseException:
        children = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        raise


def as_they_end[K, T](tasks: Iterable[K], submit: Callable[[K], Future[T]], most: int) -> Generator[T]:
    """Results in the order in which they end; `most` tasks are in work, or waiting next to it."""
    waiting, running = iter(tasks), set[Future[T]]()
    while True:
        while len(running) < most and (task := next(waiting, None)) is not None:
            running.add(submit(task))
        if not running:
            return
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future.result()


def one_thread() -> None:
    """Processes share the cores; threads that wait for each other on busy ones cost more than they bring."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _begin[*A](begin: Callable[[*A], None], arguments: tuple[*A]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()
    begin(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


# Commands


def start_command(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A process of its own that writes to the end of `log`; Ctrl-C reaches it through `stop_commands` only."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        )


def stop_commands(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Interrupt all that still run; kill those that have not ended after `STOP_S`."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
