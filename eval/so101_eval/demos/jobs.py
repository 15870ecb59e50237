"""Playing until enough episodes are staged, in this process or in several.

Which seeds are played does not depend on who finishes first: a seed is begun only while those begun before it may
not be enough. So the seeds of a dataset are the first ones that can be kept, with any number of jobs.
"""

from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path

from so101_eval.demos.episode import open_stage
from so101_eval.demos.settings import Settings
from so101_eval.demos.staging import Outcome, outcomes, play_and_stage
from so101_eval.episode.episode import Stage
from so101_eval.errors import EvalError
from so101_eval.palletizing.scene.draw import check_seed
from so101_eval.pool import workers
from so101_eval.progress import progress
from so101_policy.command_line.console import Console

MOST_FAILURES = 20
"""So many and as many as there are good episodes: the expert cannot do it, and would go on for ever."""

type Start = Callable[[int], Future[Outcome]]
"""Begins the episode of a seed."""


def play_all(settings: Settings, staging: Path, jobs: int, console: Console) -> tuple[list[int], int]:
    """Play until enough episodes are staged; returns their seeds in order, and how many frames were played now.

    Raises:
        EvalError: the expert hardly ever succeeds.
        BrokenProcessPool: a playing process was killed.
    """
    staged = {outcome.seed: outcome for outcome in outcomes(staging)}
    kept: list[int] = []
    failed, frames, seed = 0, 0, settings.first_seed

    def take(outcome: Outcome) -> None:
        nonlocal failed
        failed += not outcome.success
        if outcome.success or settings.keep_failures:
            kept.append(outcome.seed)
        bar.update(task, completed=len(kept), description=f"{settings.task} ({failed} failed)")
        if failed >= MOST_FAILURES and failed > len(kept) and not settings.keep_failures:
            raise EvalError(
                f"the expert failed in {failed} of {failed + len(kept)} episodes of {settings.task} "
                f"{settings.scenario} {settings.level}: such demonstrations cannot be made (--keep_failures keeps all)"
            )

    with progress(console) as bar, players(settings, staging, jobs) as start:
        task = bar.add_task(settings.task, total=settings.episodes)
        running: set[Future[Outcome]] = set()
        while True:
            while len(kept) + len(running) < settings.episodes and len(running) < jobs:
                if seed in staged:
                    take(staged[seed])
                else:
                    running.add(start(check_seed(seed, "demo")))
                seed += 1
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                frames += outcome.frames
                take(outcome)
    return sorted(kept), frames


@contextmanager
def players(settings: Settings, staging: Path, jobs: int) -> Generator[Start]:
    """What starts an episode: one job plays it in this process, at once."""
    if jobs == 1:
        with open_stage(settings) as stage:

            def at_once(seed: int) -> Future[Outcome]:
                future: Future[Outcome] = Future()
                future.set_result(play_and_stage(settings, staging, stage, seed))
                return future

            yield at_once
        return
    with workers(jobs, _begin, settings, staging) as submit:
        yield lambda seed: submit(_play, seed)


# In a playing process

_here: list[tuple[Settings, Path, Stage]] = []
"""One."""


def _begin(settings: Settings, staging: Path) -> None:
    _here.append((settings, staging, open_stage(settings)))


def _play(seed: int) -> Outcome:
    settings, staging, stage = _here[0]
    return play_and_stage(settings, staging, stage, seed)
