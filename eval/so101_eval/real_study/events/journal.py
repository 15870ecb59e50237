"""`events.jsonl`: one line an event, through to the disk before anything else happens, each with the hash of the line
before.

A line that was cut off by a crash is the last one and does not count; it is taken away when the study is opened to be
written. Anything else that does not fit (a changed, missing or moved line) is an error that names the line.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from so101_eval.errors import RecordError
from so101_eval.evaluation.records import cut_tail
from so101_policy.files.plain_data import Plain, parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import Lines

EVENTS = "events.jsonl"


class Event(NamedTuple):
    """Something that happened."""

    n: int
    """Its place, from 0."""
    prev: str
    """sha256 of the line before, without its line end; of the first line: the study's."""
    t: str
    """When, ISO 8601 with the zone."""
    kind: str
    data: dict[str, Any]


class Journal:
    """The events of a study, open for more. A context manager."""

    def __init__(self, path: Path, study_sha256: str) -> None:
        """Raises `RecordError` for a chain that is broken, OSError for a file that cannot be written."""
        cut_tail(path)
        self.events, self._prev = read_chain(path, study_sha256) if path.exists() else ([], study_sha256)
        self._lines = Lines(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, kind: str, data: Mapping[str, Plain] | None = None) -> Event:
        """It has happened, and is on the disk when this returns. Raises OSError."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        event = Event(len(self.events), self._prev, now, kind, dict(data or {}))
        line = json.dumps(event._asdict(), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        self._lines.write(line, durable=True)
        self._prev = _hash(line.encode())
        self.events.append(event)
        return event

    def close(self) -> None:
        """May be called twice."""
        self._lines.close()


def read_events(path: Path, study_sha256: str) -> list[Event]:
    """All whole lines. Raises `RecordError` that names the line where the chain is broken."""
    return read_chain(path, study_sha256)[0]


def read_chain(path: Path, study_sha256: str) -> tuple[list[Event], str]:
    """As `read_events`, and the hash of the last whole line."""
    events, prev = list[Event](), study_sha256
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            event = typed(Event, parse_json(line.decode()))
        except ValueError as problem:
            raise RecordError(f"{path}, line {number} is damaged: {problem}") from problem
        if event.n != number - 1 or event.prev != prev:
            what = (
                "the study was edited after it was locked"
                if number == 1
                else "it, or a line before, was changed"
            )
            raise RecordError(
                f"{path}, line {number} does not follow from what is before it ({what}). Events are never edited; "
                "put back the file of a backup, or begin another study"
            )
        events.append(event)
        prev = _hash(line)
    return events, prev


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
