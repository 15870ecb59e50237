"""Who plays the episodes of a run: this process, or several of this machine.

What plays is a function from keys to records, in the order in which they end, inside a `with` block that begins and
ends the processes. Each keeps its arm and its policies from episode to episode and uses one thread. Ctrl-C is the
parent's to answer; when the parent is gone, by kill -9 even, its processes end too.
"""

import multiprocessing
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from so101_eval.errors import EvalError
from so101_eval.evaluation.plan import Plan, Player
from so101_eval.evaluation.records import EpisodeRecord, Key
from so101_eval.pool import as_they_end, deaf_to_ctrl_c, end_with_parent, one_thread

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


_player: list[Player] = []
"""Of a playing process: one."""


def _begin_playing(plan: Plan) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    one_thread()
    _player.append(Player(plan))


def _play(key: Key) -> EpisodeRecord:
    return _player[0].play(key)
