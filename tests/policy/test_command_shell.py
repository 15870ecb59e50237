"""The shell around every command: what is said, where, and the exit code."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from so101_policy.command_line import command_shell
from so101_policy.command_line.command_flags import Parser, flags_in, nearest, spelled_now
from so101_policy.command_line.command_shell import FAILED, INTERRUPTED, OK, WRONG_INPUT, Command
from so101_policy.command_line.installed import line_to_install
from so101_policy.errors import CheckpointError, CommandLineError, StoppedError

RAY = "lerobot_policy_so101[cluster]"

HELP = """\
so101-wave: wave.

  --often=3                     how often
  --robot.port=PORT             where
  -v, --verbose                 more
"""

type Wave = Callable[..., Command]


@pytest.fixture
def wave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wave:
    """A command whose work is the function that is given."""
    (tmp_path / "so101-wave.txt").write_text(HELP)

    def command(work: Callable[[Sequence[str]], int] = lambda _: OK, **more: object) -> Command:
        module = SimpleNamespace(main=work)
        monkeypatch.setattr(command_shell, "import_module", lambda name: module)
        return Command("so101-wave", "wave", tmp_path, "so101_wave", **more)  # pyright: ignore[reportArgumentType]

    return command


def raising(problem: BaseException) -> Callable[[Sequence[str]], int]:
    def work(arguments: Sequence[str]) -> int:
        raise problem

    return work


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (CheckpointError("there is no checkpoint x"), WRONG_INPUT, "so101-wave: there is no checkpoint x\n"),
        (StoppedError("the loss is NaN"), FAILED, "so101-wave: the loss is NaN\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.yaml"),
            WRONG_INPUT,
            "so101-wave: a.yaml: No such file or directory\n",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), FAILED, "so101-wave: No space left on device\n"),
        (KeyboardInterrupt(), INTERRUPTED, "so101-wave: the hand stopped\n"),
        (
            ZeroDivisionError("division by zero"),
            FAILED,
            "so101-wave: ZeroDivisionError: division by zero (an unexpected error; --verbose shows where)\n",
        ),
        (
            ModuleNotFoundError("No module named 'ray'", name="ray"),
            FAILED,
            f"so101-wave: this needs the package 'ray', which is not installed: {line_to_install(RAY)}\n",
        ),
    ],
)
def test_a_problem_is_one_message_and_an_exit_code(
    wave: Wave, capsys: pytest.CaptureFixture[str], problem: BaseException, code: int, said: str
) -> None:
    assert wave(raising(problem), interrupted="the hand stopped").main([]) == code
    assert capsys.readouterr() == ("", said)


def test_verbose_shows_where(wave: Wave, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("-v", "--verbose"):
        assert wave(raising(CheckpointError("no"))).main([flag]) == WRONG_INPUT
        said = capsys.readouterr().err
        assert "Traceback" in said
        assert said.endswith("so101-wave: no\n")


def test_help_and_version_import_nothing(
    wave: Wave, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = wave()
    monkeypatch.setattr(command_shell, "import_module", raising(AssertionError("imported")))
    monkeypatch.setattr(command_shell, "version", lambda: "1.2.3")
    for flag, said in (("--help", HELP), ("-h", HELP), ("--version", "so101-wave 1.2.3\n")):
        assert command.main(["--often=2", flag]) == OK
        assert capsys.readouterr() == (said, "")


def test_a_flag_that_does_not_exist_is_said_before_anything_is_imported(
    wave: Wave, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = wave(not_taken={"--robot.use_degrees": "joints are always in degrees"}, hidden=("--secret",))
    monkeypatch.setattr(command_shell, "import_module", raising(AssertionError("imported")))
    for flag, said in (
        ("--oftn=2", "there is no flag --oftn; did you mean --often?"),
        ("--port=x", "there is no flag --port; did you mean --robot.port?"),
        ("--robot.use_degrees=true", "there is no flag --robot.use_degrees: joints are always in degrees"),
    ):
        assert command.main([flag]) == WRONG_INPUT
        assert said in capsys.readouterr().err


def test_old_spellings_are_taken_with_one_hint_and_lerobots_in_silence(
    wave: Wave, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[str] = []

    def work(arguments: Sequence[str]) -> int:
        got.extend(arguments)
        return OK

    command = wave(
        work,
        old_names={"--out": "--often"},
        other_names={"--count": "--often"},
        hidden=("--a_b",),
    )
    assert command.main(["--out", "a-b", "--out=2", "--a-b=--c-d", "--count=1", "-1", "x-y"]) == OK
    assert got == ["--often", "a-b", "--often=2", "--a_b=--c-d", "--often=1", "-1", "x-y"]
    assert capsys.readouterr().err == (
        "so101-wave: --out is spelled --often now\nso101-wave: --a-b is spelled --a_b now\n"
    )


def test_a_command_of_commands(tmp_path: Path, wave: Wave, capsys: pytest.CaptureFixture[str]) -> None:
    got: list[str] = []

    def work(arguments: Sequence[str]) -> int:
        got.extend(arguments)
        raise CheckpointError("no")

    wave(work)
    for name in ("so101-all", "so101-all-one", "so101-all-one-half"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n  --x=1  it\n")
    one = Command("so101-all one", "the first", tmp_path, "so101_one")
    command = Command("so101-all", "all", tmp_path, parts=(one,))
    assert command.main(["-v", "one", "--x=2", "half", "--verbose"]) == WRONG_INPUT
    assert got == ["--x=2", "half", "--verbose"]
    assert capsys.readouterr().err.endswith("so101-all: no\n")
    for words, said in (
        (["--help"], "so101-all\n"),
        (["one", "--help"], "so101-all-one\n"),
        (["one", "--x", "2", "half", "-h"], "so101-all-one-half\n"),
        ([], "so101-all\n"),
    ):
        assert command.main(words) == OK
        assert capsys.readouterr().out.startswith(said)
    for words, said in (
        (["two"], "there is no command 'two'; possible: one"),
        (["--x=2"], "--x needs a command before it; possible: one"),
    ):
        assert command.main(words) == WRONG_INPUT
        assert said in capsys.readouterr().err


WAVE = """
import sys
from pathlib import Path
from so101_policy.command_line.command_shell import Command
sys.modules["so101_wave"] = type(sys)("so101_wave")
def main(arguments):
    {work}
    return 0
sys.modules["so101_wave"].main = main
sys.exit(Command("so101-wave", "wave", Path({folder!r}), "so101_wave", ends_on_signals=True).main([]))
"""


def start(folder: Path, work: str) -> "subprocess.Popen[str]":
    program = WAVE.format(work=work, folder=str(folder))
    environment = os.environ | {"PYTHONPATH": str(Path(command_shell.__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    child = start(tmp_path, "print('line ' * 1000000)")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(60) == FAILED
    child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(tmp_path: Path, number: signal.Signals) -> None:
    with start(
        tmp_path, "print('on', flush=True); sys.stdin.read() or __import__('time').sleep(60)"
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "on\n"
        child.send_signal(number)
        assert child.stderr.read() == "so101-wave: interrupted\n"
        assert child.wait(60) == INTERRUPTED


def test_flags_are_read_from_the_beginnings_of_lines() -> None:
    text = "a\n  --x=1    as --y\n  -v, --verbose  z\n  --left.right  --no\n        --far  away\n"
    assert flags_in(text) == {"--x", "--verbose", "--left.right"}


def test_a_flag_with_the_same_last_part_is_nearer_than_a_like_one() -> None:
    assert nearest("--speed", {"--sped", "--ending.speed"}) == "; did you mean --ending.speed?"
    assert nearest("--zzz", {"--sped"}) == ""


def test_only_flags_are_respelled() -> None:
    words = ["--a-b", "--a_b=c-d", "-x-y", "a--b", "--", "--A-b"]
    assert spelled_now(words, {}, {})[0] == ["--a_b", "--a_b=c-d", "-x-y", "a--b", "--", "--A-b"]


def test_a_parsers_mistake_is_an_error_with_one_line() -> None:
    parser = Parser("so101-wave", "Waves.")
    parser.add_argument("--often", type=int)
    with pytest.raises(CommandLineError, match="argument --often: invalid int value: 'x'") as caught:
        parser.parse_args(["--often=x"])
    assert "\n" not in str(caught.value)
    assert parser.parse_args(["-v"]).verbose


def test_the_shell_is_light() -> None:
    heavy = "numpy", "torch", "lerobot", "yaml", "rich", "draccus"
    module = "so101_policy.command_line.command_shell"
    code = f"import sys, {module}; sys.exit([m for m in {heavy} if m in sys.modules] or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_error_that_ends_a_thread_is_one_line(wave: Wave, capsys: pytest.CaptureFixture[str]):
    def work(_: Sequence[str]) -> int:
        def fails() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        thread = threading.Thread(target=fails, name="writer")
        thread.start()
        thread.join()
        return OK

    before = threading.excepthook
    assert wave(work).main([]) == OK
    assert capsys.readouterr().err == "so101-wave: writer: No space left on device\n"
    assert threading.excepthook is before
