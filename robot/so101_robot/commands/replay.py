"""so101-replay: the goals of a run once more, on the mock arm or the real one, and how far the joints were from it.

    recording -> configuration of that run -> connect -> pre-flight, would the guard let it pass? -> loop -> comparison

The goals that the servos were sent are played at the rate at which they were, through the guard, the supervised loop
and the slow approach of `so101-run`; only the policy is missing, and with it the cameras. A run folder comes out of it
too. Wrong input is one message and exit code 2, before the arm is touched.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import draccus
import yaml

from so101_policy.command_line.command_shell import say
from so101_policy.files.whole_files import write_json
from so101_robot.arm.arm import SO101
from so101_robot.cli import REPLAY
from so101_robot.commands import compose, watching
from so101_robot.commands.drive import drive, look_first
from so101_robot.commands.flags import normalised, parse, with_so101_yaml
from so101_robot.commands.replay_parts import (
    Compared,
    Played,
    check_calibration,
    check_goals,
    check_rate,
    on_steps,
)
from so101_robot.commands.run import conclude, exit_code, note_losses
from so101_robot.commands.run_config import RunConfig
from so101_robot.display.view import Title
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.errors import ConfigError
from so101_robot.loop.observers import Observers
from so101_robot.loop.stopping import stop_on_signals
from so101_robot.preflight.checks import run_checks, servo_checks
from so101_robot.preflight.findings import Finding
from so101_robot.runs.log import TICKS, RunLog, new_folder
from so101_robot.runs.provenance import about_run, sha256_of_file
from so101_robot.runs.read import Recording, read_recording
from so101_robot.so101_yaml.content import MOCK
from so101_robot.so101_yaml.flags import OF_A_REPLAY, PORT

NAME = REPLAY.name

KEPT = ("robot", "ending", "max_stop_s", "approach_speed", "fps")
"""What is taken over from a run's configuration."""

ACCEPTED = ("--robot.", "--preflight.", "--watchdog.", "--ending.")
ALSO = (
    "--approach_speed",
    "--max_stop_s",
    "--dashboard",
    "--picture",
    "--display",
    "--output_dir",
    "--verbose",
)

OTHER_CALIBRATION = "--other_calibration"


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong before the arm is touched."""
    folder, flags, other_calibration = split(arguments)
    if flags.get(PORT, MOCK) != MOCK:
        flags = with_so101_yaml(flags, OF_A_REPLAY)
    recording = read_recording(folder)
    return replay(recording, configured(recording, flags), [NAME, *arguments], other_calibration)


def split(arguments: Sequence[str]) -> tuple[Path, dict[str, str], bool]:
    """The run folder, the flags for the run's configuration, and whether another calibration is accepted.

    Raises:
        ConfigError: no run folder or more than one, or flags that a replay has no use for.
    """
    rest = list(arguments)
    other = [argument for argument in rest if argument.partition("=")[0] == OTHER_CALIBRATION]
    folders = [argument for argument in rest if not argument.startswith("-")]
    if not folders or rest.index(folders[0]) != 0:
        raise ConfigError(
            f"which run? the first argument is a run folder: {NAME} RUN --flag=value; see --help"
        )
    flags = normalised([argument for argument in rest[1:] if argument not in other])
    for flag in flags:
        if not flag.startswith(ACCEPTED) and flag not in ALSO:
            raise ConfigError(
                f"a replay has no use for {flag}: it plays what was sent, as fast as it was; see --help"
            )
    accepted = [argument.partition("=")[2] in ("", "true") for argument in other]
    return Path(folders[0]), flags, any(accepted)


def configured(recording: Recording, flags: dict[str, str]) -> RunConfig:
    """The configuration of that run with another arm, as far as `flags` say nothing else. Raises ConfigError."""
    kept = {name: value for name, value in recording.about["config"].items() if name in KEPT}
    mock = {**kept["robot"].get("mock", {}), "faults": None}
    kept["robot"] = {**kept["robot"], "port": "mock", "cameras": {}, "mock": mock}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(kept, file)
        file.flush()
        config = parse({"--config_path": file.name, **flags})
    config.duration_s = 0.0  # until all is played
    return config


def replay(
    recording: Recording, config: RunConfig, argv: Sequence[str], other_calibration: bool = False
) -> int:
    """Play it; returns the exit code. Raises what is wrong before the arm is touched."""
    with ExitStack() as signals:
        return _replay(recording, config, argv, other_calibration, signals)


def _replay(
    recording: Recording, config: RunConfig, argv: Sequence[str], other_calibration: bool, signals: ExitStack
) -> int:
    """Signals are requests until `signals` is closed, as in `run`."""
    robot = SO101(config.robot)
    with watching.page(config, tuple(compose.camera_sizes(robot))) as page:
        return _played(recording, config, argv, robot, page, other_calibration, signals)


def _played(
    recording: Recording,
    config: RunConfig,
    argv: Sequence[str],
    robot: SO101,
    page: RunPage | None,
    other_calibration: bool,
    signals: ExitStack,
) -> int:
    told = about(recording, config, argv, robot)
    folder = config.output_dir or new_folder(Path("outputs/replay"))
    with ExitStack() as stack:
        run_log = RunLog(folder, told)
        stack.callback(run_log.discard_if_empty)
        side = compose.side_observers(config, folder, compose.camera_sizes(robot))
        stack.callback(Observers(side).close)
        stop = signals.enter_context(stop_on_signals())
        if page is not None:
            page.wait()
        robot.connect()
        stack.callback(robot.disconnect, release=False)  # that is the ending's business
        assert robot.guard is not None  # since connect
        recording = on_steps(recording, robot.bus.scale, robot.guard)
        look_first(findings(recording, config, robot, other_calibration), folder)
        played, compared = Played(recording, stop), Compared(recording)
        words = f"{recording.folder} again, {len(recording.goals)} goals in {recording.duration_s:.1f} s"
        title = Title(
            policy=words, arm=compose.arm_title(config), cameras="not looked at", chunks="replay", looks=False
        )
        observers = [run_log, compared, *compose.dashboard(config, title), *side]
        if page is not None:
            page.begin(title, robot.joint_limits())
            observers.append(page)
        outcome = drive(config, robot, played, observers, folder, stop)
        summary = run_log.summary()
    lost = note_losses(run_log, side, summary, NAME)
    if folder.exists():
        write_json(folder / "replay.json", compared.as_dict())
    conclude(outcome, summary, folder, side, NAME)
    say(compared.in_words())
    if page is not None:
        page.finish(Result([compared.in_words()], None if outcome.error is None else False, str(folder)))
    return exit_code(outcome, stop, lost)


def about(recording: Recording, config: RunConfig, argv: Sequence[str], robot: SO101) -> dict[str, Any]:
    """What goes into run.json."""
    ticks = recording.folder / TICKS
    return about_run(
        argv,
        draccus.encode(config),
        replay={"of": str(recording.folder), "sha256": sha256_of_file(ticks), "goals": len(recording.goals)},
        policy=None,
        calibration=compose.calibration_of(config, robot),
        renderer=compose.renderer(config) if config.robot.port == compose.MOCK else None,
    )


def findings(recording: Recording, config: RunConfig, robot: SO101, other_calibration: bool) -> list[Finding]:
    """The pre-flight of a connected arm, as far as it concerns a replay, and whether the run fits it."""
    found = run_checks(servo_checks(robot), config.preflight.skip)
    now = compose.calibration_of(config, robot)
    assert robot.guard is not None  # since connect
    return [
        *found,
        check_calibration(recording.about.get("calibration"), now, other_calibration),
        check_rate(recording),
        *check_goals(recording, robot.guard, robot.joint_limits()),
    ]


if __name__ == "__main__":
    sys.exit(REPLAY.main())
