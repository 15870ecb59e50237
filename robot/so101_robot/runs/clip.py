"""A film of a run: all cameras side by side, ten a second, encoded in a thread that steps back before the loop.

The file is a fragmented MP4, a fragment a second: what a killed process leaves can be played up to its last second. The
cost is bounded: what the encoder does not keep up with is left out, and a film ends at its longest.
"""

import contextlib
import math
import queue
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.process.realtime import lower_priority

CLIP = "clip.mp4"
FPS = 10.0
WAITING = 60
"""Pictures that may wait for the encoder; more are left out."""
LAST_S = 20.0
"""How long the end of a run waits for the encoder."""
LONGEST_S = 600.0
"""Of the film of an ordinary run."""
MOST_MBIT_S = 2
"""Of the film of an ordinary run, so that none is larger than 150 MB."""
HEIGHTS = (240, 480)
"""Of the film of an ordinary run [px]: smaller pictures are enlarged, so that a person sees them, and larger ones
made smaller."""

Pictures = Sequence[NDArray[np.uint8]]


class Film:
    """Observer of the ticks on which the policy drives. What the disk or the encoder raises is raised where the loop
    drops observers.

    Args:
        path: the file; there is none if there was no picture.
        fps: ticks a second.
        longest_s: the film ends then, and the run goes on.
        heights: least and largest height [px]; None: as the cameras deliver.
    """

    name = "film"

    def __init__(
        self, path: Path, fps: float, *, longest_s: float = math.inf, heights: tuple[int, int] | None = None
    ) -> None:
        self._path, self._heights = path, heights
        self._every = max(1, round(fps / FPS))
        self._rate = Fraction(fps / self._every).limit_denominator(1000)
        self._most = longest_s * self._rate
        bounded = {"maxrate": f"{MOST_MBIT_S}M", "bufsize": f"{2 * MOST_MBIT_S}M"}
        self._rates = {} if math.isinf(longest_s) else bounded
        self._queue: queue.Queue[Pictures | None] = queue.Queue(WAITING)
        self._ticks = 0
        self._taken = 0
        self.left_out = 0
        self._problem: Exception | None = None
        self._thread: threading.Thread | None = None

    def on_tick(self, tick: Tick) -> None:
        if self._problem is not None:
            raise self._problem
        self._ticks += 1
        if self._ticks % self._every or tick.phase != "run" or not tick.frames or self._taken >= self._most:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._encode, name="film", daemon=True)
            self._thread.start()
        self._taken += 1
        try:
            self._queue.put_nowait([tick.frames[name].image for name in sorted(tick.frames)])
        except queue.Full:
            self.left_out += 1

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None:
        if self._thread is None:
            return
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):  # an encoder that hangs is left behind
                self._queue.put(None, timeout=LAST_S)
            self._thread.join(LAST_S)
        self._thread = None
        if self._problem is not None:
            raise self._problem

    def _encode(self) -> None:
        lower_priority()
        try:
            fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
            with av.open(str(self._path), "w", format="mp4", options=fragments) as container:
                stream: Any = container.add_stream("libx264", rate=self._rate)
                stream.pix_fmt, stream.gop_size = "yuv420p", round(self._rate)
                stream.options = {"crf": "23", "preset": "ultrafast", "tune": "zerolatency", **self._rates}
                while (pictures := self._queue.get()) is not None:
                    picture = self._sized(side_by_side(pictures))
                    stream.height, stream.width = picture.shape[:2]
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
        except Exception as problem:  # raised again in the loop's thread
            self._problem = problem

    def _sized(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        least, most = self._heights or (height, height)
        if least <= height <= most:
            return picture
        scale = most / height if height > most else -(-least // height)
        size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def side_by_side(pictures: Pictures) -> NDArray[np.uint8]:
    """(h, w, 3) of even height and width, as films need; lower pictures are filled with black."""
    height = max(picture.shape[0] for picture in pictures)
    height += height % 2
    filled = [np.pad(picture, ((0, height - picture.shape[0]), (0, 0), (0, 0))) for picture in pictures]
    row = np.hstack(filled)
    return np.pad(row, ((0, 0), (0, row.shape[1] % 2), (0, 0)))
