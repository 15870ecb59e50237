"""so101-eval replay RUN EPISODE: one episode again, from its record.

The scene is drawn from its seed, the policy is the one whose hash is in the record, and the arm starts from
power-up; so on the same machine, with the same versions, the episode ends in the same state bit for bit. That is
compared, and a video shows what happened.
"""

import argparse
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from so101_eval.episode.episode import FPS
from so101_eval.errors import ConfigError
from so101_eval.evaluation.plan import Player
from so101_eval.evaluation.records import EPISODES, EpisodeRecord, read_episodes
from so101_eval.evaluation.run_folder import plan_of
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_eval.pool import one_thread
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.console import Console
from so101_policy.files.whole_files import replacing
from so101_robot.loop.tick import Tick
from so101_robot.mock.cameras.render import Renderer, open_renderer

EXAMPLES = """
  so101-eval replay outputs/eval/first baseline,nominal,7
  so101-eval replay outputs/eval/first 12 --no_video
"""

WIDTH, HEIGHT = 480, 360
"""Of each of the two pictures of a video [pixels]."""
EVERY = 2
"""Ticks per frame."""
CODEC = "libx264"
SAME, DIFFERENT = 0, 1

type Show = Callable[[NDArray[np.uint8]], None]
"""Takes pictures (h, w, 3) RGB, one after the other."""


class Replayed(NamedTuple):
    """An episode and its repetition."""

    record: EpisodeRecord
    again: EpisodeRecord

    @property
    def differing(self) -> list[str]:
        """Names of what is not as it was; `timing`, paths and versions do not count."""
        before, now = self.record.comparable(), self.again.comparable()
        aside = ("media", "versions", *(["engine"] if self.record.engine is None else []))  # not recorded
        return [name for name in before if before[name] != now[name] and name not in aside]

    @property
    def other_versions(self) -> list[str]:
        """Names of what has another version now."""
        before, now = self.record.versions, self.again.versions
        return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def parser() -> Parser:
    """Of the command line."""
    parser = Parser("so101-eval replay", "Repeats one episode from its record.", EXAMPLES)
    parser.add_argument("folder", metavar="run", type=Path, help="run folder")
    parser.add_argument(
        "episode", help="POLICY,SCENARIO[:LEVEL],SEED, or the number of a line of episodes.jsonl"
    )
    parser.add_argument("--video", type=Path, help="where to (default: into the run's media folder)")
    parser.add_argument("--no_video", action="store_true", help="compare only")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises what is wrong with the request."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Raises what is wrong with the request; 1 if the repetition went otherwise."""
    one_thread()
    record = find(read_episodes_of(options.folder), options.episode)
    name = f"{record.policy}-{record.scenario}-{record.level}-{record.seed}.mp4".replace(":", "-")
    video = None if options.no_video else options.video or options.folder / "media" / name
    console = Console()
    console.print(f"{record.key}: {describe(record)}", soft_wrap=True)
    replayed = replay(options.folder, record, video)
    if video is not None:
        console.print(f"video: {video}", soft_wrap=True)
    if replayed.other_versions:
        console.print(f"other versions than recorded: {', '.join(replayed.other_versions)}")
    if not replayed.differing:
        console.print(f"repeated to the last bit: state {(record.state_hash or '')[:16]}")
        return SAME
    console.print(
        f"went otherwise: {describe(replayed.again)}; different are {', '.join(replayed.differing)}",
        soft_wrap=True,
    )
    return DIFFERENT


def read_episodes_of(folder: Path) -> list[EpisodeRecord]:
    """Of a run folder. Raises `ConfigError` where there is none."""
    if not (folder / EPISODES).is_file():
        raise ConfigError(f"{folder} is no run of so101-eval: it has no {EPISODES}")
    return read_episodes(folder / EPISODES)


def find(records: list[EpisodeRecord], episode: str) -> EpisodeRecord:
    """The episode that is meant. Raises `ConfigError`, saying what there is."""
    if not records:
        raise ConfigError("the run has no episodes yet")
    if episode.isdigit():
        if 1 <= int(episode) <= len(records):
            return records[int(episode) - 1]
        raise ConfigError(f"there is no episode {episode}; the run has 1 to {len(records)}")
    words = [word.strip() for word in episode.split(",")]
    found = [record for record in records if _means(words, record)]
    if len(found) == 1:
        return found[0]
    example = records[0]
    raise ConfigError(
        f"{episode!r} means {len(found)} episodes of this run; write POLICY,SCENARIO[:LEVEL],SEED, for example "
        f"{example.policy},{example.scenario}:{example.level},{example.seed}"
    )


def _means(words: list[str], record: EpisodeRecord) -> bool:
    if len(words) != 3:
        return False
    policy, scenario, seed = words
    return (
        policy == record.policy
        and scenario in (record.scenario, f"{record.scenario}:{record.level}")
        and seed == str(record.seed)
    )


def describe(record: EpisodeRecord) -> str:
    """How it went, in words."""
    failure: dict[str, Any] | None = record.score["failure"]
    if record.success:
        return f"success in {record.score['robot_s']:.1f} s"
    if failure is None:
        return "no verdict"
    return f"{failure['kind']} in phase {failure['phase']} at {failure['time_s']:.1f} s"


def replay(folder: Path, record: EpisodeRecord, video: Path | None = None) -> Replayed:
    """The episode again, filmed into `video`.

    Raises:
        RecordError: the run cannot be read.
        ConfigError: its checkpoint has changed, or it was no simulation.
        CheckpointError: its checkpoint is gone.
    """
    if record.kind != "simulation":
        raise ConfigError(f"{record.key}: played on the {record.kind} arm; only a simulation can be repeated")
    with Player(plan_of(folder)) as player:
        if video is None:
            return Replayed(record, player.play(record.key))
        with film(video) as show, camera(player, show, (WIDTH, HEIGHT), EVERY, CAMERAS) as on_tick:
            return Replayed(record, player.play(record.key, on_tick))


@contextmanager
def camera(
    player: Player, show: Show, size: tuple[int, int], every: int, cameras: Sequence[str]
) -> Generator[Callable[[Tick], None]]:
    """Films every so many ticks of one episode, side by side by those of `cameras` that the scene has.

    The renderer of (width, height) [px] a camera is its own, which the episode does not notice.
    """
    with ExitStack() as stack:
        renderers: list[Renderer] = []

        def on_tick(tick: Tick) -> None:
            if tick.index % every:
                return
            world = player.stage.world
            if not renderers:  # only now is everything laid out
                renderer = open_renderer(world.model, *size, player.plan.renderer)
                renderers.append(stack.enter_context(renderer))
            snapshot = world.snapshot()
            there = {world.model.camera(index).name for index in range(world.model.ncam)}
            show(np.hstack([renderers[0].render(snapshot, name) for name in cameras if name in there]))

        yield on_tick


@contextmanager
def film(path: Path) -> Generator[Show]:
    """Gives a function that takes pictures (h, w, 3) RGB, one after the other; the file is there when all is well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, av.open(partial, "w", format="mp4") as container:
        stream = cast_stream(container.add_stream(CODEC, rate=Fraction(FPS / EVERY)))

        def show(picture: NDArray[np.uint8]) -> None:
            stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))

        yield show
        container.mux(stream.encode())


def cast_stream(stream: Any) -> Any:
    """PyAV's types do not know which kind of stream a codec makes."""
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "23", "preset": "veryfast"}
    return stream
