"""The parts of a run, made from its configuration: policy, scheduler, observers, and what is written about
them.

`run.py` joins them. On port `mock` time is simulated, so the policy computes inline with a stated latency; on
any other port it computes in a thread while the loop goes on.
"""

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import draccus
import numpy as np
import torch
from numpy.typing import NDArray

from so101_policy.command_line.command_shell import say
from so101_policy.command_line.extras import Extra, MissingPackageError
from so101_policy.registration.corrector import Corrector
from so101_policy.units import Units
from so101_robot import demo
from so101_robot.arm.arm import SO101
from so101_robot.bus.units import Scale
from so101_robot.chunks import planning
from so101_robot.chunks.inference import Predict
from so101_robot.chunks.interpolation import ticks_per_action
from so101_robot.chunks.planning import MOCK_LATENCY_S, Playing
from so101_robot.chunks.scheduler import ChunkMode, Scheduler
from so101_robot.chunks.workers import InlineWorker, ThreadWorker
from so101_robot.commands import real_time_chunking, serving
from so101_robot.commands.camera_correction import corrected
from so101_robot.commands.run_config import RunConfig
from so101_robot.display.dashboard import Dashboard, Style, can_be_asked, choose_style
from so101_robot.display.view import Title
from so101_robot.errors import ConfigError
from so101_robot.loop.attention_alarm import WithAttentionAlarm
from so101_robot.loop.observers import Background
from so101_robot.loop.tick import Observer
from so101_robot.mock.cameras.backend import choose_backend
from so101_robot.process.compute_threads import leave_a_core
from so101_robot.runs.provenance import about_run, sha256_of_file

if TYPE_CHECKING:
    from so101_policy.inference.loaded import LoadedPolicy, Prediction
    from so101_policy.inference.seen import Seen
    from so101_robot.display.terminal_pictures import TerminalPictures

PICTURES = Extra("so101_robot.display.terminal_pictures", ("textual_image",), "lerobot_policy_so101[web]")
"""To be imported only where a terminal may be asked whether it shows pictures."""

MOCK = "mock"

RERUN = Extra("so101_robot.display.rerun", ("rerun",), "lerobot_policy_so101[view]")
"""The viewer; `make_display` alone loads it."""


def load_policy(config: RunConfig) -> "LoadedPolicy":
    """The checkpoint, guided if that was asked for. Raises CheckpointError, or ConfigError for a demonstration that
    there is not, and for what the policy cannot do."""
    policy = _loaded(config)
    real_time_chunking.settle(config, policy)
    return policy


def _loaded(config: RunConfig) -> "LoadedPolicy":
    from so101_policy.inference.any_policy import load_policy as load  # 2 s, and so101-replay needs no policy

    path = config.policy.path
    if path.startswith(demo.PREFIX):
        given, path = path, str(demo.demo_policy(path.removeprefix(demo.PREFIX)))
        say(f"A small policy for the mock arm, {given}; so101-run --help shows how to drive yours.")
    if config.policy.server:
        return serving.load_served(config, path)
    device = config.policy.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    leave_a_core()
    flags, maps = config.policy, config.display != "off"
    return load(
        path,
        device,
        config.per_head,
        flags.engine,
        maps,
        flags.precision,
        config.task or config.record.task,
        flags.samples,
    )


def camera_sizes(robot: SO101) -> dict[str, tuple[int, int]]:
    """Name -> (height, width) of the cameras that the robot is configured with."""
    features = robot.observation_features
    return {name: shape[:2] for name, shape in features.items() if isinstance(shape, tuple)}


def make_scheduler(
    config: RunConfig, robot: SO101, policy: "LoadedPolicy", corrector: Corrector | None = None
) -> Scheduler:
    """Scheduler and worker: inline with a stated latency on simulated time, a thread on real time.

    Args:
        config: of the run.
        robot: connected.
        policy: plays.
        corrector: puts back the pictures that the policy sees; None: they stay as they come.

    Raises:
        ConfigError: the policy's rate does not go with the loop's.
    """
    how = playing(config, policy)
    _ = how.every  # refuses a rate before a thread is begun
    predict = corrected(policy.predict, corrector)
    predict = in_degrees(predict, units(config, policy), robot.bus.scale)
    if config.policy.server:
        predict = serving.told_as_fault(predict)
    on_mock = config.robot.port == MOCK
    worker = (
        InlineWorker(predict, how.latency_s, policy.be_guided)
        if on_mock
        else ThreadWorker(predict, robot.clock, policy.be_guided)
    )
    return planning.make_scheduler(how, worker, lambda: last_command(robot))


def playing(config: RunConfig, policy: "LoadedPolicy") -> Playing:
    """How the policy is played. Raises as `policy_fps`."""
    stated_s = config.inference_latency_s
    return Playing(
        fps=policy_fps(config, policy),
        loop_fps=config.ticks_per_s,
        mode=chunk_mode(config, policy),
        n_action_steps=config.policy.n_action_steps or policy.n_action_steps,
        latency_s=MOCK_LATENCY_S if stated_s is None else stated_s,
        ensemble_coefficient=policy.temporal_ensemble_coeff,
        crossfade_s=config.chunks.crossfade_s,
        n_obs_steps=policy.n_obs_steps,
        guided_ticks=config.policy.rtc.execution_horizon if policy.guided else 0,
    )


def last_command(robot: SO101) -> NDArray[np.float64]:
    """(6,) where the guard let the arm go last, or where it stood when the guard was told."""
    command = None if robot.guard is None else robot.guard.last_command
    assert command is not None  # since connect
    return command


def policy_fps(config: RunConfig, policy: "LoadedPolicy") -> float:
    """Actions per second: as the checkpoint says, else as the user says, else as the dataset that it names, else as
    many as the ticks that the user asked for.

    Raises:
        ConfigError: the user says something else than the checkpoint, or nobody says anything.
    """
    said, known = config.policy.fps, policy.trained_on
    if known.stated and known.fps is not None and said is not None and not math.isclose(known.fps, said):
        raise ConfigError(
            f"--policy.fps={said:g}: the checkpoint {policy.path} was trained on {known.fps:g} actions per second; "
            "leave --policy.fps out"
        )
    return rate_of(policy, said, config.fps, "--policy.fps")


def rate_of(policy: "LoadedPolicy", said: float | None, instead: float | None, flag: str) -> float:
    """Actions per second, without a guess.

    Args:
        policy: says it, or not.
        said: by the user; what was only looked up does not win against it.
        instead: by the user too, about something that is the same if nobody says otherwise.
        flag: for the message.

    Raises:
        ConfigError: nobody says it.
    """
    known = policy.trained_on
    rate = (known.fps if known.stated else None) or said or known.fps or instead
    if rate is None:
        raise ConfigError(
            f"the checkpoint {policy.path} does not say how many actions per second it was trained on, and that could "
            f"not be looked up: {known.unknown}. Give {flag}: the fps in meta/info.json of its dataset"
        )
    return rate


def units(config: RunConfig, policy: "LoadedPolicy") -> Units | None:
    """Of the policy's joints: as the checkpoint says, else as the user says; None: not known.

    Raises:
        ConfigError: the user says something else than the checkpoint, or two units would be in one dataset.
    """
    found = units_of(policy, config.robot.use_degrees, "--robot.use_degrees")
    if found is Units.RANGE and config.record.resume:
        raise ConfigError(
            f"--record.resume=true with a policy of joints in {found}: so101-run records degrees, and a dataset has "
            "one unit. Record a new one, without --record.resume"
        )
    return found


def units_of(policy: "LoadedPolicy", use_degrees: bool | None, flag: str) -> Units | None:
    """As `units`, for a flag of that name."""
    known = policy.trained_on.units
    said = None if use_degrees is None else Units.DEGREES if use_degrees else Units.RANGE
    if known is not None and said is not None and known is not said:
        raise ConfigError(
            f"{flag}={str(use_degrees).lower()}: the checkpoint {policy.path} was trained on joints in {known}; "
            f"leave {flag} out"
        )
    return known or said


def in_degrees(predict: Predict, units: Units | None, scale: Scale) -> Predict:
    """A policy of joints in `units` as one that takes and gives this arm's degrees."""
    if units is not Units.RANGE:
        return predict

    def converted(
        state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]], before: "Sequence[Seen]" = ()
    ) -> "Prediction":
        earlier = [seen._replace(state=scale.to_range(seen.state)) for seen in before]
        prediction = predict(scale.to_range(state), images, *([earlier] if earlier else []))
        return prediction._replace(actions=scale.from_range(prediction.actions).astype(np.float32))

    return converted


def start_pose(policy: "LoadedPolicy", units: Units | None, scale: Scale) -> list[float] | None:
    """Where the policy's demonstrations began, in this arm's degrees, if it says so."""
    if policy.start_pose is None or units is not Units.RANGE:
        return policy.start_pose
    return scale.from_range(policy.start_pose).tolist()


def chunk_mode(config: RunConfig, policy: "LoadedPolicy") -> ChunkMode:
    """What `--chunks.mode=auto` means for this checkpoint."""
    if config.chunks.mode != "auto":
        return cast(ChunkMode, config.chunks.mode)  # checked by RunConfig
    return "asynchronous" if policy.temporal_ensemble_coeff is None else "ensembled"


def side_observers(config: RunConfig, folder: Path, cameras: dict[str, tuple[int, int]]) -> list[Background]:
    """Recorder and Rerun, each behind a queue. Raises ConfigError.

    The recorder first: it is closed first then, and does not wait for a viewer.
    """
    side: list[Background] = []
    shown: Background | None = None
    if config.display in ("viewer", "file"):  # before a dataset is begun: there may be no screen
        file = folder / "run.rrd" if config.display == "file" else None
        shown = make_display(tuple(cameras), file, config.display_host)
    if config.record.repo_id:
        side.append(make_recorder(config, cameras))
    if shown is not None:
        side.append(shown)
    return side


def make_display(cameras: tuple[str, ...], file: Path | None, host: str = "127.0.0.1") -> Background:
    """Rerun: a viewer that listens at `host`, or a file.

    Raises:
        ConfigError: it is not installed, or has no viewer here.
    """
    try:
        display = RERUN.load()
    except MissingPackageError as problem:
        raise ConfigError(f"--display needs Rerun, which is not installed; {RERUN.line}") from problem
    return Background(
        display.RerunDisplay(cameras, file, host), capacity=display.QUEUE_TICKS, patience_s=display.PATIENCE_S
    )


def make_recorder(config: RunConfig, cameras: Mapping[str, tuple[int, int]]) -> Background:
    """What keeps the run as an episode of a dataset. Raises ConfigError."""
    from so101_robot.runs import dataset  # LeRobot's datasets take 2 s, and most runs are not recorded

    wanted = config.record
    outcomes: dict[str, Callable[[], bool] | None] = {
        "unknown": None,
        "ask": ask_outcome,
        "yes": lambda: True,
        "no": lambda: False,
    }
    if wanted.success not in outcomes:
        raise ConfigError(f"--record.success={wanted.success}: possible are {', '.join(outcomes)}")
    if wanted.success == "ask" and not sys.stdin.isatty():
        raise ConfigError("--record.success=ask needs a terminal; say yes, no or unknown")
    recorder = dataset.DatasetRecorder(
        wanted.repo_id,
        wanted.root,
        task=wanted.task,
        fps=config.ticks_per_s,
        cameras=cameras,
        resume=wanted.resume,
        outcome=outcomes[wanted.success],
        intervention=bool(config.teleop.port),
    )
    if wanted.success == "unknown":
        say(
            "the recording will not say whether the episode succeeded (next.success): --record.success=ask asks when "
            "the run is over, yes or no answers now"
        )
    return Background(recorder, capacity=dataset.QUEUE_TICKS)


def ask_outcome() -> bool:
    """Ask the person at the arm whether the episode succeeded; what is no answer is asked again. Ctrl-C, or no more
    input: no, and the episode is kept."""
    try:
        while True:
            say("did the episode succeed? [y/n]")
            answer = sys.stdin.readline()
            if (said := answer.strip().lower()) in ("y", "yes", "n", "no") or not answer:
                return said in ("y", "yes")
    except KeyboardInterrupt:
        return False


def with_alarm(config: RunConfig, observers: Sequence[Observer]) -> Observer:
    """The observers of a run, told also when the policy may be blind."""
    return WithAttentionAlarm(observers, config.blind)


def title(config: RunConfig, robot: SO101, policy: "LoadedPolicy") -> Title:
    """What the dashboard says of a run of a policy."""
    on_mock = config.robot.port == MOCK
    cameras = ", ".join(f"{name} {width}x{height}" for name, (height, width) in camera_sizes(robot).items())
    given = config.policy.path
    path = given if given.startswith(demo.PREFIX) else shortened(policy.path)
    return Title(
        policy=f"{path} · {policy.summary}",
        arm=arm_title(config),
        cameras=f"{cameras} · {renderer(config)}" if on_mock else cameras,
        chunks=chunk_mode(config, policy),
        answers_s=playing(config, policy).latency_s if on_mock else None,
        no_shares=policy.no_shares,
    )


def arm_title(config: RunConfig) -> str:
    """Which arm."""
    robot = config.robot
    return f"mock arm, scene {robot.mock.scene}" if robot.port == MOCK else robot.port


def dashboard_style(config: RunConfig) -> Literal["live", "plain", "off"]:
    """How the run is shown in this terminal."""
    style = choose_style(cast(Style, config.dashboard), sys.stdout)
    if style == "live" and config.verbose and config.dashboard == "auto":
        return "plain"  # log lines would run through the picture
    return style


def terminal_pictures(config: RunConfig) -> "TerminalPictures | None":
    """What draws pictures in this terminal, where it can. Asks the terminal: before anything reads the keyboard."""
    if dashboard_style(config) != "live" or PICTURES.missing or not can_be_asked(sys.stdout):
        return None
    return PICTURES.load().terminal_pictures()


def dashboard(config: RunConfig, title: Title, pictures: "TerminalPictures | None" = None) -> list[Observer]:
    """The dashboard, unless it is off."""
    style = dashboard_style(config)
    if style != "live":
        logging.getLogger("so101_robot").setLevel(logging.WARNING)
    if style == "off":
        return []
    return [Dashboard(title, live=style == "live", picture=config.picture, pictures=pictures)]


def about(config: RunConfig, argv: Sequence[str], robot: SO101, policy: "LoadedPolicy") -> dict[str, Any]:
    """What goes into run.json. Raises ConfigError for a policy whose rate does not go with the loop's."""
    on_mock = config.robot.port == MOCK
    return about_run(
        argv,
        draccus.encode(replace(config, fps=config.ticks_per_s)),
        policy={
            "path": str(policy.path),
            "type": policy.type,
            "sha256": policy.sha256,
            "parameters": policy.n_parameters,
            "chunk_size": policy.chunk_size,
            "n_action_steps": config.policy.n_action_steps or policy.n_action_steps,
            "chunks": chunk_mode(config, policy),
            "fps": (fps := policy_fps(config, policy)),
            "ticks_per_action": ticks_per_action(fps, config.ticks_per_s),
            "units": units(config, policy) or Units.DEGREES,
            "start_pose": policy.start_pose,
            "scaled_from": {name: [width, height] for name, (height, width) in policy.recorded.items()},
            "device": str(policy.device),
            "engine": policy.engine_name,
            "n_obs_steps": policy.n_obs_steps,
            "task": (config.task or config.record.task) if policy.language else None,
            "precision": config.policy.precision,
            "rtc": policy.guided,
        },
        calibration=calibration_of(config, robot),
        renderer=renderer(config) if on_mock else None,
    )


def calibration_of(config: RunConfig, robot: SO101) -> dict[str, Any] | None:
    """Which calibration decides what a degree is; None for the mock arm, which brings its own."""
    if config.robot.port == MOCK:
        return None
    return {"path": str(robot.calibration_fpath), "sha256": sha256_of_file(robot.calibration_fpath)}


def renderer(config: RunConfig) -> str:
    """What draws the mock arm's pictures. Raises ConfigError."""
    return choose_backend(config.robot.mock.renderer)


def shortened(path: Path, parts: int = 4) -> str:
    """The end of a path, and `~` for the user's folder: what tells one checkpoint from another."""
    if path.is_relative_to(Path.home()):
        path = "~" / path.relative_to(Path.home())
    return str(path) if len(path.parts) <= parts + 1 else "…/" + "/".join(path.parts[-parts:])
