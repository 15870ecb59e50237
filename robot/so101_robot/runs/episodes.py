"""Observer that records one episode after the other into a LeRobotDataset, as a person says.

    waiting -> (on the way to a random start) -> recording -> (did it succeed?) -> saving -> waiting ... -> done

Keys are LeRobot's: right or n ends an episode and keeps it, left or r throws it away (it is recorded again), esc or q
keeps it and ends the recording; right, n, space or enter begins the next one. Where a time is given, an episode also
begins or ends by itself. An episode begins only when the follower has caught up with the leader.

What is stored is `dataset.DatasetRecorder`'s, in a thread of its own. The dataset on the disk is whole at every moment
(`whole_dataset`): a program that is killed loses the episode that it was recording or saving, and no other. An episode
that is under way when the run ends, for whatever reason but q, is thrown away, which is said.
"""

import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from so101_robot.errors import ConfigError
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity
from so101_robot.runs import whole_dataset
from so101_robot.runs.dataset import QUEUE_TICKS, DatasetRecorder

END = ("right", "n", "space", "enter")
"""Keys that begin an episode, and end and keep it."""
AGAIN = ("left", "r")
"""Keys that throw it away."""
STOP = ("esc", "q")
"""Keys that keep it and end the recording."""
YES, NO = ("y",), ("n",)


class State(StrEnum):
    """What happens now."""

    WAITING = "waiting"
    SETTING_OUT = "setting out"
    """The follower is led to where the episode begins."""
    RECORDING = "recording"
    ASKING = "asking"
    """Whether the episode succeeded."""
    SAVING = "saving"
    DONE = "done"


@dataclass
class EpisodesConfig:
    """What is recorded, and when."""

    repo_id: str
    root: Path
    task: str
    fps: float
    cameras: Mapping[str, tuple[int, int]]
    """Name -> (height, width)."""
    resume: bool = False
    num_episodes: int = 50
    episode_time_s: float = 60.0
    """After so long an episode ends by itself [s]."""
    reset_time_s: float | None = None
    """After so long the next one begins by itself [s]; None: when a key says so."""
    success: bool | None = None
    """What each episode says of itself; None: nothing, unless `ask`."""
    ask: bool = False
    """A key says after each episode whether it succeeded."""


class Stage(Protocol):
    """Where episodes begin and what happens in them: `leader.stage.Stage`, or anything like it."""

    @property
    def may_set_out(self) -> bool: ...

    @property
    def under_way(self) -> bool: ...

    @property
    def arrived(self) -> bool: ...

    def set_out(self) -> bool: ...

    def give_up(self) -> None: ...

    def begin(self, number: int) -> str: ...

    def end(self) -> None: ...


class _Keep(NamedTuple):
    """Save the episode."""

    success: bool


class _Begin(NamedTuple):
    """A new episode."""


class _Discard(NamedTuple):
    """Throw it away."""


class EpisodeRecorder:
    """Records while the loop runs; `close` waits for what is being saved.

    Args:
        config: what is recorded.
        keys: the keys that were pressed since it was asked last, by name.
        ready: the arm is where an episode may begin.
        tell: what the person should know.
        finished: called once, with the reason: all episodes are recorded, a person has ended the recording, it failed.
        known: gets the figures when the run is over.

    Raises:
        ConfigError: there is a dataset already, or (`resume`) there is none or one that does not fit.
    """

    name = "recorder"

    def __init__(
        self,
        config: EpisodesConfig,
        keys: Callable[[], Sequence[str]],
        ready: Callable[[], bool],
        tell: Callable[[Message], None],
        finished: Callable[[str], None],
        known: dict[str, Any] | None = None,
    ) -> None:
        self._config, self._keys, self._ready, self._tell, self._finished = (
            config,
            keys,
            ready,
            tell,
            finished,
        )
        self._known = {} if known is None else known
        if config.root.exists() and not config.resume:
            raise ConfigError(
                f"there is something in {config.root} already; choose another --record.root or --record.repo_id, or "
                "add episodes with --record.resume=true"
            )
        self.state = State.WAITING
        self.saved = self.discarded = self.dropped = 0
        """Episodes that are in the dataset, that were thrown away; ticks for which the disk was too slow."""
        self.failure: Exception | None = None
        """Why nothing more is recorded."""
        self.stage: Stage | None = None
        """Who leads the arm to where episodes begin; None: they begin where it is."""
        self.begun = 0
        """Episodes that were begun, those that were thrown away excepted."""
        self.disturbed: list[int] = []
        """Those of this run, counted from 0, in which the stage did something on purpose."""
        self._since_s: float | None = None
        self._last_one = False
        self._told_full = False
        self._items: queue.Queue[Tick | _Begin | _Keep | _Discard | None] = queue.Queue()
        self._answers: queue.SimpleQueue[Exception | bool] = queue.SimpleQueue()
        self._success = False
        self._writer: DatasetRecorder | None = self._open(
            config.resume, known=False
        )  # before the arm is touched
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    # in the loop's thread -----

    def on_tick(self, tick: Tick) -> None:
        self._take_answers()
        if self.failure is not None:
            self._finished("the recording failed")
            raise self.failure
        if tick.phase != "run":
            return
        now_s = tick.time_s
        self._since_s = now_s if self._since_s is None else self._since_s
        for key in self._keys():
            self._press(key, now_s)
        for_s = now_s - self._since_s
        config = self._config
        if self.state is State.WAITING and config.reset_time_s is not None and for_s >= config.reset_time_s:
            self._begin(now_s)
        elif self.state is State.SETTING_OUT:
            self._follow_the_way(now_s)
        elif self.state is State.RECORDING and for_s >= config.episode_time_s:
            self._end(now_s)
        if self.state is State.RECORDING:
            self._store(tick)

    def on_message(self, message: Message) -> None:
        """Words have no place in a dataset."""

    def close(self) -> None:
        """The run is over: save what is whole, wait for it, leave no copy behind. Raises what saving raised."""
        if not self._thread.is_alive():
            return
        if self.state is State.ASKING:
            self._items.put(_Keep(False))
        elif self.state is State.RECORDING:
            self._items.put(_Discard())
            self.discarded += 1
            self._not_begun()
            self._tell(
                Message("the episode that was under way is not kept: q would have kept it", Severity.WARNING)
            )
        self._items.put(None)
        self._thread.join()
        self._take_answers()
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(whole_dataset.next_of(self._config.root), ignore_errors=True)
        self._known["record"] = self.figures()
        if self.failure is not None:
            raise self.failure

    def figures(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "dataset": str(self._config.root),
            "episodes": self.saved,
            "thrown_away": self.discarded,
            "dropped_ticks": self.dropped,
            **({"disturbed": self.disturbed} if self.disturbed else {}),
        }

    def _press(self, key: str, now_s: float) -> None:
        key = key.lower()
        if self.state is State.ASKING:
            if key in YES or key in NO:
                self._keep(key in YES, now_s)
            elif key in AGAIN:
                self._discard(now_s)
        elif self.state is State.RECORDING:
            if key in AGAIN:
                self._discard(now_s)
            elif key in END or key in STOP:
                self._last_one = self._last_one or key in STOP
                self._end(now_s)
        elif key in STOP:
            self._last_one = True
            if self.state in (State.WAITING, State.SETTING_OUT):
                self._done("the recording was ended by a key")
        elif self.state is State.SETTING_OUT and key in AGAIN and self.stage is not None:
            self.stage.give_up()
        elif self.state is State.WAITING and key in END:
            if not self._ready():
                self._tell(
                    Message("not yet: the follower has not caught up with the leader", Severity.WARNING)
                )
            self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        if not self._ready():
            return
        if self.stage is not None and not self.stage.may_set_out:
            self._enter(State.WAITING, now_s)
        elif self.stage is not None and self.stage.set_out():
            self._enter(State.SETTING_OUT, now_s)
            self._tell(
                Message("to a random start; then the episode begins, and the follower comes back to you")
            )
        else:
            self._record(now_s)

    def _follow_the_way(self, now_s: float) -> None:
        assert self.stage is not None  # it was set out by it
        if self.stage.arrived:
            self._record(now_s)
        elif not self.stage.under_way:
            self._enter(State.WAITING, now_s)
            self._tell(Message("the follower did not get to its start; begin again", Severity.WARNING))

    def _record(self, now_s: float) -> None:
        self._enter(State.RECORDING, now_s)
        self._items.put(_Begin())
        about = self.stage.begin(self.begun) if self.stage is not None else ""
        if about:
            self.disturbed.append(self.begun)
        self.begun += 1
        words = f"episode {self.saved + 1} of {self._config.num_episodes} is being recorded"
        self._tell(Message(f"{words}; {about}" if about else words))

    def _end(self, now_s: float) -> None:
        config = self._config
        if self.stage is not None:
            self.stage.end()
        if config.ask:
            self._enter(State.ASKING, now_s)
            self._tell(Message("did the episode succeed? y or n (r: throw it away)"))
        else:
            self._keep(bool(config.success), now_s)

    def _keep(self, success: bool, now_s: float) -> None:
        self._enter(State.SAVING, now_s)
        self._items.put(_Keep(success))

    def _discard(self, now_s: float) -> None:
        self.discarded += 1
        if self.stage is not None:
            self.stage.end()
        self._not_begun()
        self._items.put(_Discard())
        self._enter(State.WAITING, now_s)
        self._tell(Message("thrown away; it is recorded again"))
        if self._last_one:
            self._done("the recording was ended by a key")

    def _not_begun(self) -> None:
        self.begun -= 1
        if self.begun in self.disturbed:
            self.disturbed.remove(self.begun)

    def _enter(self, state: State, now_s: float) -> None:
        self.state, self._since_s = state, now_s

    def _done(self, why: str) -> None:
        self.state = State.DONE
        self._finished(why)

    def _store(self, tick: Tick) -> None:
        if self._items.qsize() < QUEUE_TICKS:
            self._items.put(tick)
            return
        self.dropped += 1
        if not self._told_full:
            self._told_full = True
            self._tell(Message("the disk is too slow for the recording: ticks are lost", Severity.WARNING))

    def _take_answers(self) -> None:
        while not self._answers.empty():
            answer = self._answers.get()
            if isinstance(answer, Exception):
                self.failure = answer
                continue
            self.saved += answer
            words = (
                f"episode {self.saved} of {self._config.num_episodes} is saved"
                if answer
                else "nothing was recorded"
            )
            self._tell(Message(words))
            if self.state is State.SAVING:
                self.state, self._since_s = State.WAITING, None
                if self._last_one or self.saved >= self._config.num_episodes:
                    self._done(
                        "all episodes are recorded"
                        if not self._last_one
                        else "the recording was ended by a key"
                    )

    # in a thread of its own -----

    def _open(self, resume: bool, known: bool) -> DatasetRecorder:
        config = self._config
        with_outcome = config.ask or config.success is not None
        try:
            copy = whole_dataset.copy_of(config.root)
        except OSError as problem:
            raise ConfigError(f"cannot record into {config.root}: {problem.strerror}") from problem
        if resume and not copy.exists():
            raise ConfigError(f"there is no dataset to resume in {config.root}")
        return DatasetRecorder(
            config.repo_id,
            copy,
            task=config.task,
            fps=config.fps,
            cameras=config.cameras,
            resume=resume,
            outcome=(lambda: self._success) if with_outcome else None,
            known=known,
        )

    def _work(self) -> None:
        failed = False
        while (item := self._items.get()) is not None:
            if failed:
                continue  # keep emptying the queue
            try:
                self._do(item)
            except Exception as problem:  # raised again in the loop's thread, where the observer is dropped
                failed = True
                self._answers.put(problem)

    def _do(self, item: Tick | _Begin | _Keep | _Discard) -> None:
        if isinstance(item, _Begin):
            if self._writer is None:
                self._writer = self._open(self._config.root.exists(), known=True)
            return
        writer = self._writer
        assert writer is not None  # since the episode began
        if isinstance(item, Tick):
            writer.on_tick(item)
        elif isinstance(item, _Discard):
            self._writer = None
            writer.give_up()
        else:
            self._success, self._writer = item.success, None
            writer.close()
            if writer.frames:
                whole_dataset.publish(self._config.root)
            self._answers.put(writer.frames > 0)
