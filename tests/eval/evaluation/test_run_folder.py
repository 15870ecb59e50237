"""A run goes on after whatever happened, and its folder does not tell; what does not belong to it is refused."""

import dataclasses
import json
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from so101_eval.errors import ConfigError, EvalError, RecordError
from so101_eval.evaluation import plan as episodes
from so101_eval.evaluation.local_jobs import Play, local_players
from so101_eval.evaluation.plan import Plan, Player, parse_cells, versions
from so101_eval.evaluation.policy_specs import parse_policies
from so101_eval.evaluation.records import EPISODES, EVAL_INFO, RUN, TABLE, EpisodeRecord, Key, read_episodes
from so101_eval.evaluation.run_folder import SESSIONS, Tally, plan_of, run
from so101_eval.pool import as_they_end
from so101_policy.command_line import extras
from so101_policy.inference.engine import installed_engine

QUIET = Console(quiet=True)


def plan(episodes: int = 2, **changes: Any) -> Plan:
    fields: dict[str, Any] = {"policies": parse_policies(["expert", "hold"]), "width": 24, "height": 24}
    return Plan("palletize-1", (("nominal", 0), ("pallet-shift", 1)), episodes, **fields | changes)


@pytest.fixture(scope="module")
def played() -> dict[Key, EpisodeRecord]:
    """Real episodes, played once."""
    small = plan()
    with Player(small) as player:
        return {key: player.play(key) for key in small.keys()}  # noqa: SIM118 - a plan is no dictionary


@contextmanager
def from_memory(played: dict[Key, EpisodeRecord], pause_s: float = 0.0) -> Generator[Play]:
    """Gives what was played before, timed anew."""

    def play(keys: Iterable[Key]) -> Iterator[EpisodeRecord]:
        for key in keys:
            time.sleep(pause_s)
            yield dataclasses.replace(
                played[key], timing={**played[key].timing, "wall_s": time.perf_counter()}
            )

    yield play


def contents(out: Path) -> tuple[Any, ...]:
    """All that may not depend on how a run went."""
    info = json.loads((out / EVAL_INFO).read_text())
    for name in ("eval_s", "eval_ep_s"):
        del info["overall"][name]
    records = [record.comparable() for record in read_episodes(out / EPISODES)]
    return records, info, (out / TABLE).read_text(), (out / RUN).read_text()


def test_a_run_leaves_all_its_files(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    records = run(plan(), tmp_path, from_memory(played), QUIET)
    assert [record.key for record in records] == sorted(plan().keys())
    assert read_episodes(tmp_path / EPISODES) == records
    assert plan_of(tmp_path) == plan()


def test_a_plan_says_which_engine_and_a_run_of_before_stays_what_it_was(monkeypatch: pytest.MonkeyPatch):
    before = plan().to_dict()
    del before["engine"]
    assert Plan.from_dict(before) == plan(engine="plain")
    assert "engine" not in plan(engine="plain").identity  # the hash of such a run is the one that it had
    assert plan(engine="auto").engine == installed_engine()
    assert plan(engine="torch").sha256 != plan(engine="plain").sha256
    with pytest.raises(ConfigError, match="--engine tensorrt: there is no engine 'tensorrt'; possible: auto"):
        plan(engine="tensorrt")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert plan(engine="auto").engine == "torch"
    with pytest.raises(
        ConfigError, match=r"--engine openvino: .* missing: .*openvino.* or take engine torch"
    ):
        plan(engine="openvino")


def test_every_policy_meets_the_same_scenes(played: dict[Key, EpisodeRecord]):
    scenes = {
        name: {record.scene_sha256 for key, record in played.items() if key.policy == name}
        for name in ("expert", "hold")
    }
    assert scenes["expert"] == scenes["hold"]
    assert len(scenes["hold"]) == 4
    assert all(record.success is (key.policy == "expert") for key, record in played.items())
    failures = {record.score["failure"]["kind"] for key, record in played.items() if key.policy == "hold"}
    assert failures == {"never_moved"}


def test_scenes_are_played_one_after_the_other_so_that_pairs_are_complete_early():
    first = list(plan().keys())[:4]
    assert {key.seed for key in first} == {0}
    assert {key.policy for key in first} == {"expert", "hold"}


def test_killed_at_twenty_random_moments_a_run_ends_as_if_left_alone(
    tmp_path: Path, played: dict[Key, EpisodeRecord]
):
    """kill -9 of the process that writes; episodes come from memory, so that many moments can be tried."""
    run(plan(), tmp_path / "alone", from_memory(played), QUIET)
    rng, out, kills = random.Random(7), tmp_path / "killed", 0
    for _ in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # forked beside threads, which it does not use
            child = os.fork()
        if child == 0:
            try:
                run(plan(), out, from_memory(played, 0.01), QUIET)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
    run(plan(), out, from_memory(played), QUIET)
    assert kills > 0
    assert contents(out) == contents(tmp_path / "alone")


def test_a_line_cut_off_is_played_again(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    run(plan(), tmp_path, from_memory(played), QUIET)
    whole, before = contents(tmp_path), (tmp_path / EPISODES).read_bytes()
    for end in (0, 1, 700, len(before) // 2, len(before) - 1):
        (tmp_path / EPISODES).write_bytes(before[:end])
        run(plan(), tmp_path, from_memory(played), QUIET)
        assert contents(tmp_path) == whole


def test_a_complete_run_is_not_played_again(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    run(plan(), tmp_path, from_memory(played), QUIET)
    run(plan(), tmp_path, from_memory({}), QUIET)
    assert len((tmp_path / SESSIONS).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"episodes": 3}, r"episodes 2 \(now 3\)"),
        ({"latency_s": 0.2}, r"latency_s 0.1 \(now 0.2\)"),
        ({"width": 32}, "width"),
        ({"cells": (("nominal", 0),)}, r"cells nominal:0,pallet-shift:1 \(now nominal:0\)"),
        ({"policies": parse_policies(["hold"])}, "policies expert, hold"),
        (
            {"policies": parse_policies(["expert=hold", "hold"])},
            "begun with another expert: kind was expert, is hold",
        ),
    ],
)
def test_another_plan_is_refused(
    tmp_path: Path, played: dict[Key, EpisodeRecord], changes: dict[str, Any], says: str
):
    run(plan(), tmp_path, from_memory(played), QUIET)
    with pytest.raises(ConfigError, match=says):
        run(dataclasses.replace(plan(), **changes), tmp_path, from_memory(played), QUIET)


def test_records_of_two_versions_are_not_mixed(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    run(plan(), tmp_path, from_memory(played), QUIET)
    meta = json.loads((tmp_path / RUN).read_text())
    meta["versions"]["lerobot"] = "0.1"
    (tmp_path / RUN).write_text(json.dumps(meta))
    with pytest.raises(RecordError, match=r"lerobot 0\.1 \(here .*\)"):
        run(plan(), tmp_path, from_memory(played), QUIET)


def test_a_worker_of_another_version_is_refused(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    theirs = {
        key: dataclasses.replace(record, versions={**versions(), "torch": "1.0"})
        for key, record in played.items()
    }
    with pytest.raises(RecordError, match=r"torch 1\.0"):
        run(plan(), tmp_path, from_memory(theirs), QUIET)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        run(plan(), tmp_path, from_memory({}), QUIET)
    with pytest.raises(ConfigError, match="it is a file"):
        run(plan(), tmp_path / "thesis.tex", from_memory({}), QUIET)
    assert {path.name for path in tmp_path.iterdir()} <= {"thesis.tex", ".lock"}


def test_two_at_work_in_one_folder_are_refused(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    @contextmanager
    def meddling() -> Generator[Play]:
        with pytest.raises(ConfigError, match="another so101-eval is at work"):
            run(plan(), tmp_path, from_memory(played), QUIET)
        with from_memory(played) as play:
            yield play

    assert len(run(plan(), tmp_path, meddling(), QUIET)) == 8


@pytest.mark.slow
def test_two_processes_give_the_records_of_one(tmp_path: Path, played: dict[Key, EpisodeRecord]):
    run(plan(), tmp_path / "one", from_memory(played), QUIET)
    run(plan(), tmp_path / "two", local_players(plan(), 2), QUIET)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_playing_process_that_is_killed_is_one_message(tmp_path: Path):
    @contextmanager
    def killing() -> Generator[Play]:
        with local_players(plan(4), 2) as play:

            def first_then_kill(keys: Iterable[Key]) -> Iterator[EpisodeRecord]:
                for record in play(keys):
                    os.kill(record.timing["pid"], signal.SIGKILL)
                    yield record

            yield first_then_kill

    with pytest.raises(EvalError, match="the same command again goes on"):
        run(plan(4), tmp_path, killing(), QUIET)
    assert len(run(plan(4), tmp_path, local_players(plan(4), 1), QUIET)) == 16


def test_the_bar_tells_success_per_policy_and_of_many_together(played: dict[Key, EpisodeRecord]):
    assert str(Tally(plan(), played.values())) == "expert 4/4  hold 0/4"
    many = plan(policies=parse_policies([f"p{i}=hold" for i in range(9)]))
    assert str(Tally(many, ())) == "9 policies 0/0"


def test_only_so_many_are_in_work_at_a_time():
    from concurrent.futures import Future

    begun = list[Key]()

    def submit(key: Key) -> Future[Key]:
        begun.append(key)
        future = Future[Key]()
        future.set_result(key)
        return future

    ended = as_they_end(plan(10).keys(), submit, 3)
    next(ended)
    assert len(begun) == 3
    assert sorted([begun[0], *ended])[0] in begun
    assert sorted(begun) == sorted(plan(10).keys())


def test_scenarios_are_read_with_their_levels():
    assert parse_cells("nominal, camera-pose,box-start-outside:3") == (
        ("nominal", 0), ("camera-pose", 2), ("box-start-outside", 3),
    )  # fmt: skip
    assert len(parse_cells("all")) > 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("camera_pose", "there is no scenario 'camera_pose'; available: nominal"),
        ("camera-pose:7", "no level 7"),
        ("camera-pose:high", "'high' is no level"),
        ("camera-pose,camera-pose:2", "camera-pose:2 is there twice"),
        (",", "at least one of"),
    ],
)
def test_what_is_no_scenario_is_refused(text: str, says: str):
    with pytest.raises(ConfigError, match=says):
        parse_cells(text)


@pytest.mark.parametrize(
    "changes",
    [{"first_seed": 999_999}, {"first_seed": -1}, {"chunks": "x"}, {"latency_s": -1.0}, {"episodes": 0}],
)
def test_what_cannot_be_planned_is_refused(changes: dict[str, Any]):
    with pytest.raises(ConfigError):
        dataclasses.replace(plan(), **changes)


def test_what_a_compiler_keeps_beside_the_sources_makes_no_other_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "some_sources" / "a.py"  # a package of its own
    source.parent.mkdir()
    source.write_text("x = 1\n")
    (source.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(episodes, "SOURCES", ("some_sources",))
    before = episodes._code_sha256()  # pyright: ignore[reportPrivateUsage]
    kept = source.parent / "__pycache__"
    kept.mkdir()
    (kept / "a.py312.1.nbc").write_bytes(b"machine code")
    assert episodes._code_sha256() == before  # pyright: ignore[reportPrivateUsage]
    source.write_text("x = 2\n")
    assert episodes._code_sha256() != before  # pyright: ignore[reportPrivateUsage]


PACKAGES = ("so101_robot", "so101_policy", "so101_eval", "lerobot_policy_so101")
LEAVES = (
    ("so101_policy/regularizer/modality_dropout.py", b" = "),
    ("so101_robot/mock/physics/motor.py", b" = "),
    ("so101_eval/palletizing/score/smoothness.py", b" = "),
    ("so101_robot/demo/policies/stock/config.json", b": "),
    ("lerobot_policy_so101/__init__.py", b"import"),
)
"""Files at the ends of the packages, data among them, and something in each that can be changed."""


def test_a_change_in_any_leaf_of_a_package_that_takes_part_is_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        source = Path(next(iter(spec.submodule_search_locations)))
        shutil.copytree(source, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(episodes, "_folder", lambda package: tmp_path / package)
    assert set(episodes.SOURCES) == set(PACKAGES)
    hashes = {episodes._code_sha256()}  # pyright: ignore[reportPrivateUsage]
    for name, old in LEAVES:
        path = tmp_path / name
        before = path.read_bytes()
        assert old in before, name
        path.write_bytes(before.replace(old, old + b" ", 1))
        hashes.add(episodes._code_sha256())  # pyright: ignore[reportPrivateUsage]
        path.write_bytes(before)
    assert len(hashes) == 1 + len(LEAVES)
    (tmp_path / "so101_robot" / "new_file.txt").touch()
    assert episodes._code_sha256() not in hashes  # pyright: ignore[reportPrivateUsage]


def test_a_policy_that_raises_fails_its_own_episode_and_the_run_goes_on(
    act: Path, monkeypatch: pytest.MonkeyPatch
):
    from so101_policy.inference.act_policy import ActPolicy

    asked = list[int]()
    predict = ActPolicy.predict

    def fails_in_the_first_episode(self: ActPolicy, state: Any, images: Any) -> Any:
        asked.append(1)
        if len(asked) < 40:
            raise ZeroDivisionError("no idea")
        return predict(self, state, images)

    monkeypatch.setattr(ActPolicy, "predict", fails_in_the_first_episode)
    small = plan(1, policies=parse_policies([f"mine={act}", "expert"]))
    with Player(small) as player:
        keys = list(small.keys())
        first, second = player.play(keys[0]), player.play(keys[1])
    assert (first.success, first.end, first.fault) == (False, "stopped", "policy raises")
    assert first.exception == "ZeroDivisionError"
    assert first.score["failure"]["kind"] == "policy_raised"
    assert "no idea" in first.score["failure"]["detail"]
    assert (second.policy, second.success, second.exception) == ("expert", True, None)
    assert {first.start, second.start} == {"laid out"}
    assert {first.ending, second.ending} == {"skipped"}
