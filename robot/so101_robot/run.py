"""so101-run: an ACT policy drives an SO-101, and the terminal shows where it looks.

    parse -> policy -> does it fit the robot? -> run folder -> connect -> loop -> summary

Whatever is wrong with the request is said before the arm is touched: one message, exit code 2. What goes
wrong while the arm is driven ends the run safely (`ending.py`): one message, exit code 1. Ctrl-C is an
ordinary end, exit code 0; pressed again during the way home it releases the arm at once, exit code 130.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .errors import ConfigError, RobotError
from .flags import HELP, normalised, parse, wants_help

if TYPE_CHECKING:
    from so101_policy.checkpoint import ActPolicy

    from .arm import SO101
    from .chunks import Mode, Scheduler
    from .config_run import RunConfig
    from .dashboard import Style
    from .loop import Outcome
    from .observers import Background, Observer

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

MOCK = "mock"

DEMO_S = 30.0
"""How long a run without any arguments lasts."""

DEMO_LATENCY_S = 0.1
"""Inference latency on the mock arm's clock, if none is stated: an ACT on a laptop's processor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if wants_help(arguments):
        print(HELP, end="")
        return OK
    verbose = "-v" in arguments or any(argument.startswith("--verbose") for argument in arguments)
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s")
    try:
        config = with_defaults(normalised(arguments))
        return run(config, ["so101-run", *arguments])
    except KeyboardInterrupt:
        _complain("interrupted before the arm was touched")
        return INTERRUPTED
    except Exception as problem:  # the border to a person: one message, whatever it is
        if verbose:
            traceback.print_exc()
        _complain(in_words(problem))
        return WRONG_INPUT if is_expected(problem) else FAILED


def with_defaults(flags: dict[str, str]) -> "RunConfig":
    """The configuration that `flags` ask for; without policy and port it is the demonstration on the mock
    arm.

    Raises:
        ConfigError: flags that do not go together.
    """
    config = parse(flags)
    port_given = "--robot.port" in flags or "--config_path" in flags
    if config.policy.path and not port_given:
        raise ConfigError(
            f"--robot.port is missing: the arm's serial port{_ports()}, or mock for the simulated one"
        )
    if not config.policy.path and config.robot.port != MOCK:
        raise ConfigError(
            "--policy.path is missing: the checkpoint that shall drive the arm on "
            f"{config.robot.port} (without one there is only the demonstration, on the mock arm)"
        )
    if config.robot.port != MOCK and config.inference_latency_s is not None:
        raise ConfigError(
            "--inference_latency_s is for the mock arm; on a real one the latency is what it is"
        )
    if config.duration_s is None:
        config.duration_s = 0.0 if config.policy.path else DEMO_S
    return config


def run(config: "RunConfig", argv: Sequence[str]) -> int:
    """Run as configured; returns the exit code. Raises what is wrong before the arm is touched."""
    from .arm import SO101
    from .loop import ControlLoop, LoopConfig, stop_on_signals
    from .runlog import RunLog

    robot = SO101(config.robot)
    policy = load_policy(config)
    cameras = camera_sizes(robot)
    policy.check_robot(tuple(robot.action_features), cameras)
    folder = config.out or Path("outputs/run") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    settings = LoopConfig(config.fps, config.duration_s or 0.0, config.max_stop_s, config.ending)
    with ExitStack() as stack:
        run_log = RunLog(folder, about(config, argv, robot, policy))
        stack.callback(run_log.discard_if_empty)
        side = side_observers(config, folder, cameras)
        stop = stack.enter_context(stop_on_signals())
        robot.connect()
        stack.callback(robot.disconnect)
        assert robot.guard is not None  # since connect
        scheduler = make_scheduler(config, robot, policy)
        stack.callback(scheduler.close)
        observers: list[Observer] = [run_log, *dashboard(config, robot, policy), *side]
        loop = ControlLoop(
            robot, scheduler, robot.guard, robot.clock, config=settings, observers=observers, stop=stop
        )
        outcome = loop.run()
        summary = run_log.summary()
    conclude(outcome, summary, run_log.folder, side)
    if outcome.error is not None or outcome.ending.torque_may_be_on:
        return FAILED
    return INTERRUPTED if stop.count > 1 else OK


def load_policy(config: "RunConfig") -> "ActPolicy":
    """The checkpoint, or the demonstration's. Raises CheckpointError."""
    import torch
    from so101_policy.checkpoint import ActPolicy

    path = config.policy.path
    if not path:
        from .demo import demo_checkpoint

        print("No policy and no arm were named: the mock arm shows a small policy. See so101-run --help.\n")
        path = str(demo_checkpoint())
    device = config.policy.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if config.robot.port != MOCK:  # leave the loop a core of its own
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    return ActPolicy.load(path, device, per_head=config.per_head)


def camera_sizes(robot: "SO101") -> dict[str, tuple[int, int]]:
    """Name -> (height, width) of the cameras that the robot is configured with."""
    features = robot.observation_features
    return {name: shape[:2] for name, shape in features.items() if isinstance(shape, tuple)}


def make_scheduler(config: "RunConfig", robot: "SO101", policy: "ActPolicy") -> "Scheduler":
    """Scheduler and worker: inline with a stated latency on simulated time, a thread on real time."""
    from . import chunks
    from .workers import InlineWorker, ThreadWorker

    if config.robot.port == MOCK:
        latency_s = DEMO_LATENCY_S if config.inference_latency_s is None else config.inference_latency_s
        worker = InlineWorker(policy.predict, robot.clock, latency_s)
    else:
        worker = ThreadWorker(policy.predict, robot.clock)
    coefficient = policy.temporal_ensemble_coeff
    return chunks.make_scheduler(
        chunk_mode(config, policy),
        worker,
        fps=config.fps,
        n_action_steps=config.policy.n_action_steps or policy.n_action_steps,
        crossfade_ticks=config.chunks.crossfade_ticks,
        **({} if coefficient is None else {"ensemble_coefficient": coefficient}),
    )


def chunk_mode(config: "RunConfig", policy: "ActPolicy") -> "Mode":
    """What `--chunks.mode=auto` means for this checkpoint."""
    if config.chunks.mode != "auto":
        return cast("Mode", config.chunks.mode)  # checked by RunConfig
    return "asynchronous" if policy.temporal_ensemble_coeff is None else "ensembled"


def side_observers(
    config: "RunConfig", folder: Path, cameras: dict[str, tuple[int, int]]
) -> list["Background"]:
    """Recorder and Rerun, each behind a queue. Raises ConfigError."""
    from . import display, record
    from .observers import Background

    side: list[Background] = []
    if config.display != "off":
        file = folder / "run.rrd" if config.display == "file" else None
        side.append(Background(display.RerunDisplay(tuple(cameras), file), capacity=display.QUEUE_TICKS))
    if (wanted := config.record).repo_id:
        recorder = record.DatasetRecorder(
            wanted.repo_id,
            wanted.root,
            task=wanted.task,
            fps=config.fps,
            cameras=cameras,
            resume=wanted.resume,
        )
        side.append(Background(recorder, capacity=record.QUEUE_TICKS))
    return side


def dashboard(config: "RunConfig", robot: "SO101", policy: "ActPolicy") -> list["Observer"]:
    """The dashboard, unless it is off."""
    from .dashboard import Dashboard, choose_style
    from .dashboard_view import Title

    style = choose_style(cast("Style", config.dashboard), sys.stdout)
    if style == "off":
        return []
    port, mock = config.robot.port, config.robot.mock
    size = f"{policy.n_parameters / 1e6:.1f} M parameters"
    eyes = ", ".join(f"{name} {width}x{height}" for name, (height, width) in camera_sizes(robot).items())
    return [
        Dashboard(
            Title(
                policy=f"{shortened(policy.path)} · {policy.type}, {size}",
                arm=f"mock arm, scene {mock.scene}" if port == MOCK else port,
                cameras=f"{eyes} · {renderer(config)}" if port == MOCK else eyes,
                chunks=chunk_mode(config, policy),
            ),
            live=style == "live",
        )
    ]


def about(config: "RunConfig", argv: Sequence[str], robot: "SO101", policy: "ActPolicy") -> dict[str, Any]:
    """What goes into run.json."""
    from .provenance import about_run, sha256_of_file

    on_mock = config.robot.port == MOCK
    return about_run(
        argv,
        asdict(config),
        policy={
            "path": str(policy.path),
            "type": policy.type,
            "sha256": policy.sha256,
            "parameters": policy.n_parameters,
            "chunk_size": policy.chunk_size,
            "n_action_steps": config.policy.n_action_steps or policy.n_action_steps,
            "chunks": chunk_mode(config, policy),
            "device": str(policy.device),
        },
        calibration=None
        if on_mock
        else {"path": str(robot.calibration_fpath), "sha256": sha256_of_file(robot.calibration_fpath)},
        renderer=renderer(config) if on_mock else None,
    )


def renderer(config: "RunConfig") -> str:
    """What draws the mock arm's pictures. Raises ConfigError."""
    from .mock.backend import choose_backend

    return choose_backend(config.robot.mock.renderer)


def conclude(outcome: "Outcome", summary: dict[str, Any], folder: Path, side: Sequence["Background"]) -> None:
    """Say how it went."""
    from .summary import in_words as summary_in_words

    print(summary_in_words(summary))
    for observer in side:
        if observer.dropped:
            print(f"{observer.name} was too slow and missed {observer.dropped} ticks")
    if folder.exists():
        print(f"run folder: {folder}")
    if joints := outcome.ending.torque_may_be_on:
        _complain(f"torque may still be on: {', '.join(joints)}; switch the arm's supply off to be sure")
    if outcome.error is not None:
        _complain(in_words(outcome.error))


def in_words(problem: BaseException) -> str:
    """An error as a person should read it."""
    if is_expected(problem):
        return str(problem)
    return f"{type(problem).__name__}: {problem} (an unexpected error; --verbose shows where)"


def is_expected(problem: BaseException) -> bool:
    """One of the errors that the packages raise on purpose."""
    if isinstance(problem, RobotError):
        return True
    errors = sys.modules.get("so101_policy.errors")
    return errors is not None and isinstance(problem, errors.PolicyError)


def shortened(path: Path, parts: int = 4) -> str:
    """The end of a path: what tells one checkpoint from another."""
    return "/".join(path.parts[-parts:])


def _ports() -> str:
    """The serial ports of this machine, for a message."""
    found = sorted(str(path) for folder in ("/dev/serial/by-id",) for path in Path(folder).glob("*"))
    found = found or sorted(
        str(path) for pattern in ("ttyACM*", "ttyUSB*") for path in Path("/dev").glob(pattern)
    )
    return f" ({', '.join(found)})" if found else ""


def _complain(text: str) -> None:
    print(f"so101-run: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
