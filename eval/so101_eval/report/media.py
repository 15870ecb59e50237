"""Pictures and clips of the episodes that a report shows, made by playing these episodes again, or from a trial's film.

Clips are VP9 in WebM at twice the speed, embedded as data URIs within a budget of bytes; what does not fit any more is
left out and named. An episode whose repetition went otherwise (another machine, other versions) is marked so. What was
made is kept in the report's folder and used again.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from so101_eval.episode.episode import FPS
from so101_eval.errors import EvalError
from so101_eval.evaluation.plan import Player
from so101_eval.evaluation.records import EpisodeRecord, Key, read_meta
from so101_eval.evaluation.replay import camera
from so101_eval.evaluation.run_folder import plan_of
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_eval.report.recorded import Filmed, recorded
from so101_policy.errors import PolicyError
from so101_policy.files.whole_files import write_bytes
from so101_robot.errors import RobotError


@dataclass(frozen=True)
class Clip:
    """Something to embed."""

    uri: str
    """data:..."""
    is_video: bool
    as_recorded: bool
    """The episode went again as its record says, to the last bit."""
    poster: str = ""
    """data:...: the last picture of a video, which tells what became of it before anybody plays it."""


def clip_key(*episodes: Mapping[str, Any]) -> str:
    """Of one episode, or of a pair side by side."""
    return "|".join(",".join(str(one[name]) for name in Key._fields) for one in episodes)


WIDTH, HEIGHT = 240, 180
"""[px] of one picture in a clip."""
EVERY, SPEED = 4, 2
"""Ticks per frame, and how much faster than life a clip runs."""
BUDGET = 20 * 2**20
"""[bytes] of all clips and pictures of a page, as files."""
CODEC, QUALITY = "libvpx-vp9", "40"
GAP = 4
"""[px] between the pictures of a pair."""
VIEWS = ("hero", CAMERAS[0])
"""A view of the whole arm, where the scene has one, and what the policy sees, which shows what was disturbed."""
INSET = 3
"""By how much the second is smaller; it is laid into the upper left corner, where the arm does not come."""

Picture = NDArray[np.uint8]


class Films:
    """Plays episodes of several runs again. A context manager."""

    def __init__(self, folders: Sequence[Path], records: Iterable[EpisodeRecord]) -> None:
        """Raises `RecordError` for a folder that is no run."""
        self._plans = {plan.sha256[:16]: plan for plan in map(plan_of, folders)}
        self._folders = {str(read_meta(folder).get("run")): folder for folder in folders}
        self._records = {record.key: record for record in records}
        self._players: dict[str, Player] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for player in self._players.values():
            player.close()
        self._players.clear()

    def film(self, episode: Mapping[str, Any]) -> Filmed:
        """Raises `EvalError`, `PolicyError`, `RobotError` or `OSError` where it cannot be played again."""
        key = Key(*(episode[name] for name in Key._fields))
        record = self._records[key]
        if record.kind != "simulation" and record.run in self._folders:
            return recorded(self._folders[record.run], record, (WIDTH, HEIGHT), Fraction(FPS) / EVERY)
        if record.kind != "simulation" or record.run not in self._plans:
            raise EvalError(f"{key}: it is of no run that was given")
        if record.run not in self._players:
            self._players[record.run] = Player(self._plans[record.run])
        pictures: list[Picture] = []
        player = self._players[record.run]
        with camera(
            player, lambda row: pictures.append(inlaid(row)), (WIDTH, HEIGHT), EVERY, VIEWS
        ) as on_tick:
            again = player.play(key, on_tick)
        return Filmed(pictures, again.state_hash == record.state_hash)


def make_media(
    choices: Mapping[str, Sequence[Mapping[str, Any]]],
    film: Callable[[Mapping[str, Any]], Filmed],
    folder: Path,
    budget: int = BUDGET,
    advance: Callable[[str], None] = lambda what: None,
) -> tuple[dict[str, Clip], list[str]]:
    """Clips by `clip_key`, and what could not be shown and why. `folder` keeps what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    clips: dict[str, Clip] = {}
    problems: list[str] = []
    seen, spent = set[str](), 0
    for name, episodes, make in _wanted(choices):
        advance(name)
        if name in seen:
            continue
        seen.add(name)
        file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{_states(episodes)}"
        try:
            path, same = _made(file, episodes, make, film)
        except (EvalError, PolicyError, RobotError, OSError) as error:
            problems.append(str(error))
            continue
        size = path.stat().st_size
        if spent + size > budget:
            problems.append(f"{name}: no room left in {budget / 2**20:.0f} MB of clips")
            continue
        spent += size
        is_video = path.suffix == ".webm"
        clips[name] = Clip(
            _uri(path), is_video, same, _data_uri(_last(path), "image/jpeg") if is_video else ""
        )
    return clips, problems


Make = Callable[[Sequence[Filmed], Sequence[Mapping[str, Any]]], tuple[bytes, str]]


def _wanted(
    choices: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterable[tuple[str, list[Mapping[str, Any]], Make]]:
    """Small and telling things first: the budget may not reach for all."""
    for episode in choices["failures"]:
        yield "still " + clip_key(episode), [episode], _still
    for pair in choices["pairs"]:
        both = [pair["first"], pair["second"]]
        yield clip_key(*both), both, _clip
    for group in ("worst", "random"):
        for episode in choices[group]:
            yield clip_key(episode), [episode], _clip


def _states(episodes: Sequence[Mapping[str, Any]]) -> str:
    """So that a clip of another run is not taken for this one."""
    return hashlib.sha256("|".join(str(one["run"]) for one in episodes).encode()).hexdigest()[:8]


def _made(
    file: Path, episodes: Sequence[Mapping[str, Any]], make: Make, film: Callable[[Mapping[str, Any]], Filmed]
) -> tuple[Path, bool]:
    """The file's name says whether the repetition was the same."""
    for suffix in (".webm", ".jpg"):
        for same in (True, False):
            if (path := _named(file, same, suffix)).is_file():
                return path, same
    filmed = [film(episode) for episode in episodes]
    content, suffix = make(filmed, episodes)
    path = _named(file, all(one.same for one in filmed), suffix)
    write_bytes(path, content)
    return path, all(one.same for one in filmed)


def _named(file: Path, same: bool, suffix: str) -> Path:
    return file.with_name(f"{file.name}-{'same' if same else 'otherwise'}{suffix}")


def _still(filmed: Sequence[Filmed], episodes: Sequence[Mapping[str, Any]]) -> tuple[bytes, str]:
    """At the moment of the failure."""
    pictures = filmed[0].pictures
    index = min(len(pictures) - 1, round(episodes[0]["time_s"] * FPS / EVERY))
    return _jpeg(pictures[index]), ".jpg"


def _jpeg(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return file.getvalue()


def _clip(filmed: Sequence[Filmed], episodes: Sequence[Mapping[str, Any]]) -> tuple[bytes, str]:
    """Side by side; who ends first waits in his last picture."""
    longest = max(len(one.pictures) for one in filmed)
    frames = (
        side_by_side([one.pictures[min(index, len(one.pictures) - 1)] for one in filmed])
        for index in range(longest)
    )
    return encode(frames, Fraction(FPS) * SPEED / EVERY), ".webm"


def inlaid(row: Picture) -> Picture:
    """The first view, with the second, if there is one, small in its upper left corner.

    Args:
        row: (height, views x width, 3) RGB, all views of one moment side by side.
    """
    whole = row[:, :WIDTH].copy()
    if row.shape[1] > WIDTH:
        height, width = HEIGHT // INSET, WIDTH // INSET
        small = row[:, WIDTH:].reshape(height, INSET, width, INSET, 3).mean(axis=(1, 3))
        whole[: height + 1, : width + 1] = 255
        whole[:height, :width] = small.round()
    return whole


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """With a white gap."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])


def encode(frames: Iterable[Picture], rate: Fraction) -> bytes:
    """VP9 in WebM; frames (h, w, 3) RGB with even edges."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream: Any = container.add_stream(CODEC, rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY, "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"}
        for frame in frames:
            stream.height, stream.width = frame.shape[:2]
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
            )
        container.mux(stream.encode())
    return file.getvalue()


def _last(path: Path) -> bytes:
    """Of a video, as JPEG."""
    picture: Picture | None = None
    with av.open(path) as container:
        for frame in container.decode(video=0):
            picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    assert picture is not None  # it was made of pictures
    return _jpeg(picture)


def _uri(path: Path) -> str:
    return _data_uri(path.read_bytes(), "video/webm" if path.suffix == ".webm" else "image/jpeg")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
