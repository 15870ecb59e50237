"""Training: samples per second of `so101-train` and of `lerobot-train`, whole processes, taking turns.

Same dataset (two cameras; synthetic, recorded by LeRobot, or --root), same model (LeRobot's ACT at its defaults, 51.6 M
parameters; the backbone's weights are random and are put where torchvision looks for them), same batch size, seed and
steps. Every process is started anew; its clock is read when an optimizer step ends, by the same hook on both sides,
from step --warm-up to the last, so what is measured is everything between: loading, normalising, forward, backward,
clipping, step and logging. Medians over rounds with the range, and ratios to lerobot-train within a round.

    python tests/benchmarks/bench_train.py [--short] [--large] [--root DATASET] [--rounds 3] [--steps 20] [--workers 4]
        [--device cuda] [--variants lerobot so101 recommended bf16 compiled] [--threads N]

--short: 2 rounds of 6 steps at 96x96. --large: 480x640. On a GPU give more steps (--steps 300 --warm-up 100) and try
several --workers for lerobot-train's best number.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

BATCH = 8
VARIANTS: dict[str, tuple[str, ...]] = {
    "lerobot": (),
    "so101": (),
    "recommended": ("--regularizer.preset=recommended",),
    "unfused": ("--fused=false",),
    "bf16": ("--precision=bf16",),
    "compiled": ("--precision=bf16", "--compile=true"),
}


def child(program: str, first: int, last: int, result: str, arguments: list[str]) -> None:
    """Run one trainer in this process and write the seconds from the end of step `first` to that of `last`."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    count, times = 0, dict[int, float]()

    def note(*_: Any) -> None:
        nonlocal count
        count += 1
        if count in (first, last):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[count] = time.perf_counter()
        if count == last:
            Path(result).write_text(json.dumps(times[last] - times[first]))

    register_optimizer_step_post_hook(note)
    if threads := os.environ.get("BENCH_THREADS"):
        torch.set_num_threads(int(threads))
    sys.argv = [program, *arguments]
    if program == "lerobot":
        from lerobot.scripts.lerobot_train import main as lerobot_main

        lerobot_main()
    else:
        from so101_policy.train.command import main

        sys.exit(main())


def backbone_weights(home: Path) -> None:
    """A file of random weights under the name by which torchvision caches ResNet-18's."""
    import torch
    import torchvision

    url = str(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url)
    place = home / "hub" / "checkpoints" / Path(url).name
    place.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), place)


def seconds_per_step(variant: str, root: Path, out: Path, options: argparse.Namespace) -> float:
    """One run of one variant, in a process of its own."""
    program = "lerobot" if variant == "lerobot" else "so101"
    arguments = ["--dataset.repo_id=local/bench", f"--dataset.root={root}", f"--output_dir={out}", "--seed=0"]
    arguments += [f"--steps={options.steps}", f"--batch_size={BATCH}", f"--policy.device={options.device}"]
    arguments += ["--log_freq=10", "--eval_steps=0", "--save_checkpoint=false", "--policy.push_to_hub=false"]
    if program == "lerobot":
        arguments += ["--policy.type=act", f"--num_workers={options.workers}", "--dataset.video_backend=pyav"]
    else:
        arguments += ["--held_out=0", "--trackers=none", *VARIANTS[variant]]
    result = out.with_suffix(".json")
    command = [sys.executable, __file__, "--child", program, str(options.warm_up), str(options.steps)]
    done = subprocess.run([*command, str(result), *arguments], capture_output=True, text=True)
    if not result.exists():
        sys.exit(f"{variant} failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return json.loads(result.read_text()) / (options.steps - options.warm_up)


def compare(name: str, root: Path, options: argparse.Namespace) -> None:
    """All variants, in turns, on one dataset; prints a table."""
    found: dict[str, list[float]] = {variant: [] for variant in options.variants}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            for variant in options.variants:
                out = Path(folder) / f"{variant}-{turn}"
                found[variant].append(seconds_per_step(variant, root, out, options))
    print(f"\n{name}, batch {BATCH}, {options.device}, {options.rounds} rounds of {options.steps} steps")
    print(f"{'':14}{'ms/step':>10}{'range':>18}{'samples/s':>11}{'x lerobot':>11}")
    for variant, seconds in found.items():
        middle = statistics.median(seconds)
        spread = f"{1000 * min(seconds):.1f}..{1000 * max(seconds):.1f}"
        base = found.get("lerobot")
        ratio = statistics.median(b / s for b, s in zip(base, seconds, strict=True)) if base else float("nan")
        print(f"{variant:14}{1000 * middle:10.1f}{spread:>18}{BATCH / middle:11.1f}{ratio:11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=["lerobot", "so101", "recommended"]
    )
    options = parser.parse_args()
    if options.short:
        options.rounds, options.steps, options.warm_up = 2, 6, 2
    if options.threads:
        os.environ["BENCH_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        backbone_weights(place / "torch")
        os.environ |= {"TORCH_HOME": str(place / "torch"), "SO101_CACHE": str(place / "cache")}
        if options.root is not None:
            compare(str(options.root), options.root, options)
            return
        from bench_loading import record

        for height, width in ((480, 640),) if options.large else ((96, 96),):
            compare(f"{height}x{width}", record(place / f"{height}x{width}", height, width), options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6:])
    else:
        main()
