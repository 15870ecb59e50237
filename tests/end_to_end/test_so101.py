"""`so101`: every command on its owner's way, once, and each of them by its short name."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from so101_calibration import cli as calibration
from so101_eval import cli as evaluation
from so101_eval import entry
from so101_eval.completion import script
from so101_policy import cli as policy
from so101_policy.command_line.next_steps import Step, as_typed, tell_next
from so101_robot import cli as robot

ALL = [command for room in (robot, policy, evaluation, calibration) for command in room.COMMANDS]


def test_every_command_is_on_the_way_once_and_is_installed():
    assert sorted(entry.COMMANDS) == sorted(command.name.removeprefix("so101-") for command in ALL)
    listed = [line.split()[1] for line in entry.overview().splitlines() if line.startswith("  so101 ")]
    assert listed == list(entry.COMMANDS)
    assert max(map(len, entry.overview().splitlines())) <= 120
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert sorted(scripts) == sorted(["so101", *(command.name for command in ALL)])
    assert scripts["so101"] == "so101_eval.entry:main"


def test_the_way_goes_from_setting_up_to_comparing(capsys: pytest.CaptureFixture[str]):
    for words in ([], ["--help"], ["help"]):
        assert entry.main(words) == 0
        said = capsys.readouterr().out
        places = [
            said.index(f"so101 {word} ") for word in ("doctor", "calibrate", "demos", "train", "run", "bench")
        ]
        assert places == sorted(places)


def test_a_short_name_is_the_command(capsys: pytest.CaptureFixture[str]):
    assert entry.main(["run", "--help"]) == 0
    assert capsys.readouterr().out == robot.RUN.help_text()
    assert entry.main(["so101-eval", "plan", "--help"]) == 0
    assert "so101-eval plan" in capsys.readouterr().out
    assert entry.main(["run", "--no_such_flag=1"]) == 2
    assert capsys.readouterr().err.startswith("so101-run: there is no flag --no_such_flag")
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("so101 ")


def test_an_unknown_word_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert entry.main(["calibrat"]) == 2
    assert "did you mean so101 calibrate?" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback():
    """`so101 | head -1`, made certain: nobody reads from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        ran = subprocess.run(
            [sys.executable, "-m", "so101_eval.entry"], stdout=output, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "")


def test_the_list_imports_nothing_heavy():
    program = (
        "import sys; from so101_eval.entry import main; main([]); "
        "print([name for name in ('torch', 'lerobot', 'mujoco', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_next_command_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "so101-run").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert as_typed("so101-run --fps=30") == "bin/so101-run --fps=30"
    assert as_typed("elsewhere x") == "elsewhere x"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert as_typed("so101-run") == "so101-run"
    tell_next([Step("so101-run", "again"), Step("so101-replay x", "once more")])
    assert capsys.readouterr().out == "next:\n  again      so101-run\n  once more  so101-replay x\n"
    tell_next([])
    assert capsys.readouterr().out == ""


def completed(line: str) -> list[str]:
    """What bash offers after this line."""
    words = line.split(" ")
    program = (
        f"{script('bash', entry.COMMANDS)}\ncompopt() {{ :; }}\nCOMP_WORDS=({' '.join(map(repr, words))})\n"
        f'COMP_CWORD={len(words) - 1}\n_so101\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_parts_and_flags(capsys: pytest.CaptureFixture[str]):
    assert completed("so101 ca") == ["calibrate", "cache"]
    assert completed("so101-run --disp") == ["--display=", "--display_host="]
    assert completed("so101 run --robot.mock.sc") == ["--robot.mock.scene="]
    assert completed("so101-eval rep") == ["replay", "report"]
    assert completed("so101 eval run --num_w") == ["--num_workers="]
    assert completed(".venv/bin/so101-cache cl") == ["clean"]
    assert entry.main(["completion", "fish"]) == 0
    fish = capsys.readouterr().out
    assert "complete -c so101-run -l display" in fish
    assert fish.count("\n") > 300
    assert entry.main(["completion", "tcsh"]) == 2
    assert "possible: bash, zsh, fish" in capsys.readouterr().err
