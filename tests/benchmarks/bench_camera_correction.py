"""The camera correction's price: registering a camera, putting a picture back, watching whether it has moved again.

    python tests/benchmarks/bench_camera_correction.py

Times in ms of one thread, least and median; the least is what a machine that does nothing else takes.
"""

import time
from collections.abc import Callable

import cv2
import numpy as np
from scenes import load_support

from so101_policy.registration.correction import find_correction
from so101_policy.registration.corrector import Corrector
from so101_policy.registration.warp import Warp

SIZES = ((96, 96), (320, 240), (640, 480))


def timed(call: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Least and median of `repeat` calls [ms]."""
    took: list[float] = []
    for _ in range(repeat):
        begin_s = time.perf_counter()
        call()
        took.append(1e3 * (time.perf_counter() - begin_s))
    return min(took), float(np.median(took))


def main() -> None:
    cv2.setNumThreads(1)
    print(f"{'pictures':>9}  {'register':>14}  {'put back':>14}  {'and levelled':>14}  {'with watching':>14}")
    for size in SIZES:
        bench, rng = load_support("moved_pictures").TextureBench(*size), np.random.default_rng(1)
        background, live = bench.background(), bench.picture(rng, bench.moved(0.05, 1.0), light=0.8)
        found = find_correction(background, live)
        put_back, level = Warp(found.H, 1.0, background.image), Warp(found.H, found.gain, background.image)
        corrector = Corrector({"front": background})
        corrector.register({"front": live})
        calls: tuple[tuple[Callable[[], object], int], ...] = (
            (lambda of=background, now=live: find_correction(of, now), 5),
            (lambda warp=put_back, now=live: warp(now), 300),
            (lambda warp=level, now=live: warp(now), 300),
            (lambda all_of=corrector, now=live: all_of({"front": now}), 100),
        )
        cells = ["{:6.2f} {:7.2f}".format(*timed(call, repeat)) for call, repeat in calls]
        print(f"{size[0]:>5}x{size[1]}  {'  '.join(cells)}")


if __name__ == "__main__":
    main()
