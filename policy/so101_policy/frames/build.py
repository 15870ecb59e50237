"""The frames of a dataset, decoded into one file per camera.

The work is cut into pieces: frames that follow each other in one episode. A piece is decoded by LeRobot's own
decoder, so its pixels are those that LeRobot's data loader gives; it is written to its place in the file, and
remembered with its checksum. Pieces are decoded in threads: the decoders let go of Python's lock, and a process
would spend longer on importing LeRobot than most datasets take to decode.

The files are claimed at full size before the first frame, so a full disk shows then, and what is written past
that raises instead of killing the process, as writing into a memory map would.
"""

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import (
    VideoDecoderCache,
    decode_video_frames,
    decode_video_frames_torchcodec,
)
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from so101_policy.command_line.console import Console
from so101_policy.errors import PolicyError, first_line
from so101_policy.frames.resizing import resize
from so101_policy.machine import make_room, to_disk

PIECE_BYTES = 64 << 20
"""Of decoded frames in one piece. Larger ones save a seek per piece, smaller ones memory (a few times this per job)."""

FRAMES_COMPARED = 6
"""Frames per dataset that are compared with LeRobot's after building, besides the first and the last."""


class Piece(NamedTuple):
    """Frames `start` to `stop` (excluded) of one camera, all of one episode."""

    camera: str
    start: int
    stop: int
    video: Path | None
    """None: pictures in the dataset's tables."""
    times_s: tuple[float, ...]
    """Of the frames in the video."""


class WrittenPiece(NamedTuple):
    """A piece, written to its file."""

    camera: str
    start: int
    stop: int
    crc32: int


def build(
    dataset: LeRobotDataset,
    files: Mapping[str, Path],
    shapes: Mapping[str, tuple[int, int]],
    size: tuple[int, int],
    jobs: int,
    progress: Console | None,
) -> list[WrittenPiece]:
    """Decode all frames of the cameras in `files` into .npy files of (N, height, width, 3) uint8, and verify them.

    Args:
        dataset: whole and plain, see `dataset_files.complete_dataset`.
        shapes: camera -> (height, width) of the frames as stored.
        size: (height, width) of the frames in the files.

    Raises:
        PolicyError: frames cannot be decoded, or are not what the dataset's metadata says.
        OSError: the disk is full, or does not let itself be written.
    """
    frames = dataset.meta.total_frames
    pieces = list(_pieces(dataset, shapes))
    stop = threading.Event()
    with _progress(progress) as bar:
        task = bar.add_task("decoding frames", total=frames * len(files))
        places = {camera: _claim(path, (frames, *size, 3)) for camera, path in files.items()}

        def work(piece: Piece) -> WrittenPiece | None:
            if stop.is_set():
                return None
            pixels = _decode(dataset, piece, shapes[piece.camera], size)
            _write(files[piece.camera], places[piece.camera] + piece.start * pixels[0].nbytes, pixels)
            bar.advance(task, len(pixels))
            return WrittenPiece(piece.camera, piece.start, piece.stop, zlib.crc32(pixels))

        written = _in_threads(work, pieces, jobs, stop)
    check_pieces(files, written)
    _compare(dataset, files, size)
    return written


def check_pieces(files: Mapping[str, Path], written: Sequence[WrittenPiece]) -> None:
    """Raises PolicyError where a file's frames are not those that were written."""
    images = {camera: np.load(path, mmap_mode="r") for camera, path in files.items()}
    for piece in written:
        if zlib.crc32(images[piece.camera][piece.start : piece.stop]) != piece.crc32:
            raise PolicyError(
                f"{files[piece.camera]}: frames {piece.start} to {piece.stop - 1} are not what was written; "
                "the disk may be failing"
            )


def _pieces(dataset: LeRobotDataset, shapes: Mapping[str, tuple[int, int]]) -> Iterator[Piece]:
    """Episode by episode, so that the cameras' files grow side by side."""
    meta: Any = dataset.meta
    columns = dataset.hf_dataset.with_format("numpy", columns=["index", "timestamp"])[:]
    if not np.array_equal(columns["index"], np.arange(meta.total_frames)):
        raise PolicyError(
            f"the frames of {dataset.root} are not numbered 0 to {meta.total_frames - 1} in order"
        )
    times_s: list[float] = columns["timestamp"].tolist()
    for number, episode in enumerate(meta.episodes):
        first, end = episode["dataset_from_index"], episode["dataset_to_index"]
        for camera, (height, width) in shapes.items():
            is_video = camera in meta.video_keys
            video = dataset.root / meta.get_video_file_path(number, camera) if is_video else None
            offset_s = episode[f"videos/{camera}/from_timestamp"] if is_video else 0.0
            step = max(1, PIECE_BYTES // (height * width * 3))
            for start in range(first, end, step):
                stop = min(start + step, end)
                yield Piece(camera, start, stop, video, tuple(offset_s + t for t in times_s[start:stop]))


def _decode(
    dataset: LeRobotDataset, piece: Piece, shape: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """(n, height, width, 3) of `size`."""
    where = piece.video or dataset.root
    try:
        frames_NCHW = _from_table(dataset, piece) if piece.video is None else _from_video(dataset, piece)
    except Exception as error:  # PyAV's, torchcodec's, Pillow's and LeRobot's
        raise PolicyError(
            f"frames {piece.start} to {piece.stop - 1} of {piece.camera} cannot be decoded from {where}: "
            f"{first_line(error)}"
        ) from error
    expected = (piece.stop - piece.start, 3, *shape)
    if tuple(frames_NCHW.shape) != expected or frames_NCHW.dtype != torch.uint8:
        raise PolicyError(
            f"{where}: {piece.camera} holds {frames_NCHW.dtype} frames of {tuple(frames_NCHW.shape[1:])} from frame "
            f"{piece.start} on; the dataset's info.json says uint8 of {expected[1:]}"
        )
    return resize(frames_NCHW, size).permute(0, 2, 3, 1).contiguous().numpy()


_of_thread = threading.local()
"""A torchcodec decoder serves one thread at a time, so each has its own."""


def _from_video(dataset: LeRobotDataset, piece: Piece) -> Tensor:
    assert piece.video is not None
    backend, times_s = dataset._video_backend, list(piece.times_s)  # pyright: ignore[reportPrivateUsage]
    if backend != "torchcodec":
        return decode_video_frames(
            piece.video, times_s, dataset.tolerance_s, backend=backend, return_uint8=True
        )
    if not hasattr(_of_thread, "decoders"):
        _of_thread.decoders = VideoDecoderCache(max_size=4)
    return decode_video_frames_torchcodec(
        piece.video, times_s, dataset.tolerance_s, decoder_cache=_of_thread.decoders, return_uint8=True
    )


def _from_table(dataset: LeRobotDataset, piece: Piece) -> Tensor:
    rows = dataset.hf_dataset.with_format(None).select_columns([piece.camera])
    pictures = rows[piece.start : piece.stop][piece.camera]
    return torch.from_numpy(np.stack([np.array(picture) for picture in pictures])).movedim(-1, 1)


def _in_threads(
    work: Callable[[Piece], WrittenPiece | None], pieces: Sequence[Piece], jobs: int, stop: threading.Event
) -> list[WrittenPiece]:
    """All pieces, or the first exception; Ctrl-C ends after the pieces at hand."""
    with ThreadPoolExecutor(jobs, "frames") as pool:
        try:
            futures = [pool.submit(work, piece) for piece in pieces]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [written for future in futures if (written := future.result()) is not None]
        except BaseException:
            stop.set()
            raise


def _claim(path: Path, shape: tuple[int, ...]) -> int:
    """Make a .npy file with room for all its frames; where the first one goes."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        place = file.tell()
        file.flush()
        make_room(file.fileno(), place + int(np.prod(shape, dtype=np.int64)))
    return place


def _write(path: Path, place: int, pixels: NDArray[np.uint8]) -> None:
    with path.open("r+b", buffering=0) as file:
        left = memoryview(pixels).cast("B")
        while left:
            count = os.pwrite(file.fileno(), left, place)
            left, place = left[count:], place + count
        _to_disk(file)


def _to_disk(file: FileIO) -> None:
    """Through to the disk, for a power cut just after the cache is given its name."""
    to_disk(file.fileno())


def _compare(dataset: LeRobotDataset, files: Mapping[str, Path], size: tuple[int, int]) -> None:
    """A few frames, one at a time as a data loader asks for them. Raises PolicyError where they differ."""
    images = {camera: np.load(path, mmap_mode="r") for camera, path in files.items()}
    frames = dataset.meta.total_frames
    drawn = np.random.default_rng().integers(0, frames, FRAMES_COMPARED).tolist()
    for index in sorted({0, frames - 1, *drawn}):
        item: Any = dataset[index]
        for camera, image in images.items():
            theirs_CHW = item[camera]
            if theirs_CHW.dtype != torch.uint8:  # pictures of tables come as floats of k / 255
                theirs_CHW = (theirs_CHW * 255).round().to(torch.uint8)
            theirs_HWC = resize(theirs_CHW[None], size)[0].permute(1, 2, 0).numpy()
            if not np.array_equal(image[index], theirs_HWC):
                raise PolicyError(
                    f"frame {index} of {camera} is different when decoded alone: "
                    f"the video in {dataset.root} cannot be read at random"
                )


def _progress(console: Console | None) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
    )
    shown = console or Console(quiet=True)
    return Progress(*columns, TimeRemainingColumn(), console=shown, disable=console is None)
