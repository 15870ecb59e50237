"""so101-reliance: does a policy look, or does it play back what its joints tell it?

    parse -> dataset -> policies -> do they fit it? -> frames -> probes -> table, JSON, picture

Whatever is wrong with the request is said before anything is computed: one message, exit code 2.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from so101_policy.cli import RELIANCE
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.command_shell import OK, say
from so101_policy.command_line.console import Console
from so101_policy.dataset_check.look import TOLERANCE_S, announce
from so101_policy.errors import PolicyError
from so101_policy.files.whole_files import write_json
from so101_policy.reliance.frames import Recordings, open_recordings, read_views
from so101_policy.reliance.intervals import Bootstrap
from so101_policy.reliance.phases import PHASES
from so101_policy.reliance.picture import draw
from so101_policy.reliance.probed_policy import ProbedPolicy, default_name
from so101_policy.reliance.probes import Views, draw_donors, figures_of, probes_of, run_probe
from so101_policy.reliance.report import Reliance, Study, as_data, sentences, table

PIPED_WIDTH, COLUMN_WIDTH = 64, 30
"""Of the table in a file or pipe, which has no width of its own: for the words, and for each policy."""

DESCRIPTION = """\
How much of a policy's action follows the cameras, and how much the joint
state. On recorded frames one of them is exchanged for that of another episode,
and the action is predicted again. Several policies are compared on the same
frames. Prints a table; writes reliance.json and reliance.png."""

EXAMPLES = """
  so101-reliance --policy.path=outputs/run --dataset.root=data/palletize-2
  so101-reliance --policy.path=baseline=outputs/a \\
      --policy.path=isolation=outputs/b --dataset.root=data/palletize-2 \\
      --episodes=held-out:0.1 --output_dir=outputs/reliance
  so101-reliance --policy.path=user/act_so101 \\
      --dataset.repo_id=user/so101_pick --frames=640
"""

HOW_TO_READ = """\
how to read it:
  reliance      0: the action follows the cameras alone; 1: the joint state
                alone
  cue conflict  image of one moment, state of another: 1 follows the image,
                0 the state
  attention     where the decoder looks: shown as a diagnostic, it is not what
                the action depends on
Use episodes that the policies were not trained on."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises PolicyError, OSError."""
    asked = parser().parse_args(arguments)
    logging.getLogger("lerobot").setLevel(
        logging.ERROR
    )  # it warns at length of decoders that it does not need
    run(asked, Console(stderr=True))
    return OK


def parser() -> Parser:
    """Of the command line."""
    flags = Parser(RELIANCE.name, description=DESCRIPTION, examples=EXAMPLES, epilog=HOW_TO_READ)
    add = flags.add_argument
    add("--policy.path", dest="policies", action="append", required=True, metavar="[NAME=]CKPT",
        help="a checkpoint, folder or hub id; again for each policy to compare")  # fmt: skip
    add("--dataset.root", dest="root", type=Path, metavar="DIR", help="folder of a LeRobotDataset v3")
    add("--dataset.repo_id", dest="repo_id", metavar="ID", help="hub id; with --dataset.root just a name")
    add(
        "--episodes",
        default="all",
        metavar="WHICH",
        help="all (default), 0:16, last:16, 0,3,8, or held-out:0.1: what so101-train --held_out=0.1 left out",
    )
    add("--tolerance_s", type=Number(0, 1000), default=TOLERANCE_S, metavar="S",
        help="how far times of frames may be from 1/fps [s] (1e-4)")  # fmt: skip
    add("--policy.device", dest="device", default="cpu", metavar="DEVICE", help="cpu (default), cuda, mps")
    add("--task", default="", metavar="TEXT", help="the task in words, for policies that are told it")
    add("--output_dir", type=Path, default=Path("outputs/reliance"), metavar="DIR",
        help="where reliance.json and reliance.png go (outputs/reliance)")  # fmt: skip
    add("--frames", type=_positive, default=320, metavar="N", help="how many frames are probed (320)")
    add("--delay", type=_positive, default=10, metavar="K", help="frames by which images are delayed (10)")
    add("--seed", type=Whole(), default=0, help="which frames and which donors (0)")
    add("--no_picture", dest="picture", action="store_false", help="no reliance.png")
    return flags


def run(asked: argparse.Namespace, console: Console) -> None:
    """Do what is asked.

    Raises:
        PolicyError: it cannot be done; nothing is written.
    """
    datasets.disable_progress_bars()
    recordings = open_recordings(asked.repo_id, asked.root, asked.episodes, asked.tolerance_s)
    announce(recordings.doubtful, recordings.dataset.root, console)
    named = named_paths(asked.policies)
    policies = [ProbedPolicy.load(name, path, asked.device, asked.task) for name, path in named.items()]
    for policy in policies:
        policy.check_dataset(recordings.joints, recordings.cameras)
    asked.output_dir.mkdir(parents=True, exist_ok=True)
    cameras = list(dict.fromkeys(camera for policy in policies for camera in policy.act.cameras))
    steps = max(policy.act.n_action_steps for policy in policies)
    with _progress(console) as bars:
        reading = bars.add_task("reading frames", total=None)
        views = read_views(
            recordings, cameras, frames=asked.frames, steps=steps, delay=asked.delay, seed=asked.seed,
            advance=lambda done, total: bars.update(reading, completed=done, total=total),
        )  # fmt: skip
        found = [probe_policy(policy, views, asked.seed, bars) for policy in policies]
    study = study_of(recordings, views, asked.seed, asked.delay)
    width = None if sys.stdout.isatty() else PIPED_WIDTH + COLUMN_WIDTH * len(found)
    for sentence in sentences(found):
        say(sentence)
    for policy in policies:
        if policy.act.no_shares:
            say(f"{policy.name}: no shares of attention ({policy.act.no_shares}); the probes need none")
    Console(width=width).print(table(study, found))
    write_json(asked.output_dir / "reliance.json", as_data(study, found))
    if asked.picture:
        draw(study, found, asked.output_dir / "reliance.png")
    console.print(f"written to {asked.output_dir}", style="dim")


def probe_policy(policy: ProbedPolicy, views: Views, seed: int, bars: Progress) -> Reliance:
    """All probes of one policy, on the cameras that it has."""
    own = policy.normalised(policy.own(views))
    donors, probes = draw_donors(own, seed), probes_of(own)
    bar = bars.add_task(f"probing {policy.name}", total=(len(probes) + 1) * len(own.state_FS))

    def advance(frames: int) -> None:
        bars.advance(bar, frames)

    actions = {probe: run_probe(policy.predict, own, donors, probe, advance) for probe in probes}
    bootstrap = Bootstrap(own.episode_F, seed)
    figures = figures_of(actions, own, donors, policy.act.n_action_steps, bootstrap)
    attention = policy.attention(own, advance)
    bars.update(bar, completed=(len(probes) + 1) * len(own.state_FS))
    return Reliance(
        policy.name, str(policy.act.path), policy.act.sha256, policy.act.n_action_steps, figures, attention
    )


def study_of(recordings: Recordings, views: Views, seed: int, delay: int) -> Study:
    """The frames that were probed, as a report tells of them."""
    counts = np.bincount(views.phase_F, minlength=len(PHASES)).tolist()
    phases = {phase: count for phase, count in zip(PHASES, counts, strict=True) if count}
    return Study(recordings.name, recordings.episodes, len(views.phase_F), phases, seed, delay)


def named_paths(asked: Sequence[str]) -> dict[str, str]:
    """Name -> path, from `NAME=PATH` or a path alone.

    Raises:
        PolicyError: a name is given twice.
    """
    named: dict[str, str] = {}
    for text in asked:
        name, sign, path = text.partition("=")
        if not sign or "/" in name:
            name, path = default_name(text, list(named)), text
        if name in named:
            raise PolicyError(
                f"two policies are called {name!r}: {named[name]} and {path}; give each its NAME="
            )
        named[name] = path
    return named


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


if __name__ == "__main__":
    sys.exit(RELIANCE.main())
