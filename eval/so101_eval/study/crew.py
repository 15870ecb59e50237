"""Where the trainings and probes of a study run: as processes of this machine, or on a Ray cluster.

A `Task` is a command that goes on where it stopped, with its own log. A crew runs several at a time and knows nothing
of what they do. On a cluster the study's folder has to be one that all machines share, at the same path.
"""

import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from so101_eval.errors import StudyError
from so101_eval.evaluation.cluster import connected
from so101_eval.pool import STOP_S, start_command, stop_commands

LOOK_S = 1.0
"""How often what runs is looked at."""
RETRIES = 5
"""How often a task is begun anew because its machine went away."""


class Task(Protocol):
    """A command that can be begun again and goes on then. It travels to other machines, so it is plain data."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def log(self) -> Path:
        """Where its output goes."""
        ...

    def command(self) -> Sequence[str]:
        """What to run, decided on the machine that runs it, and put right what a kill has left."""
        ...


class Job(Protocol):
    """A task that was begun."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...


class Crew(Protocol):
    """Runs tasks."""

    size: int
    """How many at a time."""

    def start(self, task: Task) -> Job: ...

    def stop(self, jobs: Iterable[Job]) -> None:
        """Interrupt what still runs, and wait until it has saved what it has."""
        ...


class LocalCrew:
    """Processes of this machine.

    Args:
        size: how many at a time.
        threads: of each.
    """

    def __init__(self, size: int, threads: int = 1) -> None:
        self.size, self._threads = size, threads

    def start(self, task: Task) -> subprocess.Popen[bytes]:
        return _begin(task, self._threads)

    def stop(self, jobs: Iterable[Job]) -> None:
        stop_commands(job for job in jobs if isinstance(job, subprocess.Popen))


class RayCrew:
    """Tasks of a Ray that is connected to; each takes a core.

    Args:
        ray: the module, see `cluster.connected`.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.size = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._run = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_run_there)

    def start(self, task: Task) -> "RayJob":
        return RayJob(self._ray, self._run.remote(task))

    def stop(self, jobs: Iterable[Job]) -> None:
        waited = [job.reference for job in jobs if isinstance(job, RayJob) and job.poll() is None]
        for reference in waited:
            self._ray.cancel(reference)  # as Ctrl-C, in the worker
        if waited:
            self._ray.wait(waited, num_returns=len(waited), timeout=STOP_S)


class RayJob:
    """A task on a cluster."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self.reference = ray, reference

    def poll(self) -> int | None:
        """1 also where the task could not be run; Raises `StudyError` for a folder that is not shared."""
        ended, _ = self._ray.wait([self.reference], timeout=0)
        if not ended:
            return None
        try:
            return int(self._ray.get(self.reference))
        except self._ray.exceptions.RayTaskError as error:
            raise StudyError(str(getattr(error, "cause", error))) from error
        except self._ray.exceptions.RayError:
            return 1


@contextmanager
def crew_of(jobs: int, cluster: str | None, threads: int = 1) -> Generator[Crew]:
    """The crew that was asked for.

    Args:
        jobs: processes of this machine.
        cluster: None: this machine. Else a Ray cluster's address; empty: one of this machine alone.
        threads: of each process of this machine.

    Raises:
        ConfigError, EvalError: as `cluster.connected`.
    """
    if cluster is None:
        yield LocalCrew(jobs, threads)
        return
    with connected(cluster or None) as (ray, _):
        yield RayCrew(ray)


def run_all[T: Task](
    tasks: Sequence[T],
    crew: Crew,
    is_done: Callable[[T], bool],
    look: Callable[[Sequence[T], int], None] = lambda running, ended: None,
) -> list[T]:
    """All tasks, in order, as many at a time as the crew takes. Returns those that failed; the others are finished.

    Args:
        is_done: whether a task that has ended well has made what it should.
        look: is told now and then what runs, and how many have ended well.

    Raises:
        KeyboardInterrupt: after everything that runs has saved what it has.
    """
    waiting, running, failed, good = list(tasks), dict[str, tuple[T, Job]](), list[T](), 0
    try:
        while waiting or running:
            while waiting and len(running) < crew.size:
                task = waiting.pop(0)
                running[task.name] = task, crew.start(task)
            time.sleep(LOOK_S)
            for name, (task, job) in list(running.items()):
                if (code := job.poll()) is None:
                    continue
                del running[name]
                if code == 0 and is_done(task):
                    good += 1
                else:
                    failed.append(task)
            look([task for task, _ in running.values()], good)
    finally:
        crew.stop(job for _, job in running.values())
    return failed


def last_words(task: Task) -> str:
    """The last line of its log, and where that is."""
    text = task.log.read_text(errors="replace") if task.log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no output'} ({task.log})"


def _begin(task: Task, threads: int) -> subprocess.Popen[bytes]:
    return start_command(task.command(), task.log, {"OMP_NUM_THREADS": str(threads)})


def _run_there(task: Task) -> int:
    """On a machine of the cluster: the exit code."""
    if not task.log.parent.is_dir():
        raise StudyError(
            f"{task.name}: {task.log.parent} is not on every machine of the cluster; trainings and probes need an "
            "--output_dir that all of them share, at the same path"
        )
    process = _begin(task, 1)
    try:
        return process.wait()
    finally:
        stop_commands([process])
