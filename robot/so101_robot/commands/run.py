"""so101-run: an ACT policy drives an SO-101, and the terminal shows where it looks.

    parse -> policy -> does it fit the robot? -> run folder -> connect -> pre-flight -> watchdog -> loop -> summary

Whatever is wrong with the request is said before the arm is touched: one message, exit code 2. What goes
wrong while the arm is driven ends the run safely (`ending.py`): one message, exit code 1. Ctrl-C is an
ordinary end, exit code 0; pressed again during the way home it releases the arm at once, exit code 130.
"""

import contextlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.trained_on import scene_of
from so101_policy.command_line.command_shell import FAILED, INTERRUPTED, OK, complain, in_words, say
from so101_policy.command_line.next_steps import Step, tell_next
from so101_policy.errors import CheckpointError
from so101_policy.files.whole_files import write_json
from so101_robot import demo
from so101_robot.arm.arm import SO101
from so101_robot.cli import RUN
from so101_robot.commands import camera_correction, compose, watching
from so101_robot.commands.after_run import steps_after
from so101_robot.commands.drive import drive, look_first
from so101_robot.commands.flags import normalised, parse, with_so101_yaml
from so101_robot.commands.run_config import RunConfig
from so101_robot.commands.taking_over import TakingOver
from so101_robot.commands.task_result import TaskResult
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.errors import ConfigError, describe
from so101_robot.loop.loop import Outcome
from so101_robot.loop.observers import Background, Observers
from so101_robot.loop.stopping import StopRequests, stop_on_signals
from so101_robot.loop.tick import Observer
from so101_robot.message import Message
from so101_robot.mock.physics.world import available_scenes
from so101_robot.preflight.checks import preflight
from so101_robot.runs.clip import CLIP
from so101_robot.runs.log import SUMMARY, RunLog, new_folder
from so101_robot.runs.summary import in_words as summary_in_words
from so101_robot.so101_yaml.flags import OF_AN_ARM

RECORDER = "recorder"
"""The name of the observer that records a dataset."""

DEMO_S = 20.0
"""How long a run without any arguments lasts: the task gives 15 s."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong before the arm is touched."""
    flags = normalised(arguments)
    if "--config_path" in flags or not _is_demonstration(flags.get("--policy.path", "")):
        flags = with_so101_yaml(flags, OF_AN_ARM)
    return run(with_defaults(flags), ["so101-run", *arguments])


def _is_demonstration(policy: str) -> bool:
    """Whether it drives the simulated arm alone, so that a so101.yaml does not matter."""
    return not policy or policy.startswith(demo.PREFIX)


def with_defaults(flags: dict[str, str]) -> RunConfig:
    """The configuration that `flags` ask for; without policy and port it is the demonstration on the mock
    arm.

    Raises:
        ConfigError: flags that do not go together.
    """
    config = parse(flags)
    if _is_demonstration(config.policy.path):
        _settle_demonstration(config, flags)
    elif "--robot.port" not in flags and "--config_path" not in flags:
        raise ConfigError(
            f"--robot.port is missing: the arm's serial port{_ports()}, or mock for the simulated one"
        )
    elif config.robot.port == "mock" and not {"--robot.mock.scene", "--config_path"} & flags.keys():
        _settle_scene(config)
    if config.robot.port != "mock" and config.inference_latency_s is not None:
        raise ConfigError(
            "--inference_latency_s is for the mock arm; on a real one the latency is what it is"
        )
    config.duration_s = config.duration_s or 0.0
    if not flags and not watching.WEB.missing:
        config.display = "web"
    return config


def _settle_demonstration(config: RunConfig, flags: dict[str, str]) -> None:
    """A policy that comes with the package, in the scene that it knows. Raises ConfigError on a real arm."""
    if config.robot.port != "mock":
        asked = f"--policy.path={config.policy.path}" if config.policy.path else "--policy.path is missing"
        raise ConfigError(
            f"{asked}: the policies that come with so101-run have only seen the mock arm; "
            f"expected a checkpoint of your own to drive the arm on {config.robot.port}"
        )
    config.policy.path = config.policy.path or f"{demo.PREFIX}{demo.NAMES[0]}"
    if "--robot.mock.scene" not in flags and "--config_path" not in flags:
        config.robot.mock.scene = demo.SCENE
    if config.duration_s is None:
        config.duration_s = DEMO_S


def _settle_scene(config: RunConfig) -> None:
    """The scene that the policy learned in, where its checkpoint names one that there is. What is wrong with the
    checkpoint is said when it is loaded."""
    folder = Path(config.policy.path).expanduser()
    if not folder.is_dir():
        return
    with contextlib.suppress(CheckpointError):
        scene = scene_of(find_checkpoint(folder))
        if scene is not None and scene != config.robot.mock.scene and scene in available_scenes():
            say(
                f"scene {scene}, in which the policy learned; --robot.mock.scene={config.robot.mock.scene} for another"
            )
            config.robot.mock.scene = scene


def run(config: RunConfig, argv: Sequence[str], taking: TakingOver | None = None) -> int:
    """Run as configured; returns the exit code. Raises what is wrong before the arm is touched.

    Args:
        config: what was asked for.
        argv: the command line, for the run folder.
        taking: the leader that may take over; made from `config` unless somebody brings it.
    """
    with ExitStack() as signals:
        if taking is None and config.teleop.port:
            taking = TakingOver(config)
        if taking is not None:
            signals.callback(taking.close)
        return _run(config, argv, signals, taking)


def _run(config: RunConfig, argv: Sequence[str], signals: ExitStack, taking: TakingOver | None) -> int:
    """Signals are requests until `signals` is closed, when the last word is said and written: supervisors ask again."""
    robot = SO101(config.robot)
    with watching.page(config, tuple(compose.camera_sizes(robot))) as page:
        return _driven(config, argv, robot, page, signals, taking)


def _driven(
    config: RunConfig,
    argv: Sequence[str],
    robot: SO101,
    page: RunPage | None,
    signals: ExitStack,
    taking: TakingOver | None,
) -> int:
    policy = compose.load_policy(config)
    signals.callback(policy.close)
    cameras = compose.camera_sizes(robot)
    policy.check_robot(tuple(robot.action_features), cameras)
    units = compose.units(config, policy)
    about = compose.about(config, argv, robot, policy)
    folder = config.output_dir or new_folder(Path("outputs/run"))
    pictures = compose.terminal_pictures(config)
    with ExitStack() as stack:
        run_log = RunLog(folder, about)
        stack.callback(run_log.discard_if_empty)
        side = compose.side_observers(config, folder, cameras)
        stack.callback(Observers(side).close)
        stop = signals.enter_context(stop_on_signals())
        if page is not None:
            page.wait()
            page.say("The arm and its cameras are being looked at ...")
        if taking is None:
            robot.connect()
        else:
            taking.connect(robot)
        stack.callback(robot.disconnect, release=False)  # that is the ending's business
        registered = camera_correction.register(
            config, robot, policy, lambda text: run_log.on_message(Message(text))
        )

        def begins() -> list[float] | None:
            pose = config.start_pose or compose.start_pose(policy, units, robot.bus.scale)
            return pose if config.approach_speed > 0 else None

        findings = preflight(robot, policy, config.preflight.skip, units, policy.trained_on.colours, begins)
        findings += [] if taking is None else taking.findings()
        look_first([*registered.findings, *findings], folder)
        run_log.known |= camera_correction.keep(registered, folder)
        config.start_pose = config.start_pose or compose.start_pose(policy, units, robot.bus.scale)
        scheduler = compose.make_scheduler(config, robot, policy, registered.corrector)
        result = TaskResult.of(robot, run_log.known)
        title = compose.title(config, robot, policy)
        shown: list[Observer] = [run_log]
        if taking is not None:
            scheduler = taking.scheduler(scheduler, robot, watching.tell_all(shown), stack)
            title = replace(title, chunks=f"{title.chunks} · {taking.hint()}")
        if title.no_shares:
            run_log.known["no_shares"] = title.no_shares
        if title.answers_s is not None:
            run_log.known["answers_take_s"] = title.answers_s  # simulated: not measured
        if page is not None:
            page.begin(title, robot.joint_limits())
        shown += [
            *watching.film(config, folder),
            *compose.dashboard(config, title, pictures),
            *([page] if page else []),
        ]
        ends = [] if taking is None else [taking.until_the_end()]
        looking = [*ends, result, *shown, *side]
        outcome = drive(config, robot, scheduler, [compose.with_alarm(config, looking)], folder, stop)
        summary = run_log.summary()
    result.tell()
    lost = note_losses(run_log, side, summary)
    conclude(outcome, summary, run_log.folder, side)
    steps = steps_after(config, run_log.folder)
    tell_next(steps)
    if page is not None:
        page.finish(result_of(outcome, result, run_log.folder, steps))
    return exit_code(outcome, stop, lost)


def result_of(outcome: Outcome, result: TaskResult, folder: Path, steps: Sequence[Step]) -> Result:
    """What the page says in the end."""
    wrong = [] if outcome.error is None else [in_words(outcome.error)]
    return Result(
        lines=[*wrong, *result.lines] or ["The run is over."],
        good=False if wrong else result.good,
        folder=str(folder),
        next=steps,
        film=folder / CLIP,
    )


def note_losses(
    run_log: RunLog, side: Sequence[Background], summary: dict[str, Any], command: str = RUN.name
) -> bool:
    """What was to be kept of the run and is not: in the summary, which is written again, and on the terminal.

    Args:
        run_log: closed.
        side: closed.
        summary: of the run; gets an entry `lost`.
        command: for the messages.

    Returns:
        Whether a recording that was asked for is not whole.
    """
    lost = {each.name: describe(each.failure) for each in side if each.failure is not None}
    if run_log.lost:
        lost[run_log.name] = f"the last {run_log.lost} ticks could not be written"
    if not lost:
        return False
    summary["lost"] = lost
    with contextlib.suppress(OSError):  # the disk may still be full
        write_json(run_log.folder / SUMMARY, summary)
    for name, why in lost.items():
        complain(command, f"{name} failed: {why}")
    return bool({run_log.name, RECORDER} & lost.keys())


def exit_code(outcome: Outcome, stop: StopRequests, lost: bool = False) -> int:
    """0 for an ordinary end, Ctrl-C included.

    Args:
        outcome: of the run.
        stop: how it was asked to end.
        lost: a recording that was asked for is not whole.
    """
    if lost or outcome.error is not None or outcome.ending.torque_may_be_on:
        return FAILED
    return INTERRUPTED if stop.count > 1 else OK


def conclude(
    outcome: Outcome,
    summary: dict[str, Any],
    folder: Path,
    side: Sequence[Background],
    command: str = RUN.name,
) -> None:
    """Say how it went."""
    say(summary_in_words(summary))
    for observer in side:
        if observer.dropped:
            say(f"{observer.name} was too slow and missed {observer.dropped} ticks")
    if folder.exists():
        say(f"run folder: {folder}")
    if outcome.ending.held:
        complain(command, f"{outcome.ending.held}; put a hand under it before you switch its supply off")
    if joints := outcome.ending.torque_may_be_on:
        complain(
            command, f"torque may still be on: {', '.join(joints)}; switch the arm's supply off to be sure"
        )
    if outcome.error is not None:
        complain(command, in_words(outcome.error))


def _ports() -> str:
    """The serial ports of this machine, for a message."""
    found = sorted(str(path) for folder in ("/dev/serial/by-id",) for path in Path(folder).glob("*"))
    found = found or sorted(
        str(path) for pattern in ("ttyACM*", "ttyUSB*") for path in Path("/dev").glob(pattern)
    )
    return f" ({', '.join(found)})" if found else ""


if __name__ == "__main__":
    sys.exit(RUN.main())
