"""The loop on a connected arm, with all that belongs around it: watchdog, garbage collection off,
a port that may come back.

What plays is the caller's scheduler: a policy (`run.py`), or a run that is played again (`replay.py`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from so101_policy.command_line.console import Console
from so101_policy.files.whole_files import write_json
from so101_robot.arm.arm import SO101
from so101_robot.chunks.scheduler import Scheduler
from so101_robot.commands.poses import require_poses
from so101_robot.commands.reconnect import Reconnector
from so101_robot.commands.run_config import RunConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Observer
from so101_robot.preflight.findings import Finding, Level, as_json, as_table, require
from so101_robot.process.realtime import realtime_runtime
from so101_robot.runs.log import PREFLIGHT
from so101_robot.watchdog.client import Watchdog, job_for


def drive(
    config: RunConfig,
    robot: SO101,
    scheduler: Scheduler,
    observers: Sequence[Observer],
    folder: Path,
    stop: StopRequests,
) -> Outcome:
    """One run of the loop, ending included.

    Args:
        config: of the run.
        robot: connected; disconnecting is the caller's.
        scheduler: plays; closed at the end.
        observers: look on; closed at the end.
        folder: of the run, for what the watchdog leaves.
        stop: asks for the end.

    Raises:
        ConfigError: the arm must not go to its home or start pose; it was not moved.
        RobotError: the watchdog does not start; the arm was not moved.
    """
    assert robot.guard is not None  # since connect
    require_poses(config, robot)
    with ExitStack() as stack:
        stack.callback(scheduler.close)
        clock = stack.enter_context(realtime_runtime(robot.clock))
        watchdog: Watchdog | None = None
        watching: list[Observer] = list(observers)
        if (job := job_for(robot, config.watchdog, folder / "watchdog.json")) is not None:
            watchdog = stack.enter_context(Watchdog(job))
            watching.insert(0, watchdog)  # before anything that may be slow
            watchdog.beat()
        loop = ControlLoop(
            robot,
            scheduler,
            robot.guard,
            clock,
            config=loop_config(config),
            observers=watching,
            stop=stop,
            reconnect=Reconnector(robot, watchdog),
        )
        return loop.run()


def loop_config(config: RunConfig) -> LoopConfig:
    """The loop's part of a run's configuration."""
    return LoopConfig(
        fps=config.ticks_per_s,
        duration_s=config.duration_s or 0.0,
        max_stop_s=config.max_stop_s,
        approach_speed=config.approach_speed,
        start_pose=config.start_pose,
        ending=config.ending,
        release=config.robot.disable_torque_on_disconnect,
    )


def look_first(findings: Sequence[Finding], folder: Path) -> None:
    """What a pre-flight has found: into the run folder, and to the terminal what is not in order.

    Raises:
        PreflightError: something says that the arm must not move.
    """
    write_json(folder / PREFLIGHT, as_json(findings))
    if notable := [finding for finding in findings if finding.level != Level.OK]:
        Console(stderr=True, markup=True).print(as_table(notable))
    require(findings)
