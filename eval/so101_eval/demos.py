"""so101-demos: demonstrations of a task by the scripted expert, as a LeRobotDataset v3.

so101-demos --task palletize-2 --episodes 100 --out data/palletize-2
so101-demos --task palletize-4 --episodes 50 --out data/varied --scenario randomised --level 2 --jobs 4
so101-demos --task palletize-2 --episodes 50 --out data/recovery --recovery --seed 1000

Processes play episodes and stage each finished one as a file in OUT/.so101-demos. When there are enough, one writer
makes the dataset of them in seed order and the staged files go. So the dataset does not depend on the number of
jobs, and whatever interrupts the command costs at most the episodes that were being played: the same command again
goes on from there.

`action` is the joint target that the expert asked for on that tick. With --recovery the episode starts in another
pose and the arm is pushed off the expert's commands by a slow wobble; what is recorded is still what the expert
asked for, which is the way back. Every episode has a line in OUT/meta/so101_episodes.jsonl: its seed, reset and score.
"""

import argparse
import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from so101_robot.errors import RobotError
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.config import MockConfig
from so101_robot.record import ROBOT_TYPE, VIDEO_BACKEND, dataset_features

from so101_eval.attempt import FPS, Bench, Observation, Tick
from so101_eval.errors import ConfigError, EvalError
from so101_eval.palletizing.expert import Expert
from so101_eval.palletizing.reset import DEMO_SEEDS, Reset, check_seed, draw, stream
from so101_eval.palletizing.scenarios import NOMINAL, SCENARIOS, load_scenario
from so101_eval.palletizing.start import CAMERAS
from so101_eval.palletizing.tasks import TASKS, load_task

STAGING = ".so101-demos"
"""In the dataset's folder, while episodes are being played."""
SETTINGS = "so101_demos.json"
"""In the staging folder, then in the dataset's `meta`: what was asked for."""
EPISODES = "so101_episodes.jsonl"
"""In the dataset's `meta`: a line an episode."""

MOST_FAILURES = 20
"""So many and as many as there are good episodes: the expert cannot do it, and would go on for ever."""
MOST_PIXELS = 4096

START_OFF_RAD = 0.12
"""[rad] A recovery episode starts up to this far off in every joint of the arm: some 3 cm at the jaws."""
WOBBLE_DEG = np.array([2.5, 1.5, 1.5, 2.0, 3.0, 0.0])
"""(6,) standard deviation of the wobble: a centimetre at the jaws, which are left alone."""
WOBBLE_S = 0.6
"""Its correlation time."""
WOBBLE_SHARE = {"start": 1.0, "reach": 1.0, "carry": 1.0, "home": 1.0, "recover": 1.0, "lift": 0.4, "retreat": 0.4,
                "descend": 0.3, "lower": 0.3}  # fmt: skip
"""How much of it in which of the expert's phases. None while the jaws close or open, where it would only spoil
the episode."""
EASE_S = 0.3
"""In which one share gives way to the next."""

type Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What makes a dataset what it is. Jobs do not."""

    task: str
    episodes: int
    scenario: str = NOMINAL
    level: int = 0
    seed: int = 0
    """Counted from the first demonstration seed."""
    width: int = 96
    height: int = 96
    fps: int = int(FPS)
    recovery: bool = False
    keep_failures: bool = False
    shadows: bool = False

    def check(self) -> None:
        """Raises `ConfigError` for what cannot be."""
        load_task(self.task)
        load_scenario(self.scenario).knobs(self.level)
        if self.fps < 1 or FPS % self.fps:
            possible = [n for n in range(1, int(FPS) + 1) if FPS % n == 0]
            raise ConfigError(
                f"--fps {self.fps}: the expert works at {FPS:.0f} ticks per second, of which every one, every second "
                f"... can be recorded; possible are {', '.join(map(str, possible))}"
            )
        for name in ("width", "height"):
            pixels = getattr(self, name)
            if pixels % 2 or not 16 <= pixels <= MOST_PIXELS:
                raise ConfigError(
                    f"--{name} {pixels}: video needs an even number of pixels, 16 to {MOST_PIXELS}"
                )
        if self.episodes < 1:
            raise ConfigError(f"--episodes {self.episodes}: needed is 1 or more")
        if self.seed < 0 or self.seed + self.episodes > len(DEMO_SEEDS):
            raise ConfigError(
                f"--seed {self.seed}: with {self.episodes} episodes possible are 0 to {len(DEMO_SEEDS) - self.episodes}"
            )

    @property
    def first_seed(self) -> int:
        return check_seed(DEMO_SEEDS.start + self.seed, "demo")


class Episode(NamedTuple):
    """A demonstration; n frames."""

    state: NDArray[np.float32]
    """(n, 6) measured joints, LeRobot units."""
    action: NDArray[np.float32]
    """(n, 6) what the expert asked for."""
    pictures: dict[str, list[NDArray[np.uint8]]]
    """By camera: n PNG files, bytes (k,)."""
    record: dict[str, Any]
    """Seed, success, reset, score: the line of the episode."""


class Outcome(NamedTuple):
    """Of one seed."""

    seed: int
    kept: bool
    frames: int


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. One message for what cannot be done."""
    options = vars(_parser().parse_args(argv))
    out, jobs = Path(options.pop("out")), options.pop("jobs")
    console = Console(stderr=True)
    try:
        if jobs < 1:
            raise ConfigError(f"--jobs {jobs}: needed is 1 or more")
        settings = Settings(**options)
        settings.check()
        make_dataset(settings, out, jobs, console)
    except KeyboardInterrupt:
        return _complain(
            "interrupted; finished episodes are kept, and the same command again goes on from there", 130
        )
    except BrokenProcessPool:
        return _complain("a playing process was killed (out of memory?); the same command again goes on", 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _complain(str(error), 2)
        return _complain(
            f"the disk is full ({out}); make room, and the same command again goes on from the finished episodes",
            2,
        )
    except (EvalError, RobotError) as error:
        return _complain(str(error), 2)
    return 0


def make_dataset(settings: Settings, out: Path, jobs: int, console: Console) -> None:
    """The dataset of `settings` in the folder `out`, or what is missing of it.

    Raises:
        ConfigError: `out` holds something else, or is being worked on.
        EvalError: the expert hardly ever succeeds.
        OSError: the disk is full, or does not let itself be written.
        BrokenProcessPool: a playing process was killed.
    """
    if not _prepare(settings, out):
        console.print(f"{out} is complete: {settings.episodes} episodes", highlight=False, markup=False)
        return
    staging = out / STAGING
    with _lock(staging):
        started_s = time.perf_counter()
        seeds, frames = _play_all(settings, staging, jobs, console)
        played_s, episode_s = time.perf_counter() - started_s, frames / settings.fps
        console.print(f"writing the dataset of {len(seeds)} episodes", highlight=False)
        _assemble(settings, out, seeds, console)
        all_s = time.perf_counter() - started_s
    if frames:
        console.print(
            f"{episode_s:.0f} episode seconds played in {played_s:.0f} s with {jobs} {'job' if jobs == 1 else 'jobs'}, "
            f"{all_s:.0f} s with writing: {episode_s / played_s:.2f} and {episode_s / all_s:.2f} episode seconds per "
            "wall second",
            highlight=False,
            soft_wrap=True,
        )
    shutil.rmtree(staging)
    console.print(f"done: {out}", highlight=False, markup=False)


# One episode


class Recovering:
    """The expert with a wobble on its commands: an Ornstein-Uhlenbeck process, less where it would spoil the task."""

    def __init__(self, expert: Expert, reset: Reset) -> None:
        self.expert = expert
        self.clean: Vector | None = None
        """(6,) what the expert asked for on this tick."""
        self._rng = stream(reset.suite, "wobble", reset.seed)
        self._noise = np.zeros(len(JOINTS))
        self._share = 0.0

    def __call__(self, observation: Observation) -> Vector | None:
        self.clean = self.expert(observation)
        keep = np.exp(-1 / (FPS * WOBBLE_S))
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * self._rng.standard_normal(len(JOINTS))
        step = 1 / (FPS * EASE_S)
        self._share += float(np.clip(WOBBLE_SHARE.get(self.expert.phase, 0.0) - self._share, -step, step))
        return None if self.clean is None else self.clean + self._share * WOBBLE_DEG * self._noise


def draw_demo(settings: Settings, seed: int) -> Reset:
    """How the episode of that demonstration seed starts. Raises `ConfigError` for other seeds."""
    reset = draw(settings.task, settings.scenario, settings.level, check_seed(seed, "demo"))
    if not settings.recovery:
        return reset
    off_rad = stream(reset.suite, "recovery", seed).uniform(-START_OFF_RAD, START_OFF_RAD, len(JOINTS))
    off_rad[GRIPPER] = 0.0
    return dataclasses.replace(reset, arm_rad=tuple((np.array(reset.arm_rad) + off_rad).tolist()))


def open_bench(settings: Settings) -> Bench:
    """Where episodes of these settings are played, one after the other."""
    mock = MockConfig(
        width=settings.width,
        height=settings.height,
        shadows=settings.shadows,
        camera_fps=FPS,
        realtime_factor=0.0,
    )
    return Bench(settings.task, mock)


def play(settings: Settings, bench: Bench, seed: int) -> Episode:
    """One demonstration: a pure function of settings and seed. It ends when the expert has finished."""
    reset = draw_demo(settings, seed)
    every = int(FPS) // settings.fps
    states: list[Vector] = []
    actions: list[Vector] = []
    pictures: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in CAMERAS}
    recovering: list[Recovering] = []

    def make(bench: Bench) -> Expert | Recovering:
        expert = Expert(bench.world, bench.robot, reset)
        if not settings.recovery:
            return expert
        recovering.append(Recovering(expert, reset))
        return recovering[0]

    def on_tick(tick: Tick) -> None:
        action = recovering[0].clean if recovering else tick.asked
        if tick.asked is None or action is None or tick.number % every:
            return
        states.append(tick.observation.state.position.copy())
        actions.append(action.copy())
        for name, image in tick.observation.images().items():
            pictures[name].append(_to_png(image))

    attempt = bench.attempt(reset, make, on_tick)
    record = {
        "seed": seed,
        "success": attempt.score.success,
        "recovery": settings.recovery,
        "frames": len(states),
        "state_hash": attempt.state_hash,
        "reset": json.loads(reset.to_json()),
        "score": json.loads(attempt.score.to_json()),
    }
    shape = (len(states), len(JOINTS))
    return Episode(
        np.reshape(np.array(states, np.float32), shape),
        np.reshape(np.array(actions, np.float32), shape),
        pictures,
        record,
    )


def _to_png(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lossless, as a file's bytes: rendered pictures shrink to a few percent."""
    done, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return np.asarray(png, np.uint8)


def _from_png(png: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert image is not None  # it was stored whole or not at all
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


# Staging


def _path(staging: Path, seed: int) -> Path:
    return staging / f"{seed}.npz"


def _store(path: Path, episode: Episode) -> None:
    """Whole or not at all."""
    arrays: dict[str, Any] = {"state": episode.state, "action": episode.action}
    for name, pictures in episode.pictures.items():
        arrays[f"{name}.sizes"] = np.array([len(png) for png in pictures])
        arrays[f"{name}.bytes"] = np.concatenate(pictures) if pictures else np.zeros(0, np.uint8)
    arrays["record"] = np.array(json.dumps(episode.record))
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _load(path: Path) -> Episode:
    with np.load(path) as arrays:
        pictures = {
            name: np.split(arrays[f"{name}.bytes"], np.cumsum(arrays[f"{name}.sizes"])[:-1])
            for name in CAMERAS
        }
        return Episode(arrays["state"], arrays["action"], pictures, json.loads(str(arrays["record"])))


def _outcome(path: Path) -> Outcome:
    """Of a staged episode, without its pictures."""
    with np.load(path) as arrays:
        record = json.loads(str(arrays["record"]))
        return Outcome(record["seed"], bool(record["success"]), len(arrays["state"]))


def _play_and_stage(settings: Settings, staging: Path, bench: Bench, seed: int) -> Outcome:
    episode = play(settings, bench, seed)
    success = bool(episode.record["success"])
    if not success and not settings.keep_failures:  # that it failed is all there is to remember
        episode = Episode(
            episode.state[:0], episode.action[:0], {name: [] for name in CAMERAS}, episode.record
        )
    _store(_path(staging, seed), episode)
    return Outcome(seed, success, episode.record["frames"])


# All episodes


def _play_all(settings: Settings, staging: Path, jobs: int, console: Console) -> tuple[list[int], int]:
    """Play until enough episodes are staged; returns their seeds in order, and how many frames were played now.

    A seed is begun only while those begun before it may not be enough. So which seeds are played does not depend on
    who finishes first, and the seeds are the first ones that can be kept.
    """
    staged = {outcome.seed: outcome for outcome in map(_outcome, sorted(staging.glob("*.npz")))}
    kept: list[int] = []
    failed, frames, seed = 0, 0, settings.first_seed

    def take(outcome: Outcome) -> None:
        nonlocal failed
        failed += not outcome.kept
        if outcome.kept or settings.keep_failures:
            kept.append(outcome.seed)
        bar.update(task, completed=len(kept), description=f"{settings.task} ({failed} failed)")
        if failed >= MOST_FAILURES and failed > len(kept) and not settings.keep_failures:
            raise EvalError(
                f"the expert failed in {failed} of {failed + len(kept)} episodes of {settings.task} "
                f"{settings.scenario} {settings.level}: such demonstrations cannot be made (--keep-failures keeps all)"
            )

    with _progress(console) as bar, _players(settings, staging, jobs) as start:
        task = bar.add_task(settings.task, total=settings.episodes)
        running: set[Future[Outcome]] = set()
        while True:
            while len(kept) + len(running) < settings.episodes and len(running) < jobs:
                if seed in staged:
                    take(staged[seed])
                else:
                    running.add(start(check_seed(seed, "demo")))
                seed += 1
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                frames += outcome.frames
                take(outcome)
    return sorted(kept), frames


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console)


@contextmanager
def _players(settings: Settings, staging: Path, jobs: int) -> Generator[Callable[[int], Future[Outcome]]]:
    """What starts an episode: one job plays it in this process, at once."""
    if jobs == 1:
        with open_bench(settings) as bench:

            def at_once(seed: int) -> Future[Outcome]:
                future: Future[Outcome] = Future()
                future.set_result(_play_and_stage(settings, staging, bench, seed))
                return future

            yield at_once
        return
    # spawned, not forked: MuJoCo's and LeRobot's libraries have threads by the time they are imported
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (settings, staging))
    try:
        yield lambda seed: pool.submit(_play_in_process, seed)
        pool.shutdown()
    except BaseException:
        children = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        raise


_player: list[tuple[Settings, Path, Bench]] = []
"""Of a playing process: one."""


def _begin(settings: Settings, staging: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everybody; the parent answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _player.append((settings, staging, open_bench(settings)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _play_in_process(seed: int) -> Outcome:
    settings, staging, bench = _player[0]
    return _play_and_stage(settings, staging, bench, seed)


# The folder


def _prepare(settings: Settings, out: Path) -> bool:
    """Make or find the staging folder; False if the dataset is complete. Raises `ConfigError` for another's folder."""
    wanted = json.dumps(dataclasses.asdict(settings))
    staging = out / STAGING
    for stored in (out / "meta" / SETTINGS, staging / SETTINGS):
        if stored.is_file():
            _compare(settings, out, stored)
            if stored.parent != staging:
                shutil.rmtree(staging, ignore_errors=True)
                return False
            return True
    others = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    if (out.exists() and not out.is_dir()) or others - {STAGING}:
        raise ConfigError(f"{out} exists and was not made by so101-demos; choose another --out, or remove it")
    staging.mkdir(parents=True, exist_ok=True)
    partial = staging / "settings.partial"
    partial.write_text(wanted)
    partial.replace(staging / SETTINGS)
    return True


def _compare(settings: Settings, out: Path, stored: Path) -> None:
    try:
        theirs = json.loads(stored.read_text())
        if not isinstance(theirs, dict):
            raise ValueError("no settings")
    except ValueError as error:
        raise ConfigError(
            f"{stored} cannot be read ({error}); choose another --out, or remove {out}"
        ) from error
    ours = dataclasses.asdict(settings)
    differing = [
        f"--{name.replace('_', '-')} {theirs.get(name)} (now {value})"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]
    if differing:
        raise ConfigError(
            f"{out} was begun with {', '.join(differing)}; choose another --out, or ask for the same to go on"
        )


@contextmanager
def _lock(staging: Path) -> Generator[None]:
    """Raises `ConfigError` if another process works here. The lock goes with the process."""
    with (staging / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another so101-demos is at work in {staging.parent}") from error
        yield


def _assemble(settings: Settings, out: Path, seeds: Sequence[int], console: Console) -> None:
    """The dataset of staged episodes. `meta` comes last: with it the dataset is complete."""
    staging = out / STAGING
    made = staging / "dataset"
    shutil.rmtree(made, ignore_errors=True)  # of an attempt that was cut off
    try:
        _write(settings, made, staging, seeds, console)
    except RuntimeError as error:  # LeRobot's for a video that could not be encoded
        raise EvalError(f"the dataset could not be written: {error}; the staged episodes are kept") from error
    (made / "meta" / SETTINGS).write_text(json.dumps(dataclasses.asdict(settings)))
    for folder in ("data", "videos", "meta"):
        shutil.rmtree(out / folder, ignore_errors=True)
        (made / folder).rename(out / folder)


def _write(settings: Settings, made: Path, staging: Path, seeds: Sequence[int], console: Console) -> None:
    os.environ.setdefault("SVT_LOG", "1")  # the video encoder reports errors only
    import av.logging
    from datasets.utils.logging import disable_progress_bar
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    disable_progress_bar()
    av.logging.set_libav_level(av.logging.ERROR)
    dataset: Any = LeRobotDataset.create(
        "local/so101_demos",
        settings.fps,
        dataset_features(dict.fromkeys(CAMERAS, (settings.height, settings.width))),
        root=made,
        robot_type=ROBOT_TYPE,
        video_backend=VIDEO_BACKEND,
    )
    instruction = describe(settings.task)
    lines: list[str] = []
    with _progress(console) as bar:
        for index, seed in bar.track(list(enumerate(seeds)), description="writing"):
            episode = _load(_path(staging, seed))
            for k in range(len(episode.state)):
                images = {
                    f"observation.images.{name}": _from_png(episode.pictures[name][k]) for name in CAMERAS
                }
                frame = {
                    "observation.state": episode.state[k],
                    "action": episode.action[k],
                    "task": instruction,
                }
                dataset.add_frame(frame | images)
            dataset.save_episode(parallel_encoding=False)
            lines.append(json.dumps({"episode_index": index, **episode.record}) + "\n")
    dataset.finalize()
    (made / "meta" / EPISODES).write_text("".join(lines))


def describe(task: str) -> str:
    """The task in words, as stored with every frame."""
    boxes = load_task(task).boxes
    return f"Put {'the box' if boxes == 1 else f'the {boxes} boxes'} into the marked slots of the pallet."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="so101-demos",
        description="Demonstrations of a task by the scripted expert, as a LeRobotDataset v3.",
        epilog="examples:\n" + "\n\n".join((__doc__ or "").split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--task", required=True, help=f"of {', '.join(TASKS)}")
    add("--episodes", type=int, required=True, help="how many the dataset is to have")
    add("--out", required=True, help="folder of the dataset; new, or of the same command before")
    add("--scenario", default=NOMINAL, help=f"of {', '.join(SCENARIOS)} (default: {NOMINAL})")
    add("--level", type=int, default=0, help="of the scenario, 0 to 3 (default: 0, the nominal scene)")
    add("--seed", type=int, default=0, help=f"first scene, counted from {DEMO_SEEDS.start} (default: 0)")
    add("--width", type=int, default=96, help="of both cameras, pixels (default: 96)")
    add("--height", type=int, default=96, help="default: 96")
    add(
        "--fps",
        type=int,
        default=int(FPS),
        help=f"frames per second, a divisor of {FPS:.0f} (default: {FPS:.0f})",
    )
    add("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: one a core)")
    add("--recovery", action="store_true", help="start off the nominal path, be pushed off it, and find back")
    add("--keep-failures", action="store_true", help="episodes in which the expert failed, too")
    add("--shadows", action="store_true", help="better pictures, four times the rendering cost")
    return parser


def _complain(message: str, code: int) -> int:
    print(f"so101-demos: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
