"""The run folder: strict JSON, whole lines after a kill, summaries that can be checked by hand."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from so101_policy.files.whole_files import write_json
from so101_robot.chunks.inference import Inference
from so101_robot.chunks.scheduler import Planned
from so101_robot.errors import ConfigError
from so101_robot.faults.fault import Mode
from so101_robot.guard.guard import Intervention, Verdict
from so101_robot.loop.tick import AttentionWarning, Tick
from so101_robot.message import Message
from so101_robot.runs import log as runlog
from so101_robot.runs.log import RUN, TICKS, RunLog, read_ticks, rounded, tick_record
from so101_robot.runs.summary import in_words, mean_shares, percentiles, summarise
from so101_robot.state import Frame

POSE = np.array([1.23456, -2.0, 3.0, 4.0, 5.0, 50.0])


class State(NamedTuple):
    time_s: float
    position: NDArray[np.float64]
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    health: Any


class Health(NamedTuple):
    load_percent: NDArray[np.float64]
    voltage_v: NDArray[np.float64]


class Shares(NamedTuple):
    latent: float
    state: float
    cameras: dict[str, float]
    uniform: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


SHARES = Shares(0.1, 0.6, {"front": 0.3}, {"latent": 0.05, "state": 0.05, "front": 0.9})


def make_tick(index: int = 0, **changes: Any) -> Tick:
    time_s = 50.0 + index / 30
    inference = Inference(np.zeros((5, 6)), SHARES, 0, 50.0, 0.1, 0.02) if index == 0 else None  # type: ignore[arg-type]
    parts: dict[str, Any] = {
        "index": index,
        "phase": "run",
        "time_s": time_s,
        "unix_s": 1.7e9 + index / 30,
        "late_s": 0.0002,
        "state": State(time_s, POSE, np.ones(6, bool), np.zeros(6, np.uint8), None),
        "frames": {"front": Frame(np.zeros((2, 2, 3), np.uint8), time_s - 0.02, index, "ray")},
        "planned": Planned(POSE, inference, "chunk", index, 0, 0.1),
        "asked": POSE,
        "verdict": Verdict(POSE, (), None),
        "sent": POSE,
        "goal": POSE,
        "stages_ms": {"read": 1.0 + index, "guard": 0.2},
        "fault": None,
    }
    return Tick(**{**parts, **changes})


def strictly(line: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_a_tick_is_one_line_with_everything_that_happened(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", {"a": 1})
    log.on_message(Message("hello"))
    log.on_tick(make_tick(0))
    log.close()
    record = strictly((tmp_path / "run" / "ticks.jsonl").read_text())
    assert record["tick"] == 0
    assert record["t"] == 0.0
    assert record["state"][0] == 1.235
    assert record["guard"] == "ok"
    assert record["frames"] == {"front": {"age_ms": 20.0, "sequence": 0}}
    assert record["chunk"] == {"source": "chunk", "observed_tick": 0, "index": 0, "age_ms": 100.0}
    assert record["inference"]["latency_ms"] == 100.0
    assert record["inference"]["shares"]["cameras"] == {"front": 0.3}
    assert record["messages"] == ["hello"]


def test_what_is_not_a_number_is_null_and_what_went_wrong_is_written_down() -> None:
    nan = np.full(6, np.nan)
    answered = np.array([True, True, False, True, True, True])
    record = tick_record(
        make_tick(
            3,
            state=State(49.0, POSE, answered, np.array([0, 0, 0x20, 0, 0, 0], np.uint8), Health(nan, POSE)),
            planned=Planned(None, None, "hold", -1, -1, float("nan")),
            asked=nan,
            sent=None,
            verdict=Verdict(
                None, (Intervention("not finite", "elbow_flex", float("nan"), 1.0),), "not finite"
            ),
            fault="servo 3 did not answer",
        ),
        50.0,
    )
    again = strictly(json.dumps(record, allow_nan=False))
    assert again["asked"] == [None] * 6
    assert again["health"]["load_percent"] == [None] * 6
    assert again["chunk"]["age_ms"] is None
    assert again["guard"]["stop"] == "not finite"
    assert again["guard"]["interventions"][0]["asked"] is None
    assert again["answered"][2] is False
    assert again["errors"][2] == 0x20
    assert again["fault"]


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_anything_rounded_is_strict_json(value: Any) -> None:
    json.dumps(rounded(value, 3), allow_nan=False)


def test_a_last_line_cut_short_is_left_out_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ticks.jsonl"
    path.write_bytes(b'{"tick":0}\n{"tick":1}\n{"tick":2,"st')
    assert [record["tick"] for record in read_ticks(path)] == [0, 1]
    path.write_bytes(b'{"tick":0}\n{"ti\n{"tick":2}\n')
    with pytest.raises(ConfigError, match="line 2"):
        list(read_ticks(path))
    with pytest.raises(ConfigError, match="there is no"):
        list(read_ticks(tmp_path / "nothing"))


def test_lines_are_whole_after_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, importlib.util as u\n"
        f"s = u.spec_from_file_location('t', {str(Path(__file__))!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m)\n"
        f"log = m.RunLog(pathlib.Path({str(tmp_path / 'run')!r}), {{}})\n"
        "i = 0\n"
        "while True:\n"
        "    log.on_tick(m.make_tick(i)); i += 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    path = tmp_path / "run" / "ticks.jsonl"
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size > 50_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ticks = [record["tick"] for record in read_ticks(path)]
    assert len(ticks) > 20
    assert ticks == list(range(len(ticks)))
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {}


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    RunLog(tmp_path, {}).close()
    with pytest.raises(ConfigError, match="already holds a run"):
        RunLog(tmp_path, {})


def test_a_folder_that_cannot_be_made_is_one_readable_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write the run folder"):
        RunLog(tmp_path / "file" / "run", {})


def test_a_run_that_never_began_leaves_nothing_behind(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", {})
    log.discard_if_empty()
    assert not (tmp_path / "run").exists()


def test_a_json_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@contextmanager
def full_disk(file: Path, room: int) -> Generator[None]:
    """Files of this process may grow by `room` bytes beyond what `file` has, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_wait_while_the_disk_is_full_and_none_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = RunLog(tmp_path / "run", {})
    log.on_tick(make_tick(0))
    with full_disk(log.folder / TICKS, room=100):  # in the middle of a line
        for index in range(1, 50):
            log.on_tick(make_tick(index))
    for index in range(50, 60):
        log.on_tick(make_tick(index))
    log.close()
    assert [record["tick"] for record in read_ticks(log.folder / TICKS)] == list(range(60))
    assert [
        ("kept in memory" in text, "nothing is lost" in text) for text in caplog.messages
    ] == [(True, False), (False, True)]  # fmt: skip


def test_a_disk_that_stays_full_costs_the_last_lines_and_says_how_many(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", {})
    log.on_tick(make_tick(0))
    with full_disk(log.folder / TICKS, room=0):
        for index in range(1, 8):
            log.on_tick(make_tick(index))
        with pytest.raises(OSError, match=r"the last 7 lines of .* could not be written: File too large"):
            log.close()
    assert [record["tick"] for record in read_ticks(log.folder / TICKS)] == [0]


def test_a_log_that_would_fill_the_memory_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runlog, "MOST_WAITING", 5)
    log = RunLog(tmp_path / "run", {})

    def fill() -> None:
        for index in range(50):
            log.on_tick(make_tick(index))

    with (
        full_disk(log.folder / TICKS, room=0),
        pytest.raises(OSError, match="more is waiting than can be kept"),
    ):
        fill()


def test_the_way_to_the_first_pose_is_neither_missed_nor_the_policys_time(tmp_path: Path) -> None:
    phases = ["run"] + ["approach"] * 60 + ["run"] * 31 + ["home"] * 10
    log = RunLog(tmp_path, {})
    for index, phase in enumerate(phases):
        planned = None if phase in ("approach", "home") else make_tick(0).planned
        log.on_tick(make_tick(index, phase=phase, planned=planned))
    log.close()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["ticks"], summary["missed_ticks"]) == (32, 0)
    assert summary["duration_s"] == pytest.approx(1.0, abs=0.01)
    assert summary["rate_hz"] == pytest.approx(30.0, abs=0.1)


def test_a_leader_that_was_silent_for_a_moment_is_no_second_takeover(tmp_path: Path) -> None:
    drivers = ("policy", "hold", "handover", "human", "hold", "human", "hold", "policy", "hold", "human")
    log = RunLog(tmp_path, {})
    for index, driver in enumerate(drivers):
        log.on_tick(make_tick(index, planned=make_tick(index).planned._replace(driver=driver)))
    log.close()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["takeovers"] == 2
    turns = summary["timeline"]
    assert [driver for driver, _, _ in turns] == list(drivers)
    assert turns[3][1:] == [0.1, 0.13]
    assert turns[-1][2] == 0.3, "the last one ends with its tick"
    assert "handover to 0.1 s, human to 0.1 s, hold to 0.2 s" in in_words(summary)


def test_the_summary_counts_what_the_lines_say(tmp_path: Path) -> None:
    hold = Planned(None, None, "hold", -1, -1, float("nan"))
    stop = Verdict(None, (), "frame too old")
    speed = Verdict(
        POSE,
        (Intervention("speed", "gripper", 3.0, 2.0), Intervention("speed", "wrist_roll", 3.0, 2.0)),
        None,
    )
    ticks = [
        make_tick(0, planned=hold),  # before the first chunk: not starved
        make_tick(1, planned=make_tick(0).planned),
        make_tick(2, verdict=speed),
        make_tick(3, planned=hold, fault="lost"),
        make_tick(6, verdict=stop, sent=None),
        make_tick(7, phase="home", planned=None),
    ]
    log = RunLog(tmp_path, {})
    for tick in ticks:
        log.on_tick(tick)
    log.close()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["ticks"] == 5
    assert summary["missed_ticks"] == 2
    assert summary["starved_ticks"] == 1
    assert summary["stopped_ticks"] == 1
    assert summary["stops"] == {"frame too old": 1}
    assert summary["ticks_with_interventions"] == {"speed": 1}
    assert summary["ticks_with_bus_faults"] == 1
    assert summary["home_ticks"] == 1
    assert summary["rate_hz"] == pytest.approx(4 / 0.2, abs=0.01)
    assert summary["stages_ms"]["read"]["max"] == 7.0
    assert summary["latency_ms"]["p50"] == 100.0
    assert summary["shares_mean"]["cameras"] == {"front": 0.3}
    words = in_words(summary)
    assert "1 starved" in words
    assert "state 60.0% (uniform 5.0%)" in words


def answer(state: float) -> Planned:
    shares = Shares(0.1, state, {"front": 0.9 - state}, SHARES.uniform)
    return Planned(POSE, Inference(np.zeros((5, 6)), shares, 0, 50.0, 0.1, 0.02), "chunk", 0, 0, 0.1)  # type: ignore[arg-type]


def test_the_summary_has_time_in_modes_faults_alarms_and_where_it_looked_when(tmp_path: Path) -> None:
    frozen, silent = {"camera frozen: front": "the same"}, {"servo silent: gripper": "nothing"}
    both = frozen | silent
    blind = AttentionWarning(0.8, 0.05, 1.0)
    changes = (
        Intervention("speed", "gripper", 3.0, 2.0),
        Intervention("speed", "wrist_roll", 3.0, 2.0),
        Intervention("table", None, 3.0, 2.0),
    )
    ticks = [
        make_tick(0, phase="approach", planned=answer(0.9)),
        make_tick(1, phase="approach", planned=None),
        make_tick(2, planned=answer(0.1)),
        make_tick(3, planned=answer(0.2), mode=Mode.DEGRADED, faults=frozen),
        make_tick(4, mode=Mode.HOLDING, faults=both, blind=blind),
        make_tick(5, mode=Mode.HOLDING, faults=frozen, blind=blind),
        make_tick(6, verdict=Verdict(POSE, changes, None)),
        make_tick(7, faults=frozen, mode=Mode.DEGRADED, planned=answer(0.5)),
        make_tick(8, planned=answer(0.7), blind=blind),
        make_tick(9, phase="home", planned=None, mode=Mode.PARKING),
        make_tick(12, phase="home", planned=None, mode=Mode.PARKING),
    ]
    log = RunLog(tmp_path, {})
    for tick in ticks:
        log.on_tick(tick)
    log.on_message(Message("released"))
    log.close()
    summary = json.loads((tmp_path / "summary.json").read_text())
    tick_s = 1 / 30
    assert summary["modes_s"] == {
        "running": pytest.approx(5 * tick_s, abs=1e-3),
        "degraded": pytest.approx(2 * tick_s, abs=1e-3),
        "holding": pytest.approx(2 * tick_s, abs=1e-3),
        "parking": pytest.approx(3 * tick_s, abs=1e-3),
    }
    assert summary["faults"] == {
        "camera frozen: front": {"times": 2, "lasted_s": pytest.approx(4 * tick_s, abs=1e-3)},
        "servo silent: gripper": {"times": 1, "lasted_s": pytest.approx(tick_s, abs=1e-3)},
    }
    assert summary["blind"] == {"alarms": 2, "lasted_s": pytest.approx(3 * tick_s, abs=1e-3)}
    assert {phase: at["ticks"] for phase, at in summary["phases"].items()} == {
        "approach": 2,
        "run": 7,
        "home": 2,
    }
    assert summary["phases"]["home"]["duration_s"] == pytest.approx(3 * tick_s, abs=1e-3)
    assert summary["interventions"] == {"speed": {"gripper": 1, "wrist_roll": 1}, "table": {"arm": 1}}
    looks = {part: (at["inferences"], at["mean"]["state"]) for part, at in summary["shares_by_phase"].items()}
    assert looks == {"approach": (1, 0.9), "first third": (2, 0.15), "last third": (2, 0.6)}
    words = in_words(summary)
    for said in (
        "running 0.2 s, degraded 0.1 s, holding 0.1 s",
        "fault camera frozen: front: twice, 0.1 s in all",
        "guard changed speed: 1 tick (gripper 1, wrist_roll 1)",
        "guard changed table: 1 tick\n",
        "last third: latent 10.0%, state 60.0%, front 30.0%",
        "attention alarm: twice, 0.1 s in all",
        "stages in ms, median/p99: read 6.0/",
    ):
        assert said in words


def test_the_summary_of_nothing_is_nothing() -> None:
    summary = summarise([])
    assert summary["ticks"] == 0
    assert summary["rate_hz"] is None
    assert in_words(summary) == "no tick was run"


def test_percentiles_are_those_of_the_values() -> None:
    assert percentiles(range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert percentiles([]) is None


def test_mean_shares_average_every_number_and_leave_heads_out() -> None:
    mean = mean_shares(
        [
            {"state": 0.2, "cameras": {"a": 0.1}, "heads": [1]},
            {"state": 0.4, "cameras": {"a": 0.3}, "heads": [2]},
        ]
    )
    assert mean == {"state": 0.3, "cameras": {"a": 0.2}}


def test_two_runs_that_begin_in_the_same_second_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Noon":
            return cls(2026, 11, 30, 12)

    monkeypatch.setattr(runlog, "datetime", Noon)
    folders = [runlog.new_folder(tmp_path / "runs") for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-11-30_12-00-00{end}" for end in ("", "-2", "-3")]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_holds_a_run_keeps_what_is_written_about_it(tmp_path: Path) -> None:
    """Also while that run is still going on, in another process."""
    first = RunLog(tmp_path, {"run": 1})
    with pytest.raises(ConfigError, match="already holds a run"):
        RunLog(tmp_path, {"run": 2})
    assert json.loads((tmp_path / RUN).read_text()) == {"run": 1}
    first.close()


def test_a_run_that_cannot_write_what_it_is_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runlog, "write_json", full)
    with pytest.raises(ConfigError, match="No space left"):
        RunLog(tmp_path / "run", {})
    assert not (tmp_path / "run").exists()
