"""The same episodes on a Ray cluster: what travels, a worker that dies, and machines without Ray."""

import dataclasses
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from so101_eval.cli import EVAL
from so101_eval.errors import ConfigError, EvalError
from so101_eval.evaluation import cluster
from so101_eval.evaluation.cluster import cluster_players, pack, unpacked
from so101_eval.evaluation.local_jobs import local_players
from so101_eval.evaluation.plan import Plan, Player
from so101_eval.evaluation.policy_specs import parse_policies, parse_policy
from so101_eval.evaluation.records import EPISODES, EpisodeRecord, read_episodes
from so101_eval.evaluation.run_folder import run
from so101_policy.command_line.command_shell import WRONG_INPUT
from so101_policy.command_line.installed import line_to_install

QUIET = Console(quiet=True)
NOTHING = ["--task", "palletize-1", "--episodes", "1", "--cluster"]


@pytest.fixture
def plan(act: Path, tmp_path: Path) -> Plan:
    """Everything that can travel: nothing, a recording, a checkpoint and its control."""
    np.save(tmp_path / "moves.npy", np.zeros((3, 6)))
    texts = ["hold", f"moves={tmp_path / 'moves.npy'}", f"mine={act}", f"blind={act}@no-images"]
    return Plan("palletize-1", (("nominal", 0),), 3, parse_policies(texts), width=24, height=24)


def test_policies_are_the_same_after_the_journey(plan: Plan, tmp_path: Path):
    files = pack(plan)
    for index, before in enumerate(plan.policies):
        (folder := tmp_path / str(index)).mkdir()
        after = unpacked(before, files, folder)
        if before.path is None:
            assert after == before
        else:
            assert Path(after.path or "").is_relative_to(folder)
            hidden = "@no-images" if before.without else ""
            assert parse_policy(f"{before.name}={after.path}{hidden}").identity == before.identity


def test_a_worker_plays_what_has_travelled_begins_anew_for_another_plan_and_keeps_no_copy_of_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a worker, without Ray: only fetching the files is Ray's."""

    class Fetching:
        @staticmethod
        def get(files: Any) -> Any:
            return files

    monkeypatch.setattr(cluster, "_ray", Fetching)
    monkeypatch.setattr(cluster, "_players", {})
    (scratch := tmp_path / "scratch").mkdir()
    for wanted in (plan, plan, dataclasses.replace(plan, episodes=1)):
        key = next(key for key in wanted.keys() if key.policy == "moves")  # noqa: SIM118 - a plan is no dictionary
        text = cluster._play(wanted.to_dict(), [pack(wanted)], tuple(key), str(scratch))  # pyright: ignore[reportPrivateUsage]
        record = EpisodeRecord.from_json(text)
        with Player(wanted) as player:
            assert record.comparable() == player.play(key).comparable()
        assert not list(scratch.iterdir())
        assert list(cluster._players) == [wanted.sha256]  # pyright: ignore[reportPrivateUsage]
    for player in cluster._players.values():  # pyright: ignore[reportPrivateUsage]
        player.load(plan.policy("blind"))
        assert not list(scratch.iterdir())
        player.close()


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert (
        EVAL.main(["run", "--policies", "hold", *NOTHING, "--output_dir", str(tmp_path / "out")])
        == WRONG_INPUT
    )
    said = capsys.readouterr().err
    assert (
        f"--cluster needs Ray, which is not installed: {line_to_install('lerobot_policy_so101[cluster]')}"
        in said
    )
    assert "Traceback" not in said


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_where_nobody_answers_is_one_message(form: str):
    """Ray is not even asked: it would knock without end."""
    with socket.socket() as bound:  # taken, and not listening
        bound.bind(("127.0.0.1", 0))
        address = form.format(f"127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"nobody answers at 127\.0\.0\.1:\d+ \(.*refused\)"):
            cluster._connect(address)  # pyright: ignore[reportPrivateUsage]


def test_a_machine_that_swallows_what_is_sent_costs_a_stated_time(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[Any, float]] = []

    def swallowed(where: Any, timeout_s: float) -> None:
        asked.append((where, timeout_s))
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", swallowed)
    for address in ("10.0.0.9", "ray://10.0.0.9", "head:6000", "[fd00::1]:7"):
        with pytest.raises(ConfigError, match="timed out"):
            cluster._connect(address)  # pyright: ignore[reportPrivateUsage]
    hosts = [("10.0.0.9", 6379), ("10.0.0.9", 10001), ("head", 6000), ("fd00::1", 7)]
    assert asked == [(host, cluster.CONNECT_S) for host in hosts]


def test_a_cluster_that_was_here_once_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`ray start` leaves its address behind when the machine goes down."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        (tmp_path / "ray").mkdir()
        (tmp_path / cluster.CURRENT).write_text(f"127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(ConfigError, match="--cluster auto: nobody answers"):
            cluster._connect("auto")  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("address", ["head:port", "head:70000", "nowhere.invalid:6379"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(ConfigError, match=f"--cluster {address}: nobody answers"):
        cluster._connect(address)  # pyright: ignore[reportPrivateUsage]


# With Ray


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets; gone after the test, however that ends."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(780)
@pytest.mark.filterwarnings("default")
def test_a_worker_that_is_killed_costs_nothing_but_time_and_leaves_nothing(
    plan: Plan, tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
):
    run(plan, tmp_path / "here", local_players(plan, 1), QUIET)
    pids: list[int] = []
    (scratch := tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(cluster, "SHORT", str(short))
    with cluster_players(plan) as play:

        def killing(keys: Any) -> Iterator[EpisodeRecord]:
            for record in play(keys):
                if not pids:
                    os.kill(record.timing["pid"], signal.SIGKILL)
                pids.append(record.timing["pid"])
                yield record

        run(plan, tmp_path / "there", nullcontext(killing), QUIET)
    assert os.getpid() not in pids
    assert len(set(pids)) >= 2
    here, there = (read_episodes(tmp_path / name / EPISODES) for name in ("here", "there"))
    assert [record.comparable() for record in there] == [record.comparable() for record in here]
    assert not list(scratch.iterdir())
    assert not list(short.iterdir())
    assert not [pid for pid in set(pids) if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.timeout(780)
@pytest.mark.filterwarnings("default")
def test_what_a_worker_cannot_play_is_told_in_its_own_words(plan: Plan, act: Path):
    spoilt = dataclasses.replace(parse_policy(f"mine={act}"), sha256="0" * 64)
    other = dataclasses.replace(plan, policies=(spoilt,))
    with (
        pytest.raises(EvalError, match=r"^mine: the weights in .* are others than when the run was begun"),
        cluster_players(other) as play,
    ):
        list(play(other.keys()))
