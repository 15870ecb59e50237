"""A dataset's frames, decoded once: memory maps of uint8 at the size that training wants.

A cache is a folder of one .npy file per camera and a description, `cache.json`, with a checksum for every piece. Its
name is made of all that decides about its pixels: the dataset's fingerprint, the cameras, the size, the decoder. So a
dataset that was recorded anew gets a new cache, and two sizes have a cache each.

It is built under another name and renamed when everything is on the disk and verified: an interruption of any kind
leaves nothing that would be taken for a cache. Two processes do not build the same one: the second waits.
`so101-frames` shows and removes caches.
"""

import errno
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.command_line.console import Console
from so101_policy.errors import PolicyError, first_line
from so101_policy.files.whole_files import sync
from so101_policy.frames.build import build, check_pieces
from so101_policy.frames.dataset import AnyDataset, camera_shapes, complete_dataset, fingerprint
from so101_policy.frames.folders import (
    FORMAT,
    PARTIAL,
    Manifest,
    default_folder,
    discard,
    locked,
    name_of,
    read_manifest,
    remove_leftovers,
    write_manifest,
)
from so101_policy.machine import cores, free_memory_bytes

CHECKED_ON_OPEN = 2
"""Pieces per camera whose checksum is verified whenever a cache is opened; `so101-frames check` verifies all."""

SPARE_BYTES = 16 << 20
"""Left free on the disk besides the cache."""

DEVICE_SHARE = 0.5
"""Of a device's free memory that frames may take; the rest is for the model."""


class FrameCache:
    """All frames of a dataset. `open_cache` makes one.

    Attributes:
        images: camera key -> (N, height, width, 3) uint8, mapped from disk, read-only; N: frames of the whole dataset.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        self.images: dict[str, NDArray[np.uint8]] = {
            camera: np.load(folder / f"{camera}.npy", mmap_mode="r") for camera in manifest.cameras
        }
        self._tensors: dict[torch.device, dict[str, Tensor]] = {}
        for camera, image in self.images.items():
            if image.shape != (manifest.frames, *manifest.size, 3) or image.dtype != np.uint8:
                raise ValueError(f"{camera} is {image.dtype} of {image.shape}")

    @classmethod
    def load(cls, folder: Path) -> "FrameCache":
        """Raises PolicyError for a cache that is damaged."""
        try:
            cache = cls(folder, read_manifest(folder))
        except (OSError, ValueError, EOFError) as error:
            raise PolicyError(f"the frame cache {folder} is damaged: {first_line(error)}") from error
        pieces = cache.manifest.pieces
        cache.check(
            np.random.default_rng().permutation(len(pieces))[: CHECKED_ON_OPEN * len(cache.images)].tolist()
        )
        return cache

    def __len__(self) -> int:
        return self.manifest.frames

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [px]."""
        return self.manifest.size

    def check(self, numbers: Sequence[int] | None = None) -> None:
        """Verify the checksums of some pieces, or of all. Raises PolicyError."""
        pieces = self.manifest.pieces
        chosen = pieces if numbers is None else [pieces[number] for number in numbers]
        check_pieces({camera: self.folder / f"{camera}.npy" for camera in self.images}, chosen)

    def to(self, device: str | torch.device) -> dict[str, Tensor] | None:
        """All frames in a device's memory (the computer's for "cpu"), once for all who ask; None if they do not fit."""
        device = torch.device(device)
        if device not in self._tensors:
            if self.manifest.nbytes > DEVICE_SHARE * free_bytes(device):
                return None
            self._tensors[device] = {camera: _upload(image, device) for camera, image in self.images.items()}
        return self._tensors[device]


def open_cache(
    dataset: AnyDataset,
    size: tuple[int, int] | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    progress: Console | None = None,
    cameras: Sequence[str] | None = None,
) -> FrameCache:
    """The frames of `dataset`: from the cache, or decoded into it now.

    Args:
        dataset: a LeRobotDataset or its metadata; what is cached is all of its episodes.
        size: (height, width) [px]; None: as stored.
        folder: where caches are; None: `default_folder()`.
        jobs: threads that decode; None: as many as there are cores.
        progress: where to show a bar; None: nowhere.
        cameras: keys such as "observation.images.front"; None: all.

    Raises:
        PolicyError: a camera is missing, sizes differ, frames cannot be decoded, or there is no room.
    """
    plain = complete_dataset(dataset)
    shapes = camera_shapes(plain, cameras)
    size = _common_size(plain, shapes, size)
    if jobs is not None and jobs < 1:
        raise PolicyError(f"--cache.jobs={jobs}: expected 1 or more")
    manifest = Manifest(
        *(FORMAT, plain.repo_id, str(plain.root), fingerprint(plain.root), size, plain.meta.total_frames),
        *(tuple(shapes), _decoder(plain, shapes), datetime.now(UTC).isoformat(timespec="seconds"), ()),
    )
    place = (folder or default_folder()).expanduser() / name_of(manifest)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place, progress):
            return _found(place, progress) or _built(
                place, manifest, plain, shapes, jobs or cores(), progress
            )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(place.parent, manifest.nbytes) from error
        raise PolicyError(f"the frame cache {place.parent} cannot be used: {first_line(error)}") from error


def free_bytes(device: torch.device) -> int:
    """Memory of a device that is free; 0 where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        return free_memory_bytes()
    return 0


def _found(place: Path, progress: Console | None) -> FrameCache | None:
    if not place.is_dir():
        return None
    try:
        return FrameCache.load(place)
    except PolicyError as error:
        if progress:
            progress.print(f"{error}; decoding again", soft_wrap=True)
        discard(place)
        return None


def _built(
    place: Path,
    manifest: Manifest,
    dataset: LeRobotDataset,
    shapes: dict[str, tuple[int, int]],
    jobs: int,
    progress: Console | None,
) -> FrameCache:
    partial = place.with_name(place.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    remove_leftovers(place.parent)
    if shutil.disk_usage(place.parent).free < manifest.nbytes + SPARE_BYTES:
        raise _no_room(place.parent, manifest.nbytes)
    try:
        partial.mkdir()
        files = {camera: partial / f"{camera}.npy" for camera in shapes}
        written = build(dataset, files, shapes, manifest.size, jobs, progress)
        if fingerprint(dataset.root) != manifest.fingerprint:
            raise PolicyError(f"the dataset {dataset.root} changed while its frames were decoded; try again")
        write_manifest(partial, manifest._replace(pieces=tuple(written)))
        partial.rename(place)
        sync(place.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return FrameCache.load(place)


def _decoder(dataset: LeRobotDataset, cameras: dict[str, Any]) -> str:
    """What turns stored bytes into pixels: two decoders may round colours differently."""
    if not set(cameras) & set(dataset.meta.video_keys):
        return f"pillow {version('pillow')}"
    backend: str = dataset._video_backend  # pyright: ignore[reportPrivateUsage]
    return f"{backend} {version('torchcodec' if backend == 'torchcodec' else 'av')}"


def _common_size(
    dataset: LeRobotDataset, shapes: dict[str, tuple[int, int]], size: tuple[int, int] | None
) -> tuple[int, int]:
    if size is not None:
        height, width = size
        if height < 1 or width < 1:
            raise PolicyError(f"--cache.size={height}x{width}: expected at least 1x1 pixels")
        return height, width
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{camera} {width}x{height}" for camera, (height, width) in shapes.items())
        raise PolicyError(
            f"the cameras of {dataset.root} differ in size: {found}; ask for one size (--cache.size=96x96), "
            "or for cameras of one size"
        )
    return next(iter(shapes.values()))


def _no_room(folder: Path, needed_bytes: int) -> PolicyError:
    free_bytes = shutil.disk_usage(folder).free
    return PolicyError(
        f"the disk is full: the frames take {needed_bytes / 1e6:.0f} MB, and {folder} has {free_bytes / 1e6:.0f} MB "
        "left; ask for a smaller size (--cache.size), another place (--cache.folder, $SO101_CACHE), or make room "
        "(`so101-frames list` shows caches, `so101-frames remove` removes them)"
    )


def _upload(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    frames_NHWC = torch.empty(image.shape, dtype=torch.uint8, device=device)
    step = max(1, (64 << 20) // max(1, image[0].nbytes))
    for start in range(0, len(image), step):
        frames_NHWC[start : start + step] = torch.from_numpy(np.array(image[start : start + step])).to(device)
    return frames_NHWC
