"""Who plays the episodes of a run: this process, or several of this machine.

What plays is a function from keys to records, in the order in which they end, inside a `with` block that begins and
ends the processes. Each keeps its arm and its policies from episode to episode.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from so101_eval.errors import EvalError
from so101_eval.evaluation.plan import Plan, Player
from so101_eval.evaluation.records import EpisodeRecord, Key
from so101_eval.pool import as_they_end, one_thread, workers

type Play = Callable[[Iterable[Key]], Iterator[EpisodeRecord]]
"""Plays episodes; gives their records in the order in which they end."""


@contextmanager
def local_players(plan: Plan, jobs: int) -> Generator[Play]:
    """Plays in `jobs` processes; one job plays in this one.

    Raises:
        EvalError: an episode cannot be played, or a process was killed.
    """
    if jobs == 1:
        one_thread()
        with Player(plan) as player:
            yield lambda keys: map(player.play, keys)
        return
    try:
        with workers(jobs, _begin, plan) as submit:
            yield lambda keys: as_they_end(keys, lambda key: submit(_play, key), 2 * jobs)
    except BrokenProcessPool as error:
        raise EvalError(
            "a playing process was killed (out of memory?); the same command again goes on"
        ) from error


_player: list[Player] = []
"""Of a playing process: one."""


def _begin(plan: Plan) -> None:
    _player.append(Player(plan))


def _play(key: Key) -> EpisodeRecord:
    return _player[0].play(key)
