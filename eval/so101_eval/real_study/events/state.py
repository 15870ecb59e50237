"""What a study amounts to: a fold over its events, and nothing else. No clock, no file, no key.

The queue has a place for every block: practice first, then the planned blocks, then those that a void has queued again.
A trial is known by its code; who drove it is not in here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from so101_eval.errors import RecordError
from so101_eval.real_study.events.journal import Event
from so101_eval.real_study.events.outcome import Outcome
from so101_policy.files.typed_data import typed


class Kind(StrEnum):
    """Of an event."""

    LOCKED = "locked"
    SESSION_OPENED = "session opened"
    SESSION_CLOSED = "session closed"
    KEY_OPENED = "key opened"
    RIG_CHECKED = "rig checked"
    START_OVERRIDDEN = "start overridden"
    TRIAL_STARTED = "trial started"
    TRIAL_ENDED = "trial ended"
    RIG_ANSWERED = "rig answered"
    TRIAL_VOIDED = "trial voided"
    OUTCOME = "outcome"
    MEASURED = "measured"
    BLOCK_ENDED = "block ended"
    SCORED = "scored"
    UNBLINDED = "unblinded"


@dataclass(frozen=True)
class Trial:
    """One run of one policy."""

    code: str
    place: int
    """In the queue."""
    block: int
    """Which start; negative for practice."""
    slot: int
    """In the order of its block."""
    started: dict[str, Any]
    ended: dict[str, Any] | None = None
    rig: dict[str, Any] | None = None
    """What was answered to "did the rig fail?", before the outcome."""
    void: str | None = None
    """Why it does not count."""
    outcome: Outcome | None = None
    """The newest; earlier ones stay in the file."""
    first_outcome: Outcome | None = None
    measured: dict[str, Any] | None = None
    scores: tuple[dict[str, Any], ...] = ()
    """Of second raters."""
    overridden: bool = False
    """The operator began although a box was measured to lie elsewhere."""

    @property
    def in_flight(self) -> bool:
        """Its run began, and nobody wrote that it ended."""
        return self.ended is None and self.void is None

    @property
    def open(self) -> bool:
        """It waits for its outcome."""
        return self.void is None and self.outcome is None


@dataclass(frozen=True)
class Place:
    """One of the queue: a block, played once by every policy."""

    index: int
    block: int
    trials: tuple[str, ...] = ()
    """Codes, in the order in which they were played."""
    void: bool = False
    ended: dict[str, Any] | None = None
    """What was said at the end of the block."""

    @property
    def practice(self) -> bool:
        return self.block < 0


@dataclass(frozen=True)
class State:
    """Of a study."""

    policies: int
    queue: tuple[Place, ...]
    trials: Mapping[str, Trial] = field(default_factory=dict[str, Trial])
    sessions: int = 0
    operator: str | None = None
    openings: int = 0
    """How often the key was opened."""
    stopped: str | None = None
    """Why there are no more blocks: decided, planned, danger. It does not say for whom."""
    unblinded: bool = False
    overridden: tuple[int, int] | None = None
    """Place and slot of a start that the operator began against the camera's word; it is that of the trial which comes
    next."""
    rig_checked_at: int | None = None
    """Places that were over at the last check of the rig in this session."""

    @property
    def now(self) -> Place | None:
        """The place that is played, or is next; None: there is no more to do."""
        if self.stopped is not None:
            return None
        return next((place for place in self.queue if not place.void and place.ended is None), None)

    @property
    def last(self) -> Trial | None:
        """The trial that was started last."""
        return [*self.trials.values()][-1] if self.trials else None

    @property
    def complete(self) -> tuple[Place, ...]:
        """Blocks that count, in the order in which they were played."""
        return tuple(place for place in self.queue if place.ended is not None and not place.practice)

    @property
    def over(self) -> int:
        """Places that are done with."""
        return sum(place.void or place.ended is not None for place in self.queue)


def begin(policies: int, blocks: int, practice: int) -> State:
    """Before the first event after the lock."""
    order = [*range(-1, -practice - 1, -1), *range(blocks)]
    return State(policies, tuple(Place(index, block) for index, block in enumerate(order)))


def fold(events: Iterable[Event]) -> State:
    """The state after these events. Raises `RecordError` for an event that cannot follow."""
    state: State | None = None
    for event in events:
        try:
            if state is None:
                if event.kind != Kind.LOCKED:
                    raise RecordError(f"the first event is {event.kind!r}, expected {Kind.LOCKED.value!r}")
                state = begin(event.data["policies"], event.data["blocks"], event.data["practice"])
            else:
                state = after(state, event)
        except (KeyError, IndexError, TypeError, ValueError) as problem:
            if isinstance(problem, RecordError):
                raise
            raise RecordError(f"event {event.n} ({event.kind}) is damaged: {problem!r}") from problem
    if state is None:
        raise RecordError("there are no events: the study is not locked")
    return state


def after(state: State, event: Event) -> State:
    """The state after one more event. Raises `RecordError`, KeyError, ValueError."""
    data = event.data
    match event.kind:
        case Kind.SESSION_OPENED:
            return replace(
                state,
                sessions=state.sessions + 1,
                operator=data["operator"],
                rig_checked_at=None,
                overridden=None,
            )
        case Kind.KEY_OPENED:
            return replace(state, openings=state.openings + 1)
        case Kind.RIG_CHECKED:
            return replace(state, rig_checked_at=state.over if data["ok"] else None)
        case Kind.START_OVERRIDDEN:
            return replace(state, overridden=(data["place"], data["slot"]))
        case Kind.TRIAL_STARTED:
            return _started(state, data)
        case Kind.TRIAL_ENDED:
            return _with(state, replace(_trial(state, data), ended=data))
        case Kind.RIG_ANSWERED:
            return _with(state, replace(_trial(state, data), rig=data))
        case Kind.TRIAL_VOIDED:
            return _voided(state, data)
        case Kind.OUTCOME:
            trial, outcome = _trial(state, data), typed(Outcome, data["outcome"])
            return _with(state, replace(trial, outcome=outcome, first_outcome=trial.first_outcome or outcome))
        case Kind.MEASURED:
            return _with(state, replace(_trial(state, data), measured=data))
        case Kind.SCORED:
            trial = _trial(state, data)
            return _with(state, replace(trial, scores=(*trial.scores, data)))
        case Kind.BLOCK_ENDED:
            queue = list(state.queue)
            queue[data["place"]] = replace(queue[data["place"]], ended=data)
            return replace(state, queue=tuple(queue), stopped=data["stop"] or state.stopped)
        case Kind.UNBLINDED:
            return replace(state, unblinded=True)
        case Kind.SESSION_CLOSED:
            return state
        case _:
            raise RecordError(f"event {event.n}: there is no kind {event.kind!r} in this version")


def _started(state: State, data: dict[str, Any]) -> State:
    place = state.queue[data["place"]]
    slot = len(place.trials)
    overridden = state.overridden == (place.index, slot)
    trial = Trial(data["trial"], place.index, place.block, slot, data, overridden=overridden)
    if trial.code in state.trials or place.void or place.ended is not None:
        raise RecordError(f"trial {trial.code} cannot begin at place {place.index}")
    queue = list(state.queue)
    queue[place.index] = replace(place, trials=(*place.trials, trial.code))
    return _with(replace(state, queue=tuple(queue), overridden=None), trial)


def _voided(state: State, data: dict[str, Any]) -> State:
    """The whole block is queued again; a practice block is not. An outcome that was given is kept."""
    outcome = None if data["outcome"] is None else typed(Outcome, data["outcome"])
    trial = replace(_trial(state, data), void=data["reason"], outcome=outcome, first_outcome=outcome)
    place = state.queue[trial.place]
    queue = [*state.queue]
    queue[place.index] = replace(place, void=True)
    if not place.practice and not place.void:
        queue.append(Place(len(queue), place.block))
    return _with(replace(state, queue=tuple(queue)), trial)


def _trial(state: State, data: Mapping[str, Any]) -> Trial:
    code = data["trial"]
    if code not in state.trials:
        raise RecordError(f"there is no trial {code!r}")
    return state.trials[code]


def _with(state: State, trial: Trial) -> State:
    return replace(state, trials={**state.trials, trial.code: trial})
