"""The video files: do they open, are they whole, do they have the size, rate and frames that the tables say, and is the
n-th picture of an episode where the table of episodes says? No picture is decoded."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import av.logging
import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import Description
from so101_policy.dataset_check.folder import INFO, file_in
from so101_policy.dataset_check.structure import video_name
from so101_policy.dataset_check.tables import Episodes
from so101_policy.errors import DatasetError, first_line
from so101_policy.findings import Finding, Level

AGAIN = "copy or download the dataset again"
LONG = 1
"""A box with this length has it in the eight bytes after its name (ISO/IEC 14496-12, 4.2)."""
HALF = 0.5
"""Of a frame: a picture is asked for at its own time, give or take so much."""
RATE_SHARE = 0.01
"""By which a video's rate may differ from the dataset's."""


class Head(NamedTuple):
    """What a video file says about itself."""

    frames: int
    size_px: tuple[int, int]
    """(height, width)"""
    fps: float
    end_byte: int
    """Where its last box ends."""
    time_P: NDArray[np.float64]
    """When its pictures are shown, in order [s]."""


def check_videos(about: Description, episodes: Episodes) -> Iterator[Finding]:
    """Every file that an episode's pictures are in. Raises DatasetError for a file that is missing."""
    for key in about.videos:
        chunk, file = (episodes.columns[f"videos/{key}/{what}_index"] for what in ("chunk", "file"))
        for number in sorted(set(zip(chunk.tolist(), file.tolist(), strict=True))):
            inside = np.flatnonzero((chunk == number[0]) & (file == number[1]))
            path = file_in(about.root, video_name(about, key, *number))
            length_E, start_E = (
                episodes.columns[column][inside] for column in ("length", f"videos/{key}/from_timestamp")
            )
            head = read_head(path)
            found = list(_check(path, head, about, key, int(length_E.sum()), inside))
            yield from found
            if all(finding.level is not Level.STOP for finding in found):
                yield from _check_pictures(path, head, about.fps, inside, length_E, start_E)


def read_head(path: Path) -> Head:
    """Raises DatasetError for what is no video."""
    av.logging.set_libav_level(av.logging.FATAL)  # it would print what is raised as well
    try:
        with closing(av.open(str(path))) as container:
            stream = container.streams.video[0]
            size_px, rate = (stream.height, stream.width), float(stream.average_rate or 0)
            times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
            time_P = np.sort(np.array(times, np.float64)) * float(stream.time_base or 0)
            head = Head(stream.frames, size_px, rate, _end_of_boxes(path), time_P)
    except (av.error.FFmpegError, OSError, ValueError, IndexError, AttributeError) as error:
        size = path.stat().st_size
        said = "it is empty" if size == 0 else f"{first_line(error)} ({size} bytes)"
        raise DatasetError(f"{path} is damaged or cut short: {said} - {AGAIN}") from error
    return head


def _end_of_boxes(path: Path) -> int:
    """Where the last box of an MP4 file ends, as its length says. LeRobot writes the index first, so a file that is cut
    short still opens."""
    end, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while end < size:
            file.seek(end)
            head = file.read(16)
            length = int.from_bytes(head[:4])
            length = int.from_bytes(head[8:16]) if length == LONG else length
            if length < len(head[:8]):  # 0: up to the end of the file
                return size
            end += length
    return end


def _check(
    path: Path, head: Head, about: Description, key: str, frames: int, episodes: NDArray[np.int64]
) -> Iterator[Finding]:
    size, asked = path.stat().st_size, about.features[key].size_px
    which = f"episodes {episodes[0]} to {episodes[-1]}" if len(episodes) > 1 else f"episode {episodes[0]}"
    if head.end_byte > size:
        yield _wrong(path, f"it is cut short: {size} bytes", f"{head.end_byte} bytes")
    elif 0 < head.frames < frames:  # 0: the file does not say
        yield _wrong(path, f"{head.frames} frames", f"{frames}: those of {which}")
    elif head.frames > frames:
        found = f"{head.frames} frames, of which {head.frames - frames} are of no episode"
        yield Finding(Level.WARN, "videos", str(path), found, f"{frames}: those of {which}")
    if head.size_px != asked:
        (h, w), (height, width) = head.size_px, asked
        yield _wrong(path, f"{w}x{h} pixels", f"{width}x{height}, as {INFO} says")
    if head.fps and abs(head.fps / about.fps - 1) > RATE_SHARE:
        yield _wrong(path, f"{head.fps:.4g} frames per second", f"{about.fps:g}, as {INFO} says")


def _check_pictures(
    path: Path,
    head: Head,
    fps: float,
    episodes: NDArray[np.int64],
    length_E: NDArray[np.int64],
    start_E: NDArray[np.float64],
) -> Iterator[Finding]:
    """Whether each episode's pictures are those that follow the pictures of the episodes before it in the file: an
    error of less than half a frame in each place adds up, and a picture that is missing moves all that come after it.
    """
    if not len(head.time_P):
        return
    first_E = np.concatenate([[0], np.cumsum(length_E)[:-1]])
    for episode, first, length, start_s in zip(episodes, first_E, length_E, start_E, strict=True):
        asked_s = start_s + np.arange(length) / fps
        off_N = np.searchsorted(head.time_P, asked_s - HALF / fps) - (first + np.arange(length))
        if off_N.any():
            at = int(np.flatnonzero(off_N)[0])
            yield _wrong(
                f"{path}, episode {episode}, frame {at}",
                f"at {asked_s[at]:.6g} s is picture {first + at + off_N[at]} of the file",
                f"picture {first + at}: {first} are of the episodes before it",
            )
            return


def _wrong(path: Path | str, found: str, asked: str) -> Finding:
    return Finding(Level.STOP, "videos", str(path), found, asked, AGAIN)
