"""A film of a trial for the second rater: all cameras side by side, ten pictures a second, encoded in a thread."""

import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from so101_policy.files.whole_files import replacing
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.process.realtime import lower_priority

CLIP = "clip.mp4"
EVERY = 3
"""Ticks between two pictures."""
WAITING = 60
"""Pictures that may wait for the encoder; more are left out."""


class Film:
    """Observer of one trial. What the disk or the encoder raises is raised where the loop drops observers."""

    name = "film"

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._rate = path, Fraction(fps / EVERY).limit_denominator(1000)
        self._queue: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(WAITING)
        self._ticks = 0
        self.left_out = 0
        self._problem: Exception | None = None
        self._thread: threading.Thread | None = None

    def on_tick(self, tick: Tick) -> None:
        if self._problem is not None:
            raise self._problem
        self._ticks += 1
        if self._ticks % EVERY or tick.phase != "run" or not tick.frames:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._encode, name="film", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(side_by_side([tick.frames[name].image for name in sorted(tick.frames)]))
        except queue.Full:
            self.left_out += 1

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None:
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join()
        self._thread = None
        if self._problem is not None:
            raise self._problem

    def _encode(self) -> None:
        lower_priority()
        try:
            with replacing(self._path) as partial, av.open(partial, "w", format="mp4") as container:
                stream: Any = container.add_stream("libx264", rate=self._rate)
                stream.pix_fmt, stream.options = "yuv420p", {"crf": "23", "preset": "ultrafast"}
                while (picture := self._queue.get()) is not None:
                    stream.height, stream.width = picture.shape[:2]
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
        except Exception as problem:  # raised again in the loop's thread
            self._problem = problem
            while self._queue.get() is not None:
                continue


def side_by_side(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(h, w, 3) of even height and width, as films need; lower pictures are filled with black."""
    height = max(picture.shape[0] for picture in pictures)
    height += height % 2
    filled = [np.pad(picture, ((0, height - picture.shape[0]), (0, 0), (0, 0))) for picture in pictures]
    row = np.hstack(filled)
    return np.pad(row, ((0, 0), (0, row.shape[1] % 2), (0, 0)))
