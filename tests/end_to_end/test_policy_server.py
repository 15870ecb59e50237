"""so101-run --policy.server: LeRobot's policy server computes, the guard and the faults are here."""

import json
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedAction, TimedObservation
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.transport.utils import receive_bytes_in_chunks

from any_policies import untrained_of
from checkpoints import POSE, thin, untrained
from so101_robot.chunks.workers import InlineWorker
from so101_robot.cli import RUN
from so101_robot.faults.supervisor import FAULT_RULES, Rule
from so101_robot.runs.log import read_ticks

PX = 48


class Fake(services_pb2_grpc.AsyncInferenceServicer):
    """A server on a port that it keeps, which can be stopped and started; its policy stays at `POSE`."""

    def __init__(self) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.spec: RemotePolicyConfig | None = None
        self.specs = 0
        self.seen: list[TimedObservation] = []
        self.size = 6
        self.objection = ""
        self.before_answer: Callable[[], None] = lambda: None
        self._server: Any = None

    def start(self) -> None:
        self.spec = None
        self._server = grpc.server(ThreadPoolExecutor(2))
        services_pb2_grpc.add_AsyncInferenceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def Ready(self, request: Any, context: Any) -> Any:  # noqa: N802
        return services_pb2.Empty()  # pyright: ignore[reportAttributeAccessIssue]

    def SendPolicyInstructions(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.objection:
            raise ValueError(self.objection)
        self.spec = pickle.loads(request.data)
        self.specs += 1
        return services_pb2.Empty()  # pyright: ignore[reportAttributeAccessIssue]

    def SendObservations(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        never = type("never", (), {"is_set": lambda self: False})()
        self.seen.append(pickle.loads(receive_bytes_in_chunks(request_iterator, None, never)))
        return services_pb2.Empty()  # pyright: ignore[reportAttributeAccessIssue]

    def GetActions(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.before_answer()
        if self.spec is None:
            return services_pb2.Actions(data=b"")  # pyright: ignore[reportAttributeAccessIssue]
        asked = self.seen[-1]
        actions = torch.tensor([*POSE, 0.0][: self.size]).repeat(self.spec.actions_per_chunk, 1)
        chunk = [TimedAction(asked.timestamp, asked.timestep + i, row) for i, row in enumerate(actions)]
        return services_pb2.Actions(data=pickle.dumps(chunk))  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def server() -> Iterator[Fake]:
    fake = Fake()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin(tmp_path_factory.mktemp("act"), px=PX, says_fps=30.0)


def arguments(checkpoint: Path, port: int, out: Path, *more: str) -> list[str]:
    camera = f"--robot.mock.width={PX} --robot.mock.height={PX}"
    return [
        f"--policy.path={checkpoint}",
        f"--policy.server=localhost:{port}",
        *("--robot.port=mock", "--robot.mock.realtime_factor=0", *camera.split()),
        *(f"--output_dir={out}", "--duration_s=2", "--dashboard=plain", "--approach_speed=0", "--clip=false"),
        *("--preflight.skip=[ranges]", *more),
    ]


def test_a_server_plays_and_one_that_comes_back_is_told_its_policy_again(
    server: Fake, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    away = iter((False, False, False, True, True, True))

    def submit(self: InlineWorker, observation: Any, tick: int) -> None:
        if next(away, False):
            server.stop()
        elif server.spec is not None and server._server is None:  # pyright: ignore[reportPrivateUsage]
            server.start()
        real(self, observation, tick)

    real = InlineWorker.submit
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InlineWorker, "submit", submit)
        assert RUN.main(arguments(checkpoint, server.port, out, "--duration_s=5")) == 0
    printed = capsys.readouterr()
    assert "policy server gone" in printed.out
    assert "policy server gone is over" in printed.out

    about = json.loads((out / "run.json").read_text())["policy"]
    assert (about["engine"], about["type"]) == (f"policy server localhost:{server.port}", "regularized_act")
    ticks = list(read_ticks(out / "ticks.jsonl"))
    running = [tick for tick in ticks if tick.get("phase") == "run"]
    assert any(tick["mode"] == "holding" for tick in running)
    assert running[-1]["mode"] == "running"
    assert all("driver" not in tick for tick in running)
    np.testing.assert_allclose(running[-1]["sent"], POSE, atol=0.1)

    assert server.specs == 2, "the one that came back had forgotten it"
    assert server.spec is not None
    assert (server.spec.policy_type, server.spec.pretrained_name_or_path) == ("act", str(checkpoint))
    assert server.spec.lerobot_features["observation.state"]["names"][0] == "shoulder_pan.pos"  # pyright: ignore[reportIndexIssue]
    last = server.seen[-1].observation
    assert last["front"].shape == (PX, PX, 3)
    assert last["front"].dtype == np.uint8
    assert last["front"].std() > 5, "a picture of the scene"
    assert last["elbow_flex.pos"] == pytest.approx(POSE[2], abs=3)
    assert all(seen.must_go for seen in server.seen)


def test_a_server_that_stays_away_ends_the_run_with_the_arm_at_home(
    server: Fake,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    assert FAULT_RULES["policy server gone"].hold_s == 30.0
    monkeypatch.setitem(FAULT_RULES, "policy server gone", Rule(hold_s=1.0))  # pyright: ignore[reportArgumentType]
    real = InlineWorker.submit

    def submit(self: InlineWorker, observation: Any, tick: int) -> None:
        if tick > 5:
            server.stop()
        real(self, observation, tick)

    monkeypatch.setattr(InlineWorker, "submit", submit)
    out = tmp_path / "run"
    assert RUN.main(arguments(checkpoint, server.port, out, "--duration_s=20")) == 1
    error = capsys.readouterr().err
    assert f"no policy server answers at localhost:{server.port}" in error
    assert "Traceback" not in error
    ticks = list(read_ticks(out / "ticks.jsonl"))
    held = [tick for tick in ticks if tick.get("phase") == "run" and tick["mode"] == "holding"]
    assert 28 <= len(held) <= 32
    assert all(tick["sent"] is None for tick in held), "the servos kept their goal"
    assert all("policy server gone" in tick["faults"] for tick in held)
    assert any(tick.get("phase") == "home" for tick in ticks)


def test_what_cannot_be_served_is_one_message_before_the_arm_is_touched(
    server: Fake, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    vqbet = untrained_of("vqbet", tmp_path / "vqbet")
    side = thin(tmp_path / "side", cameras=("side",), px=PX, says_fps=30.0)
    asked = "--policy.server"

    def refused(*more: str, path: Path = checkpoint, port: int = server.port, expected: str) -> None:
        assert RUN.main(arguments(path, port, tmp_path / "run", *more)) == 2
        error = capsys.readouterr().err
        assert error.count("so101-run: ") == 1, error
        assert expected in error, error
        assert "Traceback" not in error
        assert not (tmp_path / "run").exists()

    refused(port=9, expected="no policy server answers at localhost:9")
    refused(f"{asked}=gpu", expected="expected host:port")
    refused(f"{asked}=192.168.1.9:8080", expected="ssh -L 8080:localhost:8080 192.168.1.9")
    refused("--policy.samples=3", expected="--policy.samples=3 is for a policy that this machine computes")
    refused(path=vqbet, expected="type vqbet, which LeRobot's policy server does not play")
    refused(path=side, expected="side is missing")
    server.size = 7
    refused(expected="the shape (7,), expected (6,)")
    elsewhere = (
        f"{asked}=0.0.0.0:{server.port}",
        f"{asked}_elsewhere=true",
    )  # this machine by no loopback name
    assert RUN.main(arguments(checkpoint, server.port, tmp_path / "run", *elsewhere)) == 2
    warned, refusal = capsys.readouterr().err.split("so101-run: ")[1:]
    assert warned.startswith(f"warning: the policy server 0.0.0.0:{server.port} is another machine")
    assert "travel unprotected" in warned
    assert "the shape (7,), expected (6,)" in refusal
    server.size, server.objection = 6, "no such folder"
    refused(expected="no such folder. A regularized_act needs a server that knows it")
    server.objection, server.before_answer = "", lambda: setattr(server, "spec", None)
    refused(expected="gives no actions for an observation of")
    server.before_answer = lambda: time.sleep(0.5)
    refused("--policy.server_timeout_s=0.2", expected="did not answer within 0.2 s")
    server.before_answer = lambda: server.seen.append(TimedObservation(0.0, -5, {}))
    refused(expected="answered to another observation (-5")


# LeRobot's own server -----


@pytest.fixture
def real_server(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts LeRobot's server on port `PORT`; all that were started are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "lerobot.async_inference.policy_server"]
        with (tmp_path / f"server{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--host=127.0.0.1", f"--port={PORT}"], cwd=tmp_path, stdout=log, stderr=log
            )
        started.append(process)
        until_s = time.monotonic() + 120
        while time.monotonic() < until_s:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                    return process
            assert process.poll() is None, (tmp_path / f"server{len(started) - 1}.log").read_text()
            time.sleep(0.2)
        raise AssertionError("the server does not listen")

    yield start
    for process in started:
        process.kill()
        process.wait()


PORT = 18431


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lerobots_own_server_gives_the_same_actions_is_lost_and_comes_back(
    real_server: Callable[[], "subprocess.Popen[bytes]"],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    act = untrained(tmp_path / "act", px=PX, says_fps=30.0)
    process = real_server()
    here, there = tmp_path / "here", tmp_path / "there"
    assert RUN.main([each for each in arguments(act, PORT, here) if "policy.server" not in each]) == 0
    assert RUN.main(arguments(act, PORT, there)) == 0
    goals = [
        [tick["sent"] for tick in read_ticks(out / "ticks.jsonl") if tick.get("sent")]
        for out in (here, there)
    ]
    np.testing.assert_allclose(np.array(goals[0], float), np.array(goals[1], float), atol=2e-3)

    capsys.readouterr()
    assert (
        RUN.main([*arguments(act, PORT, tmp_path / "none"), f"--policy.server_path={tmp_path / 'none'}"]) == 2
    )
    assert "refused" in capsys.readouterr().err

    # killed in the middle, and started again by somebody
    ticks = iter(range(1000))
    real = InlineWorker.submit

    def submit(self: InlineWorker, observation: Any, tick: int) -> None:
        asked = next(ticks)
        if asked == 3:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if asked == 10:
            real_server()
        real(self, observation, tick)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InlineWorker, "submit", submit)
        assert RUN.main(arguments(act, PORT, tmp_path / "again", "--duration_s=4")) == 0
    printed = capsys.readouterr().out
    assert "policy server gone is over" in printed
    last = [tick for tick in read_ticks(tmp_path / "again" / "ticks.jsonl") if tick.get("phase") == "run"][-1]
    assert last["mode"] == "running"
