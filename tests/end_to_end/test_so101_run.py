"""so101-run as a person meets it: help, wrong input, a run, Ctrl-C. (On a port: `test_so101_run_port.py`.)"""

import dataclasses
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import draccus
import pexpect
import pytest

from checkpoints import thin, untrained
from running import SO101_RUN, wait_for
from so101_policy.command_line.command_flags import flags_in, spelled_now
from so101_robot.cli import RUN
from so101_robot.commands import run as run_command
from so101_robot.commands.flags import normalised, parse, parse_as
from so101_robot.commands.run_config import RunConfig
from so101_robot.commands.teleop_config import TeleopConfig
from so101_robot.errors import ConfigError
from so101_robot.runs.log import read_ticks
from so101_robot.so101_yaml.flags import OF_AN_ARM, OF_BOTH_ARMS, filled


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thin(tmp_path_factory.mktemp("checkpoint"), says_fps=30.0)


def on_the_mock(checkpoint: Path, out: Path, *more: str) -> list[str]:
    return [f"--policy.path={checkpoint}", "--robot.port=mock", f"--output_dir={out}", *more]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one message of a run that must not begin."""
    assert RUN.main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.startswith("so101-run: ")
    assert captured.err.count("so101-run: ") == 1
    return captured.err


# Help and wrong input


def test_the_help_names_every_flag_and_no_other() -> None:
    def flags_of(cls: Any, prefix: str = "--") -> set[str]:
        found: set[str] = set()
        for item in dataclasses.fields(cls):
            nested = item.default_factory if dataclasses.is_dataclass(item.default_factory) else None
            found |= flags_of(nested, f"{prefix}{item.name}.") if nested else {f"{prefix}{item.name}"}
        return found

    named = flags_in(RUN.help_text()) - {
        "--robot.type",
        "--teleop.type",
        "--config_path",
        "--help",
        "--version",
    }
    assert named == flags_of(RunConfig)


def test_the_defaults_in_the_help_are_the_defaults() -> None:
    defaults = draccus.encode(RunConfig())
    assert isinstance(defaults, dict)
    shown = re.findall(r"^  --([a-z][\w.]*\w)=([a-z0-9.]+)(?=\s)", RUN.help_text(), re.MULTILINE)
    assert len(shown) > 50
    for flag, value in shown:
        if flag in ("robot.type", "teleop.type"):
            continue
        found: Any = defaults
        for part in flag.split("."):
            found = found[part]
        default = {"null": None, "true": True, "false": False}.get(value, value)
        assert found in (default, value) or float(found) == float(value), flag


def camera(setting: str) -> str:
    """The flag of one USB camera with a setting that is out of the ordinary."""
    usual = {"index_or_path": "0", "width": "640", "height": "480", "fps": "30"}
    name, _, value = setting.partition(": ")
    settings = ", ".join(f"{key}: {said}" for key, said in {**usual, name: value}.items())
    return f"--robot.cameras={{wrist: {{type: opencv, {settings}}}}}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--polcy.path=x"], "did you mean --policy.path?"),
        (["--speed=3"], "did you mean --ending.speed?"),
        (["--robot.max_relative_target=10"], "--robot.limits.joint_step_deg"),
        (["--fps"], "needs a value"),
        (["fps=30"], "every argument is a flag"),
        (["--fps=abc"], "--fps: Couldn't parse 'abc'"),
        (["--fps=0"], "expected 1 to 200"),
        (["--chunks.mode=sometimes"], "expected one of auto, synchronous"),
        (["--robot.type=aloha"], "so101-run drives so101"),
        (["--robot.cameras={front: {type: magic}}"], "possible are"),
        (["--robot.cameras={front: {type: opencv, index_or_path: 0}}"], "camera 'front': 'width' and"),
        (["--robot.cameras={front: {"], "not YAML"),
        (
            [camera("color_mode: hsv")],
            "robot.cameras.wrist.color_mode: 'hsv' is not possible; expected one of rgb, bgr",
        ),
        (
            [camera("rotation: 45")],
            "robot.cameras.wrist.rotation: '45' is not possible; expected one of 0, 90, 180, -90",
        ),
        ([camera("fourcc: MJP")], "camera 'wrist': `fourcc` must be a 4-character string"),
        ([camera("width: 0")], "camera 'wrist': width = 0; expected 1 to 8192"),
        ([camera("height: -480")], "camera 'wrist': height = -480; expected 1 to 8192"),
        ([camera("fps: 0")], "camera 'wrist': fps = 0; expected 1 to 1000"),
        ([camera("warmup_s: -1")], "camera 'wrist': warmup_s = -1; expected 0 to 60"),
        (["--robot.cameras={wrist: 3}"], "camera 'wrist': Expected a dict"),
        (
            ["--robot.cameras={a/b: {type: opencv, index_or_path: 0, width: 9, height: 9, fps: 9}}"],
            "'a/b' is no name",
        ),
        (["--robot.port=/dev/ttyACM0"], "--policy.path is missing"),
        (["--policy.path=x"], "--robot.port is missing"),
        (["--robot.limits.joint_speed_deg_s=-3"], "expected a number above 0"),
    ],
)
def test_wrong_flags_are_one_readable_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(arguments, capsys)


def test_a_checkpoint_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused([f"--policy.path={tmp_path / 'no'}", "--robot.port=mock"], capsys)
    assert "there is no checkpoint" in text


def test_a_port_that_does_not_exist(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = "{type: opencv, index_or_path: 90, width: 96, height: 96, fps: 30}"
    cameras = f"{{front: {camera}, wrist: {camera}}}"
    out = tmp_path / "run"
    text = refused(
        [
            f"--policy.path={checkpoint}",
            "--robot.port=/dev/ttyNO",
            f"--robot.cameras={cameras}",
            f"--output_dir={out}",
        ],
        capsys,
    )
    assert "/dev/ttyNO" in text
    assert not out.exists()


def test_cameras_that_the_policy_does_not_know(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    other = untrained(tmp_path_factory.mktemp("other"), cameras=("top",))
    text = refused(on_the_mock(other, tmp_path / "run"), capsys)
    assert "top" in text
    assert "front" in text


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--robot.mock.scene=moon", "table"),
        ("--robot.mock.calibrated=false", "calibrat"),
        ("--robot.mock.width=64", "camera"),
        ("--policy.device=tpu", "device"),
    ],
)
def test_an_arm_that_does_not_fit(
    checkpoint: Path, tmp_path: Path, flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert message in refused(on_the_mock(checkpoint, out, flag), capsys)
    assert not out.exists()


def test_lerobots_spellings_are_understood() -> None:
    typed = ["--robot.type=so101_follower", "--display_data=true", "--health_every", "5", "-v"]
    assert normalised(spelled_now(typed, RUN.old_names, RUN.other_names)[0]) == {
        "--display": "true",
        "--robot.health_every": "5",
        "--verbose": "true",
    }


def test_a_configuration_file_with_a_field_of_before_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"out: {tmp_path / 'here'}\nfps: 60\nrobot: {{id: mine}}\n")
    config = parse(normalised([f"--config_path={file}", "--fps=20"]))
    assert (config.output_dir, config.fps, config.robot.id) == (tmp_path / "here", 20.0, "mine")
    config = parse(normalised([f"--config_path={file}", f"--output_dir={tmp_path / 'there'}"]))
    assert config.output_dir == tmp_path / "there"
    for wrong, said in (("fps: [", "run.yaml"), ("nonsense: 1", "nonsense")):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=said):
            parse(normalised([f"--config_path={file}"]))
    with pytest.raises(ConfigError, match="No such file"):
        parse(normalised([f"--config_path={tmp_path / 'none.yaml'}"]))


def test_the_file_of_the_first_hour_is_read_by_run_and_teleop(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "first_hour.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "so101.yaml").write_text(block)
    (tmp_path / "so101.yaml").chmod(0o644)
    teleop = parse_as(TeleopConfig, filled({}, OF_BOTH_ARMS, tmp_path).flags)
    assert (teleop.teleop.port, teleop.teleop.id) == ("/dev/ttyACM1", "my_leader")
    for config in (parse(filled({}, OF_AN_ARM, tmp_path).flags), teleop):
        assert (config.robot.port, config.robot.id) == ("/dev/ttyACM0", "my_arm")
        assert list(config.robot.cameras) == ["front", "wrist"]


@pytest.mark.parametrize(
    ("given", "meant"), [("off", "off"), ("false", "off"), ("true", "viewer"), ("file", "file")]
)
def test_off_is_off_although_yaml_takes_it_for_a_boolean(given: str, meant: str) -> None:
    assert parse(normalised([f"--display={given}"])).display == meant
    assert parse(normalised(["--dashboard=off"])).dashboard == "off"


# Runs


def test_a_run_leaves_a_folder_and_a_dataset(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "run", tmp_path / "data"
    arguments = on_the_mock(
        checkpoint, out, "--duration_s=2", "--robot.mock.realtime_factor=0", "--dashboard=off"
    )
    arguments += [
        "--approach_speed=0",
        "--preflight.skip=[ranges]",
    ]  # that checkpoint knows nothing of this arm
    arguments += ["--record.repo_id=me/test", f"--record.root={data}", "--record.task=look", "--per_head"]
    assert RUN.main(arguments) == 0
    captured = capsys.readouterr()
    assert "so101-run:" not in captured.err
    assert f"run folder: {out}" in captured.out

    about = json.loads((out / "run.json").read_text())
    (tmp_path / "again.json").write_text(json.dumps(about["config"]))
    again = parse(normalised([f"--config_path={tmp_path / 'again.json'}"]))
    assert again == dataclasses.replace(parse(normalised(arguments)), fps=30.0)
    assert len(about["policy"]["sha256"]) == 64
    assert about["renderer"] in ("egl", "osmesa", "ray")
    assert about["versions"]["lerobot"]

    ticks = list(read_ticks(out / "ticks.jsonl"))
    running = [tick for tick in ticks if tick.get("phase") == "run"]
    assert [tick["tick"] for tick in running] == list(range(60))
    assert all(tick["guard"] for tick in running)
    shares = next(tick["inference"]["shares"] for tick in running if "inference" in tick)
    assert shares["latent"] + shares["state"] + shares["vision"] == pytest.approx(1, abs=1e-4)
    assert set(shares["cameras"]) == {"front", "wrist"}
    assert shares["heads"]
    assert [tick["phase"] for tick in ticks if "phase" in tick][-1] == "home"

    summary = json.loads((out / "summary.json").read_text())
    assert summary["ticks"] == 60
    assert summary["rate_hz"] == pytest.approx(30, abs=0.01)
    assert summary["starved_ticks"] == 0

    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("me/test", root=data)
    sent = [tick["sent"] for tick in running if tick["sent"] is not None]
    assert dataset.num_frames == len(sent)
    assert dataset[0]["action"].tolist() == pytest.approx(sent[0], abs=1e-3)
    assert dataset[0]["task"] == "look"


def test_a_signal_behind_the_end_of_the_run_ends_nothing_halfway(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor asks again and again, and the last words are still to be said and written."""
    came: list[int] = []
    conclude = run_command.conclude

    def asked_again(*arguments: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        conclude(*arguments)

    monkeypatch.setattr(run_command, "conclude", asked_again)
    before = {
        number: signal.signal(number, lambda n, _: came.append(n))
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        flags = ["--duration_s=0.1", "--robot.mock.realtime_factor=0", "--dashboard=off"]
        assert RUN.main(on_the_mock(checkpoint, tmp_path / "run", *flags)) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert came == []


def test_the_same_seed_gives_the_same_run(checkpoint: Path, tmp_path: Path) -> None:
    def commands(name: str) -> list[Any]:
        out = tmp_path / name
        arguments = [
            "--duration_s=1",
            "--robot.mock.realtime_factor=0",
            "--dashboard=off",
            "--robot.mock.seed=3",
        ]
        assert RUN.main(on_the_mock(checkpoint, out, *arguments)) == 0
        lines = read_ticks(out / "ticks.jsonl")
        return [(line["state"], line["sent"], line["frames"]) for line in lines if "phase" in line]

    assert commands("a") == commands("b")


def test_a_cable_that_comes_back_is_waited_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: [{fault: unplug, at_s: 1.5, for_s: 1.0}]")
    arguments = ["--duration_s=4", "--robot.mock.realtime_factor=0", "--dashboard=off", "--approach_speed=0"]
    arguments += ["--preflight.skip=[ranges]", f"--robot.mock.faults={plan}"]
    assert RUN.main(on_the_mock(checkpoint, tmp_path / "run", *arguments)) == 0
    ticks = [tick for tick in read_ticks(tmp_path / "run" / "ticks.jsonl") if tick.get("phase") == "run"]
    held = [tick for tick in ticks if tick["mode"] == "holding"]
    assert held
    assert all("port gone" in tick["faults"] for tick in held)
    assert ticks[-1]["mode"] == "running"
    assert "torque" not in capsys.readouterr().err


def start(checkpoint: Path, out: Path) -> "pexpect.spawn[str]":
    command = [*SO101_RUN, *on_the_mock(checkpoint, out, "--dashboard=live")]
    child: pexpect.spawn[str] = pexpect.spawn(
        command[0],
        command[1:],
        dimensions=(40, 100),
        encoding="utf-8",
        codec_errors="replace",  # Ctrl-C makes the terminal drop what it had not shown yet
        timeout=90,
        env={**os.environ, "TERM": "xterm", "LINES": "40", "COLUMNS": "100"},  # xdist says 24 and 80
    )
    child.expect("where the policy looks")
    wait_for(out, "run", 20)
    return child


def end(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_ctrl_c_once_goes_home_and_is_an_ordinary_end(checkpoint: Path, tmp_path: Path) -> None:
    child = start(checkpoint, tmp_path / "run")
    child.sendintr()
    assert end(child) == 0
    ticks = list(read_ticks(tmp_path / "run" / "ticks.jsonl"))
    home = [tick for tick in ticks if tick.get("phase") == "home"]
    assert home[-1]["state"] == pytest.approx(list(RunConfig().robot.home), abs=4)
    assert any("Ctrl-C" in text for tick in ticks for text in tick.get("messages", ()))
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow  # test_loop.py sends the same signals to a loop; a process of its own costs fifteen seconds
def test_ctrl_c_twice_releases_at_once(checkpoint: Path, tmp_path: Path) -> None:
    child = start(checkpoint, tmp_path / "run")
    child.sendintr()
    wait_for(tmp_path / "run", "home", 1)
    child.sendintr()
    assert end(child) == 130
    home = [tick for tick in read_ticks(tmp_path / "run" / "ticks.jsonl") if tick.get("phase") == "home"]
    assert home[-1]["state"] != pytest.approx(list(RunConfig().robot.home), abs=4)


@pytest.mark.slow  # test_loop.py sends the same signals to a loop; a process of its own costs fifteen seconds
def test_a_closed_terminal_takes_the_arm_home(checkpoint: Path, tmp_path: Path) -> None:
    child = start(checkpoint, tmp_path / "run")
    child.kill(signal.SIGHUP)
    child.expect("going home")
    assert end(child) == 0
