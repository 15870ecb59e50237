"""The same policy under two names: nothing that lies in the folder, and no time, tells the names apart."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from real_studies import POSE
from so101_eval.evaluation.policy_specs import parse_policies
from so101_eval.real_study.commands.rehearse import rehearse
from so101_eval.real_study.design.lock import lock, read_locked
from so101_eval.real_study.design.sealing import unseal
from so101_eval.real_study.design.study import Study, write_study
from so101_eval.real_study.events.journal import EVENTS
from so101_eval.real_study.session.runner import TRIALS
from so101_robot.runs.clip import CLIP
from so101_robot.runs.log import RUN, TICKS, read_ticks

LONG = "a-policy-of-a-very-long-name-that-would-be-seen-in-sizes"


class Traces(NamedTuple):
    """What a look into the folder shows of one policy's trials."""

    run_bytes: list[int]
    tick_bytes: list[int]
    film_bytes: list[int]
    seconds: list[float]
    """From the start to the end of a trial, by the machine's clock."""
    answers: set[float | None]
    """Their latencies [ms]."""


def traces(folder: Path) -> tuple[Traces, Traces]:
    study, state = read_locked(folder)
    schedule = unseal(folder, study)
    found = tuple(Traces([], [], [], [], set()) for _ in study.policies)
    for trial in state.trials.values():
        at, one = folder / TRIALS / trial.code, found[schedule.orders[trial.place][trial.slot]]
        one.run_bytes.append((at / RUN).stat().st_size)
        one.tick_bytes.append((at / TICKS).stat().st_size)
        one.film_bytes.append((at / CLIP).stat().st_size)
        ticks = [tick for tick in read_ticks(at / TICKS) if "unix_s" in tick]
        one.seconds.append(ticks[-1]["unix_s"] - ticks[0]["unix_s"])
        one.answers.update(tick["inference"]["latency_ms"] for tick in ticks if "inference" in tick)
    return found[0], found[1]


def apart(a: list[int] | list[float], b: list[int] | list[float]) -> bool:
    """All of one below all of the other: with 8 of each by chance in 2 of 12,870 cases."""
    return max(a) < min(b) or max(b) < min(a)


def study_of(texts: list[str], blocks: int, limit_s: float) -> Study:
    return Study(
        parse_policies(texts, None), "palletize-1-small", (("nominal", 0),), blocks, 0.3, POSE, practice=0,
        time_limit_s=limit_s,
    )  # fmt: skip


def shapes_of(folder: Path) -> list[list[str]]:
    """Events of the trials by policy, numbers and codes taken out: what kinds of words there are."""
    study, state = read_locked(folder)
    schedule = unseal(folder, study)
    shapes: list[list[str]] = [[] for _ in study.policies]
    for line in (folder / EVENTS).read_text().splitlines():
        data = json.loads(line)["data"]
        if (trial := state.trials.get(str(data.get("trial")))) is not None:
            words = re.sub(r"-?\d+(\.\d+)?(e-?\d+)?|[B-Z]{4}", "0", json.dumps(data))
            shapes[schedule.orders[trial.place][trial.slot]].append(words)
    return [sorted(shape) for shape in shapes]


def test_a_recording_under_two_names_leaves_the_same_traces(tmp_path: Path):
    for name in ("a", LONG):
        np.save(tmp_path / f"{name}.npy", np.tile(np.array(POSE), (60, 1)))
    folder = tmp_path / "s"
    folder.mkdir()
    write_study(folder, study_of([f"{name}={tmp_path / name}.npy" for name in ("a", LONG)], 2, 0.5))
    lock(folder)
    rehearse(folder)
    first, second = traces(folder)
    assert len(set(first.run_bytes + second.run_bytes)) == 1, "a name of another length is seen by the size"
    one, other = shapes_of(folder)
    assert one == other
    for path in folder.rglob("*"):
        assert path.name == "study.yaml" or not path.is_file() or LONG.encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_identical_weights_under_two_names_are_not_told_apart_by_sizes_and_times(tmp_path: Path):
    folder = tmp_path / "s"
    folder.mkdir()
    texts = [f"{name}=demo:stock" for name in ("a", LONG)]
    write_study(folder, study_of(texts, 8, 2.0))
    lock(folder)
    rehearse(folder)
    first, second = traces(folder)
    assert len(set(first.run_bytes + second.run_bytes)) == 1
    assert len(first.answers | second.answers) == 1
    for name in ("tick_bytes", "film_bytes", "seconds"):
        assert not apart(getattr(first, name), getattr(second, name)), name
