"""so101-run that a person takes over, as a whole, in lockstep: what is logged, recorded, checked and trained on."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from checkpoints import thin
from lerobot_tools import run_lerobot
from so101_eval.cli import DATA
from so101_policy.cli import TRAIN
from so101_robot.cli import REPLAY, RUN
from so101_robot.commands.flags import normalised
from so101_robot.commands.run import run, with_defaults
from so101_robot.commands.taking_over import TakingOver
from so101_robot.leader.leader import Leader
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.preflight.findings import PreflightError
from so101_robot.runs.log import read_ticks

pytestmark = pytest.mark.timeout(600)


MOCKS = [
    *("--robot.port=mock", "--teleop.port=mock", "--robot.mock.realtime_factor=0", "--dashboard=off"),
    "--clip=false",
    "--approach_speed=0",
]

HAND = """
repeat: false
poses:
  - {at_s: 2.1}
  - {at_s: 2.5, shoulder_lift: -75, elbow_flex: 70}
"""


def drivers_of(folder: Path) -> list[str]:
    """Who drove, one after the other."""
    found: list[str] = []
    for tick in read_ticks(folder / "ticks.jsonl"):
        if tick.get("driver", "nobody") not in ("nobody", *found[-1:]):
            found.append(tick["driver"])
    return found


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin(tmp_path_factory.mktemp("policy"), says_fps=30.0)


@pytest.fixture(scope="module")
def taken_over(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand moves the leader after 2.1 s, and keeps it until the end."""
    folder = tmp_path_factory.mktemp("takeover")
    (folder / "hand.yaml").write_text(HAND)
    asked = [
        *MOCKS, f"--policy.path={policy}", "--teleop.type=so101_leader", f"--teleop.mock.hand={folder / 'hand.yaml'}",
        "--duration_s=8", "--record.repo_id=me/one", f"--record.root={folder / 'set'}", "--record.task=wave",
        "--record.success=no", f"--output_dir={folder / 'run'}",
    ]  # fmt: skip
    assert RUN.main(asked) == 0
    return folder


def test_every_tick_says_who_drove_and_the_summary_for_how_long(taken_over: Path) -> None:
    assert drivers_of(taken_over / "run") == ["policy", "hold", "handover", "human"]
    ticks = [tick for tick in read_ticks(taken_over / "run" / "ticks.jsonl") if tick.get("phase") == "run"]
    assert all("driver" in tick for tick in ticks)
    assert 2.3 < next(tick["t"] for tick in ticks if tick["driver"] == "hold") < 3.2
    summary = json.loads((taken_over / "run" / "summary.json").read_text())
    assert summary["takeovers"] == 1
    assert sum(summary["drivers_s"].values()) == pytest.approx(8.0, abs=0.1)
    assert [driver for driver, _, _ in summary["timeline"]] == ["policy", "hold", "handover", "human"]
    assert summary["timeline"][-1][2] == pytest.approx(8.0, abs=0.1)
    assert summary["starved_ticks"] < 10, "nobody waits for the policy meanwhile"
    assert "you drive" in str([tick.get("messages") for tick in ticks])


def test_the_recording_has_lerobots_column_and_passes_the_check(taken_over: Path) -> None:
    dataset = LeRobotDataset("me/one", root=taken_over / "set")
    assert dataset.meta.features["intervention"] == {"dtype": "bool", "shape": (1,), "names": None}
    said = np.array([bool(frame) for frame in dataset.hf_dataset["intervention"]])
    drove = [
        tick["driver"]
        for tick in read_ticks(taken_over / "run" / "ticks.jsonl")
        if tick.get("driver") in ("policy", "human") and tick["chunk"]["source"] == "chunk"
    ]
    assert said.sum() == drove.count("human") > 30
    assert len(said) == pytest.approx(len(drove), abs=4), "the policy's first answer takes a few ticks"
    assert DATA.main(["check", str(taken_over / "set")]) == 0


def test_what_cannot_be_is_one_message_and_exit_code_2(
    policy: Path, taken_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of = [*MOCKS, f"--policy.path={policy}", f"--output_dir={tmp_path / 'run'}"]
    record = [
        *run_of,
        "--record.repo_id=me/one",
        f"--record.root={taken_over / 'set'}",
        "--record.resume=true",
    ]
    mixed = [flag for flag in record if flag != "--teleop.port=mock"] + ["--record.success=no"]
    real = [f"--policy.path={policy}", "--robot.port=/dev/no-such-arm", "--robot.id=a", "--dashboard=off"]
    cases = {
        (*run_of, "--takeover.moved_deg=0"): "without a terminal no key can take over",
        (*run_of, "--takeover.key=f13"): "--takeover.key=f13: expected a character",
        (*run_of, "--teleop.type=koch_leader"): "expected one of so101_leader",
        (*real, "--teleop.port=mock"): "both are mock or none is",
        (*real, "--teleop.port=/dev/no-such"): "--teleop.id is missing",
        (*real, "--teleop.port=/dev/no-such-arm", "--teleop.id=x"): "are one port",
        (*mixed,): "say whether a person drove (intervention)",
    }
    for arguments, words in cases.items():
        assert RUN.main(list(arguments)) == 2, arguments
        said = capsys.readouterr().err
        assert words in said, said
        assert said.count("so101-run: ") == 1
    assert not (tmp_path / "run").exists()
    assert (
        TRAIN.main(
            [f"--dataset.root={taken_over / 'set'}", f"--output_dir={tmp_path / 'o'}", "--corrections.use=x"]
        )
        == 2
    )
    assert "possible are all, only, weighted" in capsys.readouterr().err


def test_a_leader_under_torque_is_let_go_and_one_at_the_wrong_supply_stops_the_run_before_anything_moves(
    policy: Path, tmp_path: Path
) -> None:
    flags = [*MOCKS, f"--policy.path={policy}", "--duration_s=0.2", f"--output_dir={tmp_path / 'run'}"]
    config = with_defaults(normalised(flags))
    arm = MockArm(MockConfig(camera_fps=1), leader=True)
    arm.servos.set(1, "Torque_Enable", 1)  # as a program that was killed has left it
    taking = TakingOver(config, Leader(config.teleop, arm))
    assert run(config, flags, taking) == 0
    assert [arm.servos.get(index, "Torque_Enable") for index in range(6)] == [0] * 6
    assert "under torque and was let go: shoulder_lift" in (tmp_path / "run" / "ticks.jsonl").read_text()
    config.output_dir = tmp_path / "again"
    arm.servos.set(3, "Max_Voltage_Limit", 80)  # a 7.4 V servo, at 12 V
    with pytest.raises(PreflightError, match="leader's supply, servo 4"):
        run(config, flags, TakingOver(config, Leader(config.teleop, arm)))
    assert not (tmp_path / "again" / "ticks.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("use", ["all", "weighted", "only"])
def test_so101_train_takes_the_recording(taken_over: Path, tmp_path: Path, use: str) -> None:
    asked = [
        f"--dataset.root={taken_over / 'set'}",
        f"--output_dir={tmp_path / 'o'}",
        "--model=small",
        "--steps=2",
    ]
    assert (
        TRAIN.main([*asked, "--held_out=0", "--batch_size=2", "--trackers=none", f"--corrections.use={use}"])
        == 0
    )


@pytest.mark.slow
def test_lerobot_train_takes_the_recording(taken_over: Path, tmp_path: Path) -> None:
    asked = [
        "lerobot-train", "--dataset.repo_id=me/one", f"--dataset.root={taken_over / 'set'}", "--policy.type=act",
        "--policy.push_to_hub=false", "--policy.device=cpu", "--policy.pretrained_backbone_weights=null", "--steps=1",
        "--batch_size=1", "--num_workers=0", "--wandb.enable=false", f"--output_dir={tmp_path / 'theirs'}",
        "--dataset.video_backend=pyav", "--policy.dim_model=32", "--policy.n_heads=2", "--policy.chunk_size=5",
        "--policy.n_action_steps=5",
    ]  # fmt: skip
    run_lerobot(asked, tmp_path)
    assert (tmp_path / "theirs" / "checkpoints" / "last").exists()


@pytest.mark.slow
def test_a_person_takes_over_and_gives_back_by_keys_in_a_terminal(policy: Path, tmp_path: Path) -> None:
    asked = [
        *(
            "-m",
            "so101_robot.commands.run",
            f"--policy.path={policy}",
            "--robot.port=mock",
            "--teleop.port=mock",
        ),
        *(
            "--dashboard=plain",
            "--clip=false",
            "--approach_speed=0",
            "--takeover.moved_deg=0",  # the simulated hand would take over again
            f"--output_dir={tmp_path / 'run'}",
        ),
        *("--record.repo_id=me/asked", f"--record.root={tmp_path / 'set'}", "--record.success=ask"),
    ]
    program = pexpect.spawn(sys.executable, asked, encoding="utf-8", timeout=120, dimensions=(40, 200))
    program.expect("inference|latent")
    program.send("t")
    program.expect("takeover, asked by a key")
    program.expect("the leader is where the follower is")
    program.send("t")
    program.expect("you drive; b gives back")
    program.send("b")
    program.expect("given back: the policy drives on")
    program.expect(r"run \| latent")  # a line of the policy's
    program.sendintr()
    program.expect("did the episode succeed")
    program.sendline("y")
    program.expect("a person took over once")
    program.expect(pexpect.EOF)
    program.close()
    assert program.exitstatus == 0
    assert drivers_of(tmp_path / "run")[-3:] == ["human", "hold", "policy"]


# the page -----

PAGE = Path(__file__).parents[2] / "docs" / "takeover.md"
OF_THE_PAGE: dict[str, Any] = {command.name: command for command in (RUN, DATA, REPLAY, TRAIN)}


def on_the_page() -> list[list[str]]:
    """The commands of docs/takeover.md, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_flag_on_the_page_exists() -> None:
    commands = on_the_page()
    assert len(commands) >= 6
    for words in commands:
        command = OF_THE_PAGE[words[0]]
        part = command.chosen(words[1:])
        part.check_flags([word for word in words[1:] if word.startswith("-")])
    for flag in re.findall(r"`(--(?:takeover|corrections)\.[\w.]+)", PAGE.read_text()):
        assert flag in (RUN if "takeover" in flag else TRAIN).help_text()


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--robot.mock.realtime_factor=0", "--dashboard=off"]
    followed = 0
    for words in on_the_page():
        if any(word.startswith("/dev/") for word in re.split("[= ]", " ".join(words))):
            continue
        more = quick if words[0] in ("so101-run", "so101-replay") else []
        assert OF_THE_PAGE[words[0]].main([*words[1:], *more]) == 0, words
        followed += 1
    assert followed == 5
    assert drivers_of(tmp_path / "first") == ["policy", "hold", "handover", "human"]
