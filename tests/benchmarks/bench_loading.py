"""Loading: batches of `Samples` against LeRobot's own data loader, same dataset, same samples, interleaved.

Two cameras of 96x96, and of 480x640 with --large: synthetic episodes, recorded by LeRobot with its default video
encoding. LeRobot's side is its trainer's: `LeRobotDataset` with action chunks and uint8 frames, `EpisodeAwareSampler`,
`DataLoader` with `--workers` processes (its default 4) that read ahead. Both sides take turns for some batches each, so
load from elsewhere falls on both; what the loader had read ahead is taken before the clock starts. Medians over turns
of ms per batch, wall time, with the range over turns. Building the cache is timed too: it is paid once.

    python tests/benchmarks/bench_loading.py [--root DATASET] [--large] [--turns 8] [--batches 12] [--workers 0 4]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.datasets import EpisodeAwareSampler
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader

from so101_policy.frames.cache import open_cache
from so101_policy.frames.dataset import open_dataset, video_backend
from so101_policy.frames.samples import Position, SampleOrder, Samples

CHUNK = 100
NAME = "local/bench"


def record(root: Path, height: int, width: int, episodes: int = 4, length: int = 150) -> Path:
    """Moving gradients with some noise: neither the easiest nor the hardest thing to encode."""
    names = [f"joint_{i}.pos" for i in range(6)]
    joints = {"dtype": "float32", "shape": (6,), "names": names}
    picture = {"dtype": "video", "shape": (height, width, 3), "names": ["height", "width", "channels"]}
    cameras = [f"observation.images.{name}" for name in ("front", "wrist")]
    features: dict[str, Any] = {"observation.state": joints, "action": joints} | dict.fromkeys(
        cameras, picture
    )
    dataset: Any = LeRobotDataset.create(NAME, 30, features, root=root, video_backend=video_backend())
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    for _ in range(episodes):
        for t in range(length):
            state, action = rng.normal(size=(2, 6)).astype(np.float32)
            shade = 120 + 80 * np.sin(x / 17 + t / 5)[..., None] * np.cos(y / 23 - t / 9)[..., None]
            shown = {
                key: (shade + rng.integers(0, 12, (height, width, 3))).astype(np.uint8) for key in cameras
            }
            dataset.add_frame(shown | {"observation.state": state, "action": action, "task": "bench"})
        dataset.save_episode()
    dataset.finalize()
    return root


def lerobots(root: Path, batch_size: int, workers: int) -> Iterator[Any]:
    """Batches without end, as its trainer makes them."""
    fps = open_dataset(NAME, root).fps
    dataset = open_dataset(
        NAME, root, delta_timestamps={"action": [step / fps for step in range(CHUNK)]}, return_uint8=True
    )
    table: Any = dataset.meta.episodes
    sampler = EpisodeAwareSampler(
        table["dataset_from_index"], table["dataset_to_index"], shuffle=True, seed=0
    )
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 2} if workers else {}
    loader: Any = DataLoader(dataset, batch_size=batch_size, sampler=sampler, num_workers=workers, **options)
    while True:
        yield from loader


def ours(samples: Samples, batch_size: int) -> Iterator[Any]:
    order, position = SampleOrder(samples.indices), Position()
    while True:
        indices, position = order.take(position, batch_size)
        yield samples.batch(indices)


def ms_per_batch(take: Callable[[], Any], batches: int) -> float:
    started_s = time.perf_counter()
    for _ in range(batches):
        take()
    return (time.perf_counter() - started_s) * 1e3 / batches


def compare(root: Path, options: argparse.Namespace) -> None:
    dataset = open_dataset(NAME, root)
    with tempfile.TemporaryDirectory() as folder:
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        cache = open_cache(dataset, folder=Path(folder))
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        height, width = cache.size
        print(
            f"{len(cache.images)} cameras of {width}x{height}, {len(cache)} frames, LeRobot decodes by "
            f"{video_backend()}; cache of {cache.manifest.nbytes / 1e6:.0f} MB built in {wall_s:.1f} s: "
            f"{1e3 * wall_s / len(cache):.2f} ms per sample (CPU {1e3 * cpu_s / len(cache):.2f})"
        )
        samples = Samples(dataset, cache, CHUNK)
        for workers in options.workers:
            _interleaved(root, samples, workers, options)


def _interleaved(root: Path, samples: Samples, workers: int, options: argparse.Namespace) -> None:
    theirs, mine = lerobots(root, options.batch, workers), ours(samples, options.batch)
    for _ in range(2 + 2 * workers):  # what was read ahead before the clock starts
        next(theirs)
    for _ in range(200):
        next(mine)
    times_ms = np.zeros((options.turns, 2))
    for turn in range(options.turns):
        for _ in range(2 * workers):  # what was read ahead is not loaded on this turn's time
            next(theirs)
        theirs_ms = ms_per_batch(lambda: next(theirs), options.batches)
        time.sleep(3 * workers * theirs_ms / 1e3)  # until it is read ahead again and the cores are free
        times_ms[turn] = theirs_ms, ms_per_batch(lambda: next(mine), 50 * options.batches)
    (a, b), low, high = np.median(times_ms, axis=0), times_ms.min(axis=0), times_ms.max(axis=0)
    ratios = times_ms[:, 0] / times_ms[:, 1]
    print(
        f"  batch {options.batch}: LeRobot with {workers} workers {a:.1f} ms [{low[0]:.1f}, {high[0]:.1f}], "
        f"samples {b:.3f} ms [{low[1]:.3f}, {high[1]:.3f}]: {np.median(ratios):.0f} times faster "
        f"[{ratios.min():.0f}, {ratios.max():.0f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="a dataset to use instead of synthetic ones")
    parser.add_argument("--large", action="store_true", help="480x640 too")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--batches", type=int, default=12, help="of LeRobot's per turn")
    parser.add_argument("--batch", type=int, default=8, help="samples in a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 4], help="of LeRobot's data loader")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.root:
        compare(options.root, options)
        return
    for size in [(96, 96), (480, 640)][: 1 + options.large]:
        with tempfile.TemporaryDirectory() as folder:
            compare(record(Path(folder) / "set", *size), options)


if __name__ == "__main__":
    main()
