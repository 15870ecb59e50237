"""From a plan to a folder of records: in parallel, and whatever happens in between.

Each finished episode is one line, appended and synced to the disk. A run that was interrupted, by Ctrl-C or by
kill -9 at any moment, is gone on with by the same command: a line that was cut off is dropped, and what is missing is
played. When nothing is missing the lines are sorted, so the finished folder does not say where it was interrupted
or how many processes played it; only `timing` does, and sessions.jsonl, which has a line for every sitting.
"""

import fcntl
import json
import platform
import sys
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from so101_eval.errors import ConfigError, EvalError, RecordError
from so101_eval.evaluation.local_jobs import Play
from so101_eval.evaluation.plan import Plan, versions
from so101_eval.evaluation.records import (
    EPISODES,
    RUN,
    SCHEMA,
    EpisodeRecord,
    Key,
    cut_tail,
    read_episodes,
    read_meta,
    write_tables,
)
from so101_eval.evaluation.watching import Watcher
from so101_eval.progress import progress
from so101_policy.command_line.console import Console
from so101_policy.files.whole_files import Lines, is_partial, write_text
from so101_robot.runs.provenance import git_commit

SESSIONS = "sessions.jsonl"
LOCK = ".lock"
MOST_NAMES = 4
"""Policies that the progress bar has room for; of more it shows them all together."""


def run(
    plan: Plan,
    out: Path,
    players: AbstractContextManager[Play],
    console: Console | None = None,
    watcher: Watcher | None = None,
) -> list[EpisodeRecord]:
    """All episodes of `plan` in the folder `out`, or those that are missing; returns all of them. `watcher` is told of
    each as soon as it is on the disk.

    Raises:
        ConfigError: `out` holds something else, or is being worked on.
        RecordError: what is there was made with other versions, or is damaged.
        EvalError: an episode cannot be played, or a process was killed.
        OSError: the folder cannot be written.
    """
    console = console or Console(stderr=True)
    with open_run(plan, out):
        cut_tail(out / EPISODES)
        done = {record.key: record for record in read_episodes(out / EPISODES)}
        keys = list(plan.keys())
        missing = [key for key in keys if key not in done]
        with Lines(out / EPISODES) as lines, progress(console) as bar:
            task = bar.add_task("", total=len(keys))
            tally = Tally(plan, done.values())
            if watcher is not None:
                watcher.begin(done.values())
            bar.update(task, completed=len(done), description=str(tally))
            for record in _played(missing, players):
                if record.versions != versions():
                    raise RecordError(
                        f"{record.key} was played on {record.timing['host']} with {_differing(record.versions)}"
                    )
                lines.write(record.to_json(), durable=True)
                done[record.key] = record
                tally.add(record)
                if watcher is not None:
                    watcher.add(record)
                bar.update(task, advance=1, description=str(tally))
        records = [done[key] for key in sorted(keys)]
        write_tables(out, records)
    return records


def _played(missing: list[Key], players: AbstractContextManager[Play]) -> Generator[EpisodeRecord]:
    if missing:  # else no process need be started
        with players as play:
            yield from play(missing)


class Tally:
    """Success so far, as the progress bar tells it."""

    def __init__(self, plan: Plan, records: Iterable[EpisodeRecord]) -> None:
        self._names = [policy.name for policy in plan.policies]
        self._good, self._known = Counter[str](), Counter[str]()
        for record in records:
            self.add(record)

    def add(self, record: EpisodeRecord) -> None:
        self._good[record.policy] += bool(record.success)
        self._known[record.policy] += record.success is not None

    def __str__(self) -> str:
        if len(self._names) > MOST_NAMES:
            return f"{len(self._names)} policies {self._good.total()}/{self._known.total()}"
        return "  ".join(f"{name} {self._good[name]}/{self._known[name]}" for name in self._names)


# The folder


@contextmanager
def open_run(plan: Plan, out: Path) -> Generator[None]:
    """A folder that holds this plan and nobody else works in. Raises as `run`."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--output_dir {out}: it is a file")
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another so101-eval is at work in {out}") from error
        if (out / RUN).is_file():
            check_same(plan, out)
        else:
            _begin(plan, out)
        (out / EPISODES).touch()
        cut_tail(out / SESSIONS)
        with Lines(out / SESSIONS) as lines:
            lines.write(json.dumps(_session()))
        yield


def _begin(plan: Plan, out: Path) -> None:
    # what a run that was killed before it began may leave, and an editor of folders
    if others := sorted({path.name for path in out.iterdir() if not is_partial(path)} - {LOCK, ".DS_Store"}):
        raise ConfigError(
            f"--output_dir {out} is no run of so101-eval: it holds {', '.join(others[:5])}; choose a new folder"
        )
    meta = {"schema": SCHEMA, "run": plan.sha256[:16], "plan": plan.to_dict(), "versions": versions()}
    write_text(out / RUN, json.dumps(meta, indent=2) + "\n")


def _session() -> dict[str, object]:
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "argv": sys.argv,
        "host": platform.node(),
        "git": git_commit(Path.cwd()),
    }


def plan_of(out: Path) -> Plan:
    """The plan of a run folder. Raises `RecordError` if it has none that this version reads."""
    try:
        return Plan.from_dict(read_meta(out)["plan"])
    except (KeyError, TypeError, ValueError) as error:
        raise (
            error if isinstance(error, EvalError) else RecordError(f"{out / RUN} is damaged: {error}")
        ) from error


def check_same(plan: Plan, out: Path) -> None:
    """Whether `out` was begun with this plan and these versions. Raises `ConfigError`, `RecordError` if not."""
    meta, theirs, ours = read_meta(out), plan_of(out).identity, plan.identity
    before, now = theirs.pop("policies"), ours.pop("policies")
    for name in before.keys() & now.keys():
        if changed := [part for part in now[name] if now[name][part] != before[name][part]]:
            was, is_now = (str(policy[changed[0]])[:12] for policy in (before[name], now[name]))
            raise ConfigError(
                f"{out} was begun with another {name}: {changed[0]} was {was}, is {is_now}. "
                "Give the changed policy another name and evaluate it in a run of its own (--output_dir)"
            )
    differing = [
        f"{name} {_short(theirs.get(name))} (now {_short(ours.get(name))})"
        for name in {**theirs, **ours}
        if theirs.get(name) != ours.get(name)
    ]
    if before.keys() != now.keys():
        differing.append(f"policies {', '.join(before)} (now {', '.join(now)})")
    if differing:
        raise ConfigError(
            f"{out} was begun with {'; '.join(differing)}. Choose another --output_dir, or ask for the same"
        )
    if meta["versions"] != versions():
        raise RecordError(
            f"{out} was begun with other versions, and records of two versions do not mix: "
            f"{_differing(meta['versions'])}. Choose another --output_dir"
        )


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(f"{scenario}:{level}" for scenario, level in value)
    return str(value)


def _differing(theirs: dict[str, str | None]) -> str:
    ours = versions()
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in names)
