"""The heads of the video files: do they open, are they whole, and do they have the size, rate and frames that the
tables say? No picture is decoded."""

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


def check_videos(about: Description, episodes: Episodes) -> Iterator[Finding]:
    """Every file that an episode's pictures are in. Raises DatasetError for a file that is missing."""
    for key in about.videos:
        chunk, file = (episodes.columns[f"videos/{key}/{what}_index"] for what in ("chunk", "file"))
        for number in sorted(set(zip(chunk.tolist(), file.tolist(), strict=True))):
            inside = (chunk == number[0]) & (file == number[1])
            path = file_in(about.root, video_name(about, key, *number))
            yield from _check(
                path, about, key, int(episodes.columns["length"][inside].sum()), np.flatnonzero(inside)
            )


def read_head(path: Path) -> Head:
    """Raises DatasetError for what is no video."""
    av.logging.set_libav_level(av.logging.FATAL)  # it would print what is raised as well
    try:
        with closing(av.open(str(path))) as container:
            stream = container.streams.video[0]
            size_px, rate = (stream.height, stream.width), float(stream.average_rate or 0)
            head = Head(stream.frames, size_px, rate, _end_of_boxes(path))
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
    path: Path, about: Description, key: str, frames: int, episodes: NDArray[np.int64]
) -> Iterator[Finding]:
    head, size, asked = read_head(path), path.stat().st_size, about.features[key].size_px
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


def _wrong(path: Path, found: str, asked: str) -> Finding:
    return Finding(Level.STOP, "videos", str(path), found, asked, AGAIN)
