"""Lock a study: canonical file, schedule, sealed key, first event. From then on it is what it is."""

import fcntl
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.real_study.design.sealing import SEALED, draw_schedule, seal
from so101_eval.real_study.design.study import STUDY, Study, read_study, write_study
from so101_eval.real_study.events.journal import EVENTS, Journal, read_events
from so101_eval.real_study.events.state import Kind, State, fold
from so101_robot.runs.provenance import versions

LOCK = ".lock"
"""Held by whoever writes events."""


def lock(folder: Path) -> Study:
    """Write the canonical study, the sealed schedule and the first event.

    Raises:
        ConfigError: it is locked already, or `study.yaml` is not in order.
        OSError: the folder cannot be written.
    """
    if (folder / EVENTS).exists():
        raise ConfigError(
            f"{folder} is locked already; a study is locked once. so101-bench init makes another one"
        )
    study = read_study(folder)
    write_study(folder, study)
    public_key = seal(folder, study, draw_schedule(study))
    with Journal(folder / EVENTS, study.sha256) as journal:
        journal.append(
            Kind.LOCKED,
            {
                "sha256": study.sha256,
                "public_key": public_key,
                "policies": len(study.policies),
                "blocks": study.blocks,
                "practice": study.practice,
                "versions": versions(),
            },
        )
    return study


def read_locked(folder: Path) -> tuple[Study, State]:
    """A study that is locked, and its state.

    Raises:
        ConfigError: it is not locked, or was edited after it was.
        RecordError: its events are damaged.
    """
    study = read_study(folder)
    if not (folder / EVENTS).is_file():
        raise ConfigError(f"{folder} is not locked yet: so101-bench lock {folder}")
    return study, fold(read_events(folder / EVENTS, _as_locked(folder)))


@contextmanager
def writing(folder: Path) -> Generator[tuple[Study, Journal]]:
    """The study and its events, open for more; nobody else writes meanwhile. Raises as `read_locked`, and
    ConfigError where somebody else does."""
    study = read_study(folder)
    if not (folder / EVENTS).is_file():
        raise ConfigError(f"{folder} is not locked yet: so101-bench lock {folder}")
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another so101-bench is at work in {folder}; a study has one session at a time. End that one first"
            ) from error
        with Journal(folder / EVENTS, _as_locked(folder)) as journal:
            yield study, journal


def _as_locked(folder: Path) -> str:
    """The sha256 of `study.yaml`, if it is what was locked. Raises `ConfigError` if not."""
    data = (folder / STUDY).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with (folder / EVENTS).open("rb") as file:
        first = file.readline()
    if sha256.encode() not in first:
        raise ConfigError(
            f"{folder / STUDY} was edited after the study was locked (its sha256 is {sha256[:12]} now): put back what "
            f"was locked, or make another study. {SEALED} and {EVENTS} belong to the one that was locked"
        )
    return sha256
