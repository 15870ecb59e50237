"""Who plays the episodes of a run: this process, or several of this machine.

What plays is a function from keys to records, in the order in which they end, inside a `with` block that begins and
ends the processes. Each keeps its arm and its policies from episode to episode and uses one thread. Ctrl-C is the
parent's to answer; when the parent is gone, by kill -9 even, its processes end too.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from so101_eval.children import deaf_to_ctrl_c
from so101_eval.episodes import Plan, Player
from so101_eval.errors import EvalError
from so101_eval.records import EpisodeRecord, Key

type Play = Callable[[Iterable[Key]], Iterator[EpisodeRecord]]
"""Plays episodes; gives their records in the order in which they end."""


@contextmanager
def local_players(plan: Plan, jobs: int) -> Generator[Play]:
    """Plays in `jobs` processes; one job plays in this one."""
    if jobs == 1:
        one_thread()
        with Player(plan) as player:
            yield lambda keys: map(player.play, keys)
        return
    # spawned, not forked: MuJoCo's and torch's libraries have threads by the time they are imported
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_playing, (plan,))

    def submit(key: Key) -> Future[EpisodeRecord]:
        with deaf_to_ctrl_c():
            return pool.submit(_play, key)

    try:
        yield lambda keys: as_they_end(keys, submit, 2 * jobs)
        pool.shutdown()
    except BrokenProcessPool as error:
        raise EvalError(
            "a playing process was killed (out of memory?); the same command again goes on"
        ) from error
    except BaseException:
        children = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        raise


def as_they_end[T](keys: Iterable[Key], submit: Callable[[Key], Future[T]], most: int) -> Generator[T]:
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


_player: list[Player] = []
"""Of a playing process: one."""


def _begin_playing(plan: Plan) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()
    _player.append(Player(plan))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _play(key: Key) -> EpisodeRecord:
    return _player[0].play(key)


def one_thread() -> None:
    """Processes share the cores; threads that wait for each other on busy ones cost more than they bring."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
