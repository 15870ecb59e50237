"""The chain of events and the state that it amounts to."""

from pathlib import Path
from typing import Any

import pytest

from real_studies import locked
from so101_eval.errors import RecordError
from so101_eval.real_study.design.lock import read_locked, writing
from so101_eval.real_study.events.journal import EVENTS, Event, Journal, read_events
from so101_eval.real_study.events.outcome import Outcome
from so101_eval.real_study.events.state import Kind, State, after, begin, fold

FAILED: dict[str, Any] = {"stages": [2], "success": False, "why": "time", "by": "me", "tags": [], "note": ""}
ENDED: dict[str, Any] = {"void": None, "why": "time", "driven_s": 1.0}


def started(journal: Journal, code: str, place: int, block: int) -> None:
    journal.append(Kind.TRIAL_STARTED, {"trial": code, "place": place, "block": block, "slot": 0})


def settled(journal: Journal, code: str) -> None:
    journal.append(Kind.TRIAL_ENDED, {"trial": code, **ENDED})
    journal.append(Kind.OUTCOME, {"trial": code, "outcome": FAILED, "change": False})


def state_of(folder: Path) -> State:
    return read_locked(folder)[1]


def test_a_changed_line_is_found(tmp_path: Path):
    study = locked(tmp_path / "s")
    path = tmp_path / "s" / EVENTS
    with writing(tmp_path / "s") as (_, journal):
        for _ in range(3):
            journal.append(Kind.SESSION_OPENED, {"operator": "anna"})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"anna", b"otto"), lines[3]]))
    with pytest.raises(RecordError, match="line 4 does not follow"):
        read_events(path, study.sha256)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(RecordError, match="line 2 does not follow"):
        read_events(path, study.sha256)


def test_a_line_that_was_cut_off_does_not_count_and_is_taken_away(tmp_path: Path):
    locked(tmp_path / "s")
    path = tmp_path / "s" / EVENTS
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n":1,"prev":"')
    assert len(read_events(path, read_locked(tmp_path / "s")[0].sha256)) == 1
    with writing(tmp_path / "s") as (_, journal):
        journal.append(Kind.SESSION_OPENED, {"operator": "anna"})
    assert path.read_bytes().startswith(whole)
    assert state_of(tmp_path / "s").operator == "anna"


def test_a_void_queues_the_whole_block_again_at_the_end(tmp_path: Path):
    locked(tmp_path / "s")
    with writing(tmp_path / "s") as (_, journal):
        started(journal, "AAAA", 0, 0)
        settled(journal, "AAAA")
        started(journal, "BBBB", 0, 0)
        journal.append(
            Kind.TRIAL_VOIDED, {"trial": "BBBB", "reason": "camera", "by": "machine", "outcome": None}
        )
        state = fold(journal.events)
    assert [place.block for place in state.queue] == [0, 1, 2, 0]
    assert state.queue[0].void
    assert state.now is not None
    assert state.now.index == 1
    assert state.trials["AAAA"].outcome is not None, "what was seen is kept"
    assert state.complete == ()


def test_a_practice_block_is_not_queued_again():
    state = begin(2, 3, 1)
    assert [place.block for place in state.queue] == [-1, 0, 1, 2]
    event = (
        (Kind.TRIAL_STARTED, {"trial": "AAAA", "place": 0, "block": -1, "slot": 0}),
        (Kind.TRIAL_VOIDED, {"trial": "AAAA", "reason": "cable", "by": "operator", "outcome": FAILED}),
    )
    for n, (kind, data) in enumerate(event):
        state = after(state, _event(n, kind, data))
    assert len(state.queue) == 4
    assert state.trials["AAAA"].outcome is not None, "an operator's void stores the outcome, too"


def test_a_changed_outcome_keeps_the_first(tmp_path: Path):
    locked(tmp_path / "s")
    with writing(tmp_path / "s") as (_, journal):
        started(journal, "AAAA", 0, 0)
        settled(journal, "AAAA")
        better = FAILED | {"stages": [7], "success": True, "why": "done"}
        journal.append(Kind.OUTCOME, {"trial": "AAAA", "outcome": better, "change": True})
        trial = fold(journal.events).trials["AAAA"]
    assert trial.outcome is not None
    assert trial.first_outcome is not None
    assert (trial.first_outcome.success, trial.outcome.success) == (False, True)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Kind.OUTCOME, {"trial": "ZZZZ", "outcome": FAILED}),
        (Kind.TRIAL_ENDED, {}),
        ("confession", {}),
        (Kind.TRIAL_STARTED, {"trial": "AAAA", "place": 99, "block": 0, "slot": 0}),
    ],
)
def test_an_event_that_cannot_follow_is_refused(tmp_path: Path, kind: str, data: dict[str, Any]):
    locked(tmp_path / "s")
    with writing(tmp_path / "s") as (_, journal):
        journal.append(kind, data)
    with pytest.raises(RecordError):
        state_of(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stages": (8,)}, "expected 0 to 7"),
        ({"stages": ()}, "stages"),
        ({"why": "bored"}, "does not end by 'bored'"),
        ({"success": True}, "a success with stages"),
        ({"success": True, "stages": (7,), "why": "danger"}, "ended by 'danger'"),
    ],
)
def test_an_outcome_that_contradicts_itself_is_refused(change: dict[str, Any], words: str):
    right = {"stages": (3,), "success": False, "why": "time", "by": "me"}
    with pytest.raises(RecordError, match=words):
        Outcome(**(right | change))


def _event(n: int, kind: str, data: dict[str, Any]) -> Event:
    return Event(n, "", "", kind, data)
