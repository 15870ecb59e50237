"""Policies side by side: none answers sooner than another, no log tells whose answer it was; the operator's hold."""

import dataclasses
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from real_studies import POSE, locked, small_study, spec
from so101_eval.errors import ConfigError
from so101_eval.real_study.session.contenders import Blinded, Playing, held_back, load
from so101_eval.real_study.session.control import Control, Controlled
from so101_eval.real_study.session.sitting import of_study
from so101_policy.inference.loaded import Prediction
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Inference, Observation
from so101_robot.chunks.scheduler import NOTHING, Planned
from so101_robot.commands.run_config import PolicyFlags, RecordFlags, RunConfig
from so101_robot.joints import GRIPPER
from so101_robot.loop.stopping import StopRequests

ACTIONS = np.zeros((4, 6), np.float32)


def test_no_answer_is_there_sooner_than_the_slowest_policys():
    def fast(state: Any, images: Any) -> Prediction:
        return Prediction(ACTIONS, None)

    started = time.perf_counter()
    held_back(fast, 0.05)(np.zeros(6), {})
    assert time.perf_counter() - started >= 0.05


def test_an_answer_does_not_tell_whose_it_is():
    told = Inference(ACTIONS, "shares", 1, 0.0, 0.1, 0.0123, "maps")  # type: ignore[arg-type]
    worker = SimpleNamespace(busy=False, submit=lambda *_: None, poll=lambda now: told, close=lambda: None)
    answer = Blinded(worker).poll(0.0)
    assert answer is not None
    assert (answer.shares, answer.maps) == (None, None)
    assert math.isnan(answer.compute_s)
    assert answer.actions is told.actions


def test_who_knows_where_the_boxes_are_does_not_take_part():
    expert = dataclasses.replace(spec("cheat"), kind="expert")
    with pytest.raises(ConfigError, match="knows where the boxes are"):
        load(expert, RunConfig(robot=SO101Config()), None)  # type: ignore[arg-type]


def test_a_recording_takes_part(tmp_path: Path):
    np.save(tmp_path / "taught.npy", np.tile(POSE, (5, 1)))
    taught = dataclasses.replace(spec("taught"), kind="replay", path=str(tmp_path / "taught.npy"))
    contender = load(taught, RunConfig(robot=SO101Config()), None)  # type: ignore[arg-type]
    assert isinstance(contender, Playing)
    observation = Observation(0.0, np.zeros(6), {})
    planned = contender.scheduler(None, 0.0).next(0, 0.0, lambda: observation)  # type: ignore[arg-type]
    assert planned.action is not None
    assert planned.action.tolist() == list(POSE)


def test_the_study_says_who_drives_from_where_and_for_how_long(tmp_path: Path):
    study = locked(tmp_path / "s", small_study())
    config = of_study(study, RunConfig(robot=SO101Config()))
    assert config.start_pose == list(POSE)
    assert config.duration_s == study.limit_s == 15.0
    for mine in (
        RunConfig(start_pose=list(POSE)),
        RunConfig(duration_s=3.0),
        RunConfig(policy=PolicyFlags(path="x")),
    ):
        with pytest.raises(ConfigError, match="are the study's"):
            of_study(study, mine)
    with pytest.raises(ConfigError, match="no dataset"):
        of_study(study, RunConfig(record=RecordFlags(repo_id="anna/looks")))


class Plan:
    """A scheduler that counts."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def next(self, tick: int, now_s: float, observe: Any) -> Planned:
        self.calls.append("next")
        return Planned(np.ones(6), None, "chunk", 0, tick, 0.0)

    def wait(self) -> None:
        self.calls.append("wait")

    def reset(self) -> None:
        self.calls.append("reset")

    def close(self) -> None:
        self.calls.append("close")


def test_a_hold_keeps_the_plan_waiting_and_the_policy_looks_anew_afterwards():
    plan, control = Plan(), Control()
    scheduler = Controlled(plan, control, lambda: np.zeros(6))
    assert scheduler.next(0, 0.0, None).action is not None  # type: ignore[arg-type]
    control.hold()
    assert scheduler.next(1, 0.0, None) is NOTHING  # type: ignore[arg-type]
    control.hold()
    assert scheduler.next(2, 0.0, None).action is not None  # type: ignore[arg-type]
    assert plan.calls == ["next", "wait", "reset", "next"]


def test_the_hand_opens_only_while_the_arm_is_held():
    control = Control()
    scheduler = Controlled(Plan(), control, lambda: np.arange(6.0))
    control.open()
    assert scheduler.next(0, 0.0, None).action.tolist() == [1.0] * 6  # type: ignore[arg-type, union-attr]
    control.hold()
    control.open()
    opened = scheduler.next(1, 0.0, None).action  # type: ignore[arg-type]
    assert opened is not None
    assert opened[GRIPPER] == 100.0
    assert opened[:GRIPPER].tolist() == [0, 1, 2, 3, 4]
    control.hold()
    assert not control.open_hand


def test_a_stop_ends_the_run_and_never_lets_the_arm_go():
    control, stop = Control(), StopRequests()
    control.attach(stop)
    for _ in range(3):
        control.stop("stopped")
    control.stop("danger")
    assert stop.requested
    assert stop.count == 0, "only a second Ctrl-C lets go"
    assert control.why == "stopped"


def test_a_stop_before_the_run_has_begun_counts():
    control, stop = Control(), StopRequests()
    control.stop("danger")
    control.attach(stop)
    assert stop.requested
