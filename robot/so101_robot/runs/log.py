"""The run folder: what was run (`run.json`), every tick (`ticks.jsonl`), and what came of it
(`summary.json`).

`run.json` is complete before the arm is touched. Each tick is one line of strict JSON (no NaN: null),
written with a single `os.write` to a file opened for appending, so that a killed process leaves whole
lines; `read_ticks` also bears a last line cut short. While the disk is full, lines wait in memory and are tried again
with every tick. The summary is computed from the lines, so `summarise`
works just as well on what a killed run has left.

Joint values are arrays of six in the order of `joints.JOINTS` and in LeRobot units; times are seconds,
`*_ms` milliseconds.
"""

import contextlib
import json
import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from so101_policy.errors import shown
from so101_policy.files.plain_data import Plain, parse_json
from so101_policy.files.whole_files import write_json
from so101_robot.chunks.inference import Inference
from so101_robot.errors import ConfigError
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.runs.summary import summarise

if TYPE_CHECKING:
    from so101_robot.guard.guard import Verdict
    from so101_robot.state import Health

_log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Lines that may wait for room on the disk: eleven minutes at 30 Hz, some 20 MB. Beyond, the log is given up."""

AT_ONCE = 10
"""Lines that are written on one tick, so that what has waited for long does not cost the loop its rate."""

MOST_AT_ONCE = 1000
"""Runs that begin in the same second."""

CORRECTION = "camera_correction"
"""The folder for what was done about cameras that had moved, and its entry in the summary."""
RUN, TICKS, SUMMARY, PREFLIGHT = "run.json", "ticks.jsonl", "summary.json", "preflight.json"


def new_folder(parent: Path) -> Path:
    """Make a folder with the time as its name; of two runs that begin in the same second, the second gets a number.

    Raises:
        ConfigError: it cannot be made.
    """
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for ending in ("", *(f"-{number}" for number in range(2, MOST_AT_ONCE))):
        folder = parent / f"{name}{ending}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise ConfigError(f"cannot write the run folder {folder}: {problem.strerror}") from problem
        return folder
    raise ConfigError(f"{parent} has {MOST_AT_ONCE} runs of this second; name a folder with --output_dir")


class RunLog:
    """Observer that writes the run folder. Making one writes `run.json`; `close` writes `summary.json`.

    Raises:
        ConfigError: the folder cannot be made, or already holds a run.
    """

    name = "run log"

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.known: dict[str, Any] = {}
        """Further entries of the summary, which the ticks do not tell."""
        self._begin_s: float | None = None
        self._open = False
        self._messages: list[str] = []
        self._waiting: deque[bytes] = deque()
        self._troubled = False
        self.lost = 0
        """Lines that could not be written at the end."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # first of all: whoever makes it has the folder, and nothing of another run is touched before
            self._ticks = os.open(folder / TICKS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            self._open = True
            write_json(folder / RUN, about)
        except FileExistsError as problem:
            if not (folder / TICKS).exists():  # a file in the place of a folder
                raise ConfigError(f"cannot write the run folder {folder}: {problem.strerror}") from problem
            raise ConfigError(
                f"{folder} already holds a run; choose another folder with --output_dir"
            ) from problem
        except OSError as problem:
            if self._open:
                self.discard_if_empty()
            raise ConfigError(f"cannot write the run folder {folder}: {problem.strerror}") from problem

    def on_tick(self, tick: Tick) -> None:
        if self._begin_s is None:
            self._begin_s = tick.time_s
        record = tick_record(tick, self._begin_s)
        if self._messages:
            record["messages"], self._messages = self._messages, []
        self._write(record)

    def on_message(self, message: Message) -> None:
        self._messages.append(message.text)  # goes into the next tick's line

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._messages:
            self._write({"messages": self._messages})
        problem = self._flush(len(self._waiting))
        os.close(self._ticks)
        if problem:
            self.lost = len(self._waiting)
            raise OSError(
                f"the last {len(self._waiting)} lines of {self.folder / TICKS} could not be written: {problem}"
            )
        write_json(self.folder / SUMMARY, self.summary())

    def summary(self) -> dict[str, Any]:
        """What the ticks so far amount to."""
        return summarise(read_ticks(self.folder / TICKS)) | self.known

    def discard_if_empty(self) -> None:
        """Take back the folder of a run that never had a tick; to be called when nothing writes any more."""
        if self._begin_s is not None:
            return
        if self._open:
            self._open = False
            os.close(self._ticks)
        for name in (RUN, TICKS, SUMMARY, PREFLIGHT):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / CORRECTION, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else is in it: not ours
            self.folder.rmdir()

    def _write(self, record: Mapping[str, Any]) -> None:
        self._waiting.append(json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        problem = self._flush(AT_ONCE)
        if problem and len(self._waiting) > MOST_WAITING:
            raise OSError(f"{self.folder / TICKS}: {problem}, and more is waiting than can be kept")

    def _flush(self, most: int) -> str:
        """Write at most so many of the lines that wait. Returns why no more could be written, or nothing."""
        for _ in range(min(most, len(self._waiting))):
            line, problem = self._waiting[0], ""
            try:
                line = line[os.write(self._ticks, line) :]
            except OSError as error:
                problem = error.strerror or str(error)
            if line:
                self._waiting[0] = line
                problem = problem or "there is not room for it all"
                if not self._troubled:
                    _log.warning(
                        "cannot write %s (%s): kept in memory, tried again", self.folder / TICKS, problem
                    )
                self._troubled = True
                return problem
            self._waiting.popleft()
        if self._troubled and not self._waiting:
            self._troubled = False
            _log.warning("%s is written again, nothing is lost", self.folder / TICKS)
        return ""


def tick_record(tick: Tick, begin_s: float) -> dict[str, Any]:
    """A tick as one JSON object. What does not apply to it (an inference, health, a fault) has no key."""
    record: dict[str, Any] = {
        "tick": tick.index,
        "phase": tick.phase,
        "mode": str(tick.mode),
        "t": _number(tick.time_s - begin_s, 6),
        "unix_s": _number(tick.unix_s, 4),
        "late_ms": _number(tick.late_s * 1e3, 3),
        "stages_ms": {stage: _number(value, 3) for stage, value in tick.stages_ms.items()},
        "state": _numbers(tick.state.position, 3),
        "state_age_ms": _number((tick.time_s - tick.state.time_s) * 1e3, 3),
        "asked": _numbers(tick.asked, 3),
        "sent": _numbers(tick.sent, 3),
        "guard": _verdict_record(tick.verdict),
        "frames": {
            name: {"age_ms": _number((tick.time_s - frame.captured_s) * 1e3, 3), "sequence": frame.sequence}
            for name, frame in tick.frames.items()
        },
    }
    if tick.planned is not None:
        chunk = {
            "source": tick.planned.source,
            "observed_tick": tick.planned.chunk_tick,
            "index": tick.planned.index_in_chunk,
            "age_ms": _number(tick.planned.age_s * 1e3, 1),
        }
        record["chunk"] = chunk
        if tick.planned.driver is not None:
            record["driver"] = tick.planned.driver
        if tick.planned.wanted is not None:
            record["wanted"] = _numbers(tick.planned.wanted, 3)
        if tick.planned.inference is not None:
            record["inference"] = _inference_record(tick.planned.inference)
    if not tick.state.answered.all():
        record["answered"] = tick.state.answered.tolist()
    if tick.state.errors.any():
        record["errors"] = tick.state.errors.tolist()
    if tick.state.health is not None:
        record["health"] = _health_record(tick.state.health)
    if tick.fault is not None:
        record["fault"] = tick.fault
    if tick.faults:
        record["faults"] = tick.faults
    if tick.blind is not None:
        record["blind"] = rounded(tick.blind._asdict(), 4)
    return record


def _inference_record(inference: Inference) -> dict[str, Any]:
    spread = {} if inference.spread is None else {"spread": _number(inference.spread, 3)}
    return spread | {
        "observed_tick": inference.observed_tick,
        "latency_ms": _number(inference.latency_s * 1e3, 3),
        "compute_ms": _number(inference.compute_s * 1e3, 3),
        "shares": _shares_record(inference),
    }


def _shares_record(inference: Inference) -> dict[str, Any] | None:
    """None also where a policy answered NaN: then nothing was looked at."""
    shares = inference.shares
    if shares is None:
        return None
    values = shares.as_dict()
    known = all(math.isfinite(value) for value in values.values() if isinstance(value, float))
    return rounded(values, 6) if known else None


def _verdict_record(verdict: "Verdict") -> dict[str, Any] | str:
    """ "ok" nearly always, so that a line stays short."""
    if verdict.stop is None and not verdict.interventions:
        return "ok"
    record: dict[str, Any] = {} if verdict.stop is None else {"stop": verdict.stop}
    if verdict.interventions:
        record["interventions"] = [
            {"rule": i.rule, "joint": i.joint, "asked": _number(i.asked, 3), "allowed": _number(i.allowed, 3)}
            for i in verdict.interventions
        ]
    return record


def _health_record(health: "Health") -> dict[str, list[float | None] | None]:
    return {name: _numbers(values, 2) for name, values in health._asdict().items()}


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _numbers(values: NDArray[Any] | None, digits: int) -> list[float | None] | None:
    if values is None:
        return None
    return [round(value, digits) if math.isfinite(value) else None for value in values.tolist()]


def rounded(value: Plain, digits: int) -> Any:
    """`value`, a nest of dicts, lists and numbers, with numbers that strict JSON can hold."""
    if isinstance(value, float):
        return _number(value, digits)
    if isinstance(value, Mapping):
        return {str(key): rounded(item, digits) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(item, digits) for item in value]
    return value


def read_ticks(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a `ticks.jsonl`, in order; a last line that was cut short is left out.

    Raises:
        ConfigError: the file is not there, or a line before the last is not JSON.
    """
    if not path.is_file():
        raise ConfigError(f"there is no {path}")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                tick = parse_json(line.decode("utf-8"))
                if not isinstance(tick, dict):
                    raise ValueError(f"it holds {shown(tick)}")
                yield cast(dict[str, Any], tick)
            except ValueError as problem:
                raise ConfigError(f"{path}, line {number} is damaged: {problem}") from problem
