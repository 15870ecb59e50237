"""so101-demos: demonstrations of a task by the scripted expert, as a LeRobotDataset v3.

Processes play episodes and stage each finished one as a file in OUTPUT_DIR/.so101-demos. When there are enough, one
writer makes the dataset of them in seed order and the staged files go. So the dataset does not depend on the number of
jobs, and whatever interrupts the command costs at most the episodes that were being played: the same command again
goes on from there.

`action` is the joint target that the expert asked for on that tick; at a lower rate, on the last of the ticks up to
the next frame, so that a straight line from action to action follows what it did. With --recovery the episode, or
that share of the episodes, starts in another pose and the arm is pushed off the expert's commands by a slow wobble;
what is recorded is still what the expert asked for, which is the way back. Every episode has a line in
OUTPUT_DIR/meta/so101_episodes.jsonl: its seed, whether it is a recovery, its reset and its score.
"""

import errno
import shutil
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from so101_eval.demos.dataset import assemble
from so101_eval.demos.folder import STAGING, lock, prepare
from so101_eval.demos.jobs import play_all
from so101_eval.demos.settings import Settings
from so101_eval.episode.episode import FPS
from so101_eval.errors import ConfigError, DiskFullError, PlayerLostError
from so101_eval.palletizing.scene.draw import DEMO_SEEDS
from so101_eval.palletizing.scene.scenarios import NOMINAL, SCENARIOS
from so101_eval.palletizing.scene.tasks import TASKS
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import OK
from so101_policy.command_line.console import Console
from so101_policy.command_line.next_steps import Step, next_steps, tell_next
from so101_policy.machine import cores as usable_cores

EXAMPLES = """
  so101-demos --task=palletize-2 --episodes=100 --output_dir=data/palletize-2
  so101-demos --task=palletize-4 --episodes=50 --output_dir=data/varied \\
      --scenario=randomised --level=2 --num_workers=4
  so101-demos --task=palletize-2 --episodes=50 --output_dir=data/mixed \\
      --fps=10 --recovery=0.5 --moved=0.3 --seed=1000
"""

NOTES = """\
Every finished episode is kept, so the same command again goes on after Ctrl-C,
a power cut or kill -9. What is recorded as action is the joint target that the
expert asked for. With --recovery an episode starts in another pose and the arm
is pushed off the expert's commands by a slow wobble; recorded is the way back.
Every episode has a line in OUTPUT_DIR/meta/so101_episodes.jsonl."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises EvalError, RobotError, OSError for what cannot be done."""
    options = vars(parser().parse_args(arguments))
    out, jobs = Path(options.pop("output_dir")), options.pop("num_workers")
    del options["verbose"]
    if jobs < 1:
        raise ConfigError(f"--num_workers {jobs}: expected 1 or more")
    settings = Settings(**options)
    settings.check()
    try:
        make_dataset(settings, out, jobs, Console(stderr=True))
    except BrokenProcessPool as problem:
        raise PlayerLostError(
            "a playing process was killed (out of memory?); the same command again goes on"
        ) from problem
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"the disk is full ({out}); make room, and the same command again goes on from the finished episodes"
        ) from error
    tell_next(steps_after(out))
    return OK


def make_dataset(settings: Settings, out: Path, jobs: int, console: Console) -> None:
    """The dataset of `settings` in the folder `out`, or what is missing of it.

    Raises:
        ConfigError: `out` holds something else, or is being worked on.
        EvalError: the expert hardly ever succeeds.
        OSError: the disk is full, or does not let itself be written.
        BrokenProcessPool: a playing process was killed.
    """
    if not prepare(settings, out):
        console.print(f"{out} is complete: {settings.episodes} episodes")
        return
    staging = out / STAGING
    with lock(out):
        started_s = time.perf_counter()
        seeds, frames = play_all(settings, staging, jobs, console)
        played_s, episode_s = time.perf_counter() - started_s, frames / settings.fps
        console.print(f"writing the dataset of {len(seeds)} episodes")
        assemble(settings, out, seeds, console)
        all_s = time.perf_counter() - started_s
    if frames:
        console.print(
            f"{episode_s:.0f} episode seconds played in {played_s:.0f} s with {jobs} {'job' if jobs == 1 else 'jobs'}, "
            f"{all_s:.0f} s with writing: {episode_s / played_s:.2f} and {episode_s / all_s:.2f} episode seconds per "
            "wall second",
            soft_wrap=True,
        )
    shutil.rmtree(staging)
    console.print(f"done: {out}", soft_wrap=True)


def steps_after(out: Path) -> list[Step]:
    """What to type when a dataset is there."""
    data = f"--dataset.repo_id=local/{out.name} --dataset.root={out}"
    return next_steps(
        Step(f"so101-data check {out} --html={out.name}.html", "look at it: is it right, what does it show?"),
        Step(f"so101-train {data} --model=small --recipe=recommended", "train on it"),
        Step(
            f"lerobot-dataset-viz --repo-id local/{out.name} --root {out} --episode-index 0",
            "watch an episode",
        ),
    )


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-demos",
        "Demonstrations of a task by the scripted expert, as a LeRobotDataset v3.",
        EXAMPLES,
        epilog=NOTES,
    )
    add = parser.add_argument
    add("--task", required=True, help=f"of {', '.join(TASKS)}")
    add("--episodes", type=Whole(), required=True, help="how many the dataset is to have")
    add("--output_dir", required=True, help="folder of the dataset; new, or of the same command before")
    add("--scenario", default=NOMINAL, help=f"of {', '.join(SCENARIOS)} (default: {NOMINAL})")
    add("--level", type=Whole(), default=0, help="of the scenario, 0 to 3 (default: 0, the nominal scene)")
    add("--seed", type=Whole(), default=0, help=f"first scene, counted from {DEMO_SEEDS.start} (default: 0)")
    add("--width", type=Whole(0, 4096), default=96, help="of both cameras, pixels (default: 96)")
    add("--height", type=Whole(0, 4096), default=96, help="default: 96")
    add(
        "--fps",
        type=Whole(),
        default=int(FPS),
        help=f"frames per second, a divisor of {FPS:.0f} (default: {FPS:.0f})",
    )
    add(
        "--num_workers",
        type=Whole(0, 1024),
        default=usable_cores(),
        help="processes (default: one a core)",
    )
    add(
        "--recovery",
        type=Number(0, 1),
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="SHARE",
        help="episodes that start off the nominal path, are pushed off it, and find back: all, or this share",
    )
    add(
        "--moved",
        type=Number(0, 1),
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="SHARE",
        help="episodes in which a box or the pallet is moved while the hand comes near, and the expert follows",
    )
    add(
        "--teleop",
        action="store_true",
        help="as a person moves a leader arm: uneven speed, pauses, past the box and back, idle at both ends",
    )
    add("--keep_failures", action="store_true", help="episodes in which the expert failed, too")
    add("--shadows", action="store_true", help="better pictures, four times the rendering cost")
    return parser
