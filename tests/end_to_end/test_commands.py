"""All fourteen commands: their help is what their flags say now, it comes at once, and old spellings work."""

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from so101_calibration import cli as calibration
from so101_eval import cli as evaluation
from so101_policy import cli as policy
from so101_policy.command_line import command_shell
from so101_policy.command_line.command_flags import HELP_COLUMNS, flags_in, spelled_now
from so101_policy.command_line.command_shell import OK, Command
from so101_policy.commands.help_texts import texts_of
from so101_robot import cli as robot

ROOMS = (robot, policy, evaluation, calibration)
COMMANDS = {command.name: command for room in ROOMS for command in room.COMMANDS}
PARTS = {part.name: part for command in COMMANDS.values() for part in (command, *command.parts)}
HELP_CPU_S = 0.3


def texts() -> Iterator[tuple[str, str, Path]]:
    """Command with its parts, help, and where that is."""
    for room in ROOMS:
        for path in sorted(room.HELP.glob("*.txt")):
            yield path.stem, path.read_text(encoding="utf-8"), path


def test_there_are_sixteen_commands() -> None:
    assert sorted(COMMANDS) == [
        "so101-bench", "so101-cache", "so101-calibrate", "so101-data", "so101-demos", "so101-doctor", "so101-eval",
        "so101-frames", "so101-mock", "so101-reliance", "so101-replay", "so101-run", "so101-setup", "so101-study",
        "so101-teleop", "so101-train",
    ]  # fmt: skip


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.partition(".")[0])
def test_the_help_texts_are_as_make_help_texts_writes_them(room: Any) -> None:
    now = {file: text for command in room.COMMANDS for file, text in texts_of(command).items()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in room.HELP.glob("*.txt")}
    assert kept.keys() == now.keys(), "run: make help-texts"
    for file, text in now.items():
        assert kept[file] == text, f"{file} is stale; run: make help-texts"


def test_every_help_fits_a_terminal_and_every_command_has_examples() -> None:
    for name, text, _ in texts():
        assert max(map(len, text.splitlines())) <= HELP_COLUMNS, name
        assert "--version" in text
    for name in COMMANDS:
        assert "Examples:\n" in COMMANDS[name].help_text(), name


def test_every_flag_in_every_help_is_spelled_as_all_are() -> None:
    for name, text, _ in texts():
        assert not [flag for flag in flags_in(text) if "-" in flag[2:]], name


def test_the_examples_use_flags_that_exist() -> None:
    for command in PARTS.values():
        examples = command.help_text().partition("Examples:\n")[2].partition("\n\n")[0]
        words = [word for word in examples.split() if word.startswith("--") and not command.parts]
        now, hints = spelled_now(words, command.old_names, {})
        assert not hints, hints
        command.check_flags(now)


CPU = """
import resource, sys
sys.argv = [{name!r}, *{words!r}, {flag!r}]
from {module} import {attribute} as command
code = command.main()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(code)
"""


def cpu_s(command: Command, words: Sequence[str], flag: str) -> float:
    """Processor time of `command words flag` as a process [s]."""
    room = next(room for room in ROOMS if command in room.COMMANDS)
    attribute = next(name for name, value in vars(room).items() if value is command)
    program = CPU.format(name=command.name, words=words, flag=flag, module=room.__name__, attribute=attribute)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert command.name in done.stdout
    return float(done.stderr.splitlines()[-1])


def test_help_of_every_part_and_version_of_every_command_take_less_than_a_third_of_a_second() -> None:
    slow: dict[str, float] = {}
    for name, _, path in texts():
        command = next(found for found in COMMANDS.values() if path.stem.startswith(found.name))
        words = (
            path.stem.removeprefix(command.name).strip("-").split("-") if path.stem != command.name else []
        )
        for flag in ("--help",) if words else ("--help", "--version"):
            used = statistics.median(cpu_s(command, words, flag) for _ in range(1))
            if used >= HELP_CPU_S:
                used = statistics.median(cpu_s(command, words, flag) for _ in range(3))
            if used >= HELP_CPU_S:
                slow[f"{name} {flag}"] = used
    assert not slow


OLD = {
    "so101-run": {
        "--out": "--output_dir", "--duration": "--duration_s", "--display_data": "--display", "--task": "--record.task",
        "--rig": "--robot.rig", "--health_every": "--robot.health_every",
    },
    "so101-replay": {"--out": "--output_dir"},
    "so101-mock": {
        flag: flag[:2] + flag[2:].replace("-", "_")
        for flag in ("--random-mount", "--port-link", "--no-pace", "--camera-port", "--no-cameras",
                     "--calibration-dir", "--control-fd")
    },
    "so101-reliance": {"--out": "--output_dir", "--no-picture": "--no_picture"},
    "so101-demos": {"--out": "--output_dir", "--jobs": "--num_workers", "--keep-failures": "--keep_failures"},
    "so101-eval run": {
        "--out": "--output_dir", "--jobs": "--num_workers", "--first-seed": "--first_seed", "--size": "--size",
    },
    "so101-eval report": {"--out": "--output_dir", "--no-videos": "--no_videos"},
    "so101-eval replay": {"--no-video": "--no_video"},
    "so101-eval compare": {"--only-first": "--only_first", "--only-second": "--only_second"},
    "so101-study": {
        "--out": "--output_dir", "--jobs": "--num_workers", "--arms": "--variants", "--train-seeds": "--train_seeds",
        "--batch-size": "--batch_size", "--first-scene": "--first_scene",
    },
    "so101-calibrate servos": {
        "--port": "--robot.port", "--id": "--robot.id", "--calibration_dir": "--robot.calibration_dir",
        "--mock.seed": "--robot.mock.seed", "--robot.port": "--robot.port", "--robot.id": "--robot.id",
        "--robot.calibration_dir": "--robot.calibration_dir",
    },
    "so101-calibrate ids": {"--port": "--robot.port", "--id": "--robot.id"},
    "so101-calibrate check": {
        "--port": "--robot.port", "--id": "--robot.id", "--cameras": "--robot.cameras",
        "--robot.cameras": "--robot.cameras", "--no_motion": "--no_motion",
    },
    "so101-calibrate cameras": {
        "--out": "--output", "--board-mm": "--board_mm", "--square-mm": "--square_mm", "--marker-mm": "--marker_mm",
        "--white-balance": "--white_balance",
    },
    "so101-calibrate drift": {
        "--field-deg": "--field_deg", "--warn-px": "--warn_px", "--no-go-px": "--no_go_px",
    },
}  # fmt: skip
"""What was typed before -> what it is now, by command."""

SILENT = {"--duration", "--display_data", "--task"}
"""LeRobot's names of today, which are no old spelling of ours."""


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, old, new) for name, table in OLD.items() for old, new in table.items()]
)
def test_old_spellings_are_taken(
    name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[str] = []
    module = SimpleNamespace(main=lambda arguments: got.extend(arguments) or OK)
    monkeypatch.setattr(command_shell, "import_module", lambda _: module)
    assert PARTS[name].run([f"{old}=1"]) == OK
    assert got == [f"{new}=1"]
    hint = "" if new == old or old in SILENT else f"{name}: {old} is spelled {new} now\n"
    assert capsys.readouterr().err == hint
