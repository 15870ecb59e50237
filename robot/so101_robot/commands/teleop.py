"""so101-teleop: a leader drives an SO-101 through guard, supervisor and watchdog, and demonstrations are recorded.

    parse -> both ports read, which is which? -> connect -> pre-flight -> free the leader -> watchdog -> loop -> summary

Whatever is wrong with the request is said before an arm is touched: one message, exit code 2. What goes wrong while the
leader drives ends the run safely (`loop/ending.py`), as in `so101-run`: hold, home, release, exit code 1. Ctrl-C is an
ordinary end.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import draccus
from lerobot.utils.constants import HF_LEROBOT_HOME

from so101_policy.command_line.command_shell import FAILED, complain, in_words, say
from so101_policy.command_line.next_steps import Step, next_steps, on_dataset, tell_next
from so101_robot.arm.arm import SO101
from so101_robot.cli import TELEOP
from so101_robot.commands import both_arms, compose, watching
from so101_robot.commands.drive import drive, look_first
from so101_robot.commands.flags import normalised, parse_as, with_so101_yaml
from so101_robot.commands.run import conclude, exit_code, note_losses
from so101_robot.commands.run_config import RunConfig
from so101_robot.commands.teleop_config import ASK, AUTO, UNKNOWN, YES, TeleopConfig
from so101_robot.display.view import Title
from so101_robot.display.web.run_page import Result, RunPage
from so101_robot.errors import ConfigError
from so101_robot.guard.guard import Guard
from so101_robot.leader import lag, ports, stage
from so101_robot.leader.disturbance import Disturbance
from so101_robot.leader.grip import GripHint
from so101_robot.leader.leader import MOCK_PORT, Leader
from so101_robot.leader.source import LeaderSource
from so101_robot.loop.observers import Observers
from so101_robot.loop.stopping import StopRequests, stop_on_signals
from so101_robot.loop.tick import Observer
from so101_robot.message import Message, Severity
from so101_robot.preflight import cameras as preflight_cameras
from so101_robot.preflight.checks import run_checks, servo_checks
from so101_robot.preflight.findings import Finding
from so101_robot.process.keys import Keys
from so101_robot.runs.episodes import EpisodeRecorder, EpisodesConfig
from so101_robot.runs.log import RunLog, new_folder
from so101_robot.runs.provenance import about_run, sha256_of_file
from so101_robot.so101_yaml.flags import OF_BOTH_ARMS

NAME = TELEOP.name

KEYS_IN_WORDS = (
    "keys: n (or right) begins and ends an episode, r (or left) throws it away, q (or esc) ends the recording"
)


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong before an arm is touched."""
    config = parse_as(TeleopConfig, with_so101_yaml(normalised(arguments), OF_BOTH_ARMS))
    return teleoperate(config, [NAME, *arguments])


def teleoperate(
    config: TeleopConfig, argv: Sequence[str], robot: SO101 | None = None, leader: Leader | None = None
) -> int:
    """Let the leader drive; returns the exit code. Raises what is wrong before an arm is touched.

    Args:
        config: what was asked for.
        argv: the command line, for the run folder.
        robot, leader: not connected yet; made from `config` unless somebody brings them.
    """
    if config.teleop.port:  # or the leader says that it is missing
        ports.require_two_ports(config.robot.port, config.teleop.port)
    run = config.as_run()
    if not (config.record.repo_id or run.clip or run.display != "off"):
        run.robot.mock.draw_late = True  # nobody looks
    with ExitStack() as signals:
        leader = Leader(config.teleop) if leader is None else leader
        signals.callback(leader.close)
        robot = SO101(run.robot) if robot is None else robot
        with watching.page(run, tuple(compose.camera_sizes(robot))) as page:
            return _driven(config, run, argv, robot, leader, page, signals)


def _driven(
    config: TeleopConfig,
    run: RunConfig,
    argv: Sequence[str],
    robot: SO101,
    leader: Leader,
    page: RunPage | None,
    signals: ExitStack,
) -> int:
    folder = run.output_dir or new_folder(Path("outputs/teleop"))
    with ExitStack() as stack:
        run_log = RunLog(folder, about(config, run, argv, robot, leader))
        stack.callback(run_log.discard_if_empty)
        side = compose.side_observers(run, folder, compose.camera_sizes(robot))
        stack.callback(Observers(side).close)
        keys = Keys()
        stop = signals.enter_context(stop_on_signals())
        if page is not None:
            page.wait()
        shown: list[Observer] = []
        told = watching.tell_all(shown)
        caught_up: list[Callable[[], bool]] = []
        recorder = make_recorder(config, robot, keys, lambda: caught_up[0](), told, stop, run_log.known)
        if recorder is not None:
            stack.callback(_closed, recorder)
        both_arms.connect(robot, leader, config.teleop.was_follower)
        stack.callback(robot.disconnect, release=False)  # that is the ending's business
        look_first(findings(config, robot, leader), folder)
        assert robot.guard is not None  # since connect
        let_go = leader.free()
        disturbance = Disturbance(robot.guard, seed_of(config)) if config.record.disturb else None
        source = LeaderSource(leader, robot.guard, robot.clock, told, disturbance=disturbance)
        caught_up.append(lambda: source.caught_up)
        shown += [run_log, *_displays(config, run, robot, folder, page)]
        if let_go:
            told(Message(f"the leader was under torque and was let go: {', '.join(let_go)}"))
        if recorder is not None:
            recorder.stage = stage_of(config, source, robot.guard, told, disturbance)
        if disturbance is not None:
            told(Message(stage.in_words(config.record.disturb), Severity.WARNING))
        if recorder is not None and keys.available:
            told(Message(KEYS_IN_WORDS))
        stack.enter_context(keys)
        meter = lag.LagMeter(source, robot.clock.now_s, run_log.known)
        recording: list[Observer] = [] if recorder is None else [recorder]
        watching_on: list[Observer] = [meter, GripHint(told), *recording, *shown, *side]
        outcome = drive(run, robot, source, watching_on, folder, stop)
        summary = run_log.summary()
    lost = note_losses(run_log, side, summary, NAME)
    conclude(outcome, summary, run_log.folder, side, NAME)
    delay = lag.in_words(summary["leader"])
    say(delay)
    lost |= tell_recording(recorder)
    if page is not None:
        wrong = [] if outcome.error is None else [in_words(outcome.error)]
        page.finish(Result([*wrong, delay], False if wrong else None, str(folder)))
    return FAILED if lost else exit_code(outcome, stop)


def _displays(
    config: TeleopConfig, run: RunConfig, robot: SO101, folder: Path, page: RunPage | None
) -> list[Observer]:
    """What a person watches: film, dashboard, page."""
    title = Title(
        policy=f"leader at {config.teleop.port}",
        arm=compose.arm_title(run),
        cameras=_cameras(robot),
        chunks="teleoperation",
        looks=False,
        plays="the leader drives",
    )
    shown = [*watching.film(run, folder), *compose.dashboard(run, title)]
    if page is not None:
        page.begin(title, robot.joint_limits())
        shown.append(page)
    return shown


def findings(config: TeleopConfig, robot: SO101, leader: Leader) -> list[Finding]:
    """The pre-flight of both connected arms, and of the cameras."""
    skip = config.preflight.skip
    sizes = compose.camera_sizes(robot)

    def cameras() -> list[Finding]:
        limit_s = robot.config.limits.max_frame_age_s
        return preflight_cameras.check_cameras(robot.frames, sizes, robot.clock, limit_s, robot.camera_rates)

    checks = servo_checks(robot) | ({"cameras": cameras} if sizes else {})
    return [*run_checks(checks, skip), *both_arms.leader_findings(leader, skip)]


def make_recorder(
    config: TeleopConfig,
    robot: SO101,
    keys: Keys,
    ready: Callable[[], bool],
    tell: Callable[[Message], None],
    stop: StopRequests,
    known: dict[str, Any],
) -> EpisodeRecorder | None:
    """What keeps the demonstrations; None: nothing is recorded. Raises ConfigError."""
    wanted = config.record
    if not wanted.repo_id:
        return None
    if not keys.available and wanted.reset_time_s is None:
        raise ConfigError(
            "without a terminal no key can begin an episode; give --record.reset_time_s, after which each begins by "
            "itself"
        )
    success = wanted.success
    if success == AUTO:
        success = ASK if keys.available else UNKNOWN
    if success == ASK and not keys.available:
        raise ConfigError(f"--record.success={ASK} needs a terminal; say yes, no or unknown")
    return EpisodeRecorder(
        EpisodesConfig(
            repo_id=wanted.repo_id,
            root=wanted.root or HF_LEROBOT_HOME / wanted.repo_id,
            task=wanted.task,
            fps=config.ticks_per_s,
            cameras=compose.camera_sizes(robot),
            resume=wanted.resume,
            num_episodes=wanted.num_episodes,
            episode_time_s=wanted.episode_time_s,
            reset_time_s=wanted.reset_time_s,
            success=None if success in (UNKNOWN, ASK) else success == YES,
            ask=success == ASK,
        ),
        keys.pressed,
        ready,
        tell,
        stop.finish,
        known,
    )


def stage_of(
    config: TeleopConfig,
    source: LeaderSource,
    guard: Guard,
    tell: Callable[[Message], None],
    disturbance: Disturbance | None,
) -> stage.Stage | None:
    """Where episodes begin and whether they are disturbed; None: where the arm is, and they are not."""
    wanted = config.record
    if disturbance is None and not wanted.random_start:
        return None
    return stage.Stage(
        source,
        guard,
        tell,
        disturbance=disturbance,
        disturb=wanted.disturb,
        random_start=wanted.random_start,
        seed=seed_of(config),
    )


def seed_of(config: TeleopConfig) -> int:
    """Of wobbles and random starts: another one each time, but of a simulated arm."""
    return config.robot.mock.seed if config.robot.port == MOCK_PORT else time.time_ns()


def _closed(recorder: EpisodeRecorder) -> None:
    """Closed, whatever happened before; what went wrong is told by `tell_recording`."""
    with contextlib.suppress(Exception):
        recorder.close()


def tell_recording(recorder: EpisodeRecorder | None) -> bool:
    """Say what was recorded; returns whether something that should have been is not."""
    if recorder is None:
        return False
    found = recorder.figures()
    say(f"{found['episodes']} episodes recorded, {found['thrown_away']} thrown away: {found['dataset']}")
    if found["dropped_ticks"]:
        say(f"the disk was too slow for {found['dropped_ticks']} ticks, which are not in the dataset")
    if recorder.failure is not None:
        complain(NAME, f"the recording failed: {in_words(recorder.failure)}")
    elif found["episodes"]:
        tell_next(steps_after(Path(found["dataset"])))
    return recorder.failure is not None


def steps_after(root: Path) -> list[Step]:
    """What to type when demonstrations are recorded."""
    return next_steps(
        Step(f"so101-data check {shlex.quote(str(root))}", "are they right, what do they show?"),
        Step(on_dataset("so101-train", root), "train on them"),
    )


def about(
    config: TeleopConfig, run: RunConfig, argv: Sequence[str], robot: SO101, leader: Leader
) -> dict[str, Any]:
    """What goes into run.json. The configuration is a run's, so that `so101-replay` can play it again."""
    return about_run(
        argv,
        draccus.encode(run),
        policy=None,
        teleop=draccus.encode(config.teleop),
        record=draccus.encode(config.record),
        leader_calibration=None
        if leader.mock is not None
        else {"path": str(leader.calibration_path), "sha256": sha256_of_file(leader.calibration_path)},
        calibration=compose.calibration_of(run, robot),
        renderer=compose.renderer(run) if run.robot.port == MOCK_PORT else None,
    )


def _cameras(robot: SO101) -> str:
    sizes = compose.camera_sizes(robot).items()
    return ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes) or "none"


if __name__ == "__main__":
    sys.exit(TELEOP.main())
