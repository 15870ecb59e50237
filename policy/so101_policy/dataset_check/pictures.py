"""What the cameras saw: brightness, sharpness and repeated pictures in a sample of frames, and the first frames.

`SPOTS` places of each episode are decoded, and the frame after each, so that a picture that was stored twice is noticed
where it is met. The first frames together show where things lay at the start: where they differ from their median,
something was moved from episode to episode.

Shapes: E episodes, H height, W width.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from so101_policy.dataset_check.description import Description
from so101_policy.dataset_check.folder import file_in
from so101_policy.dataset_check.numbers import Used
from so101_policy.dataset_check.structure import video_name
from so101_policy.dataset_check.tables import Episodes
from so101_policy.errors import DatasetError, first_line

type Picture = NDArray[np.uint8]
"""(H, W, 3) RGB"""

SPOTS = 6
"""Per episode and camera, the first frame among them."""
SAME_LEVELS = 0.02
"""Mean difference of two pictures [levels of 256] below which they are one and the same: noise of a sensor is more,
what a video encoder makes of an exact copy is less."""
SHOWN_PX = 320
"""Widest picture that is kept."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601."""


class CameraFigures(NamedTuple):
    """One camera, sampled."""

    brightness: list[float]
    """Per episode: mean level, 0 to 1."""
    sharpness: list[float]
    """Per episode: median variance of the Laplacian of the brightness [levels^2]."""
    repeated: int
    """Of `pairs`, while the arm moved."""
    pairs: int
    first: list[Picture]
    """The first frame of each episode, small."""


def look_at_pictures(
    used: Used, episodes: Episodes, idle_N: NDArray[np.bool_], advance: Callable[[], object] = lambda: None
) -> dict[str, CameraFigures]:
    """Every camera of the dataset, by name.

    Raises:
        DatasetError: a picture cannot be decoded.
    """
    return {key: _camera(used, episodes, idle_N, key, advance) for key in used.about.cameras}


def _camera(
    used: Used, episodes: Episodes, idle_N: NDArray[np.bool_], key: str, advance: Callable[[], object]
) -> CameraFigures:
    spans = list(used.spans())
    spots = [_spots(span) for span in spans]
    numbers = [int(used.episode_N[span.start]) for span in spans]

    def measure(which: int) -> tuple[float, float, int, int, Picture]:
        rows = [int(used.at_N[n]) for n in spots[which]]
        bright: list[float] = []
        sharp: list[float] = []
        repeated = pairs = 0
        first: Picture | None = None
        for n, (picture, following) in zip(
            spots[which], _pairs_at(used, episodes, key, numbers[which], rows), strict=True
        ):
            grey = picture.astype(np.float32) @ LUMA
            bright.append(float(grey.mean()) / 255)
            sharp.append(_sharpness(grey))
            first = _small(picture) if first is None else first
            if following is not None and not idle_N[n]:
                pairs += 1
                repeated += float(np.abs(picture.astype(np.int16) - following).mean()) < SAME_LEVELS
        advance()
        assert first is not None
        return float(np.mean(bright)), float(np.median(sharp)), repeated, pairs, first

    with ThreadPoolExecutor(2, "pictures") as pool:
        found = list(pool.map(measure, range(len(spans))))
    brightness, sharpness, repeated, pairs, first = (list(values) for values in zip(*found, strict=True))
    return CameraFigures(brightness, sharpness, sum(repeated), sum(pairs), first)


def where_things_lay(first: Sequence[Picture]) -> tuple[Picture, NDArray[np.float32]]:
    """The median of first frames, and how far any of them is from it: (H, W) levels, the larger of both directions."""
    pictures_EHW3 = np.stack(list(first))
    usual = np.median(pictures_EHW3, axis=0).astype(np.uint8)
    return usual, np.abs(pictures_EHW3.astype(np.int16) - usual).max(axis=(0, 3)).astype(np.float32)


def _spots(span: slice) -> list[int]:
    """Evenly spread used frames of an episode, of which each has a next one where there is one."""
    last = max(span.start, span.stop - 2)
    return np.unique(np.linspace(span.start, last, SPOTS).round().astype(int)).tolist()


def _pairs_at(
    used: Used, episodes: Episodes, key: str, episode: int, rows: Sequence[int]
) -> Iterator[tuple[Picture, Picture | None]]:
    """The pictures of `rows` of an episode, each with the next one."""
    about, first, end = used.about, int(episodes.first[episode]), int(episodes.end[episode])
    try:
        if about.features[key].dtype == "video":
            chunk, file, start_s = (
                episodes.columns[f"videos/{key}/{what}"][episode]
                for what in ("chunk_index", "file_index", "from_timestamp")
            )
            path = file_in(about.root, video_name(about, key, int(chunk), int(file)))
            times_s = [float(start_s) + (row - first) / about.fps for row in rows]
            yield from _in_video(path, times_s, about.fps, [row + 1 < end for row in rows])
        else:
            yield from _in_table(used, about, key, rows, end)
    except DatasetError:
        raise
    except Exception as error:  # PyAV's, Pillow's and pyarrow's
        raise DatasetError(
            f"{key} of episode {episode} of {about.root} cannot be decoded: {first_line(error)}"
        ) from error


def _in_video(
    path: Path, times_s: Sequence[float], fps: float, has_next: Sequence[bool]
) -> Iterator[tuple[Picture, Picture | None]]:
    with closing(av.open(str(path))) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        for time_s, following in zip(times_s, has_next, strict=True):
            container.seek(max(0, int(time_s / stream.time_base)), stream=stream)
            frames = container.decode(stream)
            wanted = next(frame for frame in frames if frame.time > time_s - 0.5 / fps)
            after = next(frames, None) if following else None
            yield _pixels(wanted), None if after is None else _pixels(after)


def _pixels(frame: av.VideoFrame) -> Picture:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _in_table(
    used: Used, about: Description, key: str, rows: Sequence[int], end: int
) -> Iterator[tuple[Picture, Picture | None]]:
    starts = np.concatenate([[0], used.rows.ends])
    for row in rows:
        path = used.rows.file_of(row)
        inside = row - int(starts[list(used.rows.files).index(path)])
        pictures = [
            _decoded(value, about.root) for value in _stored(path, key, inside, 2 if row + 1 < end else 1)
        ]
        yield pictures[0], pictures[1] if len(pictures) > 1 else None


def _stored(path: Path, key: str, row: int, count: int) -> list[Any]:
    """Values of `count` rows of a column from `row` on, read by row group."""
    file = pq.ParquetFile(path)
    found: list[Any] = []
    before = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        start, stop = max(0, row - before), min(rows, row + count - before)
        if start < stop:
            found += (
                file.read_row_group(group, columns=[key]).column(key).slice(start, stop - start).to_pylist()
            )
        before += rows
    return found


def _decoded(value: Any, root: Path) -> Picture:
    content = value.get("bytes") or file_in(root, str(value.get("path"))).read_bytes()
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _sharpness(grey: NDArray[np.float32]) -> float:
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var())


def _small(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= SHOWN_PX:
        return picture
    size = SHOWN_PX, round(height * SHOWN_PX / width)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
